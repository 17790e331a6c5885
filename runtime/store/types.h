// SPDX-License-Identifier: MIT
// types.h: types and named roots as bytes, in words: for records, and to see whether they have changed.
//
// Neighbours: commit.c, open.c, fold.c. Any thread. NULL: no memory, or, of what is decoded, that it makes no sense.

#ifndef RT_STORE_TYPES_H
#define RT_STORE_TYPES_H

#include <stddef.h>
#include "veil/hooks.h"

// To be freed; *size in bytes.
void *st_types_encode(const veil_type_described *types, size_t count, size_t *size);
void *st_roots_encode(const veil_root_described *roots, size_t count, size_t *size);
// To be freed; what they point to lies in `bytes`, which are aligned to 8 and end with one more that is zero.
veil_type_described *st_types_decode(const void *bytes, size_t size, size_t *count);
veil_root_described *st_roots_decode(const void *bytes, size_t size, size_t *count);

#endif
