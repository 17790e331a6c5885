// SPDX-License-Identifier: MIT
// bytevectors.c: bytevectors, and strings as their UTF-8.

#include <string.h>
#include "library.h"

static int want_byte(machine *m, const char *who, int position, value v) { return (int)want_index(m, who, position, v, 0, 255); }

static value p_is_bytevector(machine *m, value *argument, int count) { return boolean(is_kind(argument[0], KIND_BYTEVECTOR)); }
static value p_make(machine *m, value *argument, int count) {
  int fill = is_given(argument, count, 1) ? want_byte(m, "make-bytevector", 2, argument[1]) : 0;
  return new_bytevector(m, want_index(m, "make-bytevector", 1, argument[0], 0, LENGTH_MOST), fill);
}
static value p_bytevector(machine *m, value *argument, int count) {
  for (int i = 0; i < count; i++) {
    want_byte(m, "bytevector", i + 1, argument[i]);
  }
  value made = new_bytevector(m, count, -1);
  for (int i = 0; i < count; i++) {
    OBJECT_(bytevector, made)->byte[i] = (uint8_t)fixnum_of(argument[i]);
  }
  return made;
}
static value p_length(machine *m, value *argument, int count) { return fixnum(want_bytevector(m, "bytevector-length", 1, argument[0])->length); }
static value p_ref(machine *m, value *argument, int count) {
  bytevector *b = want_bytevector(m, "bytevector-u8-ref", 1, argument[0]);
  return fixnum(b->byte[want_index(m, "bytevector-u8-ref", 2, argument[1], 0, b->length - 1)]);
}
static value p_set(machine *m, value *argument, int count) {
  bytevector *b = want_bytevector(m, "bytevector-u8-set!", 1, argument[0]);
  int64_t i = want_index(m, "bytevector-u8-set!", 2, argument[1], 0, b->length - 1);
  b->byte[i] = (uint8_t)want_byte(m, "bytevector-u8-set!", 3, argument[2]);
  return V_UNSPECIFIED;
}
static value p_copy(machine *m, value *argument, int count) {
  int64_t start, end;
  bytevector *b = want_bytevector(m, "bytevector-copy", 1, argument[0]);
  want_range(m, "bytevector-copy", argument, count, 1, b->length, &start, &end);
  value made = new_bytevector(m, end - start, -1);
  memcpy(OBJECT_(bytevector, made)->byte, b->byte + start, (size_t)(end - start));
  return made;
}
static value p_copy_to(machine *m, value *argument, int count) {
  int64_t start, end;
  bytevector *to = want_bytevector(m, "bytevector-copy!", 1, argument[0]), *from = want_bytevector(m, "bytevector-copy!", 3, argument[2]);
  int64_t at = want_index(m, "bytevector-copy!", 2, argument[1], 0, to->length);
  want_range(m, "bytevector-copy!", argument, count, 3, from->length, &start, &end);
  if (end - start > to->length - at) {
    fail(m, "bytevector-copy!", "there is no room for that many bytes", 2, fixnum(end - start), fixnum(to->length - at));
  }
  memmove(to->byte + at, from->byte + start, (size_t)(end - start));
  return V_UNSPECIFIED;
}
static value p_append(machine *m, value *argument, int count) {
  int64_t length = 0, at = 0;
  for (int i = 0; i < count; i++) {
    length += want_bytevector(m, "bytevector-append", i + 1, argument[i])->length;
  }
  value made = new_bytevector(m, length, -1);
  for (int i = 0; i < count; i++) {
    bytevector *b = OBJECT_(bytevector, argument[i]);
    memcpy(OBJECT_(bytevector, made)->byte + at, b->byte, (size_t)b->length);
    at += b->length;
  }
  return made;
}
static value p_fill(machine *m, value *argument, int count) {
  int64_t start, end;
  bytevector *b = want_bytevector(m, "bytevector-fill!", 1, argument[0]);
  int with = want_byte(m, "bytevector-fill!", 2, argument[1]);
  want_range(m, "bytevector-fill!", argument, count, 2, b->length, &start, &end);
  memset(b->byte + start, with, (size_t)(end - start));
  return V_UNSPECIFIED;
}
static value p_from_utf8(machine *m, value *argument, int count) {
  int64_t start, end;
  bytevector *b = want_bytevector(m, "utf8->string", 1, argument[0]);
  want_range(m, "utf8->string", argument, count, 1, b->length, &start, &end);
  return new_string_text(m, b->byte + start, end - start);
}
static value p_to_utf8(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "string->utf8", 1, argument[0]);
  want_range(m, "string->utf8", argument, count, 1, s->length, &start, &end);
  bytevector *data = OBJECT_(bytevector, s->data);
  bool plain = data->length == s->length && ascii_run(data->byte + start, end - start) == end - start;
  byte_buffer out = {m, s->data, end};
  if (!plain) {
    buffer_open(&out, m, end - start);
    string_utf8(&out, s, start, end);
    start = 0;
  }
  value made = new_bytevector(m, out.used - start, -1);
  memcpy(OBJECT_(bytevector, made)->byte, buffer_bytes(&out) + start, (size_t)(out.used - start));
  return made;
}

const primitive_entry primitives_bytevectors[] = {
    {"bytevector?", p_is_bytevector, 1, 1}, {"make-bytevector", p_make, 1, 2}, {"bytevector", p_bytevector, 0, -1}, {"bytevector-length", p_length, 1, 1},
    {"bytevector-u8-ref", p_ref, 2, 2}, {"bytevector-u8-set!", p_set, 3, 3}, {"bytevector-copy", p_copy, 1, 3}, {"bytevector-copy!", p_copy_to, 3, 5},
    {"bytevector-append", p_append, 0, -1}, {"bytevector-fill!", p_fill, 2, 4}, {"utf8->string", p_from_utf8, 1, 3}, {"string->utf8", p_to_utf8, 1, 3},
    {NULL, NULL, 0, 0}};
