// SPDX-License-Identifier: MIT
// disk.h: a disk in memory, with one folder: it notes what is done to it, can let a call fail, and knows what a crash may leave.
//
// What a crash may leave: of what was written to a file since its last barrier, any part, in sectors of 512 bytes; of what was done to the folder since its
// last barrier, a beginning. What is written through a descriptor that was made direct must be aligned.

#ifndef TESTS_IMAGE_DISK_H
#define TESTS_IMAGE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/image/io.h"

enum { DISK_SECTOR = 512, DISK_NAMES = 8, DISK_NAME = 64, DISK_FILES = 64, DISK_OPEN = 64 };

typedef enum disk_kind { DISK_WRITE, DISK_TRUNCATE, DISK_SYNC, DISK_CREATE, DISK_RENAME, DISK_UNLINK, DISK_SYNC_FOLDER } disk_kind;

typedef struct disk_note {
  disk_kind kind;
  int file;        // of those of a file, and DISK_CREATE
  uint64_t offset; // or the length, of a truncation
  size_t bytes;
  uint8_t *data;
  char from[DISK_NAME], to[DISK_NAME];
  size_t durable; // the barrier after which it is; SIZE_MAX: none yet
} disk_note;

typedef struct disk_file {
  uint8_t *at;
  size_t bytes, room;
  int locked_by; // a descriptor + 1; 0: nobody
  int shares;    // of the lock, that descriptors have
} disk_file;

// How the n-th call fails.
typedef enum disk_failure {
  DISK_FAILS = 0, // with `error`, and nothing is done
  DISK_SHORT,     // a write or read does half of what it should, and says so; others do all
  DISK_DIES       // it and all calls from then on do nothing: the process is gone, and its locks
} disk_failure;

typedef struct disk_entry {
  char name[DISK_NAME];
  int file;
} disk_entry;

typedef struct disk {
  rt_image_io io;
  disk_file file[DISK_FILES];
  int files;
  disk_entry name[DISK_NAMES];
  int names;
  struct disk *base; // what there was before the notes; NULL: nothing
  struct {
    int file; // + 1; 0: not open; -1: the folder
    bool direct, shares;
    uint64_t at; // for write
  } open[DISK_OPEN];
  disk_note *note;
  size_t notes, room;

  bool refuses_direct; // as some file systems do
  unsigned calls;      // that could have failed so far
  unsigned fail_at;    // the number of the call that does; 0: none
  disk_failure failure;
  int error;
  bool failed; // it came to that
  const char *failed_call;
} disk;

disk *disk_new(void);
void disk_free(disk *d);
// The file of that name, or NULL.
disk_file *disk_find(disk *d, const char *name);
// A copy of names and files, with no notes.
disk *disk_copy(const disk *d);
// Drops all notes, and files that have no name any more: from here on nothing crashes that was done before.
void disk_forget(disk *d);
// What is there now is durable: crashes go on from it, and there are no notes of how it came to be. Nothing is open.
void disk_rebase(disk *d);
// All that was open is closed, as if its process had died; failures end.
void disk_restart(disk *d);

// What becomes of a note that is not durable: of a write, how many of its sectors are there, by a seed.
typedef struct disk_fate {
  enum { FATE_LOST, FATE_WHOLE, FATE_FIRST, FATE_BUT_ONE, FATE_RANDOM } kind;
  uint64_t arg; // FATE_FIRST: sectors; FATE_BUT_ONE: the one that is not there; FATE_RANDOM: the seed
} disk_fate;
// Sectors of the disk that a write touches.
static inline size_t disk_sectors(const disk_note *n) { return (n->offset % DISK_SECTOR + n->bytes + DISK_SECTOR - 1) / DISK_SECTOR; }
// Whether the note is pending if the crash comes before note `at`.
static inline bool disk_pending(const disk *d, size_t note, size_t at) {
  return d->note[note].kind != DISK_SYNC && d->note[note].kind != DISK_SYNC_FOLDER && d->note[note].durable >= at;
}
// The disk after a crash before note `at`. `fates` has one for each pending note, in order; those of the folder are LOST or WHOLE, and all after one that is
// lost are too. `shuffle`, if not 0, is the seed of an order in which the pending writes reached the disk.
disk *disk_crash(const disk *d, size_t at, const disk_fate *fates, uint64_t shuffle);
// The disk with all, or nothing, of what is pending.
disk *disk_crash_all(const disk *d, size_t at, bool there);
// One such disk, by a seed: of four, one has lost all that is pending, one has all of it, two have mixtures, in any order.
disk *disk_crash_some(const disk *d, size_t at, uint64_t seed);

#endif
