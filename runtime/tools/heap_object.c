// SPDX-License-Identifier: MIT
// heap_object.c: one object, with what it refers to and who refers to it; and one type.

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/tools/heap.h"

#define END_OF_COLUMNS                                                                                                 \
  { NULL, NULL, 0, HEAP_TEXT }

bool heap_address_parse(const char *text, uint64_t *out) {
  char *end;
  if (*text < '0' || *text > '9') {
    return false;
  }
  *out = strtoull(text, &end, 0);
  return *end == 0;
}

// ---- References to it and from it.

typedef struct edge {
  uint32_t from, to;
  uint64_t offset;
} edge;

typedef struct edges {
  const heap_dump *d;
  uint32_t object;
  uint64_t address;
  size_t room;
  edge *in, *out;
  uint64_t in_count, out_count;
} edges;

static void edge_note(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  edges *e = arg;
  if (o->address == e->address && heap_find(e->d, to) != HEAP_NONE && e->out_count++ < e->room) {
    e->out[e->out_count - 1] = (edge){e->object, heap_find(e->d, to), offset};
  }
  if (to == e->address && e->in_count++ < e->room) {
    e->in[e->in_count - 1] = (edge){heap_find(e->d, o->address), e->object, offset};
  }
}

static const heap_column edge_columns[] = {{"slot", "slot", 12, HEAP_TEXT},
                                           {"address", "address", 16, HEAP_ADDRESS},
                                           {"retained", "retained", 12, HEAP_BYTES},
                                           {"type", "type", 0, HEAP_TEXT},
                                           END_OF_COLUMNS};

static void edges_report(heap_out *out, const heap_dump *d, const char *key, const char *title, const edge *all,
                         uint64_t count, size_t room, bool in) {
  heap_out_table(out, key, title, edge_columns);
  for (uint64_t i = 0; i < count && i < room; i++) {
    char slot[64], type[300];
    uint32_t other = in ? all[i].from : all[i].to;
    heap_slot_text(d, all[i].from, all[i].offset, slot, sizeof slot);
    heap_type_text(d, other, type, sizeof type);
    heap_out_row(
        out, (heap_value[]){{.text = slot}, {.n = heap_address(d, other)}, {.n = d->retained[other]}, {.text = type}});
  }
  heap_out_table_end(out);
  if (count > room) {
    heap_out_note(out, "  ... and %" PRIu64 " more\n", count - room);
  }
}

static void node_value(heap_out *out, const heap_dump *d, uint32_t node) {
  char text[300], all[360];
  if (node == HEAP_NONE) {
    heap_out_value(out, "dominated_by", "Goes with", HEAP_TEXT, (heap_value){.text = "nothing: it is garbage"});
  } else if (node < d->objects) {
    heap_type_text(d, node, text, sizeof text);
    snprintf(all, sizeof all, "0x%" PRIx64 " %s", heap_address(d, node), text);
    heap_out_value(out, "dominated_by", "Goes with", HEAP_TEXT, (heap_value){.text = all});
  } else if (node < heap_kind_node(d, 0)) {
    heap_holder_text(d, node - d->objects, text, sizeof text);
    heap_out_value(out, "dominated_by", "Held only by", HEAP_TEXT, (heap_value){.text = text});
  } else if (node < heap_root_node(d)) {
    heap_out_value(out, "dominated_by", "Held only by", HEAP_TEXT,
                   (heap_value){.text = heap_kind_text(node - heap_kind_node(d, 0))});
  } else {
    heap_out_value(out, "dominated_by", "Held by", HEAP_TEXT, (heap_value){.text = "roots of several kinds"});
  }
}

static void links_report(heap_out *out, const heap_dump *d, uint32_t object) {
  static const heap_column columns[] = {{"kind", "kind", 10, HEAP_TEXT},
                                        {"other", "by or to", 16, HEAP_ADDRESS},
                                        {"name", "", 0, HEAP_TEXT},
                                        END_OF_COLUMNS};
  heap_out_table(out, "weak", "Weak references and finalizers", columns);
  uint64_t address = heap_address(d, object);
  for (uint32_t i = 0; i < d->link_count; i++) {
    const heap_link *l = &d->links[i];
    if (l->object == object) {
      const char *name = l->kind == DUMP_LINK_FINALIZER ? heap_name_of(d, l->owner) : NULL;
      heap_out_row(out, (heap_value[]){{.text = l->kind == DUMP_LINK_WEAK ? "weak" : "finalizer"},
                                       {.n = l->owner},
                                       {.text = name != NULL ? name : ""}});
    } else if (l->kind == DUMP_LINK_WEAK && l->owner == address && l->object != HEAP_NONE) {
      heap_out_row(out, (heap_value[]){{.text = "refers to"}, {.n = heap_address(d, l->object)}, {.text = ""}});
    }
  }
  heap_out_table_end(out);
}

static void entries_report(heap_out *out, const heap_dump *d, uint32_t object, unsigned top) {
  static const heap_column columns[] = {
      {"as", "as", 10, HEAP_TEXT},          {"table", "table", 16, HEAP_ADDRESS},      {"key", "key", 16, HEAP_ADDRESS},
      {"value", "value", 16, HEAP_ADDRESS}, {"kind", "table with weak", 0, HEAP_TEXT}, END_OF_COLUMNS};
  static const char *const kinds[] = {"", "keys", "values", "keys and values"};
  heap_out_table(out, "entries", "Entries of weak tables", columns);
  unsigned rows = 0;
  for (uint32_t i = 0; i < d->entry_count && (top == 0 || rows < top); i++) {
    const heap_entry *e = &d->entries[i];
    if (e->table == object || e->key == object || e->value == object) {
      heap_out_row(out, (heap_value[]){{.text = e->key == object     ? "key"
                                                : e->value == object ? "value"
                                                                     : "table"},
                                       {.n = heap_address(d, e->table)},
                                       {.n = heap_address(d, e->key)},
                                       {.n = heap_address(d, e->value)},
                                       {.text = kinds[e->kind]}});
      rows++;
    }
  }
  heap_out_table_end(out);
}

static void holders_of(heap_out *out, const heap_dump *d, uint32_t object, unsigned top) {
  static const heap_column columns[] = {{"where", "where", 16, HEAP_ADDRESS},
                                        {"inside", "inside", 8, HEAP_DELTA},
                                        {"root", "root", 0, HEAP_TEXT},
                                        END_OF_COLUMNS};
  heap_out_table(out, "roots", "Roots that hold it", columns);
  unsigned rows = 0;
  for (uint32_t i = 0; i < d->root_count && (top == 0 || rows < top); i++) {
    if (d->roots[i].object == object) {
      char text[700];
      heap_root_text(d, &d->roots[i], text, sizeof text);
      heap_out_row(out, (heap_value[]){{.n = d->roots[i].where}, {.delta = d->roots[i].inside}, {.text = text}});
      rows++;
    }
  }
  heap_out_table_end(out);
}

static const heap_column object_columns[] = {{"retained", "retained", 12, HEAP_BYTES},
                                             {"objects", "objects", 12, HEAP_NUMBER},
                                             {"address", "address", 16, HEAP_ADDRESS},
                                             {"type", "type", 0, HEAP_TEXT},
                                             END_OF_COLUMNS};

static void top_report(heap_out *out, const heap_dump *d, heap_top *top, const char *key, const char *title) {
  heap_top_sort(d, top);
  heap_out_table(out, key, title, object_columns);
  for (uint32_t i = 0; i < top->count; i++) {
    char type[300];
    heap_type_text(d, top->node[i], type, sizeof type);
    heap_out_row(out, (heap_value[]){{.n = d->retained[top->node[i]]},
                                     {.n = d->retained_count[top->node[i]]},
                                     {.n = heap_address(d, top->node[i])},
                                     {.text = type}});
  }
  heap_out_table_end(out);
}

bool heap_report_object(heap_out *out, heap_dump *d, const heap_options *o) {
  uint64_t address;
  uint32_t object = heap_address_parse(o->object, &address) ? heap_find_in(d, address) : HEAP_NONE;
  if (object == HEAP_NONE) {
    fprintf(stderr, "veil-heap: %s: no object is at %s\n", d->path, o->object);
    return false;
  }
  heap_reach(d);
  heap_dominate(d);
  char type[300];
  heap_type_text(d, object, type, sizeof type);
  heap_out_value(out, "address", "Object", HEAP_ADDRESS, (heap_value){.n = heap_address(d, object)});
  heap_out_value(out, "type", "Type", HEAP_TEXT, (heap_value){.text = type});
  heap_out_value(out, "bytes", "Bytes", HEAP_BYTES, (heap_value){.n = heap_object_bytes(d, object)});
  heap_out_value(out, "young", "Young", HEAP_TEXT, (heap_value){.text = d->what[object] & HEAP_YOUNG ? "yes" : "no"});
  heap_out_value(out, "reached", "Reached", HEAP_TEXT,
                 (heap_value){.text = d->what[object] & HEAP_REACHED ? "yes" : "no"});
  heap_out_value(out, "retained", "Retains", HEAP_BYTES, (heap_value){.n = d->retained[object]});
  heap_out_value(out, "retained_objects", "  objects", HEAP_NUMBER, (heap_value){.n = d->retained_count[object]});
  node_value(out, d, d->dominator[object]);
  size_t room = o->top != 0 ? o->top : d->edges;
  edges e = {
      d, object, heap_address(d, object), room, heap_memory(d, room, sizeof(edge)), heap_memory(d, room, sizeof(edge)),
      0, 0};
  heap_objects_visit(d, NULL, edge_note, &e);
  edges_report(out, d, "references", "Refers to", e.out, e.out_count, room, false);
  edges_report(out, d, "referrers", "Referred to by", e.in, e.in_count, room, true);
  holders_of(out, d, object, o->top);
  links_report(out, d, object);
  entries_report(out, d, object, o->top);
  heap_top top = {heap_memory(d, room, sizeof(uint32_t)), 0, (uint32_t)room};
  for (uint32_t i = 0; i < d->objects; i++) {
    if (d->dominator[i] == object) {
      heap_top_add(d, &top, i);
    }
  }
  top_report(out, d, &top, "dominated", "Goes with it");
  free(top.node);
  free(e.in);
  free(e.out);
  return true;
}

// ---- A type.

// What goes with all objects of the type together: of those that go with another of them, only the outermost count.
static uint64_t retained_together(const heap_dump *d, const uint8_t *is, uint64_t *objects) {
  uint64_t bytes = 0;
  *objects = 0;
  // 0: not known, 1: an object of the type dominates it or is it, 2: none does.
  uint8_t *inside = heap_memory(d, d->nodes, 1);
  uint32_t *way = heap_memory(d, d->nodes, sizeof *way);
  for (uint32_t i = 0; i < d->objects; i++) {
    uint32_t height = 0, n = i;
    for (; n != HEAP_NONE && inside[n] == 0; n = d->dominator[n]) {
      way[height++] = n;
    }
    uint8_t known = n != HEAP_NONE ? inside[n] : 2;
    while (height != 0) {
      uint32_t w = way[--height];
      bool of_it = w < d->objects && is[w];
      if (of_it && known == 2) {
        bytes += d->retained[w];
        *objects += d->retained_count[w];
      }
      known = inside[w] = of_it || known == 1 ? 1 : 2;
    }
  }
  free(way);
  free(inside);
  return bytes;
}

typedef struct referrer {
  uint32_t type; // with HEAP_ARRAY
  uint64_t count;
} referrer;

static int by_count(const void *a, const void *b) {
  const referrer *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count ? 1 : -1) : (x->type > y->type) - (x->type < y->type);
}

static void referrers_report(heap_out *out, const heap_dump *d, const uint8_t *is, unsigned top) {
  static const heap_column columns[] = {
      {"references", "references", 12, HEAP_NUMBER}, {"type", "type", 0, HEAP_TEXT}, END_OF_COLUMNS};
  referrer *all = heap_memory(d, 2 * HEAP_TYPES, sizeof *all);
  for (uint32_t i = 0; i < d->objects; i++) {
    for (uint32_t e = d->first[i]; (d->what[i] & HEAP_REACHED) && e < d->first[i + 1]; e++) {
      all[heap_sort_of(d, i)].count += is[d->target[e]];
    }
  }
  for (uint32_t i = 0; i < 2 * HEAP_TYPES; i++) {
    all[i].type = i;
  }
  qsort(all, 2 * HEAP_TYPES, sizeof *all, by_count);
  heap_out_table(out, "referrers", "Referred to by", columns);
  for (uint32_t i = 0; i < 2 * HEAP_TYPES && all[i].count != 0 && (top == 0 || i < top); i++) {
    char name[300];
    heap_sum_text(&(heap_sum){.name = d->types[all[i].type & (HEAP_TYPES - 1)].name, .type = all[i].type}, name,
                  sizeof name);
    heap_out_row(out, (heap_value[]){{.n = all[i].count}, {.text = name}});
  }
  heap_out_table_end(out);
  free(all);
}

bool heap_report_type(heap_out *out, heap_dump *d, const heap_options *o) {
  heap_reach(d);
  uint8_t *is = heap_memory(d, d->objects, 1);
  uint64_t count = 0, bytes = 0, objects;
  for (uint32_t i = 0; i < d->objects; i++) {
    is[i] = (d->what[i] & HEAP_REACHED) && heap_is_of_type(d, i, o->type);
    count += is[i];
    bytes += is[i] ? heap_object_bytes(d, i) : 0;
  }
  if (count == 0) {
    fprintf(stderr, "veil-heap: %s: no object of type %s is reached\n", d->path, o->type);
    free(is);
    return false;
  }
  heap_dominate(d);
  uint64_t retained = retained_together(d, is, &objects);
  heap_out_value(out, "type", "Type", HEAP_TEXT, (heap_value){.text = o->type});
  heap_out_value(out, "count", "Objects", HEAP_NUMBER, (heap_value){.n = count});
  heap_out_value(out, "bytes", "Bytes", HEAP_BYTES, (heap_value){.n = bytes});
  heap_out_value(out, "retained", "Retain together", HEAP_BYTES, (heap_value){.n = retained});
  heap_out_value(out, "retained_objects", "  objects", HEAP_NUMBER, (heap_value){.n = objects});
  referrers_report(out, d, is, o->top);
  uint32_t room = o->top != 0 ? o->top : d->objects;
  heap_top top = {heap_memory(d, room, sizeof(uint32_t)), 0, room};
  for (uint32_t i = 0; i < d->objects; i++) {
    if (is[i]) {
      heap_top_add(d, &top, i);
    }
  }
  top_report(out, d, &top, "largest", "Those that retain the most");
  free(top.node);
  free(is);
  return true;
}
