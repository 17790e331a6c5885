// SPDX-License-Identifier: MIT
// memory.h: where the server's objects live. The one place in which the three builds differ.
//
//   veil     objects move and are collected; loads and stores are plain, nothing is ever freed
//   libgc    the same on Debian's Boehm collector
//   malloc   each object counts the references to it; the last one that is dropped frees it
//
// The rules, which all three builds follow and only the third needs:
// - A new object comes with one reference, which its maker owns. A plain store of it into a field hands that reference on: `node->next = made;`.
// - Whoever overwrites a field that owned something drops what was there: kv_drop(self, old).
// - Who wants to hold on to an object that another owns says kv_keep(object), and drops it later.
// - Some fields borrow: what they point to is owned elsewhere and lives as long. The type's description names all pointers, owned or not, and a function
//   that drops the owned ones.
// In the first two builds kv_keep and kv_drop are nothing, and the functions that drop are never called.
//
// A function that drops what an object owns: KV_DROPS node_drop(kv_self *self, void *object) { ... }. Every kv_new* returns NULL if memory is out. All: any
// thread between kv_attach and kv_detach.

#ifndef KV_MEMORY_H
#define KV_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

#define KV_DROPS static inline __attribute__((unused)) void

// kv_self, the thread's own part; and:
//   KV_TYPE(T, drop, fields...)       an object with these pointers
//   KV_TYPE_TAIL(T, drop, fields...)  the same, followed by bytes
//   KV_TYPE_SLOTS(name, size, first, count, drop)  `size` bytes in all, with `count` pointers from offset `first`
//   kv_new(self, T)                   zeroed
//   kv_new_tail(self, T, bytes)       zeroed; `bytes` in all, at least sizeof(T)
//   kv_new_slots(self, name)          zeroed
//   kv_new_pointers(self, count, drop)  zeroed
//   kv_new_bytes(self, bytes)         no pointers, not zeroed
//   kv_room(bytes)                    how many bytes an object without pointers has if so many are asked for
//   kv_keep(object), kv_drop(self, object), kv_poll(self)
#if defined KV_MEMORY_VEIL
#include "memory_veil.h"
#elif defined KV_MEMORY_LIBGC
#include "memory_libgc.h"
#elif defined KV_MEMORY_MALLOC
#include "memory_malloc.h"
#else
#error "one of KV_MEMORY_VEIL, KV_MEMORY_LIBGC, KV_MEMORY_MALLOC has to be defined"
#endif

extern const char kv_memory_name[]; // veil, libgc, malloc

// Opens the heap, out of `file` if it is there and the heap can be saved; `options` are the collector's own, or NULL. False with a message in `error`. `store`: the file is, or becomes, a store.
bool kv_memory_open(const char *options, const char *file, bool store, char *error, size_t bytes);
// Gives all back. No thread is attached any more.
void kv_memory_close(void);

kv_self *kv_attach(void); // the calling thread; NULL if it cannot be
void kv_detach(kv_self *self);

// Static variables that hold objects: for all threads, or until this one detaches.
bool kv_add_roots(kv_self *self, void *slots, size_t count);
bool kv_add_thread_roots(kv_self *self, void *slots, size_t count);

// Drops what a dropped object held, up to `most` objects; true if there is more. Large structures are taken apart in steps.
bool kv_reclaim(kv_self *self, unsigned most);

// Threads, and calls that may block.
int kv_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);
void kv_thread_join(kv_self *self, pthread_t thread);
int kv_epoll_wait(kv_self *self, int epoll, struct epoll_event *events, int most, int timeout_ms);
void kv_sleep(kv_self *self, uint64_t ns);
void kv_lock_wait(kv_self *self, pthread_mutex_t *lock);

// Sockets that never block. Buffers are objects without pointers, or lie outside the heap.
ssize_t kv_recv(kv_self *self, int fd, void *buffer, size_t bytes);
ssize_t kv_send(kv_self *self, int fd, const void *buffer, size_t bytes);
ssize_t kv_writev(kv_self *self, int fd, const struct iovec *iov, int count);

// Memory of the process in RAM, what is mapped twice counted once.
uint64_t kv_memory_resident(void);
// The collector's figures as lines "name:value\r\n", for INFO. Returns the length of what would have fitted.
size_t kv_memory_report(char *out, size_t room);
// Collects now, where there is something that collects.
void kv_memory_collect(kv_self *self);
// The kernel's account of this process: resident pages, anonymous ones, in bytes.
void kv_memory_status(uint64_t *resident, uint64_t *shared);

// ---- Heaps that can be saved: veil's.

extern const bool kv_memory_saves; // else none of these is called, but kv_memory_loaded
bool kv_memory_loaded(void);       // kv_memory_open found a file
// Objects with names: from these everything is reached that is saved.
void *kv_memory_root(kv_self *self, const char *name);
bool kv_memory_root_set(kv_self *self, const char *name, void *object);
bool kv_memory_saver_open(const char *file, char *error, size_t bytes); // the file comes into being with the first save
void kv_memory_saver_close(void);
typedef struct kv_memory_saved {
  uint64_t version, bytes, pause_ns;
} kv_memory_saved;
void kv_memory_quiet(kv_self *self); // returns at a moment when a save need not wait for a cycle
// The heap as it is now is going to be saved; or false, with a message.
bool kv_memory_save_begin(kv_self *self, char *error, size_t bytes);
bool kv_memory_saving(void);
// Waits until it is durable; or false, with a message.
bool kv_memory_save_end(kv_self *self, kv_memory_saved *out, char *error, size_t bytes);

// The same with a store: its heap as it is now is going to be durable; or false, with a message.
bool kv_memory_commit_begin(kv_self *self, uint64_t *ticket, char *error, size_t bytes);
bool kv_memory_commit_wait(kv_self *self, uint64_t ticket, char *error, size_t bytes);
size_t kv_memory_store_report(char *out, size_t room); // as kv_memory_report

static inline void kv_lock(kv_self *self, pthread_mutex_t *lock) {
  if (pthread_mutex_trylock(lock) != 0) {
    kv_lock_wait(self, lock);
  }
}
static inline void kv_unlock(pthread_mutex_t *lock) { pthread_mutex_unlock(lock); }

#endif
