// SPDX-License-Identifier: MIT
// memory.h: where objects come from: the one place in which the three builds differ.
//
//   veil     objects move and are collected; loads and stores are plain, nothing is ever freed
//   libgc    the same on Debian's Boehm collector
//   malloc   nothing is collected: what the interpreter costs without a collector
//
// There are two kinds of objects. Each begins with a header, a word that is no reference. Then come slots, which are values, or words that can never be taken
// for the
// address of an object (odd words, small numbers). Or it is a leaf, which holds no references at all.
//
// The three headers define memory_self, the thread's own part, and inline:
//   memory_new(self, type, slots)       zeroed; NULL if memory is out
//   memory_new_leaf(self, type, bytes)  `bytes` in all; not zeroed; NULL if memory is out
//   memory_block_begin(self), memory_block_end(self)  around what may block and touches no object; both in one function
// `type` is a kind, or one of the two below.

#ifndef SCHEME_MEMORY_H
#define SCHEME_MEMORY_H

#include <pthread.h>
#include <time.h>
#include "scheme.h"

enum { MEMORY_PAIR = KIND_OTHER + 1, MEMORY_FLONUM, MEMORY_TYPES };
extern const char *const memory_type_names[MEMORY_TYPES]; // heap.c

#if defined SCHEME_MEMORY_VEIL
#include "memory_veil.h"
#elif defined SCHEME_MEMORY_LIBGC
#include "memory_libgc.h"
#elif defined SCHEME_MEMORY_MALLOC
#include "memory_malloc.h"
#else
#error "one of SCHEME_MEMORY_VEIL, SCHEME_MEMORY_LIBGC, SCHEME_MEMORY_MALLOC has to be defined"
#endif

extern const char memory_name[]; // veil, libgc, malloc

// Opens the heap; `limit` in bytes, 0: the memory layer's own choice. `image`, `store`: files, or NULL. False with a message in `error`.
typedef struct memory_options {
  size_t limit;
  const char *image, *store;
} memory_options;
bool memory_open(const memory_options *options, char *error, size_t bytes);
void memory_close(void);           // no thread is attached any more
memory_self *memory_attach(void);  // the calling thread; NULL if it cannot be
void memory_detach(memory_self *self);
bool memory_add_roots(memory_self *self, void *slots, size_t count); // plain pointers outside the heap, until this thread detaches
void memory_remove_roots(memory_self *self, void *slots);
void memory_collect(memory_self *self);
void memory_reserve(bool use);     // memory is out: lets a little more be had, so that the error can be handled; or takes it back
uint64_t memory_moves(void);        // another number whenever objects may have moved
extern uint64_t memory_cycles; // atomic; changes when a collection has ended: the machine clears what its stack does not use any more

// Threads. The thread gets an object, and its result is one.
typedef void *memory_thread_fn(memory_self *self, void *object);
int memory_thread_start(memory_self *self, pthread_t *out, memory_thread_fn *fn, void *object); // 0 or an error number
int memory_thread_join(memory_self *self, pthread_t thread, void **result);
void memory_lock(memory_self *self, pthread_mutex_t *lock);
int memory_wait(memory_self *self, pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until); // until may be NULL
void memory_sleep(memory_self *self, uint64_t ns);

// What only a heap that knows them can do: where memory_weakness is false none of these is called.
extern const bool memory_weakness;
void *memory_weak_new(memory_self *self, void *object); // an object that is to be kept in a slot, and is no value of the program's
void *memory_weak_get(memory_self *self, void *weak);
void *memory_table_new(memory_self *self, bool weak_values); // keys are weak, or values; the same
void *memory_table_get(memory_self *self, void *table, void *key);
bool memory_table_put(memory_self *self, void *table, void *key, void *item);
bool memory_table_remove(memory_self *self, void *table, void *key);
size_t memory_table_count(memory_self *self, void *table);
void **memory_table_entries(memory_self *self, void *table, size_t *count); // key, item, key, ... : `count` words
typedef void memory_finalizer(memory_self *self, void *object, void *data);
bool memory_finalize(memory_self *self, void *object, memory_finalizer *fn, void *data);
size_t memory_finalizers_run(memory_self *self, size_t most);

// Files. False with a message in `error`.
extern const bool memory_saves;
bool memory_save(memory_self *self, const char *path, char *error, size_t bytes); // all that named roots reach
bool memory_commit(memory_self *self, char *error, size_t bytes);                 // to the store
bool memory_dump(memory_self *self, const char *path, char *error, size_t bytes); // for veil-heap
bool memory_root_set(memory_self *self, const char *name, void *object);
void *memory_root_get(memory_self *self, const char *name);

typedef struct memory_figure {
  const char *name;
  uint64_t number;
} memory_figure;
enum { MEMORY_FIGURES = 16 };
int memory_figures(memory_self *self, memory_figure *out); // up to MEMORY_FIGURES
uint64_t memory_peak(void);            // bytes of RAM, what is mapped twice counted once
const char *memory_back_end(void);

#endif
