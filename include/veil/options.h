// SPDX-License-Identifier: MIT
// veil/options.h: what can be chosen when a heap opens.
//
// Each option also has a name in VEIL_OPTIONS, a comma-separated list in the environment
// (`VEIL_OPTIONS=limit=512m,scanners=2`), which wins over the struct. Sizes take k, m, g, t; limit, soft_limit and reserve also
// `50%`, of the memory that the process may have. Blanks around names and values do not count, nor do empty items. A name that does not exist or comes
// twice, a value that is missing, no number or out of range, is an error that names it. The item `help`
// prints the options and their values to stderr when a heap opens.

#ifndef VEIL_OPTIONS_H
#define VEIL_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// How mutators are stopped: by a signal, at any instruction; or at veil_poll,
// allocation and brackets only, which costs no EINTR and asks for polls in every loop.
typedef enum veil_stop {
  VEIL_STOP_SIGNAL = 0, // by a signal
  VEIL_STOP_POLL = 1    // by polls
} veil_stop;

// What allocation does when the limit is truly reached.
typedef enum veil_oom {
  VEIL_OOM_ABORT = 0, // aborts with a message
  VEIL_OOM_NULL = 1   // returns NULL
} veil_oom;

struct veil_events; // veil/events.h

// What a child of fork() has of the heap.
//
// VEIL_FORK_COPY: a heap of its own, with all that was in it; the thread that forked stays attached if it was, the others are gone
// with their stacks. The fork costs some 0.75 s and as much memory again per GiB that the heap holds; until it is copied, fork does not return in the parent, and its other
// threads wait as soon as they write to objects (but for leaf objects) or allocate. A child for which there is no memory cannot use the heap: a touch or a call of veil aborts it.
// VEIL_FORK_EXEC: nothing, at no cost: the child only calls exec or _exit. A touch dies by SIGSEGV, a call of veil aborts.
// posix_spawn, system, popen and vfork cost nothing either way. _Fork and clone without CLONE_VM are not noticed: their children must not touch a heap.
typedef enum veil_fork {
  VEIL_FORK_COPY = 0, // a heap of its own
  VEIL_FORK_EXEC = 1  // nothing
} veil_fork;

// Generations: what was born last, in a nursery, is collected by itself in minor cycles, which stop the program; what survives two of them is old, and left to
// the concurrent cycles. Old objects may be written like any others.
typedef enum veil_generations {
  VEIL_GENERATIONS_AUTO = 0, // minor cycles, each time a nursery's worth was born, while they free memory for less than other cycles do;
                             // none with the back end `none`, which does not tell what was written
  VEIL_GENERATIONS_OFF = 1,  // every cycle traces all that lives
  VEIL_GENERATIONS_ON = 2,   // minor cycles in any case
  VEIL_GENERATIONS_EARLY = 3 // as auto, for programs that are to be small, or live shortly: minor cycles from the start (auto waits for the first cycle), and a nursery
                             // of a quarter of what is in use, 1 MiB at the least
} veil_generations;

// Zero in a field means its default. Start from `veil_options o = {0};`. Fields are only ever added at the end.
//
// What they mean in full:
// - limit: the heap's pages never take more memory (stats: held_bytes). Near it cycles come earlier and mutators help more; when it is truly reached
//   the hook of veil_set_oom_hook is asked, then `oom` decides. "What the machine allows" is the least of: RAM; memory.max (cgroup version 2) and
//   memory.limit_in_bytes (version 1) of the process's cgroup and its ancestors; RLIMIT_DATA. With RLIMIT_AS at most an eighth of that.
// - data_roots, tls_roots: ambiguous roots without registration: variables of the program and of all loaded libraries, and of attached threads (some us
//   each; glibc only, else an error). Each flip reads them whole, in the pause, about 0.3 ms per MiB, and keeps the loader's lock for its length
//   (dlopen waits). What they point to stays in place. Memory from malloc is not read.
// - trace: all heaps of a process that name the same file share it. A file that cannot be written, or that another process is tracing into, is an error.
// - soft_limit: cycles start early enough for the copies, and for what is born meanwhile, to stay below it, and memory that is free is given back at
//   once. If what lives, twice, does not fit, they follow each other with pauses as long as they are: the time is the mutators' alone for half of it at least,
//   and the heap grows beyond.
// - idle: an idle heap gives back all but an eighth of what it uses and some MiB. If its threads ran since the last cycle, but take less than a sixteenth of a processor now, one is run to
//   see what has died, by itself if all threads are in brackets (veil_block_begin: nobody gets EINTR), else by the next thread that needs a buffer. Cycles that
//   find nothing come at ever longer intervals, doubling up to two minutes.
// - dump: `kill -40 PID` (SIGRTMIN+6) makes a dump as veil_heap_dump does (veil/dump.h), with a collection before it; what came of it is said on standard error. The
//   signal's handler only counts, so it harms nothing that the program may be in the middle of; a thread of veil's, attached, does the rest.
typedef struct veil_options {
  size_t limit;           // limit: bytes of memory that the heap may hold, [2m, 20g]; default 3/4 of what the machine, its cgroups and ulimits
                          // allow
  size_t soft_limit;      // soft_limit: bytes that it stays below while it can, by more cycles; none if not below the limit, [2m, 20g]; default
                          // 3/4 of the cgroup's memory.high if that is set, else none
  size_t reserve;         // reserve: bytes to which veil_set_limit may raise the limit, for which address space is reserved, [2m, 20g]; default
                          // the limit
  const char *back_end;   // back_end: uffd, guard, mprotect, uffd-kernel, none or auto (also VEIL_VM=); default auto
  size_t granule;         // granule: bytes that one trap scans, a power of 2, [4k, 64k]; default 4k
  unsigned scanners;      // scanners: background scanner threads, [1, 64]; default 1
  veil_stop stop;         // stop: how mutators are stopped, signal or poll; default signal
  int stop_signal;        // stop_signal: the signal that stops a mutator, veil's alone, [1, 64]; default SIGRTMIN+5
  veil_oom oom;           // oom: what allocation does at the limit, abort or null; default abort
  unsigned growth;        // growth: garbage allowed before a cycle starts, in % of the live data; half of it while generations pay, [5, 1000]; default 80
  size_t headroom;        // headroom: and this many bytes besides, or at the least while generations pay, [1, 20g]; default 32m
  unsigned idle;          // idle: ms with hardly any allocation, three times as long without a cycle of the program's, after which memory is given back and a cycle may run, [10, 86400000]; default 1000
  unsigned verify;        // verify: 1 walks the heap at each flip, 2 at ends of cycles too (also VEIL_VERIFY=), [0, 2]; default 0
  unsigned torture;       // torture: start a cycle about every so many allocation buffers; 0: not, [0, 1000000]; default 0
  uint64_t seed;          // seed: of the torture mode's choices; default from the clock, and printed
  unsigned data_roots;    // data_roots: whether global and static variables are ambiguous roots, no or yes; default no
  unsigned tls_roots;     // tls_roots: whether thread-local variables are ambiguous roots, no or yes; default no
  unsigned stats;         // stats: 1 prints a report to standard error when the heap closes (also VEIL_STATS=), [0, 1]; default 0
  const char *trace;      // trace: a file that is written in the Chrome trace format; %p in its name is the process's id (also VEIL_TRACE=); default none
  const struct veil_events *events; // a table of callbacks (veil/events.h), copied; and their argument. Not in VEIL_OPTIONS
  void *events_arg;       // what they get. Not in VEIL_OPTIONS
  veil_fork fork;         // fork: what a child of fork() has of the heap, copy or exec; default copy
  veil_generations generations; // generations: whether what was born last is collected by itself, auto, off, on or early; default auto
  size_t nursery;         // nursery: bytes that are born between two minor cycles, at most, [128k, 1g]; default a 32nd of what is in use, from 8m to 32m
  unsigned pause;         // pause: us that a minor cycle should take: the nursery is smaller while they take longer, [50, 10000000]; default 1600, none if nursery is given
  const char *dump;       // dump: a file that a heap dump goes to at a signal; %p in its name is the process's id, %n counts dumps (also VEIL_DUMP=); default none
  int dump_signal;        // dump_signal: that signal, [1, 64]; default SIGRTMIN+6
} veil_options;

// Calls `line` for each option with one line for people, as above: name, meaning, range, default. For a program's --help. Any thread.
void veil_options_describe(void (*line)(void *arg, const char *line), void *arg);

#ifdef __cplusplus
}
#endif
#endif
