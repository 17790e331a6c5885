// SPDX-License-Identifier: MIT
// store_story.c: commits on a disk in memory, and what they were of. See store_trials.h.

#include "tests/store/store_trials.h"

static bool opens(story *s, shared *on, veil_store_mode mode, bool elsewhere) {
  veil_options options = {.limit = 32 << 20, .headroom = 2 << 20, .nursery = 256 << 10, .stop = VEIL_STOP_POLL, .back_end = back_end, .reserve = s->reserve};
  veil_store_options wanted = {.types = graph_types, .type_count = GRAPH_TYPES, .log = s->log != 0 ? s->log : 1 << 20, .cache = 1 << 20, .mode = mode, .elsewhere = elsewhere, .compact = s->compact};
  s->on = on;
  bool may_fail = shared_reads_may_fail;
  s->store = rt_store_open(PATH, &options, &wanted, &on->io);
  shared_reads_may_fail = false;
  if (s->store != NULL) {
    static unsigned opened;
    if (opened++ % 3 == 1) {
      s->store->stop_bytes = 1; // nearly every commit claims its pages
    }
    s->self = veil_attach(veil_store_heap(s->store));
    veil_source_fetch(veil_store_heap(s->store));
  }
  shared_reads_may_fail = may_fail;
  return s->store != NULL;
}

bool story_open(story *s, shared *on, bool elsewhere) { return opens(s, on, VEIL_STORE_ANY, elsewhere); }
bool story_open_to_read(story *s, shared *on) { return opens(s, on, VEIL_STORE_READ_ONLY, false); }

void story_die(story *s) {
  disk *d = s->on->d;
  veil_detach(s->self);
  pthread_mutex_lock(&s->on->lock);
  d->failed = true;
  d->failure = DISK_DIES;
  pthread_mutex_unlock(&s->on->lock);
  veil_store_close(s->store);
  s->store = NULL;
  disk_restart(d);
}

veil_status story_close(story *s) {
  veil_detach(s->self);
  veil_status status = veil_store_close(s->store);
  s->store = NULL;
  return status;
}

uint64_t story_hash(story *s) {
  bool may_fail = shared_reads_may_fail;
  shared_reads_may_fail = false;
  uint64_t hash = graph_hash(s->self);
  shared_reads_may_fail = may_fail;
  return hash;
}

veil_status story_commit(story *s, unsigned changes, bool large) {
  bool may_fail = shared_reads_may_fail;
  uint64_t ticket;
  shared_reads_may_fail = false;
  graph_change(s->self, &s->dice, changes, large);
  graph_collect(s->self, &s->dice);
  graph_number_set(s->self, graph_number(s->self) + 1);
  MUST(s->states.count < STATES, "too long a story");
  state *now = &s->states.at[s->states.count++];
  *now = (state){graph_hash(s->self), shared_notes(s->on), SIZE_MAX};
  shared_reads_may_fail = may_fail;
  veil_status status;
  if (graph_dice(&s->dice) % 4 == 0) {
    status = veil_store_commit_async(s->store, &ticket);
    status = status == VEIL_OK ? veil_store_wait(s->store, ticket) : status;
  } else {
    status = veil_store_commit(s->store, NULL);
  }
  now->acknowledged = status == VEIL_OK ? shared_notes(s->on) : SIZE_MAX;
  return status;
}

void story_run(story *s, shared *on, unsigned times, unsigned commits) {
  for (unsigned t = 0; t < times; t++) {
    MUST(story_open(s, on, t % 3 == 2), "%s", veil_error());
    if (s->states.count == 0) {
      s->states.at[s->states.count++] = (state){story_hash(s), 0, 0};
    }
    MUST(story_hash(s) == s->states.at[s->states.count - 1].hash, "another graph, with no crash");
    for (unsigned i = 0; i < commits; i++) {
      MUST(story_commit(s, i % 3 == 0 ? 150 : 20, i % 2 == 0) == VEIL_OK, "%s", veil_error());
    }
    MUST(story_close(s) == VEIL_OK, "%s", veil_error());
  }
}
