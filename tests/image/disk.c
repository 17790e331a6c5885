// SPDX-License-Identifier: MIT
// disk.c: see disk.h. One thread.

#include "tests/image/disk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(bool good, const char *what) {
  if (!good) {
    fprintf(stderr, "disk: %s\n", what);
    abort();
  }
}

// ---- Notes.

static disk_note *note_add(disk *d, disk_kind kind, int file) {
  if (d->notes == d->room) {
    d->room = 2 * d->room + 64;
    d->note = realloc(d->note, d->room * sizeof *d->note);
    require(d->note != NULL, "no memory for notes");
  }
  d->note[d->notes] = (disk_note){.kind = kind, .file = file, .durable = SIZE_MAX};
  return &d->note[d->notes++];
}

static bool of_folder(disk_kind kind) { return kind == DISK_CREATE || kind == DISK_RENAME || kind == DISK_UNLINK; }

static void barrier(disk *d, int file, disk_kind kind) {
  size_t at = d->notes;
  note_add(d, kind, file);
  for (size_t i = 0; i < at; i++) {
    disk_note *n = &d->note[i];
    if (n->durable == SIZE_MAX && (kind == DISK_SYNC_FOLDER ? of_folder(n->kind) : n->file == file && (n->kind == DISK_WRITE || n->kind == DISK_TRUNCATE))) {
      n->durable = at;
    }
  }
}

// ---- Doing it.

static void file_room(disk_file *f, size_t bytes) {
  if (bytes > f->room) {
    f->room = bytes + bytes / 2;
    f->at = realloc(f->at, f->room);
    require(f->at != NULL, "no memory for a file");
  }
  if (bytes > f->bytes) {
    memset(f->at + f->bytes, 0, bytes - f->bytes);
    f->bytes = bytes;
  }
}

static void file_write(disk_file *f, const uint8_t *from, size_t bytes, uint64_t offset) {
  file_room(f, offset + bytes);
  if (bytes != 0) {
    memcpy(f->at + offset, from, bytes);
  }
}

static void file_cut(disk_file *f, uint64_t bytes) {
  file_room(f, bytes);
  f->bytes = bytes;
}

static int name_of(disk *d, const char *name) {
  for (int i = 0; i < d->names; i++) {
    if (strcmp(d->name[i].name, name) == 0) {
      return i;
    }
  }
  return -1;
}

disk_file *disk_find(disk *d, const char *name) {
  int i = name_of(d, name);
  return i >= 0 ? &d->file[d->name[i].file] : NULL;
}

static void name_set(disk *d, const char *name, int file) {
  int i = name_of(d, name);
  if (i < 0) {
    require(d->names < DISK_NAMES && strlen(name) < DISK_NAME, "too many names, or too long a one");
    i = d->names++;
    strcpy(d->name[i].name, name);
  }
  d->name[i].file = file;
}

static void name_drop(disk *d, const char *name) {
  int i = name_of(d, name);
  if (i >= 0) {
    d->name[i] = d->name[--d->names];
  }
}

static void name_move(disk *d, const char *from, const char *to) {
  int i = name_of(d, from);
  if (i >= 0) {
    int file = d->name[i].file;
    name_drop(d, from);
    name_set(d, to, file);
  }
}

// ---- The calls.

// True if the call fails now; *shorter if it does less.
static bool fails(disk *d, const char *call, bool *shorter) {
  *shorter = false;
  if (d->failed && d->failure == DISK_DIES) {
    return true;
  }
  if (++d->calls != d->fail_at) {
    return false;
  }
  d->failed = true;
  d->failed_call = call;
  *shorter = d->failure == DISK_SHORT;
  return d->failure != DISK_SHORT;
}
static int why(const disk *d) { return d->failure == DISK_DIES ? -EIO : -d->error; }

static int open_slot(disk *d, int file) {
  for (int fd = 3; fd < DISK_OPEN; fd++) {
    if (d->open[fd].file == 0) {
      d->open[fd].file = file;
      d->open[fd].direct = d->open[fd].shares = false;
      d->open[fd].at = 0;
      return fd;
    }
  }
  return -EMFILE;
}

static int disk_open(void *context, const char *path, int flags, mode_t mode) {
  disk *d = context;
  bool shorter;
  if (fails(d, "open", &shorter)) {
    return why(d);
  }
  if (flags & O_DIRECTORY) {
    return open_slot(d, -1);
  }
  int i = name_of(d, path);
  if (i < 0) {
    if (!(flags & O_CREAT)) {
      return -ENOENT;
    }
    require(d->files < DISK_FILES, "too many files");
    disk_note *n = note_add(d, DISK_CREATE, d->files);
    strcpy(n->from, path);
    name_set(d, path, d->files++);
    i = name_of(d, path);
  }
  return open_slot(d, d->name[i].file + 1);
}

static disk_file *file_of(disk *d, int fd) {
  require(fd >= 3 && fd < DISK_OPEN && d->open[fd].file > 0, "no such descriptor");
  return &d->file[d->open[fd].file - 1];
}

static void disk_close(void *context, int fd) {
  disk *d = context;
  require(fd >= 3 && fd < DISK_OPEN && d->open[fd].file != 0, "closed twice");
  if (d->open[fd].file > 0 && file_of(d, fd)->locked_by == fd + 1) {
    file_of(d, fd)->locked_by = 0;
  }
  if (d->open[fd].shares) {
    file_of(d, fd)->shares--;
  }
  d->open[fd].file = 0;
}

static ssize_t disk_pread(void *context, int fd, void *to, size_t bytes, uint64_t offset) {
  disk *d = context;
  disk_file *f = file_of(d, fd);
  bool shorter;
  require(!d->open[fd].direct, "a read past the cache");
  if (fails(d, "pread", &shorter)) {
    return why(d);
  }
  if (offset >= f->bytes) {
    return 0;
  }
  bytes = bytes < f->bytes - offset ? bytes : f->bytes - offset;
  bytes = shorter && bytes > 1 ? bytes / 2 : bytes;
  memcpy(to, f->at + offset, bytes);
  return (ssize_t)bytes;
}

static ssize_t write_at(disk *d, int fd, const void *from, size_t bytes, uint64_t offset, const char *call) {
  disk_file *f = file_of(d, fd);
  bool shorter;
  if (d->open[fd].direct) {
    require(offset % 4096 == 0 && bytes % 4096 == 0 && (uintptr_t)from % 4096 == 0, "a direct write that is not aligned");
    if (d->refuses_direct) {
      return -EINVAL;
    }
  }
  if (fails(d, call, &shorter)) {
    return why(d);
  }
  bytes = shorter ? (bytes / 2) & ~(size_t)(DISK_SECTOR - 1) : bytes;
  disk_note *n = note_add(d, DISK_WRITE, d->open[fd].file - 1);
  n->offset = offset;
  n->bytes = bytes;
  n->data = malloc(bytes + 1);
  require(n->data != NULL, "no memory for a write");
  memcpy(n->data, from, bytes);
  file_write(f, from, bytes, offset);
  return (ssize_t)bytes;
}

static ssize_t disk_pwrite(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  return write_at(context, fd, from, bytes, offset, "pwrite");
}

static ssize_t disk_write(void *context, int fd, const void *from, size_t bytes) {
  disk *d = context;
  ssize_t n = write_at(d, fd, from, bytes, d->open[fd].at, "write");
  d->open[fd].at += n > 0 ? (uint64_t)n : 0;
  return n;
}

static int disk_fdatasync(void *context, int fd) {
  disk *d = context;
  bool shorter;
  int file = d->open[fd].file - 1;
  file_of(d, fd);
  if (fails(d, "fdatasync", &shorter)) {
    return why(d);
  }
  barrier(d, file, DISK_SYNC);
  return 0;
}

static int disk_fsync(void *context, int fd) {
  disk *d = context;
  bool shorter;
  require(d->open[fd].file == -1, "fsync of what is no folder");
  if (fails(d, "fsync", &shorter)) {
    return why(d);
  }
  barrier(d, -1, DISK_SYNC_FOLDER);
  return 0;
}

static int disk_ftruncate(void *context, int fd, uint64_t bytes) {
  disk *d = context;
  bool shorter;
  disk_file *f = file_of(d, fd);
  if (fails(d, "ftruncate", &shorter)) {
    return why(d);
  }
  if (f->bytes != bytes) {
    note_add(d, DISK_TRUNCATE, d->open[fd].file - 1)->offset = bytes;
    file_cut(f, bytes);
  }
  return 0;
}

static int disk_rename(void *context, const char *from, const char *to) {
  disk *d = context;
  bool shorter;
  if (fails(d, "rename", &shorter)) {
    return why(d);
  }
  disk_note *n = note_add(d, DISK_RENAME, -1);
  strcpy(n->from, from);
  strcpy(n->to, to);
  name_move(d, from, to);
  return 0;
}

static int disk_unlink(void *context, const char *path) {
  disk *d = context;
  bool shorter;
  if (fails(d, "unlink", &shorter)) {
    return why(d);
  }
  strcpy(note_add(d, DISK_UNLINK, -1)->from, path);
  name_drop(d, path);
  return 0;
}

static int64_t disk_size(void *context, int fd, uint64_t identity[2]) {
  disk *d = context;
  bool shorter;
  if (fails(d, "fstat", &shorter)) {
    return why(d);
  }
  if (identity != NULL) {
    identity[0] = 1;
    identity[1] = (uint64_t)d->open[fd].file;
  }
  return (int64_t)file_of(d, fd)->bytes;
}

static int disk_identity(void *context, const char *path, uint64_t identity[2]) {
  disk *d = context;
  int i = name_of(d, path);
  if (i < 0) {
    return -ENOENT;
  }
  identity[0] = 1;
  identity[1] = (uint64_t)d->name[i].file + 1;
  return 0;
}

static int lock_take(disk *d, int fd, bool shared, pid_t *holder) {
  bool shorter;
  disk_file *f = file_of(d, fd);
  *holder = 0;
  if (fails(d, "lock", &shorter)) {
    return why(d);
  }
  require(!d->open[fd].shares && f->locked_by != fd + 1, "locked twice");
  if (f->locked_by != 0 || (f->shares != 0 && !shared)) {
    *holder = f->locked_by != 0 ? 4242 : -4242;
    return -EAGAIN;
  }
  if (shared) {
    f->shares++;
    d->open[fd].shares = true;
  } else {
    f->locked_by = fd + 1;
  }
  return 0;
}

static int disk_lock(void *context, int fd, pid_t *holder) { return lock_take(context, fd, false, holder); }
static int disk_lock_shared(void *context, int fd, pid_t *holder) { return lock_take(context, fd, true, holder); }

static int disk_direct(void *context, int fd, bool on) {
  disk *d = context;
  d->open[fd].direct = on;
  return 0;
}

static void disk_behind(void *context, int fd, uint64_t offset, uint64_t bytes) {}

// ---- Disks.

disk *disk_new(void) {
  disk *d = calloc(1, sizeof *d);
  require(d != NULL, "no memory");
  d->io = (rt_image_io){d,           disk_open,   disk_close, disk_pread,    disk_pwrite, disk_write,       disk_fdatasync, disk_fsync, disk_ftruncate,
                        disk_rename, disk_unlink, disk_size,  disk_identity, disk_lock,   disk_lock_shared, disk_direct,    disk_behind};
  return d;
}

void disk_free(disk *d) {
  for (int i = 0; i < d->files; i++) {
    free(d->file[i].at);
  }
  for (size_t i = 0; i < d->notes; i++) {
    free(d->note[i].data);
  }
  free(d->note);
  if (d->base != NULL) {
    disk_free(d->base);
  }
  free(d);
}

void disk_restart(disk *d) {
  memset(d->open, 0, sizeof d->open);
  for (int i = 0; i < d->files; i++) {
    d->file[i].locked_by = d->file[i].shares = 0;
  }
  d->failed = false;
  d->fail_at = 0;
}

static bool file_is_used(const disk *d, int file) {
  for (int i = 0; i < d->names; i++) {
    if (d->name[i].file == file) {
      return true;
    }
  }
  for (int i = 0; i < DISK_OPEN; i++) {
    if (d->open[i].file == file + 1) {
      return true;
    }
  }
  return false;
}

static void file_renumber(disk *d, int from, int to) {
  d->file[to] = d->file[from];
  d->file[from] = (disk_file){0};
  for (int i = 0; i < d->names; i++) {
    d->name[i].file = d->name[i].file == from ? to : d->name[i].file;
  }
  for (int i = 0; i < DISK_OPEN; i++) {
    d->open[i].file = d->open[i].file == from + 1 ? to + 1 : d->open[i].file;
  }
}

void disk_forget(disk *d) {
  for (size_t n = 0; n < d->notes; n++) {
    free(d->note[n].data);
  }
  d->notes = 0;
  for (int i = d->files; i-- > 0;) {
    if (!file_is_used(d, i)) {
      free(d->file[i].at);
      d->file[i] = (disk_file){0};
      if (i != --d->files) {
        file_renumber(d, d->files, i);
      }
    }
  }
}

disk *disk_copy(const disk *d) {
  disk *copy = disk_new();
  copy->files = d->files;
  copy->names = d->names;
  memcpy(copy->name, d->name, sizeof d->name);
  for (int i = 0; i < d->files; i++) {
    file_write(&copy->file[i], d->file[i].at, d->file[i].bytes, 0);
  }
  return copy;
}

void disk_rebase(disk *d) {
  disk_forget(d);
  if (d->base != NULL) {
    disk_free(d->base);
  }
  d->base = disk_copy(d);
}

// ---- Crashes.

static uint64_t mix(uint64_t n) {
  n = (n ^ (n >> 31)) * 0x7fb5d329728ea185;
  n = (n ^ (n >> 27)) * 0x81dadef4bc2dd44d;
  return n ^ (n >> 33);
}

static void write_partly(disk_file *f, const disk_note *n, const disk_fate *fate) {
  size_t sectors = disk_sectors(n), from = 0;
  for (size_t s = 0; s < sectors; s++) {
    size_t whole = DISK_SECTOR - (n->offset + from) % DISK_SECTOR, bytes = n->bytes - from < whole ? n->bytes - from : whole;
    bool there = fate->kind == FATE_WHOLE || (fate->kind == FATE_FIRST && s < fate->arg) || (fate->kind == FATE_BUT_ONE && s != fate->arg) ||
                 (fate->kind == FATE_RANDOM && (mix(fate->arg + s * 977) & 3) != 0);
    if (there) {
      file_write(f, n->data + from, bytes, n->offset + from);
    }
    from += bytes;
  }
}

static void note_redo(disk *d, const disk_note *n, const disk_fate *fate) {
  switch (n->kind) {
  case DISK_WRITE:
    write_partly(&d->file[n->file], n, fate);
    break;
  case DISK_TRUNCATE:
    file_cut(&d->file[n->file], n->offset);
    break;
  case DISK_CREATE:
    name_set(d, n->from, n->file);
    break;
  case DISK_RENAME:
    name_move(d, n->from, n->to);
    break;
  case DISK_UNLINK:
    name_drop(d, n->from);
    break;
  case DISK_SYNC:
  case DISK_SYNC_FOLDER:
    break;
  }
}

disk *disk_crash(const disk *d, size_t at, const disk_fate *fates, uint64_t shuffle) {
  static const disk_fate whole = {FATE_WHOLE, 0};
  disk *after = d->base != NULL ? disk_copy(d->base) : disk_new();
  after->files = d->files;
  bool folder = true;
  size_t pending = 0, lates = 0, *late = malloc((at + 1) * sizeof *late);
  disk_fate *late_fate = malloc((at + 1) * sizeof *late_fate);
  require(late != NULL && late_fate != NULL, "no memory for a crash");
  for (size_t i = 0; i < at; i++) {
    const disk_note *n = &d->note[i];
    if (!disk_pending(d, i, at)) {
      note_redo(after, n, &whole);
      continue;
    }
    const disk_fate *fate = &fates[pending++];
    if (of_folder(n->kind)) {
      folder = folder && fate->kind != FATE_LOST;
      if (folder) {
        note_redo(after, n, &whole);
      }
    } else if (fate->kind != FATE_LOST) {
      late[lates] = i;
      late_fate[lates++] = *fate;
    }
  }
  for (size_t i = 0; i < lates; i++) {
    size_t j = shuffle != 0 ? i + mix(shuffle + i) % (lates - i) : i; // what is at i goes where j was
    note_redo(after, &d->note[late[j]], &late_fate[j]);
    late[j] = late[i];
    late_fate[j] = late_fate[i];
  }
  free(late);
  free(late_fate);
  return after;
}

static disk_fate *fates_new(size_t count) {
  disk_fate *fates = calloc(count + 1, sizeof *fates);
  require(fates != NULL, "no memory for a crash");
  return fates;
}

disk *disk_crash_all(const disk *d, size_t at, bool there) {
  disk_fate *fate = fates_new(at);
  for (size_t i = 0; i < at; i++) {
    fate[i].kind = there ? FATE_WHOLE : FATE_LOST;
  }
  disk *after = disk_crash(d, at, fate, 0);
  free(fate);
  return after;
}

disk *disk_crash_some(const disk *d, size_t at, uint64_t seed) {
  uint64_t kind = mix(seed) % 4;
  if (kind < 2) {
    return disk_crash_all(d, at, kind == 1);
  }
  disk_fate *fate = fates_new(at);
  size_t n = 0;
  for (size_t i = 0; i < at; i++) {
    if (disk_pending(d, i, at)) {
      uint64_t dice = mix(seed + (n + 1) * 0x9e3779b97f4a7c15);
      fate[n] = (disk_fate){(int)(dice % 5), mix(dice)};
      if (fate[n].kind == FATE_FIRST || fate[n].kind == FATE_BUT_ONE) {
        fate[n].arg %= d->note[i].bytes / DISK_SECTOR + 1;
      }
      n++;
    }
  }
  disk *after = disk_crash(d, at, fate, mix(~seed) | 1);
  free(fate);
  return after;
}
