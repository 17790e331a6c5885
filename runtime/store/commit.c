// SPDX-License-Identifier: MIT
// commit.c: commits, as programs ask for them: who takes the instant for all that wait, who writes the log for all that wait.
//
// Neighbours: take.c and change.c take it, fold.c makes room. Any thread, attached or not. Instants have numbers, which are the tickets: what was stored before a call is in the next one that begins.

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "vm/check.h"

bool st_process_gone(const veil_store *store) { return getpid() != store->process; }

// Under lock.
static void poison_locked(veil_store *store, veil_status status) {
  if (store->poison == VEIL_OK) {
    store->poison = status;
    snprintf(store->poison_why, sizeof store->poison_why, "%s", veil_error());
  }
}

void st_poison(veil_store *store, veil_status status) {
  pthread_mutex_lock(&store->lock);
  poison_locked(store, status);
  pthread_mutex_unlock(&store->lock);
  st_wake(store, 0, ST_TURNS - 1);
}

// Without the lock, or who wakes up would wait for it at once. Those who wait for any of these commits come first, then who waits to take one: so most of the first have come back by then, and share it.
void st_wake(veil_store *store, uint64_t first, uint64_t last) {
  for (uint64_t i = first; i <= last && i < first + ST_TURNS; i++) {
    pthread_cond_broadcast(&store->turn[i % ST_TURNS]);
  }
  pthread_cond_broadcast(&store->happened);
}

// One of those who wait for a turn is enough: the others are told when what it took is durable.
static void turn_wake(veil_store *store, uint64_t instant) { pthread_cond_signal(&store->turn[instant % ST_TURNS]); }

veil_status st_refused(const veil_store *store, const char *function) {
  if (st_process_gone(store)) {
    rt_error_set("%s: %s is the parent's, and this is a child of fork", function, store->path);
    return VEIL_UNSUPPORTED;
  }
  if (store->options.mode == VEIL_STORE_READ_ONLY) {
    rt_error_set("%s: %s was opened read-only", function, store->path);
    return VEIL_INVALID;
  }
  return VEIL_OK;
}

// ---- Writing.

// Under lock.
static veil_status poison_tell(const veil_store *store) {
  if (store->poison != VEIL_OK) {
    rt_error_set("%s", store->poison_why);
  }
  return store->poison;
}

// Under lock, which is given up meanwhile, and after that once more. What was appended before is durable then, or the store is poisoned.
static void write_locked(veil_store *store) {
  while (store->writing) {
    pthread_cond_wait(&store->happened, &store->lock);
  }
  store->writing = true;
  uint64_t upto = store->appended, before = store->durable;
  pthread_mutex_unlock(&store->lock);
  veil_status status = st_log_write(store->log, NULL);
  pthread_mutex_lock(&store->lock);
  store->writing = false;
  store->figures.barriers++;
  if (status != VEIL_OK) {
    poison_locked(store, status);
  } else if (store->durable < upto) {
    store->durable = upto;
  }
  bool lost = store->poison != VEIL_OK;
  uint64_t next = store->begun + 1;
  pthread_mutex_unlock(&store->lock);
  st_wake(store, lost ? 0 : before + 1, lost ? ST_TURNS - 1 : upto);
  turn_wake(store, next);
  pthread_mutex_lock(&store->lock);
}

veil_status st_write_all(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  write_locked(store);
  veil_status status = poison_tell(store);
  pthread_mutex_unlock(&store->lock);
  return status;
}

veil_status st_write(veil_store *store, uint64_t instant) {
  pthread_mutex_lock(&store->lock);
  while (store->durable < instant && store->poison == VEIL_OK) {
    if (store->writing) {
      pthread_cond_wait(&store->happened, &store->lock);
    } else {
      write_locked(store);
    }
  }
  veil_status status = store->durable >= instant ? VEIL_OK : poison_tell(store);
  pthread_mutex_unlock(&store->lock);
  return status;
}

// ---- Taking.

enum { FEW_PAGES = 32 };

typedef struct asked {
  veil_store *store;
  uint64_t instant;  // the one that has all that was stored before
  bool leads;        // this thread takes it
  bool waits;        // until it is durable
  veil_status status;
  char why[ST_ERROR];
  uint64_t pause_ns, logged;
  veil_commit_figures figures;
} asked;

static void outcome(asked *a, veil_status status) {
  a->status = status;
  snprintf(a->why, sizeof a->why, "%s", status != VEIL_OK ? veil_error() : "");
}

// Under lock. A commit of few pages waits for the barrier that is under way, or about to be: it shares the next with all that come meanwhile. To take an instant for each would take longer, and the barrier after it would not be over sooner. Comparing many
// pages takes as long as a barrier, and goes on beside it. Who does not wait to be durable does not wait for this either.
static bool barrier_first(const asked *a) {
  const veil_store *store = a->store;
  return a->waits && store->last.pages <= FEW_PAGES && store->durable < store->appended && (store->writing || store->to_write != 0);
}

// Between brackets: waits until the instant was taken, or is this thread's to take. Who waits to be durable sleeps on until it is.
static void turn_wait(void *arg) {
  asked *a = arg;
  veil_store *store = a->store;
  pthread_mutex_lock(&store->lock);
  if (a->instant == 0) {
    a->instant = store->begun + 1; // one that has begun may have been taken already
  }
  while (store->taken < a->instant && store->poison == VEIL_OK && (store->taking || barrier_first(a))) {
    pthread_cond_wait(a->waits ? &store->turn[a->instant % ST_TURNS] : &store->happened, &store->lock);
  }
  a->leads = store->taken < a->instant && store->poison == VEIL_OK;
  if (store->poison != VEIL_OK && store->durable < a->instant) {
    a->status = store->poison;
    snprintf(a->why, sizeof a->why, "%s", store->poison_why);
  } else if (a->leads) {
    store->taking = true;
    store->begun++;
  } else {
    a->status = store->appended >= a->instant ? VEIL_OK : store->take_status; // a newer one has what an older one, that failed, has not; and says nothing of one that did not
    snprintf(a->why, sizeof a->why, "%s", store->take_why);
    a->figures = store->last;
  }
  pthread_mutex_unlock(&store->lock);
}

// What was found belongs to the next commit, and nothing is believed of what was described.
static void owe(veil_store *store) {
  st_change *c = &store->change;
  for (size_t i = 0, n; i < c->count && STORE_BREAK != STORE_BREAK_OWED; i += n) {
    for (n = 1; i + n < c->count && c->pages[i + n] == c->pages[i] + n; n++) {
    }
    veil_service_written(store->service, c->pages[i], n);
  }
  c->looked = true;
  veil_description_close(store->description);
  store->description = NULL;
}

static void figures_add(veil_store *store, const asked *a) {
  const st_change *c = &store->change;
  store->last = (veil_commit_figures){.ticket = a->instant, .pages = c->count, .changed = c->changed, .logged = a->logged, .pause_ns = a->pause_ns};
  store->figures.commits += c->words != 0;
  store->figures.pages += c->count;
  store->figures.changed += c->changed;
  store->figures.logged += a->logged;
}

// Between brackets: what was copied goes to the log.
static void taken_commit(void *arg) {
  asked *a = arg;
  veil_store *store = a->store;
  st_take_rest(store);
  pthread_mutex_lock(&store->contents_lock);
  veil_status status = st_change_compose(store);
  pthread_mutex_unlock(&store->contents_lock);
  outcome(a, status == VEIL_OK ? st_change_commit(store, &a->logged) : status);
  if (a->status != VEIL_OK) {
    owe(store);
  }
  st_take_trim(store);
}

static void instant_take(asked *a) {
  outcome(a, st_take(a->store, &a->pause_ns));
  if (a->status == VEIL_OK) {
    veil_service_wait(a->store->heap, taken_commit, a);
  }
}

// This thread writes no more. If there is something to write, of somebody who does not wait for it, it may be long until the folder does.
static void written_tell(veil_store *store) {
  pthread_mutex_lock(&store->lock);
  store->to_write--;
  bool waits = store->durable < store->appended;
  uint64_t next = store->begun + 1;
  pthread_mutex_unlock(&store->lock);
  if (waits) {
    turn_wake(store, next);
  }
}

// Between brackets.
static void taken_tell(void *arg) {
  asked *a = arg;
  veil_store *store = a->store;
  pthread_mutex_lock(&store->lock);
  store->taking = false;
  store->taken = a->instant;
  store->take_status = a->status;
  snprintf(store->take_why, sizeof store->take_why, "%s", a->why);
  if (a->status == VEIL_OK) {
    store->appended = store->taken;
    figures_add(store, a);
    a->figures = store->last;
    store->fold_wanted |= st_fold_is_due(store); // else when all is read (source.c)
  }
  bool folds = store->fold_wanted, writes = a->waits && a->status == VEIL_OK, lost = store->poison != VEIL_OK;
  store->to_write += writes;
  pthread_mutex_unlock(&store->lock);
  if (lost) {
    st_wake(store, 0, ST_TURNS - 1);
  } else {
    st_wake(store, a->instant, a->instant - (a->status == VEIL_OK)); // of those who wait to be durable nobody, unless it has failed
    turn_wake(store, a->instant + 1);
  }
  if (folds) {
    pthread_cond_signal(&store->folder_wanted);
  }
  if (writes) {
    outcome(a, st_write(store, a->instant));
    written_tell(store);
  }
}

static veil_status take(asked *a) {
  veil_store *store = a->store;
  veil_service_wait(store->heap, turn_wait, a);
  if (a->leads) {
    instant_take(a);
    if (a->status == VEIL_NO_MEMORY) {
      instant_take(a); // the heap had grown by more than there was a description for, perhaps
    }
    veil_service_wait(store->heap, taken_tell, a);
  }
  if (a->status != VEIL_OK) {
    rt_error_set("%s", a->why);
  }
  return a->status;
}

// ---- Calls.

typedef struct waiting {
  veil_store *store;
  uint64_t ticket;
  veil_status status;
  char why[ST_ERROR];
} waiting;

static void written_wait(void *arg) {
  waiting *w = arg;
  w->status = st_write(w->store, w->ticket);
  snprintf(w->why, sizeof w->why, "%s", w->status != VEIL_OK ? veil_error() : "");
}

static veil_status write_wait(veil_store *store, uint64_t ticket) {
  waiting w = {.store = store, .ticket = ticket};
  veil_service_wait(store->heap, written_wait, &w);
  if (w.status != VEIL_OK) {
    rt_error_set("%s", w.why);
  }
  return w.status;
}

ST_EXPORT veil_status veil_store_commit(veil_store *store, veil_commit_figures *out) {
  veil_status status = st_refused(store, "veil_store_commit");
  if (status != VEIL_OK) {
    return status;
  }
  asked a = {.store = store, .waits = true};
  status = take(&a);
  if (status == VEIL_OK && !a.leads) {
    status = write_wait(store, a.instant);
  }
  if (out != NULL) {
    *out = a.figures;
  }
  return status;
}

ST_EXPORT veil_status veil_store_commit_async(veil_store *store, uint64_t *ticket) {
  veil_status status = st_refused(store, "veil_store_commit_async");
  if (status != VEIL_OK) {
    return status;
  }
  asked a = {.store = store};
  status = take(&a);
  if (status == VEIL_OK) {
    *ticket = a.instant;
    pthread_mutex_lock(&store->lock);
    store->write_wanted |= store->durable < a.instant; // an older one may still want it
    pthread_mutex_unlock(&store->lock);
    pthread_cond_signal(&store->folder_wanted);
  }
  return status;
}

static veil_status ticket_check(veil_store *store, const char *function, uint64_t ticket) {
  veil_status status = st_refused(store, function);
  if (status != VEIL_OK) {
    return status; // in a child of fork somebody may have had the lock
  }
  pthread_mutex_lock(&store->lock);
  bool there = ticket != 0 && ticket <= store->appended; // others are never durable: to wait for one would take for ever
  pthread_mutex_unlock(&store->lock);
  if (!there) {
    rt_error_set("%s: there is no ticket %llu", function, (unsigned long long)ticket);
    status = VEIL_INVALID;
  }
  return status;
}

ST_EXPORT veil_status veil_store_wait(veil_store *store, uint64_t ticket) {
  veil_status status = ticket_check(store, "veil_store_wait", ticket);
  return status == VEIL_OK ? write_wait(store, ticket) : status;
}

ST_EXPORT veil_status veil_store_poll(veil_store *store, uint64_t ticket) {
  veil_status status = ticket_check(store, "veil_store_poll", ticket);
  if (status != VEIL_OK) {
    return status;
  }
  pthread_mutex_lock(&store->lock);
  status = store->durable >= ticket ? VEIL_OK : store->poison == VEIL_OK ? VEIL_BUSY : poison_tell(store);
  pthread_mutex_unlock(&store->lock);
  return status;
}

typedef struct looking {
  veil_store *store;
  veil_store_figures figures;
} looking;

// Between brackets: somebody may read pages of the image with the lock.
static void figures_get(void *arg) {
  looking *l = arg;
  veil_store *store = l->store;
  pthread_mutex_lock(&store->contents_lock);
  size_t cached = st_contents_cached(store->contents);
  uint64_t bytes = store->log != NULL ? st_log_bytes(store->log) : 0, used = store->log != NULL ? st_log_used(store->log) : 0;
  pthread_mutex_unlock(&store->contents_lock);
  pthread_mutex_lock(&store->lock);
  l->figures = store->figures;
  pthread_mutex_unlock(&store->lock);
  l->figures.cache_bytes = cached;
  l->figures.log_bytes = bytes;
  l->figures.log_used = used;
}

ST_EXPORT veil_store_figures veil_store_get_figures(veil_store *store) {
  looking l = {.store = store};
  if (!st_process_gone(store)) {
    veil_service_wait(store->heap, figures_get, &l);
  }
  return l.figures;
}
