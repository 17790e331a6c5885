// SPDX-License-Identifier: MIT
// machine_stack.c: the machine's stack: how it grows, what is cleared, and how it becomes a continuation and comes back.
//
// A continuation takes the frames off the stack, which is empty then but for its bottom; when a frame returns to the bottom (the instruction UNDERFLOW) the
// topmost frames of
// the continuation are copied back, some hundred words of them. So each frame is copied once when it is captured and once when it goes on, however often and
// however deep
// continuations are made.

#include <string.h>
#include <time.h>
#include "machine_slow.h"

size_t machine_stack_most = 16 << 20;
bool machine_measures;
enum { RESUMED_WORDS = 128, RESERVE_WORDS = 3 * FRAME_MAX };

// ---- Polls.

static pthread_mutex_t machines_lock = PTHREAD_MUTEX_INITIALIZER;
static machine *machines[256];

void machines_note(machine *m, bool here) {
  pthread_mutex_lock(&machines_lock);
  for (int i = 0; i < 256; i++) {
    if (machines[i] == (here ? NULL : m)) {
      __atomic_store_n(&machines[i], here ? m : NULL, __ATOMIC_RELEASE);
      break;
    }
  }
  pthread_mutex_unlock(&machines_lock);
}
// Called by the collector, and by the handler of Ctrl-C: no lock. A machine that goes away at that moment stays allocated (machine_close is for the end of
// the process and of threads that waited for it).
void machines_poke(void) {
  for (int i = 0; i < 256; i++) {
    machine *m = __atomic_load_n(&machines[i], __ATOMIC_ACQUIRE);
    if (m != NULL) {
      limit_set(m, NULL);
    }
  }
}

static value *grow(machine *m, value *frame) {
  vector *old = m->stack;
  size_t used = (size_t)(frame - old->item) + FRAME_MAX, words = 2 * (size_t)old->length;
  bool deep = used + RESERVE_WORDS > machine_stack_most;
  vector *made = deep ? NULL : memory_new(m->self, KIND_STACK, (int64_t)words + 1);
  if (made == NULL) {
    limit_set(m, frame + FRAME_MAX / 2); // room for what handles the error
    if (frame + 2 * FRAME_MAX > old->item + old->length) { // which fails in turn, again and again
      limit_set(m, old->item + STACK_STEP);
      machine_abort(m, m->state->item[STATE_CONDITION]);
    }
    if (deep) {
      fail(m, NULL, "recursion too deep", 0);
    }
    out_of_memory(m);
  }
  made->header = KIND_STACK;
  made->length = (int64_t)words;
  memcpy(made->item, old->item, 8 * used);
  frame = made->item + (frame - old->item);
  m->frame = made->item + (m->frame - old->item);
  m->stack = made;
  return frame;
}

static void measure(machine *m) {
  if (++m->polls % 1000 == 0) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    if (m->gap_from != 0 && now - m->gap_from > m->gap_max) {
      m->gap_max = now - m->gap_from;
    }
    m->gap_from = now;
  }
}

value fuel(machine *m, value *a, int count) {
  m->fuel = is_fixnum(a[0]) && fixnum_of(a[0]) > 0 ? fixnum_of(a[0]) : 0;
  limit_set(m, NULL);
  return V_UNSPECIFIED;
}

value *machine_poll(machine *m, value *frame, int count) {
  m->frame = frame;
  uint64_t cycles = __atomic_load_n(&memory_cycles, __ATOMIC_SEQ_CST);
  if (m->cycles != cycles) { // a collection has ended: what was popped since the last one goes
    m->cycles = cycles;
    if (m->exhausted) {
      m->exhausted = false;
      memory_reserve(false);
    }
    finalizers_run(m);
    value *top = frame + count, *end = m->stack->item + m->stack->length;
    while (top < end && (*top != 0 || top < frame + count + STACK_STEP)) {
      *top++ = 0;
    }
  }
  if (m->interrupted) {
    m->interrupted = 0;
    limit_set(m, frame + STACK_STEP);
    fail(m, NULL, "interrupted", 0);
  }
  if (frame + RESERVE_WORDS > m->stack->item + m->stack->length) {
    frame = grow(m, frame);
    m->frame = frame;
  }
  value *least = m->stack->item + STACK_STEP, *most = m->stack->item + m->stack->length - RESERVE_WORDS;
  value *limit = frame + STACK_STEP > least ? frame + STACK_STEP : least;
  limit_set(m, limit < most ? limit : most);
  if (m->interrupted || m->cycles != __atomic_load_n(&memory_cycles, __ATOMIC_SEQ_CST)) { // meanwhile
    limit_set(m, NULL);
  }
  if (machine_measures) {
    measure(m);
    limit_set(m, NULL);
  }
  if (m->fuel > 0) {
    limit_set(m, NULL);
    if (--m->fuel == 0) {
      m->fuel = 1000; // for what handles it; and so on
      fail(m, NULL, "out of fuel", 0);
    }
  }
  return frame;
}

void machine_clear(machine *m) {
  memset(m->stack->item, 0, 8 * (size_t)m->stack->length);
  m->frame = NULL;
  for (int i = STATE_NEXT; i <= STATE_CONDITION; i++) {
    m->state->item[i] = V_NULL;
  }
  m->state->item[STATE_FORMS] = V_NULL;
}

// ---- Continuations.

value *continuation_capture(machine *m, value *frame) {
  value *bottom = m->stack->item + 2;
  continuation *k = allocate(m, KIND_CONTINUATION, 7, KIND_CONTINUATION);
  k->winders = m->state->item[STATE_WINDERS];
  k->handlers = m->state->item[STATE_HANDLERS];
  k->bindings = m->state->item[STATE_BINDINGS];
  k->next = m->state->item[STATE_NEXT];
  k->words = V_FALSE;
  uint64_t link = frame[-2];
  int64_t length = frame - 2 - bottom;
  if (frame - LINK_DISTANCE(link) != bottom) { // else what comes next is the continuation
    vector *words = OBJ(vector, new_vector(m, length, V_FALSE));
    memcpy(words->item, bottom, 8 * (size_t)length);
    k->words = ref(words);
    k->length = length;
    k->link = link;
  }
  m->state->item[STATE_NEXT] = ref(k);
  frame = bottom + 2;
  frame[-2] = LINK(0, 0, 2);
  frame[0] = ref(k);
  return frame;
}

value *continuation_resume(machine *m) {
  value next = m->state->item[STATE_NEXT];
  while (next != V_NULL && OBJ(continuation, next)->length == 0) {
    next = OBJ(continuation, next)->next;
  }
  if (next == V_NULL) {
    return NULL;
  }
  continuation *k = OBJ(continuation, next);
  const value *words = OBJ(vector, k->words)->item;
  // In `words` register 0 of the frame that goes on lies LINK_DISTANCE before where its callee's was, and its own link two words before that.
  int64_t start = k->length + 2 - (int64_t)LINK_DISTANCE(k->link) - 2;
  while (start > 0 && k->length - start < RESUMED_WORDS) {
    start = start + 2 - (int64_t)LINK_DISTANCE(words[start]) - 2;
  }
  value rest = k->next;
  if (start > 0) {
    continuation *part = allocate(m, KIND_CONTINUATION, 7, KIND_CONTINUATION);
    part->words = k->words;
    part->length = start;
    part->link = words[start];
    part->next = k->next;
    part->winders = part->handlers = part->bindings = V_NULL;
    rest = ref(part);
  }
  value *bottom = m->stack->item + 2;
  memcpy(bottom, words + start, 8 * (size_t)(k->length - start));
  bottom[0] = LINK(0, 0, 2);
  m->state->item[STATE_NEXT] = rest;
  value *frame = bottom + (k->length - start) + 2;
  frame[-2] = k->link;
  return frame;
}
