// SPDX-License-Identifier: MIT
// library.h: what the files of the data library share beside scheme.h: checks of arguments, stacks and buffers in the heap, ports and hash tables.

#ifndef SCHEME_LIBRARY_H
#define SCHEME_LIBRARY_H

#include "scheme.h"

#define SMALLEST_FIXNUM (-((int64_t)1 << 62))
#define GREATEST_FIXNUM (((int64_t)1 << 62) - 1)
#define LENGTH_MOST ((int64_t)1 << 40) // of strings, vectors and the like: what is longer is a mistake, and no product of such a length overflows

// ---- Arguments. `position` counts from 1.
static inline void check_kind(machine *m, const char *who, int position, const char *expected, value v, kind k) {
  if (!is_kind(v, k)) {
    fail_type(m, who, position, expected, v);
  }
}
static inline string *want_string(machine *m, const char *who, int position, value v) {
  check_kind(m, who, position, "string", v, KIND_STRING);
  return OBJECT_(string, v);
}
static inline vector *want_vector(machine *m, const char *who, int position, value v) {
  check_kind(m, who, position, "vector", v, KIND_VECTOR);
  return OBJECT_(vector, v);
}
static inline bytevector *want_bytevector(machine *m, const char *who, int position, value v) {
  check_kind(m, who, position, "bytevector", v, KIND_BYTEVECTOR);
  return OBJECT_(bytevector, v);
}
static inline uint32_t want_char(machine *m, const char *who, int position, value v) {
  if (!is_char(v)) {
    fail_type(m, who, position, "character", v);
  }
  return char_of(v);
}
static inline int64_t want_index(machine *m, const char *who, int position, value v, int64_t least, int64_t most) {
  if (!is_fixnum(v)) {
    fail_type(m, who, position, "exact integer", v);
  }
  if (fixnum_of(v) < least || fixnum_of(v) > most) {
    fail_range(m, who, position, v, fixnum(least), fixnum(most));
  }
  return fixnum_of(v);
}
// Optional start and end at arguments[at] and [at + 1] of something `length` long.
static inline void want_range(machine *m, const char *who, value *argument, int count, int at, int64_t length, int64_t *start, int64_t *end) {
  *end = count > at + 1 && argument[at + 1] != V_DEFAULT ? want_index(m, who, at + 2, argument[at + 1], 0, length) : length;
  *start = count > at && argument[at] != V_DEFAULT ? want_index(m, who, at + 1, argument[at], 0, *end) : 0;
}
static inline bool is_given(value *argument, int count, int at) { return count > at && argument[at] != V_DEFAULT; }

// ---- Objects that are vectors but for their kind.
value new_of_kind(machine *m, kind k, int64_t length, value fill);
value two_values(machine *m, value first, value second);

// ---- A stack of values, for what would otherwise recur as deep as data are nested. The first few lie in the struct, which is on the C stack and is not to be
// copied; when there are more, all lie in the heap.
enum { STACK_ROOM = 48 };
typedef struct value_stack {
  machine *machine;
  value *items; // `room`, or the items of a vector
  int64_t top, length;
  value room[STACK_ROOM];
} value_stack;
void stack_open(value_stack *s, machine *m);
void stack_grow(value_stack *s);
static inline void stack_push(value_stack *s, value v) {
  if (s->top == s->length) {
    stack_grow(s);
  }
  s->items[s->top++] = v;
}
static inline value stack_pop(value_stack *s) { return s->items[--s->top]; }
static inline value *stack_at(value_stack *s, int64_t i) { return &s->items[i]; }

// ---- Bytes that grow.
typedef struct byte_buffer {
  machine *machine;
  value bytes; // a bytevector
  int64_t used;
} byte_buffer;
void buffer_open(byte_buffer *b, machine *m, int64_t room);
void buffer_reserve(byte_buffer *b, int64_t more);
void buffer_add(byte_buffer *b, const void *bytes, int64_t count);
void buffer_add_char(byte_buffer *b, uint32_t c); // as UTF-8
static inline uint8_t *buffer_bytes(byte_buffer *b) { return OBJECT_(bytevector, b->bytes)->byte; }
static inline void buffer_add_byte(byte_buffer *b, int byte) {
  if (b->used >= OBJECT_(bytevector, b->bytes)->length) {
    buffer_reserve(b, 1);
  }
  buffer_bytes(b)[b->used++] = (uint8_t)byte;
}

// ---- UTF-8 (text.c)
int utf8_put(uint8_t *out, uint32_t c);                                 // how many bytes, 1 to 4
int utf8_get(const uint8_t *at, const uint8_t *end, uint32_t *out);     // the same; U+FFFD and 1 for what is none; 0: the bytes end within a character
int64_t ascii_run(const uint8_t *bytes, int64_t count);                 // how many of them are ASCII before the first that is not
value new_string_text(machine *m, const uint8_t *bytes, int64_t count); // of UTF-8; fast if it is ASCII
value new_string_latin1(machine *m, const uint8_t *bytes, int64_t length);
value new_string_of(machine *m, int64_t length, bool wide);             // not written yet; wide: four bytes per character
void string_put(machine *m, string *s, int64_t i, uint32_t c);          // widens the string where needed
value string_part(machine *m, value text, int64_t start, int64_t end);  // a new string
void string_utf8(byte_buffer *out, const string *s, int64_t start, int64_t end);

// ---- Characters (characters.c)
uint32_t char_up(uint32_t c), char_down(uint32_t c), char_fold(uint32_t c);
bool char_is_alphabetic(uint32_t c), char_is_numeric(uint32_t c), char_is_space(uint32_t c), char_is_upper(uint32_t c), char_is_lower(uint32_t c);
int char_digit(uint32_t c); // its value, or -1
const uint32_t *char_up_full(uint32_t c);   // NULL, or three characters (the last 0s if it has fewer) that it becomes
const uint32_t *char_fold_full(uint32_t c); // the same

// ---- Lists (lists.c)
int64_t proper_length(value v); // -1: it is no list, or a circular one

// ---- Numbers
value want_number(machine *m, const char *who, int position, value v);
value number_to_exact(machine *m, const char *who, int position, value v); // fails for infinities and NaN
double number_to_double(machine *m, value v); // of a number, rounded to the nearest, ties to even
value number_negate(machine *m, value v);
value number_divide(machine *m, value a, value b);
int number_sign(value v); // -1, 0, 1; of a NaN 0

// ---- Hash tables (hashtables.c): keys by eqv, equal or string=?.
typedef enum table_kind { TABLE_EQV, TABLE_EQUAL, TABLE_STRING, TABLE_STRING_CI } table_kind;
value table_new(machine *m, table_kind kind, int64_t room);
value table_get(machine *m, value table, value key, value otherwise);
void table_put(machine *m, value table, value key, value to);
int64_t table_count(value table);
uint64_t hash_eqv(machine *m, value v);
uint64_t hash_string(const string *s, bool fold);
static inline uint64_t hash_mix(uint64_t x) { // a finalizer of the kind that MurmurHash3 made common: all bits depend on all
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  return x ^ x >> 32;
}
bool strings_equal(const string *a, const string *b, bool fold);

// ---- Ports (ports.c). All fields are values: a port is a vector of another kind.
typedef struct port {
  uint64_t header; // PORT_*
  int64_t length;
  value fd;         // a fixnum; -1: a string or bytevector port
  value buffer;     // a bytevector
  value start, end; // of what is in the buffer: input is read from start on, output added at end
  value line, column; // of the next character, from 1
  value name;       // a string
  value file;       // its number in headers of pairs; V_FALSE: not asked yet
  value process;    // which process opened the file: those of an image's past are closed
  value next;       // the list of open output files
} port;
enum { PORT_ITEMS = (sizeof(port) - offsetof(port, fd)) / sizeof(value), PORT_BUFFER = 8192 };
enum { PORT_INPUT = 1 << 8, PORT_OUTPUT = 1 << 9, PORT_BINARY = 1 << 10, PORT_OPEN = 1 << 11, PORT_FOLD = 1 << 12, PORT_TERMINAL = 1 << 13 };
enum { PORT_UNBUFFERED = 1 << 14 };
port *want_port(machine *m, const char *who, int position, value v, unsigned flags); // open, of this direction, binary or textual as the flags say
bool port_fill(machine *m, port *p);                                // reads more behind `end`; false: the end of the file
void port_write_bytes(machine *m, port *p, const void *bytes, int64_t count);
void port_write_part(machine *m, port *p, const string *s, int64_t start, int64_t end);
void port_add_byte_slow(machine *m, port *p, int byte);
static inline void port_add_byte(machine *m, port *p, int byte) {
  bytevector *buffer = OBJECT_(bytevector, p->buffer);
  int64_t end = fixnum_of(p->end);
  if (end < buffer->length && byte != '\n' && (p->header & PORT_UNBUFFERED) == 0) {
    buffer->byte[end] = (uint8_t)byte;
    p->end = fixnum(end + 1);
    p->column += 2;
  } else {
    port_add_byte_slow(m, p, byte);
  }
}
bool port_reads_ahead(port *p); // whether a character can be had without waiting
value port_open_bytes(machine *m, value bytes, bool input); // takes the bytevector
void port_close(machine *m, value v);
bool port_is_open(value v);

#endif
