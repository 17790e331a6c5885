// SPDX-License-Identifier: MIT
// veil/checkpoint.h: the heap and its named roots as of one instant, in a file, while the program runs on; and a heap out of such a file.
//
//   veil_checkpointer *c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = "state.veil", .interval_ms = 60000});
//   veil_checkpoint(c, 0, NULL); // durable when it returns; other threads run on
//
//   veil_heap *heap = veil_restore("state.veil", NULL, NULL); // in another process
//   table *t = veil_root_get(self, "table");
//
// The program is stopped for a moment. Then it runs, and whoever is about to write a page that is not saved yet copies it first, into a pool of fixed size;
// if that is full he waits for the disk. `veil-image FILE` tells what is in a file. With the back end `none`, which tells of no writes, all pages are copied in the stop, into memory beside the pool.
//
// The image has what each thread had stored at that instant, wherever it was: a structure that is being changed under a lock is in it half changed. So whoever asks for a checkpoint holds the
// locks that matter until the instant was taken (VEIL_CHECKPOINT_START); where intervals or signals ask, what named roots reach had better be put together aside and hung up by one store.
//
// A child of fork() has the heap (option `fork`), but no part in its parent's checkpoints: to the child none is under way, its requests are VEIL_UNSUPPORTED, and all it can do with the checkpointer
// is to close it, which it must before it closes the heap. It may open one of its own, for another file. As long as it lives it shares the lock of the parent's file.

#ifndef VEIL_CHECKPOINT_H
#define VEIL_CHECKPOINT_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// Saves one heap to one file, again and again.
typedef struct veil_checkpointer veil_checkpointer;

// How pages are compressed.
typedef enum veil_codec { VEIL_CODEC_NONE = 0, VEIL_CODEC_LZ4, VEIL_CODEC_ZSTD } veil_codec;

// Zero is the default of each. Fields are only ever added at the end.
typedef struct veil_checkpointer_options {
  const char *path;     // the file, which need not exist, but may only be replaced if it is an image, or empty; copied. NULL: only veil_checkpoint_fd works
  size_t pool;          // bytes of pages that were copied before they changed and wait for the disk, at most; default 64 MiB, at least 1 MiB. Some 10 MiB of buffers come to that
  veil_codec codec;     // of pages
  unsigned interval_ms; // a checkpoint so many milliseconds after the last one began; 0: only when it is asked for
  int signal;           // a checkpoint whenever the process gets this signal, which must have no handler; 0: none. It is veil's from then on, and does nothing when the checkpointer is closed
  bool whole;           // every checkpoint is full; else those after the first have only what changed since the one before
} veil_checkpointer_options;

// Flags of veil_checkpoint.
enum {
  VEIL_CHECKPOINT_FULL = 1,   // everything, into a new file that takes the place of the old one
  VEIL_CHECKPOINT_START = 2,  // returns after the instant; veil_checkpoint_wait tells the outcome
  VEIL_CHECKPOINT_REFUSE = 4  // VEIL_BUSY, rather than waiting, if another checkpoint is under way
};

// What a checkpoint was like. Fields are only ever added at the end.
typedef struct veil_checkpoint_figures {
  uint64_t version;       // in the file, from 1; 0: there is none yet
  bool full;              // not an increment
  uint64_t pause_ns;      // from the request to stop until the last mutator ran
  uint64_t durable_ns;    // from the call until it was durable
  uint64_t pages, bytes;  // saved: pages of the heap; bytes written to the file, with everything
  uint64_t pages_trapped; // of these, saved by who wanted to write, or to touch, them or their neighbours
  uint64_t pool_max;      // bytes of the pool that were in use at most
  uint64_t pool_waits, pool_wait_ns; // how often, and how long in all, somebody waited for room in the pool
} veil_checkpoint_figures;

// Begins nothing yet but looks at the file, if there is one: the first checkpoint of a checkpointer is always full, and replaces it. NULL, with veil_error(): what is there is no whole image, an option makes no
// sense, there is no memory or thread, or the heap has too many services. Several heaps of a process may have one each, and a heap several with different files. As long as there is a
// file to which increments are added the collector leaves objects in place where it can (veil_service_keep_in_place): cycles would change every page. Any thread.
veil_checkpointer *veil_checkpointer_open(veil_heap *heap, const veil_checkpointer_options *options);

// Waits for checkpoints that were asked for; then forgets the checkpointer. NULL is fine. Before veil_close of its heap. Any thread.
void veil_checkpointer_close(veil_checkpointer *checkpointer);

// Makes a checkpoint. VEIL_OK: it is durable, or with VEIL_CHECKPOINT_START: begun. VEIL_IO, VEIL_NO_MEMORY, VEIL_UNSUPPORTED with the reason in veil_error(): then the file has
// the version before, whole, the program has gone on, and the next checkpoint is a full one, into a new file. VEIL_BUSY: another checkpointer, of whatever process, has the file; or see VEIL_CHECKPOINT_REFUSE.
// VEIL_INVALID: no path, or no such flags. Waits for those that were asked for before, in the order of asking, and for the end of a cycle. If somebody has removed
// or replaced the file, the next one is full. An attached thread counts as between brackets while it waits. `out` may be NULL. Any thread; not in a signal handler, nor in a callback of veil's, nor in a
// critical section.
veil_status veil_checkpoint(veil_checkpointer *checkpointer, unsigned flags, veil_checkpoint_figures *out);

// A full one to a descriptor open for writing, from its position on: a file, a pipe, a socket. It stays the caller's, who keeps it open until the checkpoint has ended. It is no version of the checkpointer's file, and increments go on from that as if it had not been. Otherwise as veil_checkpoint.
veil_status veil_checkpoint_fd(veil_checkpointer *checkpointer, int fd, unsigned flags, veil_checkpoint_figures *out);

// Waits until all checkpoints that were asked for before have ended; the outcome of the last one, VEIL_OK if there was none, and its figures. Threads as veil_checkpoint.
veil_status veil_checkpoint_wait(veil_checkpointer *checkpointer, veil_checkpoint_figures *out);

// Whether one is under way, and how much of it is saved, in pages; either may be NULL. Any thread, signal handlers too.
bool veil_checkpointing(veil_checkpointer *checkpointer, uint64_t *done, uint64_t *of);

// How to restore. Zero is the default of each. Fields are only ever added at the end.
typedef struct veil_restore_options {
  veil_type *const *types; // that the program knows: those that the file has by the same name must have the same layout. Types with trace callbacks have to be here
  size_t type_count;       // how many
  bool elsewhere;          // do not try the address at which the heap was
  bool drop_finalizers;    // a heap that had finalizers, which are functions of the process that was, is refused otherwise
  unsigned delay_ms;       // the background begins to read so many milliseconds later, or when somebody waits for it (veil_restored); 0: at once. For programs that often end soon and have touched little
} veil_restore_options;

// Opens a heap out of a file: after some milliseconds it can be used, and its pages are read when they are first touched, and in the background. The file must stay as it is, or be replaced
// as checkpointers do, until veil_restored(); increments may be added to it. A page that turns out to be damaged when it is touched aborts with a message: veil-image verify looks at all of them before. What named
// roots do not reach is garbage; transient slots, and what led to transient objects, are NULL (VEIL_TRANSIENT in veil/type.h), for which each page is looked through when it is read if the process that saved it knew such types. `options` as for veil_open; what says how the heap is laid out is taken from the file. Either may be NULL. NULL with veil_error(): VEIL_IO and so on tell no more than that. Any thread.
veil_heap *veil_restore(const char *path, const veil_options *options, const veil_restore_options *restore);

// Whether everything has been read; if `wait`, helps to read it and waits for that. Any thread; with `wait` as veil_checkpoint.
bool veil_restored(veil_heap *heap, bool wait);

#ifdef __cplusplus
}
#endif
#endif
