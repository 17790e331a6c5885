// SPDX-License-Identifier: MIT
// list.c: lists of packed nodes; see collection.h. Under the shard's lock.

#include "collection.h"

KV_DROPS node_drop(kv_self *self, void *object) {
  kv_drop(self, ((kv_node *)object)->bytes);
  kv_drop(self, ((kv_node *)object)->next);
}
KV_DROPS list_drop(kv_self *self, void *object) { kv_drop(self, ((kv_list *)object)->first); }
KV_DROPS sorted_drop(kv_self *self, void *object) { kv_drop(self, ((kv_sorted *)object)->members); }
KV_TYPE(kv_node, node_drop, next, prev, bytes);
KV_TYPE(kv_list, list_drop, first, last);
KV_TYPE(kv_sorted, sorted_drop, members, root);

enum { NODE_MOST = 1024, NODE_LEAST = 40 };

// ---- Elements: a byte of length, or 255 and four bytes; the same behind, the other way round.

static uint32_t frame(uint64_t length) { return length < 255 ? 1 : 5; }
static uint64_t packed(uint64_t length) { return length + 2 * frame(length); }

static void pack(char *at, kv_text text) {
  uint32_t length = (uint32_t)text.length, edge = frame(length);
  at[0] = at[edge + length + edge - 1] = (char)(length < 255 ? length : 255);
  if (edge == 5) {
    memcpy(at + 1, &length, 4);
    memcpy(at + edge + length, &length, 4);
  }
  memcpy(at + edge, text.at, length);
}

static kv_text unpack(const char *at) {
  uint32_t length = (unsigned char)at[0];
  if (length == 255) {
    memcpy(&length, at + 1, 4);
    return (kv_text){at + 5, length};
  }
  return (kv_text){at + 1, length};
}

// The element that ends at `end`.
static const char *unpack_back(const char *end) {
  uint32_t length = (unsigned char)end[-1];
  if (length == 255) {
    memcpy(&length, end - 5, 4);
  }
  return end - packed(length);
}

// ---- Nodes.

static kv_node *node_new(kv_self *self, kv_list *list, uint64_t room) {
  kv_node *node = kv_new(self, kv_node);
  if (node == NULL) {
    return NULL;
  }
  room = kv_room(room);
  node->bytes = kv_new_bytes(self, room);
  if (node->bytes == NULL) {
    kv_drop(self, node);
    return NULL;
  }
  node->room = (uint32_t)room;
  list->bytes += sizeof *node + room;
  return node;
}

static void node_link(kv_list *list, kv_node *node, kv_node *prev, kv_node *next) {
  node->prev = prev;
  node->next = next;
  *(prev != NULL ? &prev->next : &list->first) = node;
  *(next != NULL ? &next->prev : &list->last) = node;
}

static void node_unlink(kv_self *self, kv_list *list, kv_node *node) {
  *(node->prev != NULL ? &node->prev->next : &list->first) = node->next;
  *(node->next != NULL ? &node->next->prev : &list->last) = node->prev;
  list->bytes -= sizeof *node + node->room;
  node->next = node->prev = NULL;
  kv_drop(self, node);
}

// Another room for the node's bytes, with `gap` bytes left free before `at`; if `back`, they are at the end of it. False: memory is out.
static bool node_move(kv_self *self, kv_list *list, kv_node *node, uint64_t room, bool back) {
  room = kv_room(room);
  char *made = kv_new_bytes(self, room);
  if (made == NULL) {
    return false;
  }
  uint32_t used = node->to - node->from, from = back ? (uint32_t)room - used : 0;
  memcpy(made + from, node->bytes + node->from, used);
  kv_drop(self, node->bytes);
  list->bytes += room - node->room;
  node->bytes = made;
  node->room = (uint32_t)room;
  node->from = from;
  node->to = from + used;
  return true;
}

// Makes room for `need` bytes at an end. NULL: a new node is needed.
static bool node_has_room(kv_self *self, kv_list *list, kv_node *node, uint64_t need, bool front) {
  uint64_t used = node->to - node->from;
  if (front ? node->from >= need : node->room - node->to >= need) {
    return true;
  }
  if (used + need <= node->room && used <= node->room / 2) { // the other end has been used up: its room is here now
    uint32_t from = front ? node->room - (uint32_t)used : 0;
    memmove(node->bytes + from, node->bytes + node->from, used);
    node->from = from;
    node->to = from + (uint32_t)used;
    return true;
  }
  uint64_t room = (used + need) * 2 < NODE_MOST ? (used + need) * 2 : NODE_MOST;
  return used + need <= NODE_MOST && node_move(self, list, node, room, front);
}

bool kv_list_push(kv_self *self, kv_list *list, kv_text text, bool front) {
  uint64_t need = packed(text.length);
  kv_node *node = front ? list->first : list->last;
  if (node == NULL || !node_has_room(self, list, node, need, front)) {
    uint64_t room = list->first == NULL || list->first->next == NULL ? NODE_LEAST : NODE_MOST;
    kv_node *made = node_new(self, list, room > need ? room : need);
    if (made == NULL) {
      return false;
    }
    made->from = made->to = front ? made->room : 0;
    node_link(list, made, front ? NULL : node, front ? node : NULL);
    node = made;
  }
  if (front) {
    node->from -= (uint32_t)need;
    pack(node->bytes + node->from, text);
  } else {
    pack(node->bytes + node->to, text);
    node->to += (uint32_t)need;
  }
  node->count++;
  list->count++;
  return true;
}

kv_text kv_list_end(kv_list *list, bool front) {
  kv_node *node = front ? list->first : list->last;
  return unpack(front ? node->bytes + node->from : unpack_back(node->bytes + node->to));
}

void kv_list_pop(kv_self *self, kv_list *list, bool front) {
  kv_node *node = front ? list->first : list->last;
  uint32_t size = (uint32_t)packed(kv_list_end(list, front).length);
  if (front) {
    node->from += size;
  } else {
    node->to -= size;
  }
  list->count--;
  if (--node->count == 0) {
    node_unlink(self, list, node);
  }
}

// ---- Anywhere.

kv_at kv_list_seek(kv_list *list, uint64_t index) {
  kv_node *node;
  if (index < list->count / 2) {
    for (node = list->first; index >= node->count; node = node->next) {
      index -= node->count;
    }
  } else {
    uint64_t behind = list->count - index; // at least 1
    for (node = list->last; behind > node->count; node = node->prev) {
      behind -= node->count;
    }
    index = node->count - behind;
  }
  kv_at at = {node, node->from};
  while (index-- > 0) {
    kv_list_next(&at);
  }
  return at;
}

kv_text kv_list_get(kv_at at) { return unpack(at.node->bytes + at.offset); }

bool kv_list_next(kv_at *at) {
  at->offset += (uint32_t)packed(kv_list_get(*at).length);
  if (at->offset == at->node->to) {
    if (at->node->next == NULL) {
      return false;
    }
    *at = (kv_at){at->node->next, at->node->next->from};
  }
  return true;
}

bool kv_list_prev(kv_at *at) {
  if (at->offset == at->node->from) {
    if (at->node->prev == NULL) {
      return false;
    }
    *at = (kv_at){at->node->prev, at->node->prev->to};
  }
  at->offset = (uint32_t)(unpack_back(at->node->bytes + at->offset) - at->node->bytes);
  return true;
}

// Puts `text`, if it is given, in place of `gone` bytes at `at`.
static bool node_splice(kv_self *self, kv_list *list, kv_at at, uint32_t gone, const kv_text *text) {
  kv_node *node = at.node;
  uint32_t need = text != NULL ? (uint32_t)packed(text->length) : 0, before = at.offset - node->from, after = node->to - at.offset - gone;
  uint64_t room = kv_room(before + (uint64_t)need + after);
  char *made = kv_new_bytes(self, room);
  if (made == NULL) {
    return false;
  }
  memcpy(made, node->bytes + node->from, before);
  if (text != NULL) {
    pack(made + before, *text);
  }
  memcpy(made + before + need, node->bytes + at.offset + gone, after);
  kv_drop(self, node->bytes);
  list->bytes += room - node->room;
  node->bytes = made;
  node->room = (uint32_t)room;
  node->from = 0;
  node->to = before + need + after;
  return true;
}

bool kv_list_set(kv_self *self, kv_list *list, kv_at at, kv_text text) {
  kv_text old = kv_list_get(at);
  if (packed(old.length) == packed(text.length)) {
    pack(at.node->bytes + at.offset, text);
    return true;
  }
  return node_splice(self, list, at, (uint32_t)packed(old.length), &text);
}

// A node that has become too long is cut in two at `offset`. If memory is out it stays long.
static void node_cut(kv_self *self, kv_list *list, kv_node *node) {
  if (node->to - node->from <= 2 * NODE_MOST || node->count < 2) {
    return;
  }
  kv_at at = {node, node->from};
  uint32_t half = node->count / 2;
  for (uint32_t i = 0; i < half; i++) {
    at.offset += (uint32_t)packed(kv_list_get(at).length);
  }
  uint32_t length = node->to - at.offset;
  kv_node *made = node_new(self, list, length);
  if (made != NULL) {
    memcpy(made->bytes, node->bytes + at.offset, length);
    made->to = length;
    made->count = node->count - half;
    node->to = at.offset;
    node->count = half;
    node_link(list, made, node, node->next);
  }
}

bool kv_list_insert(kv_self *self, kv_list *list, kv_at at, kv_text text, bool behind) {
  at.offset += behind ? (uint32_t)packed(kv_list_get(at).length) : 0;
  if (!node_splice(self, list, at, 0, &text)) {
    return false;
  }
  at.node->count++;
  list->count++;
  node_cut(self, list, at.node);
  return true;
}

bool kv_list_remove(kv_self *self, kv_list *list, kv_at *at) {
  kv_node *node = at->node, *next = node->next;
  uint32_t size = (uint32_t)packed(kv_list_get(*at).length);
  memmove(node->bytes + at->offset, node->bytes + at->offset + size, node->to - at->offset - size);
  node->to -= size;
  list->count--;
  bool last = at->offset == node->to;
  if (--node->count == 0) {
    node_unlink(self, list, node);
  }
  if (last && next != NULL) {
    *at = (kv_at){next, next->from};
  }
  return !last || next != NULL;
}

static void trim(kv_self *self, kv_list *list, uint64_t count, bool front) {
  while (count > 0) {
    kv_node *node = front ? list->first : list->last;
    if (node->count <= count) { // whole nodes
      count -= node->count;
      list->count -= node->count;
      node_unlink(self, list, node);
    } else {
      kv_list_pop(self, list, front);
      count--;
    }
  }
}

void kv_list_trim(kv_self *self, kv_list *list, uint64_t front, uint64_t back) {
  trim(self, list, front, true);
  trim(self, list, back, false);
}

// ---- All kinds.

void *kv_collection_new(kv_self *self, kv_kind kind) {
  if (kind == KV_LIST) {
    kv_list *list = kv_new(self, kv_list);
    if (list != NULL) {
      list->bytes = sizeof *list;
    }
    return list;
  }
  kv_table *table = kv_table_new(self);
  if (kind != KV_SORTED || table == NULL) {
    return table;
  }
  kv_sorted *sorted = kv_new(self, kv_sorted);
  if (sorted == NULL) {
    kv_drop(self, table);
    return NULL;
  }
  sorted->members = table;
  return sorted;
}

uint64_t kv_collection_count(kv_kind kind, const void *object) {
  return kind == KV_LIST     ? ((const kv_list *)object)->count
         : kind == KV_SORTED ? ((const kv_sorted *)object)->members->count
                             : ((const kv_table *)object)->count;
}

uint64_t kv_collection_bytes(kv_kind kind, const void *object) {
  return kind == KV_LIST     ? ((const kv_list *)object)->bytes
         : kind == KV_SORTED ? sizeof(kv_sorted) + ((const kv_sorted *)object)->members->bytes
                             : ((const kv_table *)object)->bytes;
}
