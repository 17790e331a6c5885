// SPDX-License-Identifier: MIT
// main.c: opens everything, runs the loops, closes everything.
//
// The first thread is this one. SIGTERM and SIGINT end the server in order, a second one at once.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include "handlers.h"

static void on_signal(int signal) {
  static volatile sig_atomic_t seen;
  if (seen) {
    _exit(128 + signal);
  }
  seen = 1;
  kv_stop();
}

static void signals_set(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
}

// As many files as clients and threads may need, if the system lets us.
static void files_raise(void) {
  struct rlimit limit;
  rlim_t wanted = kv_options_now.maxclients + 64 + 4 * kv_options_now.threads;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

static void fail(const char *what) {
  fprintf(stderr, "kv: %s\n", what);
  exit(1);
}

static void threads_open(void) {
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    kv_thread *t = &kv_threads[i];
    t->index = (int)i;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&t->inbox_lock, NULL);
    if (t->epoll < 0 || t->wake < 0) {
      fail("no file for a thread's events");
    }
  }
}

int main(int argc, char **argv) {
  kv_options_read(argc, argv);
  char error[512];
  bool store = kv_options_now.store != NULL;
  if (!kv_memory_open(kv_options_now.heap_options, kv_options_now.file, store, error, sizeof error)) {
    fprintf(stderr, "kv: %s: %s\n", store ? "--store" : kv_memory_loaded() ? kv_options_now.file : "--heap-options", error); // stores name their file
    return store || kv_memory_loaded() ? 1 : 2;
  }
  files_raise();
  kv_commands_open();
  threads_open();
  signals_set();
  kv_started_ms = kv_now_ms();
  kv_thread *first = &kv_threads[0];
  first->self = kv_attach();
  void **loaded = NULL;
  if (first->self == NULL) {
    fail("the first thread cannot be attached");
  }
  if (!kv_save_load(first, &loaded, error, sizeof error)) {
    fprintf(stderr, "kv: %s cannot be loaded: %s\n", kv_options_now.file, error);
    return 1;
  }
  if (!kv_space_open(first, loaded) || !kv_clients_open(first)) {
    fail("no memory for an empty keyspace");
  }
  if (!kv_save_open(first, error, sizeof error)) {
    fprintf(stderr, "kv: %s cannot be saved to: %s\n", kv_options_now.file, error);
    return 1;
  }
  kv_used_show(first);
  if (!kv_listen()) {
    return 1;
  }
  for (unsigned i = 1; i < kv_options_now.threads; i++) {
    if (kv_thread_start(&kv_threads[i].thread, kv_loop_run, &kv_threads[i]) != 0) {
      fail("a thread cannot start");
    }
  }
  fprintf(stderr, "kv: %s, %u threads, port %u%s%s\n", kv_memory_name, kv_options_now.threads, kv_options_now.port, kv_options_now.unixsocket ? ", " : "",
          kv_options_now.unixsocket ? kv_options_now.unixsocket : "");
  kv_loop_run(first);
  for (unsigned i = 1; i < kv_options_now.threads; i++) {
    kv_thread_join(first->self, kv_threads[i].thread);
  }
  if (kv_options_now.unixsocket != NULL) {
    unlink(kv_options_now.unixsocket);
  }
  bool saved = kv_save_last(first, kv_save_wish);
  kv_save_close();
  kv_space_close(first);
  kv_detach(first->self);
  kv_memory_close();
  return saved ? 0 : 1;
}
