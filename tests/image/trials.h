// SPDX-License-Identifier: MIT
// trials.h: what the trials share. They run on an image that was built with one addition: it can be told to break a rule, and its memory can fail (memory.c).

#ifndef TESTS_IMAGE_TRIALS_H
#define TESTS_IMAGE_TRIALS_H

#include "runtime/image/inner.h"
#include "tests/image/disk.h"
#include "tests/image/model.h"

// ---- memory.c: what the image allocates.

extern unsigned memory_calls, memory_fail_at; // the n-th call from the start fails; 0: none
extern size_t memory_largest, memory_now, memory_most;

// ---- trials.c

extern uint64_t seed;
extern bool long_run;
// Says what was found, counts it, and goes on; after `found_most` of them the trial ends.
void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned found_count;
enum { FOUND_MOST = 10 };
static inline bool enough(void) { return found_count >= FOUND_MOST; }

// ---- story.c: what happens to one file.

enum { STORY_VERSIONS = 16 };
#define STORY_PATH "heap.veil"

typedef struct story {
  disk *d;
  random_state random;
  rt_image_options options;
  rt_image_layout layout;
  model model[STORY_VERSIONS]; // of each version, once it is begun
  struct {
    size_t begun, acknowledged; // notes there were then; SIZE_MAX: not yet
  } version[STORY_VERSIONS];
  unsigned last;      // acknowledged
  rt_image_writer *w; // open, or NULL
  veil_status status; // of what went wrong first
  char error[600];
} story;

void story_begin(story *s, uint64_t seed, rt_image_codec codec, uint32_t page_size);
// Creates the file, three increments (and one given up), opens it again, compacts it, two more increments. False: something failed.
bool story_run(story *s);
void story_end(story *s);
// Opens the file for increments. False: failed.
bool story_append(story *s);
// One increment, and its commit.
bool story_increment(story *s, unsigned pages);
// Compacts the file, which is not open.
bool story_compact(story *s);
void story_close(story *s);
// What the file on this disk must be when it had `at` notes: one of the versions that may be there, whole. NULL, or what is wrong; *version is the one that was
// found (0: no file).
const char *story_check(const story *s, disk *d, size_t at, unsigned *version);
// Goes on from what is on the disk: opens it, one increment. NULL, or what is wrong.
const char *story_recovers(const story *s, disk *d, unsigned version);

// ---- The trials.

void trial_crash(unsigned one_in);
void trial_kill(unsigned one_in);
void trial_fail(void);
void trial_memory(void);
void trial_flips(unsigned one_in);
void trial_random(unsigned steps);
void trial_fuzz(unsigned seconds);

#endif
