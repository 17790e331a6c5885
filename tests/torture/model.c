// SPDX-License-Identifier: MIT
// model.c: worlds: roots, shadows, and the comparison of both graphs from the roots in lock step.
//
// Attached threads; a world is its lock holder's.

#include <stdlib.h>
#include <string.h>
#include "torture.h"

// ---- Roots.

static void roots_slots(void *arg, veil_root_visitor *visitor) {
  world *w = arg;
  for (int i = 0; i < ROOTS; i++) {
    veil_root_slot(visitor, &w->roots[i]);
  }
}

static void roots_range(void *arg, veil_root_visitor *visitor) {
  world *w = arg;
  veil_root_range(visitor, w->roots, w->roots + ROOTS);
}

static void work_grow(world *w, size_t limit) {
  void **more = calloc(limit, sizeof *more);
  REQUIRE(veil_add_roots(heap, more, limit) == VEIL_OK, "veil_add_roots: %s", veil_error());
  for (size_t i = 0; i < w->work_limit; i++) {
    ((void *volatile *)more)[i] = ((void *volatile *)w->work)[i]; // both are roots now
  }
  if (w->work != NULL) {
    veil_remove_roots(heap, w->work);
    free(w->work);
  }
  w->work = more;
  w->work_shadow = realloc(w->work_shadow, limit * sizeof *w->work_shadow);
  w->work_limit = limit;
}

// For ROOTS_STACK the caller has set w->roots to an array in its frame.
void world_open(worker *t, world *w, root_style style) {
  w->style = style;
  if (w->work == NULL) {
    work_grow(w, 64);
  }
  veil_status status = VEIL_OK;
  switch (style) {
  case ROOTS_OBJECT:
    status = veil_add_roots(heap, &w->holder, 1);
    do {
      w->holder = veil_new_pointers(t->self, ROOTS);
    } while (w->holder == NULL);
    break;
  case ROOTS_STACK:
    break;
  default:
    w->roots = calloc(ROOTS, sizeof *w->roots);
    status = style == ROOTS_PRECISE    ? veil_add_roots(heap, w->roots, ROOTS)
             : style == ROOTS_CALLBACK ? veil_add_roots_callback(heap, roots_slots, w)
                                       : veil_add_roots_callback(heap, roots_range, w);
    break;
  }
  REQUIRE(status == VEIL_OK, "roots of style %d: %s", (int)style, veil_error());
}

void **world_roots(world *w) { return w->style == ROOTS_OBJECT ? w->holder : w->roots; }

static void shadows_sweep(world *w);

void world_close(worker *t, world *w) {
  (void)t;
  memset(w->root_shadow, 0, sizeof w->root_shadow);
  shadows_sweep(w);
  REQUIRE(w->all == NULL, "shadows are left in a world without roots");
  switch (w->style) {
  case ROOTS_OBJECT:
    veil_remove_roots(heap, &w->holder);
    break;
  case ROOTS_STACK:
    break;
  case ROOTS_PRECISE:
    veil_remove_roots(heap, w->roots);
    free(w->roots);
    break;
  default:
    veil_remove_roots_callback(heap, w->style == ROOTS_CALLBACK ? roots_slots : roots_range, w);
    free(w->roots);
    break;
  }
  w->roots = NULL;
  w->holder = NULL;
  veil_remove_roots(heap, w->work);
  free(w->work);
  free(w->work_shadow);
  w->work = NULL;
  w->work_shadow = NULL;
  w->work_limit = 0;
}

// A mutator that waits for a lock may have to be stopped by a poll, so it waits in brackets. With signals half of the
// time without: then it is stopped in the middle of pthread_mutex_lock.
void world_lock(worker *t, world *w) {
  if (pthread_mutex_trylock(&w->lock) == 0) {
    return;
  }
  if (!cfg.poll && one_in(&t->random, 2)) {
    pthread_mutex_lock(&w->lock);
    return;
  }
  bracket_begin(t);
  pthread_mutex_lock(&w->lock);
  bracket_end(t);
}

void world_unlock(world *w) { pthread_mutex_unlock(&w->lock); }

void held_push(world *w, shadow *sh) {
  REQUIRE(w->held_count < HELD, "too many held objects");
  w->held[w->held_count++] = sh;
}

void held_pop(world *w, shadow *sh) {
  w->held_count--;
  REQUIRE(w->held[w->held_count] == sh, "held objects are not released in order");
}

// ---- Shadows are marked and swept from time to time: theirs is the only garbage collection that stops here.

typedef struct marker {
  shadow **stack;
  size_t count, limit;
} marker;

static void shadow_mark(world *w, marker *m, shadow *sh) {
  if (sh == NULL || sh->mark == w->mark) {
    return;
  }
  sh->mark = w->mark;
  if (m->count == m->limit) {
    m->limit = m->limit ? m->limit * 2 : 1024;
    m->stack = realloc(m->stack, m->limit * sizeof *m->stack);
  }
  m->stack[m->count++] = sh;
}

static void shadows_sweep(world *w) {
  marker m = {0};
  w->mark++;
  for (int i = 0; i < ROOTS; i++) {
    shadow_mark(w, &m, w->root_shadow[i]);
  }
  for (unsigned i = 0; i < w->held_count; i++) {
    shadow_mark(w, &m, w->held[i]);
  }
  while (m.count) {
    shadow *sh = m.stack[--m.count];
    for (size_t i = 0; i < sh->slots; i++) {
      shadow_mark(w, &m, sh->edges[i].to);
    }
  }
  free(m.stack);
  w->count = w->bytes = 0;
  for (shadow **at = &w->all; *at != NULL;) {
    shadow *sh = *at;
    if (sh->mark == w->mark) {
      w->count++;
      w->bytes += object_bytes(sh) + 16;
      at = &sh->next;
    } else {
      *at = sh->next;
      free(sh);
    }
  }
  w->live_count = w->count;
  w->live_bytes = w->bytes;
}

static void root_drop(world *w, unsigned i) {
  void *volatile *roots = (void *volatile *)world_roots(w);
  roots[i] = NULL;
  w->root_shadow[i] = NULL;
}

// At the top of a program only: nested ones have shadows in their frames.
void world_trim(worker *t, world *w) {
  if (w->count < w->live_count * 2 + 500 && w->bytes < w->live_bytes + w->budget) {
    return;
  }
  shadows_sweep(w);
  for (unsigned tries = 0; w->live_bytes > w->budget && tries < ROOTS * 2; tries++) {
    // One root after the other: what is shared goes last.
    unsigned i = (unsigned)below(&t->random, ROOTS);
    for (unsigned n = 0; w->root_shadow[i] == NULL && n < ROOTS; n++) {
      i = (i + 1) % ROOTS;
    }
    root_drop(w, i);
    shadows_sweep(w);
    breathe(t);
  }
}

// ---- The walk.

static size_t visit(world *w, void *obj, shadow *sh, size_t count) {
  if (sh->mark == w->mark) {
    object_check(obj, sh, false); // met by another path: its stamp is this walk's already
    return count;
  }
  object_check(obj, sh, true);
  sh->mark = w->mark;
  sh->stamp = w->mark;
  if (sh->kind->stamp_word >= 0) {
    ((volatile uint64_t *)obj)[sh->kind->stamp_word] = sh->stamp;
  }
  if (sh->slots != 0) {
    if (count == w->work_limit) {
      work_grow(w, w->work_limit * 2);
    }
    w->work[count] = obj;
    w->work_shadow[count++] = sh;
  }
  return count;
}

void world_walk(worker *t, world *w) {
  w->mark++;
  uint64_t met = 0;
  for (int i = 0; i < ROOTS; i++) {
    void **roots = world_roots(w);
    void *obj = roots[i];
    if (w->root_shadow[i] == NULL) {
      REQUIRE(obj == NULL, "root %d of world %u should be NULL and is %p", i, w->index, obj);
      continue;
    }
    size_t count = visit(w, obj, w->root_shadow[i], 0);
    while (count) {
      count--;
      obj = ((void *volatile *)w->work)[count];
      ((void *volatile *)w->work)[count] = NULL;
      shadow *sh = w->work_shadow[count];
      met++;
      for (size_t s = 0; s < sh->slots; s++) {
        if (sh->edges[s].to != NULL) {
          count = visit(w, object_follow(obj, sh, s), sh->edges[s].to, count);
        }
      }
      breathe(t);
    }
  }
  w->walks++;
  atomic_fetch_add_explicit(&stat_walks, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&stat_verified, met, memory_order_relaxed);
}

// A random path, compared on the way.
found world_find(worker *t, world *w, unsigned depth) {
  unsigned i = (unsigned)below(&t->random, ROOTS);
  for (unsigned n = 0; w->root_shadow[i] == NULL && n < ROOTS; n++) {
    i = (i + 1) % ROOTS;
  }
  shadow *sh = w->root_shadow[i];
  if (sh == NULL) {
    return (found){NULL, NULL};
  }
  void *obj = world_roots(w)[i];
  for (unsigned d = 0;; d++) {
    object_check(obj, sh, false);
    if (d >= depth || sh->slots == 0) {
      return (found){obj, sh};
    }
    size_t s = below(&t->random, sh->slots);
    for (size_t n = 0; sh->edges[s].to == NULL && n < sh->slots && n < 16; n++) {
      s = (s + 1) % sh->slots;
    }
    if (sh->edges[s].to == NULL) {
      return (found){obj, sh};
    }
    obj = object_follow(obj, sh, s);
    sh = sh->edges[s].to;
  }
}
