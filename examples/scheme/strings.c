// SPDX-License-Identifier: MIT
// strings.c: strings and symbols: making, comparing, changing them and taking them apart.

#include "strings.h"
#include <string.h>

string *want_mutable_string(machine *m, const char *who, int position, value v) {
  string *s = want_string(m, who, position, v);
  if (s->header & STRING_IMMUTABLE) {
    fail(m, who, "the string is constant", 1, v);
  }
  return s;
}

// ---- Single characters.
static value p_string_ref(machine *m, value *argument, int count) {
  string *s = want_string(m, "string-ref", 1, argument[0]);
  if (is_fixnum(argument[1]) && (uint64_t)fixnum_of(argument[1]) < (uint64_t)s->length) {
    return character(string_get(s, fixnum_of(argument[1])));
  }
  want_index(m, "string-ref", 2, argument[1], 0, s->length - 1);
  return V_UNSPECIFIED;
}
static value p_string_set(machine *m, value *argument, int count) {
  string *s = want_mutable_string(m, "string-set!", 1, argument[0]);
  int64_t i = want_index(m, "string-set!", 2, argument[1], 0, s->length - 1);
  string_put(m, s, i, want_char(m, "string-set!", 3, argument[2]));
  return V_UNSPECIFIED;
}
static value p_is_string(machine *m, value *argument, int count) { return boolean(is_kind(argument[0], KIND_STRING)); }
static value p_string_length(machine *m, value *argument, int count) { return fixnum(want_string(m, "string-length", 1, argument[0])->length); }
static value p_is_null(machine *m, value *argument, int count) { return boolean(want_string(m, "string-null?", 1, argument[0])->length == 0); }

// ---- Comparison.
static int compare_strings(const string *a, const string *b) {
  const bytevector *x = OBJECT_(bytevector, a->data), *y = OBJECT_(bytevector, b->data);
  int64_t length = a->length < b->length ? a->length : b->length;
  if (x->length == a->length && y->length == b->length) {
    int order = memcmp(x->byte, y->byte, (size_t)length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
  }
  for (int64_t i = 0; i < length; i++) {
    uint32_t p = string_get(a, i), q = string_get(b, i);
    if (p != q) {
      return p < q ? -1 : 1;
    }
  }
  return (a->length > b->length) - (a->length < b->length);
}

// The characters of a string with cases folded: one may become up to three.
typedef struct folding {
  const string *from;
  int64_t next;
  const uint32_t *more; // what is left of the last one
  int left;
} folding;
static int64_t fold_next(folding *f) { // -1: the end
  if (f->left > 0 && *f->more != 0) {
    f->left--;
    return *f->more++;
  }
  f->left = 0;
  if (f->next >= f->from->length) {
    return -1;
  }
  uint32_t c = string_get(f->from, f->next++);
  const uint32_t *full = char_fold_full(c);
  if (full == NULL) {
    return char_fold(c);
  }
  f->more = full + 1;
  f->left = 2;
  return full[0];
}
static int compare_folded(const string *a, const string *b) {
  folding x = {.from = a}, y = {.from = b};
  for (;;) {
    int64_t p = fold_next(&x), q = fold_next(&y);
    if (p != q) {
      return p < q ? -1 : 1;
    }
    if (p < 0) {
      return 0;
    }
  }
}
bool strings_equal(const string *a, const string *b, bool fold) {
  if (fold) {
    return compare_folded(a, b) == 0;
  }
  if (a->length != b->length) {
    return false;
  }
  const bytevector *x = OBJECT_(bytevector, a->data), *y = OBJECT_(bytevector, b->data);
  return x->length == y->length ? memcmp(x->byte, y->byte, (size_t)x->length) == 0 : compare_strings(a, b) == 0;
}
uint64_t hash_string(const string *s, bool fold) {
  uint64_t hash = 0xcbf29ce484222325u;
  if (fold) {
    folding f = {.from = s};
    for (int64_t c = fold_next(&f); c >= 0; c = fold_next(&f)) {
      hash = (hash ^ (uint64_t)c) * 0x100000001b3u;
    }
    return hash_mix(hash);
  }
  for (int64_t i = 0; i < s->length; i++) { // the same for one byte per character and for four
    hash = (hash ^ string_get(s, i)) * 0x100000001b3u;
  }
  return hash_mix(hash);
}

// order: what must hold between each two neighbours: -2 <, -1 <=, 0 =, 1 >=, 2 >.
static value compare_all(machine *m, const char *who, value *argument, int count, int order, bool fold) {
  bool holds = true;
  string *last = want_string(m, who, 1, argument[0]);
  for (int i = 1; i < count; i++) {
    string *next = want_string(m, who, i + 1, argument[i]);
    if (order == 0) {
      holds = holds && strings_equal(last, next, fold);
    } else {
      int found = fold ? compare_folded(last, next) : compare_strings(last, next);
      holds &= order == -2 ? found < 0 : order == -1 ? found <= 0 : order == 1 ? found >= 0 : found > 0;
    }
    last = next;
  }
  return boolean(holds);
}
static value p_equal(machine *m, value *argument, int count) { return compare_all(m, "string=?", argument, count, 0, false); }
static value p_less(machine *m, value *argument, int count) { return compare_all(m, "string<?", argument, count, -2, false); }
static value p_greater(machine *m, value *argument, int count) { return compare_all(m, "string>?", argument, count, 2, false); }
static value p_less_equal(machine *m, value *argument, int count) { return compare_all(m, "string<=?", argument, count, -1, false); }
static value p_greater_equal(machine *m, value *argument, int count) { return compare_all(m, "string>=?", argument, count, 1, false); }
static value p_ci_equal(machine *m, value *argument, int count) { return compare_all(m, "string-ci=?", argument, count, 0, true); }
static value p_ci_less(machine *m, value *argument, int count) { return compare_all(m, "string-ci<?", argument, count, -2, true); }
static value p_ci_greater(machine *m, value *argument, int count) { return compare_all(m, "string-ci>?", argument, count, 2, true); }
static value p_ci_less_equal(machine *m, value *argument, int count) { return compare_all(m, "string-ci<=?", argument, count, -1, true); }
static value p_ci_greater_equal(machine *m, value *argument, int count) { return compare_all(m, "string-ci>=?", argument, count, 1, true); }

// ---- Making strings.
static value p_make_string(machine *m, value *argument, int count) {
  int64_t length = want_index(m, "make-string", 1, argument[0], 0, LENGTH_MOST);
  return new_string(m, length, is_given(argument, count, 1) ? want_char(m, "make-string", 2, argument[1]) : ' ');
}
static value p_string(machine *m, value *argument, int count) {
  uint32_t all = 0;
  for (int i = 0; i < count; i++) {
    all |= want_char(m, "string", i + 1, argument[i]);
  }
  value made = new_string_of(m, count, all >= 0x100);
  for (int i = 0; i < count; i++) {
    string_put(m, OBJECT_(string, made), i, char_of(argument[i]));
  }
  return made;
}
static value p_substring(machine *m, value *argument, int count) {
  int64_t start, end;
  want_range(m, "substring", argument, count, 1, want_string(m, "substring", 1, argument[0])->length, &start, &end);
  return string_part(m, argument[0], start, end);
}
static value p_string_copy(machine *m, value *argument, int count) {
  int64_t start, end;
  want_range(m, "string-copy", argument, count, 1, want_string(m, "string-copy", 1, argument[0])->length, &start, &end);
  return string_part(m, argument[0], start, end);
}
static value p_string_head(machine *m, value *argument, int count) {
  int64_t end = want_index(m, "string-head", 2, argument[1], 0, want_string(m, "string-head", 1, argument[0])->length);
  return string_part(m, argument[0], 0, end);
}
static value p_string_tail(machine *m, value *argument, int count) {
  int64_t length = want_string(m, "string-tail", 1, argument[0])->length, start = want_index(m, "string-tail", 2, argument[1], 0, length);
  return string_part(m, argument[0], start, length);
}

// Writes s[start, end) to `to` from `at` on, which may be the same string.
static void copy_part(machine *m, string *to, int64_t at, string *s, int64_t start, int64_t end) {
  bytevector *from = OBJECT_(bytevector, s->data), *into = OBJECT_(bytevector, to->data);
  bool wide_from = from->length != s->length, wide_into = into->length != to->length;
  if (wide_from == wide_into) {
    int64_t size = wide_from ? 4 : 1;
    memmove(into->byte + at * size, from->byte + start * size, (size_t)((end - start) * size));
    return;
  }
  for (int64_t i = start; i < end; i++) { // two strings
    string_put(m, to, at + i - start, string_get(s, i));
  }
}
static value append_all(machine *m, const char *who, value *argument, int count) {
  int64_t length = 0, at = 0;
  bool wide = false;
  for (int i = 0; i < count; i++) {
    string *s = want_string(m, who, i + 1, argument[i]);
    length += s->length;
    wide |= string_is_wide(s);
  }
  if (length > LENGTH_MOST) {
    fail(m, who, "the string would be too long", 1, fixnum(length));
  }
  value made = new_string_of(m, length, wide);
  for (int i = 0; i < count; i++) {
    string *s = OBJECT_(string, argument[i]);
    copy_part(m, OBJECT_(string, made), at, s, 0, s->length);
    at += s->length;
  }
  return made;
}
static value p_string_append(machine *m, value *argument, int count) { return append_all(m, "string-append", argument, count); }

static value p_string_copy_to(machine *m, value *argument, int count) {
  int64_t start, end;
  string *to = want_mutable_string(m, "string-copy!", 1, argument[0]), *from = want_string(m, "string-copy!", 3, argument[2]);
  int64_t at = want_index(m, "string-copy!", 2, argument[1], 0, to->length);
  want_range(m, "string-copy!", argument, count, 3, from->length, &start, &end);
  if (end - start > to->length - at) {
    fail(m, "string-copy!", "there is no room for that many characters", 2, fixnum(end - start), fixnum(to->length - at));
  }
  copy_part(m, to, at, from, start, end);
  return V_UNSPECIFIED;
}
static value p_string_fill(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_mutable_string(m, "string-fill!", 1, argument[0]);
  uint32_t c = want_char(m, "string-fill!", 2, argument[1]);
  want_range(m, "string-fill!", argument, count, 2, s->length, &start, &end);
  for (int64_t i = start; i < end; i++) {
    string_put(m, s, i, c);
  }
  return V_UNSPECIFIED;
}

// ---- Lists and vectors.
static value p_string_to_list(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "string->list", 1, argument[0]);
  want_range(m, "string->list", argument, count, 1, s->length, &start, &end);
  value made = V_NULL;
  for (int64_t i = end; i > start; i--) {
    made = cons(m, character(string_get(s, i - 1)), made);
  }
  return made;
}
static value p_list_to_string(machine *m, value *argument, int count) {
  int64_t length = proper_length(argument[0]);
  uint32_t all = 0;
  value at = argument[0];
  if (length < 0) {
    fail_type(m, "list->string", 1, "list of characters", argument[0]);
  }
  for (int64_t n = 0; n < length && is_pair(at); n++, at = cdr(at)) {
    all |= want_char(m, "list->string", 1, car(at));
  }
  value made = new_string_of(m, length, all >= 0x100);
  at = argument[0];
  int64_t i = 0;
  for (; i < length && is_pair(at) && is_char(car(at)); i++, at = cdr(at)) {
    string_put(m, OBJECT_(string, made), i, char_of(car(at)));
  }
  return i == length ? made : string_part(m, made, 0, i); // another thread has changed the list
}
static value p_string_to_vector(machine *m, value *argument, int count) {
  int64_t start, end;
  string *s = want_string(m, "string->vector", 1, argument[0]);
  want_range(m, "string->vector", argument, count, 1, s->length, &start, &end);
  value made = new_vector(m, end - start, V_FALSE);
  for (int64_t i = start; i < end; i++) {
    OBJECT_(vector, made)->item[i - start] = character(string_get(s, i));
  }
  return made;
}
static value p_vector_to_string(machine *m, value *argument, int count) {
  int64_t start, end;
  vector *v = want_vector(m, "vector->string", 1, argument[0]);
  want_range(m, "vector->string", argument, count, 1, v->length, &start, &end);
  value made = new_string_of(m, end - start, false);
  for (int64_t i = start; i < end; i++) {
    string_put(m, OBJECT_(string, made), i - start, want_char(m, "vector->string", 1, v->item[i]));
  }
  return made;
}

// ---- Symbols.
static value name_of(machine *m, const char *who, int position, value v) {
  check_kind(m, who, position, "symbol", v, KIND_SYMBOL);
  return OBJECT_(symbol, v)->name;
}
static value p_is_symbol(machine *m, value *argument, int count) { return boolean(is_kind(argument[0], KIND_SYMBOL)); }
static value p_symbol_to_string(machine *m, value *argument, int count) { return name_of(m, "symbol->string", 1, argument[0]); }
static value p_string_to_symbol(machine *m, value *argument, int count) {
  want_string(m, "string->symbol", 1, argument[0]);
  return intern_string(m, argument[0]);
}
static value p_symbol_equal(machine *m, value *argument, int count) {
  bool same = true;
  for (int i = 0; i < count; i++) {
    name_of(m, "symbol=?", i + 1, argument[i]);
    same &= argument[i] == argument[0];
  }
  return boolean(same);
}
static value p_symbol_less(machine *m, value *argument, int count) {
  bool less = true;
  for (int i = 0; i < count; i++) {
    name_of(m, "symbol<?", i + 1, argument[i]);
    less &= i == 0 || compare_strings(OBJECT_(string, OBJECT_(symbol, argument[i - 1])->name), OBJECT_(string, OBJECT_(symbol, argument[i])->name)) < 0;
  }
  return boolean(less);
}
static value p_symbol_append(machine *m, value *argument, int count) {
  value names = new_vector(m, count, V_FALSE);
  for (int i = 0; i < count; i++) {
    OBJECT_(vector, names)->item[i] = name_of(m, "symbol-append", i + 1, argument[i]);
  }
  return intern_string(m, append_all(m, "symbol-append", OBJECT_(vector, names)->item, count));
}

const primitive_entry primitives_strings[] = {
    {"string?", p_is_string, 1, 1}, {"make-string", p_make_string, 1, 2}, {"string", p_string, 0, -1}, {"string-length", p_string_length, 1, 1},
    {"string-ref", p_string_ref, 2, 2}, {"string-set!", p_string_set, 3, 3}, {"string-null?", p_is_null, 1, 1}, {"string=?", p_equal, 1, -1},
    {"string<?", p_less, 1, -1}, {"string>?", p_greater, 1, -1}, {"string<=?", p_less_equal, 1, -1}, {"string>=?", p_greater_equal, 1, -1},
    {"string-ci=?", p_ci_equal, 1, -1}, {"string-ci<?", p_ci_less, 1, -1}, {"string-ci>?", p_ci_greater, 1, -1}, {"string-ci<=?", p_ci_less_equal, 1, -1},
    {"string-ci>=?", p_ci_greater_equal, 1, -1}, {"substring", p_substring, 2, 3}, {"string-copy", p_string_copy, 1, 3}, {"string-head", p_string_head, 2, 2},
    {"string-tail", p_string_tail, 2, 2}, {"string-append", p_string_append, 0, -1}, {"string-copy!", p_string_copy_to, 3, 5},
    {"string-fill!", p_string_fill, 2, 4}, {"string->list", p_string_to_list, 1, 3}, {"list->string", p_list_to_string, 1, 1},
    {"string->vector", p_string_to_vector, 1, 3}, {"vector->string", p_vector_to_string, 1, 3}, {"string-upcase", string_upcase, 1, 1},
    {"string-downcase", string_downcase, 1, 1}, {"string-foldcase", string_foldcase, 1, 1}, {"string-search-forward", string_search_forward, 2, 3},
    {"string-search-backward", string_search_backward, 2, 3}, {"string-search-all", string_search_all, 2, 2}, {"string-contains", string_contains, 2, 3},
    {"%string-index", string_index, 2, 4}, {"%string-rindex", string_rindex, 2, 4}, {"string-join", string_join, 1, 2}, {"%string-split", string_split, 2, 2},
    {"string-pad-left", string_pad_left, 2, 3}, {"string-pad-right", string_pad_right, 2, 3}, {"string-trim", string_trim, 1, 1},
    {"string-trim-both", string_trim, 1, 1}, {"string-trim-left", string_trim_left, 1, 1}, {"string-trim-right", string_trim_right, 1, 1},
    {"string-reverse", string_reverse, 1, 3}, {"string-prefix?", string_is_prefix, 2, 2}, {"string-suffix?", string_is_suffix, 2, 2},
    {"symbol?", p_is_symbol, 1, 1}, {"symbol->string", p_symbol_to_string, 1, 1}, {"string->symbol", p_string_to_symbol, 1, 1},
    {"intern", p_string_to_symbol, 1, 1}, {"symbol=?", p_symbol_equal, 1, -1}, {"symbol<?", p_symbol_less, 1, -1}, {"symbol-append", p_symbol_append, 0, -1},
    {NULL, NULL, 0, 0}};
