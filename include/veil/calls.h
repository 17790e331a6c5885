// SPDX-License-Identifier: MIT
// veil/calls.h: the usual blocking calls, in brackets, with their buffers made touchable.
//
// Each does what the call of its name does, between veil_block_begin and veil_block_end, so that no stop interrupts it
// (EINTR still comes from the program's own signals) and no stop waits for it. Memory inside the heap that the kernel reads or writes
// is touched meanwhile (veil_touch): it stays where it is and is open, whatever kind of object it is in. Memory elsewhere is left alone.
//
// Results and errno are those of the call. Besides: -1 with EFAULT if a range in the heap is not within one object, -1 with ENOBUFS
// if more than 16 ranges would be touched by the thread; veil_error() says more. The functions that return an error number (of
// pthreads) never touch memory of the heap: mutexes and condition variables do not belong there, because objects move.
// All: owning thread, not between brackets, not in a signal handler.

#ifndef VEIL_CALLS_H
#define VEIL_CALLS_H

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Files and sockets.
ssize_t veil_read(veil_thread *self, int fd, void *buffer, size_t bytes);
ssize_t veil_write(veil_thread *self, int fd, const void *buffer, size_t bytes);
ssize_t veil_pread(veil_thread *self, int fd, void *buffer, size_t bytes, off_t offset);
ssize_t veil_pwrite(veil_thread *self, int fd, const void *buffer, size_t bytes, off_t offset);
// `iov` itself may lie in the heap, too. At most 15 of its buffers may.
ssize_t veil_readv(veil_thread *self, int fd, const struct iovec *iov, int count);
ssize_t veil_writev(veil_thread *self, int fd, const struct iovec *iov, int count);
ssize_t veil_recv(veil_thread *self, int fd, void *buffer, size_t bytes, int flags);
ssize_t veil_send(veil_thread *self, int fd, const void *buffer, size_t bytes, int flags);
// Addresses lie outside the heap, or in leaf objects.
ssize_t veil_recvfrom(veil_thread *self, int fd, void *buffer, size_t bytes, int flags, struct sockaddr *from,
                      socklen_t *from_bytes);
ssize_t veil_sendto(veil_thread *self, int fd, const void *buffer, size_t bytes, int flags, const struct sockaddr *to,
                    socklen_t to_bytes);
int veil_accept(veil_thread *self, int fd, struct sockaddr *address, socklen_t *address_bytes);
int veil_connect(veil_thread *self, int fd, const struct sockaddr *address, socklen_t address_bytes);
int veil_fsync(veil_thread *self, int fd);

// ---- Waiting. Arrays and sets may lie in the heap.
int veil_poll_fds(veil_thread *self, struct pollfd *fds, nfds_t count, int timeout_ms); // poll(2)
int veil_select(veil_thread *self, int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *timeout);
int veil_epoll_wait(veil_thread *self, int epoll, struct epoll_event *events, int max, int timeout_ms);
int veil_nanosleep(veil_thread *self, const struct timespec *wanted, struct timespec *left);
pid_t veil_waitpid(veil_thread *self, pid_t pid, int *status, int options);

// ---- Other threads. A thread that waits for a lock inside brackets does not keep a stop waiting, and the holder may collect.
int veil_mutex_lock(veil_thread *self, pthread_mutex_t *mutex);
int veil_cond_wait(veil_thread *self, pthread_cond_t *condition, pthread_mutex_t *mutex);
int veil_cond_timedwait(veil_thread *self, pthread_cond_t *condition, pthread_mutex_t *mutex,
                        const struct timespec *until);
int veil_join(veil_thread *self, pthread_t thread, void **result);
int veil_sem_wait(veil_thread *self, sem_t *semaphore);

#ifdef __cplusplus
}
#endif
#endif
