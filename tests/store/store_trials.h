// SPDX-License-Identifier: MIT
// store_trials.h: what the trials of stores share: a disk in memory that several threads use, and a story of commits on it.

#ifndef TESTS_STORE_STORE_TRIALS_H
#define TESTS_STORE_STORE_TRIALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/store/inner.h"
#include "tests/image/disk.h"
#include "tests/store/graph.h"
#include "tests/store/states.h"

#define PATH "/heap.veil"
#define LOG_PATH "/heap.veil.log"

// ---- store_trials.c

extern uint64_t seed;
extern bool long_run;
extern const char *back_end;
// Says what was found, and counts it.
void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned found_count;
enum { FOUND_MOST = 10 };
static inline bool enough(void) { return found_count >= FOUND_MOST; }
// A trial that cannot go on aborts.
#define MUST(CONDITION, ...)                                                                                                                                   \
  ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #CONDITION), fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"), abort()))

// ---- store_disk.c: a disk, and its calls one at a time.

typedef struct shared {
  rt_image_io io;
  disk *d;
  pthread_mutex_t lock;
  int full; // if not 0, an errno: what would make a file longer fails so
  unsigned slow; // us that a write takes of a thread that did not open it: folds take their time, and commits go on beside them
  pthread_t quick;
} shared;

void shared_open(shared *s, disk *d);
void shared_close(shared *s); // the disk is left
void shared_slow(shared *s, unsigned us);
void shared_full(shared *s, int error); // from now on what makes a file longer fails with this; 0: there is room
size_t shared_notes(shared *s);
// Reads of other threads, and of this one when it is false, do not fail and are not counted: a page that cannot be read ends the process, as it should.
extern __thread bool shared_reads_may_fail;

// ---- store_story.c

typedef struct story {
  shared *on;
  uint64_t dice;
  unsigned compact; // the option
  size_t log, reserve; // options; 0: a log of 1 MiB, and what is usual
  states states;
  veil_store *store;
  veil_thread *self;
} story;

// Opens the store on that disk. False with the error set. `elsewhere`: at another address.
bool story_open(story *s, shared *on, bool elsewhere);
// Read-only.
bool story_open_to_read(story *s, shared *on);
// As the process dies: nothing of what is not written yet is.
void story_die(story *s);
veil_status story_close(story *s);
uint64_t story_hash(story *s);
// Changes, of about so many objects, and a commit of them, which is noted.
veil_status story_commit(story *s, unsigned changes, bool large);
// The store is made, or opened, so many commits, closed, `times` times.
void story_run(story *s, shared *on, unsigned times, unsigned commits);

// ---- store_crash.c

// A crash before note `at` of the story's disk: looks at what may be left, goes on from there, and crashes once more.
void story_crash(const story *s, size_t at, uint64_t *dice);

// ---- The trials.

void trial_crash(void);
void trial_fail(void);
void trial_full(void);
void trial_unsure(void);
void trial_flips(void);
void trial_gone(void);
void trial_overlap(void);
void trial_back(void);
void trial_compact(void);
void trial_lost(void);
void trial_each(void);
void trial_moves(void);
void trial_fuzz(void);

#endif
