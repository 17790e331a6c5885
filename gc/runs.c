// SPDX-License-Identifier: MIT
// runs.c: which blocks of the large zone are free: runs in bins by length, best fit, coalesced by the lengths at their ends.
//
// Runs may have memory, of objects that died (gc.kept). These are found first, the one that died last before the others: it is the likeliest to
// be in the caches. Mutators in their slow half, the sweeper, and who gives memory back: each takes `large_lock` for a few hundred
// instructions, never for a system call. A run that has been taken is its holder's alone.

#include "gc/runs.h"

#include <sched.h>
#include "vm/check.h"

enum {
  EXACT = 32, // lengths that have a bin of their own; then 8 bins per power of two
  LOOK = 16,  // runs of a bin looked at for one that is long enough
};

void gc_large_lock(gc_heap *heap) {
  while (!at_cas_full(&heap->large_lock, 0, 1)) {
    sched_yield();
  }
}

void gc_large_unlock(gc_heap *heap) { at_store_release(&heap->large_lock, 0); }

// ---- Bins. Blocks are counted from the zone's start here.

static unsigned bin_of(uint32_t length) {
  if (length <= EXACT) {
    return length - 1;
  }
  unsigned power = 31 - (unsigned)__builtin_clz(length);
  return EXACT + (power - 5) * 8 + (length >> (power - 3) & 7);
}

static void run_link(gc_runs *runs, uint32_t run, uint32_t length, uint32_t pages) {
  unsigned kept = pages != 0, bin = bin_of(length);
  uint32_t first = runs->first[kept][bin];
  runs->length[run] = runs->length[run + length - 1] = length;
  runs->pages[run] = pages;
  runs->next[run] = first;
  runs->prev[run] = GC_NONE;
  if (first != GC_NONE) {
    runs->prev[first] = run;
  } else {
    runs->last[kept][bin] = run;
    runs->some[kept][bin / 64] |= (uint64_t)1 << bin % 64;
  }
  runs->first[kept][bin] = run;
}

static void run_unlink(gc_runs *runs, uint32_t run) {
  uint32_t length = runs->length[run], next = runs->next[run], prev = runs->prev[run];
  unsigned kept = runs->pages[run] != 0, bin = bin_of(length);
  *(prev != GC_NONE ? &runs->next[prev] : &runs->first[kept][bin]) = next;
  *(next != GC_NONE ? &runs->prev[next] : &runs->last[kept][bin]) = prev;
  if (runs->first[kept][bin] == GC_NONE) {
    runs->some[kept][bin / 64] &= ~((uint64_t)1 << bin % 64);
  }
  runs->length[run] = runs->length[run + length - 1] = 0;
}

// The first bin from `bin` on that is not empty, or GC_RUN_BINS.
static unsigned bin_next(const gc_runs *runs, unsigned kept, unsigned bin) {
  for (unsigned word = bin / 64; word < GC_RUN_BINS / 64; word++) {
    uint64_t some = runs->some[kept][word] & (word == bin / 64 ? ~(uint64_t)0 << bin % 64 : ~(uint64_t)0);
    if (some) {
      return word * 64 + (unsigned)__builtin_ctzll(some);
    }
  }
  return GC_RUN_BINS;
}

// The shortest of the first runs of a bin that have `count` blocks, or GC_NONE.
static uint32_t bin_fit(const gc_runs *runs, unsigned kept, unsigned bin, uint32_t count) {
  uint32_t best = GC_NONE, run = runs->first[kept][bin];
  for (int i = 0; run != GC_NONE && i < LOOK; i++, run = runs->next[run]) {
    uint32_t length = runs->length[run];
    if (length >= count && (best == GC_NONE || length < runs->length[best])) {
      best = run;
      if (length == count) {
        break;
      }
    }
  }
  return best;
}

static uint32_t run_find(const gc_runs *runs, unsigned kept, uint32_t count) {
  uint32_t run = GC_NONE;
  for (unsigned bin = bin_next(runs, kept, bin_of(count)); run == GC_NONE && bin < GC_RUN_BINS;
       bin = bin_next(runs, kept, bin + 1)) {
    run = bin_fit(runs, kept, bin, count); // in all bins but perhaps the first every run is long enough
  }
  return run;
}

// ---- Taking and putting.

static size_t pages_sum(const gc_heap *heap, uint32_t run, uint32_t count) {
  size_t high = at32_load(&heap->large_high) - heap->small_blocks; // none has memory from there on
  size_t limit = (size_t)run + count < high ? (size_t)run + count : high, sum = 0;
  for (size_t i = run; i < limit; i++) {
    sum += heap->large_pages[i];
  }
  return sum;
}

static void bins_reset(gc_runs *runs) {
  for (unsigned i = 0; i < 2 * GC_RUN_BINS; i++) {
    runs->first[i / GC_RUN_BINS][i % GC_RUN_BINS] = runs->last[i / GC_RUN_BINS][i % GC_RUN_BINS] = GC_NONE;
  }
}

void gc_runs_rebuild(gc_heap *heap) {
  gc_runs *runs = &heap->runs;
  uint32_t end = heap->blocks - heap->small_blocks, high = at32_load(&heap->large_high) - heap->small_blocks;
  run_unlink(runs, 0); // the only one
  for (uint32_t i = 0, free; i < end; i = free) {
    for (free = i; free < high && heap->large_size[free] == 0; free++) {
    }
    free = free < high ? free : end;
    if (free > i) {
      run_link(runs, i, free - i, 0);
    }
    if (free < end) {
      free += (uint32_t)((heap->large_size[free] + GC_BLOCK - 1) >> GC_BLOCK_SHIFT);
    }
  }
}

void gc_runs_reset(gc_heap *heap) {
  gc_runs *runs = &heap->runs;
  for (unsigned i = 0; i < 2 * GC_RUN_BINS; i++) {
    for (uint32_t run; (run = runs->first[i / GC_RUN_BINS][i % GC_RUN_BINS]) != GC_NONE;) {
      run_unlink(runs, run);
    }
  }
  run_link(runs, 0, heap->blocks - heap->small_blocks, 0);
  at_store(&heap->kept_free, 0);
  at_store(&heap->kept_tails, 0);
  at_store(&heap->kept_due, 0);
  heap->kept_low = heap->kept_low_before = 0;
}

void gc_runs_open(gc_heap *heap) {
  gc_runs *runs = &heap->runs;
  bins_reset(runs);
  at32_store(&heap->large_high, heap->small_blocks);
  run_link(runs, 0, heap->blocks - heap->small_blocks, 0);
}

// The memory of a run that was taken is kept no more.
static void kept_less(gc_heap *heap, size_t pages) {
  at_store(&heap->kept_free, at_load(&heap->kept_free) - (pages << heap->page_shift));
}

// `count` blocks of a free run, from its start, or from its end if that has more memory. The rest is a free run again.
static uint32_t run_split(gc_heap *heap, uint32_t run, uint32_t count) {
  gc_runs *runs = &heap->runs;
  uint32_t length = runs->length[run], pages = runs->pages[run];
  run_unlink(runs, run);
  if (pages == 0) {
    if (length > count) {
      run_link(runs, run + count, length - count, 0);
    }
    return run;
  }
  uint32_t start = (uint32_t)pages_sum(heap, run, count), end = (uint32_t)pages_sum(heap, run + length - count, count);
  bool from_end = end > start;
  if (length > count) {
    run_link(runs, from_end ? run : run + count, length - count, pages - (from_end ? end : start));
  }
  kept_less(heap, from_end ? end : start);
  heap->kept_low = at_load(&heap->kept_free) < heap->kept_low ? at_load(&heap->kept_free) : heap->kept_low;
  return from_end ? run + length - count : run;
}

gc_run gc_run_take(gc_heap *heap, uint32_t count) {
  gc_large_lock(heap);
  uint32_t run = run_find(&heap->runs, 1, count);
  run = run != GC_NONE ? run : run_find(&heap->runs, 0, count);
  if (run == GC_NONE) {
    gc_large_unlock(heap);
    return (gc_run){0, 0};
  }
  uint32_t block = heap->small_blocks + run_split(heap, run, count);
  if (block + count > at32_load(&heap->large_high)) {
    at32_store(&heap->large_high, block + count);
  }
  gc_large_unlock(heap);
  return (gc_run){block, count};
}

gc_run gc_run_take_kept(gc_heap *heap) {
  gc_runs *runs = &heap->runs;
  gc_run taken = {0, 0};
  gc_large_lock(heap);
  for (unsigned word = GC_RUN_BINS / 64; word-- > 0;) {
    if (runs->some[1][word]) {
      unsigned bin = word * 64 + 63 - (unsigned)__builtin_clzll(runs->some[1][word]);
      uint32_t run = runs->last[1][bin];
      taken = (gc_run){heap->small_blocks + run, runs->length[run]};
      size_t pages = runs->pages[run];
      run_unlink(runs, run);
      kept_less(heap, pages);
      break;
    }
  }
  gc_large_unlock(heap);
  return taken;
}

void gc_run_put(gc_heap *heap, gc_run put) {
  gc_runs *runs = &heap->runs;
  uint32_t run = put.block - heap->small_blocks, length = put.count, end = heap->blocks - heap->small_blocks;
  size_t pages = pages_sum(heap, run, length);
  gc_large_lock(heap);
  at_store(&heap->kept_free, at_load(&heap->kept_free) + (pages << heap->page_shift));
  // A length beside us is that of a run's last or first block: what is taken has none.
  uint32_t before = run > 0 ? runs->length[run - 1] : 0;
  uint32_t behind = run + length < end ? runs->length[run + length] : 0;
  if (behind) {
    pages += runs->pages[run + length];
    run_unlink(runs, run + length);
    length += behind;
  }
  if (before) {
    run -= before;
    pages += runs->pages[run];
    run_unlink(runs, run);
    length += before;
  }
  run_link(runs, run, length, (uint32_t)pages);
  gc_large_unlock(heap);
}

// ---- Verification.

static void run_verify(const gc_heap *heap, uint32_t run, const char *when) {
  const gc_runs *runs = &heap->runs;
  uint32_t length = runs->length[run], high = at32_load(&heap->large_high) - heap->small_blocks;
  if (runs->length[run + length - 1] != length) {
    vm_fatal("verify %s: the free run at block %u is %u blocks long, and %u by its end [gc.kept]", when, heap->small_blocks + run,
             length, runs->length[run + length - 1]);
  }
  if (runs->pages[run] != pages_sum(heap, run, length)) {
    vm_fatal("verify %s: the free run at block %u has %zu pages of memory, and %u are counted [gc.kept]", when,
             heap->small_blocks + run, pages_sum(heap, run, length), runs->pages[run]);
  }
  for (uint32_t i = run; i < run + length && i < high; i++) {
    if (gc_space(heap, heap->small_blocks + i) != 0) {
      vm_fatal("verify %s: block %u is free and in a space [gc.kept]", when, heap->small_blocks + i);
    }
  }
}

void gc_runs_verify(gc_heap *heap, const char *when) {
  const gc_runs *runs = &heap->runs;
  uint32_t end = heap->blocks - heap->small_blocks;
  size_t kept = 0;
  gc_large_lock(heap);
  for (uint32_t i = 0; i < end;) {
    uint32_t length = runs->length[i];
    if (length) {
      run_verify(heap, i, when);
      kept += (size_t)runs->pages[i] << heap->page_shift;
      if (i + length < end && runs->length[i + length]) {
        vm_fatal("verify %s: two free runs meet at block %u [gc.kept]", when, heap->small_blocks + i + length);
      }
    } else { // an object's, or somebody has just taken it
      length = (uint32_t)((heap->large_size[i] + GC_BLOCK - 1) >> GC_BLOCK_SHIFT);
    }
    i += length ? length : 1;
  }
  if (kept != at_load(&heap->kept_free)) {
    vm_fatal("verify %s: free runs keep %zu bytes, and %zu are counted [gc.kept]", when, kept, (size_t)at_load(&heap->kept_free));
  }
  gc_large_unlock(heap);
}
