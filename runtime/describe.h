// SPDX-License-Identifier: MIT
// describe.h: types as descriptions have them, between describe.c and restore.c.

#ifndef RT_DESCRIBE_H
#define RT_DESCRIBE_H

#include "gc/object.h"
#include "veil/hooks.h"

// veil_type_described.flags: the layout, and these.
enum {
  RT_TYPE_LAYOUT = 0xff,
  RT_TYPE_TAGGED = 1 << 8, // `encoding` counts
  RT_TYPE_SIZED = 1 << 9,  // gc_type.sized
  RT_TYPE_TRANSIENT = 1 << 10, // gc_type.transient
  RT_TYPE_FLAGS = RT_TYPE_LAYOUT | RT_TYPE_TAGGED | RT_TYPE_SIZED | RT_TYPE_TRANSIENT,
};

// The strings and offsets are the type's.
void rt_type_describe(unsigned number, const gc_type *type, veil_type_described *out);

#endif
