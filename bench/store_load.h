// SPDX-License-Identifier: MIT
// store_load.h: the workload `store`: values of 100 bytes by number, of which some are updated, K at a time, and committed. store_main.c runs it, store_load.c has the options, the values and the
// record; a program is these two and one store_<peer>.c, which holds the values.
//
// What is updated, and with what, depends on the seed alone, so that all peers hold the same at the end.

#ifndef BENCH_STORE_LOAD_H
#define BENCH_STORE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VALUE_BYTES = 100, KEY_BYTES = 8, SUFFIXES = 4, CANNOT = 77 };

typedef struct load_update {
  uint64_t key;
  unsigned char value[VALUE_BYTES];
} load_update;

// A thread's own of what a peer has to hold for it.
typedef struct load_thread load_thread;

// What a peer does. What fails ends the process (load_fail). Functions may be NULL where that is said.
typedef struct load_peer {
  const char *name;
  const char *suffixes[SUFFIXES]; // of its files, after --file
  bool empty;                     // has no contents: nothing is read, nothing checked
  // Makes the files, with the first value of each key (load_value(key, 0, …)), and leaves them as after `close`. In a process of its own, so that it leaves nothing in memory. The caller syncs them.
  void (*make)(void);
  void (*open)(void);
  void (*close)(void);
  load_thread *(*attach)(void);
  void (*detach)(load_thread *t);
  void (*block)(load_thread *t, bool begin);                                // around waits for other threads; may be NULL
  void (*commit)(load_thread *t, const load_update *updates, size_t count); // all or none; durable when it returns
  void (*settle)(load_thread *t, const load_update *updates, size_t count); // the same, but what a crash in it leaves is not asked; NULL: `commit`
  void (*read)(load_thread *t, uint64_t key, unsigned char *value);
  uint64_t (*logged)(void);  // bytes written to its log since it was opened; may be NULL
  double (*log_mib)(void);   // of its log that recovery would have to read; may be NULL
  double (*peak_mib)(void);  // memory held at most; NULL: what was resident at most
  const char *(*back_end)(void); // may be NULL
  // Part walk; may be NULL. A heap with the first values and no store is opened as the store is, and closed likewise.
  void (*open_volatile)(void);
  void (*walk)(void); // reads all values, and tells how long that took
  void (*pages)(void);                // part pages: touches the heap's pages for the first time, and tells how long that took; may be NULL
  void (*rollback)(load_thread *t);   // part rollback: back to the last commit, and tells how long that took; may be NULL
} load_peer;
extern const load_peer peer_here; // constant; defined by the peer

typedef struct load_options {
  const char *file;  // and what its suffixes make of it
  const char *part;  // "commits", "recover", "walk", "pages", "rollback"
  const char *walk;  // "store", "volatile"
  const char *at;    // part pages: "home": where the heap was; "elsewhere": its address is taken
  const char *back_end;
  unsigned k, threads;
  uint64_t keys;     // that are updated
  double live_mib;   // of keys and values; 0: of those that are updated, and no others
  uint64_t commits;  // by all threads together
  double seconds;    // no commit is begun later
  double log_mib;    // part recover: wanted in the log
  uint64_t seed;
  // Derived.
  uint64_t total, stride; // keys there are; every stride-th of them is updated, the first `keys`
} load_options;
extern load_options load_now; // constant after load_options_read

// Reads the command line; leaves with status 2 if something is wrong.
void load_options_read(int argc, char **argv);

// Ends the process with status 1, or with CANNOT while files are made: what a peer cannot do here it says then.
_Noreturn void load_fail(const char *what, const char *why);
extern bool load_making;

// The value that a key has after the update with this stamp; 0: the first.
void load_value(uint64_t key, uint64_t stamp, unsigned char *value);

// What a thread does, in order. Keys of threads are disjoint.
typedef struct load_source {
  uint64_t random, made;
  unsigned thread;
} load_source;
load_source load_source_begin(unsigned thread);
void load_update_next(load_source *s, load_update *u);

// What was last given to the key number `i` of those that are updated: a shadow of the contents. Written by the thread that has the key.
extern uint64_t *load_stamps;

uint64_t load_check_add(uint64_t check, const unsigned char *value);

double load_now_s(void);
double load_cpu_s(void);
double load_status_mib(const char *field);  // of /proc/self/status
double load_files_mib(void);                // what the peer's files take

// What was seen, as one JSON object.
void load_json(const char *name, double value);
void load_json_text(const char *name, const char *value);
void load_json_print(void);

#endif
