// SPDX-License-Identifier: MIT
// keeper.c: the thread that looks, decides, and has pages compressed.
//
// Its priority is the program's own, and each of its steps takes microseconds: who touches a page waits for it while that page's memory is given back (cx.nobody-waits). Neighbours: sampler.c, control.c, mover.c, packer.c.

#include <math.h>
#include <string.h>
#include <time.h>
#include "runtime/compress/compressor.h"

enum {
  TICK_MS = 1000,
  REPAIR_BYTES = 4 << 20,
  STEPS = 64,
  FRESH_LEAST = 64, // pages that are worth a cycle …
  FRESH_SHARE = 32  // … and the part of all
};

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- Slots.

static cx_slot *slot_free(veil_compressor *c) {
  cx_slot *free = NULL;
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < CX_SLOTS && free == NULL; i++) {
    free = c->slot[i].stage == CX_FREE ? &c->slot[i] : NULL;
  }
  pthread_mutex_unlock(&c->lock);
  return free;
}

static void slot_give(veil_compressor *c, cx_slot *slot) {
  pthread_mutex_lock(&c->lock);
  slot->worth = false;
  slot->stage = CX_GIVEN;
  c->given++;
  c->out++;
  pthread_cond_signal(&c->wakes_packers);
  pthread_mutex_unlock(&c->lock);
}

// Ends what packers have done, if it is `least` slots or more.
static void slots_end(veil_compressor *c, size_t least) {
  cx_slot *done[CX_SLOTS];
  size_t count = 0;
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < CX_SLOTS; i++) {
    if (c->slot[i].stage == CX_DONE) {
      done[count++] = &c->slot[i];
    }
  }
  pthread_mutex_unlock(&c->lock);
  if (count < least || count == 0) {
    return;
  }
  c->made += cx_end(c, done, count);
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < count; i++) {
    done[i]->stage = CX_FREE;
  }
  c->done -= (unsigned)count;
  pthread_mutex_unlock(&c->lock);
  c->out -= (unsigned)count;
}

// ---- Passes.

static void pass_begin(veil_compressor *c, unsigned age) {
  c->at = 0;
  c->pass_age = age;
  c->passing = age < CX_NEVER;
}

// Goes on with a pass for some pages. It is over when all are taken that are to be, or there is no slot.
static void pass_step(veil_compressor *c) {
  unsigned taken = 0;
  unsigned looked = 0; // some, then other things are looked at
  while ((c->at = cx_known_next(c, c->at)) < c->high && looked++ < STEPS << 8 && taken < STEPS && c->out < CX_SLOTS) {
    size_t page = c->at++;
    if (!cx_wanted(c, page, c->pass_age)) {
      continue;
    }
    cx_slot *slot = slot_free(c);
    if (slot == NULL) {
      c->at--;
      return;
    }
    taken++;
    if (cx_take(c, slot, page)) {
      slot_give(c, slot);
    }
  }
  c->passing = c->at < c->high;
}

// ---- Intervals.

static unsigned threshold_of(const veil_compressor *c) { return c->fixed != 0 ? c->fixed : c->control.threshold; }

static void promotions_note(veil_compressor *c, uint64_t promoted) {
  c->minute[c->minute_at] = c->control.working_set < 1 ? 0 : (double)promoted / c->control.working_set;
  c->minute_at = (c->minute_at + 1) % (sizeof c->minute / sizeof *c->minute);
  c->minutes += c->minutes < sizeof c->minute / sizeof *c->minute;
}

static double promotions_per_minute(const veil_compressor *c) {
  unsigned most = sizeof c->minute / sizeof *c->minute, wanted = 600000 / c->options.interval_ms, n = c->minutes < wanted ? c->minutes : wanted;
  double sum = 0;
  for (unsigned i = 1; i <= n; i++) {
    sum += c->minute[(c->minute_at + most - i) % most];
  }
  return n == 0 ? 0 : sum * 60000 / (n * (double)c->options.interval_ms);
}

static const veil_compress_reason reasons[] = {[CX_WARMING] = VEIL_COMPRESS_WARMING, [CX_PAST] = VEIL_COMPRESS_PAST, [CX_LAST] = VEIL_COMPRESS_LAST, [CX_LEAST] = VEIL_COMPRESS_LEAST,
                                               [CX_OVERDRAWN] = VEIL_COMPRESS_OVERDRAWN};

static void interval_stats(veil_compressor *c) {
  unsigned threshold = threshold_of(c);
  uint64_t in_use = 0, cold = 0;
  for (unsigned a = 0; a < CX_AGES; a++) {
    in_use += c->interval.age[a];
    cold += a >= threshold ? c->interval.age[a] : 0;
  }
  c->counted.in_use = in_use * c->pages.page_size;
  c->counted.cold = cold * c->pages.page_size;
  c->counted.working_set = (uint64_t)c->control.working_set * c->pages.page_size;
  c->counted.threshold_s = threshold >= CX_NEVER ? INFINITY : threshold * (double)c->options.interval_ms / 1000;
  c->counted.reason = c->fixed != 0 ? VEIL_COMPRESS_FIXED : reasons[c->control.reason];
  c->counted.promotions_per_minute = promotions_per_minute(c);
}

// Pages become parkable by a full cycle, and a program that allocates little has none for hours. What is cold has been there for `least` intervals, so there is no reason to ask more often. What has not been through a cycle moves in
// it, and counts as touched then: so for all that is there when the compressor is opened one is asked for at once, before ages mean anything.
static void cycle_ask(veil_compressor *c) {
  uint64_t in_use = c->counted.in_use / c->pages.page_size;
  bool first = c->since_asked == 0 && c->cycles_seen == 0;
  c->since_asked++;
  if (first || (c->fresh > FRESH_LEAST && c->fresh > in_use / FRESH_SHARE && c->since_asked > c->control.goal.least)) {
    c->since_asked = 1;
    veil_service_cycle(c->service);
  }
}

static void interval_end(veil_compressor *c) {
  uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID), promoted = c->counted.promoted;
  cx_sample(c);
  cx_control_interval(&c->control, &c->interval);
  promotions_note(c, c->counted.promoted - promoted);
  interval_stats(c);
  cycle_ask(c);
  c->counted.sampler_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
  if (c->asked == c->answered) {
    pass_begin(c, threshold_of(c));
  }
}

// What changes within seconds; and the shelf puts itself in order when anything was dropped.
static void tick(veil_compressor *c, double seconds) {
  uint64_t returned = at_load(&c->returned), dropped = returned + at_load(&c->discarded) + at_load(&c->taken_back);
  bool allowed = cx_control_tick(&c->control, seconds, returned - c->returned_seen);
  c->returned_seen = returned;
  c->may = c->fixed != 0 || allowed;
  cx_ballast_fill(c);
  if (dropped != c->swept) {
    c->swept = dropped;
    cx_shelf_repair(c->shelf, REPAIR_BYTES);
  }
}

// ---- Requests (veil_compress_now).

static void request_begin(veil_compressor *c, uint64_t *serving, uint64_t *made) {
  pthread_mutex_lock(&c->lock);
  bool waits = c->asked != c->answered && *serving != c->asked;
  uint64_t asked = c->asked;
  unsigned age = c->age_wanted;
  pthread_mutex_unlock(&c->lock);
  if (waits) {
    *serving = asked;
    *made = c->made;
    cx_look(c);
    pass_begin(c, age);
  }
}

static void request_end(veil_compressor *c, uint64_t serving, uint64_t made) {
  pthread_mutex_lock(&c->lock);
  c->answer = (size_t)(c->made - made);
  c->answered = serving;
  c->stats = c->counted;
  c->stats_groups = c->groups;
  pthread_cond_broadcast(&c->wakes_callers);
  pthread_mutex_unlock(&c->lock);
}

// ---- The thread.

static bool is_closing(veil_compressor *c) {
  pthread_mutex_lock(&c->lock);
  bool closing = c->closing;
  pthread_mutex_unlock(&c->lock);
  return closing;
}

// Until then; or a packer is done; or somebody asks for something.
static void keeper_sleep(veil_compressor *c, uint64_t until_ns, uint64_t serving) {
  struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
  pthread_mutex_lock(&c->lock);
  c->stats = c->counted;
  c->stats_groups = c->groups;
  bool wakes = c->closing || (c->asked != c->answered && c->asked != serving) || cx_slots_wake(c);
  if (!wakes) {
    pthread_cond_timedwait(&c->wakes_keeper, &c->lock, &until);
  }
  pthread_mutex_unlock(&c->lock);
}

static void slots_let_go(veil_compressor *c) {
  for (size_t i = 0; i < CX_SLOTS; i++) {
    pthread_mutex_lock(&c->lock);
    while (c->slot[i].stage == CX_TAKEN) { // a packer has it
      pthread_cond_wait(&c->wakes_keeper, &c->lock);
    }
    bool has = c->slot[i].stage != CX_FREE;
    c->slot[i].stage = CX_FREE;
    pthread_mutex_unlock(&c->lock);
    if (has) {
      cx_let_go(c, &c->slot[i]);
    }
  }
}

void *cx_keeper_main(void *compressor) {
  veil_compressor *c = compressor;
  uint64_t interval = c->options.interval_ms * UINT64_C(1000000), most = TICK_MS * UINT64_C(1000000), step = interval < most ? interval : most;
  uint64_t ticked = clock_ns(CLOCK_MONOTONIC), sample = ticked + interval, serving = c->answered, made = 0;
  while (!is_closing(c)) {
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now >= ticked + step) {
      tick(c, (double)(now - ticked) / 1e9);
      ticked = now;
    }
    if (now >= sample) {
      interval_end(c);
      sample = clock_ns(CLOCK_MONOTONIC) + interval; // a look that takes long is not followed by the next at once
    }
    request_begin(c, &serving, &made);
    bool asked = serving != c->answered, goes = c->passing && (asked || c->may);
    slots_end(c, goes && c->out < CX_SLOTS ? CX_RUN : 1);
    if (goes) {
      pass_step(c);
    } else if (asked && c->out == 0 && !c->passing) {
      request_end(c, serving, made);
    }
    if (!(c->passing && goes && c->out < CX_SLOTS)) {
      keeper_sleep(c, sample < ticked + step ? sample : ticked + step, serving);
    }
  }
  slots_let_go(c);
  return NULL;
}
