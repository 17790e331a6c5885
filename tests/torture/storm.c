// SPDX-License-Identifier: MIT
// storm.c: a signal every millisecond, whose handler reads objects through a global root.
//
// Attached threads take the signal, all others block it. In brackets the handler leaves objects alone: a thread there
// touches none.

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include "torture.h"

enum { MAGIC = 0x53544f52, DEPTH = 7 };

typedef struct storm_node {
  struct storm_node *left, *right;
  uint64_t magic, serial, check;
} storm_node;
VEIL_TYPE(storm_node, left, right);

static storm_node *volatile storm_root; // its tree never changes once it stands here
static atomic_ulong runs, serial;
static _Thread_local volatile sig_atomic_t away;
static _Thread_local uint64_t path;

static void storm_handler(int signo) {
  (void)signo;
  int saved = errno;
  if (!away) {
    uint64_t way = path += 0x9e3779b97f4a7c15ull;
    for (const storm_node *n = storm_root; n != NULL; n = way & 1 ? n->right : n->left) {
      REQUIRE(n->magic == MAGIC && n->check == ~n->serial, "the signal handler found no object at %p: %llx", (const void *)n,
              (unsigned long long)n->magic);
      way >>= 1;
    }
    atomic_fetch_add_explicit(&runs, 1, memory_order_relaxed);
  }
  errno = saved;
}

static storm_node *tree(worker *t, int depth) {
  storm_node *n = veil_new(t->self, storm_node);
  if (n == NULL) {
    return NULL;
  }
  n->magic = MAGIC;
  n->serial = atomic_fetch_add(&serial, 1);
  n->check = ~n->serial;
  if (depth > 0) {
    n->left = tree(t, depth - 1);
    n->right = tree(t, depth - 1);
  }
  return n;
}

void storm_step(worker *t) {
  if (cfg.storm) {
    storm_root = tree(t, DEPTH);
  }
}

static void mask(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPROF);
  sigaddset(&set, SIGALRM);
  pthread_sigmask(how, &set, NULL);
}

void storm_enter(worker *t) {
  if (cfg.storm) {
    path = rng_next(&t->random);
    away = 0;
    mask(SIG_UNBLOCK);
  }
}

void storm_leave(void) {
  if (cfg.storm) {
    mask(SIG_BLOCK);
  }
}

void storm_pause(bool on) {
  away = on;
  __asm__ volatile("" : : : "memory");
}

void storm_start(worker *t) {
  if (!cfg.storm) {
    return;
  }
  mask(SIG_BLOCK);
  REQUIRE(veil_add_roots(heap, (void *)&storm_root, 1) == VEIL_OK, "veil_add_roots: %s", veil_error());
  storm_step(t);
  struct sigaction action = {.sa_handler = storm_handler, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGPROF, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_PROF, &every, NULL);
  setitimer(ITIMER_REAL, &every, NULL);
}

void storm_stop(worker *t) {
  (void)t;
  if (!cfg.storm) {
    return;
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_PROF, &never, NULL);
  setitimer(ITIMER_REAL, &never, NULL);
  mask(SIG_BLOCK);
  storm_root = NULL;
  veil_remove_roots(heap, (void *)&storm_root);
}

unsigned long storm_count(void) { return atomic_load(&runs); }
