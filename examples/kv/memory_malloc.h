// SPDX-License-Identifier: MIT
// memory_malloc.h: memory.h on malloc, with a count of references in 8 bytes before each object.
//
// Nearly all objects have one owner all their life, and nearly all counts are 1 when they are dropped: then nothing atomic is written. Only what one thread
// sends while others may drop it is counted atomically, by those.

#ifndef KV_MEMORY_MALLOC_H
#define KV_MEMORY_MALLOC_H

#include <stdlib.h>

typedef struct kv_self kv_self;
typedef void kv_drop_fn(kv_self *self, void *object); // drops what the object owns

typedef struct kv_type {
  kv_drop_fn *drop; // NULL: it owns nothing
  bool later;       // it may own much: taken apart in steps, by kv_reclaim
} kv_type;
typedef struct kv_head {
  uint32_t references; // atomic
  int32_t type;        // from kv_type_none, in bytes: constant
} kv_head;
extern const kv_type kv_type_none;

void kv_dead(kv_self *self, void *object);

static inline kv_head *kv_head_of(void *object) { return (kv_head *)object - 1; }
static inline void *kv_made(kv_head *head, const kv_type *type) {
  if (head == NULL) {
    return NULL;
  }
  *head = (kv_head){1, (int32_t)((const char *)type - (const char *)&kv_type_none)};
  return head + 1;
}
static inline void *kv_alloc(const kv_type *type, size_t bytes) { return bytes > SIZE_MAX / 2 ? NULL : kv_made(calloc(1, sizeof(kv_head) + bytes), type); }
static inline void *kv_alloc_bytes(size_t bytes) { return bytes > SIZE_MAX / 2 ? NULL : kv_made(malloc(sizeof(kv_head) + bytes), &kv_type_none); }
// As Debian's malloc rounds.
static inline size_t kv_room(size_t bytes) { return bytes <= 8 ? 8 : (bytes + 15) / 16 * 16; }

static inline void kv_keep(void *object) { __atomic_fetch_add(&kv_head_of(object)->references, 1, __ATOMIC_RELAXED); }
static inline void kv_drop(kv_self *self, void *object) {
  if (object == NULL) {
    return;
  }
  kv_head *head = kv_head_of(object);
  // Acquire: what others did with it lies before our free. Release: what we did lies before theirs.
  if (__atomic_load_n(&head->references, __ATOMIC_ACQUIRE) == 1 || __atomic_sub_fetch(&head->references, 1, __ATOMIC_ACQ_REL) == 0) {
    kv_dead(self, object);
  }
}

#define KV_TYPE(T, DROP, ...) static const kv_type kv_type_##T __attribute__((unused)) = {DROP, false}
#define KV_TYPE_TAIL(T, DROP, ...) static const kv_type kv_type_##T __attribute__((unused)) = {DROP, false};
#define KV_TYPE_SLOTS(NAME, SIZE, FIRST, COUNT, DROP)                                                                                                          \
  enum { kv_size_##NAME = (SIZE) };                                                                                                                            \
  static const kv_type kv_type_##NAME = {DROP, true};

#define kv_new(SELF, T) ((void)(SELF), (T *)kv_alloc(&kv_type_##T, sizeof(T)))
#define kv_new_tail(SELF, T, BYTES) ((void)(SELF), (T *)kv_alloc(&kv_type_##T, BYTES))
#define kv_new_slots(SELF, NAME) ((void)(SELF), kv_alloc(&kv_type_##NAME, kv_size_##NAME))
// Its owner knows how long it is, and drops what it holds.
#define kv_new_pointers(SELF, COUNT, DROP) ((void)(SELF), (void **)kv_alloc(&kv_type_none, (COUNT) * sizeof(void *)))
#define kv_new_bytes(SELF, BYTES) ((void)(SELF), kv_alloc_bytes(BYTES))
#define kv_poll(SELF) ((void)(SELF))

#endif
