// SPDX-License-Identifier: MIT
// compress_zram.c: see compress_zram.h. The guard's half comes first: set up, undo, the loop that waits for orders. Then the parent's.

#include "bench/compress_zram.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21 // Linux 5.4
#endif

enum { DEVICES = 16, TEXT = 256, PAGE = 4096, PRIORITY_MOST = 32767 };

typedef struct order {
  bool up; // else down
  char algorithm[32];
  uint64_t bytes;
} order;

typedef struct answer {
  char wrong[TEXT]; // empty: done
  int device;
} answer;

// ---- The guard.

typedef struct guard {
  int device; // that is ours, or -1
  bool swapping;
  char algorithm_before[32];
  char wrong[TEXT];
} guard;

static void attribute_path(char *path, int device, const char *name) { snprintf(path, TEXT, "/sys/block/zram%d/%s", device, name); }
static void device_path(char *path, int device) { snprintf(path, TEXT, "/dev/zram%d", device); }

static bool attribute_read(int device, const char *name, char *text) {
  char path[TEXT];
  attribute_path(path, device, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, text, TEXT - 1) : -1;
  if (fd >= 0) {
    close(fd);
  }
  text[n > 0 ? n : 0] = 0;
  return n > 0;
}

static bool attribute_write(int device, const char *name, const char *text) {
  char path[TEXT];
  attribute_path(path, device, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  int why = errno;
  if (fd >= 0) {
    close(fd);
  }
  errno = why;
  return done;
}

static bool fail(guard *g, const char *what, int why) {
  snprintf(g->wrong, sizeof g->wrong, why != 0 ? "%s: %s" : "%s", what, strerror(why));
  return false;
}

// The algorithm that is chosen stands in brackets.
static void chosen_of(const char *algorithms, char *chosen, size_t room) {
  const char *begin = strchr(algorithms, '['), *end = begin != NULL ? strchr(begin, ']') : NULL;
  snprintf(chosen, room, "%.*s", end != NULL ? (int)(end - begin - 1) : 0, end != NULL ? begin + 1 : "");
}

// A device that nobody uses, with the algorithm chosen and a size: from there on it is ours.
static bool device_take(guard *g, const order *o) {
  char text[TEXT], size[32];
  int found = -1;
  bool any = false;
  for (int i = 0; i < DEVICES && found < 0; i++) {
    if (attribute_read(i, "disksize", text)) {
      any = true;
      found = strtoull(text, NULL, 10) == 0 ? i : -1;
    }
  }
  if (found < 0) {
    return fail(g, any ? "every zram device is in use" : "there is no zram device (modprobe zram)", 0);
  }
  attribute_read(found, "comp_algorithm", text);
  chosen_of(text, g->algorithm_before, sizeof g->algorithm_before);
  if (!attribute_write(found, "comp_algorithm", o->algorithm)) {
    char what[TEXT];
    snprintf(what, sizeof what, "zram%d does not take %s", found, o->algorithm);
    return fail(g, what, errno);
  }
  snprintf(size, sizeof size, "%llu", (unsigned long long)o->bytes);
  if (!attribute_write(found, "disksize", size)) {
    int why = errno;
    attribute_write(found, "comp_algorithm", g->algorithm_before);
    return fail(g, "disksize of zram", why);
  }
  g->device = found;
  return true;
}

// What mkswap writes: the first page, of which the end is the signature.
static bool header_write(guard *g, uint64_t bytes) {
  char path[TEXT], page[PAGE] = {0};
  struct {
    uint32_t version, last_page, bad_pages;
  } info = {1, (uint32_t)(bytes / PAGE - 1), 0};
  memcpy(page + 1024, &info, sizeof info);
  memcpy(page + PAGE - 10, "SWAPSPACE2", 10);
  device_path(path, g->device);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && pwrite(fd, page, sizeof page, 0) == (ssize_t)sizeof page && fsync(fd) == 0;
  int why = errno;
  if (fd >= 0) {
    close(fd);
  }
  return done || fail(g, path, why);
}

static bool down(guard *g) {
  char path[TEXT], what[TEXT];
  if (g->device < 0) {
    return true;
  }
  device_path(path, g->device);
  if (g->swapping && swapoff(path) != 0) {
    snprintf(what, sizeof what, "swapoff %.200s", path);
    return fail(g, what, errno);
  }
  g->swapping = false;
  bool done = false;
  for (int i = 0; i < 100 && !(done = attribute_write(g->device, "reset", "1")); i++) { // others look at new devices, and keep them open for a moment
    nanosleep(&(struct timespec){0, 50000000}, NULL);
  }
  if (!done) {
    return fail(g, "reset of zram", errno);
  }
  attribute_write(g->device, "comp_algorithm", g->algorithm_before);
  g->device = -1;
  return true;
}

static bool up(guard *g, const order *o) {
  char path[TEXT];
  if (geteuid() != 0) {
    return fail(g, "only root may swap", 0);
  }
  if (g->device >= 0 || !device_take(g, o)) {
    return g->device >= 0 ? fail(g, "a device is in use by this program", 0) : false;
  }
  device_path(path, g->device);
  bool done = header_write(g, o->bytes);
  if (done && swapon(path, SWAP_FLAG_PREFER | PRIORITY_MOST) != 0) {
    done = fail(g, "swapon", errno);
  }
  g->swapping = done;
  if (!done) {
    char why[TEXT];
    memcpy(why, g->wrong, sizeof why);
    down(g);
    memcpy(g->wrong, why, sizeof why);
  }
  return done;
}

static _Noreturn void guard_run(int orders) {
  guard g = {.device = -1};
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  setsid();
  order o;
  while (read(orders, &o, sizeof o) == (ssize_t)sizeof o) {
    answer a = {.device = -1};
    g.wrong[0] = 0;
    if (!(o.up ? up(&g, &o) : down(&g))) {
      memcpy(a.wrong, g.wrong, sizeof a.wrong);
    }
    a.device = g.device;
    if (write(orders, &a, sizeof a) != (ssize_t)sizeof a) {
      break;
    }
  }
  bool done = false;
  for (int i = 0; i < 20 && !(done = down(&g)); i++) { // the parent's memory may still be on its way out
    nanosleep(&(struct timespec){0, 500000000}, NULL);
  }
  if (!done) {
    fprintf(stderr, "%s: undo it by hand: swapoff /dev/zram%d; echo 1 >/sys/block/zram%d/reset\n", g.wrong, g.device, g.device);
  }
  _exit(done ? 0 : 1);
}

// ---- The parent.

static int orders = -1, device = -1;
static int pagemap = -1;
static char wrong[TEXT];

void zram_begin(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return;
  }
  pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    guard_run(ends[1]);
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return;
  }
  orders = ends[0];
  signal(SIGCHLD, SIG_DFL);
}

static const char *ordered(const order *o) {
  answer a;
  if (orders < 0 || write(orders, o, sizeof *o) != (ssize_t)sizeof *o || read(orders, &a, sizeof a) != (ssize_t)sizeof a) {
    return "the process that swaps on and off has ended";
  }
  device = a.device;
  memcpy(wrong, a.wrong, sizeof wrong);
  return wrong[0] != 0 ? wrong : NULL;
}

const char *zram_up(const char *algorithm, size_t bytes) {
  order o = {.up = true, .bytes = (bytes + bytes / 8 + (16 << 20)) / PAGE * PAGE};
  snprintf(o.algorithm, sizeof o.algorithm, "%s", algorithm);
  return ordered(&o);
}

const char *zram_down(void) { return ordered(&(order){.up = false}); }

static uint64_t mm_stat(unsigned field) { // from 0: bytes in it, bytes that these are packed to, bytes of memory
  char text[TEXT];
  if (device < 0 || !attribute_read(device, "mm_stat", text)) {
    return 0;
  }
  char *at = text;
  uint64_t value = 0;
  for (unsigned i = 0; i <= field; i++) {
    value = strtoull(at, &at, 10);
  }
  return value;
}

uint64_t zram_held(void) { return mm_stat(2); }

bool zram_is_out(const char *page) {
  uint64_t entry = 0;
  if (pagemap < 0) {
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  }
  return pread(pagemap, &entry, sizeof entry, (off_t)((uintptr_t)page / PAGE * sizeof entry)) == sizeof entry && (entry >> 62 & 1) != 0;
}

const char *zram_page_out(char *at, size_t bytes, size_t *pages) {
  *pages = 0;
  for (int round = 0; round < 10 && *pages < bytes / PAGE; round++) { // a page that somebody else looks at stays at first
    if (madvise(at, bytes, MADV_PAGEOUT) != 0) {
      snprintf(wrong, sizeof wrong, "MADV_PAGEOUT: %s", strerror(errno));
      return wrong;
    }
    *pages = 0;
    for (size_t i = 0; i < bytes / PAGE; i++) {
      *pages += zram_is_out(at + i * PAGE);
    }
  }
  // Pages of zeros are not given to any device, by newer kernels. Others that are missing went somewhere else.
  if (*pages < bytes / PAGE * 9 / 10 || mm_stat(0) < *pages * PAGE / 2) {
    snprintf(wrong, sizeof wrong, "of %zu pages %zu are paged out, %llu to zram: is there a limit on swap, or zswap?", bytes / PAGE, *pages, (unsigned long long)(mm_stat(0) / PAGE));
    return wrong;
  }
  return NULL;
}
