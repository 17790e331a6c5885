// SPDX-License-Identifier: MIT
// death.h: runs a function in a child process and tells how it ended and what it said.
//
// Used by the tests of gc/, runtime/ and inject/. Fork before any heap is open: a child would share its memory.

#ifndef TESTS_DEATH_H
#define TESTS_DEATH_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct death {
  int signal;      // that killed it; 0: it ended by itself
  int code;        // then its exit code
  char said[8192]; // on stdout and stderr
} death;

// The child is killed by SIGALRM after `seconds`: a hang is a death too.
static inline death death_within(unsigned seconds, void (*fn)(void *), void *arg) {
  death d = {0};
  int ends[2];
  if (pipe(ends) != 0) {
    abort();
  }
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    signal(SIGALRM, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    alarm(seconds);
    fn(arg);
    fflush(NULL);
    _exit(0);
  }
  close(ends[1]);
  size_t length = 0;
  for (;;) {
    char more[512];
    ssize_t n = read(ends[0], more, sizeof more);
    if (n <= 0) {
      break;
    }
    size_t room = sizeof d.said - 1 - length;
    memcpy(d.said + length, more, (size_t)n < room ? (size_t)n : room);
    length += (size_t)n < room ? (size_t)n : room;
  }
  close(ends[0]);
  int status;
  while (waitpid(child, &status, 0) < 0) {
  }
  d.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  d.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  return d;
}

static inline death death_of(void (*fn)(void *), void *arg) { return death_within(30, fn, arg); }

// Whether the child was aborted by one of veil's messages that has `text` in it; if not, shows what it did.
static inline bool death_says(const death *d, const char *text) {
  const char *veil = strstr(d->said, "veil: ");
  if (d->signal == SIGABRT && veil != NULL && strstr(veil, text) != NULL) {
    return true;
  }
  fprintf(stderr, "expected an abort saying \"%s\"; signal %d, exit code %d, said:\n%s\n", text, d->signal, d->code, d->said);
  return false;
}

// Whether it ended by itself with exit code 0.
static inline bool death_none(const death *d) {
  if (d->signal == 0 && d->code == 0) {
    return true;
  }
  fprintf(stderr, "expected success; signal %d, exit code %d, said:\n%s\n", d->signal, d->code, d->said);
  return false;
}

#endif
