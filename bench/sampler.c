// SPDX-License-Identifier: MIT
// sampler.c: see sampler.h. Includes no collector's header, because libgc's makes every new thread a mutator.

#include "bench/sampler.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

enum { PERIOD_MS = 10, SAMPLES = 8192 };

typedef struct taken {
  double ms;
  sampler_sample sample;
} taken;

static taken samples[SAMPLES]; // written by the sampler's thread, read when that has ended
static unsigned sample_count;  // likewise
static unsigned period_ms;     // likewise; doubled whenever `samples` is full
static struct timespec begun;  // constant while the thread runs
static sampler_fn *sample_read; // likewise
static sem_t end_wanted;
static pthread_t thread;
static bool running; // mutator 0's

static double ms_between(const struct timespec *from, const struct timespec *to) {
  return (double)(to->tv_sec - from->tv_sec) * 1e3 + (double)(to->tv_nsec - from->tv_nsec) * 1e-6;
}

static void sample_take(void) {
  if (sample_count == SAMPLES) { // every other one stays
    for (unsigned i = 0; i < SAMPLES / 2; i++) {
      samples[i] = samples[2 * i];
    }
    sample_count = SAMPLES / 2;
    period_ms *= 2;
  }
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  taken *t = &samples[sample_count++];
  t->ms = ms_between(&begun, &now);
  sample_read(&t->sample);
}

static void *sampler_run(void *arg) {
  struct timespec wake;
  clock_gettime(CLOCK_REALTIME, &wake); // what sem_timedwait goes by
  for (;;) {
    sample_take();
    wake.tv_nsec += (long)(period_ms % 1000) * 1000000;
    wake.tv_sec += period_ms / 1000 + wake.tv_nsec / 1000000000;
    wake.tv_nsec %= 1000000000;
    if (sem_timedwait(&end_wanted, &wake) == 0) {
      sample_take();
      return NULL;
    }
  }
}

bool sampler_begin(sampler_fn *fn) {
  sample_read = fn;
  sample_count = 0;
  period_ms = PERIOD_MS;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  if (sem_init(&end_wanted, 0, 0) != 0) {
    return false;
  }
  // A signal to the process is the program's business, not this thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  running = pthread_create(&thread, NULL, sampler_run, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return running;
}

void sampler_end(void) {
  if (running) {
    sem_post(&end_wanted);
    pthread_join(thread, NULL);
    sem_destroy(&end_wanted);
    running = false;
  }
}

void sampler_write_detail(FILE *file) {
  uint64_t traps = sample_count > 0 ? samples[0].sample.traps : 0;
  for (unsigned i = 0; i < sample_count; i++) {
    const taken *t = &samples[i];
    fprintf(file, "sample %.2f %.3f %llu\n", t->ms, t->sample.held_mib, (unsigned long long)(t->sample.traps - traps));
    traps = t->sample.traps;
  }
}
