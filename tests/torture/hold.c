// SPDX-License-Identifier: MIT
// hold.c: objects that only a stack or a register holds, by their start, from inside, or from one past their end; or a name.
//
// The object leaves the graph, something happens that may collect, and then it is compared with its shadow and put back.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "torture.h"
#include "veil/roots.h"

// What is left on the dead part of the stack would hold objects, too.
static __attribute__((noinline)) void stack_clean(void) {
  volatile char dead[6000];
  memset((char *)dead, 0, sizeof dead);
  __asm__ volatile("" : : "r"(dead) : "memory");
}

static void happen(worker *t, world *w) {
  stack_clean();
  switch (below(&t->random, 7)) {
  case 0:
    veil_collect(t->self);
    return;
  case 1:
    veil_collect_start(t->self);
    return;
  case 2:
    bracket_begin(t);
    usleep((useconds_t)below(&t->random, 2000));
    bracket_end(t);
    return;
  default:
    program_run(t, w, (unsigned)between(&t->random, 1, 15));
    return;
  }
}

typedef struct happening {
  worker *t;
  world *w;
} happening;

static void happen_call(void *arg) {
  happening *h = arg;
  happen(h->t, h->w);
}

// In a register that a callee saves, and nowhere else.
static __attribute__((noinline)) void *hold_callee_saved(void *obj, happening *h) {
  void *out;
  __asm__ volatile(
      "movq %[obj], %%r12\n\t"
      "movq %%rsp, %%r13\n\t"
      "subq $128, %%rsp\n\t" // the red zone
      "andq $-16, %%rsp\n\t"
      "xorl %%esi, %%esi\n\t"
      "movq %[arg], %%rdi\n\t"
      "call *%[fn]\n\t"
      "movq %%r13, %%rsp\n\t"
      "movq %%r12, %[out]\n\t"
      : [out] "=&a"(out)
      : [obj] "S"(obj), [arg] "d"(h), [fn] "c"((void (*)(void *))happen_call)
      : "r12", "r13", "rdi", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return out;
}

// In a vector register only, for some hundred microseconds: a signal has to find it there.
static __attribute__((noinline)) void *hold_vector(void *obj, uint64_t spins) {
  void *out;
  __asm__ volatile("movq %[obj], %%xmm9\n\t"
                   "xorl %%esi, %%esi\n\t"
                   "1: pause\n\t"
                   "decq %[n]\n\t"
                   "jnz 1b\n\t"
                   "movq %%xmm9, %[out]\n\t"
                   "pxor %%xmm9, %%xmm9\n\t"
                   : [out] "=a"(out), [n] "+c"(spins), [obj] "+S"(obj)
                   :
                   : "xmm9", "cc");
  return out;
}

// In the upper half of a 256-bit register only.
static __attribute__((noinline, target("avx"))) void *hold_upper(void *obj, uint64_t spins) {
  void *out;
  __asm__ volatile("movq %[obj], %%xmm9\n\t"
                   "vinsertf128 $1, %%xmm9, %%ymm10, %%ymm10\n\t"
                   "vpxor %%xmm9, %%xmm9, %%xmm9\n\t"
                   "xorl %%esi, %%esi\n\t"
                   "1: pause\n\t"
                   "decq %[n]\n\t"
                   "jnz 1b\n\t"
                   "vextractf128 $1, %%ymm10, %%xmm9\n\t"
                   "movq %%xmm9, %[out]\n\t"
                   "vzeroupper\n\t"
                   : [out] "=a"(out), [n] "+c"(spins), [obj] "+S"(obj)
                   :
                   : "xmm9", "xmm10", "cc");
  return out;
}

static __attribute__((noinline)) void *hold_vectors(worker *t, void *obj) {
  for (int i = 0; i < 20; i++) {
    uint64_t spins = between(&t->random, 100, 3000);
    obj = __builtin_cpu_supports("avx") && one_in(&t->random, 2) ? hold_upper(obj, spins) : hold_vector(obj, spins);
  }
  return obj;
}

// By an address inside it, or one past its end.
static __attribute__((noinline)) void *hold_inside(worker *t, world *w, void *obj, size_t offset) {
  char *inside = (char *)obj + offset;
  __asm__ volatile("" : "+r"(inside) : : "memory"); // the compiler forgets obj
  happen(t, w);
  __asm__ volatile("" : "+r"(inside) : : "memory");
  return inside - offset;
}

static __attribute__((noinline)) void *hold_stack(worker *t, world *w, void *obj) {
  void *volatile kept[3] = {NULL, obj, NULL};
  happen(t, w);
  return kept[1];
}

// By a name alone; holds nest, so each has one of its own.
static __attribute__((noinline)) void *hold_named(worker *t, world *w, void *obj) {
  static _Thread_local unsigned count;
  char name[64];
  snprintf(name, sizeof name, "%u held by %p", count++, (void *)t);
  if (veil_root_set(t->self, name, obj) != VEIL_OK) {
    mismatch("veil_root_set: %s", veil_error());
  }
  __asm__ volatile("" : "=r"(obj) : : "memory"); // forgotten
  happen(t, w);
  obj = veil_root_get(t->self, name);
  if (obj == NULL || veil_root_set(t->self, name, NULL) != VEIL_OK || veil_root_get(t->self, name) != NULL) {
    mismatch("the name %s has lost its object, or is not lost with it", name);
  }
  return obj;
}

// All that is not fresh any more: the paths below what was held.
static void below_check(worker *t, void *obj, shadow *sh) {
  for (int path = 0; path < 4; path++) {
    void *at = obj;
    shadow *at_sh = sh;
    for (int depth = 0; depth < 8; depth++) {
      object_check(at, at_sh, depth < 2);
      size_t s = at_sh->slots ? below(&t->random, at_sh->slots) : 0;
      if (at_sh->slots == 0 || at_sh->edges[s].to == NULL) {
        break;
      }
      at = object_follow(at, at_sh, s);
      at_sh = at_sh->edges[s].to;
    }
  }
}

static void *hold(worker *t, world *w, void *obj, const shadow *sh) {
  happening h = {t, w};
  size_t bytes = object_bytes(sh);
  switch (below(&t->random, 6)) {
  case 4:
    return hold_named(t, w, obj);
  case 0:
    return hold_stack(t, w, obj);
  case 1:
    return hold_inside(t, w, obj, bytes ? below(&t->random, bytes) : 0);
  case 2:
    return hold_inside(t, w, obj, bytes); // one past the end
  case 3:
    return hold_callee_saved(obj, &h);
  default:
    return cfg.poll ? hold_stack(t, w, obj) : hold_vectors(t, obj);
  }
}

void hold_random(worker *t, world *w) {
  unsigned i = (unsigned)below(&t->random, ROOTS);
  found at;
  if (one_in(&t->random, 2)) {
    at = object_new(t, w, kind_pick(&t->random));
  } else {
    at = (found){world_roots(w)[i], w->root_shadow[i]};
    ((void *volatile *)world_roots(w))[i] = NULL;
    w->root_shadow[i] = NULL;
  }
  if (at.obj == NULL) {
    return;
  }
  shadow *sh = at.sh;
  held_push(w, sh);
  void *obj = hold(t, w, at.obj, sh);
  held_pop(w, sh);
  below_check(t, obj, sh);
  ((void *volatile *)world_roots(w))[i] = obj;
  w->root_shadow[i] = sh;
  atomic_fetch_add_explicit(&stat_holds, 1, memory_order_relaxed);
}
