// SPDX-License-Identifier: MIT
// strings_text.c: strings as text: cases, search, joining, splitting, padding, trimming.

#include <string.h>
#include "strings.h"

// ---- Characters that come one by one and become a string.
typedef struct builder {
  machine *machine;
  value text; // a string with room
  int64_t used;
} builder;
static void build_open(builder *b, machine *m, int64_t room) {
  b->machine = m;
  b->text = new_string(m, room < 16 ? 16 : room, 0);
  b->used = 0;
}
static void build_add(builder *b, uint32_t c) {
  string *s = OBJECT_(string, b->text);
  if (b->used == s->length) {
    value wider = new_string_of(b->machine, 2 * s->length, string_is_wide(s));
    for (int64_t i = 0; i < b->used; i++) {
      string_put(b->machine, OBJECT_(string, wider), i, string_get(s, i));
    }
    b->text = wider;
  }
  string_put(b->machine, OBJECT_(string, b->text), b->used++, c);
}
static value build_close(builder *b) { return string_part(b->machine, b->text, 0, b->used); }

static void build_add_full(builder *b, const uint32_t *full) {
  for (int i = 0; i < 3 && full[i] != 0; i++) {
    build_add(b, full[i]);
  }
}
value string_upcase(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-upcase", 1, argument[0]);
  builder b;
  build_open(&b, m, s->length);
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    const uint32_t *full = char_up_full(c);
    if (full != NULL) {
      build_add_full(&b, full);
    } else {
      build_add(&b, char_up(c));
    }
  }
  return build_close(&b);
}
enum { SIGMA = 0x3a3, SMALL_SIGMA = 0x3c3, FINAL_SIGMA = 0x3c2 };
static bool is_letter(string *s, int64_t i) { return i >= 0 && i < s->length && char_is_alphabetic(string_get(s, i)); }
value string_downcase(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-downcase", 1, argument[0]);
  builder b;
  build_open(&b, m, s->length);
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    build_add(&b, c != SIGMA ? char_down(c) : is_letter(s, i - 1) && !is_letter(s, i + 1) ? FINAL_SIGMA : SMALL_SIGMA);
  }
  return build_close(&b);
}
value string_foldcase(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-foldcase", 1, argument[0]);
  builder b;
  build_open(&b, m, s->length);
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    const uint32_t *full = char_fold_full(c);
    if (full != NULL) {
      build_add_full(&b, full);
    } else {
      build_add(&b, char_fold(c));
    }
  }
  return build_close(&b);
}

// ---- Search.
static bool found_at(const string *s, int64_t at, const string *pattern) {
  for (int64_t i = 0; i < pattern->length; i++) {
    if (string_get(s, at + i) != string_get(pattern, i)) {
      return false;
    }
  }
  return true;
}
static int64_t search(const string *s, const string *pattern, int64_t start) { // -1: it is not there
  if (pattern->length > s->length - start) {
    return -1;
  }
  const bytevector *text = OBJECT_(bytevector, s->data), *wanted = OBJECT_(bytevector, pattern->data);
  if (text->length == s->length && wanted->length == pattern->length) {
    const uint8_t *found = memmem(text->byte + start, (size_t)(s->length - start), wanted->byte, (size_t)pattern->length);
    return found == NULL ? -1 : found - text->byte;
  }
  for (int64_t at = start; at <= s->length - pattern->length; at++) {
    if (found_at(s, at, pattern)) {
      return at;
    }
  }
  return -1;
}
static value index_or_false(int64_t at) { return at < 0 ? V_FALSE : fixnum(at); }
value string_search_forward(machine *m, value *argument, int count) {
  string *pattern = want_string(m, "string-search-forward", 1, argument[0]), *s = want_string(m, "string-search-forward", 2, argument[1]);
  int64_t start = is_given(argument, count, 2) ? want_index(m, "string-search-forward", 3, argument[2], 0, s->length) : 0;
  return index_or_false(search(s, pattern, start));
}
value string_contains(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-contains", 1, argument[0]), *pattern = want_string(m, "string-contains", 2, argument[1]);
  int64_t start = is_given(argument, count, 2) ? want_index(m, "string-contains", 3, argument[2], 0, s->length) : 0;
  return index_or_false(search(s, pattern, start));
}
value string_search_backward(machine *m, value *argument, int count) { // the index behind it
  string *pattern = want_string(m, "string-search-backward", 1, argument[0]), *s = want_string(m, "string-search-backward", 2, argument[1]);
  int64_t end = is_given(argument, count, 2) ? want_index(m, "string-search-backward", 3, argument[2], 0, s->length) : s->length;
  for (int64_t at = end - pattern->length; at >= 0; at--) {
    if (found_at(s, at, pattern)) {
      return fixnum(at + pattern->length);
    }
  }
  return V_FALSE;
}
value string_search_all(machine *m, value *argument, int count) {
  string *pattern = want_string(m, "string-search-all", 1, argument[0]), *s = want_string(m, "string-search-all", 2, argument[1]);
  value found = V_NULL;
  for (int64_t at = s->length - pattern->length; at >= 0; at--) {
    if (found_at(s, at, pattern)) {
      found = cons(m, fixnum(at), found);
    }
  }
  return found;
}
value string_index(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "string-index", 1, argument[0]);
  uint32_t c = want_char(m, "string-index", 2, argument[1]);
  want_range(m, "string-index", argument, count, 2, s->length, &start, &end);
  while (start < end && string_get(s, start) != c) {
    start++;
  }
  return start < end ? fixnum(start) : V_FALSE;
}
value string_rindex(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "string-rindex", 1, argument[0]);
  uint32_t c = want_char(m, "string-rindex", 2, argument[1]);
  want_range(m, "string-rindex", argument, count, 2, s->length, &start, &end);
  while (start < end && string_get(s, end - 1) != c) {
    end--;
  }
  return start < end ? fixnum(end - 1) : V_FALSE;
}
value string_is_prefix(machine *m, value *argument, int count) {
  string *prefix = want_string(m, "string-prefix?", 1, argument[0]), *s = want_string(m, "string-prefix?", 2, argument[1]);
  return boolean(prefix->length <= s->length && found_at(s, 0, prefix));
}
value string_is_suffix(machine *m, value *argument, int count) {
  string *suffix = want_string(m, "string-suffix?", 1, argument[0]), *s = want_string(m, "string-suffix?", 2, argument[1]);
  return boolean(suffix->length <= s->length && found_at(s, s->length - suffix->length, suffix));
}

// ---- Joining, splitting, padding, trimming.
value string_join(machine *m, value *argument, int count) {
  builder b;
  string *between = is_given(argument, count, 1) ? want_string(m, "string-join", 2, argument[1]) : NULL;
  build_open(&b, m, 64);
  value at = argument[0];
  if (proper_length(at) < 0) {
    fail_type(m, "string-join", 1, "list of strings", at);
  }
  for (bool first = true; is_pair(at); at = cdr(at), first = false) {
    if (!first && between == NULL) {
      build_add(&b, ' ');
    }
    for (int64_t i = 0; !first && between != NULL && i < between->length; i++) {
      build_add(&b, string_get(between, i));
    }
    string *s = want_string(m, "string-join", 1, car(at));
    for (int64_t i = 0; i < s->length; i++) {
      build_add(&b, string_get(s, i));
    }
  }
  return build_close(&b);
}
value string_split(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-split", 1, argument[0]);
  uint32_t c = want_char(m, "string-split", 2, argument[1]);
  value parts = V_NULL;
  int64_t end = s->length;
  for (int64_t i = s->length - 1; i >= -1; i--) {
    if (i < 0 || string_get(s, i) == c) {
      parts = cons(m, string_part(m, argument[0], i + 1, end), parts);
      end = i;
    }
  }
  return parts;
}
static value pad(machine *m, const char *who, value *argument, int count, bool left) {
  string *s = want_string(m, who, 1, argument[0]);
  int64_t length = want_index(m, who, 2, argument[1], 0, LENGTH_MOST);
  uint32_t c = is_given(argument, count, 2) ? want_char(m, who, 3, argument[2]) : ' ';
  if (length <= s->length) {
    return left ? string_part(m, argument[0], s->length - length, s->length) : string_part(m, argument[0], 0, length);
  }
  value made = new_string(m, length, c);
  int64_t at = left ? length - s->length : 0;
  for (int64_t i = 0; i < s->length; i++) {
    string_put(m, OBJECT_(string, made), at + i, string_get(s, i));
  }
  return made;
}
value string_pad_left(machine *m, value *argument, int count) { return pad(m, "string-pad-left", argument, count, true); }
value string_pad_right(machine *m, value *argument, int count) { return pad(m, "string-pad-right", argument, count, false); }
static value trim(machine *m, const char *who, value text, bool left, bool right) {
  string *s = want_string(m, who, 1, text);
  int64_t start = 0, end = s->length;
  while (left && start < end && char_is_space(string_get(s, start))) {
    start++;
  }
  while (right && end > start && char_is_space(string_get(s, end - 1))) {
    end--;
  }
  return string_part(m, text, start, end);
}
value string_trim(machine *m, value *argument, int count) { return trim(m, "string-trim", argument[0], true, true); }
value string_trim_left(machine *m, value *argument, int count) { return trim(m, "string-trim-left", argument[0], true, false); }
value string_trim_right(machine *m, value *argument, int count) { return trim(m, "string-trim-right", argument[0], false, true); }
value string_reverse(machine *m, value *argument, int count) {
  int64_t start, end;
  want_range(m, "string-reverse", argument, count, 1, want_string(m, "string-reverse", 1, argument[0])->length, &start, &end);
  value made = string_part(m, argument[0], start, end);
  string *s = OBJECT_(string, made);
  for (int64_t i = 0, j = s->length - 1; i < j; i++, j--) {
    uint32_t c = string_get(s, i);
    string_put(m, s, i, string_get(s, j));
    string_put(m, s, j, c);
  }
  return made;
}
