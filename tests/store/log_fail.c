// SPDX-License-Identifier: MIT
// log_fail.c: the n-th call fails, for every n and each error; then every allocation. What was acknowledged stays; a log that failed writes nothing more and
// says why, and can be opened again.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/store/log_trials.h"
#include "vm/os.h"

// Calls that are tried again, or do less: a story goes on as if nothing had been.
static bool harmless(const char *call, disk_failure failure, int error) {
  bool again = strcmp(call, "open") == 0 || strcmp(call, "pread") == 0 || strcmp(call, "pwrite") == 0;
  return strcmp(call, "unlink") == 0 || failure == DISK_SHORT || (error == EINTR && again);
}

// log.once
static void refuses(story *s, const char *what) {
  if (s->log == NULL) {
    return;
  }
  size_t notes = s->d->notes;
  for (int i = 0; i < 2; i++) {
    if (st_log_write(s->log, NULL) == VEIL_OK) {
      found("%s: the log has failed and goes on", what);
    } else if (strcmp(veil_error(), s->error) != 0) {
      found("%s: it does not say why it refuses: %s", what, veil_error());
    }
    if (st_log_room(s->log, 10) != NULL) {
      st_log_append(s->log, 10);
    }
  }
  if (s->d->notes != notes) {
    found("%s: the log has failed and writes", what);
  }
}

static void outcome_look(story *s, bool ended, const char *call, const char *what) {
  bool barrier = strcmp(call, "fdatasync") == 0 || strcmp(call, "fsync") == 0;
  if (ended && barrier && s->d->failure == DISK_FAILS) {
    found("%s: a barrier failed, and nobody was told", what);
  }
  if (!ended && (s->status == VEIL_OK || strlen(s->error) < 10)) {
    found("%s: it failed, and says nothing", what);
  }
  if (!ended) {
    refuses(s, what);
  }
  bool locked = strcmp(call, "fstat") != 0 && strcmp(call, "lock") != 0; // who has no lock leaves alone what may be somebody else's
  if (s->created == SIZE_MAX && locked && disk_find(s->d, STORY_PATH ".new") != NULL) {
    found("%s: what was not finished is still there", what);
  }
  if (s->d->failure == DISK_FAILS && s->d->error == ENOSPC && s->created == SIZE_MAX && strcmp(call, "pwrite") == 0 && strstr(s->error, "is full") == NULL) {
    found("%s: it does not say that the disk is full: %s", what, s->error);
  }
  story_close(s);
  disk_restart(s->d);
  uint64_t last;
  s->status = VEIL_OK;
  const char *wrong = story_check(s, s->d, s->d->notes, &last);
  bool good = wrong == NULL && (disk_find(s->d, STORY_PATH) != NULL ? story_open(s) : story_create(s)) && story_append(s, 100, 1) && story_write(s);
  if (!good) {
    found("%s: afterwards: %s", what, wrong != NULL ? wrong : s->error);
  }
}

static unsigned fail_all(disk_failure failure, int error, bool refuses_direct) {
  static story s;
  bool failed = true;
  unsigned n = 0;
  while (failed && !enough()) {
    char what[200];
    story_begin(&s, seed);
    s.d->refuses_direct = refuses_direct;
    s.d->fail_at = ++n;
    s.d->failure = failure;
    s.d->error = error;
    bool ended = story_run(&s, 14);
    failed = s.d->failed;
    const char *call = failed ? s.d->failed_call : "none";
    snprintf(what, sizeof what, "call %u, %s, %s", n, call, failure == DISK_SHORT ? "did less" : strerror(error));
    if (!ended && (!failed || harmless(call, failure, error))) {
      found("%s: it failed: %s", what, s.error);
    }
    outcome_look(&s, ended, call, what);
    story_end(&s);
  }
  return n - 1;
}

void trial_fail(void) {
  static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, EFBIG};
  unsigned runs = 0;
  for (size_t i = 0; i < sizeof errors / sizeof *errors && !enough(); i++) {
    runs += fail_all(DISK_FAILS, errors[i], false);
  }
  runs += fail_all(DISK_SHORT, 0, false);
  runs += fail_all(DISK_FAILS, ENOSPC, true); // a file system without direct writes
  printf("fail: %u runs\n", runs);
}

// `mappings`: the log's memory for records fails; else what it allocates.
static void memory_all(bool mappings) {
  static story s;
  bool failed = true;
  for (unsigned n = 1; failed && !enough(); n++) {
    char what[60];
    size_t before = memory_now;
    story_begin(&s, seed);
    memory_calls = 0;
    memory_fail_at = mappings ? 0 : n;
#ifdef VEIL_FULL_CHECKS
    os_fail_at(mappings ? n : 0);
#endif
    bool ended = story_run(&s, 6);
    failed = mappings ? !ended : memory_calls >= n;
    memory_fail_at = 0;
#ifdef VEIL_FULL_CHECKS
    os_fail_at(0);
#endif
    snprintf(what, sizeof what, "%s %u", mappings ? "mapping" : "allocation", n);
    if (failed && (ended || s.log != NULL || strstr(s.error, "no memory") == NULL)) {
      found("%s: it failed, and: %s", what, s.error);
    }
    if (failed) {
      s.log = NULL;
      outcome_look(&s, ended, "none", what);
    }
    story_end(&s);
    if (memory_now != before) {
      found("%s: %zu bytes were not given back", what, memory_now - before);
    }
  }
}

void trial_memory(void) {
  memory_all(false);
  memory_all(true);
}
