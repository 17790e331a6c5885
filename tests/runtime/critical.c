// SPDX-License-Identifier: MIT
// critical.c: in a critical section whatever was reserved can be allocated, and nothing stops or moves.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/critical.h"
#include "veil/dump.h"
#include "veil/identity.h"
#include "veil/roots.h"
#include "veil/start.h"
#include "veil/weak.h"

typedef struct table {
  long used;
  node *slot[];
} table;
VEIL_TYPE_FLEXIBLE(table, slot);
typedef struct big {
  struct big *next;
  char fill[3000];
  node *last;
} big;
VEIL_TYPE(big, next, last);

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// A random object that counts no more than `left`; what it counts is in *room. NULL: none is so small.
static void *random_make(veil_thread *here, uint64_t *random, size_t left, size_t *room) {
  static const size_t sizes[] = {0,     8,     60,    480,   496,   520,   2000,   9000,  30000,
                                 32736, 32760, 33000, 65500, 65520, 70000, 130000, 400000};
  for (int tries = 0; tries < 30; tries++) {
    size_t n = sizes[next_random(random) % (sizeof sizes / sizeof *sizes)];
    n = next_random(random) % 3 == 0 ? n + next_random(random) % 32 : n;
    size_t alignment = (size_t)16 << next_random(random) % 9;
    switch (next_random(random) % 7) {
    case 0:
      *room = veil_room(node);
      if (*room <= left) {
        return veil_new(here, node);
      }
      break;
    case 1:
      *room = veil_room_bytes(n);
      if (*room <= left) {
        return veil_new_bytes(here, n);
      }
      break;
    case 2:
      *room = veil_room_pointers(n / 8);
      if (*room <= left) {
        return veil_new_pointers(here, n / 8);
      }
      break;
    case 3:
      *room = veil_room_flexible(table, n / 8);
      if (*room <= left) {
        return veil_new_flexible(here, table, n / 8);
      }
      break;
    case 4:
      *room = veil_room_aligned(big, alignment);
      if (*room <= left) {
        return veil_new_aligned(here, big, alignment);
      }
      break;
    case 5:
      *room = veil_room_bytes_aligned(n, alignment);
      if (*room <= left) {
        return veil_new_bytes_aligned(here, n, alignment);
      }
      break;
    default:
      *room = veil_room(big);
      if (*room <= left) {
        return veil_new(here, big);
      }
    }
  }
  return NULL;
}

enum { HELD = 4000 };

// One section, filled at random, held by a list of nodes that is outside of the stack's words; returns how many
// objects.
static __attribute__((noinline)) int section_run(veil_thread *here, veil_heap *of, uint64_t *random, size_t bytes,
                                                 uintptr_t *hidden) {
  int count = 0;
  size_t left = bytes, room;
  EXPECT(veil_critical_begin(here, bytes) == VEIL_OK);
  uint64_t moves = veil_moves(of);
  for (void *made; count < HELD && (made = random_make(here, random, left, &room)) != NULL; count++) {
    hidden[count] = ~(uintptr_t)made;
    left -= room;
  }
  veil_poll(here);
  EXPECT(veil_moves(of) == moves); // neither a flip nor a minor cycle
  for (int i = 0; i < count; i++) {
    EXPECT(veil_length(of, (void *)~hidden[i]) < 1000000); // held by nothing, and still there
  }
  veil_critical_end(here);
  return count;
}

static const size_t reserved[] = {0,     16,    48,    100,   512,   600,    4000,   5000,
                                  32767, 32768, 32769, 40000, 66000, 100000, 300000, 1000000};
enum { RESERVED = sizeof reserved / sizeof *reserved };

static void sections(int rounds) {
  static uintptr_t hidden[HELD];
  uint64_t random = 88172645463325252ull;
  node *list = list_make(self, 1000);
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < RESERVED; i++) {
      section_run(self, heap, &random, reserved[i], hidden);
      if (random % 16 == 0) {
        veil_collect_start(self); // so that the next ones are in all phases of a cycle
      }
      if (random % 32 == 1) {
        veil_collect_minor(self);
      }
    }
    cr_assert_eq(list_check(list), 1000);
  }
}

ON_ALL_BACK_ENDS(critical, all_that_was_reserved_can_be_allocated) {
  START_OR_SKIP(.back_end = back_end, .limit = 96 * MIB, .verify = 2, .generations = VEIL_GENERATIONS_OFF);
  sections(20);
  end();
}
ON_ALL_BACK_ENDS(critical, all_that_was_reserved_can_be_allocated_with_a_nursery) {
  START_OR_SKIP(.back_end = back_end, .limit = 96 * MIB, .verify = 2, .generations = VEIL_GENERATIONS_ON,
                .nursery = 2 * MIB);
  sections(20);
  end();
}
ON_ALL_BACK_ENDS(critical, all_that_was_reserved_can_be_allocated_where_pages_are_larger) {
  START_OR_SKIP(.back_end = back_end, .limit = 96 * MIB, .verify = 2, .granule = 65536,
                .generations = VEIL_GENERATIONS_ON, .nursery = 2 * MIB);
  sections(20);
  end();
}
ON_ALL_BACK_ENDS(critical, all_that_was_reserved_can_be_allocated_under_torture) {
  START_OR_SKIP(.back_end = back_end, .limit = 96 * MIB, .verify = 1, .torture = 10, .generations = VEIL_GENERATIONS_ON,
                .nursery = 2 * MIB);
  sections(20);
  end();
}

// The worst for the room in blocks: objects that just do not fit behind another.
ON_ALL_BACK_ENDS(critical, objects_that_do_not_fit_behind_each_other_find_their_places) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF);
  static const size_t worst[] = {280, 496, 1300, 2032, 16400, 21900, 32736, 32753, 33000, 65500, 65536};
  for (size_t i = 0; i < sizeof worst / sizeof *worst; i++) {
    for (size_t alignment = 16; alignment <= 4096; alignment *= 16) {
      size_t room = alignment == 16 ? veil_room_bytes(worst[i]) : veil_room_bytes_aligned(worst[i], alignment);
      for (int n = 1; n < 60; n += 7) {
        cr_assert_eq(veil_critical_begin(self, n * room), VEIL_OK);
        for (int k = 0; k < n; k++) {
          cr_assert_not_null(alignment == 16 ? veil_new_bytes(self, worst[i])
                                             : veil_new_bytes_aligned(self, worst[i], alignment));
        }
        veil_critical_end(self);
      }
    }
  }
  end();
}

// What a section does not use goes back.
ON_ALL_BACK_ENDS(critical, what_is_not_used_goes_back) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF, .headroom = 16 * MIB,
                .idle = 86400000);
  veil_collect(self);
  uint64_t cycles = stats_of(heap).major_cycles, held = stats_of(heap).held_bytes;
  for (int i = 0; i < 3000; i++) {
    cr_assert_eq(veil_critical_begin(self, i % 100 == 0 ? 2 * MIB : 1000), VEIL_OK);
    veil_critical_end(self);
  }
  cr_assert_eq(stats_of(heap).major_cycles, cycles);
  cr_assert_lt(stats_of(heap).held_bytes, held + 16 * MIB);
  end();
}

// ---- Threads.

static volatile bool over;

static void *collector_main(void *unused) {
  (void)unused;
  veil_thread *here = veil_attach(heap);
  while (!over) {
    veil_collect_start(here);
    veil_collect_minor(here);
    list_check(list_make(here, 500));
    veil_poll(here);
  }
  veil_detach(here);
  return NULL;
}

static void *sections_main(void *arg) {
  veil_thread *here = veil_attach(heap);
  uint64_t random = 0x9e3779b97f4a7c15ull * (1 + (uint64_t)(uintptr_t)arg);
  uintptr_t *hidden = malloc(HELD * sizeof *hidden);
  for (int round = 0; round < 600; round++) {
    section_run(here, heap, &random, reserved[next_random(&random) % (RESERVED - 2)], hidden);
    list_check(list_make(here, 50));
    veil_poll(here);
  }
  free(hidden);
  veil_detach(here);
  return NULL;
}

static void beside_collections(void) {
  veil_detach(self);
  over = false;
  pthread_t collector = thread_start(collector_main, NULL), others[3];
  for (uintptr_t i = 0; i < 3; i++) {
    others[i] = thread_start(sections_main, (void *)i);
  }
  for (int i = 0; i < 3; i++) {
    pthread_join(others[i], NULL);
  }
  over = true;
  pthread_join(collector, NULL);
  self = veil_attach(heap);
}

ON_ALL_BACK_ENDS(critical, beside_threads_that_collect_all_the_time) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_ON, .nursery = 2 * MIB);
  beside_collections();
  end();
}
ON_ALL_BACK_ENDS(critical, beside_threads_that_collect_all_the_time_by_polls) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .stop = VEIL_STOP_POLL);
  beside_collections();
  end();
}

// ---- What may be called, and what not.

Test(critical, what_does_not_wait_may_be_called) {
  start((veil_options){.verify = 2});
  node *n = list_make(self, 10);
  veil_weak *early = veil_weak_new(self, n);
  uint64_t hash = veil_hash(self, n);
  cr_assert_eq(veil_critical_begin(self, 4096), VEIL_OK);
  veil_poll(self);
  cr_assert_eq(veil_hash(self, n), hash);
  cr_assert_eq(veil_weak_get(self, early), n);
  veil_weak *weak = veil_weak_new(self, n);
  veil_handle *handle = veil_handle_new(self, n);
  cr_assert(veil_weak_get(self, weak) == n && veil_handle_get(self, handle) == n);
  veil_handle_drop(self, handle);
  veil_external(heap, 1000);
  veil_external(heap, -1000);
  cr_assert(!veil_collecting(heap) || stats_of(heap).threads == 1);
  veil_critical_end(self);
  cr_assert_eq(list_check(n), 10);
  end();
}

typedef struct first_seen {
  long word;
} first_seen;
VEIL_LEAF(first_seen);

Test(critical, a_type_may_be_seen_there_for_the_first_time) {
  start((veil_options){.verify = 2});
  cr_assert_eq(veil_critical_begin(self, 4096), VEIL_OK);
  veil_new(self, first_seen)->word = 1;
  memset(veil_new_bytes_aligned(self, 777, 64), 1, 777);
  veil_critical_end(self);
  veil_collect(self);
  end();
}

Test(critical, sections_nest) {
  start((veil_options){.verify = 2});
  cr_assert_eq(veil_critical_begin(self, 10 * veil_room(node)), VEIL_OK);
  veil_new(self, node);
  cr_assert_eq(veil_critical_begin(self, 9 * veil_room(node)), VEIL_OK);
  for (int i = 0; i < 8; i++) {
    veil_new(self, node);
  }
  veil_critical_end(self);
  veil_new(self, node);
  veil_critical_end(self);
  veil_collect(self);
  end();
}

Test(critical, one_that_is_too_large_is_out_of_memory) {
  start((veil_options){.limit = 16 * MIB, .oom = VEIL_OOM_NULL});
  cr_assert_eq(veil_critical_begin(self, 100 * MIB), VEIL_NO_MEMORY);
  cr_assert_not_null(strstr(veil_error(), "out of memory"));
  cr_assert_eq(veil_critical_begin(self, SIZE_MAX), VEIL_NO_MEMORY);
  cr_assert_eq(veil_critical_begin(self, SIZE_MAX / 16), VEIL_NO_MEMORY);
  cr_assert_eq(veil_critical_begin(self, MIB), VEIL_OK);
  cr_assert_not_null(veil_new_bytes(self, MIB - 16));
  veil_critical_end(self);
  veil_collect(self);
  end();
}

static bool hook(void *arg, size_t bytes) {
  void **held = arg;
  bool any = *held != NULL;
  *held = NULL;
  return any && bytes >= 2 * MIB;
}
Test(critical, the_hook_is_asked_for_memory) {
  start((veil_options){.limit = 32 * MIB, .oom = VEIL_OOM_NULL});
  static void *held;
  cr_assert_eq(veil_add_roots(heap, &held, 1), VEIL_OK);
  held = veil_new_bytes(self, 20 * MIB);
  cr_assert_not_null(held);
  stack_clear();
  cr_assert_eq(veil_set_oom_hook(heap, hook, &held), VEIL_OK);
  cr_assert_eq(veil_critical_begin(self, 3 * MIB), VEIL_OK);
  cr_assert_null(held);
  veil_critical_end(self);
  end();
}

DIES(critical, more_than_was_reserved_is_noticed,
     "has reserved 1000 bytes (veil_critical_begin), of which 0 are used: an object of 5008 is too much") {
  start((veil_options){.verify = 0});
  veil_critical_begin(self, 1000);
  veil_new_bytes(self, 4992);
}
DIES(critical, more_than_was_reserved_is_noticed_at_the_end,
     "veil_critical_end: the section has reserved 40 bytes, and used 96") {
  start((veil_options){.verify = 0});
  veil_new(self, node);
  veil_critical_begin(self, 40);
  veil_new(self, node);
  veil_new(self, node);
  veil_critical_end(self);
}
DIES(critical, an_inner_section_that_is_too_large_is_noticed,
     "veil_critical_begin: 600 bytes, in a section that has reserved 1000, of which 480 are used") {
  start((veil_options){.verify = 0});
  veil_critical_begin(self, 1000);
  for (int i = 0; i < 10; i++) {
    veil_new(self, node);
  }
  veil_critical_begin(self, 600);
}
DIES(critical, an_end_without_a_begin_is_noticed, "veil_critical_end: without veil_critical_begin") {
  start((veil_options){.verify = 0});
  veil_critical_end(self);
}
DIES(critical, a_section_between_brackets_is_noticed, "veil_critical_begin: between veil_block_begin") {
  start((veil_options){.verify = 0});
  veil_block_begin(self);
  veil_critical_begin(self, 10);
}
DIES(critical, running_out_of_memory_aborts_if_it_is_to, "out of memory: a critical section of") {
  start((veil_options){.limit = 16 * MIB});
  veil_critical_begin(self, 100 * MIB);
}

#define REFUSED(NAME, FUNCTION, CALL)                                                                                  \
  DIES(critical, NAME##_is_refused, FUNCTION ": in a critical section") {                                              \
    start((veil_options){.verify = 0});                                                                                \
    node *n = veil_new(self, node);                                                                                    \
    veil_critical_begin(self, 1000);                                                                                   \
    (void)n;                                                                                                           \
    CALL;                                                                                                              \
  }
static void *a_root;
static void finalizer(veil_thread *here, void *object, void *data) { (void)here, (void)object, (void)data; }
static void root_callback(void *arg, veil_root_visitor *visitor) { (void)arg, (void)visitor; }
static void *thread_fn(veil_thread *here, void *object) { return (void)here, object; }
REFUSED(veil_collect, "veil_collect", veil_collect(self))
REFUSED(veil_collect_start, "veil_collect_start", veil_collect_start(self))
REFUSED(veil_collect_minor, "veil_collect_minor", veil_collect_minor(self))
REFUSED(veil_verify, "veil_verify", veil_verify(self))
REFUSED(veil_heap_dump, "veil_heap_dump", veil_heap_dump(self, "/tmp/never", 0))
REFUSED(veil_heap_dump_fd, "veil_heap_dump_fd", veil_heap_dump_fd(self, 1, 0))
REFUSED(veil_block_begin, "veil_block_begin", veil_block_begin(self))
REFUSED(veil_detach, "veil_detach", veil_detach(self))
REFUSED(veil_attach, "veil_attach", veil_attach(heap))
REFUSED(veil_enter, "veil_enter", veil_enter(heap))
REFUSED(veil_open, "veil_open", veil_open(NULL))
REFUSED(veil_close, "veil_close", veil_close(heap))
REFUSED(veil_touch, "veil_touch", veil_touch(self, n, 8, false))
REFUSED(veil_pin, "veil_pin", veil_pin(self, n))
REFUSED(veil_add_roots, "veil_add_roots", veil_add_roots(heap, &a_root, 1))
REFUSED(veil_add_roots_callback, "veil_add_roots_callback", veil_add_roots_callback(heap, root_callback, NULL))
REFUSED(veil_add_thread_roots, "veil_add_thread_roots", veil_add_thread_roots(self, &a_root, 1))
REFUSED(veil_finalize, "veil_finalize", veil_finalize(self, n, finalizer, NULL))
REFUSED(veil_finalizers_run, "veil_finalizers_run", veil_finalizers_run(self, 1))
REFUSED(veil_finalizers_start, "veil_finalizers_start", veil_finalizers_start(heap))
REFUSED(veil_set_oom_hook, "veil_set_oom_hook", veil_set_oom_hook(heap, hook, NULL))
REFUSED(veil_thread_start, "veil_thread_start", pthread_t thread; veil_thread_start(self, &thread, NULL, thread_fn, n))
REFUSED(fork, "fork", fork())
REFUSED(the_end_of_the_thread, "the end of this thread", pthread_exit(NULL))

DIES(critical, allocation_in_another_heap_is_refused, "allocation in another heap: in a critical section") {
  start((veil_options){.verify = 0});
  veil_heap *other = heap_open((veil_options){.verify = 0});
  veil_thread *there = veil_attach(other);
  veil_critical_begin(self, 1000);
  veil_new(there, node);
}
DIES(critical, a_section_in_another_heap_is_refused, "veil_critical_begin of another heap: in a critical section") {
  start((veil_options){.verify = 0});
  veil_heap *other = heap_open((veil_options){.verify = 0});
  veil_thread *there = veil_attach(other);
  veil_critical_begin(self, 1000);
  veil_critical_begin(there, 1000);
}
