// SPDX-License-Identifier: MIT
// veil/weak.h: references that do not hold what they refer to, finalizers, and handles.
//
//   veil_weak *cached = veil_weak_new(self, image);     // an object itself: keep it where you keep objects
//   ...
//   image = veil_weak_get(self, cached);                // NULL once nothing else held the image
//
//   veil_finalize(self, file, file_close, NULL);        // when nothing else holds it, file_close(self, file, NULL) is due:
//   ...
//   veil_finalizers_run(self, 100);                     // here, or in a thread of veil's: veil_finalizers_start(heap)
//
// They cost a flip nothing, however many there are, and a minor cycle something only for what is young. `object` is the start of an
// object of this heap. Calls abort if it is none. They are for attached threads that are not between brackets, and not for signal
// handlers.

#ifndef VEIL_WEAK_H
#define VEIL_WEAK_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Weak references.

// An object that refers to another without holding it. It is collected like any other.
typedef struct veil_weak veil_weak;

// A weak reference to `object`, or to nothing if it is NULL. NULL if memory is out (option oom=null), or if there are
// 67 million links (veil_error). Owning thread.
veil_weak *veil_weak_new(veil_thread *self, void *object);

// What it refers to, and NULL once a collection has found that nothing else holds that: for everybody, and for good. Until then the caller
// holds what it gets. An object that waits to be finalized, and what that refers to, is still there. Owning thread.
void *veil_weak_get(veil_thread *self, veil_weak *weak);

// Refers to another object from now on, or to nothing. Owning thread.
void veil_weak_set(veil_thread *self, veil_weak *weak, void *object);

// ---- Finalizers.

// Called with an object that nothing holds any more. It is whole, as is all that it refers to, though that may have been finalized before it. It
// may be given to others, and then lives on; it is not finalized again unless somebody says so. The call may allocate, and wait.
// It has to return.
typedef void veil_finalizer_fn(veil_thread *self, void *object, void *data);

// Names a finalizer, for veil_finalizer_cancel. 0: none.
typedef uint64_t veil_finalizer;

// `fn` is to be called once after `object` is held by nothing but weak references and finalizers, itself included: cycles do not matter, and objects that
// refer to each other are finalized in any order. `data` is no reference. An object may have several. Nobody calls what is left when the
// heap is closed. 0 if there are 67 million links (veil_error). Owning thread.
veil_finalizer veil_finalize(veil_thread *self, void *object, veil_finalizer_fn *fn, void *data);

// Forgets it. False if it is due, or was called or forgotten before. Any thread of the heap.
bool veil_finalizer_cancel(veil_thread *self, veil_finalizer finalizer);

// Calls finalizers that are due, `most` at the most, in the order in which they became so. Returns how many. Owning thread.
size_t veil_finalizers_run(veil_thread *self, size_t most);

// How many are due. Any thread.
size_t veil_finalizers_due(veil_heap *heap);

// From now on a thread of veil's, attached, calls them as they become due, until veil_close; also in children of fork. Once more does nothing. VEIL_NO_MEMORY if there is no
// thread to be had. Any thread, not from a finalizer.
veil_status veil_finalizers_start(veil_heap *heap);

// ---- Handles: roots for code that wants to name them one by one.

// Holds an object from outside of the heap, as a slot of veil_add_roots does; but it is forwarded in the background.
typedef struct veil_handle veil_handle;

// A handle that holds `object`, or nothing if it is NULL. NULL if there are 67 million links (veil_error). Owning thread.
veil_handle *veil_handle_new(veil_thread *self, void *object);

// What it holds; what it is to hold from now on, or NULL. Owning thread.
void *veil_handle_get(veil_thread *self, const veil_handle *handle);
void veil_handle_set(veil_thread *self, veil_handle *handle, void *object);

// Lets go; the handle is gone. Aborts, as the other two do, if it was before. Owning thread.
void veil_handle_drop(veil_thread *self, veil_handle *handle);

#ifdef __cplusplus
}
#endif
#endif
