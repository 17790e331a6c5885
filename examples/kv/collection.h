// SPDX-License-Identifier: MIT
// collection.h: what boxes refer to: lists, hashes and sets (tables), sorted sets.

#ifndef KV_COLLECTION_H
#define KV_COLLECTION_H

#include "table.h"

// ---- Lists: nodes that hold several elements each, packed into bytes. Each element has its length before and behind it, so that it can be walked both ways.

typedef struct kv_node {
  struct kv_node *next;           // owned
  struct kv_node *prev;           // borrowed
  char *bytes;                    // owned
  uint32_t from, to, room, count; // elements lie in [from, to)
} kv_node;
typedef struct kv_list {
  kv_node *first; // owned
  kv_node *last;  // borrowed
  uint64_t count, bytes;
} kv_list;
// An element. Good until the list changes.
typedef struct kv_at {
  kv_node *node;
  uint32_t offset;
} kv_at;

bool kv_list_push(kv_self *self, kv_list *list, kv_text text, bool front);
kv_text kv_list_end(kv_list *list, bool front);             // the first or last element of a list that is not empty
void kv_list_pop(kv_self *self, kv_list *list, bool front); // takes it off
kv_at kv_list_seek(kv_list *list, uint64_t index);          // which is there
kv_text kv_list_get(kv_at at);
bool kv_list_next(kv_at *at); // false: the end
bool kv_list_prev(kv_at *at);
bool kv_list_set(kv_self *self, kv_list *list, kv_at at, kv_text text);
bool kv_list_insert(kv_self *self, kv_list *list, kv_at at, kv_text text, bool behind);
bool kv_list_remove(kv_self *self, kv_list *list, kv_at *at);                   // *at is the one behind it then; false: that was the last
void kv_list_trim(kv_self *self, kv_list *list, uint64_t front, uint64_t back); // so many off each end

// ---- Sorted sets: a table of members, which are nodes of a tree as well, by score and then by text.

typedef struct kv_sorted {
  kv_table *members; // owned
  kv_member *root;   // borrowed
} kv_sorted;

void kv_tree_insert(kv_sorted *sorted, kv_member *member);
void kv_tree_remove(kv_sorted *sorted, kv_member *member);
uint64_t kv_tree_rank(const kv_sorted *sorted, const kv_member *member);
// How many members have a score below `score`, or if `also` at most that.
uint64_t kv_tree_below(const kv_sorted *sorted, double score, bool also);
kv_member *kv_tree_at(const kv_sorted *sorted, uint64_t rank);
// Members of ranks [from, to), in this order or the other way round.
void kv_tree_each(const kv_sorted *sorted, uint64_t from, uint64_t to, bool reverse, void (*visit)(void *arg, kv_member *member), void *arg);

// ---- All of them.

void *kv_collection_new(kv_self *self, kv_kind kind);
uint64_t kv_collection_count(kv_kind kind, const void *object);
uint64_t kv_collection_bytes(kv_kind kind, const void *object);

#endif
