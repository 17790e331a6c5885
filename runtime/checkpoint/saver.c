// SPDX-License-Identifier: MIT
// saver.c: the thread that serves requests: the instant, then all pages that nobody has touched meanwhile.
//
// Neighbours: call.c hands in requests, bell.c wakes it, writer.c writes, unsaved.c copies. It calls the collector's hooks and so may have to wait for a
// stop or a fork; the writer never does, so whoever waits for a slot of the pool goes on meanwhile (cp.pool).

#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/tell.h"

enum { TOLD_NS = 50000000, MS = 1000000 };

// ---- The writer.

void cp_order_give(veil_checkpointer *c, enum cp_order order) {
  at32_store_release(&c->order, order);
  cp_writer_wake(c);
}

static void progress_tell(veil_checkpointer *c) {
  uint64_t now = cp_now();
  if (now - c->told_ns >= TOLD_NS) {
    c->told_ns = now;
    rt_tell_checkpoint_progress(c->heap, at_load(&c->done), at_load(&c->of));
  }
}

void cp_order_wait(veil_checkpointer *c) {
  while (at32_load_acquire(&c->order) != CP_REST) {
    uint32_t seen = at32_load_acquire(&c->rests);
    if (at32_load_acquire(&c->order) != CP_REST) {
      rt_wait(&c->rests, seen, TOLD_NS / MS);
      progress_tell(c);
    }
  }
}

// ---- Pages.

static cp_run *run_take(veil_checkpointer *c) {
  uint64_t head = at_load(&c->run_head);
  for (;;) {
    uint32_t seen = at32_load_acquire(&c->run_given);
    if (head - at_load_acquire(&c->run_tail) < c->run_count) {
      return &c->runs[head % c->run_count];
    }
    rt_wait(&c->run_given, seen, TOLD_NS / MS);
    progress_tell(c);
  }
}

// Once through all pages. False: there was none to save. `insists`: waits for those that somebody holds, and has those fetched that are away.
static bool pass(veil_checkpointer *c, bool insists, bool *progress) {
  bool any = false;
  for (size_t page = 0; (page = veil_service_next(c->service, page, VEIL_UNSAVED)) < c->pages.count;) {
    any = true;
    if (insists) {
      veil_service_settle(c->service, page, VEIL_UNSAVED); // its own way to the writer is the pool, as a trap's
      *progress = true;
    }
    size_t count = CP_RUN - page % CP_RUN; // so blobs of one version and of another have the same bounds
    cp_run *run = run_take(c);
    if (cp_run_fill(c, run, page, count < c->pages.count - page ? count : c->pages.count - page) != 0) {
      *progress = true;
      at_store_release(&c->run_head, at_load(&c->run_head) + 1);
      cp_writer_wake(c);
    }
    page += count;
    progress_tell(c);
  }
  return any;
}

// When the hooks know of no claim any more all calls of `unsaved` have returned, and what they have copied is queued.
static void walk(veil_checkpointer *c) {
  for (bool progress = true, insists = false;; insists = !progress) {
    progress = false;
    if (!pass(c, insists, &progress)) {
      veil_service_settle_some(c->service, 0, 1, VEIL_UNSAVED); // the last may have been a trap's
      return;
    }
  }
}

// ---- A checkpoint.

// The caller goes on, and `r` is gone.
static void request_answer(veil_checkpointer *c, cp_request *r, veil_status status, const veil_checkpoint_figures *figures) {
  pthread_mutex_lock(&c->lock);
  r->status = status;
  r->figures = *figures;
  memcpy(r->error, c->error, sizeof r->error);
  r->answered = true;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

static void figures_of_pool(const veil_checkpointer *c, veil_checkpoint_figures *f) {
  f->pages = at_load(&c->done);
  f->pages_trapped = at_load(&c->pool.saved) - c->copied;
  f->pool_max = at_load(&c->pool.used_max) * c->pages.page_size;
  f->pool_waits = at_load(&c->pool.waits);
  f->pool_wait_ns = at_load(&c->pool.wait_ns);
}

static veil_status instant(veil_checkpointer *c, veil_instant_figures *figures) {
  unsigned flags = (c->full ? VEIL_INSTANT_ALL : VEIL_INSTANT_DIRTY) | (c->watching ? VEIL_INSTANT_WATCH : 0);
  veil_status status = veil_service_instant(c->service, flags, &cp_instant, c, figures);
  if (status == VEIL_UNSUPPORTED && c->full && c->watching) {
    c->watching = false; // nobody can watch writes, so the next one is full, too
    status = veil_service_instant(c->service, VEIL_INSTANT_ALL, &cp_instant, c, figures);
  }
  cp_ahead_give(c);
  at32_store(&c->readable, figures->readable);
  at_store(&c->of, figures->claimed + figures->at_once);
  at_store_release(&c->stash, (uint64_t)c->stashed);
  c->stashed = NULL;
  cp_writer_wake(c);
  if (status != VEIL_OK) {
    return cp_fail(c, status, veil_error());
  }
  if (figures->claimed + figures->at_once > c->reserved) { // cp.pool
    return cp_fail(c, VEIL_NO_MEMORY, "veil_checkpoint: the heap has grown to more than twice its size meanwhile");
  }
  return c->stash_failed ? cp_fail(c, VEIL_NO_MEMORY, "veil_checkpoint: no memory for pages that have to be copied in the stop") : VEIL_OK;
}

static void flight_reset(veil_checkpointer *c) {
  c->status = VEIL_OK;
  c->error[0] = 0;
  c->stash_failed = false;
  c->copied = 0;
  at32_store(&c->failed, 0);
  at32_store(&c->walked, 0);
  at32_store(&c->readable, 0);
  for (size_t i = 0; i <= c->pages.count / CP_RUN / 8; i++) {
    at8_store(&c->trapped[i], 0); // a trap of the last one may still set a bit
  }
  at_store(&c->done, 0);
  at_store(&c->of, 0);
  cp_pool_reset(&c->pool);
  c->told_ns = c->began_ns = cp_now();
}

// How much of the pool will be needed: by a full one as much as traps may take for neighbours, by an increment what the last one took.
static void pool_ready(veil_checkpointer *c) { cp_pool_ready(&c->pool, c->full ? c->in_use * c->pages.page_size : c->pool_used); }

// The instant, and all pages. *r is NULL afterwards if it was answered.
static void pages_save(veil_checkpointer *c, cp_request **r, veil_checkpoint_figures *f) {
  veil_instant_figures stop = {0};
  pool_ready(c);
  cp_order_give(c, CP_WRITE);
  veil_status status = instant(c, &stop);
  f->pause_ns = stop.pause_ns;
  if (status == VEIL_OK && *r != NULL && ((*r)->flags & VEIL_CHECKPOINT_START) != 0) {
    request_answer(c, *r, VEIL_OK, f);
    *r = NULL;
  }
  walk(c);
  at32_store_release(&c->walked, 1);
  cp_writer_wake(c);
  cp_order_wait(c);
  figures_of_pool(c, f);
  c->pool_used = c->full ? c->pool_used : f->pool_max;
  cp_pool_trim(&c->pool);
}

// From the image's beginning to its end. `r` may be NULL.
static void serve(veil_checkpointer *c, cp_request *r, uint64_t called_ns) {
  veil_checkpoint_figures f = {0};
  bool to_path = r == NULL || r->fd < 0;
  flight_reset(c);
  veil_status status = cp_file_begin(c, to_path ? -1 : r->fd, r != NULL && (r->flags & VEIL_CHECKPOINT_FULL) != 0);
  f.full = c->full;
  f.version = c->version;
  rt_told told = rt_tell_checkpoint_begin(c->heap, c->full);
  if (status == VEIL_OK) {
    pages_save(c, &r, &f);
    status = c->status;
  }
  cp_file_end(c);
  f.version = status == VEIL_OK && !to_path ? 1 : c->version;
  f.bytes = status == VEIL_OK ? c->committed.written : 0;
  f.durable_ns = status == VEIL_OK ? cp_now() - called_ns : 0;
  rt_tell_checkpoint_end(c->heap, told, status, f.version, f.pages, f.bytes);
  if (r != NULL) {
    request_answer(c, r, status, &f);
  }
  pthread_mutex_lock(&c->lock);
  c->last.status = status;
  c->last.figures = f;
  memcpy(c->last.error, c->error, sizeof c->last.error);
  c->ended++;
  at32_store_release(&c->under_way, c->ended != c->asked);
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

// ---- What there is to do.

static cp_request *request_next(veil_checkpointer *c) {
  pthread_mutex_lock(&c->lock);
  cp_request *r = c->first;
  if (r != NULL) {
    c->first = r->next;
    c->last_next = c->first == NULL ? &c->first : c->last_next;
    at32_add_full(&c->requests, (uint32_t)-1);
  }
  pthread_mutex_unlock(&c->lock);
  return r;
}

// Milliseconds until the next one that nobody asks for is due; 0: now. UINT_MAX: never.
static unsigned due_ms(const veil_checkpointer *c) {
  uint64_t now = cp_now(), due = c->began_ns + (uint64_t)c->options.interval_ms * MS;
  if (c->options.interval_ms == 0) {
    return UINT_MAX;
  }
  return due <= now ? 0 : (unsigned)((due - now + MS - 1) / MS);
}

static void own_serve(veil_checkpointer *c) {
  pthread_mutex_lock(&c->lock);
  c->asked++;
  at32_store_release(&c->under_way, 1);
  pthread_mutex_unlock(&c->lock);
  serve(c, NULL, cp_now());
}

void *cp_saver_main(void *checkpointer) {
  veil_checkpointer *c = checkpointer;
  prctl(PR_SET_NAME, "veil-saver");
  c->began_ns = cp_now();
  for (;;) {
    uint32_t seen = at32_load_acquire(&c->bell->rung);
    cp_request *r = request_next(c);
    unsigned ms = due_ms(c);
    if (r != NULL) {
      serve(c, r, r->called_ns);
    } else if (at32_load_acquire(&c->closing)) {
      return NULL;
    } else if (at32_cas_full(&c->bell->asked, 1, 0) || ms == 0) {
      own_serve(c);
    } else if (c->compact) {
      cp_order_give(c, CP_COMPACT);
      cp_order_wait(c);
    } else {
      rt_wait(&c->bell->rung, seen, ms == UINT_MAX ? 0 : ms);
    }
  }
}
