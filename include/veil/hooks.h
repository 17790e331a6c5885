// SPDX-License-Identifier: MIT
// veil/hooks.h: for services that work on pages of the heap (checkpoint, store, compression, yours).
//
// A service lays claims on pages and is called when one is touched. Pages are numbered from
// 0 at the heap's base; the page size is the heap's granule. Contents are read and written
// through the alias, at which nothing ever traps.

#ifndef VEIL_HOOKS_H
#define VEIL_HOOKS_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// A service that is registered with a heap.
typedef struct veil_service veil_service;

// What a service may claim. VEIL_ABSENT forbids all access: before anybody, the
// collector too, reads or writes the page, `absent` must have put its contents back.
// VEIL_UNSAVED forbids writing: before anybody, the collector too, writes the page, `unsaved`
// is called. On back ends that cannot tell, a read may have the same effect.
typedef enum veil_claim {
  VEIL_ABSENT = 1, // the contents are away
  VEIL_UNSAVED = 2 // the contents are to be saved before they change
} veil_claim;

// Callbacks; each may be NULL. `absent` and `unsaved` run in the thread that touches the page (with uffd-kernel, in one of veil's own), possibly
// in a signal handler: no locks that a mutator can hold, no malloc, no stdio, no waiting for other
// pages. The claim is dropped when they return. `discarded` says that claims on these pages are
// gone because the pages' contents died. `cycle` is the number of the cycle, from 1. `before_flip` and `after_flip` run with the world stopped;
// `cycle_ended` does not. A minor cycle moves objects and frees pages, too: from `before_minor` to `after_minor` the world is stopped; `minor` is its number.
typedef struct veil_service_callbacks {
  void (*absent)(void *arg, size_t page);                  // puts the page's contents back
  void (*unsaved)(void *arg, size_t page);                 // saves the page's contents
  void (*discarded)(void *arg, size_t page, size_t count); // forgets its claims on `count` pages
  void (*before_flip)(void *arg, uint64_t cycle);          // the world is stopped, nothing has moved
  void (*after_flip)(void *arg, uint64_t cycle);           // the world is stopped, pages are grey
  void (*cycle_ended)(void *arg, uint64_t cycle);          // from-space has been freed
  void (*before_minor)(void *arg, uint64_t minor);         // nothing has moved
  void (*after_minor)(void *arg, uint64_t minor);          // what is dead is gone
} veil_service_callbacks;

// Registers a service, up to 8 per heap. NULL on error. Any thread that is attached. Absent
// and unsaved claims of one page belong to one service each; a second gets VEIL_BUSY.
veil_service *veil_service_open(veil_heap *heap, const char *name, const veil_service_callbacks *callbacks, void *arg);

// Drops the service's claims by settling them, and unregisters it.
void veil_service_close(veil_service *service);

// Lays a claim on a page that is in use. VEIL_BUSY: the page is free, is touched by a system call, or
// carries this claim already. ABSENT: when it returns nobody can see the page's contents; the service may then take them away.
veil_status veil_service_claim(veil_service *service, size_t page, veil_claim claim);

// Drops a claim as a touch would, by the callback. Nothing happens if it is not there.
void veil_service_settle(veil_service *service, size_t page, veil_claim claim);

// Pages written since this service's last call, or since it began watching; each is armed again before
// it is reported. Writes by the collector count. The first call starts the watching and
// reports every page in use. Returns how many were reported. One thread per service.
size_t veil_service_dirty(veil_service *service, void (*visit)(void *arg, size_t page), void *arg);

// The heap's geometry.
typedef struct veil_pages {
  char *base;         // the view's address of page 0
  ptrdiff_t delta;    // alias = view + delta
  size_t page_size;   // bytes
  size_t count;       // pages reserved
} veil_pages;
veil_pages veil_heap_pages(veil_heap *heap);

// Whether a page holds objects now. Any thread; a hint unless the world is stopped.
bool veil_page_in_use(veil_heap *heap, size_t page);

#ifdef __cplusplus
}
#endif
#endif
