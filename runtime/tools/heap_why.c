// SPDX-License-Identifier: MIT
// heap_why.c: a shortest way from a root to an object: why it is alive.
//
// Of a type, the objects are told apart by how they are held: by which holder, over which types, one type after itself
// counting once, so that all nodes of a list are held alike. For each of the commonest ways the nearest object stands
// as an example.

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/tools/heap.h"

enum { ENDS = 12, WAYS = 1 << 16 }; // steps that are shown at each end of a long way

// ---- The slots on a way: the places of references are read again.

typedef struct step {
  uint32_t node;
  uint64_t address, next; // the object, and the one that it refers to on the way
  uint64_t offset;        // UINT64_MAX: not found
} step;

typedef struct finder {
  step *steps; // by address
  size_t count;
  step *now; // of the object that is being read
} finder;

static int by_address(const void *a, const void *b) {
  const step *x = a, *y = b;
  return x->address < y->address ? -1 : x->address > y->address;
}

static void step_begin(void *arg, const heap_object *o) {
  finder *f = arg;
  step key = {.address = o->address};
  f->now = bsearch(&key, f->steps, f->count, sizeof key, by_address);
}

static void step_slot(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  (void)o;
  finder *f = arg;
  if (f->now != NULL && f->now->next == to && f->now->offset == UINT64_MAX) {
    f->now->offset = offset;
  }
}

// ---- Ways.

typedef struct way {
  uint64_t signature;
  uint32_t object; // the nearest
  uint64_t count;
} way;

// The nodes from the holder to the object. How many.
static uint32_t nodes_of(const heap_dump *d, const uint32_t *before, uint32_t object, uint32_t **out) {
  uint32_t count = 0;
  for (uint32_t n = object; n < heap_kind_node(d, 0); n = before[n]) {
    count++;
  }
  *out = heap_memory(d, count, sizeof **out);
  uint32_t at = count;
  for (uint32_t n = object; at != 0; n = before[n]) {
    (*out)[--at] = n;
  }
  return count;
}

static const heap_root *root_of(const heap_dump *d, uint32_t holder, uint32_t object) {
  uint32_t low = 0, high = d->root_count; // the first of the holder's
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (d->roots[middle].holder < holder) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  while (d->roots[low].object != object) {
    low++;
  }
  return &d->roots[low];
}

static bool is_shown(uint32_t at, uint32_t count, unsigned ends) {
  return ends == 0 || at < ends || at + ends >= count;
}

static void way_report(heap_out *out, const heap_dump *d, const uint32_t *before, uint32_t object, const char *key,
                       const char *title, unsigned ends) {
  static const heap_column columns[] = {{"slot", "slot", 10, HEAP_TEXT},
                                        {"address", "address", 16, HEAP_ADDRESS},
                                        {"bytes", "bytes", 10, HEAP_BYTES},
                                        {"type", "type", 0, HEAP_TEXT},
                                        {NULL, NULL, 0, HEAP_TEXT}};
  uint32_t *nodes, count = nodes_of(d, before, object, &nodes) - 1; // objects; nodes[0] is the holder
  step *steps = heap_memory(d, count, sizeof *steps);
  size_t used = 0;
  for (uint32_t i = 0; i + 1 < count; i++) {
    if (is_shown(i, count, ends) || is_shown(i + 1, count, ends)) {
      steps[used++] = (step){nodes[i + 1], heap_address(d, nodes[i + 1]), heap_address(d, nodes[i + 2]), UINT64_MAX};
    }
  }
  qsort(steps, used, sizeof *steps, by_address);
  finder f = {steps, used, NULL};
  if (used != 0) {
    heap_objects_visit(d, step_begin, step_slot, &f);
  }
  char text[700];
  heap_root_text(d, root_of(d, nodes[0] - d->objects, nodes[1]), text, sizeof text);
  char heading[900];
  snprintf(heading, sizeof heading, "%s: %s", title, text);
  heap_out_table(out, key, heading, columns);
  for (uint32_t i = 0; i < count; i++) {
    if (!is_shown(i, count, ends)) {
      if (is_shown(i - 1, count, ends)) {
        heap_out_note(out, "  ... %u steps (--top 0 shows them)\n", count - 2 * ends);
      }
      continue;
    }
    char slot[128] = "(root)", type[300];
    if (i != 0) {
      step where = {.address = heap_address(d, nodes[i])}, *s = bsearch(&where, steps, used, sizeof where, by_address);
      const heap_entry *entry =
          s == NULL || s->offset == UINT64_MAX ? heap_entry_between(d, nodes[i], nodes[i + 1]) : NULL;
      if (entry != NULL) {
        heap_entry_text(d, entry, slot, sizeof slot);
      } else {
        heap_slot_text(d, nodes[i], s != NULL && s->offset != UINT64_MAX ? s->offset : 0, slot, sizeof slot);
      }
    }
    heap_type_text(d, nodes[i + 1], type, sizeof type);
    heap_out_row(out, (heap_value[]){{.text = i == 0 && out->json ? text : slot},
                                     {.n = heap_address(d, nodes[i + 1])},
                                     {.n = heap_object_bytes(d, nodes[i + 1])},
                                     {.text = type}});
  }
  heap_out_table_end(out);
  free(steps);
  free(nodes);
}

// ---- Of an object.

static bool object_why(heap_out *out, heap_dump *d, uint64_t address, unsigned ends) {
  uint32_t object = heap_find_in(d, address);
  if (object == HEAP_NONE) {
    fprintf(stderr, "veil-heap: %s: no object is at 0x%" PRIx64 "\n", d->path, address);
    return false;
  }
  uint32_t *before = heap_memory(d, d->nodes, sizeof *before);
  heap_paths(d, before, NULL);
  if (before[object] == HEAP_NONE) {
    char type[300];
    heap_type_text(d, object, type, sizeof type);
    heap_out_value(out, "reached", "Reached", HEAP_TEXT, (heap_value){.text = "no"});
    heap_out_note(out,
                  "0x%" PRIx64 " (%s) is garbage: no root holds it. It was born, or dropped, since the last "
                               "collection, or lies in a block that the collector has spared.\n",
                  heap_address(d, object), type);
  } else {
    way_report(out, d, before, object, "way", "Held by", ends);
  }
  free(before);
  return true;
}

// ---- Of a type.

static uint64_t mixed(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ b) * 0x9e3779b97f4a7c15ull;
  return (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull + 1;
}

// How each node is held, in the order of nearness.
static uint64_t *signatures_make(const heap_dump *d, const uint32_t *before, const uint32_t *order, uint32_t reached) {
  uint64_t *signature = heap_memory(d, d->nodes, sizeof *signature);
  for (uint32_t i = 0; i < reached; i++) {
    uint32_t n = order[i], from = before[n];
    uint64_t above = from != HEAP_NONE ? signature[from] : 0;
    if (n >= d->objects) {
      bool is_holder = n < heap_kind_node(d, 0);
      signature[n] = mixed(above, is_holder ? d->holders[n - d->objects].owner : n - d->objects - d->holder_count);
    } else {
      uint32_t kind = heap_sort_of(d, n);
      bool again = from < d->objects && kind == heap_sort_of(d, from);
      signature[n] = again ? above : mixed(above, kind);
    }
  }
  return signature;
}

static way *way_find(way *ways, uint64_t signature) {
  size_t at = signature % WAYS;
  for (unsigned looks = 0; looks < 64; looks++, at = (at + 1) % WAYS) {
    if (ways[at].count == 0 || ways[at].signature == signature) {
      return &ways[at];
    }
  }
  return NULL; // of so many ways this one is not counted
}

static int by_count(const void *a, const void *b) {
  const way *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count ? 1 : -1) : (x->object > y->object) - (x->object < y->object);
}

bool heap_is_of_type(const heap_dump *d, uint32_t object, const char *name) {
  const char *its = heap_type_of(d, object)->name;
  size_t length = strlen(its);
  bool array = heap_sort_of(d, object) & HEAP_ARRAY;
  return strncmp(its, name, length) == 0 && (name[length] == 0 || (array && strcmp(name + length, "[]") == 0));
}

static bool type_why(heap_out *out, heap_dump *d, const char *name, unsigned ends) {
  uint32_t *before = heap_memory(d, d->nodes, sizeof *before), *order = heap_memory(d, d->nodes, sizeof *order);
  uint32_t reached = heap_paths(d, before, order);
  uint64_t *signature = signatures_make(d, before, order, reached);
  way *ways = heap_memory(d, WAYS, sizeof *ways);
  uint64_t count = 0;
  for (uint32_t i = 0; i < reached; i++) {
    if (order[i] < d->objects && heap_is_of_type(d, order[i], name)) {
      way *w = way_find(ways, signature[order[i]]);
      count++;
      if (w != NULL && w->count++ == 0) {
        w->signature = signature[order[i]];
        w->object = order[i];
      }
    }
  }
  free(order);
  free(signature);
  if (count != 0) {
    qsort(ways, WAYS, sizeof *ways, by_count);
    heap_out_value(out, "objects", "Objects reached", HEAP_NUMBER, (heap_value){.n = count});
    for (unsigned i = 0; i < 3 && ways[i].count != 0; i++) {
      char key[32], title[64];
      snprintf(key, sizeof key, "way_%u", i + 1);
      snprintf(title, sizeof title, "%" PRIu64 " (%.1f %%) held by", ways[i].count,
               100 * (double)ways[i].count / (double)count);
      way_report(out, d, before, ways[i].object, key, title, ends);
    }
  } else {
    fprintf(stderr, "veil-heap: %s: no object of type %s is reached\n", d->path, name);
  }
  free(ways);
  free(before);
  return count != 0;
}

bool heap_report_why(heap_out *out, heap_dump *d, const heap_options *o) {
  uint64_t address;
  unsigned ends = o->top == 0 ? 0 : ENDS;
  return heap_address_parse(o->why, &address) ? object_why(out, d, address, ends) : type_why(out, d, o->why, ends);
}
