// SPDX-License-Identifier: MIT
// stats.c: figures for people and benchmarks. Any thread; nothing stops for it.

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "runtime/runtime.h"

typedef struct pauses {
  uint64_t max, p50, p99, total;
} pauses;

// The last stop's span may still grow while its mutators wake up, so it enters its histogram at the next; here it is added by hand.
static pauses pauses_read(veil_heap *heap, const rt_pauses *of, enum rt_stop_for what) {
  uint64_t last = at32_load(&heap->stop_for) == what ? at_load(&heap->stop_span_ns) : 0;
  uint64_t max = at_load(&of->max_ns);
  uint64_t p50 = vm_histogram_at(of->histogram, 0.5), p99 = vm_histogram_at(of->histogram, 0.99);
  return (pauses){last > max ? last : max, p50 ? p50 : last, p99 ? p99 : last, at_load(&of->total_ns) + last};
}

static void stats_fill(veil_heap *heap, veil_stats *out) {
  gc_heap *gc = heap->gc;
  pauses flips = pauses_read(heap, &heap->flips, RT_FOR_FLIP), minors = pauses_read(heap, &heap->minors, RT_FOR_MINOR);
  *out = (veil_stats){
      .major_cycles = gc->cycle,
      .minor_cycles = at_load(&gc->minor_cycles),
      .flip_max_ns = flips.max,
      .flip_p50_ns = flips.p50,
      .flip_total_ns = flips.total,
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
      .flip_p99_ns = flips.p99,
      .pages_scanned_assist = at_load(&gc->scanned_assist),
      .stops = at_load(&heap->stops),
      .stop_max_ns = at_load(&heap->stop_max_ns),
      .stop_total_ns = at_load(&heap->stop_total_ns),
      .stalls = at_load(&heap->stalls),
      .committed_bytes = at_load(&gc->got_bytes),
      .returned_bytes = at_load(&gc->returned_bytes),
      .threads_attached = at_load(&heap->threads_attached),
      .roots = at_load(&gc->flip_roots),
      .limit_reached = at_load(&heap->limit_reached),
      .out_of_memory = at_load(&heap->out_of_memory),
      .claims_settled = at_load(&heap->claims_settled),
      .handlers_restored = at_load(&heap->handlers_restored),
      .minor_max_ns = minors.max,
      .minor_p50_ns = minors.p50,
      .minor_p99_ns = minors.p99,
      .minor_total_ns = minors.total,
      .minor_survived_bytes = at_load(&gc->minor_survived_bytes),
      .minor_promoted_bytes = at_load(&gc->minor_promoted_bytes),
      .minor_dirty_pages = at_load(&gc->minor_dirty_pages),
      .minor_scanned_pages = at_load(&gc->minor_scanned_pages),
      .nursery_bytes = at_load(&gc->young_on) ? at_load(&gc->nursery) : 0,
      .nursery_switches = at_load(&gc->young_switches),
      .pinned_by_stacks = at_load(&heap->pinned_by[RT_BY_STACKS]),
      .pinned_by_coroutines = at_load(&heap->pinned_by[RT_BY_COROUTINES]),
      .pinned_by_variables = at_load(&heap->pinned_by[RT_BY_VARIABLES]),
      .pinned_by_system_calls = at_load(&heap->pinned_by[RT_BY_SYSTEM_CALLS]),
      .pinned_by_calls = at_load(&heap->pinned_by[RT_BY_PINS]),
      .pinned_by_callbacks = at_load(&heap->pinned_by[RT_BY_CALLBACKS]),
      .weak_references = at_load(&gc->links.count[GC_LINK_WEAK]),
      .weak_tables = at_load(&gc->weak.table_count),
      .weak_entries = at_load(&gc->weak.count),
      .handles = at_load(&gc->links.count[GC_LINK_HANDLE]),
      .finalizers = at_load(&gc->links.count[GC_LINK_FINAL]),
      .finalizers_due = at_load(&gc->links.count[GC_LINK_READY]),
      .finalizers_called = at_load(&heap->finalized),
      .spared_bytes = (at_load(&gc->spared_ever) + at_load(&gc->spared_blocks)) * GC_BLOCK,
  };
}

RT_EXPORT void veil_get_stats_sized(veil_heap *heap, veil_stats *out, size_t size) {
  veil_stats all;
  stats_fill(heap, &all);
  memset(out, 0, size);
  memcpy(out, &all, size < sizeof all ? size : sizeof all);
}

static void histogram_clear(vm_histogram *histogram) {
  for (size_t i = 0; i < sizeof histogram->bucket / sizeof histogram->bucket[0]; i++) {
    at32_store(&histogram->bucket[i], 0);
  }
}

RT_EXPORT void veil_reset_stats(veil_heap *heap) {
  gc_heap *gc = heap->gc;
  histogram_clear(heap->flips.histogram);
  histogram_clear(heap->minors.histogram);
  histogram_clear(gc->region->trap_ns);
  at_store(&heap->flips.max_ns, 0);
  at_store(&heap->minors.max_ns, 0);
  at_store(&heap->stop_span_ns, 0);
  at_store(&gc->veiled_max_ns, 0);
  at_store(&heap->stop_max_ns, 0);
}

// ---- For people.

typedef struct report {
  void (*write)(void *arg, const char *text, size_t bytes);
  void *arg;
} report;

static void line(const report *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(const report *to, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text - 1, format, args);
  va_end(args);
  n = n < 0 ? 0 : n < (int)sizeof text - 1 ? n : (int)sizeof text - 2;
  text[n++] = '\n';
  to->write(to->arg, text, (size_t)n);
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }
static double us(uint64_t ns) { return (double)ns / 1e3; }
static double ms(uint64_t ns) { return (double)ns / 1e6; }

typedef unsigned long long ull;

RT_EXPORT void veil_print_stats(veil_heap *heap, void (*write)(void *arg, const char *text, size_t bytes), void *arg) {
  report to = {write, arg};
  veil_stats s;
  stats_fill(heap, &s);
  line(&to, "veil: heap on %s, limit %.1f MiB", vm_region_back_end(heap->gc->region), mib(s.limit_bytes));
  line(&to, "  cycles      %llu; live after the last %.1f MiB; copied %.1f MiB in %llu objects", (ull)s.major_cycles, mib(s.live_bytes),
       mib(s.copied_bytes), (ull)s.copied_objects);
  line(&to, "  flips       p50 %.1f us, p99 %.1f us, max %.1f us, total %.3f ms", us(s.flip_p50_ns), us(s.flip_p99_ns), us(s.flip_max_ns),
       ms(s.flip_total_ns));
  if (s.minor_cycles != 0) {
    line(&to, "  minor       %llu cycles: p50 %.1f us, p99 %.1f us, max %.1f us, total %.3f ms", (ull)s.minor_cycles, us(s.minor_p50_ns),
         us(s.minor_p99_ns), us(s.minor_max_ns), ms(s.minor_total_ns));
    line(&to, "  survived    %.1f MiB once, %.1f MiB twice; %llu old pages were dirty, %llu scanned", mib(s.minor_survived_bytes),
         mib(s.minor_promoted_bytes), (ull)s.minor_dirty_pages, (ull)s.minor_scanned_pages);
    line(&to, "  nursery     %.1f MiB now, %llu times switched off or on", mib(s.nursery_bytes), (ull)s.nursery_switches);
  }
  line(&to, "  last flip   %llu objects pinned, %llu precise roots", (ull)s.pinned_objects, (ull)s.roots);
  line(&to, "  pinned by   stacks %llu, coroutines %llu, variables %llu, system calls %llu, veil_pin %llu, callbacks %llu", (ull)s.pinned_by_stacks,
       (ull)s.pinned_by_coroutines, (ull)s.pinned_by_variables, (ull)s.pinned_by_system_calls, (ull)s.pinned_by_calls, (ull)s.pinned_by_callbacks);
  line(&to, "  stops       %llu; max %.1f us, total %.3f ms", (ull)s.stops, us(s.stop_max_ns), ms(s.stop_total_ns));
  line(&to, "  veiled      max %.3f ms, total %.3f ms", ms(s.veiled_max_ns), ms(s.veiled_total_ns));
  line(&to, "  traps       %llu; p50 %.1f us, p99 %.1f us, max %.1f us", (ull)s.traps, us(s.trap_p50_ns), us(s.trap_p99_ns), us(s.trap_max_ns));
  line(&to, "  scanned     %llu pages: %llu by traps, %llu in the background, %llu by assists (%llu assists)",
       (ull)(s.pages_scanned_trap + s.pages_scanned_background + s.pages_scanned_assist), (ull)s.pages_scanned_trap, (ull)s.pages_scanned_background,
       (ull)s.pages_scanned_assist, (ull)s.assists);
  line(&to, "  stalls      %llu; total %.3f ms", (ull)s.stalls, ms(s.stall_ns));
  line(&to, "  memory      held %.1f MiB, at most %.1f MiB; had %.1f MiB, gave back %.1f MiB", mib(s.held_bytes), mib(s.held_max_bytes),
       mib(s.committed_bytes), mib(s.returned_bytes));
  line(&to, "  allocated   %.1f MiB; %llu times no room at once, %llu times none at all", mib(s.allocated_bytes), (ull)s.limit_reached,
       (ull)s.out_of_memory);
  line(&to, "  kept        %llu blocks for want of room; spared %.1f MiB that was dense", (ull)s.kept_blocks, mib(s.spared_bytes));
  line(&to, "  links       %llu weak references, %llu handles; finalizers: %llu wait, %llu are due, %llu were called", (ull)s.weak_references, (ull)s.handles,
       (ull)s.finalizers, (ull)s.finalizers_due, (ull)s.finalizers_called);
  line(&to, "  weak tables %llu, with %llu entries", (ull)s.weak_tables, (ull)s.weak_entries);
  line(&to, "  threads     %llu now, %llu ever", (ull)s.threads, (ull)s.threads_attached);
  line(&to, "  others      %llu claims of services settled, %llu signal handlers put back", (ull)s.claims_settled, (ull)s.handlers_restored);
}

static void fd_write(void *arg, const char *text, size_t bytes) {
  int fd = *(int *)arg;
  while (bytes > 0) {
    ssize_t n = write(fd, text, bytes);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return; // whoever reads it is gone
    }
    text += n;
    bytes -= (size_t)n;
  }
}

RT_EXPORT void veil_print_stats_fd(veil_heap *heap, int fd) { veil_print_stats(heap, fd_write, &fd); }
