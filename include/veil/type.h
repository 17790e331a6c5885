// SPDX-License-Identifier: MIT
// veil/type.h: how a program tells veil where the pointers of its objects are.
//
// A type is described once, beside its struct, and registers itself at its first
// allocation. There are no untyped objects.

#ifndef VEIL_TYPE_H
#define VEIL_TYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// How the words of a type's slots decode. A word is a pointer if its low three
// bits, taken as a number i, have bit i set in `low_tags`, and its high 16 bits
// lie in [high_min, high_max], and what remains points into the heap. Other
// words are left alone. The tag bits are kept when the object moves.
// Low-bit tagging: {low_tags, 0, 0}. NaN boxing: {1, 0xfff8, 0xffff}, say.
typedef struct veil_encoding {
  uint8_t low_tags;
  uint16_t high_min, high_max;
} veil_encoding;

typedef struct veil_visitor veil_visitor;

// A trace callback reports every slot of an object whose layout only the program
// knows. `object` is the object's address as the program sees it, `alias` the
// same bytes where the callback may read them; `length` is the element count of
// an array, 1 otherwise. Only slots that lie in [slots_base, slots_limit), byte
// offsets from the start of the object, are wanted; others are ignored.
// The callback calls veil_visit for each slot. It reads only this object's own
// bytes, through `alias`, and follows no slot; touching `object` aborts. It may run
// in any thread, in a signal handler: no locks, no malloc, no stdio.
typedef void veil_trace_fn(const void *object, const void *alias, size_t length,
                           size_t slots_base, size_t slots_limit, veil_visitor *visitor);

// Reports the slot at byte `offset` of the object being traced. Call it from a
// trace callback only.
void veil_visit(veil_visitor *visitor, size_t offset);

// A type's description. Fill it with the macros below; the last group is veil's.
typedef struct veil_type {
  const char *name;
  size_t size;              // bytes of one object, or of one element of an array
  const size_t *pointers;   // byte offsets of the slots, each a multiple of 8
  size_t pointer_count;
  veil_trace_fn *trace;     // instead of a pointer map, or NULL
  const veil_encoding *encoding; // NULL: plain pointers

  // Written by veil, once, at the first allocation.
  uint64_t header;          // 0 until registered
  uint64_t array_header;
  uint32_t leaf;            // 1: holds no pointers
} veil_type;

// VEIL_TYPE(node, left, right);        the pointer fields of `node`; array members
//                                      are named one by one: child[0], child[1]
// VEIL_TYPE_TAGGED(cell, enc, car, cdr); fields of one word each, decoded by `enc`
// VEIL_LEAF(sample);                   no pointers
// VEIL_TYPE_TRACE(frame, trace_frame); by callback
// Each defines the static variable veil_type_<name> and is checked by the compiler: a
// field that is not a pointer, or not 8 bytes, does not compile.
#define VEIL_TYPE(T, ...) \
  VEIL_EACH_(VEIL_ASSERT_POINTER_, T, __VA_ARGS__) \
  static const size_t veil_pointers_##T[] = {VEIL_EACH_(VEIL_OFFSET_, T, __VA_ARGS__)}; \
  VEIL_DEFINE_TYPE_(T, veil_pointers_##T, sizeof veil_pointers_##T / sizeof(size_t), NULL, NULL)

#define VEIL_TYPE_TAGGED(T, ENCODING, ...) \
  VEIL_EACH_(VEIL_ASSERT_WORD_, T, __VA_ARGS__) \
  static const size_t veil_pointers_##T[] = {VEIL_EACH_(VEIL_OFFSET_, T, __VA_ARGS__)}; \
  VEIL_DEFINE_TYPE_(T, veil_pointers_##T, sizeof veil_pointers_##T / sizeof(size_t), NULL, ENCODING)

#define VEIL_LEAF(T) VEIL_DEFINE_TYPE_(T, NULL, 0, NULL, NULL)
#define VEIL_TYPE_TRACE(T, FN) VEIL_DEFINE_TYPE_(T, NULL, 0, FN, NULL)

// As VEIL_TYPE_TRACE, with slots that decode by `ENCODING`.
#define VEIL_TYPE_TRACE_TAGGED(T, FN, ENCODING) VEIL_DEFINE_TYPE_(T, NULL, 0, FN, ENCODING)

// Built in: arrays of pointers, and arrays of bytes.
extern veil_type veil_type_pointer_;
extern veil_type veil_type_byte_;

#ifdef __cplusplus
#define VEIL_STATIC_ASSERT_ static_assert
#else
#define VEIL_STATIC_ASSERT_ _Static_assert
#endif

#define VEIL_DEFINE_TYPE_(T, MAP, COUNT, TRACE, ENCODING) \
  VEIL_STATIC_ASSERT_(sizeof(T) % 8 == 0 || (COUNT) == 0, #T ": size is not a multiple of 8"); \
  static veil_type veil_type_##T __attribute__((unused)) = {#T, sizeof(T), MAP, COUNT, TRACE, ENCODING, 0, 0, 0}

#define VEIL_OFFSET_(T, F) offsetof(T, F),
#define VEIL_ASSERT_POINTER_(T, F) \
  VEIL_STATIC_ASSERT_(__builtin_classify_type(((T *)0)->F) == 5 && sizeof(((T *)0)->F) == 8, \
                      #T "." #F " is not a pointer");
#define VEIL_ASSERT_WORD_(T, F) \
  VEIL_STATIC_ASSERT_(sizeof(((T *)0)->F) == 8, #T "." #F " is not a word of 8 bytes");

// Applies M(T, x) to up to 32 arguments.
#define VEIL_EACH_(M, T, ...) \
  VEIL_EACH_PICK_(__VA_ARGS__, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, \
                  15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1) \
  (M, T, __VA_ARGS__)
#define VEIL_EACH_PICK_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, \
                        a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, N, ...) \
  VEIL_EACH_##N##_
#define VEIL_EACH_1_(M, T, a) M(T, a)
#define VEIL_EACH_2_(M, T, a, ...) M(T, a) VEIL_EACH_1_(M, T, __VA_ARGS__)
#define VEIL_EACH_3_(M, T, a, ...) M(T, a) VEIL_EACH_2_(M, T, __VA_ARGS__)
#define VEIL_EACH_4_(M, T, a, ...) M(T, a) VEIL_EACH_3_(M, T, __VA_ARGS__)
#define VEIL_EACH_5_(M, T, a, ...) M(T, a) VEIL_EACH_4_(M, T, __VA_ARGS__)
#define VEIL_EACH_6_(M, T, a, ...) M(T, a) VEIL_EACH_5_(M, T, __VA_ARGS__)
#define VEIL_EACH_7_(M, T, a, ...) M(T, a) VEIL_EACH_6_(M, T, __VA_ARGS__)
#define VEIL_EACH_8_(M, T, a, ...) M(T, a) VEIL_EACH_7_(M, T, __VA_ARGS__)
#define VEIL_EACH_9_(M, T, a, ...) M(T, a) VEIL_EACH_8_(M, T, __VA_ARGS__)
#define VEIL_EACH_10_(M, T, a, ...) M(T, a) VEIL_EACH_9_(M, T, __VA_ARGS__)
#define VEIL_EACH_11_(M, T, a, ...) M(T, a) VEIL_EACH_10_(M, T, __VA_ARGS__)
#define VEIL_EACH_12_(M, T, a, ...) M(T, a) VEIL_EACH_11_(M, T, __VA_ARGS__)
#define VEIL_EACH_13_(M, T, a, ...) M(T, a) VEIL_EACH_12_(M, T, __VA_ARGS__)
#define VEIL_EACH_14_(M, T, a, ...) M(T, a) VEIL_EACH_13_(M, T, __VA_ARGS__)
#define VEIL_EACH_15_(M, T, a, ...) M(T, a) VEIL_EACH_14_(M, T, __VA_ARGS__)
#define VEIL_EACH_16_(M, T, a, ...) M(T, a) VEIL_EACH_15_(M, T, __VA_ARGS__)
#define VEIL_EACH_17_(M, T, a, ...) M(T, a) VEIL_EACH_16_(M, T, __VA_ARGS__)
#define VEIL_EACH_18_(M, T, a, ...) M(T, a) VEIL_EACH_17_(M, T, __VA_ARGS__)
#define VEIL_EACH_19_(M, T, a, ...) M(T, a) VEIL_EACH_18_(M, T, __VA_ARGS__)
#define VEIL_EACH_20_(M, T, a, ...) M(T, a) VEIL_EACH_19_(M, T, __VA_ARGS__)
#define VEIL_EACH_21_(M, T, a, ...) M(T, a) VEIL_EACH_20_(M, T, __VA_ARGS__)
#define VEIL_EACH_22_(M, T, a, ...) M(T, a) VEIL_EACH_21_(M, T, __VA_ARGS__)
#define VEIL_EACH_23_(M, T, a, ...) M(T, a) VEIL_EACH_22_(M, T, __VA_ARGS__)
#define VEIL_EACH_24_(M, T, a, ...) M(T, a) VEIL_EACH_23_(M, T, __VA_ARGS__)
#define VEIL_EACH_25_(M, T, a, ...) M(T, a) VEIL_EACH_24_(M, T, __VA_ARGS__)
#define VEIL_EACH_26_(M, T, a, ...) M(T, a) VEIL_EACH_25_(M, T, __VA_ARGS__)
#define VEIL_EACH_27_(M, T, a, ...) M(T, a) VEIL_EACH_26_(M, T, __VA_ARGS__)
#define VEIL_EACH_28_(M, T, a, ...) M(T, a) VEIL_EACH_27_(M, T, __VA_ARGS__)
#define VEIL_EACH_29_(M, T, a, ...) M(T, a) VEIL_EACH_28_(M, T, __VA_ARGS__)
#define VEIL_EACH_30_(M, T, a, ...) M(T, a) VEIL_EACH_29_(M, T, __VA_ARGS__)
#define VEIL_EACH_31_(M, T, a, ...) M(T, a) VEIL_EACH_30_(M, T, __VA_ARGS__)
#define VEIL_EACH_32_(M, T, a, ...) M(T, a) VEIL_EACH_31_(M, T, __VA_ARGS__)

#ifdef __cplusplus
}
#endif
#endif
