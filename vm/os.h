// SPDX-License-Identifier: MIT
// os.h: the dozen things vm asks of the system, each with its contract.
//
// Neighbours: os_linux.c does them; every system call of vm goes through here, so that a test
// can make the n-th of them fail. Any thread; all but os_limit_mappings also in signal handlers.
// Results: 0 or a negative errno, unless said otherwise. None changes the caller's errno.

#ifndef VM_OS_H
#define VM_OS_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// What a mapping lets a thread do.
enum os_access { OS_NONE, OS_READ, OS_READ_WRITE };

// ---- Mappings.

// Reserves address space that nothing can touch yet and that is charged to nobody. NULL: none left.
void *os_reserve(size_t bytes);
// The same at a certain address. False: something is there already, or there is none left.
bool os_reserve_at(void *address, size_t bytes);
// Zeroed private memory, charged as it is touched. NULL: none left.
void *os_map_private(size_t bytes);
// Maps all of file `fd` from `offset` at `address`, over what is there, shared and uncharged.
int os_map_file(void *address, size_t bytes, int fd, size_t offset, enum os_access access);
int os_unmap(void *address, size_t bytes);
// Puts a mapping, with its page tables, in the place of what is at `to`.
int os_move(void *from, size_t bytes, void *to);
// Moves the page tables of a mapping to the place of what is at `to`; the mapping stays, as if nothing of it had been touched yet. Where a userfaultfd watches it, and wants to hear of it
// (UFFD_FEATURE_EVENT_REMAP), the call waits until another thread reads from that.
int os_move_tables(void *from, size_t bytes, void *to);
bool os_is_mapped(void *page);
// Puts address space that nothing can touch in the place of what is there.
int os_map_nothing(void *address, size_t bytes);
// A child of fork does not get the range.
int os_not_inherited(void *address, size_t bytes);
// -ENOMEM if that would take more mappings than the process may have; a part of the range may
// have changed then.
int os_protect(void *address, size_t bytes, enum os_access access);
// Gives the range memory, mapped for writing, and zero where it had none. A negative errno, and no
// signal, when there is none; a part of the range may have memory then.
int os_populate(void *address, size_t bytes);
// Gives a range of a file in memory memory, mapped nowhere yet, and zero where it had none. A negative errno when there is none: what the range had
// before stays, and some of it may have more. In pieces, as os_punch.
int os_allocate(int fd, size_t offset, size_t bytes);
// Gives a range that is one huge page long, and aligned to that, memory in one huge page, mapped. -EINVAL: the system does
// not do that; the range may have some memory when it fails.
int os_huge(void *address, size_t bytes);
// Drops the range from the page tables; the file behind it keeps the contents.
int os_drop(void *address, size_t bytes);
// Maps what the file holds, so that the first touches need no fault. A wish: nothing depends on the result.
void os_map_ahead(void *address, size_t bytes);
// Asks that the range be mapped by small pages only, as far as it is not mapped yet. A wish: nothing depends on the result.
void os_small_pages(void *address, size_t bytes);
// Asks that what of the range gets memory from now on get it in huge pages, where one fits. A wish: nothing depends on the result.
void os_large_pages(void *address, size_t bytes);
// Makes every touch of the range fault, mapped or not, until os_unguard; the file behind it keeps the contents. -EINVAL: the
// system does not do that (to files: Linux 6.15), or not to memory that is locked.
int os_guard(void *address, size_t bytes);
// os_drop, os_guard of up to 256 ranges by one call. False: the system has no such call (Linux 6.13), or is short of something: some of the ranges may be done, and all are to be done one by one.
bool os_drop_many(const struct iovec *ranges, size_t count);
bool os_guard_many(const struct iovec *ranges, size_t count);
int os_unguard(void *address, size_t bytes);
// How many mappings a process may have (vm.max_map_count); a cautious figure if it cannot be told.
size_t os_limit_mappings(void);

// ---- Files in memory.

// A file in memory of `bytes` bytes, all hole. The descriptor, or a negative errno.
int os_memory(size_t bytes);
// Gives the memory of a range back: it reads zero afterwards, through every mapping. In pieces: the system has the file locked meanwhile, and os_fill, in a trap, would wait 300 ms for half a GiB. A negative errno: some of it may be given back.
int os_punch(int fd, size_t offset, size_t bytes);
// Writes to a range, all of it, which takes less than to map memory that is new and write there. Async-signal-safe. A negative errno: some of it may be written.
int os_fill(int fd, size_t offset, const void *from, size_t bytes);
// Bytes of memory the file holds; 0 if that cannot be told.
size_t os_memory_held(int fd);
void os_close(int fd);

// ---- userfaultfd and pagemap.

// A userfaultfd with `features` agreed on: of this process's user mode, read by nobody; or, if `kernel`, of faults in
// system calls too, for os_uffd_fault. The descriptor, or -EPERM (forbidden), -ENOSYS (no such call), -EINVAL (a feature is missing).
int os_uffd_open(uint64_t features, bool kernel);
// Registers a range for missing pages, minor faults and write protection.
int os_uffd_register(int uffd, void *address, size_t bytes);
// Maps what the file holds, armed for write tracking if `armed`. Pages that are mapped stay as they are.
// -EFAULT: a page of the range has no contents.
int os_uffd_continue(int uffd, void *address, size_t bytes, bool armed);
// Threads that sleep on a fault in the range try again.
void os_uffd_wake(int uffd, void *address, size_t bytes);
// Lifts write protection, and the markers of it, from a range.
int os_uffd_disarm(int uffd, void *address, size_t bytes);

struct os_range {
  uintptr_t base, limit;
};
// The process's pagemap. The descriptor, or a negative errno.
int os_pagemap_open(void);
// Finds up to `max` ranges in [*from, limit) written since they were last armed, arms them in the same
// step, and advances *from to where the search stopped. How many ranges, or a negative errno.
int os_pagemap_harvest(int pagemap, uintptr_t *from, uintptr_t limit, struct os_range *ranges, int max);

// A thread that sleeps on a fault.
struct os_fault {
  char *address;
  uint32_t tid;
  bool write;
};
// Waits for a fault. 1: `fault` is the next; 0: `event` was posted. What `other` tells, -1: there is none, is read and forgotten.
int os_uffd_fault(int uffd, int other, int event, struct os_fault *fault);
// What tells a thread that waits for a descriptor to end. The descriptor, or a negative errno.
int os_event(void);
void os_event_post(int event);

// ---- Threads. Not in signal handlers.

// Starts a thread with all signals blocked but those of faults.
int os_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);
void os_thread_join(pthread_t thread);
void os_thread_detach(pthread_t thread);
unsigned os_processors(void);
uint32_t os_pid(void);
// A number of this process that no child of fork has, without a call to the system but for the first time. 0: the system has no memory for it. Any thread, in traps.
uint32_t os_process_here(void);
// The caller's thread id, as struct os_fault has it. In signal handlers too.
uint32_t os_tid(void);

// ---- Waiting.

// Sleeps while *word is `expected`. May return early.
void os_wait(uint32_t volatile *word, uint32_t expected);
void os_wake_all(uint32_t volatile *word);
void os_yield(void);
// Sleeps about so long.
void os_nap(unsigned microseconds);

// ---- Signals.

// sigaction and pthread_sigmask, past the interposing library.
int os_handle(int signo, const struct sigaction *action, struct sigaction *previous);
// Installs a handler that stays first, whatever the program does, where the interposing library is (interpose.h). `shared`: the program may have
// one of its own behind it.
int os_claim(int signo, const struct sigaction *action, bool shared);
// Where that library is: unblocks the signals so claimed in this thread. Without it, does nothing.
void os_unblock_claimed(void);
int os_mask(int how, const sigset_t *set, sigset_t *previous);
// Blocks all signals but those of faults: for a thread in which no handler of the program may run, since it might touch objects.
void os_signals_block(sigset_t *saved);
void os_signals_restore(const sigset_t *saved);

// True if a system call could read the byte at `address`; no signal is raised if not.
bool os_readable(const void *address);

// ---- Injected failures, in builds with VEIL_FULL_CHECKS.

#ifdef VEIL_FULL_CHECKS
// The n-th call from now on of those that can fail fails, as if the system were short of something; 0: none does.
void os_fail_at(unsigned n);
// How many calls that can fail were made so far.
unsigned os_calls(void);

// ---- Torture: at one in `one_in` of the points where another thread could come between, this thread gives way for up
// to some tens of microseconds. 0: never.
void os_torture(unsigned one_in, unsigned seed);
void os_point(void);
#else
static inline void os_point(void) {}
#endif

#endif
