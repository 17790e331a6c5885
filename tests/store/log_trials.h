// SPDX-License-Identifier: MIT
// log_trials.h: what the trials of logs share. They run on a log that was built with one addition: it can be told to break a rule, and its memory can fail
// (tests/image/memory.c).

#ifndef TESTS_STORE_LOG_TRIALS_H
#define TESTS_STORE_LOG_TRIALS_H

#include "runtime/store/log_inner.h"
#include "tests/image/disk.h"
#include "tests/image/model.h"

extern unsigned memory_calls, memory_fail_at; // tests/image/memory.c: the n-th call from the start fails; 0: none
extern size_t memory_now;

// ---- log_trials.c

extern uint64_t seed;
extern bool long_run;
// Says what was found, counts it, and goes on; after `FOUND_MOST` of them the trial ends.
void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned found_count;
enum { FOUND_MOST = 10 };
static inline bool enough(void) { return found_count >= FOUND_MOST; }

// ---- log_story.c: what happens to one log.

enum { STORY_BYTES = ST_LOG_MIN, STORY_RECORDS = 400, STORY_HEADS = 100 };
#define STORY_PATH "heap.veil.log"
extern const uint64_t story_id[2];

typedef struct story_record {
  uint32_t size, seed;
  st_log_place place;
  size_t begun, acknowledged; // notes there were when it was written, and when it was said to be durable; SIZE_MAX: not yet
} story_record;

typedef struct story {
  disk *d;
  random_state random;
  st_log *log;
  story_record record[STORY_RECORDS]; // number 1 is at 1
  uint64_t last;                      // that was appended
  uint64_t written;                   // that a write was begun for
  struct {
    size_t notes;
    st_log_place place;
  } head[STORY_HEADS];
  unsigned heads;
  size_t created;     // notes when the file was said to be there
  veil_status status; // of what went wrong first
  char error[600];
} story;

// Fills a record; some seeds have the same bytes in long runs.
void story_fill(uint32_t seed, char *to, size_t size);
// NULL, or how it differs.
const char *story_bytes_differ(uint32_t seed, const char *bytes, size_t size);

void story_begin(story *s, uint64_t seed);
void story_close(story *s);
void story_end(story *s);
// False: something failed. The error is noted.
bool story_create(story *s);
// Opens it for writing: what is found becomes what there is.
bool story_open(story *s);
// Appends a record, and advances the head before if that is needed.
bool story_append(story *s, uint32_t size, uint32_t seed);
bool story_write(story *s);
bool story_advance(story *s, uint64_t number); // before which nothing is needed
// Creates, and so many rounds of everything.
bool story_run(story *s, unsigned rounds);
// What the log on this disk must have when the story's had `at` notes. NULL, or what is wrong; *last is the last record that is there.
const char *story_check(const story *s, disk *d, size_t at, uint64_t *last);

// The story goes on from what is on a disk after a crash, of which records to `last` are: `next` is empty before, and gets the disk.
void story_follow(story *next, const story *s, disk *d, size_t at, uint64_t last);

// ---- The trials.

void trial_crash(unsigned one_in);
void trial_turn(unsigned one_in);
void trial_new(unsigned one_in);
void trial_kill(unsigned one_in);
void trial_fail(void);
void trial_memory(void);
void trial_random(unsigned steps);
void trial_flips(unsigned one_in);
void trial_header(unsigned one_in);
void trial_hostile(unsigned rounds);
void trial_threads(unsigned records);

#endif
