// SPDX-License-Identifier: MIT
// mounted.c: see mounted.h. A thin layer: each request is a call of the disk's.
//
// The system keeps pages that were read or written, as it does of any file system, and sends writes on at once; those
// to shared mappings when they are synchronised, or when the file is closed.

#define FUSE_USE_VERSION 35
#include "tests/store/mounted.h"
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST = 2 }; // inode of file 0; 1 is the folder

static disk *serves;             // the disk that is mounted
static volatile size_t *counted; // its notes, for the child

static void require(bool good, const char *what) {
  if (!good) {
    fprintf(stderr, "mounted: %s: %s\n", what, strerror(errno));
    abort();
  }
}

// ---- Requests.

// Before the reply: the child goes on as soon as that is there.
static int done(int result) {
  *counted = serves->notes;
  return result;
}

static struct stat stat_of(fuse_ino_t inode) {
  struct stat s = {.st_ino = inode, .st_nlink = 1, .st_blksize = 4096, .st_uid = getuid(), .st_gid = getgid()};
  s.st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600;
  if (inode != FUSE_ROOT_ID) {
    s.st_size = (off_t)serves->file[inode - FIRST].bytes;
    s.st_blocks = (s.st_size + 511) / 512;
  }
  return s;
}

// Nothing about names and sizes is kept by the system.
static bool entry_of(const char *name, struct fuse_entry_param *out) {
  disk_file *file = disk_find(serves, name);
  if (file == NULL) {
    return false;
  }
  *out = (struct fuse_entry_param){.ino = (fuse_ino_t)(file - serves->file) + FIRST};
  out->attr = stat_of(out->ino);
  return true;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  struct fuse_entry_param entry;
  if (entry_of(name, &entry)) {
    fuse_reply_entry(request, &entry);
  } else {
    fuse_reply_err(request, ENOENT);
  }
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  struct stat s = stat_of(inode);
  fuse_reply_attr(request, &s, 0);
}

// A descriptor of the disk's for a file whose name may be gone.
static int descriptor_of(fuse_ino_t inode) {
  for (int fd = 3; fd < DISK_OPEN; fd++) {
    if (serves->open[fd].file == 0) {
      serves->open[fd].file = (int)(inode - FIRST) + 1;
      serves->open[fd].direct = serves->open[fd].shares = false;
      return fd;
    }
  }
  return -EMFILE;
}

static void on_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *to, int which, struct fuse_file_info *file) {
  int error = 0;
  if (which & FUSE_SET_ATTR_SIZE) {
    int fd = descriptor_of(inode);
    error = fd < 0 ? fd : done(serves->io.ftruncate(serves, fd, (uint64_t)to->st_size));
    if (fd >= 0) {
      serves->io.close(serves, fd);
    }
  }
  if (error != 0) {
    fuse_reply_err(request, -error);
  } else { // the rest, modes and times, nobody asks for
    on_getattr(request, inode, file);
  }
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  int fd = descriptor_of(inode);
  if (fd < 0) {
    fuse_reply_err(request, -fd);
    return;
  }
  file->fh = (uint64_t)fd;
  if (file->flags & O_TRUNC) {
    done(serves->io.ftruncate(serves, fd, 0));
  }
  fuse_reply_open(request, file);
}

static void on_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file) {
  struct fuse_entry_param entry;
  int fd = done(serves->io.open(serves, name, O_CREAT | O_RDWR, mode));
  if (fd < 0 || !entry_of(name, &entry)) {
    fuse_reply_err(request, fd < 0 ? -fd : EIO);
    return;
  }
  file->fh = (uint64_t)fd;
  fuse_reply_create(request, &entry, file);
}

static void on_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  serves->io.close(serves, (int)file->fh);
  fuse_reply_err(request, 0);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t bytes, off_t offset, struct fuse_file_info *file) {
  const disk_file *f = &serves->file[inode - FIRST];
  size_t at = (size_t)offset < f->bytes ? (size_t)offset : f->bytes;
  fuse_reply_buf(request, (const char *)f->at + at, bytes < f->bytes - at ? bytes : f->bytes - at);
}

static void on_write(fuse_req_t request, fuse_ino_t inode, const char *from, size_t bytes, off_t offset,
                     struct fuse_file_info *file) {
  ssize_t n = serves->io.pwrite(serves, (int)file->fh, from, bytes, (uint64_t)offset);
  done(0);
  if (n < 0) {
    fuse_reply_err(request, (int)-n);
  } else {
    fuse_reply_write(request, (size_t)n);
  }
}

static void on_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file) {
  fuse_reply_err(request, -done(serves->io.fdatasync(serves, (int)file->fh)));
}

static void on_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
  int fd = serves->io.open(serves, "/", O_DIRECTORY, 0);
  if (fd < 0) {
    fuse_reply_err(request, -fd);
    return;
  }
  file->fh = (uint64_t)fd;
  fuse_reply_open(request, file);
}

static void on_fsyncdir(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file) {
  fuse_reply_err(request, -done(serves->io.fsync(serves, (int)file->fh)));
}

static void on_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
  fuse_reply_err(request, disk_find(serves, name) == NULL ? ENOENT : -done(serves->io.unlink(serves, name)));
}

static void on_rename(fuse_req_t request, fuse_ino_t parent, const char *from, fuse_ino_t to_parent, const char *to,
                      unsigned flags) {
  fuse_reply_err(request, flags != 0                        ? EINVAL
                          : disk_find(serves, from) == NULL ? ENOENT
                                                            : -done(serves->io.rename(serves, from, to)));
}

static const struct fuse_lowlevel_ops calls = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .open = on_open,
    .create = on_create,
    .release = on_release,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .opendir = on_opendir,
    .releasedir = on_release,
    .fsyncdir = on_fsyncdir,
    .unlink = on_unlink,
    .rename = on_rename,
};

// ---- Mounting.

// With a namespace of its own a mount goes when the process does, however that is.
static void namespace_make(void) {
  static bool made;
  if (!made && geteuid() == 0 && unshare(CLONE_NEWNS) == 0) {
    require(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mounts cannot be made private");
  }
  made = true;
}

// NULL: it cannot be done, and libfuse has said why.
static struct fuse_session *mounted(const char *folder) {
  char *names[] = {(char *)"veil-tests", (char *)"-o", (char *)"fsname=veil-tests", NULL};
  struct fuse_args args = FUSE_ARGS_INIT(3, names);
  struct fuse_session *session = fuse_session_new(&args, &calls, sizeof calls, NULL);
  fuse_opt_free_args(&args);
  if (session != NULL && fuse_session_mount(session, folder) != 0) {
    fuse_session_destroy(session);
    session = NULL;
  }
  return session;
}

static void folder_make(char folder[static 100]) {
  const char *in = getenv("TMPDIR");
  snprintf(folder, 100, "%s/mounted.XXXXXX", in != NULL && strlen(in) < 80 ? in : "/tmp");
  require(mkdtemp(folder) != NULL, "no folder");
}

bool mounted_works(void) {
  char folder[100];
  namespace_make();
  folder_make(folder);
  struct fuse_session *session = access("/dev/fuse", R_OK | W_OK) == 0 ? mounted(folder) : NULL;
  if (session == NULL) {
    printf("no file system can be mounted here: /dev/fuse and the right to mount (root, or fusermount3) are needed\n");
  } else {
    fuse_session_unmount(session);
    fuse_session_destroy(session);
  }
  rmdir(folder);
  return session != NULL;
}

// Answers until the process has ended: it has closed all its files by then.
static void serve(struct fuse_session *session, int process) {
  struct fuse_buf buffer = {0};
  struct pollfd ready[2] = {{.fd = fuse_session_fd(session), .events = POLLIN}, {.fd = process, .events = POLLIN}};
  while (ready[1].revents == 0 || ready[0].revents != 0) {
    if (poll(ready, 2, -1) < 0) {
      require(errno == EINTR, "poll");
      continue;
    }
    if (ready[0].revents != 0) {
      int got = fuse_session_receive_buf(session, &buffer);
      if (got == -EINTR || got == -EAGAIN) {
        continue;
      }
      require(got > 0, "the mount has gone");
      fuse_session_process_buf(session, &buffer);
    }
  }
  free(buffer.mem);
}

int mounted_run(disk *d, volatile size_t *notes, unsigned seconds, void (*fn)(const char *folder, void *arg),
                void *arg) {
  char folder[100];
  int how;
  folder_make(folder);
  serves = d;
  counted = notes;
  done(0);
  struct fuse_session *session = mounted(folder);
  require(session != NULL, "it does not mount");
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    close(fuse_session_fd(session)); // else the mount would outlive the parent's unmounting
    signal(SIGALRM, SIG_DFL);
    alarm(seconds);
    fn(folder, arg);
    fflush(NULL);
    _exit(0);
  }
  int process = (int)syscall(SYS_pidfd_open, child, 0);
  require(process >= 0, "pidfd_open");
  serve(session, process);
  close(process);
  require(waitpid(child, &how, 0) == child, "waitpid");
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  rmdir(folder);
  disk_restart(d); // what the system has not said that it is closed
  return how;
}
