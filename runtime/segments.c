// SPDX-License-Identifier: MIT
// segments.c: global and thread-local variables as ambiguous roots, where the options ask for them.
//
// Neighbours: collect.c flips inside rt_segments_hold, roots.c asks for the scan. The list of segments is the process's, and the loader's lock guards it: whoever flips
// holds that lock (dl_iterate_phdr has no other way to ask) from before the stop until after it. So no stopped thread has it, nothing is loaded or unloaded
// in the pause, and the thread that waits for it counts as blocked meanwhile (rt.loader).

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "runtime/dump_format.h"
#include "runtime/futex.h"
#include "runtime/registers.h"
#include "vm/os.h"

typedef struct segment {
  const char *base, *limit;
} segment;

typedef struct module {
  size_t id;
  size_t bytes; // of its thread-local variables
} module;

// Under the loader's lock.
static struct {
  unsigned long long adds, subs; // of the loader, when the list was made
  segment *segments;             // with the modules behind them, in one mapping
  module *modules;
  size_t segment_count, module_count, bytes;
} known;

// Constant once a heap with tls_roots is open.
static size_t static_bytes; // below the thread pointer, the thread's control block included

enum { SYSTEM_PAGE = 4096, CHUNK = 4096 };

// ---- The list.

typedef struct listing {
  segment *segments; // NULL: only count
  module *modules;
  size_t segment_count, module_count;
} listing;

static void segment_note(listing *l, const char *base, const char *limit) {
  if (base < limit) {
    if (l->segments != NULL) {
      l->segments[l->segment_count] = (segment){base, limit};
    }
    l->segment_count++;
  }
}

static int object_list(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  listing *l = arg;
  // What the loader makes read-only holds nothing that the program stored.
  const char *relro = NULL, *relro_limit = NULL;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type == PT_GNU_RELRO) {
      relro = (const char *)(info->dlpi_addr + p->p_vaddr);
      relro_limit = (const char *)((info->dlpi_addr + p->p_vaddr + p->p_memsz) & ~(uintptr_t)(SYSTEM_PAGE - 1));
    }
  }
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    const char *base = (const char *)(info->dlpi_addr + p->p_vaddr), *limit = base + p->p_memsz;
    if (p->p_type == PT_TLS && info->dlpi_tls_modid != 0) {
      if (l->modules != NULL) {
        l->modules[l->module_count] = (module){info->dlpi_tls_modid, p->p_memsz};
      }
      l->module_count++;
    } else if (p->p_type == PT_LOAD && (p->p_flags & PF_W)) {
      bool covered = relro != NULL && relro < limit && base < relro_limit;
      segment_note(l, base, covered ? relro : limit);
      segment_note(l, covered ? relro_limit : limit, limit);
    }
  }
  return 0;
}

static void list_make(void) {
  listing l = {0};
  dl_iterate_phdr(object_list, &l); // we have the lock, which is recursive
  size_t bytes = l.segment_count * sizeof *l.segments + l.module_count * sizeof *l.modules + SYSTEM_PAGE;
  if (known.bytes < bytes) {
    if (known.segments != NULL) {
      os_unmap(known.segments, known.bytes);
    }
    known.segments = os_map_private(bytes); // malloc may not be called here (rt.critical)
    if (known.segments == NULL) {
      vm_fatal("no memory for a list of %zu data segments (options data_roots, tls_roots)", l.segment_count);
    }
    known.bytes = bytes;
  }
  known.modules = (module *)(known.segments + l.segment_count);
  known.segment_count = l.segment_count;
  known.module_count = l.module_count;
  l = (listing){known.segments, known.modules, 0, 0};
  dl_iterate_phdr(object_list, &l);
}

// ---- The lock.

// Threads that flip with the loader's lock, and whether a fork keeps others out: no thread that is gone in the child may have had that lock, which the
// child could not take then. Not a lock of its own: a program's thread may have the loader's when it asks for a cycle, or for a fork.
static uint32_t volatile inside, frozen;

static void gate_leave(void) {
  if (at32_add_full(&inside, (uint32_t)-1) == 1) {
    os_wake_all(&inside);
  }
}

static bool gate_enter(void) {
  at32_add_full(&inside, 1);
  if (at32_load_acquire(&frozen) == 0) {
    return true;
  }
  gate_leave();
  return false;
}

void rt_segments_freeze(void) {
  sigset_t saved;
  bool others = rt_others_block(NULL, &saved);
  at32_or_full(&frozen, 1);
  for (uint32_t n; (n = at32_load_acquire(&inside)) != 0;) {
    rt_wait(&inside, n, 0);
  }
  rt_others_unblock(others, &saved);
}

void rt_segments_thaw(void) {
  at32_store_release(&frozen, 0);
  os_wake_all(&frozen);
}

void rt_segments_fork(void) {
  at32_store(&inside, 0);
  at32_store(&frozen, 0);
}

typedef struct holding {
  veil_heap *heap;
  rt_thread *self; // NULL: no mutator
  void (*then)(veil_heap *heap, rt_thread *self);
  bool done;
} holding;

// Called for the first object, and no other.
static int held(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  holding *h = arg;
  if (!gate_enter()) {
    return 1;
  }
  if (h->self != NULL) {
    rt_unblock(h->self);
  }
  if (known.segments == NULL || known.adds != info->dlpi_adds || known.subs != info->dlpi_subs) {
    list_make();
    known.adds = info->dlpi_adds;
    known.subs = info->dlpi_subs;
  }
  h->then(h->heap, h->self);
  gate_leave();
  h->done = true;
  return 1;
}

void rt_segments_hold(veil_heap *heap, rt_thread *self, void (*then)(veil_heap *heap, rt_thread *self)) {
  holding h = {heap, self, then, false};
  sigset_t saved;
  os_signals_block(&saved);
  if (self != NULL) {
    rt_block(self); // whoever has the lock may be stopped
  }
  for (dl_iterate_phdr(held, &h); !h.done; dl_iterate_phdr(held, &h)) {
    rt_wait(&frozen, 1, 0);
  }
  os_signals_restore(&saved);
}

// ---- The scan.

// Memory that may not be there: a thread's table of blocks is the C library's, and may be in the middle of a change.
__attribute__((no_sanitize("address", "thread"))) static void doubtful_scan(gc_flip *flip, const rt_thread *t, const char *base, size_t bytes) {
  uintptr_t copy[CHUNK / sizeof(uintptr_t)];
  for (size_t at = 0; at < bytes; at += CHUNK) {
    size_t want = bytes - at < CHUNK ? bytes - at : CHUNK;
    struct iovec to = {copy, want}, from = {(void *)(base + at), want};
    ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    if (got > 0) {
      gc_flip_note(flip, DUMP_BY_THREAD_LOCAL, (uint64_t)t->tid, base + at - (const char *)copy);
      gc_flip_range(flip, copy, (const char *)copy + got);
    }
  }
  memset(copy, 0, sizeof copy); // this is a stack, which is scanned
  __asm__ volatile("" : : "r"(copy) : "memory");
}

// glibc's table of a thread's blocks: pairs of words, the first of which is the block, from index 0; before it the number of entries.
__attribute__((no_sanitize("address", "thread"))) static const char *block_of(const char *thread, size_t id) {
  void *const *table = *(void *const *const *)(thread + sizeof(void *));
  if (table == NULL || id > (size_t)(uintptr_t)table[-2]) {
    return NULL;
  }
  const char *block = table[2 * id];
  return (uintptr_t)block == UINTPTR_MAX ? NULL : block; // not allocated yet
}

static void thread_locals_scan(gc_flip *flip, const rt_thread *t) {
  const char *thread = (const char *)t->pthread;
  doubtful_scan(flip, t, thread - static_bytes, static_bytes);
  for (size_t i = 0; i < known.module_count; i++) {
    const char *block = block_of(thread, known.modules[i].id);
    if (block != NULL && (block < thread - static_bytes || block >= thread)) {
      const char *aligned = (const char *)((uintptr_t)block & ~(uintptr_t)7);
      doubtful_scan(flip, t, aligned, known.modules[i].bytes + (size_t)(block - aligned));
    }
  }
}

void rt_segments_scan(veil_heap *heap, gc_flip *flip) {
  for (size_t i = 0; heap->options.data_roots && i < known.segment_count; i++) {
    gc_flip_note(flip, DUMP_BY_VARIABLE, (uint64_t)known.segments[i].base, 0);
    gc_flip_range(flip, known.segments[i].base, known.segments[i].limit);
  }
  for (rt_thread *t = heap->threads; heap->options.tls_roots && t != NULL; t = t->next) {
    thread_locals_scan(flip, t);
  }
}

// ---- Opening: does this C library keep thread-local variables as we think?

static int object_try(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  bool *ok = arg;
  if (info->dlpi_tls_data != NULL && block_of((const char *)pthread_self(), info->dlpi_tls_modid) != info->dlpi_tls_data) {
    *ok = false;
  }
  return 0;
}

bool rt_segments_open(const veil_options *options) {
  if (!options->tls_roots) {
    return true;
  }
  const char *thread;
  __asm__("movq %%fs:0, %0" : "=r"(thread));
  void (*info)(size_t *bytes, size_t *align) = (void (*)(size_t *, size_t *))dlsym(RTLD_DEFAULT, "_dl_get_tls_static_info");
  bool ok = info != NULL && (const char *)pthread_self() == thread;
  if (ok) {
    size_t align;
    info(&static_bytes, &align);
    dl_iterate_phdr(object_try, &ok);
  }
  char from = 1, to = 0;
  struct iovec there = {&to, 1}, here = {&from, 1};
  if (!ok) {
    rt_error_set("option tls_roots: this C library does not tell where thread-local variables are");
  } else if (process_vm_readv(getpid(), &there, 1, &here, 1, 0) != 1 || to != 1) {
    rt_error_set("option tls_roots: the system does not let this process read its own memory (process_vm_readv)");
    ok = false;
  }
  return ok;
}
