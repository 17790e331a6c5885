// SPDX-License-Identifier: MIT
// graph.h: a random graph under named roots, with circles, garbage, and objects of all sizes, and a hash of all that can be reached, which does not depend on where it lies.

#ifndef TESTS_STORE_GRAPH_H
#define TESTS_STORE_GRAPH_H

#include <stdint.h>
#include "veil/veil.h"

// Those of its types, for who opens a store.
enum { GRAPH_TYPES = 2 };
extern veil_type *const graph_types[GRAPH_TYPES];

uint64_t graph_dice(uint64_t *state);

// A number that is kept with the graph, and part of its hash; 0 at first.
uint64_t graph_number(veil_thread *self);
void graph_number_set(veil_thread *self, uint64_t number);

// So many random changes. `large`: some bring objects of up to 300 KB.
void graph_change(veil_thread *self, uint64_t *state, unsigned changes, bool large);
// A cycle, a minor cycle, or none, waited for or not.
void graph_collect(veil_thread *self, uint64_t *state);
uint64_t graph_hash(veil_thread *self);

#endif
