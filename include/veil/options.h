// SPDX-License-Identifier: MIT
// veil/options.h: what can be chosen when a heap opens.
//
// Each option also has a name in VEIL_OPTIONS, a comma-separated list in the environment
// (`VEIL_OPTIONS=limit=512m,scanners=2`), which wins over the struct. Sizes take
// k, m, g. A name that does not exist, or a value out of range, is an error that names it.

#ifndef VEIL_OPTIONS_H
#define VEIL_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// How mutators are stopped: by a signal, at any instruction; or at veil_poll,
// allocation and brackets only, which costs no EINTR and asks for polls in every loop.
typedef enum veil_stop { VEIL_STOP_SIGNAL = 0, VEIL_STOP_POLL = 1 } veil_stop;

// What allocation does when the limit is truly reached.
typedef enum veil_oom { VEIL_OOM_ABORT = 0, VEIL_OOM_NULL = 1 } veil_oom;

// What a child of fork() has of the heap.
//
// VEIL_FORK_COPY: a heap of its own, with all that was in it; the thread that forked stays attached if it was, the others are gone
// with their stacks. The fork costs some 0.75 s and as much memory again per GiB that the heap holds; until it is copied, fork does not return in the parent, and its other
// threads wait as soon as they write to objects (but for leaf objects) or allocate. A child for which there is no memory cannot use the heap: a touch or a call of veil aborts it.
// VEIL_FORK_EXEC: nothing, at no cost: the child only calls exec or _exit. A touch dies by SIGSEGV, a call of veil aborts.
// posix_spawn, system, popen and vfork cost nothing either way. _Fork and clone without CLONE_VM are not noticed: their children must not touch a heap.
typedef enum veil_fork { VEIL_FORK_COPY = 0, VEIL_FORK_EXEC = 1 } veil_fork;

// Zero in a field means its default. Start from `veil_options o = {0};`.
typedef struct veil_options {
  size_t limit;          // limit: bytes of memory that the heap may hold, [2m, 20g]; default: 3/4 of the machine's
  const char *back_end;  // back_end: "uffd", "mprotect", "none" or "auto" (also VEIL_VM=)
  size_t granule;        // granule: bytes that one trap scans, a power of 2 in [4k, 64k]; default 4k
  unsigned scanners;     // scanners: background scanner threads, [1, 64]; default 1
  veil_stop stop;        // stop: signal or poll
  int stop_signal;       // stop_signal: the signal that stops a mutator; default SIGRTMIN+5
  veil_oom oom;          // oom: abort or null
  unsigned growth;       // growth: garbage allowed before a cycle starts, in % of the live data, [5, 1000]; default 80
  size_t headroom;       // headroom: and this many bytes besides, [1, 20g]; default 32m
  unsigned verify;       // verify (also VEIL_VERIFY=): 1 walks the heap at each flip, 2 at ends of cycles too
  unsigned torture;      // torture: 0, or start a cycle about every so many allocation buffers
  veil_fork fork;        // fork: copy or exec
  uint64_t seed;         // seed: of the torture mode's choices; 0 takes one from the clock and prints it
} veil_options;

#ifdef __cplusplus
}
#endif
#endif
