// SPDX-License-Identifier: MIT
// text.c: what the library's files stand on: stacks and buffers in the heap, UTF-8, and strings whose characters take one byte or four.

#include <string.h>
#include "library.h"
#include "machine.h"

value new_of_kind(machine *m, kind k, int64_t length, value fill) {
  value made = new_vector(m, length, fill);
  OBJECT_(object, made)->header = (uint64_t)k;
  return made;
}
value two_values(machine *m, value first, value second) {
  value made = new_of_kind(m, KIND_VALUES, 2, V_FALSE);
  OBJECT_(values, made)->item[0] = first;
  OBJECT_(values, made)->item[1] = second;
  return made;
}

// ---- Stacks.
void stack_open(value_stack *s, machine *m) {
  s->machine = m;
  s->items = s->room;
  s->length = STACK_ROOM;
  s->top = 0;
}
void stack_grow(value_stack *s) {
  vector *wider = OBJECT_(vector, new_vector(s->machine, 2 * s->length, V_FALSE));
  memcpy(wider->item, s->items, (size_t)s->top * sizeof(value));
  s->items = wider->item;
  s->length = wider->length;
}

// ---- Buffers.
void buffer_open(byte_buffer *b, machine *m, int64_t room) {
  b->machine = m;
  b->bytes = new_bytevector(m, room < 16 ? 16 : room, -1);
  b->used = 0;
}
void buffer_reserve(byte_buffer *b, int64_t more) {
  int64_t room = OBJECT_(bytevector, b->bytes)->length;
  if (b->used + more > room) {
    room = 2 * room > b->used + more ? 2 * room : b->used + more;
    value wider = new_bytevector(b->machine, room, -1);
    memcpy(OBJECT_(bytevector, wider)->byte, buffer_bytes(b), (size_t)b->used);
    b->bytes = wider;
  }
}
void buffer_add(byte_buffer *b, const void *bytes, int64_t count) {
  buffer_reserve(b, count);
  memcpy(buffer_bytes(b) + b->used, bytes, (size_t)count);
  b->used += count;
}
void buffer_add_char(byte_buffer *b, uint32_t c) {
  if (c < 0x80) {
    buffer_add_byte(b, (int)c);
  } else {
    buffer_reserve(b, 4);
    b->used += utf8_put(buffer_bytes(b) + b->used, c);
  }
}

// ---- UTF-8.
int utf8_put(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (uint8_t)(0xc0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (uint8_t)(0xe0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (uint8_t)(0xf0 | c >> 18);
  out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
  out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
  out[3] = (uint8_t)(0x80 | (c & 0x3f));
  return 4;
}

int utf8_get(const uint8_t *at, const uint8_t *end, uint32_t *out) {
  uint32_t c = at[0], least;
  int length;
  *out = c;
  if (c < 0x80) {
    return 1;
  }
  if (c >= 0xc2 && c < 0xe0) {
    length = 2, least = 0x80, c &= 0x1f;
  } else if (c >= 0xe0 && c < 0xf0) {
    length = 3, least = 0x800, c &= 0x0f;
  } else if (c >= 0xf0 && c < 0xf5) {
    length = 4, least = 0x10000, c &= 0x07;
  } else {
    *out = 0xfffd;
    return 1;
  }
  for (int i = 1; i < length; i++) {
    if (at + i >= end) {
      return 0;
    }
    if ((at[i] & 0xc0) != 0x80) {
      *out = 0xfffd;
      return 1;
    }
    c = c << 6 | (at[i] & 0x3f);
  }
  bool valid = c >= least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
  *out = valid ? c : 0xfffd;
  return valid ? length : 1;
}

int64_t ascii_run(const uint8_t *bytes, int64_t count) {
  int64_t i = 0;
  uint64_t word;
  for (; i + 8 <= count; i += 8) {
    memcpy(&word, bytes + i, 8);
    if ((word & 0x8080808080808080u) != 0) {
      break;
    }
  }
  while (i < count && bytes[i] < 0x80) {
    i++;
  }
  return i;
}

// ---- Strings.
// utf8_get for what is right and not too rare; where the bytes end within a character it is U+FFFD.
static inline int next_char(const uint8_t *at, const uint8_t *end, uint32_t *out) {
  uint32_t c = at[0];
  if (c < 0x80) {
    *out = c;
    return 1;
  }
  if (c >= 0xc2 && c < 0xe0 && end - at >= 2 && (at[1] & 0xc0) == 0x80) {
    *out = (c & 0x1f) << 6 | (at[1] & 0x3f);
    return 2;
  }
  if (c > 0xe0 && c < 0xed && end - at >= 3 && (at[1] & 0xc0) == 0x80 && (at[2] & 0xc0) == 0x80) { // no first byte whose second is restricted
    *out = (c & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    return 3;
  }
  int size = utf8_get(at, end, out);
  *out = size == 0 ? 0xfffd : *out;
  return size == 0 ? 1 : size;
}
// The text is decoded twice: to count, and to write. Should another thread change the bytes meanwhile, the second pass keeps to what the first has made room
// for.
value new_string_text(machine *m, const uint8_t *bytes, int64_t count) {
  const uint8_t *at = bytes, *end = bytes + count;
  int64_t length = 0;
  uint32_t all = 0, c = 0;
  while (at < end) {
    int64_t run = ascii_run(at, end - at);
    at += run;
    length += run;
    for (; at < end && *at >= 0x80; length++) {
      at += next_char(at, end, &c);
      all |= c;
    }
  }
  if (all == 0) { // ASCII
    return new_string_latin1(m, bytes, count);
  }
  value made = new_string_of(m, length, all >= 0x100);
  bytevector *to = OBJECT_(bytevector, OBJECT_(string, made)->data);
  at = bytes;
  for (int64_t i = 0; i < length && at < end; i++) {
    at += next_char(at, end, &c);
    if (all >= 0x100) {
      ((uint32_t *)to->byte)[i] = c;
    } else {
      to->byte[i] = (uint8_t)c;
    }
  }
  return made;
}
value new_string_latin1(machine *m, const uint8_t *bytes, int64_t length) {
  value made = new_string_of(m, length, false);
  memcpy(OBJECT_(bytevector, OBJECT_(string, made)->data)->byte, bytes, (size_t)length);
  return made;
}
value new_string_of(machine *m, int64_t length, bool wide) {
  value data = new_bytevector(m, wide ? 4 * length : length, -1);
  string *made = allocate(m, KIND_STRING, 2, KIND_STRING);
  made->length = length;
  made->data = data;
  return ref(made);
}

// One byte per character becomes four. Whoever reads the string meanwhile in another thread finds the old data or the new, each whole.
static void widen(machine *m, string *s) {
  bytevector *narrow = OBJECT_(bytevector, s->data);
  value wide = new_bytevector(m, 4 * s->length, -1);
  uint32_t *to = (uint32_t *)OBJECT_(bytevector, wide)->byte;
  for (int64_t i = 0; i < s->length; i++) {
    to[i] = narrow->byte[i];
  }
  s->data = wide;
}
void string_put(machine *m, string *s, int64_t i, uint32_t c) {
  if (!string_is_wide(s)) {
    if (c < 0x100) {
      OBJECT_(bytevector, s->data)->byte[i] = (uint8_t)c;
      return;
    }
    widen(m, s);
  }
  ((uint32_t *)OBJECT_(bytevector, s->data)->byte)[i] = c;
}

value string_part(machine *m, value text, int64_t start, int64_t end) {
  string *s = OBJECT_(string, text);
  bytevector *data = OBJECT_(bytevector, s->data);
  int64_t length = end - start;
  if (data->length == s->length) {
    return new_string_latin1(m, data->byte + start, length);
  }
  const uint32_t *from = (const uint32_t *)data->byte + start;
  uint32_t all = 0;
  for (int64_t i = 0; i < length; i++) {
    all |= from[i];
  }
  value made = new_string_of(m, length, all >= 0x100);
  uint8_t *to = OBJECT_(bytevector, OBJECT_(string, made)->data)->byte;
  if (all >= 0x100) {
    memcpy(to, from, (size_t)length * 4);
  } else {
    for (int64_t i = 0; i < length; i++) {
      to[i] = (uint8_t)from[i];
    }
  }
  return made;
}

static inline int64_t utf8_size(uint32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }
void string_utf8(byte_buffer *out, const string *s, int64_t start, int64_t end) {
  const bytevector *data = OBJECT_(bytevector, s->data);
  bool wide = data->length != s->length;
  int64_t size = 0;
  for (int64_t i = start; i < end; i++) {
    size += utf8_size(wide ? ((const uint32_t *)data->byte)[i] : data->byte[i]);
  }
  buffer_reserve(out, size + 4);
  uint8_t *at = buffer_bytes(out) + out->used, *limit = at + size;
  for (int64_t i = start; i < end && at < limit; i++) { // what another thread writes meanwhile may be longer, but by no more than the room behind the limit
    uint32_t c = wide ? ((const uint32_t *)data->byte)[i] : data->byte[i];
    if (c < 0x80) {
      *at++ = (uint8_t)c;
    } else {
      at += utf8_put(at, c);
    }
  }
  out->used = at - buffer_bytes(out);
}
