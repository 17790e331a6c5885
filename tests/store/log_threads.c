// SPDX-License-Identifier: MIT
// log_threads.c: one thread appends and advances, another one writes: for TSan, and for what is there afterwards. The disk belongs to the thread that writes,
// since the other does no I/O.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/store/log_trials.h"
#include "vm/atomic.h"
#include "vm/os.h"

enum { KEPT = 64, PLACES = 4096 };

typedef struct pair {
  st_log *log;
  disk *d;
  AO_t durable;  // the last number that is; by the thread that writes
  AO_t finished; // by the thread that appends
  uint64_t writes;
} pair;

static void *writer_run(void *arg) {
  pair *p = arg;
  bool last = false;
  while (!last) {
    uint64_t upto;
    last = at_load_acquire(&p->finished) != 0;
    if (st_log_write(p->log, &upto) != VEIL_OK) {
      found("beside a thread that appends: %s", veil_error());
      return NULL;
    }
    at_store_release(&p->durable, upto);
    if (++p->writes % 16 == 0) {
      disk_forget(p->d); // nothing crashes here
    }
  }
  return NULL;
}

static st_log_place places[PLACES]; // by number; the thread's that appends

// Waits until enough is durable, and keeps the last records of that.
static void room_make(pair *p, uint64_t *head) {
  uint64_t durable = at_load_acquire(&p->durable);
  while (durable < *head + KEPT) {
    os_yield();
    durable = at_load_acquire(&p->durable);
  }
  *head = durable - KEPT / 2;
  st_log_advance(p->log, places[*head % PLACES]);
}

static veil_status record_seen(void *arg, st_log_place place, const char *bytes, size_t size) {
  uint64_t *next = arg;
  if (place.sequence != *next || story_bytes_differ((uint32_t)*next, bytes, size) != NULL) {
    found("record %llu is not what was appended", (unsigned long long)*next);
  }
  ++*next;
  return VEIL_OK;
}

void trial_threads(unsigned records) {
  pair p = {.d = disk_new()};
  random_state random = {seed};
  st_log_place first = {.sequence = 1};
  pthread_t writer;
  uint64_t head = 1;
  if (st_log_create(&p.log, STORY_PATH, story_id, 4 * STORY_BYTES, &first, &p.d->io) != VEIL_OK || pthread_create(&writer, NULL, writer_run, &p) != 0) {
    found("it does not begin: %s", veil_error());
    return;
  }
  places[1] = first;
  for (uint64_t i = 1; i <= records; i++) {
    size_t size = random_below(&random, 600);
    char *room = st_log_room(p.log, size);
    while (room == NULL || i - head >= PLACES) {
      room_make(&p, &head);
      room = st_log_room(p.log, size);
    }
    story_fill((uint32_t)i, room, size);
    places[i % PLACES] = st_log_append(p.log, size);
  }
  at_store_release(&p.finished, 1);
  pthread_join(writer, NULL);
  st_log_close(p.log);
  uint64_t next = head;
  if (st_log_open(&p.log, STORY_PATH, story_id, places[head % PLACES], false, record_seen, &next, &p.d->io) != VEIL_OK || next != records + 1) {
    found("%llu of %u records are there: %s", (unsigned long long)next - 1, records, veil_error());
  }
  st_log_close(p.log);
  disk_free(p.d);
  printf("threads: %u records, %llu writes\n", records, (unsigned long long)p.writes);
}
