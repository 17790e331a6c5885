// SPDX-License-Identifier: MIT
// threads.c: several threads on the same pages, each situation by itself. A plain program, so that TSan can run it:
//
//   vm_threads [back end [one in [seed]]]: of so many points where a thread may give way, it gives way at one (os_torture)

#include "vm_test.h"

#include <pthread.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 200 };

static struct world w;
static const char *back_end;
static pthread_barrier_t barrier;

static void *run_all(void *(*body)(void *), size_t n) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < n; i++) {
    EXPECT(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
  }
  for (size_t i = 0; i < n; i++) {
    pthread_join(threads[i], NULL);
  }
  return NULL;
}

static uint32_t word(size_t page) { return at32_load_acquire(&w.region->word[page]); }

// With uffd-kernel a fault may be handled late, when its thread has gone on: that leaves the page as it is, or settles it (vm.late).

static bool faults_may_be_late(void) { return strcmp(back_end, "uffd-kernel") == 0; }

static void expect_let_go(size_t page, uint32_t bits) {
  for (int i = 0; faults_may_be_late() && (word(page) & bits) != 0 && i < 10000; i++) {
    usleep(1000);
  }
  EXPECT((word(page) & bits) == 0);
}

// ---- Eight threads touch one page: it is settled once, and all see it settled.

static void slow_settle(struct world *world, size_t page, unsigned claim, bool write) {
  usleep(page % 4 * 100); // some rounds long enough to sleep on
  *alias_word(world, page) = (long)page;
}

static void *touch_each(void *arg) {
  for (size_t page = 0; page < ROUNDS; page++) {
    pthread_barrier_wait(&barrier);
    EXPECT(*view_word(&w, page) == (long)page);
    view_word(&w, page)[1 + (size_t)arg] = 1;
  }
  return NULL;
}

static void eight_threads_on_one_page_settle_it_once(void) {
  world_open(&w, back_end);
  w.also = slow_settle;
  EXPECT(vm_commit(w.region, 0, ROUNDS));
  vm_prot(w.region, 0, ROUNDS, VM_UNSCANNED, 0);
  run_all(touch_each, THREADS);
  EXPECT(world_settled(&w, VM_UNSCANNED) == ROUNDS);
  for (size_t i = 0; i < ROUNDS; i++) {
    EXPECT(at32_load_acquire(&w.page_settled[i]) == 1);
    expect_let_go(i, VM_BUSY | VM_WAIT | VM_SETTLED | VM_HELPERS);
  }
  world_close(&w);
}

// ---- Who touches a page that is taken waits until it is settled, and no longer.

static uint32_t volatile touched;

static void *touch_one(void *arg) {
  view_word(&w, 5)[(size_t)arg] = 1;
  at32_add_full(&touched, 1);
  return NULL;
}

static void a_touch_waits_for_settling_and_not_for_the_gift(void) {
  world_open(&w, back_end);
  EXPECT(vm_commit(w.region, 0, 16));
  size_t late = 0; // faults of an earlier round that have settled page 5 in a later one
  for (int round = 0; round < 20; round++) {
    vm_prot(w.region, 0, 16, VM_UNSCANNED, 0);
    at32_store(&touched, 0);
    for (size_t i = 0; i < 16; i++) {
      while (!vm_take(w.region, i, VM_UNSCANNED)) {
        EXPECT(i == 5 && faults_may_be_late());
        late += vm_prot(w.region, i, 1, VM_UNSCANNED, 0); // 0: it is at it and has not settled it yet
      }
    }
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
      pthread_create(&threads[i], NULL, touch_one, (void *)i);
    }
    usleep(round % 4 * 1000);
    EXPECT(at32_load(&touched) == 0);
    for (size_t i = 0; i < 16; i++) {
      vm_settled(w.region, i, VM_UNSCANNED);
    }
    for (size_t i = 0; i < 4; i++) {
      pthread_join(threads[i], NULL); // the page is still ours
    }
    EXPECT(word(5) & VM_BUSY);
    vm_give(w.region, 0, 16);
    expect_let_go(5, VM_BUSY | VM_SETTLED | VM_HELPERS);
    *view_word(&w, 6) = 1;
  }
  EXPECT(world_settled(&w, VM_UNSCANNED) == late && late <= 19 * 4);
  world_close(&w);
}

// ---- A new claim waits for a holder, and is in force when vm_prot returns.

static void *lay_again(void *arg) {
  EXPECT(vm_prot(w.region, 0, 16, VM_UNSCANNED, 0) == 16);
  at32_add_full(&touched, 1);
  return NULL;
}

static void a_new_claim_waits_for_whoever_holds_the_page(void) {
  world_open(&w, back_end);
  EXPECT(vm_commit(w.region, 0, 16));
  for (int round = 0; round < 20; round++) {
    vm_prot(w.region, 0, 16, VM_ABSENT, 0);
    at32_store(&touched, 0);
    for (size_t i = 0; i < 16; i++) {
      EXPECT(vm_take(w.region, i, VM_ABSENT));
      vm_settled(w.region, i, VM_ABSENT);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, lay_again, NULL);
    usleep(round % 3 * 1000);
    EXPECT(at32_load(&touched) == 0);
    vm_give(w.region, 0, 16);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 16; i++) {
      EXPECT(vm_claims(w.region, i) == VM_UNSCANNED && !(word(i) & (VM_BUSY | VM_ACCESS_READ)));
      vm_settle(w.region, i, VM_UNSCANNED, false, false);
    }
  }
  world_close(&w);
}

// ---- Threads that lay the same stamp lay each page once, and each finds it in force.

static uint32_t volatile laid;

static void *lay_stamp(void *arg) {
  for (unsigned stamp = 1; stamp <= 100; stamp++) {
    pthread_barrier_wait(&barrier);
    at32_add_full(&laid, (uint32_t)vm_prot(w.region, 0, 64, VM_UNSCANNED, (uint8_t)stamp));
    for (size_t i = 0; i < 64; i++) {
      EXPECT(!(word(i) & (VM_ACCESS_READ | VM_LAYING)) || !(word(i) & VM_UNSCANNED));
    }
    pthread_barrier_wait(&barrier);
    view_word(&w, (size_t)arg)[0] = 1; // some are settled for the next stamp
    vm_settle(w.region, 8 + (size_t)arg, VM_UNSCANNED, false, true);
  }
  return NULL;
}

static void a_stamp_is_laid_once_by_many_threads(void) {
  world_open(&w, back_end);
  EXPECT(vm_commit(w.region, 0, 64));
  vm_open(w.region, 0, 64);
  run_all(lay_stamp, THREADS);
  uint32_t left = 0;
  for (size_t i = 0; i < 64; i++) {
    left += (vm_claims(w.region, i) & VM_UNSCANNED) != 0;
  }
  EXPECT(at32_load(&laid) == world_settled(&w, VM_UNSCANNED) + left);
  at32_store(&laid, 0);
  world_close(&w);
}

// ---- No write is lost while others write and the harvester arms.

enum { WRITTEN_PAGES = 64 };
static uint32_t volatile writing;
static long last_seen[2][WRITTEN_PAGES];

static void *write_on(void *arg) {
  size_t self = (size_t)arg;
  for (long i = 1; i <= 20000; i++) {
    view_word(&w, (size_t)(i * 13 + (long)self * 7) % WRITTEN_PAGES)[self] = i;
  }
  at32_add_full(&writing, (uint32_t)-1);
  return NULL;
}

static long sum_of(size_t page) {
  long sum = 0;
  for (int i = 0; i < 4; i++) {
    sum += (long)at_load_acquire((AO_t volatile *)&alias_word(&w, page)[i]);
  }
  return sum;
}

static void see(void *arg, size_t page) { ((long *)arg)[page] = sum_of(page); }

static void no_concurrent_write_is_lost(void) {
  world_open(&w, back_end);
  EXPECT(vm_commit(w.region, 0, WRITTEN_PAGES));
  int consumers[2] = {vm_dirty_open(w.region), vm_dirty_open(w.region)};
  at32_store(&writing, 4);
  pthread_t threads[4];
  for (size_t i = 0; i < 4; i++) {
    pthread_create(&threads[i], NULL, write_on, (void *)i);
  }
  for (unsigned n = 0; at32_load_acquire(&writing) != 0; n++) {
    vm_dirty(w.region, consumers[n % 2], 0, WRITTEN_PAGES, see, last_seen[n % 2]);
    vm_prot(w.region, n % WRITTEN_PAGES, 1, VM_UNSCANNED, 0);
  }
  for (size_t i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
  for (int c = 0; c < 2; c++) {
    vm_dirty(w.region, consumers[c], 0, WRITTEN_PAGES, see, last_seen[c]);
    for (size_t i = 0; i < WRITTEN_PAGES; i++) {
      EXPECT(last_seen[c][i] == sum_of(i));
    }
  }
  world_close(&w);
}

// ---- vm_settle waits for a trap's settling.

static void *settle_by_call(void *arg) {
  for (size_t page = 0; page < ROUNDS; page++) {
    pthread_barrier_wait(&barrier);
    if ((size_t)arg % 2 != 0) {
      vm_settle(w.region, page, VM_UNSCANNED, false, (size_t)arg % 4 == 1);
      EXPECT(*alias_word(&w, page) == (long)page);
    } else {
      EXPECT(*view_word(&w, page) == (long)page);
    }
  }
  return NULL;
}

static void settling_by_call_waits_for_other_settlers(void) {
  world_open(&w, back_end);
  w.also = slow_settle;
  EXPECT(vm_commit(w.region, 0, ROUNDS));
  vm_prot(w.region, 0, ROUNDS, VM_UNSCANNED, 0);
  run_all(settle_by_call, THREADS);
  EXPECT(world_settled(&w, VM_UNSCANNED) == ROUNDS);
  world_close(&w);
}

int main(int argc, char **argv) {
  back_end = argc > 1 ? argv[1] : "mprotect";
  if (!back_end_works(back_end)) {
    return 77;
  }
#ifdef VEIL_FULL_CHECKS
  os_torture(argc > 2 ? (unsigned)atoi(argv[2]) : 0, argc > 3 ? (unsigned)atoi(argv[3]) : 1);
#endif
  bool traps = strcmp(back_end, "none") != 0;
  pthread_barrier_init(&barrier, NULL, THREADS);
  if (traps) {
    eight_threads_on_one_page_settle_it_once();
    a_touch_waits_for_settling_and_not_for_the_gift();
    a_stamp_is_laid_once_by_many_threads();
    settling_by_call_waits_for_other_settlers();
  }
  a_new_claim_waits_for_whoever_holds_the_page();
  no_concurrent_write_is_lost();
  return 0;
}
