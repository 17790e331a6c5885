// SPDX-License-Identifier: MIT
// reader_tokens.c: what the reader takes for one thing: names, numbers, characters, strings.

#include <string.h>
#include "reader.h"

static int hex_digit(int32_t c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
static bool is_scalar(uint32_t c) { return c <= 0x10ffff && (c < 0xd800 || c > 0xdfff); }

// The rest of \xHEX; within strings and bars.
static uint32_t read_hex_escape(reader *r) {
  uint32_t code = 0;
  int digits = 0, digit;
  while ((digit = reader_peek(r) >= 0 ? hex_digit(reader_peek(r)) : -1) >= 0) {
    reader_next(r);
    code = code < 0x1000000 ? code << 4 | (uint32_t)digit : 0xfffffff;
    digits++;
  }
  if (digits == 0 || reader_peek(r) != ';') {
    reader_fail(r, "\\x has to be followed by hexadecimal digits and a semicolon");
  }
  reader_next(r);
  if (!is_scalar(code)) {
    reader_fail(r, "there is no such character: \\x is out of range");
  }
  return code;
}

// Spaces, the end of the line, and the next line's first spaces.
static void skip_line_end(reader *r) {
  int32_t c = reader_peek(r);
  while (c == ' ' || c == '\t') {
    reader_next(r);
    c = reader_peek(r);
  }
  if (c == '\r') {
    reader_next(r);
    c = reader_peek(r);
  }
  if (c != '\n') {
    reader_fail(r, "a backslash and spaces in a string have to end the line");
  }
  reader_next(r);
  for (c = reader_peek(r); c == ' ' || c == '\t'; c = reader_peek(r)) {
    reader_next(r);
  }
}
static void read_escape(reader *r) {
  int32_t c = reader_peek(r);
  if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
    skip_line_end(r);
    return;
  }
  reader_next(r);
  switch (c) {
  case 'n': buffer_add_byte(&r->token, '\n'); break;
  case 't': buffer_add_byte(&r->token, '\t'); break;
  case 'r': buffer_add_byte(&r->token, '\r'); break;
  case 'a': buffer_add_byte(&r->token, 7); break;
  case 'b': buffer_add_byte(&r->token, 8); break;
  case '0': buffer_add_byte(&r->token, 0); break;
  case '"':
  case '\\':
  case '|': buffer_add_byte(&r->token, c); break;
  case 'x':
  case 'X': buffer_add_char(&r->token, read_hex_escape(r)); break;
  case -1: reader_fail(r, "the file ends within a string or name");
  default: reader_fail(r, "an unknown escape: a backslash may stand before a b n r t x \" \\ | and a line's end");
  }
}

// Up to the closing quotation mark or bar.
static void read_quoted(reader *r, int32_t quote, const char *at_end) {
  for (;;) {
    int32_t c = reader_next(r);
    if (c < 0) {
      reader_fail(r, at_end);
    }
    if (c == quote) {
      return;
    }
    if (c == '\\') {
      read_escape(r);
    } else if (c == '\r' && reader_peek(r) == '\n') {
      continue; // a line's end is one character
    } else {
      buffer_add_char(&r->token, (uint32_t)c);
    }
  }
}
value read_string_literal(reader *r) {
  r->token.used = 0;
  read_quoted(r, '"', "the file ends within this string");
  return new_string_utf8(r->machine, (const char *)buffer_bytes(&r->token), (size_t)r->token.used);
}

// Up to a delimiter. Says whether bars or escapes were there: what they enclose is taken as it is, and makes the token a symbol.
static bool read_token(reader *r) {
  bool bars = false, fold = r->p->header & PORT_FOLD;
  for (int32_t c = reader_peek(r); !is_delimiter(c); c = reader_peek(r)) {
    reader_next(r);
    if (c == '|') {
      bars = true;
      read_quoted(r, '|', "the file ends within this name: a bar is missing");
    } else if (c == '\\' && reader_peek(r) == 'x') {
      bars = true;
      reader_next(r);
      buffer_add_char(&r->token, read_hex_escape(r));
    } else {
      buffer_add_char(&r->token, fold ? char_fold((uint32_t)c) : (uint32_t)c);
    }
  }
  return bars;
}
static bool token_is(reader *r, const char *text) {
  size_t length = strlen(text);
  return (size_t)r->token.used == length && memcmp(buffer_bytes(&r->token), text, length) == 0;
}

value read_word(reader *r) {
  machine *m = r->machine;
  r->token.used = 0;
  bool bars = read_token(r);
  const char *text = (const char *)buffer_bytes(&r->token);
  size_t bytes = (size_t)r->token.used;
  if (!bars) {
    if (bytes == 1 && text[0] == '.') {
      return V_UNBOUND;
    }
    if ((text[0] >= '0' && text[0] <= '9') || text[0] == '+' || text[0] == '-' || text[0] == '.') {
      value number = number_parse(m, text, bytes, 10);
      if (number != V_FALSE) {
        return number;
      }
    }
  }
  return intern_string(m, new_string_utf8(m, text, bytes));
}

value read_prefixed_number(reader *r) {
  r->token.used = 0;
  buffer_add_byte(&r->token, '#');
  bool bars = read_token(r);
  value number = bars ? V_FALSE : number_parse(r->machine, (const char *)buffer_bytes(&r->token), (size_t)r->token.used, 10);
  if (number == V_FALSE) {
    reader_fail(r, "this is no number");
  }
  return number;
}

value read_boolean(reader *r) {
  r->token.used = 0;
  bool bars = read_token(r);
  for (int64_t i = 0; i < r->token.used; i++) {
    uint8_t *c = &buffer_bytes(&r->token)[i];
    *c = *c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c;
  }
  if (!bars && (token_is(r, "t") || token_is(r, "true"))) {
    return V_TRUE;
  }
  if (!bars && (token_is(r, "f") || token_is(r, "false"))) {
    return V_FALSE;
  }
  reader_fail(r, "this is no datum: #t, #true, #f and #false are");
}

static const struct {
  const char *name;
  uint32_t code;
} char_names[] = {{"alarm", 7}, {"backspace", 8}, {"delete", 127}, {"escape", 27}, {"newline", 10}, {"null", 0}, {"return", 13}, {"space", 32}, {"tab", 9},
                  {"nul", 0}, {"linefeed", 10}, {"page", 12}, {"rubout", 127}, {"altmode", 27}, {"esc", 27}, {"vtab", 11}};

value read_character(reader *r) {
  int32_t first = reader_next(r);
  if (first < 0) {
    reader_fail(r, "the file ends within this character");
  }
  r->token.used = 0;
  buffer_add_char(&r->token, (uint32_t)first);
  int more = 0;
  for (int32_t c = reader_peek(r); !is_delimiter(first) && !is_delimiter(c) && c != '|'; c = reader_peek(r)) {
    reader_next(r);
    buffer_add_char(&r->token, (uint32_t)c);
    more++;
  }
  if (more == 0) {
    return character((uint32_t)first);
  }
  const uint8_t *text = buffer_bytes(&r->token);
  if ((first == 'x' || first == 'X') && more <= 8) {
    uint32_t code = 0;
    int64_t i = 1;
    for (; i < r->token.used && hex_digit(text[i]) >= 0; i++) {
      code = code < 0x1000000 ? code << 4 | (uint32_t)hex_digit(text[i]) : 0xfffffff;
    }
    if (i == r->token.used) {
      if (!is_scalar(code)) {
        reader_fail(r, "there is no such character: #\\x is out of range");
      }
      return character(code);
    }
  }
  if (r->p->header & PORT_FOLD) {
    for (int64_t i = 0; i < r->token.used; i++) {
      buffer_bytes(&r->token)[i] = (uint8_t)(text[i] < 0x80 ? char_fold(text[i]) : text[i]);
    }
  }
  for (size_t i = 0; i < sizeof char_names / sizeof char_names[0]; i++) {
    if (token_is(r, char_names[i].name)) {
      return character(char_names[i].code);
    }
  }
  reader_fail(r, "an unknown name of a character: alarm backspace delete escape newline null return space tab and xHEX are known");
}
