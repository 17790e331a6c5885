// SPDX-License-Identifier: MIT
// vm.h: Appel and Li's six primitives, on pages with claims.
//
// Neighbours: claim.c keeps the page words, backend_*.c change the protection, trap.c receives
// faults, dirty.c harvests writes, lay.c and move.c take access away from many pages at once. Knows no objects. Used by gc/ and runtime/.
//
//   Trap    vm_region_config.settle     a touch of a claimed page, in the thread that touched it
//   Prot1, ProtN  vm_prot               lay a claim on a page, on a range
//   Unprot  vm_unprot, vm_give          drop it; open a range
//   Dirty   vm_dirty                    pages written since the last call, armed again
//   Map2    view and alias              the same memory twice: view + delta = alias

#ifndef VM_VM_H
#define VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vm/atomic.h"

// A claim forbids access to a page for one reason. Protection is derived from the claims
// of a page and nowhere else set. A trap settles them in this order, lowest bit first: ABSENT always, UNSAVED
// for a write and whenever UNSCANNED is on the page (even if the touch is a read), then UNSCANNED, CLEAN.
enum {
  VM_ABSENT = 1,    // forbids read and write; settled by the owner who put the contents away
  VM_UNSAVED = 2,   // forbids write, and reading where the back end cannot forbid less and the page is not SEALED; settled by the owner who wants to save first; a scan writes, so it comes first
  VM_UNSCANNED = 4, // forbids read and write; settled by the collector
  VM_CLEAN = 8,     // forbids write; vm's own, on back ends where the kernel does not track writes
  VM_IDLE = 1 << 28, // forbids read and write; vm's own: nobody has touched the page since it was laid, and so it is settled by the touch and by nothing else
  VM_CLAIMS = 15 | VM_IDLE,
};

// The rest of a page's word. What a mutator can do with the page now is in the access field.
enum {
  VM_BUSY = 16,       // one thread settles or changes the page; no other changes claims or access
  VM_WAIT = 32,       // someone sleeps on the word
  VM_SETTLED = 64,    // BUSY, but nothing is left to settle: a trap may open the page itself, as a helper
  VM_ACCESS_READ = 128,   // opened for reading
  VM_ACCESS_WRITE = 256,  // opened for writing (implies READ)
  VM_COMMITTED = 512, // the page has memory
  VM_HELPER = 1 << 10,    // one helper; six bits
  VM_HELPERS = 63 << 10,
  VM_STAMP = 1 << 16,     // eight bits that the layer of claims may use: see vm_prot
  VM_STAMPS = 255 << 16,
  VM_MOVED = 1 << 25,  // the view's page tables were moved away, and the page was not opened since (vm.moved)
  VM_EMPTY = 1 << 26,  // it was MOVED already when tables were moved last: those tell nothing of it
  VM_SEALED = 1 << 27, // its mapping tells of writes before they happen: UNSAVED need not forbid reading (vm.sealed)
  VM_LAYING = 1 << 24, // BUSY, to take access away: the holder waits for nobody, so anybody may wait for it
};

enum { VM_HUGE = 2 << 20 }; // bytes of a huge page

typedef enum vm_status {
  VM_OK = 0,
  VM_NO_MEMORY,     // address space, memory or mappings
  VM_UNSUPPORTED,   // the back end does not work here
  VM_INVALID,       // no such back end, bad size
} vm_status;

typedef struct vm_backend vm_backend;
typedef struct vm_region vm_region;

typedef struct vm_region_config {
  size_t bytes;            // to reserve; a multiple of 2 MiB
  unsigned page_shift;     // a vm page is 2^shift bytes, [12, 16]: the unit of claims and traps
  size_t huge;             // memory of so many bytes from the base on may be had in huge pages (vm_commit_huge); a multiple of VM_HUGE
  void *at;                // where the view is to be, a multiple of 2 MiB, if that is free; NULL: anywhere
  const char *back_end;    // "uffd", "guard", "mprotect", "uffd-kernel", "none", or "auto"/NULL: VEIL_VM, else the best that works

  // Settles one claim (VM_ABSENT, VM_UNSCANNED or VM_UNSAVED) of `page`, which the caller holds BUSY.
  // Called in the touching thread, in a signal handler, or (uffd-kernel) in a thread of the back end's own, or from vm_settle. `write` as far as
  // the system tells. Reads and writes contents through the alias only. Cannot fail.
  // The page's claim is dropped when it returns, before the next one is settled.
  void (*settle)(void *arg, size_t page, unsigned claim, bool write);
  // A touch of a page of the region that was never committed or was released: a bug of the program or of the
  // collector. Speaks and aborts; NULL: vm does.
  void (*stray)(void *arg, void *address);
  // Whether UNSCANNED of a page may be settled before anybody touches it, so that larger runs can be opened. NULL: always.
  bool (*settles)(void *arg, size_t page);
  // True for a page that the system may be writing for a thread now: it is not armed, and counts as written each time. NULL: none.
  bool (*touched)(void *arg, size_t page);
  // False for a page that the system may write at any time, touched or not: its stretch is not laid to rest. Who makes a page such a one calls
  // vm_rouse then. NULL: there are none.
  bool (*rests)(void *arg, size_t page);
  // Told of each trap while `listening` is not 0, in the handler: before the page's claims are settled, and when it is open. `heard` is the
  // value that `listening` had at the beginning. Both NULL: nobody is told.
  void (*trap_began)(void *arg, size_t page, uint32_t heard);
  void (*trap_ended)(void *arg, size_t page, uint64_t began_ns, uint64_t ended_ns, uint32_t heard);
  void *arg;
} vm_region_config;

struct vm_region {
  // Constant after opening.
  char *base, *limit;      // the view
  ptrdiff_t delta;         // alias - view
  unsigned page_shift;
  size_t page_size, pages;
  const vm_backend *back_end;
  bool traps;              // false: the back end is `none`; claims are settled as they are laid
  bool kernel_dirty;       // writes are tracked by the kernel: CLEAN is never laid
  int memory;              // the memfd
  char *space;             // what is reserved: view, gap and alias; or the view, and …
  size_t space_bytes;
  char *apart;             // … the alias, if there was no room for it behind the view; or NULL
  vm_region_config config;
  size_t chunks;           // of VM_HUGE bytes: huge.c's
  size_t huge_chunks;      // those from the base on whose memory may be had in huge pages
  struct vm_backend_state *state; // the back end's own
  // Atomic.
  uint32_t volatile *word; // one per page; see the enums above. Changed by claim.c only
  AO_t traps_count;        // traps taken
  uint32_t volatile listening; // 0: nobody wants to hear of traps; else a number of the listener's
  AO_t committed;          // bytes committed now
  AO_t top;                // no page from here on was ever committed
  uint8_t volatile *chunk; // per chunk: whether the back end's `adopt` made it ready to be opened, and whether it is a huge page
  uint32_t volatile huge_failures; // in a row
  struct vm_dirty *dirty;  // dirty.c's
  struct vm_rest *rest;    // rest.c's, or NULL: nothing rests here
  struct vm_histogram *trap_ns; // time in the handler
  uint32_t volatile frozen; // 1: whoever traps waits until it is 0 (vm.frozen)
  uint32_t volatile thaws;  // counts when what was read-only for a time could be written again
  uint32_t volatile lost;   // enum vm_lost
  uint32_t volatile sealed; // 0: no page is SEALED, and stretches may rest; 1: that is about to be so; else which sealing this is
  uint32_t volatile seals;  // sealings so far
  // The thread that forks.
  AO_t move;   // the last vm_move that is open
  struct vm_seal_reader *seal_reader; // by who makes `sealed` 0, or other than that
  AO_t moved;  // vm_move: what vm_move_run has moved away, until vm_move_tell has harvested it; 0: nothing. Read under the harvester's lock
  uint32_t volatile moving; // 1: tables are being moved, or what they tell is not told yet
  bool spared; // vm_freeze could spare what it was asked to
};

// Opens a region: reserves the view and the alias, proves each primitive of the back end in
// a few scratch pages (a self-test), and with "auto" falls back to the next that works. `why` receives one
// line: on failure the reason, on success why better back ends were passed over, or "".
// All pages start uncommitted, without claims, without access. Any thread.
vm_status vm_region_open(const vm_region_config *config, vm_region **out, char *why, size_t why_bytes);

// Unmaps everything. No thread touches the region any more.
void vm_region_close(vm_region *region);

const char *vm_region_back_end(const vm_region *region);

// The region that contains `address` in its view, or NULL. Async-signal-safe, lock-free.
vm_region *vm_region_find(const void *address);
// The same for who does not touch it, while others may close it: false if there is none, else its bounds. The region is not looked at.
bool vm_region_bounds(const void *address, uintptr_t *base, uintptr_t *limit);

static inline size_t vm_page_of(const vm_region *region, const void *address) {
  return (size_t)((const char *)address - region->base) >> region->page_shift;
}
static inline char *vm_page_view(const vm_region *region, size_t page) {
  return region->base + (page << region->page_shift);
}
static inline char *vm_page_alias(const vm_region *region, size_t page) {
  return region->base + region->delta + (page << region->page_shift);
}
static inline void *vm_alias(const vm_region *region, const void *view) {
  return (char *)(uintptr_t)view + region->delta;
}

// ---- Memory. In traps too.

// Gives [page, page + count) memory, reachable through the alias at once and zero where it had none.
// False if the system has none to give (what was committed by this call is released). Claims and access are unchanged.
bool vm_commit(vm_region *region, size_t page, size_t count);

// The same for pages that mutators are going to write, and hardly anybody else: the alias is mapped only where it is touched, which the system does by
// itself. Memory is had for a third of the price.
bool vm_commit_for_view(vm_region *region, size_t page, size_t count);

// For pages that nobody has touched and that never had memory, whose contents come later: they count as committed, carry ABSENT, and get memory when who settles that
// writes them through the alias. He has to, whether there are contents or not, for no page without ABSENT may lack memory. To all consumers of Dirty they are no
// news. Costs hardly more than a store for each page. False: the system is short of something. While the region opens: one thread.
bool vm_commit_absent(vm_region *region, size_t page, size_t count);

// The same as vm_commit for the VM_HUGE bytes from `page` on, none of which ever had memory, in one huge page of the system's: through the alias
// that takes one entry of a TLB instead of 512. False: nothing has changed, and they can be committed page by page.
bool vm_commit_huge(vm_region *region, size_t page);

// Whether the page belongs to a chunk that is one huge page: such a chunk is released as a whole.
bool vm_is_huge(const vm_region *region, size_t page);
// Whether that is worth trying: it did not fail time and again.
bool vm_huge_works(const vm_region *region);

// Gives the memory back to the system. The pages must not be BUSY; their claims are dropped without being
// settled, access revoked, write tracking lifted, and contents become zero and uncommitted. No part of a huge page (vm_is_huge).
void vm_release(vm_region *region, size_t page, size_t count);

// Gives the memory of pages back that carry ABSENT, which stay committed: through the alias they read zero, until somebody writes there. False: the system refuses it. Not in traps.
bool vm_drop(vm_region *region, size_t page, size_t count);

// Contents for pages that nobody else touches meanwhile, of a region that is committed: as a copy through the alias, but memory that is new takes less. False: some are written, or none. Any thread, in traps too.
bool vm_fill(vm_region *region, size_t page, size_t count, const void *from);

// Bytes of memory the region really holds (a doubly mapped page counts once).
size_t vm_held(const vm_region *region);

// ---- Protection.

// Prot1 and ProtN: lays `claim` on each page of the range that does not carry it, and revokes access. Pages without
// access (never opened since commit or release) cost no system call. When it returns, no thread but the
// caller's can reach any of the pages without a trap. Waits for pages that are BUSY; a holder of
// BUSY never waits for a page, or only here, so that cannot form a circle.
// `stamp` 0: always lays. Else: pages whose stamp is `stamp` already are left alone (they carried the claim and may have
// been settled since), and pages laid get it, in the same atomic step; for a page that another
// thread is laying with the same stamp, waits until its access is revoked.
// Returns how many pages the call laid the claim on. With the back end `none` the claim is laid but
// nothing traps. Async-signal-safe.
size_t vm_prot(vm_region *region, size_t page, size_t count, unsigned claim, uint8_t stamp);

// Stamps the pages of a range without laying a claim: vm_prot with that stamp leaves them alone. 0 forgets their stamps, so that no later one of
// the same value is taken for them. Async-signal-safe.
void vm_stamp(vm_region *region, size_t page, size_t count, uint8_t stamp);

// Drops `claim` without settling it, and opens the pages that no other claim forbids. Async-signal-safe.
void vm_unprot(vm_region *region, size_t page, size_t count, unsigned claim);

// Opens pages that carry no claim, now rather than at the first touch, in as few calls as it can.
// Pages with claims are left as they are. What no consumer of Dirty knows yet is opened as if it were written, as it is about to be.
// Async-signal-safe.
void vm_open(vm_region *region, size_t page, size_t count);

// Settles those of `claims` that are on the page, as a trap would, and waits while another thread does. If `open`, opens the page
// as far as the remaining claims allow. When it returns none of `claims` was on the page at some
// moment during the call. Must not be called for a page that the caller holds. Async-signal-safe.
void vm_settle(vm_region *region, size_t page, unsigned claims, bool write, bool open);

// Whether the view gives any access to the page, as far as its word says.
static inline bool vm_is_open(const vm_region *region, size_t page) {
  return (at32_load_acquire(&region->word[page]) & VM_ACCESS_READ) != 0;
}
static inline unsigned vm_claims(const vm_region *region, size_t page) {
  return at32_load_acquire(&region->word[page]) & VM_CLAIMS;
}
// Whether the page has this stamp, and what was laid with it is in force.
static inline bool vm_is_stamped(const vm_region *region, size_t page, uint8_t stamp) {
  uint32_t w = at32_load_acquire(&region->word[page]);
  return (uint8_t)((w & VM_STAMPS) >> 16) == stamp && !(w & VM_LAYING);
}

// For background scanners: vm_take, settle it yourself, vm_settled, vm_give; a trap does the same by itself.
//
// Takes BUSY if `claim` is on the page and nobody holds it; settles all claims that come before it in the order
// (by upcall; UNSAVED too, for a scan writes). False, without waiting, if the claim is not there or somebody holds the page.
bool vm_take(vm_region *region, size_t page, unsigned claim);
// Takes BUSY likewise, and settles nothing: what comes before `claim` stays.
bool vm_hold(vm_region *region, size_t page, unsigned claim);
// For a page that vm_hold has taken: what vm_take would have settled.
void vm_hold_settle(vm_region *region, size_t page, unsigned claim);
// Lets such a page go without `claim`, or with all its claims if that is 0, and opens nothing.
void vm_let(vm_region *region, size_t page, unsigned claim);
// Drops the claim that the caller has settled, while keeping the page: from now on whoever touches it opens it himself
// if no claim forbids that, so that nobody waits for the caller's vm_give.
void vm_settled(vm_region *region, size_t page, unsigned claim);
// Opens a run of pages that the caller holds SETTLED, in one call to the system where it can, drops
// BUSY, waits out helpers, and wakes who waits.
void vm_give(vm_region *region, size_t page, size_t count);

// While this thread runs someone else's code that may read contents through the alias only (true, then false; nests),
// a trap in it aborts with a message.
void vm_view_forbid(bool forbid);
// Whether that is so: a claim is being settled in this thread, say.
bool vm_settling(void);

// True when mappings near the system's limit (vm.max_map_count): scan and open larger runs.
bool vm_crowded(const vm_region *region);

// ---- Dirty. One harvester; each consumer has a bit of its own per page.

enum { VM_DIRTY_CONSUMERS = 8 };

// Begins tracking for a new consumer, in [0, VM_DIRTY_CONSUMERS), or -1 if all are taken. Pages count as dirty for it
// until first asked. While there is no consumer nothing is armed, and writes cost nothing.
int vm_dirty_open(vm_region *region);
void vm_dirty_close(vm_region *region, int consumer);

// Dirty: visits the committed pages of the range that were written since this consumer last asked, armed again
// before they are visited: a write after that is reported next time. No write is lost or told
// to only some consumers. Pages that carry a claim that forbids reading are reported once, and armed when they open.
// Returns how many were visited. One thread per consumer at a time; not in traps.
size_t vm_dirty(vm_region *region, int consumer, size_t page, size_t count,
                void (*visit)(void *arg, size_t page), void *arg);
// The two parts of vm_dirty: the first asks the kernel, the second takes the consumer's answer. Between them vm_dirty_count says of how many pages that will be, or of some more.
void vm_dirty_find(vm_region *region, int consumer, size_t page, size_t count);
size_t vm_dirty_count(const vm_region *region, int consumer, size_t page, size_t count);
size_t vm_dirty_answer(vm_region *region, int consumer, size_t page, size_t count, void (*visit)(void *arg, size_t page), void *arg);

// Marks a page dirty for the consumers in the mask (bit i is consumer i): for writes through the
// alias, which are not seen. Async-signal-safe.
void vm_dirty_note(vm_region *region, size_t page, unsigned consumers);
// As vm_dirty_note, of a page that nobody wants to know of before vm_dirty_stir is called for it: until then harvests need not look at it again.
void vm_dirty_put_off(vm_region *region, size_t page, unsigned consumers);
// Some page of the range may be dirty for the consumers: harvests look at it again. After its clean bit was cleared, or after what its being put off depends on was changed. Async-signal-safe.
void vm_dirty_stir(vm_region *region, size_t page, size_t count, unsigned consumers);
// The same for who notes a page over and over: nothing, if all of them are going to be told anyway.
void vm_dirty_note_once(vm_region *region, size_t page, unsigned consumers);

// Says that these pages are as the consumers in the mask want to know them: what was written so far is no news to
// them. For the collector's own pages that no mutator has reached yet: fresh memory counts as dirty otherwise.
void vm_dirty_forget(vm_region *region, size_t page, size_t count, unsigned consumers);

// ---- Many runs of pages at once (lay.c), with everybody stopped (vm.stopped): on `uffd` some 0.7 us for a page by itself, where vm_prot takes four times as much.

enum { VM_LAY_RUNS = 256 };
struct vm_run {
  size_t page, count;
};
// Runs whose access is to be taken away yet; by the thread that has stopped the others.
typedef struct vm_laying {
  vm_region *region;
  unsigned claim, news, access; // `access` is what they may keep
  size_t runs;
  struct vm_run run[VM_LAY_RUNS];
} vm_laying;

// In the stop. Where the kernel tracks writes, all pages that follow were harvested (vm_dirty, by any consumer) in this same stop, or will be by nobody. `known`: consumers that
// look at the contents when the claim is settled, or later: they need not be told what the system writes until the access is gone. `claim` is not VM_CLEAN.
void vm_lay_begin(vm_laying *laying, vm_region *region, unsigned claim, unsigned known);
// Lays the claim on those of the pages that do not carry it; how many. No page of the range is `touched`. The ranges ascend, as far as few calls to the system are wanted.
size_t vm_lay(vm_laying *laying, size_t page, size_t count);
// Access is gone when this returns, and not before. More may be laid then, and ended again.
void vm_lay_end(vm_laying *laying);

// ---- A whole region at once (move.c), where page tables can be moved away as they are: some 0.2 ms per GiB, armed or not.

// What it takes. NULL: there is no such way here, and vm_prot is left; or if `busy`, not before another thread's vm_move_tell has come to its end. Before the others are stopped (vm.stopped), by who is going to stop them. Not in traps.
typedef struct vm_move vm_move;
vm_move *vm_move_open(vm_region *region, bool *busy);
// Pages that move are to be sealed: what carries UNSAVED may be read all the same, and is settled by a write. Opens them for reading ahead, some 60 ms per GiB. False: nothing will be sealed,
// since the back end cannot. Before the stop.
bool vm_move_seal(vm_move *move);
// In the stop, in this order. The chunk of this page stays as it is, since the system uses it, say.
void vm_move_spare(vm_move *move, size_t page);
// Now it is settled which chunks move: those that vm_moves says.
void vm_move_plan(vm_move *move);
bool vm_moves(const vm_move *move, size_t page);
bool vm_stays(const vm_move *move, size_t page); // it does not, though it may have memory
// Lays the claim, or none if it is 0, on pages of one chunk that move and do not carry it. To be called once, and no more, for each of them, up to some page. The consumer is to be told of what is written to them from now on, and of nothing that was.
void vm_move_lay(vm_move *move, size_t page, size_t count, unsigned claim);
void vm_move_know(vm_move *move, size_t page, size_t count, int consumer);
// Lays a claim besides, on a page for which vm_move_lay was called.
void vm_move_claim(vm_move *move, size_t page, size_t count, unsigned claim);
// The contrary: it is to be told of these pages, written or not.
void vm_move_doubt(vm_move *move, size_t page, size_t count, int consumer);
// Takes all access away from what moves; from page `laid` on vm_move_lay was not called. `known`: those consumers of Dirty know, or have been told, what was written there so far; others will be told.
void vm_move_run(vm_move *move, size_t laid, unsigned known);
// When the others run again: harvests a piece of what was moved, under a lock: the caller must not be stopped meanwhile. False: there is no more.
bool vm_move_tell(vm_move *move);
// Opens pages of the range that lost their access by the move, carry no claim that forbids it, and are held by nobody. As vm_open otherwise.
void vm_reopen(vm_region *region, size_t page, size_t count);
// Then, or if there was no vm_move_run: it is given back, 25 to 40 ms per GiB, in a thread of vm's, which needs the region no more.
void vm_move_close(vm_move *move);

// Takes the seal off a chunk of VM_HUGE bytes, from this page on, and opens it as far as its claims allow: what carries UNSAVED loses its access, as it does without seals; nothing else does. Some 0.2 ms. False: somebody holds a
// page of it, or the system is short of something: then nothing has happened. Any thread that may call vm_open, not in traps.
bool vm_unseal(vm_region *region, size_t page);
// Takes all seals off, chunk by chunk, one by each call; zero to begin with. Waits for who holds a page. False: it is done, but for chunks for which the system was short of something. To be called when hardly anything
// is to be saved any more, and before tables are moved. Any thread that may call vm_open, not in traps.
typedef struct vm_unsealing {
  uint32_t sealed; // which sealing
  bool left;       // a chunk is sealed still
  size_t page;
} vm_unsealing;
bool vm_unseal_some(vm_region *region, vm_unsealing *at);
// Whether the claim forbids reading where nothing is sealed.
bool vm_forbids_read(const vm_region *region, unsigned claim);
// Whether anything is.
static inline bool vm_is_sealed(const vm_region *region) { return at32_load_acquire(&region->sealed) != 0; }

// ---- Rest (rest.c): what nobody writes is left out of harvests, where the kernel tracks writes (uffd).

// Makes some stretches of VM_STRETCH bytes read-only in which no harvest has found a write for a while; the first write there raises a signal, whose handler
// makes the stretch writable again. Some 10 us for each. False: nothing is due. A thread of the background, not between
// vm_freeze and vm_thaw, not in traps.
bool vm_rest(vm_region *region);
// Whether it may be worth calling. Any thread.
bool vm_wants_rest(const vm_region *region);
// Makes the stretches of the range writable if they rest. For pages for which `touched` is true, or `rests` false, from before the call on, they
// stay so. Async-signal-safe.
void vm_rouse(vm_region *region, size_t page, size_t count);

typedef struct vm_rest_figures {
  uint64_t laid, woken; // stretches, since the region opened
  uint64_t resting;     // now
} vm_rest_figures;
void vm_rest_figures_get(const vm_region *region, vm_rest_figures *out);

// ---- Idle pages (idle.c).

// Calls `touched` for each page of the range that has memory and was touched by a mutator or the system, or came into use, since the call before that had it in its range (all of them, in the first), and takes its access away, so that the next
// touch traps, once: 4 to 6 us. Opening pages by vm_give or vm_unprot is no touch; vm_open is one. What is `touched` (vm_region_config) counts as touched, and stays open. A call to the system that touches a page which has
// not been touched since gets EFAULT; vm_settle with VM_IDLE and `open` lets it. With `none` each call tells of all pages. `looks`, if not NULL, says of which of these pages anything is to be known: the others stay as they are. Costs some 0.3 us for each page that was touched, a few ns for each other. Returns how many were told of. As vm_prot;
// one thread per page.
size_t vm_idle(vm_region *region, size_t page, size_t count, bool (*looks)(void *arg, size_t page), void (*touched)(void *arg, size_t page), void *arg);

// ---- The handler.

// Blocks the signal while a trap is handled, in all threads from now on: a thread that holds a page is not
// stopped. All signals but those of faults are blocked then anyway; this call is for one that is not. Any thread.
void vm_trap_block_signal(int signo);

// Whether this thread is in a trap, and may hold a page. Signal handlers.
bool vm_trapping(void);

// Puts our handlers back where other code has replaced them, chained to what is there now. How many
// there were. Async-signal-safe.
int vm_trap_restore(void);

// For whoever stops the threads that touch the region, once they all stand: from when vm_quiesce returns until vm_resume
// no trap is being handled, by threads of the back end's own either (uffd-kernel); touches by others than the caller wait so long.
// One caller at a time, who holds no page. Any thread.
void vm_quiesce(vm_region *region);
void vm_resume(vm_region *region);

// ---- Fork (fork.c).

// True for a page that stays writable all the same.
typedef bool vm_spares(void *arg, size_t page);

// From here to vm_thaw no page but those spared is written through the view: whoever tries waits, and so does whoever traps for another
// reason. (If mappings are short, nothing is spared.) All mutators are stopped, and no page is held; they may go on before vm_thaw.
void vm_freeze(vm_region *region, vm_spares *spares, void *arg);
void vm_thaw(vm_region *region, vm_spares *spares, void *arg); // with the same answers

// In the child, in this order: a copy of the memory in the place of the parent's, without access through the view; then the back
// end anew, with the access that the parent's view gave. All pages count as written, where the kernel tracks writes. False: the system is short of
// something; vm_fork_lose is what is left.
bool vm_fork_copy(vm_region *region);
bool vm_fork_open(vm_region *region);

// Why a child does not have the region.
enum vm_lost {
  VM_KEPT = 0,
  VM_LOST,    // no memory for a copy: a touch speaks and aborts
  VM_NO_HEIR, // vm_fork_keep: a touch is a fault like any other
};
// In the child: nothing can reach the parent's memory any more.
void vm_fork_lose(vm_region *region, enum vm_lost how);
// Children are not to have the region at all. False: the system refuses.
bool vm_fork_keep(vm_region *region);

// ---- Figures.

// Log-linear histogram of nanoseconds (HdrHistogram's idea): 32 sub-buckets per power of 2, up to 2^40. Atomic.
typedef struct vm_histogram {
  uint32_t volatile bucket[40 * 32];
} vm_histogram;
void vm_histogram_add(vm_histogram *histogram, uint64_t ns);
// The value below which `share` of the entries lie, share in [0, 1]; 0 if it is empty. share 1: the maximum's bucket.
uint64_t vm_histogram_at(const vm_histogram *histogram, double share);

// Nanoseconds of a monotonic clock, some 20 ns per call.
uint64_t vm_now(void);
// Nanoseconds for which the calling thread has had a processor, some 300 ns per call.
uint64_t vm_spent(void);

#endif
