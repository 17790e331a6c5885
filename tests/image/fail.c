// SPDX-License-Identifier: MIT
// fail.c: the n-th call fails, for every n and each error; then for every allocation. What was acknowledged stays; a writer that failed refuses to go on, and a
// new one can.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/image/trials.h"

// Calls that are tried again, or do less: a story goes on as if nothing had been.
static bool harmless(const char *call, disk_failure failure, int error) {
  bool again = strcmp(call, "open") == 0 || strcmp(call, "pread") == 0 || strcmp(call, "pwrite") == 0;
  return strcmp(call, "unlink") == 0 || failure == DISK_SHORT || (error == EINTR && again);
}

static void refuses(story *s, const char *what) {
  if (s->w == NULL) {
    return;
  }
  size_t notes = s->d->notes;
  bool poisoned = s->w->state == IMAGE_POISONED;
  static char page[65536] = "x";
  if (s->w->state != IMAGE_FAILED && !poisoned) {
    if (s->w->state == IMAGE_OPEN) {
      found("%s: the writer has failed and goes on", what);
    }
    return; // the one that failed was of another file
  }
  if (rt_image_begin(s->w) == VEIL_OK || rt_image_put(s->w, 0, 1, page) == VEIL_OK || rt_image_commit(s->w, NULL) == VEIL_OK) {
    found("%s: the writer has failed and takes more", what);
  }
  if (strstr(veil_error(), poisoned ? "durable" : "opened again") == NULL) {
    found("%s: it does not say why it refuses: %s", what, veil_error());
  }
  rt_image_abort(s->w);
  if (s->d->notes != notes) {
    found("%s: the writer has failed and writes", what);
  }
}

static void outcome_look(story *s, bool ended, const char *call, const char *what) {
  bool barrier = strcmp(call, "fdatasync") == 0 || strcmp(call, "fsync") == 0;
  if (ended && barrier && s->d->failure == DISK_FAILS) {
    found("%s: a barrier failed, and nobody was told", what);
  }
  if (ended && s->status != VEIL_OK) {
    found("%s: it went well with the error %s", what, s->error);
  }
  if (!ended && (s->status == VEIL_OK || strlen(s->error) < 10)) {
    found("%s: it failed, and says nothing", what);
  }
  if (!ended && barrier && s->w != NULL && s->w->state != IMAGE_POISONED) {
    found("%s: a barrier failed, and the writer is not poisoned", what);
  }
  refuses(s, what);
  story_close(s);
  disk_restart(s->d);
  unsigned version;
  const char *wrong = story_check(s, s->d, s->d->notes, &version);
  wrong = wrong == NULL ? story_recovers(s, s->d, version) : wrong;
  if (wrong != NULL) {
    found("%s: %s", what, wrong);
  }
}

static unsigned fail_all(disk_failure failure, int error, bool refuses_direct) {
  static story s;
  unsigned n = 1;
  for (;; n++) {
    char what[200];
    story_begin(&s, seed, n % 2 ? RT_IMAGE_PLAIN : RT_IMAGE_LZ4, 4096);
    s.d->refuses_direct = refuses_direct;
    s.d->fail_at = n;
    s.d->failure = failure;
    s.d->error = error;
    bool ended = story_run(&s), failed = s.d->failed;
    const char *call = failed ? s.d->failed_call : "none";
    snprintf(what, sizeof what, "call %u, %s, %s", n, call, failure == DISK_SHORT ? "did less" : strerror(error));
    if (failed && !ended && harmless(call, failure, error)) {
      found("%s: it failed: %s", what, s.error);
    }
    outcome_look(&s, ended, call, what);
    story_end(&s);
    if (!failed || enough()) {
      break;
    }
  }
  return n - 1;
}

void trial_fail(void) {
  static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, ENOMEM, EFBIG};
  unsigned runs = 0;
  for (size_t i = 0; i < sizeof errors / sizeof *errors && !enough(); i++) {
    runs += fail_all(DISK_FAILS, errors[i], false);
  }
  runs += fail_all(DISK_SHORT, 0, false);
  runs += fail_all(DISK_FAILS, ENOSPC, true); // a file system without direct writes
  printf("fail: %u runs\n", runs);
}

void trial_memory(void) {
  static story s;
  unsigned n = 1;
  for (; !enough(); n++) {
    char what[200];
    size_t before = memory_now;
    story_begin(&s, seed, n % 2 ? RT_IMAGE_PLAIN : RT_IMAGE_ZSTD, 4096);
    memory_calls = 0;
    memory_fail_at = n;
    bool ended = story_run(&s), failed = memory_calls >= n;
    memory_fail_at = 0;
    snprintf(what, sizeof what, "allocation %u", n);
    if (failed && !ended && s.status != VEIL_NO_MEMORY) {
      found("%s: it failed with status %d: %s", what, (int)s.status, s.error);
    }
    outcome_look(&s, ended, "none", what);
    story_end(&s);
    if (memory_now != before) {
      found("%s: %zu bytes were not given back", what, memory_now - before);
    }
    if (!failed) {
      break;
    }
  }
  printf("memory: %u runs\n", n - 1);
}
