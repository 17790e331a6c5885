// SPDX-License-Identifier: MIT
// veil/dump.h: writes down what is in a heap and what holds it, for veil-heap to read.
//
//   veil_heap_dump(self, "/tmp/now.veil", 0);
//
//   $ veil-heap /tmp/now.veil                    # what there is, by type, and what holds the most
//   $ veil-heap --why request /tmp/now.veil      # why is that still there?
//
// With VEIL_DUMP=FILE in the environment an operator may ask for one by a signal, `kill -40 PID`: see the option dump (veil/options.h).

#ifndef VEIL_DUMP_H
#define VEIL_DUMP_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// What veil_heap_dump may be told.
typedef enum veil_dump_flags {
  VEIL_DUMP_AS_IS = 1 // no collection before it: what has died since the last one is written too, as far as it is still there
} veil_dump_flags;

// Writes every object, its references, every root with what it is, and the entries of weak tables to a new file, which takes the place of `path` when it is whole: all as of one instant, at which the
// program is stopped. A full collection comes first, unless `flags` says otherwise. The stop takes some 0.4 s per GiB of small objects (trees; 1.2 s for a random graph; next to nothing for bytes), and the text
// that is written after it waits in memory outside of the heap until then: a tenth of what small objects take, two fifths in a random graph. What a service has put aside comes back.
//
// VEIL_IO with the reason in veil_error() if the file cannot be written: then there is none, and the program has gone on all the same. VEIL_NO_MEMORY, VEIL_INVALID.
// The thread is blocked, as between brackets, while it writes. Owning thread, not in a signal handler, nor in a callback of veil's, nor in a critical section.
veil_status veil_heap_dump(veil_thread *self, const char *path, unsigned flags);

// The same to a descriptor that is open for writing: a file, a pipe, a socket. What was written before an error stays written. Nothing is
// written while the program is stopped, so the reader may be a thread of it.
veil_status veil_heap_dump_fd(veil_thread *self, int fd, unsigned flags);

#ifdef __cplusplus
}
#endif
#endif
