// SPDX-License-Identifier: MIT
// heap.c: opening and closing a heap: options, collector, scanners.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/named.h"
#include "runtime/note.h"
#include "runtime/options.h"
#include "vm/os.h"

void vm_trap_block_signal(int signo);

static unsigned log2_of(size_t value) {
  unsigned shift = 0;
  while (((size_t)1 << shift) < value) {
    shift++;
  }
  return shift;
}

static gc_generations generations_of(const veil_options *options) {
  static const gc_generations of[] = {[VEIL_GENERATIONS_AUTO] = GC_GENERATIONS_AUTO,
                                      [VEIL_GENERATIONS_OFF] = GC_GENERATIONS_OFF,
                                      [VEIL_GENERATIONS_ON] = GC_GENERATIONS_ON,
                                      [VEIL_GENERATIONS_EARLY] = GC_GENERATIONS_AUTO};
  return of[options->generations];
}

static uint64_t pause_ns(const veil_options *options) {
  enum { USUAL_US = 1600 };
  unsigned us = options->pause != 0 ? options->pause : options->nursery == 0 ? USUAL_US : 0;
  return us * UINT64_C(1000);
}

static bool collector_open(veil_heap *heap, bool limit_given, void *at, const gc_geometry *geometry) {
  gc_world world = {
      .buffers = rt_world_buffers,
      .ambiguous = rt_world_ambiguous,
      .precise = rt_world_precise,
      .absent = rt_world_absent,
      .unsaved = rt_world_unsaved,
      .discarded = rt_world_discarded,
      .help = rt_world_help,
      .low = rt_keeper_provide,
      .finals = rt_world_finals,
      .touched = rt_world_touched,
      .events = &rt_gc_events,
      .arg = heap,
  };
  for (;;) {
    gc_config config = {
        .limit = heap->options.limit,
        .soft_limit = heap->options.soft_limit,
        .reserve = heap->options.reserve,
        .page_shift = log2_of(heap->options.granule),
        .back_end = heap->options.back_end,
        .growth = heap->options.growth,
        .headroom = heap->options.headroom,
        .generations = generations_of(&heap->options),
        .early = heap->options.generations == VEIL_GENERATIONS_EARLY,
        .nursery = heap->options.nursery,
        .pause_ns = pause_ns(&heap->options),
        .verify = heap->options.verify >= 1,
        .at = at,
        .geometry = geometry,
    };
    vm_status status = gc_open(&heap->gc, &config, &world, heap->why, sizeof heap->why);
    if (status == VM_OK) {
      return true;
    }
    // Address space may be short (ulimit -v). A limit that the program chose is kept or refused; ours may shrink.
    if (status != VM_NO_MEMORY || limit_given || heap->options.limit < (size_t)64 << 20) {
      rt_error_set("cannot open a heap with a limit of %zu bytes: %s", heap->options.limit, heap->why);
      return false;
    }
    heap->options.reserve = heap->options.limit /= 2;
  }
}

// All of it that other threads, or children, see. False with the error set, and it is as before.
static bool world_open(veil_heap *heap) {
  if (!rt_fork_add(heap)) {
    return false;
  }
  if (rt_events_open(heap) && rt_scanners_start(heap) && rt_operator_start(heap) && (heap->restore == NULL || rt_restore_start(heap))) {
    return true;
  }
  rt_fork_remove(heap);
  return false;
}

static bool heap_open(veil_heap *heap, bool limit_given, void *at, rt_restore *restore) {
  gc_geometry geometry;
  if (heap->flips.histogram == NULL || heap->minors.histogram == NULL) {
    rt_error_set("no memory for a heap");
    return false;
  }
  if ((restore != NULL && !rt_restore_geometry(restore, &heap->options, limit_given, &geometry)) || !rt_stop_install(heap->options.stop_signal) ||
      !collector_open(heap, limit_given || restore != NULL, at, restore != NULL ? &geometry : NULL)) {
    return false;
  }
  vm_trap_block_signal(heap->options.stop_signal);
  if (!rt_services_open(heap)) {
    rt_error_set("no memory for a heap");
  } else if ((restore == NULL || rt_restore_open(heap, restore)) && world_open(heap)) {
    return true;
  }
  rt_operator_stop(heap);
  rt_restore_stop(heap);
  rt_scanners_stop(heap);
  rt_events_close(heap);
  rt_services_close(heap);
  gc_close(heap->gc);
  return false;
}

veil_heap *rt_heap_open(const veil_options *options, void *at, rt_restore *restore) {
  veil_options read;
  bool limit_given;
  if (!rt_options_read(&read, options, &limit_given) || !rt_segments_open(&read)) {
    return NULL;
  }
  veil_heap *heap = calloc(1, sizeof *heap);
  if (heap == NULL) {
    rt_error_set("no memory for a heap");
    return NULL;
  }
  heap->options = read;
  if (heap->options.torture && heap->options.seed == 0) {
    heap->options.seed = vm_now() | 1;
    fprintf(stderr, "veil: torture, seed=%llu\n", (unsigned long long)heap->options.seed);
  }
  heap->flips.histogram = calloc(1, sizeof *heap->flips.histogram);
  heap->minors.histogram = calloc(1, sizeof *heap->minors.histogram);
  pthread_mutex_init(&heap->threads_lock, NULL);
  pthread_mutex_init(&heap->roots_lock, NULL);
  pthread_mutex_init(&heap->touch_lock, NULL);
  rt_fork_hold();
  bool opened = heap_open(heap, limit_given, at, restore);
  rt_fork_release();
  if (opened) {
    rt_note_it(heap, RT_NOTE_HEAP_OPENED, 0, 0, 0);
    return heap;
  }
  rt_named_close(heap);
  free(heap->flips.histogram);
  free(heap->minors.histogram);
  free(heap);
  return NULL;
}

RT_EXPORT veil_heap *veil_open(const veil_options *options) {
  rt_section_refuse("veil_open");
  return rt_heap_open(options, NULL, NULL);
}

RT_EXPORT veil_heap *veil_open_at(const veil_options *options, void *address) {
  rt_section_refuse("veil_open_at");
  return rt_heap_open(options, (uintptr_t)address % VM_HUGE == 0 && (uintptr_t)address < (uintptr_t)1 << 47 ? address : NULL, NULL);
}

RT_EXPORT void veil_close(veil_heap *heap) {
  rt_fork_lost(heap, "veil_close");
  rt_section_refuse("veil_close");
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->heap == heap) {
      vm_fatal("veil_close: the calling thread is still attached");
    }
  }
  rt_finalizer_stop(heap);
  rt_operator_stop(heap);
  pthread_mutex_lock(&heap->threads_lock);
  if (heap->thread_count != 0) {
    vm_fatal("veil_close: %u threads are still attached", heap->thread_count);
  }
  pthread_mutex_unlock(&heap->threads_lock);
  rt_restore_stop(heap);
  rt_keeper_stop(heap); // it could start another cycle
  while (gc_phase_now(heap->gc) != GC_IDLE) {
    uint32_t ended = at32_load_acquire(&heap->ended);
    if (gc_phase_now(heap->gc) != GC_IDLE) {
      os_wait(&heap->ended, ended);
    }
  }
  rt_fork_hold();
  rt_scanners_stop(heap);
  vm_quiesce(heap->gc->region); // a pager may have a fault in its hands that is over
  if (heap->options.stats) {
    veil_print_stats_fd(heap, STDERR_FILENO);
  }
  rt_note_it(heap, RT_NOTE_HEAP_CLOSED, 0, 0, 0);
  rt_events_close(heap);
  rt_services_close(heap);
  rt_fork_remove(heap);
  gc_close(heap->gc);
  rt_fork_release();
  while (heap->dead != NULL) {
    rt_thread *next = heap->dead->next;
    rt_thread_free(heap->dead);
    heap->dead = next;
  }
  while (heap->roots != NULL) {
    rt_roots *next = heap->roots->next;
    free(heap->roots);
    heap->roots = next;
  }
  rt_oom_hooks_free(heap);
  rt_stacks_close(heap);
  rt_starts_close(heap);
  rt_pins_close(heap);
  rt_named_close(heap);
  rt_restore_free(heap->restore);
  pthread_mutex_destroy(&heap->threads_lock);
  pthread_mutex_destroy(&heap->roots_lock);
  pthread_mutex_destroy(&heap->touch_lock);
  free(heap->flips.histogram);
  free(heap->minors.histogram);
  free(heap);
}

RT_EXPORT const char *veil_back_end(veil_heap *heap) {
  static __thread char text[320];
  snprintf(text, sizeof text, "%s%s%s%s", vm_region_back_end(heap->gc->region), heap->why[0] ? " (" : "", heap->why,
           heap->why[0] ? ")" : "");
  return text;
}
