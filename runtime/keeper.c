// SPDX-License-Identifier: MIT
// keeper.c: one thread per heap that looks after it while nobody allocates: memory that is not used goes back to the system, and what has
// died meanwhile is found by a cycle.
//
// Without it a program that lets a gigabyte go and then idles would keep it: cycles start when memory is asked for. It sleeps for good while
// nothing can have changed. (rt.keeper) It wakes no thread from a system call: a cycle of its own runs only while all threads are in brackets;
// otherwise it leaves word (`cycle_wanted`) for the next thread that asks for a buffer. A cycle that a service has asked for it begins in any case.
//
// And while they allocate, where there are no generations, it has the memory ready that they will fill next.

#include <string.h>
#include <time.h>
#include "runtime/futex.h"
#include "runtime/runtime.h"

enum {
  TICK_MS = 250,         // between looks at a heap that may be idle soon
  WAIT_MOST_MS = 128000, // between cycles that find nothing
  SMALL = 4 << 20,       // bytes in use that are not worth a cycle
  HARDLY = 1 << 20,      // bytes allocated in an interval that count as idle
  OWN_CYCLE = 3,         // times the option idle that memory is kept after a cycle of the program's
  RESTS = 16,            // a part of a processor: threads that use less, all together, are idle
};
#define UNKNOWN UINT64_MAX

// What the keeper remembers. Times in milliseconds.
typedef struct keeper {
  uint64_t idle_since;           // in every interval since then hardly anything was allocated
  uint64_t mark_at, mark_bytes;  // begin of the present interval, and allocated_bytes then …
  uint64_t mark_ran;             // … and what threads had run
  uint64_t calm_since;           // in every interval since then they hardly ran
  uint64_t cycle, cycle_seen_at; // the last cycle, by its end in nanoseconds, and when it was seen
  uint64_t ran;                  // what threads had run before it; UNKNOWN: it was not ours
  uint64_t others_seen_at;       // when the last that was not ours was seen
  uint64_t wait;                 // from there to the next cycle of ours
} keeper;

static uint64_t now_ms(void) { return vm_now() / 1000000; }
static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

// A number that changes when a thread of the heap has run, come or gone: only then can something have died.
static uint64_t threads_ran(veil_heap *heap) {
  uint64_t sum = 0;
  pthread_mutex_lock(&heap->threads_lock);
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    clockid_t clock;
    struct timespec used;
    sum += (uint64_t)t->tid << 32;
    if (pthread_getcpuclockid(t->pthread, &clock) == 0 && clock_gettime(clock, &used) == 0) {
      sum += (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
    }
  }
  pthread_mutex_unlock(&heap->threads_lock);
  return sum == UNKNOWN ? 0 : sum;
}

static bool threads_blocked(veil_heap *heap) {
  bool all = true;
  pthread_mutex_lock(&heap->threads_lock);
  for (rt_thread *t = heap->threads; t != NULL && all; t = t->next) {
    all = rt_state_of(t) == RT_BLOCKED;
  }
  pthread_mutex_unlock(&heap->threads_lock);
  return all;
}

// It is not at work meanwhile: a fork that has the lock of stops waits for who is.
static void cycle_run(veil_heap *heap) {
  rt_work_end(heap);
  rt_cycle_start_for(heap, NULL);
  while (gc_phase_now(heap->gc) != GC_IDLE && !at32_load_acquire(&heap->keeper_closing)) {
    uint32_t ended = at32_load_acquire(&heap->ended);
    if (gc_phase_now(heap->gc) != GC_IDLE) {
      rt_wait(&heap->ended, ended, TICK_MS);
    }
  }
  rt_work_begin(heap);
}

static void trim_idle(veil_heap *heap) {
  while (!at32_load_acquire(&heap->keeper_closing) && gc_trim_idle(heap->gc)) {
    rt_work_pause(heap); // a step at a time
  }
}

// The heap is idle, and a cycle is due if there is a chance that it finds something.
static void cycle_consider(veil_heap *heap, keeper *k) {
  uint64_t before = gc_used_bytes(heap->gc), ran = threads_ran(heap);
  if (before < SMALL || ran == k->ran) {
    return;
  }
  if (!threads_blocked(heap)) {
    at32_store_release(&heap->cycle_wanted, 1);
    k->wait = min64(k->wait * 2, WAIT_MOST_MS);
    k->cycle_seen_at = now_ms();
    return;
  }
  gc_empty_gladly(heap->gc);
  at_add(&heap->idle_cycles, 1);
  cycle_run(heap);
  trim_idle(heap);
  uint64_t after = gc_used_bytes(heap->gc);
  bool found = after < before - before / 8;
  k->wait = found ? heap->options.idle : min64(k->wait * 2, WAIT_MOST_MS);
  k->ran = ran;
  k->cycle = at_load(&heap->gc->cycle_ended_ns);
  k->cycle_seen_at = now_ms();
}

// Whether threads allocate. What is allocated by and by, less than `HARDLY` per interval, does not count.
static bool is_active(veil_heap *heap, keeper *k, uint64_t now) {
  uint64_t allocated = at_load(&heap->gc->allocated_bytes);
  uint64_t hardly = HARDLY + gc_used_bytes(heap->gc) / 64;
  bool active = allocated - k->mark_bytes > hardly;
  if (active || now - k->mark_at >= heap->options.idle) {
    // A server that hardly allocates has no use for a cycle, but would feel it. (A thread that has come or gone counts as having run.)
    uint64_t ran = threads_ran(heap);
    k->calm_since = ran - k->mark_ran > (now - k->mark_at) * (1000000 / RESTS) ? now : k->calm_since;
    k->mark_ran = ran;
    k->mark_at = now;
    k->mark_bytes = allocated;
  }
  return active;
}

// One look. Milliseconds to the next.
static uint64_t look(veil_heap *heap, keeper *k, uint64_t tick) {
  uint64_t now = now_ms();
  if (at32_load_acquire(&heap->trim_wanted)) {
    at32_store_release(&heap->trim_wanted, 0);
    while (gc_trim(heap->gc)) {
      rt_work_pause(heap); // a step at a time
    }
  }
  if (at32_load_acquire(&heap->cycle_asked) && gc_phase_now(heap->gc) == GC_IDLE && !rt_restore_reads(heap->restore)) {
    cycle_run(heap); // its flip takes the word back
  }
  // What is still being read in would be read by a cycle at once, and copied.
  if (is_active(heap, k, now) | rt_restore_reads(heap->restore)) {
    k->idle_since = now;
    k->wait = heap->options.idle;
  }
  if (gc_phase_now(heap->gc) != GC_IDLE) {
    return tick;
  }
  uint64_t cycle = at_load(&heap->gc->cycle_ended_ns);
  if (k->cycle != cycle) {
    k->cycle = cycle;
    k->cycle_seen_at = k->others_seen_at = now;
    k->ran = UNKNOWN;
  }
  // What the program's own cycle has freed it may want for the next, though it allocates nothing in between: to have the memory anew makes that one
  // longer by a third.
  if (now - k->idle_since < heap->options.idle || now - k->others_seen_at < OWN_CYCLE * heap->options.idle) {
    return tick;
  }
  trim_idle(heap);
  uint64_t due = max64(max64(k->idle_since, k->calm_since), k->cycle_seen_at) + k->wait;
  if (now < due) {
    return max64(tick, due - now);
  }
  cycle_consider(heap, k);
  // If nobody runs there is less and less reason to ask.
  return max64(max64(tick, k->wait), min64((now - k->idle_since) / 4, WAIT_MOST_MS));
}

// Memory that mutators will want soon. What the system takes for it, they need not wait for.
static void provide(veil_heap *heap) {
  if (at32_load_acquire(&heap->provide_wanted)) {
    at32_store_release(&heap->provide_wanted, 0);
    rt_work_begin(heap);
    while (!at32_load_acquire(&heap->keeper_closing) && gc_provide_open(heap->gc)) {
      rt_work_pause(heap);
    }
    rt_work_end(heap);
  }
}

static void *keeper_main(void *arg) {
  veil_heap *heap = arg;
  uint64_t tick = heap->options.idle / 4;
  tick = max64(min64(tick, TICK_MS), 5);
  keeper k = {.idle_since = now_ms(), .ran = UNKNOWN, .wait = heap->options.idle};
  k.mark_at = k.cycle_seen_at = k.calm_since = k.idle_since;
  for (uint32_t work; work = at32_load_acquire(&heap->keeper_work), !at32_load_acquire(&heap->keeper_closing);) { // in this order, as a scanner
    rt_work_begin(heap);
    uint64_t ms = look(heap, &k, tick);
    rt_work_end(heap);
    // Who asks for a buffer wakes it from a long sleep, but not more often than once per tick.
    at32_store_release(&heap->keeper_asleep, ms > tick);
    rt_wait(&heap->keeper_work, work, (unsigned)ms);
    provide(heap);
    if (at32_load_acquire(&heap->keeper_work) != work && ms > tick && !at32_load_acquire(&heap->keeper_closing)) {
      at32_store_release(&heap->keeper_asleep, 0);
      rt_wait(&heap->keeper_closing, 0, (unsigned)tick);
    }
  }
  return NULL;
}

void rt_keeper_wake_slow(veil_heap *heap) {
  if (at32_cas_full(&heap->keeper_asleep, 1, 0)) {
    rt_post(&heap->keeper_work);
  }
}

void rt_keeper_provide(void *arg) {
  veil_heap *heap = arg;
  if (heap->keeper_runs && at32_cas_full(&heap->provide_wanted, 0, 1)) {
    rt_post(&heap->keeper_work);
  }
}

void rt_keeper_trim(veil_heap *heap) {
  at32_store_release(&heap->trim_wanted, 1);
  rt_post(&heap->keeper_work);
}

bool rt_keeper_start(veil_heap *heap) {
  sigset_t saved;
  at32_store(&heap->keeper_closing, 0);
  os_signals_block(&saved);
  int error = pthread_create(&heap->keeper, NULL, keeper_main, heap);
  os_signals_restore(&saved);
  if (error != 0) {
    rt_error_set("cannot start the keeper thread: %s", strerror(error));
    return false;
  }
  pthread_setname_np(heap->keeper, "veil-keeper");
  heap->keeper_runs = true;
  return true;
}

void rt_keeper_stop(veil_heap *heap) {
  if (heap->keeper_runs) {
    at32_store_release(&heap->keeper_closing, 1);
    os_wake_all(&heap->keeper_closing);
    rt_post(&heap->keeper_work);
    rt_post(&heap->ended); // it may wait for a cycle
    pthread_join(heap->keeper, NULL);
    heap->keeper_runs = false;
  }
}
