// SPDX-License-Identifier: MIT
// memory_veil.h: memory.h on veil. Types are described, loads and stores are plain, nothing is freed.
//
// An object whose length is known only at run time and that holds pointers is one of a family of types, a type for each size: so it has veil's small
// header and is scanned by a map. Bytes without pointers are such a family, too, up to 504; above they are arrays.

#ifndef KV_MEMORY_VEIL_H
#define KV_MEMORY_VEIL_H

#include <veil/veil.h>

typedef veil_thread kv_self;

// Sizes 8, 24, 40, ... 504, which fill veil's cells; then each twice the last.
enum { KV_FINE = 32, KV_COARSE = 21, KV_CLASSES = KV_FINE + KV_COARSE };
typedef struct kv_family {
  const char *name;
  const size_t *pointers;
  size_t count;
  veil_type types[KV_CLASSES];
} kv_family;
void kv_family_fill(kv_family *family);
void kv_slots_fill(veil_type *type, size_t *offsets, size_t first);
extern kv_family kv_family_bytes;

static inline unsigned kv_class(size_t bytes) {
  return bytes <= 504 ? (unsigned)((bytes + 7) / 16) : KV_FINE - 10 + (unsigned)(64 - __builtin_clzll((unsigned long long)bytes + 7));
}
static inline void *kv_alloc_family(kv_self *self, kv_family *family, size_t bytes) {
  unsigned class = kv_class(bytes);
  return class < KV_CLASSES ? veil_alloc(self, &family->types[class], family->types[class].size) : NULL;
}
static inline void *kv_new_bytes(kv_self *self, size_t bytes) {
  return bytes <= 504 ? kv_alloc_family(self, &kv_family_bytes, bytes) : veil_new_bytes_raw(self, bytes);
}
static inline size_t kv_room(size_t bytes) { return bytes <= 504 ? (bytes + 7) / 16 * 16 + 8 : (bytes + 15) / 16 * 16; }

#define KV_TYPE(T, DROP, ...) VEIL_TYPE(T, __VA_ARGS__)
#define KV_TYPE_TAIL(T, DROP, ...)                                                                                                                             \
  VEIL_TYPE(T, __VA_ARGS__);                                                                                                                                   \
  static kv_family kv_family_##T = {#T, veil_pointers_##T, VEIL_COUNT_(__VA_ARGS__), {{0}}};                                                                   \
  __attribute__((constructor)) static void kv_fill_##T(void) { kv_family_fill(&kv_family_##T); }
#define KV_TYPE_SLOTS(NAME, SIZE, FIRST, COUNT, DROP)                                                                                                          \
  static size_t kv_offsets_##NAME[COUNT];                                                                                                                      \
  static veil_type kv_type_##NAME = {.name = #NAME, .size = SIZE, .pointers = kv_offsets_##NAME, .pointer_count = COUNT};                                      \
  __attribute__((constructor)) static void kv_fill_##NAME(void) { kv_slots_fill(&kv_type_##NAME, kv_offsets_##NAME, FIRST); }

#define kv_new(SELF, T) veil_new(SELF, T)
#define kv_new_tail(SELF, T, BYTES) ((T *)kv_alloc_family(SELF, &kv_family_##T, BYTES))
#define kv_new_slots(SELF, NAME) veil_alloc(SELF, &kv_type_##NAME, kv_type_##NAME.size)
#define kv_new_pointers(SELF, COUNT, DROP) veil_new_pointers(SELF, COUNT)
#define kv_keep(OBJECT) ((void)(OBJECT))
#define kv_drop(SELF, OBJECT) ((void)(SELF), (void)(OBJECT))
#define kv_poll(SELF) veil_poll(SELF)

#endif
