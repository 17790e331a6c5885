// SPDX-License-Identifier: MIT
// heap_report.c: what there is: sums by type, what holds the most, and the roots.

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include "runtime/tools/heap.h"

#define END_OF_COLUMNS                                                                                                 \
  { NULL, NULL, 0, HEAP_TEXT }

static double share_of(uint64_t part, uint64_t all) { return all != 0 ? (double)part / (double)all : 0; }

static void head_report(heap_out *out, const heap_dump *d) {
  char when[64] = "?";
  time_t seconds = (time_t)(d->info.time_ns / 1000000000);
  struct tm tm;
  if (d->info.time_ns / 1000000000 < (uint64_t)1 << 40 && gmtime_r(&seconds, &tm) != NULL) {
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
  }
  heap_out_value(out, "program", "Program", HEAP_TEXT, (heap_value){.text = d->info.program});
  heap_out_value(out, "pid", "Process", HEAP_NUMBER, (heap_value){.n = d->info.pid});
  heap_out_value(out, "time", "Time", HEAP_TEXT, (heap_value){.text = when});
  heap_out_value(out, "back_end", "Back end", HEAP_TEXT, (heap_value){.text = d->info.back_end});
  heap_out_value(out, "stop_ns", NULL, HEAP_NUMBER, (heap_value){.n = d->info.stop_ns});
  heap_out_note(out, "%-22s%.1f ms\n", "Stopped for", (double)d->info.stop_ns / 1e6);
  heap_out_value(out, "used_bytes", "Heap in use", HEAP_BYTES, (heap_value){.n = d->info.used});
  heap_out_value(out, "objects", "Objects reached", HEAP_NUMBER, (heap_value){.n = d->reached});
  heap_out_value(out, "bytes", "  their bytes", HEAP_BYTES, (heap_value){.n = d->reached_bytes});
  heap_out_value(out, "garbage_objects", "Objects not reached", HEAP_NUMBER,
                 (heap_value){.n = d->objects - d->reached});
  heap_out_value(out, "garbage_bytes", "  their bytes", HEAP_BYTES, (heap_value){.n = d->all_bytes - d->reached_bytes});
  heap_out_value(out, "roots", "Roots", HEAP_NUMBER, (heap_value){.n = d->root_count});
  uint64_t weak = 0;
  for (uint32_t i = 0; i < d->link_count; i++) {
    weak += d->links[i].kind == DUMP_LINK_WEAK;
  }
  heap_out_value(out, "weak_references", "Weak references", HEAP_NUMBER, (heap_value){.n = weak});
  heap_out_value(out, "finalizers", "Finalizers", HEAP_NUMBER, (heap_value){.n = d->link_count - weak});
  heap_out_value(out, "table_entries", "Weak tables' entries", HEAP_NUMBER, (heap_value){.n = d->entry_count});
  if (d->dangling != 0) {
    heap_out_value(out, "dangling", "References to nothing", HEAP_NUMBER, (heap_value){.n = d->dangling});
  }
}

static void types_report(heap_out *out, const heap_dump *d, unsigned top) {
  static const heap_column columns[] = {{"count", "count", 12, HEAP_NUMBER},
                                        {"bytes", "bytes", 12, HEAP_BYTES},
                                        {"share", "share", 7, HEAP_SHARE},
                                        {"type", "type", 0, HEAP_TEXT},
                                        END_OF_COLUMNS};
  heap_sum *sums;
  size_t n = heap_sums(d, &sums), rows = top != 0 && n > top ? top : n;
  heap_out_table(out, "types", "By type", columns);
  for (size_t i = 0; i < rows; i++) {
    char name[300];
    heap_sum_text(&sums[i], name, sizeof name);
    heap_out_row(out, (heap_value[]){{.n = sums[i].count},
                                     {.n = sums[i].bytes},
                                     {.share = share_of(sums[i].bytes, d->reached_bytes)},
                                     {.text = name}});
  }
  heap_out_table_end(out);
  if (rows < n) {
    heap_out_note(out, "  ... and %zu types more (--top 0)\n", n - rows);
  }
  free(sums);
}

// From an object down to where what it retains falls apart into many: the last on the way of which one alone holds nine
// tenths. In a list that is nowhere.
static uint32_t gathers_at(const heap_dump *d, const uint32_t *largest, uint32_t object) {
  uint32_t at = object;
  while (largest[at] != HEAP_NONE && d->retained[largest[at]] >= d->retained[at] / 10 * 9 &&
         d->retained[largest[at]] != 0) {
    at = largest[at];
    if (d->retained[at] < d->retained[object] / 2) {
      return object;
    }
  }
  return at;
}

static void retained_report(heap_out *out, const heap_dump *d, unsigned wanted) {
  static const heap_column columns[] = {
      {"retained", "retained", 12, HEAP_BYTES}, {"share", "share", 7, HEAP_SHARE},
      {"objects", "objects", 12, HEAP_NUMBER},  {"address", "address", 16, HEAP_ADDRESS},
      {"type", "type", 28, HEAP_TEXT},          {"gathers_at", "gathers at", 16, HEAP_ADDRESS},
      {"gathers_type", "", 0, HEAP_TEXT},       END_OF_COLUMNS};
  uint32_t *largest = heap_memory(d, d->nodes, sizeof *largest);
  uint32_t room = wanted == 0 ? 1000 : wanted;
  heap_top top = {heap_memory(d, room, sizeof(uint32_t)), 0, room};
  for (uint32_t i = 0; i < d->nodes; i++) {
    largest[i] = HEAP_NONE;
  }
  for (uint32_t i = 0; i < d->objects; i++) {
    uint32_t by = d->dominator[i];
    if (by != HEAP_NONE) {
      largest[by] = largest[by] == HEAP_NONE || d->retained[i] > d->retained[largest[by]] ? i : largest[by];
      if (by >= d->objects) {
        heap_top_add(d, &top, i);
      }
    }
  }
  heap_top_sort(d, &top);
  heap_out_table(out, "retained", "What goes with what: the largest that roots hold", columns);
  for (uint32_t i = 0; i < top.count; i++) {
    uint32_t o = top.node[i], g = gathers_at(d, largest, o);
    char type[300], gathers[300] = "";
    heap_type_text(d, o, type, sizeof type);
    if (g != o) {
      heap_type_text(d, g, gathers, sizeof gathers);
    }
    heap_out_row(out, (heap_value[]){{.n = d->retained[o]},
                                     {.share = share_of(d->retained[o], d->reached_bytes)},
                                     {.n = d->retained_count[o]},
                                     {.n = heap_address(d, o)},
                                     {.text = type},
                                     {.n = g != o ? heap_address(d, g) : 0},
                                     {.text = gathers}});
  }
  heap_out_table_end(out);
  free(top.node);
  free(largest);
}

static void kinds_report(heap_out *out, const heap_dump *d) {
  static const heap_column columns[] = {
      {"roots", "roots", 12, HEAP_NUMBER}, {"retained", "only by them", 12, HEAP_BYTES},
      {"share", "share", 7, HEAP_SHARE},   {"objects", "objects", 12, HEAP_NUMBER},
      {"kind", "kind", 0, HEAP_TEXT},      END_OF_COLUMNS};
  uint64_t counts[DUMP_BY_COUNT] = {0};
  for (uint32_t i = 0; i < d->root_count; i++) {
    counts[d->holders[d->roots[i].holder].kind]++;
  }
  heap_out_table(out, "root_kinds", "Roots by kind", columns);
  for (uint32_t kind = 1; kind < DUMP_BY_COUNT; kind++) {
    uint32_t n = heap_kind_node(d, kind);
    if (counts[kind] != 0) {
      heap_out_row(out, (heap_value[]){{.n = counts[kind]},
                                       {.n = d->retained[n]},
                                       {.share = share_of(d->retained[n], d->reached_bytes)},
                                       {.n = d->retained_count[n]},
                                       {.text = heap_kind_text(kind)}});
    }
  }
  heap_out_table_end(out);
}

static void holders_report(heap_out *out, const heap_dump *d, unsigned wanted) {
  static const heap_column columns[] = {{"retained", "only by it", 12, HEAP_BYTES},
                                        {"share", "share", 7, HEAP_SHARE},
                                        {"objects", "objects", 12, HEAP_NUMBER},
                                        {"holder", "holder", 0, HEAP_TEXT},
                                        END_OF_COLUMNS};
  uint32_t room = wanted == 0 || wanted > d->holder_count ? d->holder_count : wanted;
  heap_top top = {heap_memory(d, room, sizeof(uint32_t)), 0, room};
  for (uint32_t h = 0; h < d->holder_count; h++) {
    heap_top_add(d, &top, heap_holder_node(d, h));
  }
  heap_top_sort(d, &top);
  heap_out_table(out, "holders", "Holders", columns);
  for (uint32_t i = 0; i < top.count; i++) {
    char text[300];
    uint32_t n = top.node[i];
    heap_holder_text(d, n - d->objects, text, sizeof text);
    heap_out_row(out, (heap_value[]){{.n = d->retained[n]},
                                     {.share = share_of(d->retained[n], d->reached_bytes)},
                                     {.n = d->retained_count[n]},
                                     {.text = text}});
  }
  heap_out_table_end(out);
  free(top.node);
}

void heap_report(heap_out *out, heap_dump *d, const heap_options *o) {
  heap_reach(d);
  head_report(out, d);
  types_report(out, d, o->top);
  heap_dominate(d);
  retained_report(out, d, o->top);
  kinds_report(out, d);
  holders_report(out, d, o->top);
}

static int by_retained(const void *a, const void *b, void *arg) {
  const heap_dump *d = arg;
  const heap_root *x = &d->roots[*(const uint32_t *)a], *y = &d->roots[*(const uint32_t *)b];
  uint64_t p = d->retained[x->object], q = d->retained[y->object];
  return p != q ? (p < q ? 1 : -1) : (*(const uint32_t *)a > *(const uint32_t *)b ? 1 : -1);
}

void heap_report_roots(heap_out *out, heap_dump *d, const heap_options *o) {
  static const heap_column columns[] = {
      {"retained", "retained", 12, HEAP_BYTES}, {"object", "object", 16, HEAP_ADDRESS},
      {"type", "type", 28, HEAP_TEXT},          {"inside", "inside", 8, HEAP_DELTA},
      {"where", "where", 16, HEAP_ADDRESS},     {"kind", "kind", 26, HEAP_TEXT},
      {"root", "root", 0, HEAP_TEXT},           END_OF_COLUMNS};
  heap_reach(d);
  heap_dominate(d);
  kinds_report(out, d);
  uint32_t *order = heap_memory(d, d->root_count, sizeof *order);
  for (uint32_t i = 0; i < d->root_count; i++) {
    order[i] = i;
  }
  qsort_r(order, d->root_count, sizeof *order, by_retained, d);
  uint32_t rows = o->top == 0 || o->top > d->root_count ? d->root_count : o->top;
  heap_out_table(out, "roots", "Roots, by what their objects retain", columns);
  for (uint32_t i = 0; i < rows; i++) {
    const heap_root *r = &d->roots[order[i]];
    char type[300], text[700];
    heap_type_text(d, r->object, type, sizeof type);
    heap_root_text(d, r, text, sizeof text);
    heap_out_row(out, (heap_value[]){{.n = d->retained[r->object]},
                                     {.n = heap_address(d, r->object)},
                                     {.text = type},
                                     {.delta = r->inside},
                                     {.n = r->where},
                                     {.text = heap_kind_text(d->holders[r->holder].kind)},
                                     {.text = text}});
  }
  heap_out_table_end(out);
  if (rows < d->root_count) {
    heap_out_note(out, "  ... and %u more (--top 0)\n", d->root_count - rows);
  }
  free(order);
}
