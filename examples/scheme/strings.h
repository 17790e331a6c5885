// SPDX-License-Identifier: MIT
// strings.h: what strings.c's table names in strings_text.c.

#ifndef SCHEME_STRINGS_H
#define SCHEME_STRINGS_H

#include "library.h"

string *want_mutable_string(machine *m, const char *who, int position, value v);
primitive_fn string_upcase, string_downcase, string_foldcase, string_search_forward, string_search_backward, string_search_all, string_contains, string_index,
    string_rindex, string_join, string_split, string_pad_left, string_pad_right, string_trim, string_trim_left, string_trim_right, string_reverse,
    string_is_prefix, string_is_suffix;

#endif
