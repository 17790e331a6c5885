// SPDX-License-Identifier: MIT
// scheme.h: values, types and allocation: what all files of the interpreter share.
//
// A value is a word of 64 bits. Its low bits say what it is:
//   xx1  fixnum: 63 bits, signed
//   000  object: its first word is a header (kind in the low byte)
//   010  pair
//   100  flonum: a leaf of eight bytes
//   110  immediate: characters, booleans, and the few constants below
// All objects are allocated by the memory layer (memory_veil.h, memory_libgc.h, memory_malloc.h). Loads and stores are plain. C functions hold values in local
// variables as they like: stacks are ambiguous roots. Everything else that outlives a call is a field of an object, or a member of `world`.

#ifndef SCHEME_H
#define SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t value;

enum { TAG_OBJECT = 0, TAG_PAIR = 2, TAG_FLONUM = 4, TAG_IMMEDIATE = 6, TAG_MASK = 7 };

#define FIXNUM_MAX ((int64_t)1 << 62) - 1
#define FIXNUM_MIN (-((int64_t)1 << 62))
static inline bool is_fixnum(value v) { return v & 1; }
static inline value fixnum(int64_t i) { return (uint64_t)i << 1 | 1; }
static inline int64_t fixnum_of(value v) { return (int64_t)v >> 1; }

// Immediates: the kind in bits 3 to 7, what it holds above.
enum { IMMEDIATE_CONSTANT = 0, IMMEDIATE_CHAR = 1 };
#define IMMEDIATE(KIND, N) ((uint64_t)(N) << 8 | (uint64_t)(KIND) << 3 | TAG_IMMEDIATE)
#define V_FALSE IMMEDIATE(IMMEDIATE_CONSTANT, 0)
#define V_TRUE IMMEDIATE(IMMEDIATE_CONSTANT, 1)
#define V_NULL IMMEDIATE(IMMEDIATE_CONSTANT, 2)        // ()
#define V_EOF IMMEDIATE(IMMEDIATE_CONSTANT, 3)
#define V_UNSPECIFIED IMMEDIATE(IMMEDIATE_CONSTANT, 4) // what has no value: not printed by the REPL
#define V_UNBOUND IMMEDIATE(IMMEDIATE_CONSTANT, 5)     // a variable that has none yet; never seen by programs
#define V_DEFAULT IMMEDIATE(IMMEDIATE_CONSTANT, 6)     // an optional argument that was not given
static inline value boolean(bool b) { return b ? V_TRUE : V_FALSE; }
static inline bool is_true(value v) { return v != V_FALSE; }
static inline bool is_char(value v) { return (v & 0xff) == (IMMEDIATE_CHAR << 3 | TAG_IMMEDIATE); }
static inline value character(uint32_t c) { return IMMEDIATE(IMMEDIATE_CHAR, c); }
static inline uint32_t char_of(value v) { return (uint32_t)(v >> 8); }

// What an object is: the low byte of its header. The rest of the header belongs to the kind. A new object is zeroed, so that its header is written first thing.
typedef enum kind {
  KIND_NONE,
  KIND_STRING, KIND_SYMBOL, KIND_VECTOR, KIND_BYTEVECTOR, KIND_BIGNUM, KIND_RATIONAL,
  KIND_PRIMITIVE, KIND_CLOSURE, KIND_CODE, KIND_CONTINUATION, KIND_PARAMETER, KIND_VALUES, KIND_CELL,
  KIND_RECORD_TYPE, KIND_RECORD, KIND_CONDITION, KIND_PROMISE,
  KIND_PORT, KIND_HASHTABLE, KIND_WEAK, KIND_GUARDIAN, KIND_ENVIRONMENT, KIND_LIBRARY, KIND_MACRO, KIND_IDENTIFIER,
  KIND_THREAD, KIND_MUTEX, KIND_STACK, KIND_OTHER
} kind;

typedef struct object { uint64_t header; } object;
typedef struct pair { uint64_t header; value car, cdr; } pair; // header: where the reader found it (line << 32 | column << 12 | file), 0: nowhere
typedef struct flonum { double number; } flonum;
// data: a bytevector of length (all characters < 256) or 4 * length bytes; header: STRING_*
typedef struct string { uint64_t header; int64_t length; value data; } string;
typedef struct symbol { uint64_t header; value name; uint64_t hash; } symbol;  // name: a string that nobody changes
typedef struct vector { uint64_t header; int64_t length; value item[]; } vector;
typedef struct bytevector { uint64_t header; int64_t length; uint8_t byte[]; } bytevector;
typedef struct bignum { uint64_t header; int64_t used; uint64_t limb[]; } bignum; // used: limbs, negative if the number is; never one that fits a fixnum
typedef struct rational { uint64_t header; value numerator, denominator; } rational; // in lowest terms, the denominator > 1
typedef struct values { uint64_t header; int64_t count; value item[]; } values;
typedef struct record_type { uint64_t header; value name, fields, parent; } record_type;
typedef struct record { uint64_t header; value type; value field[]; } record;
typedef struct condition { uint64_t header; value kind, message, irritants, who, where; } condition; // kind: the symbol error, file-error or read-error

#define OBJECT_(T, V) ((T *)(uintptr_t)((V) & ~(value)TAG_MASK))
static inline bool is_pair(value v) { return (v & TAG_MASK) == TAG_PAIR; }
static inline bool is_flonum(value v) { return (v & TAG_MASK) == TAG_FLONUM; }
static inline bool is_object(value v) { return (v & TAG_MASK) == TAG_OBJECT && v != 0; }
static inline bool is_kind(value v, kind k) { return is_object(v) && (uint8_t)OBJECT_(object, v)->header == (uint8_t)k; }
static inline pair *pair_of(value v) { return OBJECT_(pair, v); }
static inline value car(value v) { return pair_of(v)->car; } // unchecked
static inline value cdr(value v) { return pair_of(v)->cdr; }
static inline double flonum_of(value v) { return OBJECT_(flonum, v)->number; }

// A thread that runs Scheme. `self` is the memory layer's.
typedef struct machine machine;

// ---- Allocation (heap.c on top of memory_*.h). Objects are zeroed but for what is given.
value cons(machine *m, value head, value tail);
value new_flonum(machine *m, double number);
value new_string(machine *m, int64_t length, uint32_t fill);
value new_string_utf8(machine *m, const char *text, size_t bytes); // bytes that are no UTF-8 become U+FFFD
value new_vector(machine *m, int64_t length, value fill);
value new_bytevector(machine *m, int64_t length, int fill);        // fill -1: not written at all
value new_bignum(machine *m, int64_t limbs);
value new_rational(machine *m, value numerator, value denominator); // of a number in lowest terms already
value intern(machine *m, const char *text);                         // the symbol
value intern_string(machine *m, value name);
value list(machine *m, int count, ...);                             // values
char *utf8_of(machine *m, value string_or_symbol);                  // a leaf of the heap that ends with 0: valid while a local variable holds it

// ---- Errors. They unwind C by longjmp to the machine's loop, which raises the condition there, so a primitive holds nothing that has to be freed when it
// fails.
_Noreturn void fail(machine *m, const char *who, const char *message, int irritants, ... /* values */);
_Noreturn void fail_type(machine *m, const char *who, int position, const char *expected, value got); // position: of the argument, from 1
_Noreturn void fail_range(machine *m, const char *who, int position, value got, value least, value most);
_Noreturn void fail_file(machine *m, const char *who, const char *path, int error); // error: errno
_Noreturn void fail_read(machine *m, const char *file, int64_t line, int64_t column, const char *message);

// ---- Primitives: C functions that Scheme calls. They do not call Scheme: what takes a procedure is written in Scheme (prelude/*.scm), so that continuations
// and tail calls work.
// Arguments lie on the machine's stack; the count has been checked; optional ones not given are V_DEFAULT if `most` >= 0.
typedef value primitive_fn(machine *m, value *argument, int count);
typedef struct primitive_entry {
  const char *name;
  primitive_fn *fn;
  short least, most; // arguments; most -1: any number
} primitive_entry;
// Tables end with a NULL name. An object of KIND_PRIMITIVE holds an index into all tables and is matched by name when an image is loaded.
extern const primitive_entry primitives_numbers[], primitives_number_text[], primitives_lists[], primitives_characters[], primitives_strings[],
    primitives_vectors[], primitives_bytevectors[], primitives_ports[], primitives_hashtables[], primitives_control[], primitives_system[];

// ---- Between the library's files.
// numbers.c
bool is_number(value v);
bool is_exact_integer(value v);
value number_add(machine *m, value a, value b); // the slow halves of the machine's instructions
value number_subtract(machine *m, value a, value b);
value number_multiply(machine *m, value a, value b);
int number_compare(machine *m, const char *who, value a, value b); // -1, 0, 1; 2 if one is a NaN
bool number_eqv(value a, value b);
value integer_from_int64(machine *m, int64_t i);
value number_parse(machine *m, const char *text, size_t bytes, int radix); // V_FALSE: it is none
value number_text(machine *m, value number, int radix); // a string
uint64_t number_hash(value number);
// equality
bool is_eqv(value a, value b);
bool is_equal(machine *m, value a, value b); // ends on circular data, too
uint64_t hash_equal(machine *m, value v);
// reader.c: the next datum of a textual port, or V_EOF. Pairs know where they were found. fold: as after #!fold-case.
value read_datum(machine *m, value port);
// printer.c
typedef enum print_how { PRINT_DISPLAY, PRINT_WRITE, PRINT_WRITE_SHARED, PRINT_WRITE_SIMPLE } print_how;
void print(machine *m, value port, value v, print_how how); // write and display label what is circular
// ports.c
value port_stdin(machine *m), port_stdout(machine *m), port_stderr(machine *m);
value port_open_file(machine *m, const char *who, const char *path, bool input, bool binary, bool append); // fails by fail_file
value port_open_string(machine *m, value text);
value port_output_string(machine *m);
value port_string(machine *m, value port); // what has been written to it
int32_t port_read_char(machine *m, value port); // -1: the end
int32_t port_peek_char(machine *m, value port);
void port_write_char(machine *m, value port, uint32_t c);
void port_write_utf8(machine *m, value port, const char *text, size_t bytes);
void port_flush(machine *m, value port);
void port_position(value port, int64_t *line, int64_t *column); // from 1
value port_name(value port);
void ports_flush_all(machine *m); // at exit

// What the library needs of the machine and the memory layer.
enum { STRING_IMMUTABLE = 1 << 8 }; // in a string's header: string-set! and the like refuse it (literals, names of symbols)
static inline bool string_is_wide(const string *s) { return OBJECT_(bytevector, s->data)->length != s->length; } // four bytes per character
static inline uint32_t string_get(const string *s, int64_t i) { // unchecked. One load of `data`: another thread may be widening the string
  const bytevector *data = OBJECT_(bytevector, s->data);
  return data->length != s->length ? ((const uint32_t *)data->byte)[i] : data->byte[i];
}
uint64_t memory_hash(machine *m, value object);                          // stays with the object
ptrdiff_t memory_read(machine *m, int fd, void *leaf, size_t bytes);     // read(2) that may block: other threads and the collector go on; again on EINTR
ptrdiff_t memory_write(machine *m, int fd, const void *leaf, size_t bytes);
enum { ROOT_STDIN, ROOT_STDOUT, ROOT_STDERR, ROOT_OPEN_PORTS, LIBRARY_ROOTS };
value *library_roots(machine *m); // LIBRARY_ROOTS words that are roots and part of an image; V_FALSE at first
value current_port(machine *m, int root); // what (current-input-port) and the like say here: ROOT_STDIN, ROOT_STDOUT or ROOT_STDERR
int file_number(machine *m, value name);  // for headers of pairs: 1 to 4095, the same for the same name; 0 if there are too many
const char *describe(machine *m, value v, char *room, size_t bytes); // what the printer writes between #< and > for the kinds it does not know: "procedure map"

#endif
