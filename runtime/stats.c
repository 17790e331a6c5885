// SPDX-License-Identifier: MIT
// stats.c: figures for people and benchmarks. Any thread; nothing stops for it.

#include "runtime/runtime.h"

RT_EXPORT void veil_get_stats(veil_heap *heap, veil_stats *out) {
  gc_heap *gc = heap->gc;
  // The last flip's span may still grow while its mutators wake up, so it enters the histogram at the next flip; here it is added by hand.
  uint64_t last = at_load(&heap->stop_span_ns);
  uint64_t max = at_load(&heap->flip_max_ns);
  uint64_t p50 = vm_histogram_at(heap->flip_histogram, 0.5);
  *out = (veil_stats){
      .major_cycles = gc->cycle,
      .flip_max_ns = last > max ? last : max,
      .flip_p50_ns = p50 ? p50 : last,
      .flip_total_ns = at_load(&heap->flip_total_ns) + last,
      .traps = at_load(&gc->region->traps_count),
      .trap_p50_ns = vm_histogram_at(gc->region->trap_ns, 0.5),
      .trap_p99_ns = vm_histogram_at(gc->region->trap_ns, 0.99),
      .trap_max_ns = vm_histogram_at(gc->region->trap_ns, 1.0),
      .pages_scanned_trap = at_load(&gc->scanned_trap),
      .pages_scanned_background = at_load(&gc->scanned_background),
      .veiled_max_ns = at_load(&gc->veiled_max_ns),
      .veiled_total_ns = at_load(&gc->veiled_total_ns),
      .copied_bytes = at_load(&gc->copied_bytes),
      .copied_objects = at_load(&gc->copied_objects),
      .pinned_objects = at_load(&gc->pinned_objects),
      .kept_blocks = at_load(&gc->kept_blocks),
      .stall_ns = at_load(&heap->stall_ns),
      .assists = at_load(&heap->assists),
      .allocated_bytes = at_load(&gc->allocated_bytes),
      .live_bytes = at_load(&gc->live_bytes),
      .held_bytes = at_load(&gc->committed_bytes),
      .held_max_bytes = at_load(&gc->committed_max),
      .limit_bytes = at_load(&gc->limit),
      .threads = at32_load(&heap->thread_count),
      .soft_limit_bytes = gc->config.soft_limit < at_load(&gc->limit) ? gc->config.soft_limit : 0,
      .external_bytes = at_load(&gc->external_bytes),
      .idle_cycles = at_load(&heap->idle_cycles),
      .cycle_total_ns = at_load(&gc->cycle_total_ns),
  };
}

static void histogram_clear(vm_histogram *histogram) {
  for (size_t i = 0; i < sizeof histogram->bucket / sizeof histogram->bucket[0]; i++) {
    at32_store(&histogram->bucket[i], 0);
  }
}

RT_EXPORT void veil_reset_stats(veil_heap *heap) {
  gc_heap *gc = heap->gc;
  histogram_clear(heap->flip_histogram);
  histogram_clear(gc->region->trap_ns);
  at_store(&heap->flip_max_ns, 0);
  at_store(&heap->stop_span_ns, 0);
  at_store(&gc->veiled_max_ns, 0);
}
