// SPDX-License-Identifier: MIT
// retype.h: types that came with a heap, of another process, made those of this one. Between restore.c and type.c; any thread, while a heap opens.

#ifndef RT_RETYPE_H
#define RT_RETYPE_H

#include "runtime/runtime.h"
#include "veil/hooks.h"

typedef struct rt_retyping {
  const char *source;        // for messages
  veil_type *const *program; // types that the program has named
  size_t program_count;
  uint16_t *number;          // GC_TYPES of them: by a type's number there, the one that it has here; 0: there is no such type
  bool same;                 // all are the same
} rt_retyping;

// False with the error set.
bool rt_type_restore(rt_retyping *r, const veil_type_described *described);
// After all of them: if some are called as the program's type, one has to be like it, or it is false with the error set.
bool rt_type_match(const rt_retyping *r, veil_type *type, const veil_type_described *described, size_t count);

// Veil's own types, of which objects may be.
extern veil_type rt_weak_type, rt_table_type;

#endif
