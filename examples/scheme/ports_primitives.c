// SPDX-License-Identifier: MIT
// ports_primitives.c: what programs do with ports and files.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "library.h"

enum { TEXT_IN = PORT_INPUT, TEXT_OUT = PORT_OUTPUT, BYTES_IN = PORT_INPUT | PORT_BINARY, BYTES_OUT = PORT_OUTPUT | PORT_BINARY };

// The port at arguments[at], or the current one.
static value port_argument(machine *m, const char *who, value *argument, int count, int at, unsigned flags) {
  value v = is_given(argument, count, at) ? argument[at] : current_port(m, flags & PORT_INPUT ? ROOT_STDIN : ROOT_STDOUT);
  want_port(m, who, at + 1, v, flags);
  return v;
}
static char *want_path(machine *m, const char *who, value v) {
  string *s = want_string(m, who, 1, v);
  for (int64_t i = 0; i < s->length; i++) {
    if (string_get(s, i) == 0) {
      fail(m, who, "no file has such a name", 1, v);
    }
  }
  return utf8_of(m, v);
}

// ---- Kinds of ports.
static bool is_port(value v) { return is_kind(v, KIND_PORT); }
static bool has(value v, unsigned flags) { return is_port(v) && (OBJECT_(port, v)->header & flags) == flags; }
static value p_is_port(machine *m, value *argument, int count) { return boolean(is_port(argument[0])); }
static value p_is_input(machine *m, value *argument, int count) { return boolean(has(argument[0], PORT_INPUT)); }
static value p_is_output(machine *m, value *argument, int count) { return boolean(has(argument[0], PORT_OUTPUT)); }
static value p_is_binary(machine *m, value *argument, int count) { return boolean(has(argument[0], PORT_BINARY)); }
static value p_is_textual(machine *m, value *argument, int count) { return boolean(is_port(argument[0]) && !has(argument[0], PORT_BINARY)); }
static value p_is_input_open(machine *m, value *argument, int count) {
  check_kind(m, "input-port-open?", 1, "port", argument[0], KIND_PORT);
  return boolean(has(argument[0], PORT_INPUT) && port_is_open(argument[0]));
}
static value p_is_output_open(machine *m, value *argument, int count) {
  check_kind(m, "output-port-open?", 1, "port", argument[0], KIND_PORT);
  return boolean(has(argument[0], PORT_OUTPUT) && port_is_open(argument[0]));
}
static value close_one(machine *m, const char *who, value v, unsigned flags) {
  if (!has(v, flags)) {
    fail_type(m, who, 1, flags == 0 ? "port" : flags == PORT_INPUT ? "input port" : "output port", v);
  }
  port_close(m, v);
  return V_UNSPECIFIED;
}
static value p_close(machine *m, value *argument, int count) { return close_one(m, "close-port", argument[0], 0); }
static value p_close_input(machine *m, value *argument, int count) { return close_one(m, "close-input-port", argument[0], PORT_INPUT); }
static value p_close_output(machine *m, value *argument, int count) { return close_one(m, "close-output-port", argument[0], PORT_OUTPUT); }

// ---- Opening.
static value open_named(machine *m, const char *who, value path, bool input, bool binary, bool append) {
  return port_open_file(m, who, want_path(m, who, path), input, binary, append);
}
static value p_open_input(machine *m, value *argument, int count) { return open_named(m, "open-input-file", argument[0], true, false, false); }
static value p_open_binary_input(machine *m, value *argument, int count) { return open_named(m, "open-binary-input-file", argument[0], true, true, false); }
static value p_open_output(machine *m, value *argument, int count) {
  return open_named(m, "open-output-file", argument[0], false, false, is_given(argument, count, 1) && is_true(argument[1]));
}
static value p_open_binary_output(machine *m, value *argument, int count) {
  return open_named(m, "open-binary-output-file", argument[0], false, true, is_given(argument, count, 1) && is_true(argument[1]));
}
static value p_open_input_string(machine *m, value *argument, int count) {
  want_string(m, "open-input-string", 1, argument[0]);
  return port_open_string(m, argument[0]);
}
static value p_open_output_string(machine *m, value *argument, int count) { return port_output_string(m); }
static value p_get_output_string(machine *m, value *argument, int count) {
  if (!has(argument[0], PORT_OUTPUT) || has(argument[0], PORT_BINARY) || fixnum_of(OBJECT_(port, argument[0])->fd) >= 0) {
    fail_type(m, "get-output-string", 1, "string output port", argument[0]);
  }
  return port_string(m, argument[0]);
}
static value bytes_copy(machine *m, const uint8_t *from, int64_t count) {
  value made = new_bytevector(m, count, -1);
  memcpy(OBJECT_(bytevector, made)->byte, from, (size_t)count);
  return made;
}
static value p_open_input_bytes(machine *m, value *argument, int count) {
  bytevector *b = want_bytevector(m, "open-input-bytevector", 1, argument[0]);
  return port_open_bytes(m, bytes_copy(m, b->byte, b->length), true);
}
static value p_open_output_bytes(machine *m, value *argument, int count) { return port_open_bytes(m, new_bytevector(m, 112, -1), false); }
static value p_get_output_bytes(machine *m, value *argument, int count) {
  if (!has(argument[0], BYTES_OUT) || fixnum_of(OBJECT_(port, argument[0])->fd) >= 0) {
    fail_type(m, "get-output-bytevector", 1, "bytevector output port", argument[0]);
  }
  bytevector *b = OBJECT_(bytevector, OBJECT_(port, argument[0])->buffer);
  int64_t end = fixnum_of(OBJECT_(port, argument[0])->end);
  return bytes_copy(m, b->byte, end < b->length ? end : b->length);
}

// ---- Reading text.
static value char_or_eof(int32_t c) { return c < 0 ? V_EOF : character((uint32_t)c); }
static value p_read_char(machine *m, value *argument, int count) {
  return char_or_eof(port_read_char(m, port_argument(m, "read-char", argument, count, 0, TEXT_IN)));
}
static value p_peek_char(machine *m, value *argument, int count) {
  return char_or_eof(port_peek_char(m, port_argument(m, "peek-char", argument, count, 0, TEXT_IN)));
}
static value p_char_ready(machine *m, value *argument, int count) {
  return boolean(port_reads_ahead(OBJECT_(port, port_argument(m, "char-ready?", argument, count, 0, TEXT_IN))));
}
// As much of the line as the buffer holds, at a time.
static value p_read_line(machine *m, value *argument, int count) {
  port *p = OBJECT_(port, port_argument(m, "read-line", argument, count, 0, TEXT_IN));
  byte_buffer line;
  buffer_open(&line, m, 0);
  for (bool any = false;; any = true) {
    if (fixnum_of(p->start) >= fixnum_of(p->end) && !port_fill(m, p)) {
      return line.used > 0 ? new_string_text(m, buffer_bytes(&line), line.used) : V_EOF;
    }
    bytevector *bytes = OBJECT_(bytevector, p->buffer);
    int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
    end = end < bytes->length ? end : bytes->length;
    uint8_t *stop = start < end ? memchr(bytes->byte + start, '\n', (size_t)(end - start)) : NULL;
    int64_t length = (stop != NULL ? stop - bytes->byte : end) - start;
    p->start = fixnum(start + length + (stop != NULL));
    p->line = fixnum(fixnum_of(p->line) + (stop != NULL));
    p->column = fixnum(stop != NULL ? 1 : fixnum_of(p->column) + length);
    if (stop != NULL && !any) {
      return new_string_text(m, bytes->byte + start, length);
    }
    buffer_add(&line, bytes->byte + start, length > 0 ? length : 0);
    if (stop != NULL) {
      return new_string_text(m, buffer_bytes(&line), line.used);
    }
  }
}
static value p_read_string(machine *m, value *argument, int count) {
  int number = is_fixnum(argument[0]) || !is_given(argument, count, 1) ? 0 : 1; // both orders are in use; R7RS has the number first
  int64_t wanted = want_index(m, "read-string", number + 1, argument[number], 0, GREATEST_FIXNUM);
  value ordered[2] = {argument[number], is_given(argument, count, 1) ? argument[1 - number] : V_DEFAULT};
  value from = port_argument(m, "read-string", ordered, 2, 1, TEXT_IN);
  byte_buffer text;
  buffer_open(&text, m, 80);
  int64_t got = 0;
  for (int32_t c; got < wanted && (c = port_read_char(m, from)) >= 0; got++) {
    buffer_add_char(&text, (uint32_t)c);
  }
  return got == 0 && wanted > 0 ? V_EOF : new_string_text(m, buffer_bytes(&text), text.used);
}
static value p_read(machine *m, value *argument, int count) { return read_datum(m, port_argument(m, "read", argument, count, 0, TEXT_IN)); }

// ---- Reading bytes.
static int next_byte(machine *m, port *p, bool take) { // -1: the end
  int64_t start = fixnum_of(p->start);
  if (start >= fixnum_of(p->end)) {
    if (!port_fill(m, p)) {
      return -1;
    }
    start = fixnum_of(p->start);
  }
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  if (start >= bytes->length) {
    return -1;
  }
  if (take) {
    p->start = fixnum(start + 1);
  }
  return bytes->byte[start];
}
static value byte_or_eof(int byte) { return byte < 0 ? V_EOF : fixnum(byte); }
static port *bytes_in(machine *m, const char *who, value *argument, int count, int at) {
  return OBJECT_(port, port_argument(m, who, argument, count, at, BYTES_IN));
}
static value p_read_u8(machine *m, value *argument, int count) { return byte_or_eof(next_byte(m, bytes_in(m, "read-u8", argument, count, 0), true)); }
static value p_peek_u8(machine *m, value *argument, int count) { return byte_or_eof(next_byte(m, bytes_in(m, "peek-u8", argument, count, 0), false)); }
static value p_u8_ready(machine *m, value *argument, int count) { return boolean(port_reads_ahead(bytes_in(m, "u8-ready?", argument, count, 0))); }

// Up to so many bytes of what the buffer holds, which is filled if it is empty. 0: the end.
static int64_t take_bytes(machine *m, port *p, int64_t most, const uint8_t **at) {
  if (fixnum_of(p->start) >= fixnum_of(p->end) && !port_fill(m, p)) {
    return 0;
  }
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
  end = end < bytes->length ? end : bytes->length;
  int64_t part = end - start < most ? end - start : most;
  if (part <= 0) {
    return 0;
  }
  *at = bytes->byte + start;
  p->start = fixnum(start + part);
  return part;
}
static value p_read_bytevector(machine *m, value *argument, int count) {
  int64_t wanted = want_index(m, "read-bytevector", 1, argument[0], 0, GREATEST_FIXNUM), part;
  port *p = bytes_in(m, "read-bytevector", argument, count, 1);
  byte_buffer all;
  const uint8_t *at;
  buffer_open(&all, m, 64);
  while (all.used < wanted && (part = take_bytes(m, p, wanted - all.used, &at)) > 0) {
    buffer_add(&all, at, part);
  }
  return all.used == 0 && wanted > 0 ? V_EOF : bytes_copy(m, buffer_bytes(&all), all.used);
}
static value p_read_bytevector_into(machine *m, value *argument, int count) {
  int64_t start, end, part;
  bytevector *to = want_bytevector(m, "read-bytevector!", 1, argument[0]);
  port *p = bytes_in(m, "read-bytevector!", argument, count, 1);
  want_range(m, "read-bytevector!", argument, count, 2, to->length, &start, &end);
  int64_t done = start;
  const uint8_t *at;
  while (done < end && (part = take_bytes(m, p, end - done, &at)) > 0) {
    memcpy(to->byte + done, at, (size_t)part);
    done += part;
  }
  return done == start && start < end ? V_EOF : fixnum(done - start);
}

// ---- Writing.
static value put_datum(machine *m, const char *who, value *argument, int count, print_how how) {
  print(m, port_argument(m, who, argument, count, 1, TEXT_OUT), argument[0], how);
  return V_UNSPECIFIED;
}
static value p_write(machine *m, value *argument, int count) { return put_datum(m, "write", argument, count, PRINT_WRITE); }
static value p_display(machine *m, value *argument, int count) { return put_datum(m, "display", argument, count, PRINT_DISPLAY); }
static value p_write_shared(machine *m, value *argument, int count) { return put_datum(m, "write-shared", argument, count, PRINT_WRITE_SHARED); }
static value p_write_simple(machine *m, value *argument, int count) { return put_datum(m, "write-simple", argument, count, PRINT_WRITE_SIMPLE); }
static value p_newline(machine *m, value *argument, int count) {
  port_write_char(m, port_argument(m, "newline", argument, count, 0, TEXT_OUT), '\n');
  return V_UNSPECIFIED;
}
static value p_fresh_line(machine *m, value *argument, int count) {
  value to = port_argument(m, "fresh-line", argument, count, 0, TEXT_OUT);
  if (OBJECT_(port, to)->column != fixnum(1)) {
    port_write_char(m, to, '\n');
  }
  return V_UNSPECIFIED;
}
static value p_write_line(machine *m, value *argument, int count) {
  put_datum(m, "write-line", argument, count, PRINT_WRITE);
  return p_newline(m, argument + 1, count - 1);
}
static value p_write_char(machine *m, value *argument, int count) {
  uint32_t c = want_char(m, "write-char", 1, argument[0]);
  port_write_char(m, port_argument(m, "write-char", argument, count, 1, TEXT_OUT), c);
  return V_UNSPECIFIED;
}
static value p_write_string(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "write-string", 1, argument[0]);
  value to = port_argument(m, "write-string", argument, count, 1, TEXT_OUT);
  want_range(m, "write-string", argument, count, 2, s->length, &start, &end);
  port_write_part(m, OBJECT_(port, to), s, start, end);
  return V_UNSPECIFIED;
}
static value p_write_u8(machine *m, value *argument, int count) {
  uint8_t byte = (uint8_t)want_index(m, "write-u8", 1, argument[0], 0, 255);
  port_write_bytes(m, OBJECT_(port, port_argument(m, "write-u8", argument, count, 1, BYTES_OUT)), &byte, 1);
  return V_UNSPECIFIED;
}
static value p_write_bytevector(machine *m, value *argument, int count) {
  int64_t start, end;
  bytevector *b = want_bytevector(m, "write-bytevector", 1, argument[0]);
  port *p = OBJECT_(port, port_argument(m, "write-bytevector", argument, count, 1, BYTES_OUT));
  want_range(m, "write-bytevector", argument, count, 2, b->length, &start, &end);
  port_write_bytes(m, p, b->byte + start, end - start);
  return V_UNSPECIFIED;
}
static value p_flush(machine *m, value *argument, int count) {
  value to = is_given(argument, count, 0) ? argument[0] : current_port(m, ROOT_STDOUT);
  want_port(m, "flush-output-port", 1, to, has(to, PORT_BINARY) ? BYTES_OUT : TEXT_OUT);
  port_flush(m, to);
  return V_UNSPECIFIED;
}

// ---- The rest.
static value p_eof(machine *m, value *argument, int count) { return V_EOF; }
static value p_is_eof(machine *m, value *argument, int count) { return boolean(argument[0] == V_EOF); }
static value p_line(machine *m, value *argument, int count) {
  check_kind(m, "port-line", 1, "port", argument[0], KIND_PORT);
  return OBJECT_(port, argument[0])->line;
}
static value p_column(machine *m, value *argument, int count) {
  check_kind(m, "port-column", 1, "port", argument[0], KIND_PORT);
  return OBJECT_(port, argument[0])->column;
}
static value p_name(machine *m, value *argument, int count) {
  check_kind(m, "port-name", 1, "port", argument[0], KIND_PORT);
  return port_name(argument[0]);
}
static value p_file_exists(machine *m, value *argument, int count) {
  struct stat status;
  return boolean(stat(want_path(m, "file-exists?", argument[0]), &status) == 0);
}
static value p_delete_file(machine *m, value *argument, int count) {
  char *path = want_path(m, "delete-file", argument[0]);
  if (unlink(path) != 0) {
    fail_file(m, "delete-file", path, errno);
  }
  return V_UNSPECIFIED;
}
static value p_rename_file(machine *m, value *argument, int count) {
  char *from = want_path(m, "rename-file", argument[0]), *to = want_path(m, "rename-file", argument[1]);
  if (rename(from, to) != 0) {
    fail_file(m, "rename-file", from, errno);
  }
  return V_UNSPECIFIED;
}

const primitive_entry primitives_ports[] = {
    {"port?", p_is_port, 1, 1}, {"input-port?", p_is_input, 1, 1}, {"output-port?", p_is_output, 1, 1}, {"textual-port?", p_is_textual, 1, 1},
    {"binary-port?", p_is_binary, 1, 1}, {"input-port-open?", p_is_input_open, 1, 1}, {"output-port-open?", p_is_output_open, 1, 1},
    {"close-port", p_close, 1, 1}, {"close-input-port", p_close_input, 1, 1}, {"close-output-port", p_close_output, 1, 1},
    {"open-input-file", p_open_input, 1, 1}, {"open-binary-input-file", p_open_binary_input, 1, 1}, {"open-output-file", p_open_output, 1, 2},
    {"open-binary-output-file", p_open_binary_output, 1, 2}, {"open-input-string", p_open_input_string, 1, 1},
    {"open-output-string", p_open_output_string, 0, 0}, {"get-output-string", p_get_output_string, 1, 1}, {"open-input-bytevector", p_open_input_bytes, 1, 1},
    {"open-output-bytevector", p_open_output_bytes, 0, 0}, {"get-output-bytevector", p_get_output_bytes, 1, 1}, {"read-char", p_read_char, 0, 1},
    {"peek-char", p_peek_char, 0, 1}, {"char-ready?", p_char_ready, 0, 1}, {"read-line", p_read_line, 0, 1}, {"read-string", p_read_string, 1, 2},
    {"read", p_read, 0, 1}, {"read-u8", p_read_u8, 0, 1}, {"peek-u8", p_peek_u8, 0, 1}, {"u8-ready?", p_u8_ready, 0, 1},
    {"read-bytevector", p_read_bytevector, 1, 2}, {"read-bytevector!", p_read_bytevector_into, 1, 4}, {"write", p_write, 1, 2}, {"display", p_display, 1, 2},
    {"write-shared", p_write_shared, 1, 2}, {"write-simple", p_write_simple, 1, 2}, {"newline", p_newline, 0, 1}, {"fresh-line", p_fresh_line, 0, 1},
    {"write-line", p_write_line, 1, 2}, {"write-char", p_write_char, 1, 2}, {"write-string", p_write_string, 1, 4}, {"write-u8", p_write_u8, 1, 2},
    {"write-bytevector", p_write_bytevector, 1, 4}, {"flush-output-port", p_flush, 0, 1}, {"flush-output", p_flush, 0, 1}, {"force-output", p_flush, 0, 1},
    {"eof-object", p_eof, 0, 0}, {"eof-object?", p_is_eof, 1, 1}, {"port-line", p_line, 1, 1}, {"port-column", p_column, 1, 1}, {"port-name", p_name, 1, 1},
    {"file-exists?", p_file_exists, 1, 1}, {"delete-file", p_delete_file, 1, 1}, {"rename-file", p_rename_file, 2, 2}, {NULL, NULL, 0, 0}};
