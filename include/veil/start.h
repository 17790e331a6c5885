// SPDX-License-Identifier: MIT
// veil/start.h: threads that are given an object. Not included by veil.h, because it needs <pthread.h>.

#ifndef VEIL_START_H
#define VEIL_START_H

#include <pthread.h>
#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// Starts a thread that runs fn(its own self, object), attached to the heap of `self`; `object` (NULL is fine) is held until fn has it, and may move on the
// way. The thread detaches after fn; its result is held, so it may be an object, until veil_thread_join. `attr` may be NULL. Writes the thread to
// *out before fn begins. VEIL_NO_MEMORY (the system's EAGAIN, or the new thread cannot attach) or VEIL_INVALID (attributes), with veil_error.
// Owning thread. A thread that `attr` makes detached has no result; do not pthread_detach others, nor pthread_join them.
typedef void *veil_thread_fn(veil_thread *self, void *object);
veil_status veil_thread_start(veil_thread *self, pthread_t *out, const pthread_attr_t *attr, veil_thread_fn *fn, void *object);

// Waits, as between brackets, for a thread that veil_thread_start started in this heap, and gives its result (`result` may be NULL), or what it gave to
// pthread_exit: that is not held, so no object. VEIL_INVALID if it was not started so, or was joined already. Before the heap closes. Owning thread.
veil_status veil_thread_join(veil_thread *self, pthread_t thread, void **result);

#ifdef __cplusplus
}
#endif
#endif
