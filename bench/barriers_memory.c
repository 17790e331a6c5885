// SPDX-License-Identifier: MIT
// barriers_memory.c: the nodes of the workload `barriers`, in veil's heap and in a copy of its layout; and a card
// table.

#include "bench/barriers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

VEIL_TYPE(node, next, child[0], child[1], other, chain, value);

enum { HEADER = 8, DAY_MS = 86400000, NURSERY = 4 << 20 };

veil_heap *barriers_heap;
veil_thread *barriers_self;
world barriers_veil;
uint8_t *barriers_cards;
uint64_t barriers_bad_bit = (uint64_t)1 << 62;

__attribute__((noinline, used)) node *barriers_read_slow(node **slot, node *ref) {
  ref = (node *)((uintptr_t)ref & ~barriers_bad_bit);
  *slot = ref;
  return ref;
}

// Slot in rdi, reference in rax. The stack is aligned anew, because who calls from within an asm statement may not have
// done it.
__asm__(".text\n"
        ".p2align 4\n"
        "barriers_read_stub:\n"
        "  push %rbp\n  mov %rsp, %rbp\n"
        "  push %rcx\n  push %rdx\n  push %rsi\n  push %rdi\n  push %r8\n  push %r9\n  push %r10\n  push %r11\n"
        "  mov %rsp, %rcx\n  and $-16, %rsp\n  push %rcx\n  push %rcx\n"
        "  mov %rax, %rsi\n  call barriers_read_slow\n"
        "  pop %rcx\n  mov %rcx, %rsp\n"
        "  pop %r11\n  pop %r10\n  pop %r9\n  pop %r8\n  pop %rdi\n  pop %rsi\n  pop %rdx\n  pop %rcx\n"
        "  pop %rbp\n  ret\n"
        ".globl barriers_read_stub\n");

// ---- veil's heap.

bool barriers_heap_open(const char *back_end) {
  // No cycle but those that are asked for: an idle heap would collect by itself.
  veil_options o = {.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = NURSERY, .idle = DAY_MS};
  barriers_heap = veil_open(&o);
  barriers_self = barriers_heap != NULL ? veil_attach(barriers_heap) : NULL;
  if (barriers_self == NULL || veil_add_roots(barriers_heap, &barriers_veil.all, 1) != VEIL_OK ||
      veil_add_roots(barriers_heap, &barriers_veil.bucket, 1) != VEIL_OK ||
      veil_add_roots(barriers_heap, &barriers_veil.first, 1) != VEIL_OK ||
      veil_add_roots(barriers_heap, &barriers_veil.root, 1) != VEIL_OK) {
    fprintf(stderr, "barriers: %s\n", veil_error());
    return false;
  }
  return true;
}

void barriers_heap_close(void) {
  memset(&barriers_veil, 0, sizeof barriers_veil);
  veil_detach(barriers_self);
  veil_close(barriers_heap);
}

static __attribute__((noinline)) void nodes_build(world *w, uint32_t count) {
  unsigned bucket_bits = 31 - (unsigned)__builtin_clz(count);
  w->count = count;
  w->hash_shift = 64 - bucket_bits;
  w->all = (node **)veil_new_pointers(barriers_self, count);
  w->bucket = (node **)veil_new_pointers(barriers_self, (size_t)1 << bucket_bits);
  for (uint32_t i = 0; i < count; i++) {
    node *n = veil_new(barriers_self, node);
    n->key = i;
    w->all[i] = n;
  }
  for (uint32_t i = 0; i < count; i++) {
    node *n = w->all[i];
    n->other = n->value = barriers_partner(w, i);
    n->next = w->all[i + 1 < count ? i + 1 : 0];
    if (i != 0) {
      w->all[(i - 1) / 2]->child[(i - 1) % 2] = n;
    }
    if (i % 2 == 0) {
      node **head = &w->bucket[barriers_bucket(w, i)];
      n->chain = *head;
      *head = n;
    }
  }
  w->first = w->root = w->all[0];
}

void barriers_build(uint32_t count) {
  nodes_build(&barriers_veil, count);
  veil_collect(barriers_self); // Nothing is young after a flip.
}

// ---- The twin.

static uintptr_t array_limit(node **array, size_t length) { return (uintptr_t)(array + length); }

static void range_include(uintptr_t *base, uintptr_t *limit, uintptr_t from, uintptr_t to) {
  *base = from < *base ? from : *base;
  *limit = to > *limit ? to : *limit;
}

// Huge pages, or a file in memory as veil's heap is one.
static void *memory_reserve(size_t bytes, bool huge) {
  int fd = huge ? -1 : memfd_create("barriers", MFD_CLOEXEC);
  if (!huge && (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)) {
    return NULL;
  }
  int flags = MAP_NORESERVE | (huge ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (fd >= 0) {
    close(fd); // the mapping keeps the file
  }
  if (at == MAP_FAILED) {
    return NULL;
  }
  madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return at;
}

static node *moved(const node *n, ptrdiff_t by) { return n == NULL ? NULL : (node *)((uintptr_t)n + (size_t)by); }

static void slots_copy(node **to, node *const *from, size_t count, ptrdiff_t by) {
  for (size_t i = 0; i < count; i++) {
    to[i] = moved(from[i], by);
  }
}

bool barriers_twin_open(twin *t, bool huge) {
  const world *v = &barriers_veil;
  size_t buckets = (size_t)1 << (64 - v->hash_shift);
  uintptr_t base[3] = {UINTPTR_MAX, (uintptr_t)v->all, (uintptr_t)v->bucket};
  uintptr_t limit[3] = {0, array_limit(v->all, v->count), array_limit(v->bucket, buckets)};
  uintptr_t lowest = UINTPTR_MAX, highest = 0;
  for (uint32_t i = 0; i < v->count; i++) {
    range_include(&base[0], &limit[0], (uintptr_t)v->all[i] - HEADER, (uintptr_t)(v->all[i] + 1));
  }
  for (int i = 0; i < 3; i++) {
    range_include(&lowest, &highest, base[i], limit[i]);
  }
  enum { HUGE_PAGE = 2 << 20 };
  lowest &= ~(uintptr_t)(HUGE_PAGE - 1); // alike within pages of any size
  *t = (twin){.world = *v, .span = highest - lowest + HUGE_PAGE};
  t->base = memory_reserve(t->span, huge);
  t->cards = memory_reserve((t->span >> CARD_SHIFT) + 8, false);
  if (t->base == NULL || t->cards == NULL) {
    return false;
  }
  uintptr_t start = ((uintptr_t)t->base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
  ptrdiff_t by = (ptrdiff_t)(start - lowest);
  for (int i = 0; i < 3; i++) {
    t->range[i].base = base[i] + (size_t)by;
    t->range[i].limit = limit[i] + (size_t)by;
  }
  world *w = &t->world;
  w->all = (node **)((uintptr_t)v->all + (size_t)by);
  w->bucket = (node **)((uintptr_t)v->bucket + (size_t)by);
  w->first = moved(v->first, by);
  w->root = moved(v->root, by);
  slots_copy(w->all, v->all, v->count, by);
  slots_copy(w->bucket, v->bucket, buckets, by);
  for (uint32_t i = 0; i < v->count; i++) {
    slots_copy((node **)w->all[i], (node *const *)v->all[i], offsetof(node, key) / sizeof(node *), by);
    w->all[i]->key = v->all[i]->key;
  }
  t->cards -= (uintptr_t)t->base >> CARD_SHIFT;
  return true;
}

void barriers_twin_close(twin *t) {
  munmap(t->base, t->span);
  munmap(t->cards + ((uintptr_t)t->base >> CARD_SHIFT), (t->span >> CARD_SHIFT) + 8);
}

void barriers_twin_spoil(twin *t, uint32_t nth) {
  for (uint32_t i = 0; i < t->world.count; i += nth) {
    node **slot = &t->world.all[i]->next;
    *slot = (node *)((uintptr_t)*slot | barriers_bad_bit);
  }
}

bool barriers_twin_is_healed(const twin *t) {
  bool healed = true;
  for (uint32_t i = 0; i < t->world.count; i++) {
    healed = healed && ((uintptr_t)t->world.all[i]->next & barriers_bad_bit) == 0;
  }
  return healed;
}

bool barriers_twin_agrees(const twin *t, uint32_t stride) {
  const world *v = &barriers_veil, *w = &t->world;
  for (uint32_t i = 0; i < w->count; i += stride) {
    const node *a = v->all[i], *b = w->all[i];
    if (a->key != i || b->key != i || a->other->key != b->other->key || a->value->key != b->value->key) {
      return false;
    }
  }
  return true;
}

void barriers_sweep(const world *w, size_t bytes) {
  uint32_t nodes = (uint32_t)(bytes / (sizeof(node) + HEADER));
  uint64_t sum = 0;
  for (uint32_t i = 0; i < w->count && i < nodes; i++) {
    sum += w->all[i]->key;
  }
  __asm__ volatile("" ::"r"(sum)); // so that reading is not in vain
}

// ---- Cards.

// How many words lie in what would be the nursery: none does, but who scans has to look.
static size_t card_scan(const uint64_t *word) {
  static uint64_t volatile young = (uint64_t)1 << 46; // unknown to the compiler
  uint64_t base = young;
  size_t found = 0;
  for (size_t i = 0; i < ((size_t)1 << CARD_SHIFT) / sizeof *word; i++) {
    found += word[i] - base < NURSERY;
  }
  return found;
}

size_t barriers_cards_scan(const twin *t) {
  size_t marked = 0, young = 0;
  for (int i = 0; i < 3; i++) {
    // The table is walked 8 cards at a time.
    size_t first = t->range[i].base >> CARD_SHIFT & ~(size_t)7, last = (t->range[i].limit - 1) >> CARD_SHIFT;
    for (size_t card = first; card <= last; card += 8) {
      uint64_t eight;
      memcpy(&eight, t->cards + card, sizeof eight);
      if (eight == 0) {
        continue;
      }
      for (size_t c = card; c < card + 8; c++) {
        if (t->cards[c] != 0) {
          t->cards[c] = 0;
          young += card_scan((const uint64_t *)(c << CARD_SHIFT));
          marked++;
        }
      }
    }
  }
  __asm__ volatile("" ::"r"(young)); // so that looking is not in vain
  return marked;
}
