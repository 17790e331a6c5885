// SPDX-License-Identifier: MIT
// pager.c: threads that handle the faults of a region whose touchers sleep in the kernel (uffd-kernel).
//
// Neighbours: trap.c does the same in a signal handler; claim.c settles and opens, and opening wakes; uffd.c opens the userfaultfd.
// Starting and stopping: any thread, not in traps. vm_pager_settling: any thread, in traps.
//
// vm.pager   A pager holds nothing when it reads the next fault or waits for vm_resume, and waits for pages like any toucher. So a
//            toucher that no signal can stop, because the kernel is in the midst of a copy for it, is waited for by a stop and always goes on.
//            It wakes the toucher when the page is let go and the figures are in, whoever has opened it.
// vm.late    A fault that was read may be no more: its thread was interrupted, or woken by another pager, and has gone on. To handle it
//            once more does no harm. But before a pager says that a touch was wrong, it wakes the thread and waits for it to
//            try again, more often than there are pagers: each can have but one late fault in its hands, and none comes anew.

#include "vm/pager.h"
#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>

// Two at least: one may be at a callback that touches the view, and another has to say so.
enum { PAGERS_MIN = 2, PAGERS_MAX = 8, TRIES = PAGERS_MAX + 2 };

struct vm_pager {
  // Constant after starting.
  unsigned threads;
  size_t bytes; // of this structure
  int event;    // posted: they end
  uint32_t process; // whose threads they are
  pthread_t thread[PAGERS_MAX];
  // Atomic.
  uint32_t volatile gate;    // 0: open; else the thread that has closed it, whose own faults pass
  uint32_t volatile active;  // pagers inside the gate
  uint32_t volatile closing;
  uint8_t volatile strays[]; // per page: touches of it since it went out of use, as far as they are known
};

// ---- Threads that settle, or that run what may not touch the view. Such a touch could wait for its own thread.

enum { SETTLERS = 64 }; // at once; of more, a wrong touch is not told

static struct settler {
  uint32_t volatile tid, touches;
} settlers[SETTLERS];
static uint32_t volatile regions; // that have pagers
static _Thread_local struct settler *here __attribute__((tls_model("initial-exec")));

void vm_pager_settling(bool settling) {
  if (!settling) {
    if (here != NULL) {
      at32_store_release(&here->tid, 0);
      here = NULL;
    }
    return;
  }
  if (at32_load(&regions) == 0) {
    return;
  }
  uint32_t tid = os_tid();
  for (unsigned i = 0; i < SETTLERS; i++) {
    struct settler *settler = &settlers[(tid + i) % SETTLERS];
    if (at32_load(&settler->tid) == 0 && at32_cas_full(&settler->tid, 0, ~0u)) {
      at32_store(&settler->touches, 0);
      at32_store_release(&settler->tid, tid);
      here = settler;
      return;
    }
  }
}

static struct settler *settler_find(uint32_t tid) {
  for (unsigned i = 0; i < SETTLERS; i++) {
    if (at32_load_acquire(&settlers[i].tid) == tid) {
      return &settlers[i];
    }
  }
  return NULL;
}

// ---- The gate.

static void gate_enter(struct vm_pager *pager, uint32_t tid) {
  for (;;) {
    at32_add_full(&pager->active, 1);
    uint32_t gate = at32_load_acquire(&pager->gate);
    if (gate == 0 || gate == tid) {
      return;
    }
    at32_add_full(&pager->active, ~0u);
    if (at32_load_acquire(&pager->closing)) {
      return; // the fault is nobody's any more, and the caller looks before it does anything
    }
    os_wait(&pager->gate, gate);
  }
}

void vm_pager_quiesce(vm_region *region) {
  struct vm_pager *pager = region->state->pager;
  at32_store_release(&pager->gate, os_tid());
  at_fence_full(); // either a pager sees the gate closed, or it is seen to be active
  while (at32_load_acquire(&pager->active) != 0) {
    os_yield();
  }
}

void vm_pager_resume(vm_region *region) {
  struct vm_pager *pager = region->state->pager;
  at32_store_release(&pager->gate, 0);
  os_wake_all(&pager->gate);
}

// ---- Faults.

// Counts up to TRIES; true when it is there (vm.late).
static bool is_sure(uint8_t volatile *count) {
  uint8_t n = at8_load(count);
  if (n < TRIES) {
    at8_cas_full(count, n, (uint8_t)(n + 1)); // another pager may have counted instead
  }
  return n >= TRIES;
}

// As the handler of a signal does (trap.c). False: the page has no memory.
static bool fault_settle(vm_region *region, size_t page, bool write) {
  uint64_t start = vm_now();
  uint32_t heard = at32_load(&region->listening);
  if (__builtin_expect(heard != 0, 0)) {
    region->config.trap_began(region->config.arg, page, heard);
  }
  bool has_memory = vm_claim_trap(region, page, write);
  uint64_t end = vm_now();
  if (has_memory) {
    at_add(&region->traps_count, 1);
    vm_histogram_add(region->trap_ns, end - start);
  }
  if (__builtin_expect(heard != 0, 0)) {
    region->config.trap_ended(region->config.arg, page, start, end, heard);
  }
  return has_memory;
}

static void fault_handle(vm_region *region, const struct os_fault *fault) {
  struct vm_pager *pager = region->state->pager;
  size_t page = vm_page_of(region, fault->address);
  struct settler *settler = settler_find(fault->tid);
  if (settler != NULL) {
    if (at32_add_full(&settler->touches, 1) >= TRIES) {
      vm_fatal(VM_VIEW_TOUCHED, (void *)fault->address);
    }
  } else if (!fault_settle(region, page, fault->write) && is_sure(&pager->strays[page])) {
    vm_stray(region, fault->address);
  }
  os_uffd_wake(region->state->uffd, vm_page_view(region, page), region->page_size);
}

static void *run(void *arg) {
  vm_region *region = arg;
  struct vm_pager *pager = region->state->pager;
  struct os_fault fault;
  while (os_uffd_fault(region->state->uffd, -1, pager->event, &fault) > 0) {
    os_point(); // a fault that waits here long enough is a late one
    gate_enter(pager, fault.tid);
    if (at32_load_acquire(&pager->closing)) {
      break;
    }
    fault_handle(region, &fault);
    at32_add_full(&pager->active, ~0u);
  }
  return NULL;
}

void vm_pager_forget(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    if (at8_load(&region->state->pager->strays[i]) != 0) {
      at8_store(&region->state->pager->strays[i], 0);
    }
  }
}

// ---- Starting and stopping.

static void end(vm_region *region) {
  struct vm_pager *pager = region->state->pager;
  at32_store_release(&pager->closing, 1);
  vm_pager_resume(region);
  if (os_pid() == pager->process) { // a child of fork has their descriptors, but not them
    os_event_post(pager->event);
    for (unsigned i = 0; i < pager->threads; i++) {
      os_thread_join(pager->thread[i]);
    }
  }
  os_close(pager->event);
  os_unmap(pager, pager->bytes);
  region->state->pager = NULL;
  at32_add_full(&regions, ~0u);
}

int vm_pager_start(vm_region *region) {
  size_t bytes = sizeof(struct vm_pager) + region->pages;
  struct vm_pager *pager = os_map_private(bytes);
  if (pager == NULL) {
    return -ENOMEM;
  }
  pager->bytes = bytes;
  pager->process = os_pid();
  pager->event = os_event();
  if (pager->event < 0) {
    int result = pager->event;
    os_unmap(pager, bytes);
    return result;
  }
  region->state->pager = pager;
  at32_add_full(&regions, 1);
  unsigned wanted = os_processors();
  wanted = wanted < PAGERS_MIN ? PAGERS_MIN : wanted > PAGERS_MAX ? PAGERS_MAX : wanted;
  while (pager->threads < wanted) {
    int result = os_thread_start(&pager->thread[pager->threads], run, region);
    if (result < 0) {
      end(region);
      return result;
    }
    pager->threads++;
  }
  return 0;
}

void vm_pager_stop(vm_region *region) {
  if (region->state->pager != NULL) {
    end(region);
  }
}
