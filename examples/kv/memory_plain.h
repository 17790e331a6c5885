// SPDX-License-Identifier: MIT
// memory_plain.h: the calls of memory.h that are the system's own where nothing moves. Included by memory_libgc.c and memory_malloc.c alone.

#ifndef KV_MEMORY_PLAIN_H
#define KV_MEMORY_PLAIN_H

#include <sys/socket.h>
#include <time.h>
#include "memory.h"

int kv_epoll_wait(kv_self *self, int epoll, struct epoll_event *events, int most, int timeout_ms) { return epoll_wait(epoll, events, most, timeout_ms); }
void kv_lock_wait(kv_self *self, pthread_mutex_t *lock) { pthread_mutex_lock(lock); }
void kv_sleep(kv_self *self, uint64_t ns) {
  struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
  while (nanosleep(&left, &left) != 0) {
  }
}
ssize_t kv_recv(kv_self *self, int fd, void *buffer, size_t bytes) { return recv(fd, buffer, bytes, MSG_DONTWAIT); }
ssize_t kv_send(kv_self *self, int fd, const void *buffer, size_t bytes) { return send(fd, buffer, bytes, MSG_DONTWAIT | MSG_NOSIGNAL); }
ssize_t kv_writev(kv_self *self, int fd, const struct iovec *iov, int count) { return writev(fd, iov, count); }

// Nothing is saved.
const bool kv_memory_saves = false;
bool kv_memory_loaded(void) { return false; }
void *kv_memory_root(kv_self *self, const char *name) { return NULL; }
bool kv_memory_root_set(kv_self *self, const char *name, void *object) { return false; }
bool kv_memory_saver_open(const char *file, char *error, size_t bytes) { return false; }
void kv_memory_saver_close(void) {}
void kv_memory_quiet(kv_self *self) {}
bool kv_memory_save_begin(kv_self *self, char *error, size_t bytes) { return false; }
bool kv_memory_saving(void) { return false; }
bool kv_memory_commit_begin(kv_self *self, uint64_t *ticket, char *error, size_t bytes) { return false; }
bool kv_memory_commit_wait(kv_self *self, uint64_t ticket, char *error, size_t bytes) { return false; }
size_t kv_memory_store_report(char *out, size_t room) { return 0; }
bool kv_memory_save_end(kv_self *self, kv_memory_saved *out, char *error, size_t bytes) { return false; }

#endif
