// SPDX-License-Identifier: MIT
// dump.c: writes down what is in a heap: the calls, the stop, and the file that takes its name when it is whole.
//
// Neighbours: dump_gather.c lists into memory while the world is stopped, dump_file.c turns that into blocks of a file
// when it runs again. So a disk, or who reads a pipe, stops nobody. In the thread that asks, blocked while it writes.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "runtime/dump.h"
#include "runtime/registers.h"
#include "veil/dump.h"

// This thread's, while it stops the world: what is called there is told nothing else.
static __thread rt_dump *current __attribute__((tls_model("initial-exec")));

static void gather(veil_heap *heap) {
  (void)heap;
  rt_dump_gather(current);
}

static void stop_and_gather(veil_heap *heap, rt_thread *self) { rt_between_cycles(heap, self, gather); }

// The frames below are ours, and hold nothing but words of calls before (rt.registers).
__attribute__((noinline)) static void heap_gather(rt_thread *self, rt_dump *dump) {
  veil_heap *heap = self->heap;
  rt_enter(self);
  self->asked_sp = rt_registers_save(self->asked_registers);
  current = dump;
  dump->asked_ns = vm_now();
  if (heap->options.data_roots || heap->options.tls_roots) {
    rt_segments_hold(heap, self, stop_and_gather);
  } else {
    stop_and_gather(heap, self);
  }
  current = NULL;
  self->asked_sp = NULL;
  rt_leave(self);
}

// A write to a pipe that nobody reads, or beyond the size that files may have, is an error like any other here, and no
// signal.
static int write_quietly(rt_dump *dump, int fd) {
  sigset_t quiet, saved, pending;
  sigemptyset(&quiet);
  sigaddset(&quiet, SIGPIPE);
  sigaddset(&quiet, SIGXFSZ);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &quiet, &saved);
  int error = rt_dump_write(dump, fd);
  int raised = error == EPIPE ? SIGPIPE : error == EFBIG ? SIGXFSZ : 0;
  if (raised != 0 && !sigismember(&pending, raised)) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, raised);
    while (sigtimedwait(&one, NULL, &(struct timespec){0, 0}) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
  return error;
}

static veil_status dump_make(rt_thread *self, rt_dump *dump, int fd, const char *what) {
  dump->heap = self->heap;
  if (!rt_dump_open(dump)) {
    rt_dump_close(dump);
    return VEIL_NO_MEMORY;
  }
  if (!(dump->flags & VEIL_DUMP_AS_IS)) {
    veil_collect(&self->open);
  }
  heap_gather(self, dump);
  rt_dump_finish(dump);
  int error = 0;
  veil_status status = VEIL_OK;
  if (rt_dump_failed(dump)) {
    rt_error_set("veil_heap_dump: no memory for what there is to write");
    status = VEIL_NO_MEMORY;
  } else {
    veil_block_begin(&self->open);
    error = write_quietly(dump, fd);
    veil_block_end(&self->open);
    if (error != 0) {
      rt_error_set("veil_heap_dump: cannot write %s: %s", what, strerror(error));
      status = VEIL_IO;
    }
  }
  rt_dump_close(dump);
  return status;
}

static veil_status dump_to(rt_thread *self, int fd, const char *what, unsigned flags) {
  rt_dump *dump = calloc(1, sizeof *dump);
  if (dump == NULL) {
    rt_error_set("veil_heap_dump: no memory");
    return VEIL_NO_MEMORY;
  }
  dump->flags = flags;
  veil_status status = dump_make(self, dump, fd, what);
  free(dump);
  return status;
}

static bool flags_check(unsigned flags) {
  if ((flags & ~(unsigned)VEIL_DUMP_AS_IS) != 0) {
    rt_error_set("veil_heap_dump: %u is no set of flags", flags);
    return false;
  }
  return true;
}

RT_EXPORT veil_status veil_heap_dump_fd(veil_thread *open, int fd, unsigned flags) {
  rt_thread *self = rt_self_use(open, "veil_heap_dump_fd");
  if (!flags_check(flags)) {
    return VEIL_INVALID;
  }
  char what[32];
  snprintf(what, sizeof what, "descriptor %d", fd);
  return dump_to(self, fd, what, flags);
}

static veil_status failed_to(const char *what, const char *path) {
  rt_error_set("veil_heap_dump: cannot %s %s: %s", what, path, strerror(errno));
  return VEIL_IO;
}

// A name of its own beside `path`, so that it can be given that name in one step.
static int part_open(const char *path, char **name) {
  static uint32_t volatile numbers;
  size_t bytes = strlen(path) + 48;
  *name = malloc(bytes);
  if (*name == NULL) {
    errno = ENOMEM;
    return -1;
  }
  int fd;
  do {
    snprintf(*name, bytes, "%s.%d.%u.part", path, (int)getpid(), at32_add_full(&numbers, 1));
    fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EEXIST); // of another process of this number, once
  return fd;
}

static veil_status dump_to_part(rt_thread *self, const char *path, const char *part, int fd, unsigned flags) {
  veil_status status = dump_to(self, fd, path, flags);
  if (close(fd) != 0 && status == VEIL_OK && errno != EINTR) {
    status = failed_to("write", path);
  }
  if (status == VEIL_OK && rename(part, path) != 0) {
    status = failed_to("rename the new file to", path);
  }
  if (status != VEIL_OK) {
    unlink(part);
  }
  return status;
}

RT_EXPORT veil_status veil_heap_dump(veil_thread *open_self, const char *path, unsigned flags) {
  rt_thread *self = rt_self_use(open_self, "veil_heap_dump");
  if (path == NULL || *path == 0) {
    rt_error_set("veil_heap_dump: no path");
    return VEIL_INVALID;
  }
  if (!flags_check(flags)) {
    return VEIL_INVALID;
  }
  struct stat there;
  if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) { // a device or a pipe is written to, and not replaced
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
      return failed_to("open", path);
    }
    veil_status status = dump_to(self, fd, path, flags);
    close(fd);
    return status;
  }
  char *part = NULL;
  int fd = part_open(path, &part);
  veil_status status =
      fd < 0 ? failed_to("create", part != NULL ? part : path) : dump_to_part(self, path, part, fd, flags);
  free(part);
  return status;
}
