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
  uint8_t low_tags;            // bit i: words whose low three bits are i may be pointers
  uint16_t high_min, high_max; // and only if their high 16 bits lie in [high_min, high_max]
} veil_encoding;

// Takes the slots that a trace callback reports.
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

// Arrays that have a part of their own before their elements: where the elements begin, then the slots before them.
typedef struct veil_fixed {
  const size_t *offsets; // bytes: of the first element; then of each slot, plus 1 if it is a plain pointer whatever the encoding, plus 2 if it is transient
  size_t count;          // of these
  const struct veil_type *element; // describes the elements, or NULL: the type itself does
} veil_fixed;

// A type's description. Fill it with the macros below; the last group is veil's.
typedef struct veil_type {
  const char *name;         // for messages
  size_t size;              // bytes of one object, or of one element of an array
  const size_t *pointers;   // byte offsets of the slots, each a multiple of 8, plus 2 if the slot is transient
  size_t pointer_count;     // how many
  veil_trace_fn *trace;     // instead of a pointer map, or NULL
  const veil_encoding *encoding; // NULL: plain pointers
  const veil_fixed *fixed;  // NULL, or a flexible array: `size` and `pointers` are of its elements, `trace` sees it whole

  // Written by veil, once, at the first allocation.
  uint64_t header;          // 0 until registered, and for flexible arrays
  uint64_t array_header;    // of arrays of the type
  uint32_t sort;            // before that, 2 if the type is transient, else 0; veil adds 1 if it holds no pointers
} veil_type;

// ---- What is not saved. In a store, and in a checkpoint, transient objects are left out, and transient slots are zero: what belongs to the running process (a cache, a
// connection, a lock) hangs on what outlives it.
//
//   VEIL_LEAF(VEIL_TRANSIENT(connection));               // no object of it is ever saved
//   VEIL_TYPE(user, name, next, VEIL_TRANSIENT(index));  // nor what this slot holds; an index itself may be, if it hangs on something else, too
//
// VEIL_TRANSIENT may be put around the name of a type, and of any field, in all of the macros below; of a flexible array, around the array, too: then each element's slot is
// transient. In the process that runs, transient objects and slots are as any others. After reopening a store, or restoring a checkpoint, transient slots, and all slots, named roots and
// weak references that led to transient objects are NULL (all zero), and entries of weak tables whose key or value was one are not there. A store logs
// nothing for writes to them. Finalizers of transient objects are no reason to refuse what had them. Whether a type, or a slot, is transient is part of its layout: a file in which it is otherwise is
// refused. Slots that a trace callback reports cannot be transient; those that lead to transient objects are NULL like others.
#define VEIL_TRANSIENT(NAME) (NAME)

// VEIL_TYPE(node, left, right): the pointer fields of `node`, up to 32; array members are named one by one: child[0],
// child[1]. Defines the static variable veil_type_node. Checked by the compiler: a field that is not a pointer does
// not compile.
#define VEIL_TYPE(T, ...) VEIL_TYPE_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), __VA_ARGS__)
#define VEIL_TYPE_(T, TRANSIENT, ...) \
  VEIL_MAP_(VEIL_ASSERT_POINTER_, T, __VA_ARGS__) \
  VEIL_DEFINE_TYPE_(T, VEIL_MAP_OF_(T), VEIL_COUNT_(__VA_ARGS__), NULL, NULL, TRANSIENT)

// VEIL_TYPE_TAGGED(cell, &enc, car, cdr): fields of one word each, which decode by the veil_encoding; a field of another
// size does not compile. NULL is the encoding of plain pointers: for fields that hold one and are declared as
// something else.
#define VEIL_TYPE_TAGGED(T, ENCODING, ...) VEIL_TYPE_TAGGED_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), ENCODING, __VA_ARGS__)
#define VEIL_TYPE_TAGGED_(T, TRANSIENT, ENCODING, ...) \
  VEIL_MAP_(VEIL_ASSERT_WORD_, T, __VA_ARGS__) \
  VEIL_DEFINE_TYPE_(T, VEIL_MAP_OF_(T), VEIL_COUNT_(__VA_ARGS__), NULL, ENCODING, TRANSIENT)

// VEIL_LEAF(sample): no pointers.
#define VEIL_LEAF(T) VEIL_TYPE_PLAIN_(VEIL_BARE_(T), NULL, NULL, VEIL_IS_TRANSIENT_(T))
// VEIL_TYPE_TRACE(frame, trace_frame): slots are reported by a veil_trace_fn.
#define VEIL_TYPE_TRACE(T, FN) VEIL_TYPE_PLAIN_(VEIL_BARE_(T), FN, NULL, VEIL_IS_TRANSIENT_(T))
// As VEIL_TYPE_TRACE, with slots that decode by `ENCODING`.
#define VEIL_TYPE_TRACE_TAGGED(T, FN, ENCODING) VEIL_TYPE_PLAIN_(VEIL_BARE_(T), FN, ENCODING, VEIL_IS_TRANSIENT_(T))
#define VEIL_TYPE_PLAIN_(T, FN, ENCODING, TRANSIENT) VEIL_DEFINE_TYPE_(T, NULL, 0, FN, ENCODING, TRANSIENT)

// ---- Flexible arrays: a struct whose last member is an array without a length.
//
//   typedef struct table { long used; node *owner; node *slot[]; } table;
//   VEIL_TYPE_FLEXIBLE(table, slot, owner);
//   table *t = veil_new_flexible(self, table, 100); // 100 elements; veil_length says so
//
// First the array, then the slots before it, up to 31. Their start is aligned to 8 bytes. Checked by the compiler, as VEIL_TYPE is.

// Elements are pointers, as are the fields named.
#define VEIL_TYPE_FLEXIBLE(T, ...) VEIL_TYPE_FLEXIBLE_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), __VA_ARGS__)
#define VEIL_TYPE_FLEXIBLE_(T, TRANSIENT, ...) \
  VEIL_ASSERT_POINTERS_(T, VEIL_FIRST_(__VA_ARGS__)) \
  VEIL_FIXED_(VEIL_ASSERT_POINTER_, T, VEIL_FIRST_TRANSIENT_(__VA_ARGS__) ? &veil_transient_pointer_ : &veil_type_pointer_, __VA_ARGS__) \
  VEIL_DEFINE_FLEXIBLE_(T, VEIL_FIRST_(__VA_ARGS__), NULL, NULL, TRANSIENT)

// Elements are words that decode by the veil_encoding; so are the fields named, but for those declared as pointers, which are plain.
#define VEIL_TYPE_FLEXIBLE_TAGGED(T, ENCODING, ...) VEIL_TYPE_FLEXIBLE_TAGGED_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), ENCODING, __VA_ARGS__)
#define VEIL_TYPE_FLEXIBLE_TAGGED_(T, TRANSIENT, ENCODING, ...) \
  VEIL_ASSERT_WORDS_(T, VEIL_FIRST_(__VA_ARGS__)) \
  static veil_type VEIL_ELEMENT_OF_(T) __attribute__((unused)) = {VEIL_TEXT_(T) "[]", 8, &veil_first_word_[VEIL_FIRST_TRANSIENT_(__VA_ARGS__)], 1, NULL, ENCODING, NULL, 0, 0, 0}; \
  VEIL_FIXED_(VEIL_ASSERT_WORD_, T, &VEIL_ELEMENT_OF_(T), __VA_ARGS__) \
  VEIL_DEFINE_FLEXIBLE_(T, VEIL_FIRST_(__VA_ARGS__), NULL, ENCODING, TRANSIENT)
#define VEIL_ELEMENT_OF_(T) veil_element_##T

// Elements are structs E, described before by VEIL_TYPE, VEIL_TYPE_TAGGED or VEIL_LEAF. The fields named are pointers, or decode as those of E do.
#define VEIL_TYPE_FLEXIBLE_OF(T, E, ...) VEIL_TYPE_FLEXIBLE_OF_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), E, __VA_ARGS__)
#define VEIL_TYPE_FLEXIBLE_OF_(T, TRANSIENT, E, ...) \
  VEIL_ASSERT_NONE_TRANSIENT_(T, __VA_ARGS__) \
  VEIL_ASSERT_ELEMENTS_(T, E, VEIL_FIRST_(__VA_ARGS__)) \
  VEIL_FIXED_(VEIL_ASSERT_WORD_, T, &veil_type_##E, __VA_ARGS__) \
  VEIL_DEFINE_FLEXIBLE_(T, VEIL_FIRST_(__VA_ARGS__), NULL, NULL, TRANSIENT)

// Elements hold no pointers: bytes, numbers. The fields named are pointers.
#define VEIL_LEAF_FLEXIBLE(T, ...) VEIL_LEAF_FLEXIBLE_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), __VA_ARGS__)
#define VEIL_LEAF_FLEXIBLE_(T, TRANSIENT, ...) \
  VEIL_ASSERT_NONE_TRANSIENT_(T, __VA_ARGS__) \
  VEIL_FIXED_(VEIL_ASSERT_POINTER_, T, NULL, __VA_ARGS__) \
  VEIL_DEFINE_FLEXIBLE_(T, VEIL_FIRST_(__VA_ARGS__), NULL, NULL, TRANSIENT)

// VEIL_TYPE_FLEXIBLE_TRACE(T, FN, slot): slots of the whole object are reported by a veil_trace_fn, whose `length` is that of the array.
#define VEIL_TYPE_FLEXIBLE_TRACE(T, FN, F) VEIL_TYPE_FLEXIBLE_TRACE_(VEIL_BARE_(T), VEIL_IS_TRANSIENT_(T), FN, F)
#define VEIL_TYPE_FLEXIBLE_TRACE_(T, TRANSIENT, FN, F) \
  VEIL_ASSERT_NONE_TRANSIENT_(T, F) \
  VEIL_FIXED_(VEIL_ASSERT_POINTER_, T, NULL, F) \
  VEIL_DEFINE_FLEXIBLE_(T, VEIL_FIRST_(F), FN, NULL, TRANSIENT)

// Built in: the type of arrays of pointers (veil_new_pointers).
extern veil_type veil_type_pointer_;
// Built in: the type of arrays of bytes (veil_new_bytes).
extern veil_type veil_type_byte_;

#ifndef __cplusplus

#define VEIL_DEFINE_TYPE_(T, MAP, COUNT, TRACE, ENCODING, TRANSIENT) \
  _Static_assert(sizeof(T) % 8 == 0 || (COUNT) == 0, #T ": size is not a multiple of 8"); \
  static veil_type veil_type_##T __attribute__((unused)) = {#T, sizeof(T), MAP, COUNT, TRACE, ENCODING, NULL, 0, 0, 2 * (TRANSIENT)}

#define VEIL_DEFINE_FLEXIBLE_(T, F, TRACE, ENCODING, TRANSIENT) \
  _Static_assert(_Alignof(T) <= 8, #T ": flexible arrays are aligned to 8 bytes"); \
  _Static_assert(sizeof(T) - offsetof(T, F) < 8, #T "." VEIL_TEXT_(F) " is not a flexible array at the end"); \
  static veil_type veil_type_##T __attribute__((unused)) = { \
      #T, sizeof(((T *)0)->F[0]), NULL, 0, TRACE, ENCODING, &veil_fixed_##T, 0, 0, 2 * (TRANSIENT)}
#define VEIL_FIXED_(ASSERT, T, ELEMENT, ...) \
  VEIL_EACH_TAIL_(ASSERT, T, __VA_ARGS__) \
  static const size_t veil_offsets_##T[] = { \
      offsetof(T, VEIL_FIRST_(__VA_ARGS__)), VEIL_EACH_TAIL_(VEIL_FIXED_OFFSET_, T, __VA_ARGS__)}; \
  static const veil_fixed veil_fixed_##T = {veil_offsets_##T, VEIL_COUNT_(__VA_ARGS__), ELEMENT};
#define VEIL_FIXED_OFFSET_(T, F) VEIL_FIXED_OFFSET_AT_(T, VEIL_BARE_(F)) + 2 * VEIL_IS_TRANSIENT_(F),
#define VEIL_FIXED_OFFSET_AT_(T, F) offsetof(T, F) + (__builtin_classify_type(((T *)0)->F) == 5)
#define VEIL_ASSERT_NONE_TRANSIENT_(T, ...) \
  _Static_assert(!VEIL_FIRST_TRANSIENT_(__VA_ARGS__), #T ": it is not the array that says that its elements' slots are transient");
#define VEIL_ASSERT_POINTERS_(T, F) \
  _Static_assert(__builtin_classify_type(((T *)0)->F[0]) == 5 && sizeof(((T *)0)->F[0]) == 8, #T "." VEIL_TEXT_(F) " is no array of pointers");
#define VEIL_ASSERT_WORDS_(T, F) \
  _Static_assert(sizeof(((T *)0)->F[0]) == 8, #T "." VEIL_TEXT_(F) " is no array of words of 8 bytes");
#define VEIL_ASSERT_ELEMENTS_(T, E, F) \
  _Static_assert(__builtin_types_compatible_p(__typeof__(((T *)0)->F[0]), E), #T "." VEIL_TEXT_(F) " is no array of " #E);

#define VEIL_MAP_(ASSERT, T, ...) \
  VEIL_EACH_(ASSERT, T, __VA_ARGS__) \
  static const size_t veil_pointers_##T[] = {VEIL_EACH_(VEIL_OFFSET_, T, __VA_ARGS__)};
#define VEIL_MAP_OF_(T) veil_pointers_##T
#define VEIL_ASSERT_POINTER_AT_(T, F) \
  _Static_assert(__builtin_classify_type(((T *)0)->F) == 5 && sizeof(((T *)0)->F) == 8, #T "." VEIL_TEXT_(F) " is not a pointer");
#define VEIL_ASSERT_WORD_AT_(T, F) _Static_assert(sizeof(((T *)0)->F) == 8, #T "." VEIL_TEXT_(F) " is not a word of 8 bytes");

#else

// In C++ the macros stand in the namespace of the type; a class or a template's instance gets a plain name first (typedef
// pair<int> int_pair;). veil_new takes qualified names and template parameters, and gives zeroed memory: no
// constructor runs (place one with new (p) T), nor ever a destructor, and objects move as bytes do. A class whose fields
// are private says VEIL_FRIEND(T); in its body. Fields of virtual bases have no fixed offset and cannot be named.
#define VEIL_FRIEND(T) \
  template <class> \
  friend struct veil_fields_of_##T

// Constant in every translation unit before any code runs, as in C: a constructor of a static object may allocate.
#define VEIL_DEFINE_TYPE_(T, MAP, COUNT, TRACE, ENCODING, TRANSIENT) \
  static_assert(sizeof(T) % 8 == 0 || (COUNT) == 0, #T ": size is not a multiple of 8"); \
  static_assert(VEIL_NO_DESTRUCTOR_(T), #T " has a destructor, which veil would never call"); \
  static veil_type veil_type_##T __attribute__((unused)) = {#T, sizeof(T), MAP, COUNT, TRACE, ENCODING, NULL, 0, 0, 2 * (TRANSIENT)}; \
  extern "C++" { \
  __attribute__((unused)) static inline veil_type *veil_type_of_(const T *) { return &veil_type_##T; } \
  } \
  static_assert(true, "takes the semicolon")

#define VEIL_DEFINE_FLEXIBLE_(T, F, TRACE, ENCODING, TRANSIENT) \
  static_assert(alignof(T) <= 8, #T ": flexible arrays are aligned to 8 bytes"); \
  static_assert(VEIL_NO_DESTRUCTOR_(T), #T " has a destructor, which veil would never call"); \
  static veil_type veil_type_##T __attribute__((unused)) = { \
      #T, sizeof(static_cast<T *>(nullptr)->F[0]), NULL, 0, TRACE, ENCODING, &veil_fixed_of_##T<void>::as, 0, 0, 2 * (TRANSIENT)}; \
  extern "C++" { \
  __attribute__((unused)) static inline veil_type *veil_type_of_(const T *) { return &veil_type_##T; } \
  } \
  static_assert(true, "takes the semicolon")
#define VEIL_FIXED_(ASSERT, T, ELEMENT, ...) \
  extern "C++" { \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Winvalid-offsetof\"") \
  template <class> \
  struct veil_fixed_of_##T { \
    VEIL_EACH_TAIL_(ASSERT, T, __VA_ARGS__) \
    static_assert(sizeof(T) - offsetof(T, VEIL_FIRST_(__VA_ARGS__)) < 8, #T "." VEIL_TEXT_(VEIL_FIRST_(__VA_ARGS__)) " is not a flexible array at the end"); \
    static const size_t at[VEIL_COUNT_(__VA_ARGS__)]; \
    static const veil_fixed as; \
  }; \
  template <class veil_any> \
  const size_t veil_fixed_of_##T<veil_any>::at[VEIL_COUNT_(__VA_ARGS__)] = { \
      offsetof(T, VEIL_FIRST_(__VA_ARGS__)), VEIL_EACH_TAIL_(VEIL_FIXED_OFFSET_, T, __VA_ARGS__)}; \
  template <class veil_any> \
  const veil_fixed veil_fixed_of_##T<veil_any>::as = {veil_fixed_of_##T<veil_any>::at, VEIL_COUNT_(__VA_ARGS__), ELEMENT}; \
  _Pragma("GCC diagnostic pop") \
  }
#define VEIL_FIXED_OFFSET_(T, F) VEIL_FIXED_OFFSET_AT_(T, VEIL_BARE_(F)) + 2 * VEIL_IS_TRANSIENT_(F),
#define VEIL_FIXED_OFFSET_AT_(T, F) offsetof(T, F) + veil_is_pointer_<decltype(static_cast<T *>(nullptr)->F)>::value
#define VEIL_ASSERT_NONE_TRANSIENT_(T, ...) \
  static_assert(!VEIL_FIRST_TRANSIENT_(__VA_ARGS__), #T ": it is not the array that says that its elements' slots are transient");
#define VEIL_ASSERT_POINTERS_(T, F) \
  static_assert(veil_is_pointer_<decltype(static_cast<T *>(nullptr)->F[0])>::value, #T "." VEIL_TEXT_(F) " is no array of pointers");
#define VEIL_ASSERT_WORDS_(T, F) \
  static_assert(sizeof(static_cast<T *>(nullptr)->F[0]) == 8, #T "." VEIL_TEXT_(F) " is no array of words of 8 bytes");
#define VEIL_ASSERT_ELEMENTS_(T, E, F) \
  static_assert(veil_is_same_<decltype(static_cast<T *>(nullptr)->F[0]), E &>::value, #T "." VEIL_TEXT_(F) " is no array of " #E);

#ifdef __clang__
#define VEIL_NO_DESTRUCTOR_(T) __is_trivially_destructible(T)
#else
#define VEIL_NO_DESTRUCTOR_(T) __has_trivial_destructor(T)
#endif

// A template, so that a header may define it, whose name a class can make its friend. offsetof warns of classes that are
// not laid out as in C; both compilers give the right number for all but virtual bases.
#define VEIL_MAP_(ASSERT, T, ...) \
  extern "C++" { \
  template <class> \
  struct veil_fields_of_##T { \
    VEIL_EACH_(ASSERT, T, __VA_ARGS__) \
    static const size_t at[VEIL_COUNT_(__VA_ARGS__)]; \
  }; \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Winvalid-offsetof\"") \
  template <class veil_any> \
  const size_t veil_fields_of_##T<veil_any>::at[VEIL_COUNT_(__VA_ARGS__)] = { \
      VEIL_EACH_(VEIL_OFFSET_, T, __VA_ARGS__)}; \
  _Pragma("GCC diagnostic pop") \
  }
#define VEIL_MAP_OF_(T) veil_fields_of_##T<void>::at
#define VEIL_ASSERT_POINTER_AT_(T, F) \
  static_assert(veil_is_pointer_<decltype(static_cast<T *>(nullptr)->F)>::value, #T "." VEIL_TEXT_(F) " is not a pointer");
#define VEIL_ASSERT_WORD_AT_(T, F) \
  static_assert(sizeof(static_cast<T *>(nullptr)->F) == 8, #T "." VEIL_TEXT_(F) " is not a word of 8 bytes");

extern "C++" {
template <class T>
struct veil_is_pointer_ {
  static const bool value = false;
};
template <class T>
struct veil_is_pointer_<T *> {
  static const bool value = true;
};
template <class T>
struct veil_is_pointer_<T &> : veil_is_pointer_<T> {}; // an array's element
template <class T>
struct veil_is_pointer_<const T> : veil_is_pointer_<T> {};
template <class T>
struct veil_is_pointer_<volatile T> : veil_is_pointer_<T> {};
template <class T>
struct veil_is_pointer_<const volatile T> : veil_is_pointer_<T> {};
template <class T, class U>
struct veil_is_same_ {
  static const bool value = false;
};
template <class T>
struct veil_is_same_<T, T> {
  static const bool value = true;
};
}

#endif

#define VEIL_ASSERT_POINTER_(T, F) VEIL_ASSERT_POINTER_AT_(T, VEIL_BARE_(F))
#define VEIL_ASSERT_WORD_(T, F) VEIL_ASSERT_WORD_AT_(T, VEIL_BARE_(F))
#define VEIL_OFFSET_(T, F) offsetof(T, VEIL_BARE_(F)) + 2 * VEIL_IS_TRANSIENT_(F),
static const size_t veil_first_word_[2] __attribute__((unused)) = {0, 2}; // the one slot of an element that is a word; one that is transient
static veil_type veil_transient_pointer_ __attribute__((unused)) = {"pointer", 8, veil_first_word_ + 1, 1, NULL, NULL, NULL, 0, 0, 0};

// Whether a name stands in parentheses, which VEIL_TRANSIENT has put there (1 or 0); and the name without them.
#define VEIL_IS_TRANSIENT_(NAME) VEIL_SECOND_(VEIL_PARENTHESES_ NAME, 0, 0)
#define VEIL_PARENTHESES_(...) 0, 1
#define VEIL_SECOND_(...) VEIL_SECOND_PICK_(__VA_ARGS__)
#define VEIL_SECOND_PICK_(a, b, ...) b
#define VEIL_BARE_(NAME) VEIL_BARE_NAME_(VEIL_IS_TRANSIENT_(NAME), NAME)
#define VEIL_BARE_NAME_(N, NAME) VEIL_BARE_PASTE_(N, NAME)
#define VEIL_BARE_PASTE_(N, NAME) VEIL_BARE_##N##_(NAME)
#define VEIL_BARE_0_(NAME) NAME
#define VEIL_BARE_1_(NAME) VEIL_ITSELF_ NAME
#define VEIL_ITSELF_(NAME) NAME

// The first of up to 32 arguments; M(T, x) to the others.
#define VEIL_FIRST_(...) VEIL_BARE_(VEIL_FIRST_PICK_(__VA_ARGS__, 0))
#define VEIL_FIRST_TRANSIENT_(...) VEIL_IS_TRANSIENT_(VEIL_FIRST_PICK_(__VA_ARGS__, 0))
#define VEIL_FIRST_PICK_(a, ...) a
#define VEIL_TEXT_(F) VEIL_TEXT_OF_(F)
#define VEIL_TEXT_OF_(F) #F
#define VEIL_EACH_TAIL_(M, T, ...) VEIL_TAIL_NAME_(VEIL_MANY_(__VA_ARGS__))(M, T, __VA_ARGS__)
#define VEIL_TAIL_NAME_(N) VEIL_TAIL_PASTE_(N)
#define VEIL_TAIL_PASTE_(N) VEIL_TAIL_##N##_
#define VEIL_TAIL_ONE_(M, T, a)
#define VEIL_TAIL_MANY_(M, T, a, ...) VEIL_EACH_(M, T, __VA_ARGS__)
#define VEIL_MANY_(...) \
  VEIL_COUNT_PICK_(__VA_ARGS__, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, \
                   MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, ONE, 0)

// Applies M(T, x) to up to 32 arguments.
#define VEIL_EACH_(M, T, ...) VEIL_EACH_NAME_(VEIL_COUNT_(__VA_ARGS__))(M, T, __VA_ARGS__)
#define VEIL_EACH_NAME_(N) VEIL_EACH_PASTE_(N)
#define VEIL_EACH_PASTE_(N) VEIL_EACH_##N##_
#define VEIL_COUNT_(...) \
  VEIL_COUNT_PICK_(__VA_ARGS__, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, \
                   10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define VEIL_COUNT_PICK_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, \
                         a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, N, ...) \
  N
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
