// SPDX-License-Identifier: MIT
// veil/roots.h: more kinds of roots and threads: slots of one thread, stacks of coroutines, and threads that come in for one callback. Included by
// veil.h. Starting threads with an object: veil/start.h.
//
// The options data_roots and tls_roots (options.h) make global and thread-local variables roots without registration.
//
// A thread may be attached to several heaps. A stop of one interrupts no slow path of another; brackets, polls and stacks are of one heap each.

#ifndef VEIL_ROOTS_H
#define VEIL_ROOTS_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Slots of a thread.

// As veil_add_roots, but owned by the thread: `count` precise slots outside the heap, thread-local variables say, which are forgotten when the thread
// detaches or ends. VEIL_INVALID, VEIL_NO_MEMORY. Owning thread. veil_remove_thread_roots takes the same `slots`, and aborts if they are unknown.
veil_status veil_add_thread_roots(veil_thread *self, void *slots, size_t count);
void veil_remove_thread_roots(veil_thread *self, void *slots);

// ---- Stacks of coroutines.

// A stack that mutators of one heap may switch to. The references on it are ambiguous roots: of a stack that a thread runs on from its stack
// pointer up, of others from where they were left up. Each that is registered costs pause in proportion to what it holds.
typedef struct veil_stack veil_stack;

// Registers [base, base + bytes), readable memory outside the heap, no guard page included. Nothing on it counts until it was left once. NULL if it is empty,
// overlaps another stack, or there is no memory. Owning thread.
veil_stack *veil_stack_open(veil_thread *self, void *base, size_t bytes);

// Says that this thread goes on on `to`, or if it is NULL on its own stack. Call it right before the switch itself (swapcontext, or the
// like) in the same function: references that are loaded in between are not seen. It saves the registers that a call preserves, so it does not matter where the switch
// puts them. A coroutine may go on in another thread of the heap, once its switch away is complete; it then uses that thread's self. Also before a coroutine's function
// returns. Not between brackets. Aborts if another thread runs on `to`. Owning thread.
//   veil_stack_switch(self, to->stack);
//   swapcontext(&from->context, &to->context);
void veil_stack_switch(veil_thread *self, veil_stack *to);

// Forgets a stack, and what it held; its memory is the program's to free. Aborts if a thread runs on it. Attached threads.
void veil_stack_drop(veil_thread *self, veil_stack *stack);

// A precise slot that lives as long as the stack: for the object that a coroutine begins with, or what it hands over at a switch.
void **veil_stack_slot(veil_stack *stack);

// ---- Named roots.

// Gives `object`, the start of one, a name by which it is found again, in a heap that was restored too (veil/checkpoint.h); it is held as long as it has one. Another
// object of that name loses it; NULL takes the name away. Names are up to 255 bytes of any characters but 0, and are copied. VEIL_INVALID: no name; VEIL_NO_MEMORY. Owning thread.
veil_status veil_root_set(veil_thread *self, const char *name, void *object);

// The object of that name, or NULL. Owning thread.
void *veil_root_get(veil_thread *self, const char *name);

// ---- Pins.

// Keeps `object`, the start of one, alive and where it is, until veil_unpin was called as often (up to 2^32 - 1 times). So its address may be kept where veil does
// not look. Each pinned object costs pause as a word on a stack does. VEIL_NO_MEMORY. Owning thread. Any attached thread may unpin;
// aborts if it is not pinned.
veil_status veil_pin(veil_thread *self, void *object);
void veil_unpin(veil_thread *self, void *object);

// ---- Threads that come in for a callback.

// Attaches the calling thread if it is not; if it is, counts. In brackets it ends them until the matching veil_leave, so a call that blocks may call
// back. NULL with veil_error if attaching fails. Nests, 8 deep in brackets. What a thread needs to attach is kept
// until it ends, so coming back costs 3 to 4 us (veil_attach: 7, and 250 in the main thread), or 0.01 where it is attached. But the first allocation of each visit takes a new buffer, and what is left of that is
// lost until the next cycle: 25 to 45 us in all for one object. A thread that calls back very often had better stay attached, in brackets.
veil_thread *veil_enter(veil_heap *heap);

// Undoes one veil_enter; detaches if that had attached. Aborts without one. Owning thread.
void veil_leave(veil_thread *self);

#ifdef __cplusplus
}
#endif
#endif
