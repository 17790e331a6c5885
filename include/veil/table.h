// SPDX-License-Identifier: MIT
// veil/table.h: weak tables: something about an object, kept beside it, without holding it.
//
//   veil_table *names = veil_table_new(self, VEIL_WEAK_KEYS); // an object itself: keep it where you keep objects
//   veil_table_put(self, names, window, title);
//   ...
//   title = veil_table_get(self, names, window);              // as long as the window lives; then the entry is gone
//
// Keys are compared by identity. Entries lie outside of the heap: 48 bytes each, and 4 to 8 for the index, which grows step by step. They cost a flip nothing,
// however many there are, and a minor cycle something only for what is young; a major cycle looks at each at its end, in the background. A key takes
// 16 bytes more once it has moved (veil_hash).
//
// `table`, `key` and `value` are starts of objects of this heap. Calls abort if they are not. They are for attached threads that are not
// between brackets, any number of them at a time on the same table, and not for signal handlers.

#ifndef VEIL_TABLE_H
#define VEIL_TABLE_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// How long an entry is there, if nobody removes it, and what it holds meanwhile. None does once its table is dead.
typedef enum veil_table_kind {
  VEIL_WEAK_KEYS = 1, // as long as the key lives; holds the value, even where that refers to the key (ephemerons)
  VEIL_WEAK_VALUES,   // as long as the value lives; holds the key
  VEIL_WEAK_BOTH      // as long as both live; holds neither
} veil_table_kind;

// An object that stands for a table. It is collected like any other, and the table with it.
typedef struct veil_table veil_table;

// A table. NULL if memory is out (option oom=null), or if there are too many tables or links, millions in heaps that are not small (veil_error). Owning thread.
veil_table *veil_table_new(veil_thread *self, veil_table_kind kind);

// What stands beside `key`, or NULL. Owning thread.
void *veil_table_get(veil_thread *self, veil_table *table, void *key);

// Puts `value` there, in place of what is. VEIL_NO_MEMORY, and nothing changes, if all tables together have too many entries: 67 million, or one for each 32 bytes of the heap's limit (veil_error). Owning thread.
veil_status veil_table_put(veil_thread *self, veil_table *table, void *key, void *value);

// Takes the entry away. False if there was none. Owning thread.
bool veil_table_remove(veil_thread *self, veil_table *table, void *key);

// How many entries there are, with those that go at the end of this cycle. Owning thread.
size_t veil_table_count(veil_thread *self, veil_table *table);

// An array (veil_new_pointers) of all entries, in no order: a key, its value, the next key … What is added meanwhile may be missing, and where
// something has gone meanwhile the array ends with NULLs. From here on the array holds them. NULL if memory is out (option oom=null). Owning thread.
void **veil_table_entries(veil_thread *self, veil_table *table);

#ifdef __cplusplus
}
#endif
#endif
