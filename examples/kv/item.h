// SPDX-License-Identifier: MIT
// item.h: what tables hold: a key with what belongs to it, in one object.
//
//   kv_string   text of up to KV_INLINE bytes beside its key: no pointers. Also an element of a set (no text) and a small field of a hash
//   kv_box      a reference to a blob (longer text), a list, a hash, a set or a sorted set
//   kv_member   an element of a sorted set: also a node of its tree
//
// Behind the fixed part: 8 bytes that say when it expires (if `timed`), the key, and a string's text. Items are read and written under their shard's lock.

#ifndef KV_ITEM_H
#define KV_ITEM_H

#include <string.h>
#include "memory.h"

enum { KV_INLINE = 1024 };

typedef struct kv_text {
  const char *at;
  size_t length;
} kv_text;

typedef enum kv_kind { KV_STRING = 0, KV_BLOB, KV_LIST, KV_HASH, KV_SET, KV_SORTED, KV_MEMBER } kv_kind;

typedef struct kv_item {
  uint8_t kind : 4, timed : 1; // constant
  uint8_t clock_high;          // when it was last used, in tenths of a second, for LRU: 24 bits, so 19 days
  uint16_t clock_low;
  uint32_t key_length; // constant
} kv_item;

typedef struct kv_string {
  kv_item head;
  uint16_t length, room; // of the text
  char bytes[];
} kv_string;

typedef struct kv_box {
  kv_item head;
  void *object; // owned
  char bytes[];
} kv_box;

typedef struct kv_member {
  kv_item head;
  struct kv_member *left, *right; // borrowed: the set's table owns its members
  double score;
  uint32_t size, priority; // of the subtree; of this node
  char bytes[];
} kv_member;

// Text of more than KV_INLINE bytes. From KV_BY_REFERENCE on replies refer to it: then bytes that lie within `length` do not change any more.
typedef struct kv_blob {
  uint64_t length, room;
  char bytes[];
} kv_blob;
enum { KV_BY_REFERENCE = 16384 };

static inline uint32_t kv_item_clock(const kv_item *item) { return (uint32_t)item->clock_high << 16 | item->clock_low; }
static inline void kv_item_set_clock(kv_item *item, uint32_t clock) {
  item->clock_high = (uint8_t)(clock >> 16);
  item->clock_low = (uint16_t)clock;
}

static inline size_t kv_key_offset(const kv_item *item) {
  static const uint8_t fixed[8] = {offsetof(kv_string, bytes), offsetof(kv_box, bytes), offsetof(kv_box, bytes),    offsetof(kv_box, bytes),
                                   offsetof(kv_box, bytes),    offsetof(kv_box, bytes), offsetof(kv_member, bytes), 0};
  return fixed[item->kind] + (item->timed ? 8u : 0u);
}
static inline kv_text kv_item_key(const kv_item *item) { return (kv_text){(const char *)item + kv_key_offset(item), item->key_length}; }
static inline bool kv_item_is(const kv_item *item, kv_text key) {
  return item->key_length == key.length && memcmp((const char *)item + kv_key_offset(item), key.at, key.length) == 0;
}
static inline char *kv_string_text(kv_string *string) { return (char *)string + kv_key_offset(&string->head) + string->head.key_length; }

// The text of a string or blob item.
static inline kv_text kv_item_text(kv_item *item) {
  if (item->kind == KV_STRING) {
    kv_string *string = (kv_string *)item;
    return (kv_text){kv_string_text(string), string->length};
  }
  kv_blob *blob = ((kv_box *)item)->object;
  return (kv_text){blob->bytes, blob->length};
}

// When it expires, in ms since the epoch; 0 if it does not.
static inline int64_t kv_item_expires(const kv_item *item) {
  int64_t when = 0;
  if (item->timed) {
    memcpy(&when, (const char *)item + kv_key_offset(item) - 8, 8);
  }
  return when;
}
static inline void kv_item_set_expires(kv_item *item, int64_t when) { memcpy((char *)item + kv_key_offset(item) - 8, &when, 8); }

// New items; NULL if memory is out. `expires` 0: not timed. A string has room for `length` bytes of text at least; more than KV_INLINE become a blob. The text
// is copied if `text` is given.
kv_item *kv_item_string(kv_self *self, kv_text key, const char *text, size_t length, int64_t expires);
kv_item *kv_item_box(kv_self *self, kv_kind kind, kv_text key, void *object, int64_t expires); // takes over `object`, also if it fails
kv_member *kv_item_member(kv_self *self, kv_text key, double score);
kv_blob *kv_blob_new(kv_self *self, const char *text, size_t length, size_t room);

// The same item with another key or another time: a new one, to put in place of `item`. What a box holds moves over, once it is put there.
kv_item *kv_item_again(kv_self *self, kv_item *item, kv_text key, int64_t expires);
// After kv_item_again: `old` no longer owns what its copy has. Then it can be dropped.
void kv_item_emptied(kv_item *old);

// Bytes of data: the item's own, with its blob if it has one, but not what else a box refers to.
size_t kv_item_bytes(const kv_item *item);

#endif
