// SPDX-License-Identifier: MIT
// veil/store.h: a heap that lives from one run of a program to the next: objects are found as they were left, by names.
//
//   veil_store *s = veil_store_open("notes.veil", NULL, NULL); // the file is made if there is none
//   veil_heap *heap = veil_store_heap(s);
//   veil_thread *self = veil_attach(heap);
//   table *t = veil_root_get(self, "table"); // NULL the first time
//   …                                        // plain loads, plain stores
//   veil_store_commit(s, NULL);              // all of it, or none: and when it returns it outlives a crash
//
// A commit has what each thread had stored at one instant, wherever it was: a structure that is being changed under a lock is in it half changed. So whoever commits holds the locks that matter
// until that instant: veil_store_commit_async returns when it is over, and is waited for without them.
//
// What named roots reach is kept, but for what is declared transient (VEIL_TRANSIENT in veil/type.h): that is there while the process runs, and reads NULL in the next. Everything else is garbage, as in any heap. The store is two files, PATH and PATH.log; after veil_store_close the first is enough. The system never writes
// the heap's memory to them by itself.
//
// A child of fork() that is made before all of the heap was read aborts when it touches what is away and the parent has folded its log twice: veil_source_fetch (veil/hooks.h) reads it. A child has the heap (option `fork`), but no part in the store: commits there are VEIL_UNSUPPORTED, and all it can do with the store is to close it.

#ifndef VEIL_STORE_H
#define VEIL_STORE_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// A file, and the heap that is in it.
typedef struct veil_store veil_store;

// Whether the file has to be there.
typedef enum veil_store_mode {
  VEIL_STORE_ANY = 0, // it is opened, or made
  VEIL_STORE_EXISTING, // it must be there
  VEIL_STORE_NEW,      // there must be none
  VEIL_STORE_READ_ONLY // as EXISTING; the heap can be changed, but not committed. While somebody writes the store it is VEIL_BUSY for readers, and the other way round; readers do not exclude each other
} veil_store_mode;

// Zero is the default of each. Fields are only ever added at the end.
typedef struct veil_store_options {
  veil_type *const *types; // that the program knows: those that the file has by the same name must have the same layout. Types with trace callbacks have to be here
  size_t type_count;       // how many
  veil_store_mode mode; // what is to be there
  size_t log;           // bytes of the log, of a store that is made; default 64 MiB, at least 1 MiB
  size_t cache;         // bytes of pages as they were committed, which are kept to tell what has changed; default 128 MiB, at least 1 MiB
  bool elsewhere;       // do not try the address at which the heap was
  bool drop_finalizers; // a heap that had finalizers, which are functions of the process that was, is refused otherwise; and so is veil_store_rollback while there are any
  unsigned compact;     // percent: the image is compacted in the background when its file is longer than so much of what it holds, and by more than the log; default 200, at least 101; UINT_MAX: never by itself
} veil_store_options;

// Opens or makes a store and its heap. It takes time for the list of its pages, and for what the log has since it was last folded into the image: pages are read when they are first touched, and in
// the background. `options` as for veil_open; what says how the heap is laid out is the file's once there is one. NULL with veil_error(): another process has it (which is named), the file is no store, of another version or byte order, is
// damaged, has other types, or types of which other slots are transient. Any thread.
veil_store *veil_store_open(const char *path, const veil_options *options, const veil_store_options *store);

// Waits for commits that were begun, closes the heap, and folds what the log has into the image, so that opening it again takes little and the log may be removed. What was not committed is lost. All threads
// have detached. NULL is fine. VEIL_OK, or why the files could not be put in order: then the next open does it, and nothing committed is lost.
veil_status veil_store_close(veil_store *store);

// Its heap, as long as it is open; not to be closed by the program.
veil_heap *veil_store_heap(veil_store *store);

// What a commit was like.
typedef struct veil_commit_figures {
  uint64_t ticket;   // of the commit
  uint64_t pages;    // that had been written since the one before
  uint64_t changed;  // bytes of them that differ, in units of 8
  uint64_t logged;   // bytes written to the log for it
  uint64_t pause_ns; // that the program was stopped
} veil_commit_figures;

// Makes all that was stored before the call durable. VEIL_OK: it outlives a crash from now on. VEIL_IO: the disk is full, or failed: the reason is in veil_error(). If it was full, nothing is lost, and a later commit tries again; if a write or a barrier
// failed, it is not known what the disk has, and all commits fail from then on, while the heap can be read; opening the store again recovers what was durable. VEIL_INVALID: the store is read-only.
// Several threads that commit at the same time share an instant and a barrier. An attached thread counts as between brackets while it waits. `out` may be NULL. Any thread; not in a signal handler, nor in a callback of veil's, nor in a critical section.
veil_status veil_store_commit(veil_store *store, veil_commit_figures *out);

// As veil_store_commit, but returns when the instant was taken: what is stored from then on is not in it. *ticket is for the calls below; it says nothing about earlier or later ones but their order.
veil_status veil_store_commit_async(veil_store *store, uint64_t *ticket);

// Waits until a commit is durable, and with it all before. Threads and results as veil_store_commit.
veil_status veil_store_wait(veil_store *store, uint64_t ticket);

// Whether it is durable, without waiting: VEIL_BUSY while it is not. Any thread.
veil_status veil_store_poll(veil_store *store, uint64_t ticket);

// What a rollback was like.
typedef struct veil_rollback_figures {
  uint64_t pages;      // whose contents were put back
  uint64_t came;       // among them, that were not in use any more
  uint64_t went;       // that had come into use since, and are not any more
  uint64_t finalizers; // that were dropped
  uint64_t pause_ns;   // that the program was stopped, and waited for, since each thread comes to rest by itself
} veil_rollback_figures;

// Brings the heap back to the last commit of this process, or to what it was when it was opened: what was stored since then is gone. Commits that were begun (veil_store_commit_async, other threads') count: they are waited for until they are durable, and it is the last of
// them that the heap is brought back to. One that failed does not count. It takes time for the tables of the heap, and for reading the pages that were written since; before the first commit to a store that could not be opened at its own address these may be all.
//
// Named roots, weak references and tables and identity hashes are as they were, objects lie where they lay, and types stay registered. No other reference into the heap counts any more: those in variables, also of other threads, are to be had anew from named roots, and must not be used; slots of
// veil_add_roots, veil_add_thread_roots, of callbacks and of stacks that were not switched to yet, and handles (which are there still) are NULL afterwards. veil_moves has changed. Finalizers are functions of this process and no part of a commit: they are dropped without being called, if the option drop_finalizers is
// set, also those that are due. Memory outside of the heap (veil_external) is as it is.
//
// Other attached threads come to rest first, each by itself: between brackets, at a veil_poll, or in a call of veil's that waits (for a commit, say, but not an allocation). So whoever calls this has an understanding with them that they hold no references there; a thread in a critical section is waited for, and so is
// one that does not poll. Checkpoints go on, and so do commits of others, afterwards.
//
// VEIL_BUSY: a thread did not come to rest within ten seconds, objects are pinned (veil_pin) or touched (veil_touch). VEIL_INVALID: there are finalizers, and no drop_finalizers; the store is read-only. VEIL_IO: a page could not be read, or a write or a barrier has failed (as veil_store_commit: it is not known then what
// the disk has). VEIL_NO_MEMORY: also if the limit was lowered, and what was there is more. In all these cases nothing has changed. `out` may be NULL. Any thread; not in a signal handler, nor in a callback of veil's, nor in a critical section; not while the thread holds a lock that another one waits for.
// VEIL_UNSUPPORTED: the process knows types with something transient (VEIL_TRANSIENT): pages that were not written since may lead to objects that would be gone. Nothing has changed.
veil_status veil_store_rollback(veil_store *store, veil_rollback_figures *out);

// Copies the store, as of its last commit, to a file that must not be there yet: a store of its own, with a log of its own once it is opened. Commits go on meanwhile, unless the log gets full. It takes a fold, and as long as all pages take to be read and
// written. VEIL_BUSY: it was opened at another address, and nothing was committed since. Otherwise as veil_store_commit.
veil_status veil_store_backup(veil_store *store, const char *to);

// Writes the image anew, without what no commit needs any more: a file that folds have made longer than what it holds becomes as long as that, and what was dead goes back to the file system. Commits and reading go on meanwhile, unless the
// log gets full: then a commit waits. It takes a fold, as long as all pages take to be read and written, and until it is done disk space for what the store holds. A crash leaves the old file or the new one, with the same commits. VEIL_IO: the disk is
// full, a page of the image is damaged, or a write failed: the image is as it was, and nothing is lost. Done in the background when it is worth it: option `compact`; for a store that is not open: veil-image --compact. Otherwise as veil_store_commit.
veil_status veil_store_compact(veil_store *store);

// What a store has done since it was opened, and has.
typedef struct veil_store_figures {
  uint64_t commits;               // that wrote anything
  uint64_t barriers;              // of the log; fewer than commits if threads shared some
  uint64_t pages, changed, logged; // sums, as of veil_commit_figures
  uint64_t folds;                 // of the log into the image
  uint64_t folded_pages;          // that they wrote
  uint64_t log_bytes, log_used;   // of the log: its size, and what is not folded yet
  uint64_t image_bytes;           // of the other file
  uint64_t cache_bytes;           // of pages as they were committed
  uint64_t commit_waits;          // commits that waited for room in the log
  uint64_t image_needed;          // of image_bytes, that the last version needs
  uint64_t compactions;           // of the image
} veil_store_figures;

veil_store_figures veil_store_get_figures(veil_store *store); // any thread

#ifdef __cplusplus
}
#endif
#endif
