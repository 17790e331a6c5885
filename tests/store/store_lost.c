// SPDX-License-Identifier: MIT
// store_lost.c: a store one of whose files is not there, or another one than it was: nothing that was committed is thrown away, and what can be recovered is. And a log that somebody has made up, which names more pages than there are.

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "runtime/store/record.h"
#include "tests/store/store_trials.h"

static const size_t END = SIZE_MAX - 1;

static void must_open(story *s, shared *on) {
  MUST(story_open(s, on, false), "%s", veil_error());
  if (s->states.count == 0) {
    s->states.at[s->states.count++] = (state){story_hash(s), 0, 0};
  }
}

static void must_commit(story *s, int times) {
  for (int i = 0; i < times; i++) {
    MUST(story_commit(s, 60, true) == VEIL_OK, "%s", veil_error());
  }
}

static void name_remove(shared *on, const char *name) { MUST(on->d->io.unlink(on->d, name) == 0, "%s is not removed", name); }

static void end(story *s, shared *on) {
  if (s->store != NULL) {
    story_die(s);
  }
  disk_free(on->d);
  shared_close(on);
}

// ---- The image is gone.

static void refused(story *s, shared *on, const char *what, const char *said) {
  disk *before = disk_copy(on->d);
  if (story_open(s, on, false)) {
    found("%s: a store is made in the place of what there was", what);
    story_die(s);
  } else if (strstr(veil_error(), said) == NULL || strstr(veil_error(), LOG_PATH) == NULL) {
    found("%s: it is refused, and does not say why: %s", what, veil_error());
  }
  disk_file *was = disk_find(before, LOG_PATH), *is = disk_find(on->d, LOG_PATH);
  if (is == NULL || is->bytes != was->bytes || memcmp(is->at, was->at, is->bytes) != 0) {
    found("%s: the log has changed", what);
  }
  disk_restart(on->d);
  disk_free(before);
}

static void image_gone(bool closes, uint64_t dice) {
  static story s;
  shared on;
  s = (story){.dice = dice};
  shared_open(&on, disk_new());
  must_open(&s, &on);
  must_commit(&s, 4);
  if (closes) {
    MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
  } else {
    story_die(&s);
  }
  disk_restart(on.d);
  disk *whole = disk_copy(on.d);
  name_remove(&on, PATH);
  refused(&s, &on, "the image is gone", "may have commits");
  disk_find(on.d, LOG_PATH)->at[30] ^= 1; // of the id
  refused(&s, &on, "the image is gone, and the log's header damaged", "the header at byte 0 is damaged");
  disk_free(on.d);
  on.d = whole;
  must_open(&s, &on); // it was put back
  if (states_find(&s.states, END, story_hash(&s)) < 0) {
    found("the image was gone, and put back: another graph");
  }
  end(&s, &on);
}

// What a crash leaves while a store is made is no store, and in nobody's way.
static void log_unused(void) {
  static story s;
  shared on;
  st_log *log;
  st_log_place first = {.sequence = 1};
  s = (story){.dice = 1};
  shared_open(&on, disk_new());
  MUST(st_log_create(&log, LOG_PATH, (const uint64_t[2]){5, 6}, 1 << 20, &first, &on.io) == VEIL_OK, "%s", veil_error());
  st_log_close(log);
  if (!story_open(&s, &on, false)) {
    found("a log that was never used is in the way: %s", veil_error());
  }
  end(&s, &on);
}

// ---- The log is made anew, of another size, and a crash comes before the image says so.

// Until the log's tail is farther than the next one is long.
static void log_filled(story *s, size_t bytes) {
  while (st_log_tail(s->store->log).offset < bytes) {
    must_commit(s, 1);
  }
}

static void log_anew(size_t first_log, size_t next_log, uint64_t *dice) {
  static story s, next;
  shared on;
  s = (story){.dice = graph_dice(dice), .log = first_log};
  shared_open(&on, disk_new());
  must_open(&s, &on);
  must_commit(&s, 3);
  log_filled(&s, next_log < first_log ? next_log : first_log / 3);
  MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
  name_remove(&on, LOG_PATH);
  disk_restart(on.d);
  disk_rebase(on.d);
  s.log = next_log;
  s.states.at[0] = (state){s.states.at[s.states.count - 1].hash, 0, 0};
  s.states.count = 1;
  must_open(&s, &on);
  size_t opened = on.d->notes;
  must_commit(&s, 3);
  story_die(&s);
  for (size_t at = 0; at <= on.d->notes && !enough(); at += at < opened ? 1 : 3) {
    for (int whole = 0; whole < 3; whole++) {
      enum { PENDING = 256 };
      static disk_fate fate[PENDING];
      for (int i = 0; i < PENDING; i++) {
        fate[i] = (disk_fate){whole == 0 ? FATE_LOST : whole == 1 ? FATE_WHOLE : FATE_RANDOM, graph_dice(dice)};
      }
      shared after;
      shared_open(&after, disk_crash(on.d, at, fate, whole == 2 ? graph_dice(dice) : 0));
      next = (story){.dice = graph_dice(dice), .log = graph_dice(dice) % 2 ? next_log : first_log};
      if (!story_open(&next, &after, false)) {
        found("a log of %zu bytes after one of %zu, a crash before note %zu of %zu (opened at %zu): %s", next_log, first_log, at, on.d->notes, opened, veil_error());
      } else if (states_find(&s.states, at, story_hash(&next)) < 0) {
        found("a log of %zu bytes after one of %zu, a crash before note %zu: another graph", next_log, first_log, at);
      } else {
        next.states.at[0] = (state){story_hash(&next), 0, 0};
        next.states.count = 1;
        must_commit(&next, 2);
        story_die(&next);
        must_open(&next, &after);
        if (states_find(&next.states, END, story_hash(&next)) < 0) {
          found("a log of %zu bytes after one of %zu, a crash before note %zu, and two commits: another graph", next_log, first_log, at);
        }
      }
      end(&next, &after);
    }
  }
  printf("lost: a log of %zu bytes after one of %zu: %zu notes until it is open, %zu in all\n", next_log, first_log, opened, on.d->notes);
  end(&s, &on);
}

// ---- A record that names more pages than anybody has.

enum { SPAN_MIB = 20480, MEMORY_MIB = 60 };

static long memory_most(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// Behind the last record of a store that is not open.
static void record_append(shared *on, uint64_t first, uint64_t count, unsigned times) {
  rt_image *image;
  st_mark mark;
  st_log *log;
  MUST(rt_image_open(&image, PATH, &(rt_image_options){.io = &on->io}) == VEIL_OK && st_mark_read(image, PATH, &mark) == VEIL_OK, "%s", veil_error());
  MUST(st_log_open(&log, LOG_PATH, mark.id, mark.place, true, NULL, NULL, &on->io) == VEIL_OK, "%s", veil_error());
  uint64_t *room = (uint64_t *)(void *)st_log_room(log, times * ST_GONE_WORDS * sizeof *room);
  for (unsigned i = 0; i < times; i++) {
    st_gone_write(room + (size_t)i * ST_GONE_WORDS, first + i, count - i);
  }
  st_log_append(log, times * ST_GONE_WORDS * sizeof *room);
  MUST(st_log_write(log, NULL) == VEIL_OK, "%s", veil_error());
  st_log_close(log);
  rt_image_free(image);
}

static void gone_huge(void) {
  static story s;
  shared on;
  s = (story){.dice = seed, .reserve = (size_t)SPAN_MIB << 20};
  shared_open(&on, disk_new());
  must_open(&s, &on);
  must_commit(&s, 3);
  uint64_t pages = s.store->pages.count, top = 0;
  for (uint64_t page = 0; page < pages; page++) {
    top = veil_page_in_use(veil_store_heap(s.store), page) ? page + 1 : top;
  }
  story_die(&s);
  MUST(pages >= (uint64_t)SPAN_MIB * 256 && pages - top > pages / 4, "%llu pages, of which %llu and on are not in use", (unsigned long long)pages, (unsigned long long)top);
  record_append(&on, top, pages - top, 1000);
  disk_restart(on.d);
  long before = memory_most();
  must_open(&s, &on);
  if (memory_most() - before > MEMORY_MIB) {
    found("a record that says that %llu pages are gone takes %ld MiB", (unsigned long long)(pages - top), memory_most() - before);
  }
  if (states_find(&s.states, END, story_hash(&s)) < 0) {
    found("a record of pages that nobody has: another graph");
  }
  printf("lost: %llu pages that are gone: %ld MiB\n", (unsigned long long)(pages - top), memory_most() - before);
  must_commit(&s, 3);
  MUST(veil_store_compact(s.store) == VEIL_OK, "%s", veil_error());
  end(&s, &on);
}

void trial_lost(void) {
  uint64_t dice = seed;
  gone_huge();
  for (unsigned i = 0; i < (long_run ? 20u : 1u) && !enough(); i++) {
    image_gone(true, graph_dice(&dice));
    image_gone(false, graph_dice(&dice));
    log_unused();
    log_anew(4 << 20, 1 << 20, &dice);
    log_anew(1 << 20, 4 << 20, &dice);
  }
}
