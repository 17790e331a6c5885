// SPDX-License-Identifier: MIT
// veil/critical.h: sections in which allocation cannot collect, and nothing moves.
//
//   veil_critical_begin(self, veil_room(node) + veil_room_bytes(100));
//   node *n = veil_new(self, node);               // neither can fail, wait, or be followed by a stop
//   n->name = veil_new_bytes(self, 100);
//   veil_critical_end(self);
//
// For code that holds what no stop may see: half-built objects of a kind whose callback cannot read them yet, addresses
// in tables, words that look like none.

#ifndef VEIL_CRITICAL_H
#define VEIL_CRITICAL_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// Begins a section in which objects of `bytes` together can be allocated: of any kind and size, in any order, counted
// as below. It collects, helps and waits for that as an allocation would; VEIL_NO_MEMORY if it is in vain (option
// oom=null), and no section has begun. In the section this thread is not stopped, no cycle begins and no object moves,
// allocation neither fails nor waits, and more than was reserved aborts, at once or when the section ends.
//
// Threads that stop the world wait for its end, and all others with them: so it has to be short. It must not wait for
// another thread, nor take a lock that a thread which stands may hold: a mutex, malloc's, a FILE's. Objects are read
// and written as ever, and may trap. Calls: allocation, veil_length, veil_hash, weak references and handles
// (veil/weak.h), weak tables (veil/table.h), what is for any thread and only reads; veil_poll does nothing; every other call of veil's aborts, also
// for another heap of this thread, and so do fork and the thread's end.
//
// Sections nest: the inner one's bytes are part of the outer one's, and it aborts if that has not so many left. The
// rest of the memory goes back at the outermost end. For up to 32 KiB a few blocks of 64 KiB are set aside meanwhile,
// for more up to four times as much, since an object of any size must find its place. Owning thread, not between
// brackets.
veil_status veil_critical_begin(veil_thread *self, size_t bytes);

// Ends the innermost section. Aborts without one.
void veil_critical_end(veil_thread *self);

// What an object counts: one T; an array of n elements of T; n bytes; one T with n elements at its end; one T, or n
// bytes, aligned. Numbers that overflow are the caller's.
#define veil_room(T) VEIL_CELL_(sizeof(T))
#define veil_room_array(T, n) VEIL_CELL_(8 + sizeof(T) * (size_t)(n))
#define veil_room_pointers(n) veil_room_array(void *, n)
#define veil_room_bytes(n) veil_room_array(char, n)
#define veil_room_flexible(T, n) VEIL_CELL_(8 + veil_flexible_bytes_(VEIL_TYPE_OF_(T), (n)))
#define veil_room_aligned(T, alignment) (veil_room(T) + (size_t)(alignment))
#define veil_room_bytes_aligned(n, alignment) (VEIL_CELL_(8 + (size_t)(n)) / 16 * 17 + 16 + (size_t)(alignment))

static inline size_t veil_flexible_bytes_(const veil_type *type, size_t n) {
  return type->fixed->offsets[0] + type->size * n;
}

#ifdef __cplusplus
}
#endif
#endif
