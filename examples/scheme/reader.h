// SPDX-License-Identifier: MIT
// reader.h: what reader.c (data) and reader_tokens.c (characters, strings, names) share.

#ifndef SCHEME_READER_H
#define SCHEME_READER_H

#include "library.h"

typedef struct reader {
  machine *machine;
  value from; // the port
  port *p;    // the same
  byte_buffer token;  // UTF-8
  value_stack frames; // what has been begun
  value labels;       // a table: number, box; 0: none yet
  bool unresolved;    // a box stands somewhere in the data
  int file;
  int64_t line, column; // where the token begins
} reader;

_Noreturn void reader_fail(reader *r, const char *message);                                          // at the token
_Noreturn void reader_fail_at(reader *r, int64_t line, int64_t column, const char *message);

static inline int32_t reader_peek(reader *r) {
  port *p = r->p;
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
  if (start < end && end <= bytes->length && bytes->byte[start] < 0x80) {
    return bytes->byte[start];
  }
  return port_peek_char(r->machine, r->from);
}
static inline int32_t reader_next(reader *r) {
  port *p = r->p;
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
  if (start < end && end <= bytes->length && bytes->byte[start] < 0x80 && bytes->byte[start] != '\n') {
    p->start = fixnum(start + 1);
    p->column = fixnum(fixnum_of(p->column) + 1);
    return bytes->byte[start];
  }
  return port_read_char(r->machine, r->from);
}
static inline bool is_delimiter(int32_t c) { // ends a token
  if (c < 0) {
    return true;
  }
  if (c < 0x80) {
    return c <= ' ' || c == '(' || c == ')' || c == '[' || c == ']' || c == '{' || c == '}' || c == '"' || c == ';' || c == '\'' || c == '`' || c == ',';
  }
  return char_is_space((uint32_t)c);
}

// Each begins with the next character and returns the datum.
value read_string_literal(reader *r);     // behind the quotation mark
value read_character(reader *r);          // behind #\ .
value read_word(reader *r);               // a symbol or a number; V_UNBOUND: a single dot
value read_prefixed_number(reader *r);    // #x10 and the like; behind the #
value read_boolean(reader *r);            // behind the #

#endif
