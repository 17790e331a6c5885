// SPDX-License-Identifier: MIT
// call.c: the program's calls: requests, served in the order of asking.
//
// Neighbours: saver.c serves them. In the program's threads, which count as between brackets as long as they wait.

#include <string.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/error.h"
#include "vm/check.h"

#define CP_EXPORT __attribute__((visibility("default")))

// A call, while it waits.
typedef struct waiting {
  veil_checkpointer *c;
  cp_request *r;
  bool refused;
} waiting;

static bool refuse_child(const veil_checkpointer *c, const char *call) {
  if (cp_process_gone(c)) {
    rt_error_set("%s: the checkpointer belongs to the process that opened it, and this is a child of that", call);
  }
  return cp_process_gone(c);
}

static void request_wait(void *arg) {
  waiting *w = arg;
  veil_checkpointer *c = w->c;
  pthread_mutex_lock(&c->lock);
  w->refused = (w->r->flags & VEIL_CHECKPOINT_REFUSE) != 0 && c->asked != c->ended;
  if (!w->refused) {
    *c->last_next = w->r;
    c->last_next = &w->r->next;
    c->asked++;
    at32_store_release(&c->under_way, 1);
    at32_add_full(&c->requests, 1);
    cp_bell_ring(c->bell);
    while (!w->r->answered) {
      pthread_cond_wait(&c->changed, &c->lock);
    }
  }
  pthread_mutex_unlock(&c->lock);
}

static veil_status request(veil_checkpointer *c, int fd, unsigned flags, veil_checkpoint_figures *out, const char *call) {
  enum { ALL = VEIL_CHECKPOINT_FULL | VEIL_CHECKPOINT_START | VEIL_CHECKPOINT_REFUSE };
  if (refuse_child(c, call)) {
    return VEIL_UNSUPPORTED;
  }
  if (flags & ~(unsigned)ALL) {
    rt_error_set("%s: there are no flags %x", call, flags & ~(unsigned)ALL);
    return VEIL_INVALID;
  }
  cp_request r = {.fd = fd, .flags = flags, .called_ns = cp_now()};
  waiting w = {.c = c, .r = &r};
  veil_service_wait(c->heap, request_wait, &w);
  if (w.refused) {
    rt_error_set("%s: another checkpoint is under way", call);
    return VEIL_BUSY;
  }
  if (out != NULL) {
    *out = r.figures;
  }
  if (r.status != VEIL_OK) {
    rt_error_set("%s", r.error);
  }
  return r.status;
}

CP_EXPORT veil_status veil_checkpoint(veil_checkpointer *c, unsigned flags, veil_checkpoint_figures *out) {
  if (c->options.path == NULL) {
    rt_error_set("veil_checkpoint: the checkpointer has no path");
    return VEIL_INVALID;
  }
  return request(c, -1, flags, out, "veil_checkpoint");
}

CP_EXPORT veil_status veil_checkpoint_fd(veil_checkpointer *c, int fd, unsigned flags, veil_checkpoint_figures *out) {
  if (fd < 0) {
    rt_error_set("veil_checkpoint_fd: %d is no descriptor", fd);
    return VEIL_INVALID;
  }
  return request(c, fd, flags, out, "veil_checkpoint_fd");
}

typedef struct outcome {
  veil_checkpointer *c;
  veil_status status;
  char error[CP_ERROR];
  veil_checkpoint_figures figures;
} outcome;

static void outcome_wait(void *arg) {
  outcome *o = arg;
  veil_checkpointer *c = o->c;
  pthread_mutex_lock(&c->lock);
  for (uint64_t asked = c->asked; c->ended < asked;) { // what is asked for later may go on for ever
    pthread_cond_wait(&c->changed, &c->lock);
  }
  o->status = c->last.status;
  o->figures = c->last.figures;
  memcpy(o->error, c->last.error, sizeof o->error);
  pthread_mutex_unlock(&c->lock);
}

CP_EXPORT veil_status veil_checkpoint_wait(veil_checkpointer *c, veil_checkpoint_figures *out) {
  if (refuse_child(c, "veil_checkpoint_wait")) {
    return VEIL_UNSUPPORTED;
  }
  outcome o = {.c = c};
  veil_service_wait(c->heap, outcome_wait, &o);
  if (out != NULL) {
    *out = o.figures;
  }
  if (o.status != VEIL_OK) {
    rt_error_set("%s", o.error);
  }
  return o.status;
}

CP_EXPORT bool veil_checkpointing(veil_checkpointer *c, uint64_t *done, uint64_t *of) {
  bool under_way = !cp_process_gone(c) && at32_load_acquire(&c->under_way) != 0;
  if (done != NULL) {
    *done = under_way ? at_load(&c->done) : 0;
  }
  if (of != NULL) {
    *of = under_way ? at_load(&c->of) : 0;
  }
  return under_way;
}
