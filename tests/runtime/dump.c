// SPDX-License-Identifier: MIT
// dump.c: heap dumps: that they have what the test has made, as of one instant, with every kind of root; and that a
// dump that fails harms nobody.
//
// The reader's own loader looks at the files (runtime/tools); what that is worth, tests/tools says.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <ucontext.h>
#include "runtime/tools/heap.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"
#include "veil/hooks.h"
#include "veil/roots.h"
#include "veil/start.h"
#include "veil/weak.h"

static char path[64];

static heap_dump *load(void) {
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  heap_reach(d);
  cr_assert_eq(d->dangling, 0, "%llu references to nothing", (unsigned long long)d->dangling);
  return d;
}

static void drop(heap_dump *d) {
  heap_free(d);
  free(d);
}

static heap_dump *dump_with(unsigned flags) {
  snprintf(path, sizeof path, "/tmp/veil-dump-%d", (int)getpid());
  stack_clear();
  veil_status status = veil_heap_dump(self, path, flags);
  EXPECT(status == VEIL_OK || (fprintf(stderr, "%s\n", veil_error()), false));
  heap_dump *d = load();
  unlink(path);
  return d;
}
static heap_dump *dump(void) { return dump_with(0); }

// ---- What was made.

typedef struct pair {
  void *first;
  long number;
  void *second;
} pair;
VEIL_TYPE(pair, first, second);

typedef struct boxed {
  uint64_t word[2];
} boxed;
static const veil_encoding low_one = {.low_tags = 1 << 1, .high_min = 0x7ff0, .high_max = 0x7fff};
VEIL_TYPE_TAGGED(boxed, &low_one, word[0], word[1]);

typedef struct traced {
  uint64_t count;
  void *slot[6];
} traced;
static void traced_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                         veil_visitor *visitor) {
  const traced *t = alias;
  for (size_t i = t->count; i-- > 0;) { // from the last on
    veil_visit(visitor, offsetof(traced, slot) + 8 * i);
  }
}
VEIL_TYPE_TRACE(traced, traced_trace);

typedef struct kinds {
  node *list;
  void **pointers;
  pair *pairs;
  boxed *box;
  traced *trace;
  void *bytes, *large;
  node *self_same;
} kinds;
VEIL_TYPE(kinds, list, pointers, pairs, box, trace, bytes, large, self_same);

static kinds *made;

static __attribute__((noinline)) void kinds_make(void) {
  made = veil_new(self, kinds);
  made->list = list_make(self, 5000);
  made->pointers = veil_new_pointers(self, 100);
  made->pointers[7] = made->list;
  made->pointers[8] = made;
  made->pointers[99] = made->pointers;
  made->pairs = veil_new_array(self, pair, 50);
  made->pairs[49].second = made->list;
  made->pairs[3].first = made->pairs;
  made->box = veil_new(self, boxed);
  made->box->word[0] = (uint64_t)made->list | 1 | UINT64_C(0x7ff8) << 48;
  made->box->word[1] = (uint64_t)made->list; // not tagged: a number
  made->trace = veil_new(self, traced);
  made->trace->count = 4;
  made->trace->slot[0] = made;
  made->trace->slot[3] = made->box;
  made->trace->slot[5] = made->list; // not reported
  made->bytes = veil_new_bytes(self, 333);
  made->large = veil_new_pointers(self, 100000);
  ((void **)made->large)[99999] = made->list;
  made->self_same = veil_new(self, node);
  made->self_same->left = made->self_same;
  made->self_same->right = made->list;
}

typedef struct slots {
  const heap_dump *d;
  uint64_t of;
  int count;
  uint64_t offset[16], to[16];
} slots;
static void slot_note(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  slots *s = arg;
  if (o->address == s->of && s->count < 16) {
    s->offset[s->count] = offset;
    s->to[s->count++] = to;
  }
}
// The references of an object, in the order in which the file has them.
static slots slots_of(const heap_dump *d, uint64_t address) {
  slots s = {.d = d, .of = address};
  heap_objects_visit(d, NULL, slot_note, &s);
  return s;
}
static uint64_t at(const slots *s, uint64_t offset) {
  for (int i = 0; i < s->count; i++) {
    if (s->offset[i] == offset) {
      return s->to[i];
    }
  }
  return 0;
}

static uint64_t count_of(const heap_dump *d, const char *name) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < d->objects; i++) {
    n += (d->what[i] & HEAP_REACHED) && heap_is_of_type(d, i, name);
  }
  return n;
}

static const heap_root *root_by(const heap_dump *d, dump_by kind, unsigned n) {
  for (uint32_t i = 0; i < d->root_count; i++) {
    if (d->holders[d->roots[i].holder].kind == kind && n-- == 0) {
      return &d->roots[i];
    }
  }
  return NULL;
}

// How long the list is that begins there, over the field `right`.
static long list_in(const heap_dump *d, uint64_t address) {
  long length = 0;
  for (uint32_t o = heap_find(d, address); o != HEAP_NONE; length++) {
    uint32_t first = d->first[o];
    o = d->first[o + 1] == first ? HEAP_NONE : d->target[first];
  }
  return length;
}

static void kinds_check(const heap_dump *d) {
  cr_assert_eq(count_of(d, "kinds"), 1);
  cr_assert_geq(count_of(d, "node"), 5001); // and what dead words on the stack hold
  cr_assert_eq(count_of(d, "pair[]"), 1);
  cr_assert_eq(count_of(d, "byte[]"), 1);
  const heap_root *r = root_by(d, DUMP_BY_SLOTS, 0);
  cr_assert_not_null(r);
  cr_assert_eq(r->where, (uint64_t)&made);
  const char *name = heap_name_of(d, (uint64_t)&made);
  cr_assert(name != NULL && strncmp(name, "made", 4) == 0, "%s", name);
  uint64_t k = heap_address(d, r->object);
  slots s = slots_of(d, k);
  cr_assert_eq(s.count, 8);
  uint64_t list = at(&s, offsetof(kinds, list)), pointers = at(&s, offsetof(kinds, pointers)),
           pairs = at(&s, offsetof(kinds, pairs));
  uint64_t box = at(&s, offsetof(kinds, box)), trace = at(&s, offsetof(kinds, trace)),
           bytes = at(&s, offsetof(kinds, bytes));
  uint64_t large = at(&s, offsetof(kinds, large)), same = at(&s, offsetof(kinds, self_same));
  cr_assert_eq(list_in(d, list), 5000);
  cr_assert_eq(heap_length(d, heap_find(d, bytes)), 333);
  cr_assert_eq(heap_length(d, heap_find(d, large)), 100000);
  cr_assert_eq(heap_object_bytes(d, heap_find(d, large)), 16 + 800000);
  slots p = slots_of(d, pointers), q = slots_of(d, pairs), b = slots_of(d, box), t = slots_of(d, trace),
        l = slots_of(d, large), m = slots_of(d, same);
  cr_assert(p.count == 3 && at(&p, 56) == list && at(&p, 64) == k && at(&p, 99 * 8) == pointers);
  cr_assert(q.count == 2 && at(&q, 3 * 24) == pairs && at(&q, 49 * 24 + 16) == list);
  cr_assert(b.count == 1 && at(&b, 0) == list);
  cr_assert(t.count == 2 && at(&t, offsetof(traced, slot[0])) == k && at(&t, offsetof(traced, slot[3])) == box);
  cr_assert(l.count == 1 && at(&l, 99999 * 8) == list);
  cr_assert(m.count == 2 && at(&m, 0) == same && at(&m, 8) == list);
}

static void made_are_written(const char *back_end, veil_options options) {
  options.back_end = back_end;
  options.limit = 64 * MIB;
  options.verify = 1;
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  made = NULL;
  cr_assert_eq(veil_add_roots(heap, &made, 1), VEIL_OK);
  kinds_make();
  for (int round = 0; round < 3; round++) {
    heap_dump *d = dump_with(round == 1 ? VEIL_DUMP_AS_IS : 0);
    kinds_check(d);
    cr_assert_eq(d->info.pid, (uint64_t)getpid());
    cr_assert_eq(d->info.base, (uint64_t)veil_heap_pages(heap).base);
    drop(d);
    list_make(self, 3000); // garbage
  }
  list_check(made->list);
  veil_remove_roots(heap, &made);
  end();
}

ON_ALL_BACK_ENDS(dump, has_every_object_and_reference) { made_are_written(back_end, (veil_options){0}); }
ON_ALL_BACK_ENDS(dump, has_what_is_in_the_nursery_and_what_is_old) {
  made_are_written(back_end, (veil_options){.generations = VEIL_GENERATIONS_ON, .nursery = 256 << 10});
}
ON_ALL_BACK_ENDS(dump, works_with_polls_and_large_granules) {
  made_are_written(back_end, (veil_options){.stop = VEIL_STOP_POLL, .granule = 65536, .fork = VEIL_FORK_EXEC});
}

ON_ALL_BACK_ENDS(dump, tells_what_lives_from_what_is_dead) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB);
  made = NULL;
  cr_assert_eq(veil_add_roots(heap, &made, 1), VEIL_OK);
  kinds_make();
  made->list = made->pairs[49].second = NULL;
  heap_dump *d = dump_with(VEIL_DUMP_AS_IS);
  cr_assert_eq(count_of(d, "node"), 5001); // others refer to the list yet
  drop(d);
  made->pointers = NULL;
  made->box = NULL;
  made->trace = NULL;
  made->large = NULL;
  made->self_same = NULL;
  made->pairs = NULL;
  d = dump_with(VEIL_DUMP_AS_IS);
  uint64_t nodes = count_of(d, "node");
  cr_assert_lt(nodes, 5001); // but for what words on the stack hold
  cr_assert_gt(d->objects - d->reached, 5000 - nodes);
  drop(d);
  d = dump();
  cr_assert_lt(d->objects - d->reached, 1000, "%u objects", d->objects - d->reached);
  drop(d);
  end();
}

// ---- Every kind of root.

static node *variable = (node *)1;
static _Thread_local node *local;
static node *thread_slot, *callback_slot, *callback_range;
static veil_handle *handle;

static void roots_report(void *arg, veil_root_visitor *visitor) {
  veil_root_slot(visitor, &callback_slot);
  veil_root_range(visitor, &callback_range, &callback_range + 1);
}

static void never_called(veil_thread *me, void *object, void *data) {}

static void *started(veil_thread *me, void *object) { return object; }

static ucontext_t home, away;
static veil_stack *stack;
static char stack_memory[256 << 10] __attribute__((aligned(16)));
static void coroutine(void) {
  node *volatile mine = veil_new(self, node);
  veil_stack_switch(self, NULL);
  swapcontext(&away, &home);
  mine->key = 1;
}

static __attribute__((noinline)) void coroutine_start(void) {
  stack = veil_stack_open(self, stack_memory, sizeof stack_memory);
  *veil_stack_slot(stack) = veil_new(self, node);
  getcontext(&away);
  away.uc_stack.ss_sp = stack_memory;
  away.uc_stack.ss_size = sizeof stack_memory;
  away.uc_link = &home;
  makecontext(&away, coroutine, 0);
  veil_stack_switch(self, stack);
  swapcontext(&home, &away);
}

static uintptr_t pinned, touched, weak_owner, weak_referent;

static __attribute__((noinline)) void roots_make(void) {
  variable = veil_new(self, node);
  local = veil_new(self, node);
  thread_slot = veil_new(self, node);
  EXPECT(veil_root_set(self, "a name", veil_new(self, node)) == VEIL_OK);
  callback_slot = veil_new(self, node);
  callback_range = veil_new(self, node);
  EXPECT(veil_add_thread_roots(self, &thread_slot, 1) == VEIL_OK);
  EXPECT(veil_add_roots_callback(heap, roots_report, NULL) == VEIL_OK);
  handle = veil_handle_new(self, veil_new(self, node));
  node *p = veil_new(self, node);
  EXPECT(veil_pin(self, p) == VEIL_OK);
  pinned = ~(uintptr_t)p;
  void *t = veil_new_bytes(self, 100);
  EXPECT(veil_touch(self, (char *)t + 10, 20, true) == VEIL_OK);
  touched = ~(uintptr_t)t;
  EXPECT(veil_finalize(self, veil_new(self, node), never_called, NULL) != 0);
  node *w = veil_new(self, node);
  veil_weak *weak = veil_weak_new(self, w);
  EXPECT(veil_pin(self, weak) == VEIL_OK && veil_pin(self, w) == VEIL_OK);
  weak_owner = ~(uintptr_t)weak;
  weak_referent = ~(uintptr_t)w;
  EXPECT(veil_finalize(self, w, never_called, NULL) != 0);
}

static bool kind_holds(const heap_dump *d, dump_by kind, uint64_t address) {
  const heap_root *r;
  for (unsigned n = 0; (r = root_by(d, kind, n)) != NULL; n++) {
    if (heap_address(d, r->object) == address) {
      return true;
    }
  }
  return false;
}

static node *volatile deep_wanted;
static volatile bool deep_stands, deep_leave;
static void *stands_deep(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *mine = veil_new(me, node);
  deep_wanted = (node *)~(uintptr_t)mine;
  node *volatile on_stack = mine;
  deep_stands = true;
  while (!deep_leave) {
    veil_poll(me);
  }
  on_stack->key++;
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(dump, names_every_kind_of_root) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .data_roots = 1, .tls_roots = 1, .verify = 1);
  roots_make();
  coroutine_start();
  pthread_t begun, deep = thread_start(stands_deep, NULL);
  node *given = veil_new(self, node);
  given->right = veil_new(self, node);
  cr_assert_eq(veil_thread_start(self, &begun, NULL, started, given->right), VEIL_OK);
  while (!deep_stands) {
    sched_yield();
  }
  veil_block_begin(self);
  sleep_ms(100); // it returns
  veil_block_end(self);
  heap_dump *d = dump();
  cr_assert(kind_holds(d, DUMP_BY_STACK, ~(uint64_t)deep_wanted));
  cr_assert(kind_holds(d, DUMP_BY_VARIABLE, (uint64_t)variable));
  cr_assert(kind_holds(d, DUMP_BY_THREAD_LOCAL, (uint64_t)local));
  cr_assert(kind_holds(d, DUMP_BY_THREAD_SLOTS, (uint64_t)thread_slot));
  cr_assert(kind_holds(d, DUMP_BY_NAME, (uint64_t)veil_root_get(self, "a name")));
  cr_assert(kind_holds(d, DUMP_BY_CALLBACK_SLOT, (uint64_t)callback_slot));
  cr_assert(kind_holds(d, DUMP_BY_CALLBACK, (uint64_t)callback_range));
  cr_assert(kind_holds(d, DUMP_BY_HANDLE, (uint64_t)veil_handle_get(self, handle)));
  cr_assert(kind_holds(d, DUMP_BY_PIN, ~pinned));
  cr_assert(kind_holds(d, DUMP_BY_SYSTEM_CALL, ~touched));
  cr_assert(kind_holds(d, DUMP_BY_COROUTINE_SLOT, (uint64_t)*veil_stack_slot(stack)));
  cr_assert(kind_holds(d, DUMP_BY_START, (uint64_t)given->right));
  cr_assert_not_null(root_by(d, DUMP_BY_COROUTINE, 0));
  const heap_root *queue = root_by(d, DUMP_BY_FINALIZER_QUEUE, 0);
  cr_assert_not_null(queue);
  char text[300];
  heap_root_text(d, root_by(d, DUMP_BY_NAME, 0), text, sizeof text);
  cr_assert_str_eq(text, "named root a name");
  heap_holder_text(d, queue->holder, text, sizeof text);
  cr_assert_not_null(strstr(text, "never_called"), "%s", text);
  const heap_root *r = root_by(d, DUMP_BY_VARIABLE, 0);
  bool named = false;
  for (unsigned n = 0; (r = root_by(d, DUMP_BY_VARIABLE, n)) != NULL; n++) {
    named = named || (r->where == (uint64_t)&variable && strncmp(heap_name_of(d, r->where), "variable", 8) == 0);
  }
  cr_assert(named);
  // Links that hold nothing.
  cr_assert_eq(d->link_count, 2);
  for (uint32_t i = 0; i < 2; i++) {
    cr_assert_eq(heap_address(d, d->links[i].object), ~weak_referent);
    cr_assert_eq(d->links[i].owner, d->links[i].kind == DUMP_LINK_WEAK ? ~weak_owner : (uint64_t)never_called);
  }
  // A register, seen where the compiler keeps one: in the thread that asks, whose frames are above.
  cr_assert_eq(d->thread_count, 2);
  cr_assert(strlen(d->threads[0].name) > 0 && d->threads[0].stack_base != 0);
  drop(d);
  deep_leave = true;
  veil_block_begin(self);
  pthread_join(deep, NULL);
  veil_block_end(self);
  void *back;
  cr_assert_eq(veil_thread_join(self, begun, &back), VEIL_OK);
  cr_assert_eq(back, given->right);
  veil_untouch(self, (char *)~touched + 10);
  veil_remove_thread_roots(self, &thread_slot);
  veil_remove_roots_callback(heap, roots_report, NULL);
  veil_handle_drop(self, handle);
  variable = callback_range = local = NULL;
  end();
}

static __attribute__((noinline)) uint64_t held_in_a_register(heap_dump **d) {
  register node *kept __asm__("rbx") = veil_new(self, node);
  __asm__ volatile("" : "+r"(kept));
  *d = dump();
  __asm__ volatile("" : "+r"(kept));
  return (uint64_t)kept;
}

Test(dump, has_registers) {
  start((veil_options){.verify = 1});
  heap_dump *d;
  uint64_t kept = held_in_a_register(&d);
  // It may have been pushed on the way: then it is on the stack.
  cr_assert(kind_holds(d, DUMP_BY_REGISTERS, kept) || kind_holds(d, DUMP_BY_STACK, kept));
  drop(d);
  end();
}
