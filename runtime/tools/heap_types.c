// SPDX-License-Identifier: MIT
// heap_types.c: sums by type, what has grown between two dumps, and the largest few of many.

#include <stdlib.h>
#include <string.h>
#include "runtime/tools/heap.h"

static int by_bytes(const void *a, const void *b) {
  const heap_sum *x = a, *y = b;
  return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->name, y->name);
}

size_t heap_sums(const heap_dump *d, heap_sum **out) {
  heap_sum *sums = heap_memory(d, 2 * HEAP_TYPES, sizeof *sums);
  for (uint32_t i = 0; i < d->objects; i++) {
    if (d->what[i] & HEAP_REACHED) {
      heap_sum *s = &sums[heap_sort_of(d, i)];
      s->count++;
      s->bytes += heap_object_bytes(d, i);
    }
  }
  size_t n = 0;
  for (uint32_t i = 0; i < 2 * HEAP_TYPES; i++) {
    if (sums[i].count != 0) {
      sums[n++] = (heap_sum){d->types[i & (HEAP_TYPES - 1)].name, i, sums[i].count, sums[i].bytes};
    }
  }
  qsort(sums, n, sizeof *sums, by_bytes);
  *out = sums;
  return n;
}

void heap_sum_text(const heap_sum *sum, char *to, size_t bytes) {
  snprintf(to, bytes, "%s%s", sum->name, sum->type & HEAP_ARRAY ? "[]" : "");
}

// ---- Growth.

typedef struct growth {
  char name[300];
  int64_t count, bytes;
  uint64_t count_now, bytes_now;
} growth;

static int by_name(const void *a, const void *b) {
  return strcmp(((const growth *)a)->name, ((const growth *)b)->name);
}
static int by_growth(const void *a, const void *b) {
  const growth *x = a, *y = b;
  uint64_t p = (uint64_t)llabs(x->bytes), q = (uint64_t)llabs(y->bytes);
  return p != q ? (p < q ? 1 : -1) : by_name(a, b);
}

static size_t growth_add(growth *to, const heap_dump *d, bool now) {
  heap_sum *sums;
  size_t n = heap_sums(d, &sums);
  for (size_t i = 0; to != NULL && i < n; i++) {
    int64_t sign = now ? 1 : -1;
    to[i] = (growth){.count = sign * (int64_t)sums[i].count,
                     .bytes = sign * (int64_t)sums[i].bytes,
                     .count_now = now ? sums[i].count : 0,
                     .bytes_now = now ? sums[i].bytes : 0};
    heap_sum_text(&sums[i], to[i].name, sizeof to[i].name);
  }
  free(sums);
  return n;
}

void heap_report_diff(heap_out *out, heap_dump *before, heap_dump *d, const heap_options *o) {
  heap_reach(before);
  heap_reach(d);
  size_t n = growth_add(NULL, before, false), m = growth_add(NULL, d, true), merged = 0;
  growth *all = heap_memory(d, n + m, sizeof *all);
  growth_add(all, before, false);
  growth_add(all + n, d, true);
  qsort(all, n + m, sizeof *all, by_name);
  for (size_t i = 0; i < n + m; i++) { // types of one name are one, whatever their numbers in the two
    if (merged != 0 && strcmp(all[merged - 1].name, all[i].name) == 0) {
      growth *g = &all[merged - 1];
      g->count += all[i].count;
      g->bytes += all[i].bytes;
      g->count_now += all[i].count_now;
      g->bytes_now += all[i].bytes_now;
    } else {
      all[merged++] = all[i];
    }
  }
  qsort(all, merged, sizeof *all, by_growth);
  heap_out_value(out, "before", "Before", HEAP_TEXT, (heap_value){.text = before->path});
  heap_out_value(out, "after", "After", HEAP_TEXT, (heap_value){.text = d->path});
  heap_out_value(out, "objects", "Objects", HEAP_DELTA,
                 (heap_value){.delta = (int64_t)d->reached - (int64_t)before->reached});
  heap_out_value(out, "bytes", "Bytes", HEAP_DELTA,
                 (heap_value){.delta = (int64_t)(d->reached_bytes - before->reached_bytes)});
  static const heap_column columns[] = {{"bytes", "bytes", 14, HEAP_DELTA},
                                        {"count", "count", 12, HEAP_DELTA},
                                        {"bytes_now", "bytes now", 12, HEAP_BYTES},
                                        {"count_now", "count now", 12, HEAP_NUMBER},
                                        {"type", "type", 0, HEAP_TEXT},
                                        {NULL, NULL, 0, HEAP_TEXT}};
  heap_out_table(out, "types", "Growth by type", columns);
  for (size_t i = 0, rows = 0; i < merged && (o->top == 0 || rows < o->top); i++) {
    if (all[i].bytes != 0 || all[i].count != 0) {
      heap_out_row(out, (heap_value[]){{.delta = all[i].bytes},
                                       {.delta = all[i].count},
                                       {.n = all[i].bytes_now},
                                       {.n = all[i].count_now},
                                       {.text = all[i].name}});
      rows++;
    }
  }
  heap_out_table_end(out);
  free(all);
}

// ---- The largest few: a heap whose least stands first.

static bool is_less(const heap_dump *d, uint32_t a, uint32_t b) {
  return d->retained[a] != d->retained[b] ? d->retained[a] < d->retained[b] : a > b;
}

static void sift(const heap_dump *d, heap_top *top, uint32_t at) {
  for (uint32_t least = at;; at = least) {
    for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < top->count; child++) {
      least = is_less(d, top->node[child], top->node[least]) ? child : least;
    }
    if (least == at) {
      return;
    }
    uint32_t node = top->node[at];
    top->node[at] = top->node[least];
    top->node[least] = node;
  }
}

void heap_top_add(const heap_dump *d, heap_top *top, uint32_t node) {
  if (top->count < top->room) {
    uint32_t at = top->count++;
    for (; at != 0 && is_less(d, node, top->node[(at - 1) / 2]); at = (at - 1) / 2) {
      top->node[at] = top->node[(at - 1) / 2];
    }
    top->node[at] = node;
  } else if (top->room != 0 && is_less(d, top->node[0], node)) {
    top->node[0] = node;
    sift(d, top, 0);
  }
}

// Largest first.
void heap_top_sort(const heap_dump *d, heap_top *top) {
  uint32_t count = top->count;
  while (top->count > 1) {
    uint32_t last = top->node[--top->count], least = top->node[0];
    top->node[0] = last;
    sift(d, top, 0);
    top->node[top->count] = least;
  }
  top->count = count;
}
