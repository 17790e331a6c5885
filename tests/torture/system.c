// SPDX-License-Identifier: MIT
// system.c: system calls that read and write objects of all kinds, between veil_touch and veil_untouch.
//
// read(2) puts back what was scribbled over before, so the shadow stays as it is; write(2) has to deliver what the shadow says.
// A feeder, which is no mutator, writes into the pipes some time later, so that reads block in brackets while others collect.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "torture.h"

enum { JOBS = 64, PIPE = 60000 };

typedef struct job {
  int fd;
  char *bytes;
  size_t count;
  unsigned delay_us;
} job;

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_some = PTHREAD_COND_INITIALIZER;
static job jobs[JOBS];
static unsigned jobs_put, jobs_got;

static void *feeder_main(void *unused) {
  (void)unused;
  for (;;) {
    pthread_mutex_lock(&jobs_lock);
    while (jobs_got == jobs_put) {
      pthread_cond_wait(&jobs_some, &jobs_lock);
    }
    job j = jobs[jobs_got++ % JOBS];
    pthread_mutex_unlock(&jobs_lock);
    usleep(j.delay_us);
    for (size_t done = 0; done < j.count;) {
      ssize_t n = write(j.fd, j.bytes + done, j.count - done);
      if (n > 0) {
        done += (size_t)n;
      }
    }
    free(j.bytes);
  }
  return NULL;
}

static bool feed(worker *t, int fd, const char *bytes, size_t count, unsigned delay_us) {
  bool put = false;
  bracket_begin(t);
  pthread_mutex_lock(&jobs_lock);
  if (jobs_put - jobs_got < JOBS) {
    char *copy = malloc(count);
    memcpy(copy, bytes, count);
    jobs[jobs_put++ % JOBS] = (job){fd, copy, count, delay_us};
    put = true;
    pthread_cond_signal(&jobs_some);
  }
  pthread_mutex_unlock(&jobs_lock);
  bracket_end(t);
  return put;
}

void system_open(void) {
  pthread_t feeder;
  pthread_create(&feeder, NULL, feeder_main, NULL);
  pthread_detach(feeder);
}

// Each thread's own pipe.
static int *my_pipe(void) {
  static _Thread_local int fds[2];
  static _Thread_local bool open;
  if (!open) {
    REQUIRE(pipe(fds) == 0, "pipe: %s", strerror(errno));
    open = true;
  }
  return fds;
}

void system_close(void) {
  int *fds = my_pipe();
  close(fds[0]);
  close(fds[1]);
}

static uint8_t byte_wanted(const shadow *sh, size_t at) {
  uint64_t word = data_word(sh, sh->salt, at / 8);
  return (uint8_t)(word >> at % 8 * 8);
}

static bool byte_is_data(const shadow *sh, size_t at) {
  int64_t w = (int64_t)(at / 8);
  if ((size_t)w == object_bytes(sh) / 8) {
    return true; // the tail
  }
  return w != sh->kind->id_word && w != sh->kind->stamp_word && !word_is_slot(sh->kind, (size_t)w);
}

// A run of data bytes at a random place; 0 if the object has none there.
static size_t run_find(worker *t, const shadow *sh, size_t *base) {
  size_t bytes = object_bytes(sh);
  if (bytes == 0) {
    return 0;
  }
  size_t at = below(&t->random, bytes), most = one_in(&t->random, 2) ? PIPE : 200;
  for (int i = 0; i < 64 && at < bytes && !byte_is_data(sh, at); i++) {
    at++;
  }
  *base = at;
  size_t count = 0;
  while (at + count < bytes && count < most && byte_is_data(sh, at + count)) {
    count++;
  }
  return count;
}

static void wanted_copy(const shadow *sh, size_t base, size_t count, char *out) {
  for (size_t i = 0; i < count; i++) {
    out[i] = (char)byte_wanted(sh, base + i);
  }
}

static void drain_read(int fd, char *to, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t n = read(fd, to + done, count - done);
    REQUIRE(n > 0 || errno == EINTR, "read(2) of %zu bytes into %p: %s", count - done, (void *)(to + done), strerror(errno));
    done += n > 0 ? (size_t)n : 0;
  }
}

static void between_touch_and_call(worker *t, world *w) {
  switch (below(&t->random, 10)) {
  case 0:
    veil_collect(t->self);
    return;
  case 1:
  case 2:
    veil_collect_start(t->self);
    return;
  case 3:
    program_run(t, w, (unsigned)between(&t->random, 1, 10));
    return;
  default:
    return;
  }
}

// What read(2) may be writing while its thread counts as blocked.
static struct {
  _Atomic(uintptr_t) base, limit;
} writing[65];

bool system_writes(const char *base, const char *limit) {
  for (size_t i = 0; i < sizeof writing / sizeof *writing; i++) {
    if (atomic_load(&writing[i].base) < (uintptr_t)limit && atomic_load(&writing[i].limit) > (uintptr_t)base) {
      return true;
    }
  }
  return false;
}

static void drain_blocked(worker *t, int fd, char *to, size_t count) {
  unsigned i = t->index < 64 ? t->index : 64;
  atomic_store(&writing[i].base, (uintptr_t)to);
  atomic_store(&writing[i].limit, (uintptr_t)to + count);
  bracket_begin(t);
  drain_read(fd, to, count);
  bracket_end(t);
  atomic_store(&writing[i].limit, 0);
}

static void step_read(worker *t, world *w, void *obj, const shadow *sh, size_t base, size_t count, bool touch) {
  int *fds = my_pipe();
  char *at = (char *)obj + base, *wanted = malloc(count);
  wanted_copy(sh, base, count, wanted);
  for (size_t i = 0; i < count; i++) {
    ((volatile char *)at)[i] = (char)~wanted[i]; // scribbled: what read(2) brings is the difference
  }
  if (touch) {
    veil_status status = veil_touch(t->self, at, count, true);
    REQUIRE(status == VEIL_OK, "veil_touch: %d %s", (int)status, veil_error());
  }
  // Nothing but the range may be looked at until it is whole again.
  if (one_in(&t->random, 2)) {
    veil_collect_start(t->self);
  }
  bool block = one_in(&t->random, 2) && feed(t, fds[1], wanted, count, (unsigned)below(&t->random, 3000));
  if (block) {
    drain_blocked(t, fds[0], at, count);
  } else {
    REQUIRE(write(fds[1], wanted, count) == (ssize_t)count, "a pipe takes no %zu bytes", count);
    drain_read(fds[0], at, count);
  }
  REQUIRE(memcmp(at, wanted, count) == 0, "read(2) into %p, %zu bytes, kind %s, id %llx: not what was sent", (void *)at, count,
          sh->kind->name, (unsigned long long)sh->id);
  if (touch) {
    veil_untouch(t->self, at);
  }
  free(wanted);
}

static void step_write(worker *t, world *w, void *obj, const shadow *sh, size_t base, size_t count, bool touch) {
  int *fds = my_pipe();
  char *at = (char *)obj + base, *got = malloc(count);
  if (touch) {
    veil_status status = veil_touch(t->self, at, count, false);
    REQUIRE(status == VEIL_OK, "veil_touch: %d %s", (int)status, veil_error());
  }
  between_touch_and_call(t, w);
  bool bracket = one_in(&t->random, 2);
  if (bracket) {
    bracket_begin(t);
    usleep((useconds_t)below(&t->random, 300));
  }
  ssize_t n = write(fds[1], at, count);
  if (bracket) {
    bracket_end(t);
  }
  REQUIRE(n == (ssize_t)count, "write(2) of %zu bytes from %p: %zd, %s", count, (void *)at, n, strerror(errno));
  if (touch) {
    veil_untouch(t->self, at);
  }
  drain_read(fds[0], got, count);
  for (size_t i = 0; i < count; i++) {
    REQUIRE(!byte_is_data(sh, base + i) || (uint8_t)got[i] == byte_wanted(sh, base + i),
            "write(2) from %p brought the wrong byte %zu of %zu: kind %s, id %llx", (void *)at, i, count, sh->kind->name,
            (unsigned long long)sh->id);
  }
  free(got);
}

// As many ranges as a thread may have, and one more.
static void step_many(worker *t, void *obj, const shadow *sh) {
  size_t bytes = object_bytes(sh);
  if (bytes < 17) {
    return;
  }
  unsigned n = 0;
  veil_status status = VEIL_OK;
  while (n < 17 && status == VEIL_OK) {
    status = veil_touch(t->self, (char *)obj + n, 1 + below(&t->random, bytes - n), one_in(&t->random, 2));
    n += status == VEIL_OK;
  }
  REQUIRE(n <= 16 && (status == VEIL_BUSY), "%u ranges were touched, then %d: %s", n, (int)status, veil_error());
  if (one_in(&t->random, 2)) {
    veil_collect_start(t->self);
  }
  REQUIRE(veil_touch(t->self, obj, bytes + 64, false) == VEIL_INVALID, "a range behind its object can be touched");
  while (n > 0) {
    n--;
    veil_untouch(t->self, (char *)obj + n);
  }
}

void system_random(worker *t, world *w) {
  found at = world_find(t, w, (unsigned)below(&t->random, 12));
  if (at.obj == NULL) {
    return;
  }
  size_t base, count;
  // The pages of leaf objects are never veiled: they need no touch while no service is on.
  bool touch = cfg.service || cfg.instants || at.sh->kind->slots + at.sh->kind->fixed_slots != 0 || at.sh->kind->trace || !one_in(&t->random, 3);
  held_push(w, at.sh);
  switch (below(&t->random, 8)) {
  case 0:
    if (t->depth == 0) {
      step_many(t, at.obj, at.sh);
    }
    break;
  case 1:
  case 2:
  case 3:
    count = run_find(t, at.sh, &base);
    if (count != 0) {
      t->depth++;
      step_write(t, w, at.obj, at.sh, base, count, touch);
      t->depth--;
    }
    break;
  case 4: // all of it, references too
    count = object_bytes(at.sh) < PIPE ? object_bytes(at.sh) : PIPE;
    if (count != 0) {
      t->depth++;
      step_write(t, w, at.obj, at.sh, 0, count, touch);
      t->depth--;
    }
    break;
  default:
    count = run_find(t, at.sh, &base);
    if (count != 0) {
      step_read(t, w, at.obj, at.sh, base, count, touch);
    }
    break;
  }
  held_pop(w, at.sh);
  atomic_fetch_add_explicit(&stat_touches, 1, memory_order_relaxed);
}
