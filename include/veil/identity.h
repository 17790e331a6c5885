// SPDX-License-Identifier: MIT
// veil/identity.h: tables that are keyed by objects, which move.

#ifndef VEIL_IDENTITY_H
#define VEIL_IDENTITY_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// A number that stays with the object as long as it lives, wherever it moves; another object may have the same. All 64 bits are mixed. An object that has been asked
// takes 16 bytes more once it has moved; others pay nothing. `object` is the start of an object; aborts if it is none. Owning thread.
uint64_t veil_hash(veil_thread *self, const void *object);

// A number that is another one whenever objects may have moved, for tables that are keyed by address. Read it, then hash the addresses, then note it with the table: while
// veil_moves says the same they are good, else the table has to be made anew from its keys. What a search does not find is not there only if veil_moves still says the same
// after it (location dependencies, as in Ravenbrook's Memory Pool System). Any thread.
uint64_t veil_moves(veil_heap *heap);

#ifdef __cplusplus
}
#endif
#endif
