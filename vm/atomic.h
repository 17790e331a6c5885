// SPDX-License-Identifier: MIT
// atomic.h: the one door to libatomic_ops.
//
// Names carry the memory order: _acquire, _release, _full, or none for relaxed. Words of 64 bits are
// AO_t; 32-bit state words have their own set here.

#ifndef VM_ATOMIC_H
#define VM_ATOMIC_H

#include <atomic_ops.h>
#include <stdbool.h>
#include <stdint.h>

_Static_assert(sizeof(AO_t) == 8, "veil wants a 64-bit machine");
_Static_assert(sizeof(unsigned int) == 4, "");

typedef unsigned int volatile *at_u32; // what libatomic_ops calls AO_int

static inline uint32_t at32_load(uint32_t const volatile *p) { return AO_int_load((at_u32)p); }
static inline uint32_t at32_load_acquire(uint32_t const volatile *p) { return AO_int_load_acquire((at_u32)p); }
static inline void at32_store(uint32_t volatile *p, uint32_t v) { AO_int_store((at_u32)p, v); }
static inline void at32_store_release(uint32_t volatile *p, uint32_t v) { AO_int_store_release((at_u32)p, v); }
// True if *p was `old` and is now `new_value`; a full barrier when it succeeds.
static inline bool at32_cas_full(uint32_t volatile *p, uint32_t old, uint32_t new_value) {
  return AO_int_compare_and_swap_full((at_u32)p, old, new_value);
}
static inline uint32_t at32_add_full(uint32_t volatile *p, uint32_t v) {
  return AO_int_fetch_and_add_full((at_u32)p, v);
}
static inline uint32_t at32_add(uint32_t volatile *p, uint32_t v) { return AO_int_fetch_and_add((at_u32)p, v); }
// The value before.
static inline uint32_t at32_or_full(uint32_t volatile *p, uint32_t v) {
  for (;;) {
    uint32_t old = AO_int_load((at_u32)p);
    if (AO_int_compare_and_swap_full((at_u32)p, old, old | v)) {
      return old;
    }
  }
}

// Bytes: full barriers, since what they say is about memory elsewhere.
static inline uint8_t at8_load(uint8_t const volatile *p) { return AO_char_load((uint8_t volatile *)p); }
static inline void at8_store(uint8_t volatile *p, uint8_t v) { AO_char_store(p, v); }
static inline uint8_t at8_load_acquire(const uint8_t volatile *p) { return AO_char_load_acquire(p); }
static inline void at8_store_release(uint8_t volatile *p, uint8_t v) { AO_char_store_release(p, v); }
// True if *p was `old` and is now `new_value`.
static inline bool at8_cas_full(uint8_t volatile *p, uint8_t old, uint8_t new_value) {
  return AO_char_compare_and_swap_full(p, old, new_value);
}
static inline void at8_or_full(uint8_t volatile *p, uint8_t v) { AO_char_or_full(p, v); }
static inline void at8_and_full(uint8_t volatile *p, uint8_t v) { AO_char_and_full(p, v); }

// For the body of a loop that waits for another thread.
static inline void at_pause(void) { __builtin_ia32_pause(); }

static inline uint64_t at_load(AO_t const volatile *p) { return AO_load((AO_t volatile *)p); }
static inline uint64_t at_load_acquire(AO_t const volatile *p) { return AO_load_acquire((AO_t volatile *)p); }
static inline void at_store(AO_t volatile *p, uint64_t v) { AO_store(p, v); }
static inline void at_store_release(AO_t volatile *p, uint64_t v) { AO_store_release(p, v); }
static inline bool at_cas_full(AO_t volatile *p, uint64_t old, uint64_t new_value) {
  return AO_compare_and_swap_full(p, old, new_value);
}
static inline bool at_cas_release(AO_t volatile *p, uint64_t old, uint64_t new_value) {
  return AO_compare_and_swap_release(p, old, new_value);
}
// The value before.
static inline uint64_t at_add(AO_t volatile *p, uint64_t v) { return AO_fetch_and_add(p, v); }
static inline uint64_t at_add_full(AO_t volatile *p, uint64_t v) { return AO_fetch_and_add_full(p, v); }
static inline void at_or_full(AO_t volatile *p, uint64_t v) { AO_or_full(p, v); }
static inline void at_and_full(AO_t volatile *p, uint64_t v) { AO_and_full(p, v); }
static inline void at_fence_full(void) { AO_nop_full(); }

#endif
