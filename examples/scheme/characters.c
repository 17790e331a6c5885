// SPDX-License-Identifier: MIT
// characters.c: Unicode's cases and classes by compact tables (so that no locale has a say), and the primitives on characters.

#include "library.h"

typedef struct case_mapping { // first, first + step, ... last: each becomes itself + delta
  uint32_t first, last;
  int32_t step, delta;
} case_mapping;
typedef struct full_mapping {
  uint32_t from, to[3];
} full_mapping;
typedef struct range {
  uint32_t first, last;
} range;
#include "unicode_tables.h"

#define COUNT(TABLE) ((int)(sizeof(TABLE) / sizeof(TABLE)[0]))

static uint32_t map_case(uint32_t c, const case_mapping *table, int count) {
  int low = 0, high = count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (c > table[middle].last) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  bool found = low < count && c >= table[low].first && (c - table[low].first) % (uint32_t)table[low].step == 0;
  return found ? (uint32_t)((int32_t)c + table[low].delta) : c;
}
static const range *find_range(uint32_t c, const range *table, int count) {
  int low = 0, high = count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (c > table[middle].last) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && c >= table[low].first ? &table[low] : NULL;
}
static const uint32_t *find_full(uint32_t c, const full_mapping *table, int count) {
  int low = 0, high = count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (c > table[middle].from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && table[low].from == c ? table[low].to : NULL;
}

uint32_t char_up(uint32_t c) {
  if (c < 0x80) {
    return c >= 'a' && c <= 'z' ? c - 32 : c;
  }
  return map_case(c, upper_cases, COUNT(upper_cases));
}
uint32_t char_down(uint32_t c) {
  if (c < 0x80) {
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  }
  return map_case(c, lower_cases, COUNT(lower_cases));
}
uint32_t char_fold(uint32_t c) {
  if (c < 0x80) {
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  }
  return map_case(c, folded_cases, COUNT(folded_cases));
}
const uint32_t *char_up_full(uint32_t c) { return c < 0x80 ? NULL : find_full(c, upper_cases_full, COUNT(upper_cases_full)); }
const uint32_t *char_fold_full(uint32_t c) { return c < 0x80 ? NULL : find_full(c, folded_cases_full, COUNT(folded_cases_full)); }

bool char_is_alphabetic(uint32_t c) {
  if (c < 0x80) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }
  return find_range(c, alphabetic, COUNT(alphabetic)) != NULL;
}
bool char_is_upper(uint32_t c) { return c < 0x80 ? c >= 'A' && c <= 'Z' : find_range(c, upper, COUNT(upper)) != NULL; }
bool char_is_lower(uint32_t c) { return c < 0x80 ? c >= 'a' && c <= 'z' : find_range(c, lower, COUNT(lower)) != NULL; }
bool char_is_space(uint32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
         c == 0x202f || c == 0x205f || c == 0x3000;
}
int char_digit(uint32_t c) {
  if (c < 0x80) {
    return c >= '0' && c <= '9' ? (int)(c - '0') : -1;
  }
  const range *found = find_range(c, digits, COUNT(digits));
  return found == NULL ? -1 : (int)((c - found->first) % 10); // ranges of digits begin with a zero
}
bool char_is_numeric(uint32_t c) { return char_digit(c) >= 0; }

// ---- Primitives.
static value p_is_char(machine *m, value *argument, int count) { return boolean(is_char(argument[0])); }
static value p_char_to_integer(machine *m, value *argument, int count) { return fixnum(want_char(m, "char->integer", 1, argument[0])); }
static value p_integer_to_char(machine *m, value *argument, int count) {
  int64_t code = want_index(m, "integer->char", 1, argument[0], 0, 0x10ffff);
  if (code >= 0xd800 && code <= 0xdfff) {
    fail(m, "integer->char", "a surrogate is no character", 1, argument[0]);
  }
  return character((uint32_t)code);
}
static value p_char_up(machine *m, value *argument, int count) { return character(char_up(want_char(m, "char-upcase", 1, argument[0]))); }
static value p_char_down(machine *m, value *argument, int count) { return character(char_down(want_char(m, "char-downcase", 1, argument[0]))); }
static value p_char_fold(machine *m, value *argument, int count) { return character(char_fold(want_char(m, "char-foldcase", 1, argument[0]))); }
static value p_is_alphabetic(machine *m, value *argument, int count) { return boolean(char_is_alphabetic(want_char(m, "char-alphabetic?", 1, argument[0]))); }
static value p_is_numeric(machine *m, value *argument, int count) { return boolean(char_is_numeric(want_char(m, "char-numeric?", 1, argument[0]))); }
static value p_is_whitespace(machine *m, value *argument, int count) { return boolean(char_is_space(want_char(m, "char-whitespace?", 1, argument[0]))); }
static value p_is_upper(machine *m, value *argument, int count) { return boolean(char_is_upper(want_char(m, "char-upper-case?", 1, argument[0]))); }
static value p_is_lower(machine *m, value *argument, int count) { return boolean(char_is_lower(want_char(m, "char-lower-case?", 1, argument[0]))); }
static value p_digit_value(machine *m, value *argument, int count) {
  int digit = char_digit(want_char(m, "digit-value", 1, argument[0]));
  return digit < 0 ? V_FALSE : fixnum(digit);
}
static value p_char_to_digit(machine *m, value *argument, int count) {
  uint32_t c = want_char(m, "char->digit", 1, argument[0]);
  int64_t radix = is_given(argument, count, 1) ? want_index(m, "char->digit", 2, argument[1], 2, 36) : 10;
  int digit = c < 0x80 && char_is_alphabetic(c) ? (int)char_down(c) - 'a' + 10 : char_digit(c);
  return digit >= 0 && digit < radix ? fixnum(digit) : V_FALSE;
}
static value p_digit_to_char(machine *m, value *argument, int count) {
  int64_t radix = is_given(argument, count, 1) ? want_index(m, "digit->char", 2, argument[1], 2, 36) : 10;
  int64_t digit = want_index(m, "digit->char", 1, argument[0], 0, 35);
  return digit < radix ? character((uint32_t)(digit < 10 ? '0' + digit : 'a' + digit - 10)) : V_FALSE;
}

// order: what must hold between each two neighbours: -2 <, -1 <=, 0 =, 1 >=, 2 >.
static value compare_chars(machine *m, const char *who, value *argument, int count, int order, bool fold) {
  bool holds = true;
  uint32_t last = want_char(m, who, 1, argument[0]);
  last = fold ? char_fold(last) : last;
  for (int i = 1; i < count; i++) {
    uint32_t next = want_char(m, who, i + 1, argument[i]);
    next = fold ? char_fold(next) : next;
    holds &= order == 0 ? last == next : order == -2 ? last < next : order == -1 ? last <= next : order == 1 ? last >= next : last > next;
    last = next;
  }
  return boolean(holds);
}
static value p_char_equal(machine *m, value *argument, int count) { return compare_chars(m, "char=?", argument, count, 0, false); }
static value p_char_less(machine *m, value *argument, int count) { return compare_chars(m, "char<?", argument, count, -2, false); }
static value p_char_greater(machine *m, value *argument, int count) { return compare_chars(m, "char>?", argument, count, 2, false); }
static value p_char_less_equal(machine *m, value *argument, int count) { return compare_chars(m, "char<=?", argument, count, -1, false); }
static value p_char_greater_equal(machine *m, value *argument, int count) { return compare_chars(m, "char>=?", argument, count, 1, false); }
static value p_char_ci_equal(machine *m, value *argument, int count) { return compare_chars(m, "char-ci=?", argument, count, 0, true); }
static value p_char_ci_less(machine *m, value *argument, int count) { return compare_chars(m, "char-ci<?", argument, count, -2, true); }
static value p_char_ci_greater(machine *m, value *argument, int count) { return compare_chars(m, "char-ci>?", argument, count, 2, true); }
static value p_char_ci_less_equal(machine *m, value *argument, int count) { return compare_chars(m, "char-ci<=?", argument, count, -1, true); }
static value p_char_ci_greater_equal(machine *m, value *argument, int count) { return compare_chars(m, "char-ci>=?", argument, count, 1, true); }

const primitive_entry primitives_characters[] = {
    {"char?", p_is_char, 1, 1}, {"char->integer", p_char_to_integer, 1, 1}, {"integer->char", p_integer_to_char, 1, 1}, {"char-upcase", p_char_up, 1, 1},
    {"char-downcase", p_char_down, 1, 1}, {"char-foldcase", p_char_fold, 1, 1}, {"char-titlecase", p_char_up, 1, 1},
    {"char-alphabetic?", p_is_alphabetic, 1, 1}, {"char-numeric?", p_is_numeric, 1, 1}, {"char-whitespace?", p_is_whitespace, 1, 1},
    {"char-upper-case?", p_is_upper, 1, 1}, {"char-lower-case?", p_is_lower, 1, 1}, {"digit-value", p_digit_value, 1, 1},
    {"char->digit", p_char_to_digit, 1, 2}, {"digit->char", p_digit_to_char, 1, 2}, {"char=?", p_char_equal, 1, -1}, {"char<?", p_char_less, 1, -1},
    {"char>?", p_char_greater, 1, -1}, {"char<=?", p_char_less_equal, 1, -1}, {"char>=?", p_char_greater_equal, 1, -1}, {"char-ci=?", p_char_ci_equal, 1, -1},
    {"char-ci<?", p_char_ci_less, 1, -1}, {"char-ci>?", p_char_ci_greater, 1, -1}, {"char-ci<=?", p_char_ci_less_equal, 1, -1},
    {"char-ci>=?", p_char_ci_greater_equal, 1, -1}, {NULL, NULL, 0, 0}};
