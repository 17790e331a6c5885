// SPDX-License-Identifier: MIT
// transient.h: what the files of store_transient share: types, what has to be there, and processes that open the heap.

#ifndef TESTS_STORE_TRANSIENT_H
#define TESTS_STORE_TRANSIENT_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/runtime/test.h"
#include "veil/store.h"

enum { SKIPPED = 77, RECORDS = 24, SLOTS = 17, SIZES = 3 };

#define OK(CALL) ((CALL) == VEIL_OK ? (void)0 : (fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #CALL, veil_error()), abort()))

// ---- Types. A tagged word is a pointer if its low three bits are 1; 2 says a number.

static const veil_encoding tags = {1 << 1, 0, 0};

typedef struct token {
  long number;
  char more[24];
} token;
VEIL_LEAF(VEIL_TRANSIENT(token));

typedef struct view {
  node *kept;
  struct view *next;
  long number, more;
} view;
VEIL_TYPE(VEIL_TRANSIENT(view), kept, next);

typedef struct pool {
  long number;
  token *token;
  view *slot[];
} pool;
VEIL_TYPE_FLEXIBLE(VEIL_TRANSIENT(pool), slot, token);

typedef struct item {
  void *plain, *cache, *more;
  long number;
} item;
VEIL_TYPE(item, plain, VEIL_TRANSIENT(cache), more);

typedef struct words {
  uint64_t plain, cache;
} words;
VEIL_TYPE_TAGGED(words, &tags, plain, VEIL_TRANSIENT(cache));

typedef struct shelf {
  long number;
  void *plain, *cache, *slot[];
} shelf;
VEIL_TYPE_FLEXIBLE(shelf, VEIL_TRANSIENT(slot), plain, VEIL_TRANSIENT(cache));

typedef struct board {
  size_t count;
  void *slot[];
} board;
void board_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit, veil_visitor *visitor);
VEIL_TYPE_FLEXIBLE_TRACE(board, board_trace, slot);

typedef struct record {
  item *item;
  words *words;
  shelf *shelf;
  board *board;
  void **array;
  long unused;
} record;
VEIL_TYPE(record, item, words, shelf, board, array);

enum { TYPES = 9 };
extern veil_type *const types[TYPES];
// ---- What has to be there (store_transient.c).

typedef enum kind { NOTHING, LIST, NUMBER, TOKEN, VIEW, POOL } kind; // from TOKEN on they are transient
typedef struct value {
  kind kind;
  long number; // of a list: its length
} value;
typedef struct model {
  unsigned size[RECORDS];
  value at[RECORDS][SLOTS];
} model;
typedef struct shared {
  model now, saved;
  uint64_t dice;
  bool made; // it was saved at all
} shared;

extern shared *s;
extern const char *back_end;
extern unsigned rounds; // of the long stories
extern char path[120];
extern veil_store *store;
extern veil_heap *heap;
extern veil_thread *self;

uint64_t dice(uint64_t sides);
record *record_at(unsigned i);
void value_set(unsigned record, unsigned n, value v);
void change(unsigned changes);
void check(void);
void model_reopen(void); // what is transient is not there any more

// ---- Processes.

veil_options options_of(void);
void store_begin(void);
void store_shut(void);
void first_time(void); // makes the records, or looks at them
void close_or_die(void (*shut)(void));
void aparts(void (*fn)(void)); // in a process of its own, which may be killed
extern bool knows_all;
void store_life(void);
void files_remove(void); // of the store

// ---- Trials (store_transient_cases.c).

void trial_quiet(void);
void trial_outside(void);
void trial_refuse(void);
void trial_section(void);
void trial_late(void);

#endif
