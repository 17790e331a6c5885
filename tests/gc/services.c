// SPDX-License-Identifier: MIT
// services.c: claims of services on pages, and pages that a system call uses, through cycles.

#include <criterion/criterion.h>
#include <unistd.h>
#include "tests/gc/fake.h"

// ---- A service that keeps pages' contents outside, and knows which pages it has claims on.

enum { PAGE_MAX = 65536, PAGES_MAX = 20000 };
static char *away[PAGES_MAX];       // ABSENT: the contents
static bool unsaved_on[PAGES_MAX];
static char *saved[PAGES_MAX];      // UNSAVED: the contents when the claim was laid, to compare
static size_t absent_calls, unsaved_calls;

static void absent_settle(fake *f, size_t page) {
  EXPECT(page < PAGES_MAX && away[page] != NULL);
  memcpy(gc_page_alias(f->gc, page), away[page], f->gc->page_size);
  free(away[page]);
  away[page] = NULL;
  absent_calls++;
  at_add_full(&f->gc->service_claims, (uint64_t)-1);
}

static void unsaved_settle(fake *f, size_t page) {
  EXPECT(page < PAGES_MAX && unsaved_on[page]);
  // Nobody may have written it since the claim was laid, the collector neither.
  EXPECT(memcmp(saved[page], gc_page_alias(f->gc, page), f->gc->page_size) == 0);
  unsaved_on[page] = false;
  free(saved[page]);
  unsaved_calls++;
  at_add_full(&f->gc->service_claims, (uint64_t)-1);
}

static void absent_lay(fake *f, size_t page) {
  if (page >= PAGES_MAX || away[page] != NULL || unsaved_on[page] || !gc_page_in_use(f->gc, page)) {
    return;
  }
  at_add_full(&f->gc->service_claims, 1);
  vm_prot(f->gc->region, page, 1, VM_ABSENT, 0);
  char *alias = gc_page_alias(f->gc, page);
  away[page] = malloc(PAGE_MAX);
  memcpy(away[page], alias, f->gc->page_size);
  memset(alias, 0xee, f->gc->page_size); // who reads it now without asking reads nonsense
}

static void unsaved_lay(fake *f, size_t page) {
  if (page >= PAGES_MAX || unsaved_on[page] || away[page] != NULL || !gc_page_in_use(f->gc, page)) {
    return;
  }
  at_add_full(&f->gc->service_claims, 1);
  vm_prot(f->gc->region, page, 1, VM_UNSAVED, 0);
  unsaved_on[page] = true;
  saved[page] = malloc(PAGE_MAX);
  memcpy(saved[page], gc_page_alias(f->gc, page), f->gc->page_size);
}

static void service_start(fake *f) {
  f->absent = absent_settle;
  f->unsaved = unsaved_settle;
  memset(away, 0, sizeof away);
  memset(unsaved_on, 0, sizeof unsaved_on);
  absent_calls = unsaved_calls = 0;
}

// Drops all claims that are left.
static void service_end(fake *f) {
  for (size_t page = 0; page < f->gc->region->pages && page < PAGES_MAX; page++) {
    if (away[page] != NULL && (vm_claims(f->gc->region, page) & VM_ABSENT)) {
      vm_settle(f->gc->region, page, VM_ABSENT, true, true);
    }
    if (unsaved_on[page]) {
      vm_settle(f->gc->region, page, VM_UNSAVED, true, true);
    }
    free(away[page]); // of pages that died
    away[page] = NULL;
  }
}

static size_t page_of(fake *f, const void *object) { return gc_page_at(f->gc, (uintptr_t)object); }

ON_TRAPPING_BACK_ENDS(services, the_collector_fetches_absent_contents_before_it_reads_them) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  service_start(f);
  fake_list(f, 0, 2000);
  f->root[1] = fake_array(f, &type_byte, 3000);
  fake_fill(f->root[1], 3000, 1);
  void **large = f->root[2] = fake_array(f, &type_pointer, 10000);
  large[7000] = f->root[0];
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    if (p->key % 200 == 0) {
      pair *next = p->right;
      absent_lay(f, page_of(f, p));
      p = next;
    }
  }
  absent_lay(f, page_of(f, f->root[1]));
  absent_lay(f, page_of(f, &large[7000]));
  absent_lay(f, page_of(f, large));
  fake_cycle(f);
  cr_assert_gt(absent_calls, 5);
  cr_assert_eq(fake_list_length(f, 0), 2000);
  cr_assert(fake_filled(f->root[1], 3000, 1));
  cr_assert_eq(((void **)f->root[2])[7000], f->root[0]);
  service_end(f);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(services, the_collector_has_a_page_saved_before_it_writes_a_header_or_a_slot) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  service_start(f);
  fake_list(f, 0, 2000);
  void **large = f->root[2] = fake_array(f, &type_pointer, 10000);
  large[7000] = f->root[0];
  pair *pinned = fake_new(f, &type_pair);
  pinned->left = f->root[0];
  f->word[0] = (uintptr_t)pinned;
  for (int cycle = 0; cycle < 4; cycle++) {
    for (pair *p = f->root[0]; p != NULL; p = p->right) {
      unsaved_lay(f, page_of(f, p)); // compares at every settlement
    }
    unsaved_lay(f, page_of(f, pinned));
    unsaved_lay(f, page_of(f, &large[7000]));
    unsaved_lay(f, page_of(f, large));
    size_t before = unsaved_calls;
    fake_flip(f);
    ((pair *)f->root[0])->more = cycle;
    fake_finish(f);
    cr_assert_gt(unsaved_calls, before);
    cr_assert_eq(fake_list_length(f, 0), 2000);
    cr_assert_eq(((pair *)f->root[0])->more, cycle);
  }
  service_end(f);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(services, claims_in_mid_cycle_on_grey_and_black_pages_are_all_settled_or_discarded) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  service_start(f);
  srand(3);
  fake_list(f, 0, 3000);
  f->root[2] = fake_array(f, &type_pointer, 20000);
  for (int cycle = 0; cycle < 30; cycle++) {
    fake_flip(f);
    size_t used = gc_block_page(f->gc, (uint32_t)f->gc->fresh);
    for (int i = 0; i < 60; i++) {
      size_t page = (size_t)rand() % used;
      if (rand() % 2) {
        absent_lay(f, page);
      } else {
        unsaved_lay(f, page);
      }
      unsaved_lay(f, page_of(f, f->root[2]) + (size_t)rand() % 40);
      if (rand() % 4 == 0) {
        fake_step(f);
      }
      if (rand() % 8 == 0) {
        pair *p = fake_new(f, &type_pair);
        EXPECT(p != NULL);
        *p = *(pair *)f->root[0];
        f->root[0] = p;
      }
    }
    fake_finish(f);
    for (size_t page = 0; page < f->gc->region->pages && page < PAGES_MAX; page++) {
      if (away[page] != NULL && !(vm_claims(f->gc->region, page) & VM_ABSENT)) {
        free(away[page]); // discarded: the page died
        away[page] = NULL;
        at_add_full(&f->gc->service_claims, (uint64_t)-1);
      }
    }
    cr_assert_eq(fake_list_length(f, 0), 3000);
  }
  cr_assert_gt(f->discarded, 0);
  cr_assert_gt(absent_calls, 0);
  cr_assert_gt(unsaved_calls, 0);
  service_end(f);
  fake_close(f);
}

// While somebody settles another claim of a grey page the page is BUSY, and scanners pass it by. It must be found again.
static void scan_meanwhile(fake *f, size_t page) {
  while (fake_step(f)) {
  }
  unsaved_settle(f, page);
}

ON_TRAPPING_BACK_ENDS(services, a_grey_page_that_was_busy_when_scanners_came_by_is_scanned_later) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  service_start(f);
  fake_list(f, 0, 20000);
  void **large = f->root[1] = fake_array(f, &type_pointer, 20000);
  large[15000] = f->root[0];
  fake_flip(f);
  f->unsaved = scan_meanwhile;
  size_t pages[2] = {page_of(f, &large[15000]), 0};
  for (size_t page = 0; page < gc_block_page(f->gc, (uint32_t)f->gc->fresh); page++) {
    if (gc_page_in_use(f->gc, page) && (vm_claims(f->gc->region, page) & VM_UNSCANNED)) {
      pages[1] = page;
    }
  }
  for (int i = 0; i < 2; i++) {
    unsaved_lay(f, pages[i]);
    vm_settle(f->gc->region, pages[i], VM_UNSAVED, true, false); // the service, by itself
  }
  fake_finish(f); // aborts if it finds nothing more to scan before the end
  cr_assert_eq(fake_list_length(f, 0), 20000);
  service_end(f);
  fake_close(f);
}

// ---- Pages that a system call uses.

static bool open_to_the_system(const void *address) {
  char byte;
  int ends[2];
  EXPECT(pipe(ends) == 0);
  bool ok = write(ends[1], address, 1) == 1 && read(ends[0], &byte, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return ok;
}

static void touch(fake *f, int slot, void *base, size_t bytes) {
  gc_touch_pin(f->gc, (uintptr_t)base, (uintptr_t)base + bytes);
  f->touch_limit[slot] = (uintptr_t)base + bytes;
  f->touch_base[slot] = (uintptr_t)base;
  gc_touch_open(f->gc, (uintptr_t)base, (uintptr_t)base + bytes, true);
}

ON_TRAPPING_BACK_ENDS(services, a_touched_range_stays_open_and_in_place_whenever_it_was_touched) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, 2000);
  static const size_t lengths[] = {5, 300, 3000, 20000}; // small, medium, medium, large
  for (size_t k = 0; k < 4; k++) {
    for (int when = 0; when < 3; when++) {
      void **object = f->root[1] = fake_array(f, &type_pointer, lengths[k]);
      EXPECT(object != NULL);
      object[lengths[k] - 1] = fake_new(f, &type_pair);
      ((pair *)object[lengths[k] - 1])->key = 5;
      if (when == 0) { // between cycles
        touch(f, 0, object, lengths[k] * 8);
        fake_flip(f);
      } else if (when == 1) { // right after a flip, where it is grey
        fake_flip(f);
        object = f->root[1];
        touch(f, 0, object, lengths[k] * 8);
      } else { // in mid-cycle
        fake_flip(f);
        object = f->root[1];
        fake_step(f);
        touch(f, 0, object, lengths[k] * 8);
      }
      for (int cycle = 0; cycle < 3; cycle++) {
        cr_assert(open_to_the_system(object) && open_to_the_system(object + lengths[k] - 1));
        while (fake_step(f)) {
          cr_assert(open_to_the_system(object) && open_to_the_system(object + lengths[k] - 1));
        }
        fake_finish(f);
        cr_assert(open_to_the_system(object));
        cr_assert(cycle == 0 || f->root[1] == (void *)object, "it moved while it was touched");
        cr_assert_eq(((pair *)object[lengths[k] - 1])->key, 5);
        fake_flip(f);
        cr_assert_eq(f->root[1], (void *)object);
      }
      f->touch_base[0] = 0;
      fake_finish(f);
      fake_cycle(f);
      cr_assert_eq(((pair *)((void **)f->root[1])[lengths[k] - 1])->key, 5);
      cr_assert_eq(fake_list_length(f, 0), 2000);
    }
  }
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(services, a_touched_page_of_a_kept_block_is_not_veiled_either) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  fake_list(f, 0, 5000);
  pair *p = f->root[0];
  for (int i = 0; i < 2500; i++) {
    p = p->right;
  }
  f->root[1] = p;
  touch(f, 0, p, sizeof *p);
  fake_limit(f, 0);
  fake_flip(f);
  do {
    cr_assert(open_to_the_system(p));
  } while (fake_step(f));
  cr_assert_gt(f->gc->kept_blocks, 0);
  // When the call has ended, somebody who has just found no memory keeps the block once more. The scanner may hold the page in a run then.
  f->touch_base[0] = 0;
  gc_block_keep(f->gc, gc_block_of(f->gc, (uintptr_t)p), false);
  cr_assert(open_to_the_system(p));
  fake_finish(f);
  cr_assert_eq(f->root[1], (void *)p);
  f->gc->limit = (size_t)8 << 20;
  cr_assert_eq(fake_list_length(f, 0), 5000);
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 0), 5000);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(services, claims_on_a_large_object_that_dies_end_before_its_memory_is_used_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 << 20);
  service_start(f);
  enum { BYTES = 300000 };
  for (int round = 0; round < 6; round++) {
    bool raw = round % 2;
    char *object = f->root[0] = raw ? fake_array_raw(f, &type_byte, BYTES) : fake_array(f, &type_byte, BYTES);
    size_t first = page_of(f, object), last = page_of(f, object + BYTES - 1);
    for (size_t i = 0; i < BYTES && !raw; i++) {
      cr_assert_eq(object[i], 0, "byte %zu in round %d", i, round);
    }
    fake_fill(object, BYTES, (unsigned)round);
    for (size_t page = first; page <= last; page++) {
      (page % 3 == 0 ? absent_lay : unsaved_lay)(f, page);
    }
    cr_assert(fake_filled(object, BYTES, (unsigned)round));
    for (size_t page = first; page <= last; page++) {
      (page % 3 == 0 ? absent_lay : unsaved_lay)(f, page);
    }
    size_t discarded = f->discarded, saved_before = unsaved_calls;
    f->root[0] = NULL;
    fake_cycle(f);
    cr_assert_gt(f->discarded, discarded);
    cr_assert_gt(unsaved_calls, saved_before);
    for (size_t page = first; page <= last; page++) {
      cr_assert_eq(vm_claims(f->gc->region, page) & (VM_ABSENT | VM_UNSAVED), 0);
      free(away[page]);
      away[page] = NULL;
    }
    cr_assert_gt(gc_kept_bytes(f->gc), BYTES, "its memory is there");
  }
  service_end(f);
  fake_close(f);
}
