// SPDX-License-Identifier: MIT
// contents.c: pages as they were committed.
//
// Neighbours: contents.h. A table from pages to entries; an entry has a list of items, oldest first, and a twin, perhaps. A twin can always be made again, so those that were not asked for lately make room for others (by a clock).
// The table has a place for each page there may be, charged as it is touched: with many pages in a commit, a search for each would take as long as comparing them.

#include "runtime/store/contents.h"
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/store/record.h"
#include "vm/check.h"
#include "vm/os.h"

// Indices count from 1; 0: none.
typedef struct entry {
  uint64_t page, zero_sequence;
  uint32_t next; // of those that are free
  uint32_t first, last; // items
  uint32_t twin;
  bool zero;  // before the items it is zeros, whatever the image has
  bool asked; // since the clock's hand came by
} entry;

typedef struct node {
  const uint64_t *item;
  uint64_t sequence;
  uint32_t next;
} node;

struct st_contents {
  size_t page_size, pages;
  const rt_image *image;
  uint32_t *of_page; // entries
  entry *entries;
  uint32_t entry_count, entry_room, entry_free;
  node *nodes;
  uint32_t node_count, node_room, node_free, nodes_left; // left: on the free list
  uint32_t entries_used;
  char *twins;
  uint32_t *owner; // per twin: its entry
  uint32_t twin_room, twin_count, hand, twins_used;
  void *scratch; // of rt_image_read
};

enum { TWINS_MIN = 64 };

st_contents *st_contents_open(size_t page_size, size_t pages, size_t cache) {
  st_contents *c = calloc(1, sizeof *c);
  if (c == NULL) {
    return NULL;
  }
  c->page_size = page_size;
  c->pages = pages;
  size_t twins = cache / page_size > TWINS_MIN ? cache / page_size : TWINS_MIN;
  c->twin_room = twins < UINT32_MAX / 2 ? (uint32_t)twins : UINT32_MAX / 2;
  c->of_page = os_map_private((pages + 1) * sizeof *c->of_page);
  c->owner = calloc(c->twin_room + (size_t)1, sizeof *c->owner);
  c->scratch = malloc(RT_IMAGE_SCRATCH);
  c->twins = os_map_private(c->twin_room * page_size);
  if (c->of_page == NULL || c->owner == NULL || c->scratch == NULL || c->twins == NULL) {
    st_contents_close(c);
    return NULL;
  }
  return c;
}

void st_contents_close(st_contents *c) {
  if (c == NULL) {
    return;
  }
  if (c->twins != NULL) {
    os_unmap(c->twins, c->twin_room * c->page_size);
  }
  if (c->of_page != NULL) {
    os_unmap(c->of_page, (c->pages + 1) * sizeof *c->of_page);
  }
  free(c->scratch);
  free(c->owner);
  free(c->entries);
  free(c->nodes);
  free(c);
}

void st_contents_image(st_contents *c, const rt_image *image) { c->image = image; }
size_t st_contents_cached(const st_contents *c) { return c->twins_used * c->page_size; }

// ---- The table.

static uint32_t find(const st_contents *c, uint64_t page) { return page < c->pages ? c->of_page[page] : 0; }

static bool grown(void **array, uint32_t *room, size_t wanted, size_t size) {
  if (wanted <= *room) {
    return true;
  }
  size_t more = wanted + wanted / 2 + 64;
  void *at = more < UINT32_MAX ? realloc(*array, more * size) : NULL;
  if (at == NULL) {
    return false;
  }
  *array = at;
  *room = (uint32_t)more;
  return true;
}

bool st_contents_reserve(st_contents *c, size_t items) {
  void *entries = c->entries, *nodes = c->nodes;
  bool good = grown(&entries, &c->entry_room, c->entry_count + items, sizeof *c->entries);
  c->entries = entries;
  good = good && grown(&nodes, &c->node_room, c->node_count + items, sizeof *c->nodes);
  c->nodes = nodes;
  return good;
}

// There is room. A page that the heap may have: what was read has been looked at.
static uint32_t find_or_add(st_contents *c, uint64_t page) {
  uint32_t at = find(c, page);
  if (at != 0) {
    return at;
  }
  VM_CHECK(page < c->pages, "page %llu of a heap of %zu", (unsigned long long)page, c->pages);
  at = c->entry_free;
  if (at != 0) {
    c->entry_free = c->entries[at - 1].next;
  } else {
    at = ++c->entry_count;
  }
  c->entries_used++;
  c->entries[at - 1] = (entry){.page = page};
  c->of_page[page] = at;
  return at;
}

static void nodes_drop(st_contents *c, entry *e, uint64_t before) {
  while (e->first != 0 && c->nodes[e->first - 1].sequence < before) {
    uint32_t at = e->first;
    e->first = c->nodes[at - 1].next;
    c->nodes[at - 1].next = c->node_free;
    c->node_free = at;
    c->nodes_left++;
  }
  e->last = e->first != 0 ? e->last : 0;
}

static void twin_drop(st_contents *c, entry *e) {
  if (e->twin != 0) {
    c->owner[e->twin - 1] = 0;
    c->twins_used--;
    e->twin = 0;
  }
}

// Of which there is nothing to know.
static bool is_empty(const entry *e) { return e->first == 0 && e->twin == 0 && !e->zero; }

static void entry_drop(st_contents *c, uint32_t at) {
  c->of_page[c->entries[at - 1].page] = 0;
  c->entries[at - 1] = (entry){.page = UINT64_MAX, .next = c->entry_free};
  c->entry_free = at;
  c->entries_used--;
}

// ---- Contents.

static veil_status contents_make(const st_contents *c, const entry *e, uint64_t page, void *to) {
  if ((e != NULL && e->zero) || c->image == NULL || !rt_image_has(c->image, page)) {
    memset(to, 0, c->page_size);
  } else {
    veil_status status = rt_image_read(c->image, page, 1, to, c->scratch);
    if (status != VEIL_OK) {
      return status;
    }
  }
  for (uint32_t at = e != NULL ? e->first : 0; at != 0; at = c->nodes[at - 1].next) {
    st_page_apply(c->nodes[at - 1].item, to);
  }
  return VEIL_OK;
}

static char *twin_at(const st_contents *c, uint32_t twin) { return c->twins + (size_t)(twin - 1) * c->page_size; }

veil_status st_contents_read(const st_contents *c, uint64_t page, void *to) {
  uint32_t at = find(c, page);
  const entry *e = at != 0 ? &c->entries[at - 1] : NULL;
  if (e != NULL && e->twin != 0) {
    memcpy(to, twin_at(c, e->twin), c->page_size);
    return VEIL_OK;
  }
  return contents_make(c, e, page, to);
}

void st_contents_fetch(const st_contents *c, uint64_t page, bool near) {
  if (!near) {
    __builtin_prefetch(&c->of_page[page]);
  } else if (c->of_page[page] != 0) {
    __builtin_prefetch(&c->entries[c->of_page[page] - 1]);
  }
}

const void *st_contents_twin(st_contents *c, uint64_t page) {
  uint32_t at = find(c, page);
  if (at == 0 || c->entries[at - 1].twin == 0) {
    return NULL;
  }
  c->entries[at - 1].asked = true;
  return twin_at(c, c->entries[at - 1].twin);
}

// A twin that nobody has, or that was not asked for lately.
static uint32_t twin_take(st_contents *c) {
  if (c->twin_count < c->twin_room) {
    return ++c->twin_count;
  }
  for (;;) {
    c->hand = c->hand % c->twin_room + 1;
    uint32_t owner = c->owner[c->hand - 1];
    if (owner == 0) {
      return c->hand;
    }
    entry *e = &c->entries[owner - 1];
    if (!e->asked) {
      twin_drop(c, e);
      if (is_empty(e)) {
        entry_drop(c, owner);
      }
      return c->hand;
    }
    e->asked = false;
  }
}

const void *st_contents_page(st_contents *c, uint64_t page) {
  if (!st_contents_reserve(c, 1)) {
    rt_error_set("no memory for a page as it was committed");
    return NULL;
  }
  uint32_t at = find_or_add(c, page);
  if (c->entries[at - 1].twin == 0) {
    uint32_t twin = twin_take(c); // others' entries may go
    entry *e = &c->entries[at - 1];
    if (contents_make(c, e, page, twin_at(c, twin)) != VEIL_OK) {
      if (is_empty(e)) {
        entry_drop(c, at);
      }
      return NULL;
    }
    e->twin = twin;
    c->owner[twin - 1] = at;
    c->twins_used++;
  }
  c->entries[at - 1].asked = true;
  return twin_at(c, c->entries[at - 1].twin);
}

void st_contents_note(st_contents *c, uint64_t page, const uint64_t *item, uint64_t sequence) {
  entry *e = &c->entries[find_or_add(c, page) - 1];
  uint32_t at = c->node_free;
  if (at != 0) {
    c->node_free = c->nodes[at - 1].next;
    c->nodes_left--;
  } else {
    at = ++c->node_count;
  }
  c->nodes[at - 1] = (node){.item = item, .sequence = sequence};
  if (e->last != 0) {
    c->nodes[e->last - 1].next = at;
  } else {
    e->first = at;
  }
  e->last = at;
  if (e->twin != 0) {
    st_page_apply(item, twin_at(c, e->twin));
  }
}

void st_contents_gone(st_contents *c, uint64_t page, uint64_t sequence) {
  entry *e = &c->entries[find_or_add(c, page) - 1];
  nodes_drop(c, e, UINT64_MAX);
  twin_drop(c, e);
  e->zero = true;
  e->zero_sequence = sequence;
}

void st_contents_gone_known(st_contents *c, uint64_t first, uint64_t count, uint64_t sequence) {
  for (uint64_t i = 0; count <= c->entry_count && i < count; i++) {
    if (find(c, first + i) != 0) {
      st_contents_gone(c, first + i, sequence);
    }
  }
  for (uint32_t i = 0; count > c->entry_count && i < c->entry_count; i++) {
    uint64_t page = c->entries[i].page;
    if (page != UINT64_MAX && page >= first && page - first < count) {
      st_contents_gone(c, page, sequence);
    }
  }
}

void st_contents_forget(st_contents *c, uint64_t page) {
  uint32_t at = find(c, page);
  if (at != 0) {
    twin_drop(c, &c->entries[at - 1]);
    if (is_empty(&c->entries[at - 1])) {
      entry_drop(c, at);
    }
  }
}

// ---- Folding.

static int page_order(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

uint64_t *st_contents_list(const st_contents *c, size_t *count) {
  uint64_t *pages = malloc((c->entries_used + (size_t)1) * sizeof *pages);
  *count = 0;
  for (uint32_t i = 0; i < c->entry_count && pages != NULL; i++) {
    const entry *e = &c->entries[i];
    if (e->page != UINT64_MAX && (e->first != 0 || e->zero)) {
      pages[(*count)++] = e->page;
    }
  }
  if (pages != NULL) {
    qsort(pages, *count, sizeof *pages, page_order);
  }
  return pages;
}

size_t st_contents_items(const st_contents *c, uint64_t page, const uint64_t **items, size_t room, bool *zeros) {
  uint32_t at = find(c, page);
  size_t count = 0;
  *zeros = at != 0 && c->entries[at - 1].zero;
  for (at = at != 0 ? c->entries[at - 1].first : 0; at != 0; at = c->nodes[at - 1].next) {
    if (count < room) {
      items[count] = c->nodes[at - 1].item;
    }
    count++;
  }
  return count;
}

void st_contents_folded(st_contents *c, const rt_image *image, uint64_t sequence) {
  c->image = image;
  for (uint32_t i = 0; i < c->entry_count; i++) {
    entry *e = &c->entries[i];
    if (e->page == UINT64_MAX) {
      continue;
    }
    nodes_drop(c, e, sequence);
    e->zero = e->zero && e->zero_sequence >= sequence;
    if (is_empty(e)) {
      entry_drop(c, i + 1);
    }
  }
}
