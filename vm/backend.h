// SPDX-License-Identifier: MIT
// backend.h: what a back end gives, and what the files of vm/ know of each other.
//
// Neighbours: backend_*.c implement vm_backend; claim.c calls open and revoke, dirty.c harvest, region.c the
// rest. README.md has the contract for whoever writes another one. Not for use outside vm/.

#ifndef VM_BACKEND_H
#define VM_BACKEND_H

#include "vm/os.h"
#include <signal.h>
#include <ucontext.h>
#include "vm/vm.h"

// The back end's own part of a region. Constant after opening, but for what is called AO_t.
struct vm_backend_state {
  // uffd, uffd-kernel
  int uffd, pagemap;
  int seal; // uffd: a second one, which tells of writes before they happen (vm.sealed); -1: none
  // uffd-kernel
  struct vm_pager *pager;
  // mprotect; guard
  size_t limit;  // mappings the process may have
  AO_t mappings; // of the view, when last counted
  AO_t changes;  // calls that may have made two more each, since then
};

struct vm_dirty {
  uint32_t volatile consumers; // open now: bit i is consumer i
  uint32_t volatile lock;      // of the harvester: 0 free, 1 held, 2 held and somebody sleeps
  // One byte per page. Bit i: consumer i knows the page as it is, and a write will be noticed. So a page is dirty
  // for consumer i while the bit is off, which new pages are.
  uint8_t volatile *clean;
  // One byte per group of pages of VM_GROUP bytes. Bit i: no page of the group is dirty for consumer i (vm.news).
  uint8_t volatile *quiet;
  unsigned group_shift; // a group has 2^group_shift pages; constant
};

enum { VM_GROUP = 1 << 16 }; // bytes: the largest page there is

enum { VM_STRETCH = 256 << 10 }; // bytes that are laid and woken by themselves: a multiple of any page, a part of VM_HUGE

// What a stretch is to a harvest (rest.c, vm.rest). README.md has the edges.
enum vm_rest_state {
  VM_AWAKE,       // its mapping can be written
  VM_REST_LAYING, // a thread is making it read-only
  VM_REST_NEW,    // read-only; what was written before may not be harvested yet
  VM_RESTING,     // read-only and harvested since: a harvest leaves it out
  VM_REST_WAKING, // a thread is making it writable
};

struct vm_rest_stretch {
  uint32_t volatile state;    // by CAS; who sleeps on it is woken at every change to AWAKE or NEW
  uint32_t volatile written;  // the round in which a write was last found, or the stretch woken. Atomic
  uint32_t volatile asked;    // the round in which it was last harvested. Under the harvester's lock
  uint32_t volatile laid;     // the round in which it was laid. By who has it LAYING
  uint32_t volatile patience; // it takes FIRST << patience rounds without a write. By who has it LAYING or WAKING
};

struct vm_rest {
  // Constant after opening.
  size_t limit; // mappings the process may have
  // Under the harvester's lock.
  uint32_t volatile round;         // harvests of the whole, as far as that can be told
  uint32_t volatile wakes;         // by round, smoothed: SMOOTH times their mean. Read by anybody
  uint32_t counted;                // of `faulted`, in the last round
  size_t next[VM_DIRTY_CONSUMERS]; // where a call has to begin at least to belong to the consumer's last round
  // Atomic.
  uint32_t volatile able;   // the handler of what a write to a resting stretch raises is installed
  uint32_t volatile due;    // there may be something to lay
  uint32_t volatile laying; // by one thread at a time
  uint32_t volatile eager;  // a test's wish: a stretch is due after one round
  AO_t laid, woken;         // stretches
  AO_t faulted;             // wakes by who wrote there, or was about to: not those of all, or of many, for another reason
  AO_t runs; // of stretches at rest, as all regions' count has them of this one: who has `laying` puts it right
  struct vm_rest_stretch stretch[];
};

struct vm_backend {
  const char *name;
  int signal;           // by which a trap comes; 0: by none
  bool pager;           // faults are handled by threads of the back end's own; with neither, nothing traps
  bool kernel_dirty;    // harvest finds what was written: CLEAN is never laid
  bool rests;           // what nobody writes may be read-only for a time: a write may raise a signal, and a system call be refused
  unsigned forbid_read; // the claims that leave a page without any access (the others leave it readable)

  // Prepares the view, which is mapped without access. On failure leaves nothing behind, and says why.
  vm_status (*open_state)(vm_region *region, char *why, size_t why_bytes);
  void (*close_state)(vm_region *region);

  // Makes a chunk of VM_HUGE bytes of the view ready to be opened, when it first gets memory: of the part that may be had in huge
  // pages, or, with adopts_all, of the whole; the rest of the view is made so by open_state. Once per chunk, by one thread at a
  // time, with signals blocked. False: the system is short of something; it is asked again. NULL: nothing to do.
  bool (*adopt)(vm_region *region, size_t page, size_t count);
  bool adopts_all;

  // Lowers the access of the range to `access`, 0 or VM_ACCESS_READ. Cannot fail. May lower it further and in
  // more pages than asked: the words then say more than the view gives, and the next touch traps and mends that.
  void (*revoke)(vm_region *region, size_t page, size_t count, unsigned access);
  // Lowers the access of many runs, VM_LAY_RUNS at most, to none, by few calls to the system. NULL: revoke does, run by run.
  void (*revoke_many)(vm_region *region, const struct vm_run *run, size_t runs);
  // Raises the access of committed pages to `access`, perhaps with VM_ACCESS_WRITTEN. False if there are no mappings left; some of
  // the pages may be open then.
  bool (*open)(vm_region *region, size_t page, size_t count, unsigned access);
  // Takes all access away, and leaves the range one mapping; never while there is another way. NULL: revoke does.
  void (*fold)(vm_region *region, size_t page, size_t count);
  // Before the memory is given up: revokes, and forgets all write tracking.
  void (*release)(vm_region *region, size_t page, size_t count);

  // After the memory was given up, since the system may have opened the range meanwhile. NULL: it does not.
  void (*released)(vm_region *region, size_t page, size_t count);
  // Gives the memory of pages back that nobody may touch meanwhile (vm_drop). NULL: vm_region_drop does.
  bool (*drop)(vm_region *region, size_t page, size_t count);

  // Finds the pages written since they were last harvested, arms them, and notes them for all consumers.
  // NULL without kernel_dirty.
  void (*harvest)(vm_region *region, size_t page, size_t count);
  // Moves the page tables of a range of whole chunks, which is one mapping, away to address space of ours: the view has no entries there any more, and faults as before. False: it cannot; nothing has changed. NULL: never.
  bool (*move)(vm_region *region, size_t page, size_t count, char *to);
  // As harvest, but in tables that were moved by `aside` bytes, and for these consumers.
  void (*harvest_moved)(vm_region *region, size_t page, size_t count, ptrdiff_t aside, unsigned consumers);
  // Seals (seal.c): a mapping in which the back end hears of each write before it happens. NULL: there is none.
  // Makes one of the pages' memory at `to`, open for reading as far as their words allow that now, and sets the bits of those that are; not with others stopped. False: it cannot.
  bool (*seal_prepare)(vm_region *region, size_t page, size_t count, char *to, uint8_t *readable);
  // Puts it in the place of the view's. In the stop. False: it cannot; nothing is sealed there, or open.
  bool (*seal)(vm_region *region, size_t page, size_t count, char *from);
  // Puts a mapping as usual in its place, in which all is open, and armed, that their words allow but for SEALED; sets the bits of those pages. The caller holds the pages. False: it cannot; nothing has changed.
  bool (*unseal)(vm_region *region, size_t page, size_t count, uint8_t *opened);
  // There is no consumer any more: writes cost nothing again.
  void (*disarm)(vm_region *region, size_t page, size_t count);
  bool (*crowded)(vm_region *region);
  // vm_quiesce and vm_resume. NULL without pager.
  void (*quiesce)(vm_region *region);
  void (*resume)(vm_region *region);
};

extern const vm_backend vm_backend_mprotect, vm_backend_guard, vm_backend_uffd, vm_backend_uffd_kernel, vm_backend_none;

// ---- backend.c

// The back end of that name, or NULL.
const vm_backend *vm_backend_named(const char *name);
// Proves each primitive in a scratch region. On failure says why.
vm_status vm_backend_prove(const vm_backend *back_end, char *why, size_t why_bytes);

// ---- region.c

// Builds and registers a region with the back end, unproven.
vm_status vm_region_build(const vm_region_config *config, const vm_backend *back_end, vm_region **out, char *why,
                          size_t why_bytes);
// Calls `visit` for each region that is open. No region may be closed meanwhile.
void vm_region_each(void (*visit)(void *arg, vm_region *region), void *arg);

// [page, limit) has memory from now on.
void vm_region_committed(vm_region *region, size_t page, size_t limit);
// Gives up the memory of a run of pages that nobody can reach through the view.
void vm_region_punch(vm_region *region, size_t page, size_t count);
// The same. False: the system keeps it.
bool vm_region_drop(vm_region *region, size_t page, size_t count);

// ---- huge.c

// Before any page of the range gets memory. False: the system is short of something.
bool vm_huge_adopt(vm_region *region, size_t page, size_t count);
// The same, in as few calls to the system as can be. One thread, and nobody has touched the region.
bool vm_huge_adopt_all(vm_region *region, size_t page, size_t count);
// The memory of the range goes: whole huge pages only.
void vm_huge_release(vm_region *region, size_t page, size_t count);

// The view was mapped anew: all that was adopted is adopted once more, and nothing is marked. Huge is what was, for the copy is as the original.
// False: the system is short of something. The only thread.
bool vm_chunks_renew(vm_region *region);

// Chunks beside each other that are mapped alike are one mapping of the process.
enum vm_mapping { VM_UNMAPPED, VM_MAPPED, VM_MAPPED_READ_ONLY };
enum vm_mapping vm_chunk_mapping(const vm_region *region, size_t chunk);

// The chunk's byte says that its pages may be protected otherwise than by adopting it: for the back end to set and to ask.
void vm_chunks_mark(vm_region *region, size_t page, size_t count);
bool vm_chunks_marked(const vm_region *region, size_t page, size_t count);

// ---- protect.c: what mprotect and guard do by mprotect.

// Sets the access of a range. False: there is no mapping left; a part may have changed.
bool vm_protect(vm_region *region, size_t page, size_t count, enum os_access access);
// Takes all access away from a range; from more, if there is no mapping left for its seams.
void vm_protect_none(vm_region *region, size_t page, size_t count);
// Drops CLEAN from all pages of the range.
void vm_protect_disarm(vm_region *region, size_t page, size_t count);
// Whether seams between pages of different access, as far as `mask` counts it, are near the system's limit.
bool vm_protect_crowded(vm_region *region, uint32_t mask);

// ---- pager.c

// Claims begin, or end, being settled in this thread, or a callback that may not touch the view runs.
void vm_pager_settling(bool settling);

// ---- claim.c

enum { VM_ACCESS = VM_ACCESS_READ | VM_ACCESS_WRITE };
// To `open`: with kernel_dirty the pages count as written, so that nobody need notice their first writes.
enum { VM_ACCESS_WRITTEN = 1 << 30 };

// What the claims in the word allow.
static inline unsigned vm_claim_allows(const vm_region *region, uint32_t word) {
  if (word & region->back_end->forbid_read & (word & VM_SEALED ? ~(unsigned)VM_UNSAVED : ~0u)) {
    return 0;
  }
  return word & (VM_UNSAVED | VM_CLEAN) ? VM_ACCESS_READ : VM_ACCESS;
}

// What a trap on the page does. False, and nothing is done, if the page has no memory.
bool vm_claim_trap(vm_region *region, size_t page, bool write);
// Sleeps, after spinning a little, until the word may have changed from `seen`.
void vm_claim_wait(vm_region *region, size_t page, uint32_t seen);
// Clears `off` and sets `on`, and wakes whoever sleeps on the word. For a holder of BUSY or a helper.
void vm_claim_change(vm_region *region, size_t page, uint32_t off, uint32_t on);
// Takes the pages' memory out of use: revokes, drops claims and COMMITTED; `give` gives up the memory of a run in
// between.
void vm_claim_release(vm_region *region, size_t page, size_t count, void (*give)(vm_region *, size_t, size_t));
// Opens what can be of the range without waiting for anybody. False if there are no mappings left for it.
bool vm_claim_open_some(vm_region *region, size_t page, size_t count);

// ---- crowd.c

// Opens what can be of a range for which there was no mapping left, by folding whole regions. The caller holds
// none of the range.
void vm_crowd_open(vm_region *region, size_t page, size_t count);
// The same for a trap on a page, whose thread holds nothing: first by settling and opening larger and larger windows
// around it.
void vm_crowd_trap(vm_region *region, size_t page);

// The system may be writing the page for a thread now, so its access must not be lowered.
static inline bool vm_touched(const vm_region *region, size_t page) {
  return region->config.touched != NULL && region->config.touched(region->config.arg, page);
}

// ---- dirty.c

// Writes to the page must be noticed by CLEAN.
static inline bool vm_dirty_watches(const vm_region *region, size_t page) {
  return !region->kernel_dirty &&
         (at32_load_acquire(&region->dirty->consumers) & at8_load(&region->dirty->clean[page])) != 0;
}
static inline bool vm_dirty_tracked(const vm_region *region) {
  return at32_load_acquire(&region->dirty->consumers) != 0;
}
// No consumer knows the page: each will be told of it, written or not.
static inline bool vm_dirty_for_all(const vm_region *region, size_t page) {
  return (at32_load_acquire(&region->dirty->consumers) & at8_load(&region->dirty->clean[page])) == 0;
}
// Harvests the committed pages of a range. Under the harvester's lock.
void vm_dirty_harvest(vm_region *region, size_t page, size_t limit);
void vm_harvest_enter(vm_region *region);
void vm_harvest_leave(vm_region *region);

// ---- move.c

// What was written in the range before its tables were moved, if they were lately. Under the harvester's lock.
void vm_move_harvest(vm_region *region, size_t page, size_t limit);
// In a child of fork.
void vm_move_forget(vm_region *region);

// ---- seal.c

// Before the stop: nothing rests from now on. False: nothing is to be sealed. In the stop: false: all has been unsealed since.
bool vm_seal_begin(vm_region *region);
bool vm_seal_stopped(vm_region *region);
// The region closes.
void vm_seal_close(vm_region *region);
// In a child: the view was mapped anew.
void vm_seal_forget(vm_region *region);

// ---- rest.c. All do nothing in a region that has no `rest`.

// The bytes of struct vm_rest for a region of so many chunks; 0: there is nothing to leave out.
size_t vm_rest_bytes(const vm_backend *back_end, size_t chunks);
void vm_rest_open(vm_region *region);
void vm_rest_close(vm_region *region);
// A consumer begins; there is none any more: all wakes.
void vm_rest_begin(vm_region *region);
void vm_rest_end(vm_region *region);
// vm_dirty_harvest of a part of a consumer's round, but for what rests.
void vm_rest_harvest(vm_region *region, int consumer, size_t page, size_t limit);
// A harvest has found writes to pages [page, limit).
void vm_rest_written(vm_region *region, size_t page, size_t limit);
// A fault at an address of the region. True: its stretch is awake now, and the touch is to be tried again.
bool vm_rest_fault(vm_region *region, int signo, const void *address);
// The page's mapping is read-only because its stretch rests.
bool vm_rests(const vm_region *region, size_t page);
// Before a fork: wakes the stretches that have pages which are spared. All mutators are stopped.
void vm_rest_spare(vm_region *region, vm_spares *spares, void *arg);
// In a child: the view was mapped anew.
void vm_rest_forget(vm_region *region);

// All wakes, and nothing is laid until vm_rest_resume, which another thread may call. Not in traps.
void vm_rest_suspend(vm_region *region);
void vm_rest_resume(vm_region *region);

// Wakes the rest of each chunk of which a part is awake: a chunk is one mapping then, unless somebody writes meanwhile. Not in traps.
void vm_rest_square(vm_region *region);

// Runs of stretches at rest.
uint64_t vm_rest_seams(const vm_region *region);

// ---- fork.c

// What to do with a fault in the region: what the back end is for, nothing but to try once more, or pass it on.
enum vm_fault { VM_FAULT_OURS, VM_FAULT_RETRY, VM_FAULT_FOREIGN };
enum vm_fault vm_fork_fault(vm_region *region, int signo, const void *address);

// ---- trap.c

// Installs the handler for the signal, or puts it back.
bool vm_trap_install(int signo);

// What is said of touches that are bugs.
#define VM_VIEW_TOUCHED "the view was touched at %p while a claim was being settled or an object traced: use the alias"
_Noreturn void vm_stray(vm_region *region, void *address);

// ---- chain.c

// Who handled the signal before us: asked after when a fault is not ours. One caller at a time.
void vm_chain_set(int signo, const struct sigaction *previous);
// Does with a signal that is not ours what would be done without us. May not return: handlers jump.
void vm_chain_pass(int signo, siginfo_t *info, ucontext_t *context);

#endif
