// SPDX-License-Identifier: MIT
// veil/hooks.h: for services that work on pages of the heap (checkpoint, store, compression, yours).
//
// A service lays claims on pages and is called when one is touched. Pages are numbered from
// 0 at the heap's base; the page size is the heap's granule. Contents are read and written
// through the alias, at which nothing ever traps.

#ifndef VEIL_HOOKS_H
#define VEIL_HOOKS_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// A service that is registered with a heap.
typedef struct veil_service veil_service;

// What a service may claim. VEIL_ABSENT forbids all access: before anybody, the
// collector too, reads or writes the page, `absent` must have put its contents back.
// VEIL_UNSAVED forbids writing: before anybody, the collector too, writes the page, `unsaved`
// is called. On back ends that cannot tell, a read may have the same effect.
typedef enum veil_claim {
  VEIL_ABSENT = 1, // the contents are away
  VEIL_UNSAVED = 2 // the contents are to be saved before they change
} veil_claim;

// Callbacks; each may be NULL. `absent` and `unsaved` run in the thread that touches the page (with uffd-kernel, in one of veil's own), possibly
// in a signal handler: no locks that a mutator can hold, no malloc, no stdio, no waiting for other
// pages, no call of another heap's hooks. The claim is dropped when they return. `discarded` says that claims on these pages are
// gone because the pages' contents died. `cycle` is the number of the cycle, from 1. `before_flip` and `after_flip` run with the world stopped;
// `cycle_ended` does not. A minor cycle moves objects and frees pages, too: from `before_minor` to `after_minor` the world is stopped; `minor` is its number.
// `copy` spares it that: what others save of a page that is away (veil_page_save, veil_page_copy) is copied to `to`, a page's worth, aligned to 8; of a parked page what veil_page_park has left. The claim stays, and nobody settles it meanwhile. As
// `absent` otherwise, but in a stop, too, wherever the service's own threads stand. False, or NULL: the contents are put back.
typedef struct veil_service_callbacks {
  void (*absent)(void *arg, size_t page);                  // puts the page's contents back
  void (*unsaved)(void *arg, size_t page);                 // saves the page's contents
  void (*discarded)(void *arg, size_t page, size_t count); // forgets its claims on `count` pages
  void (*before_flip)(void *arg, uint64_t cycle);          // the world is stopped, nothing has moved
  void (*after_flip)(void *arg, uint64_t cycle);           // the world is stopped, pages are grey
  void (*cycle_ended)(void *arg, uint64_t cycle);          // from-space has been freed
  void (*before_minor)(void *arg, uint64_t minor);         // nothing has moved
  void (*after_minor)(void *arg, uint64_t minor);          // what is dead is gone
  bool (*copy)(void *arg, size_t page, void *to);          // copies what `absent` would put back, and leaves the page as it is
} veil_service_callbacks;

// Registers a service, up to 8 per heap. NULL on error. Any thread that is attached. Absent
// and unsaved claims of one page belong to one service each; a second gets VEIL_BUSY.
veil_service *veil_service_open(veil_heap *heap, const char *name, const veil_service_callbacks *callbacks, void *arg);

// Drops the service's claims by settling them, and unregisters it.
void veil_service_close(veil_service *service);

// Lays a claim on a page that is in use. VEIL_BUSY: the page is free, is touched by a system call, or
// carries this claim already. ABSENT: when it returns nobody can see the page's contents; the service may then take them away.
veil_status veil_service_claim(veil_service *service, size_t page, veil_claim claim);

// Drops a claim as a touch would, by the callback. Nothing happens if it is not there.
void veil_service_settle(veil_service *service, size_t page, veil_claim claim);

// Pages written since this service's last call, or since it began watching; each is armed again before
// it is reported. Writes by the collector count. The first call starts the watching and
// reports every page in use. Returns how many were reported. One thread per service.
size_t veil_service_dirty(veil_service *service, void (*visit)(void *arg, size_t page), void *arg);

// Pages that the service has been told of, and wants to be told of once more: they count as written since it last asked. Any thread; not in a stop. Nothing happens if it does not watch yet.
void veil_service_written(veil_service *service, size_t page, size_t count);

// Calls fn, and no instant, rollback or fork of the process has its stop meanwhile: each waits until fn has returned. For a thread for which `absent`, `unsaved`, `discarded` or `copy` wait: if a stop had it wait in the midst of what it does, and that waited for
// the callback, neither would end. `fn` is quick, some tens of microseconds, and may call what settles, parks, moves notes and drops. Aborts in callbacks, and for a thread that is attached and not between brackets.
void veil_service_work(veil_service *service, void (*fn)(void *arg), void *arg);

// Which pages were touched: calls `visit` for each page in use of [page, page + count) that the program has touched, or a call to the system for it, or that came into use, since the call before that had it in its range (for all of them the first time). The
// nursery's zone is left out, and the collector's work is no touch: a cycle makes no page young, unless it moves what is on it. From then on the first touch of each such page traps once, 4 to 6 us; so a call to the system on an object whose page was
// not touched since, leaves too, is refused with EFAULT (but on `uffd-kernel`), and wants veil_touch (or veil/calls.h). Some 0.3 us for a page that was touched, a few ns for each other.
// VEIL_BUSY: another service of the heap asks. VEIL_UNSUPPORTED: nothing traps here. VEIL_INVALID: no such pages. Until the service is closed; in a child of fork nobody asks. One thread per service; not in callbacks.
// `looks`, if not NULL, is asked of each such page first, and where it says no nothing is known of the page, nor will it trap: hot pages need not be looked at each time. It calls nothing of veil's, and is quick: a stop may wait for it.
veil_status veil_service_touched(veil_service *service, size_t page, size_t count, bool (*looks)(void *arg, size_t page), void (*visit)(void *arg, size_t page), void *arg);

// The heap's geometry.
typedef struct veil_pages {
  char *base;         // the view's address of page 0
  ptrdiff_t delta;    // alias = view + delta
  size_t page_size;   // bytes
  size_t count;       // pages reserved
} veil_pages;
veil_pages veil_heap_pages(veil_heap *heap);

// Whether a page holds objects now. Any thread; a hint unless the world is stopped.
bool veil_page_in_use(veil_heap *heap, size_t page);
// The same, and they are not of transient types (VEIL_TRANSIENT in veil/type.h): only such pages are claimed, or told of, by instants. Any thread; a hint unless the world is stopped.
bool veil_page_is_saved(veil_heap *heap, size_t page);

// ---- Parked pages: a full cycle does without their contents.

// Whoever touches an ABSENT page has its contents put back, and so does a full cycle, which wants to know what the page refers to. Unless the page is *parked*: then the collector has put down beside it what it refers
// to (its notes), traces and updates that, and leaves the contents alone; objects on the page stay where they are. Objects die there all the same: of a page, or pages over which objects reach, on which nothing lives
// any more the service is told by `discarded`; a page on which something does stays as it is.

// Parks a page that carries the service's ABSENT, whose contents are there still: takes the references out of them, which is seen through the alias, and keeps them in `notes`: memory of the caller's, `room` bytes, aligned to 8 bytes (else it
// aborts), at any address, which is the collector's from then on until veil_page_unpark or `discarded`. What the page holds now is what the service is to put back; it packs better than before. Returns how many bytes of `notes` are used, a multiple of 8;
// from 24 (nothing refers to anything, objects of one size) to page_size: about 4 bytes for a reference in heaps of some GiB, and, where objects differ in size, a bit for every 16 bytes of the page. 0: it cannot be parked now, the
// contents have not changed, and a full cycle will have them put back (veil_heap_parks says why). Then to settle the claim costs less than to be asked for the contents. Pages become so when they have been through a full cycle.
// Other services are told by Dirty where the contents differ in more than references. It takes some microseconds, in which a touch waits; a thread that is not attached waits for no stop, so a callback may wait until it is back. Any thread, attached or not; not in callbacks.
size_t veil_page_park(veil_service *service, size_t page, void *notes, size_t room);

// In `absent`, when the contents are back as veil_page_park has left them: puts the references back as they are by now. From here on the notes' memory is the service's again. False: the page was not parked.
// Aborts outside of `absent`, and if these are not the contents. An `absent` that returns while the page is parked aborts. In signal handlers, too.
bool veil_page_unpark(veil_service *service, size_t page);

// In `absent`, instead of writing through the alias and of veil_page_unpark: what the page holds is `contents`, a page's worth, aligned to 8, of a parked page what veil_page_park has left. The references are put back there, and all of it is
// written to the page, which gets its memory by that, for a third of the time that it takes to have zeroes first. VEIL_NO_MEMORY: the system has none; a part of it may be written, and `contents` are of no use any more: it is called again, with contents as at first.
// Aborts outside of `absent`, and if these are not the contents. In signal handlers, too.
veil_status veil_page_fill(veil_service *service, size_t page, void *contents);

// Moves the notes of a page that is parked to other memory, which has room for as many bytes as veil_page_park returned; what they were in is the service's again. False: the page is not parked, or not any more, and nothing has been done. Waits for a callback that is
// settling the page. Any thread, attached or not; not in callbacks.
bool veil_page_parked_at(veil_service *service, size_t page, void *notes);

// Gives the memory of pages that carry the service's ABSENT back to the system, all by one call: they read zero through the alias until `absent` writes there. Not while `absent` may be at one of them: whoever takes a page's contents away sees to it
// that `absent` waits until this has returned. Unlike madvise it does not come between a fork and its copy of the heap. VEIL_IO: the system refuses it, and the contents may be there still. Any thread, attached or not; not in callbacks.
veil_status veil_page_drop(veil_service *service, size_t page, size_t count);

// Saves a page that carries the service's UNSAVED and whose contents are away (another's ABSENT), and leaves them away: they are copied to `to`, a page's worth, aligned to 8, as the service that has them tells by `copy`. UNSAVED is settled thereby, and `unsaved` not called.
// False: nothing has happened, since the page carries no such two claims, somebody holds it for more than a moment, or `copy` cannot say: veil_service_settle has the contents put back. A few ns if so. Any thread, attached or not; not in callbacks.
bool veil_page_save(veil_service *service, size_t page, void *to);

// In `now` or `at` of an instant: what a page holds whose contents are away, which stay away, likewise. False: its contents are to be had through the alias, if need be since they were put back now.
bool veil_page_copy(veil_service *service, size_t page, void *to);

// Why veil_page_park has returned 0.
typedef enum veil_park_refusal {
  VEIL_PARK_CYCLE,  // a full cycle is under way, or about to begin; or an instant, a rollback, or a fork
  VEIL_PARK_HELD,   // somebody touches the page just now, the claim has ended, or it is parked already
  VEIL_PARK_YOUNG,  // it belongs to the nursery, or refers to something young
  VEIL_PARK_FRESH,  // it has not been through a full cycle, or a thread has been allocating since in the same 64 KiB, or, where these have no references, on the same page
  VEIL_PARK_HEAD,   // it holds the header of a large object, or a part of an array's whose other part is on the next page
  VEIL_PARK_TRACED, // an object on it has a trace callback
  VEIL_PARK_TOKEN,  // its words hold all multiples of 16 below 1024, of which one is to stand for references
  VEIL_PARK_UNSAVED, // it carries UNSAVED, and the collector's own marks on it would be changed
  VEIL_PARK_ROOM,   // `room` does not suffice
  VEIL_PARK_REFUSALS
} veil_park_refusal;

// Of a heap, since it was opened.
typedef struct veil_parks {
  uint64_t pages;   // that are parked now
  uint64_t scanned; // pages that cycles have scanned without their contents
  uint64_t misfits; // that had to come back in a cycle, since a reference did not fit where it was put down: the heap is more than twice as large by now
  uint64_t saved;   // that had to come back in a cycle, since they carried UNSAVED and something that they refer to has moved
  uint64_t refused[VEIL_PARK_REFUSALS]; // how often veil_page_park has returned 0, by reason
  uint64_t copied;  // pages that others have saved while they were away, parked or not (veil_page_save, veil_page_copy)
} veil_parks;
veil_parks veil_heap_parks(veil_heap *heap); // any thread

// ---- The heap as of one instant.

// What an instant does; flags.
typedef enum veil_instant {
  VEIL_INSTANT_ALL = 0,   // claims every page in use …
  VEIL_INSTANT_DIRTY = 1, // … or those only that were written since this service last asked: by veil_service_dirty, or by an instant that watched
  VEIL_INSTANT_WATCH = 2, // writes count from this instant on, for the next call of either
  VEIL_INSTANT_COPY = 4   // no page is claimed: `now` is told of each. With both of the others little is done beside that: for a few pages, often. From the first such instant on leaf pages may be read-only while nobody writes them: a call to the system that writes into objects, leaves too, wants veil_touch (or veil/calls.h)
} veil_instant;

// Called in the stop, in the thread that asked, when all claims are laid; `now` as often as there are runs of such pages, then `at` once. No malloc, no stdio, no lock that a
// mutator may hold, no other call of these hooks but veil_description_take and veil_description_again. Contents are read through the alias. Either may be NULL.
typedef struct veil_instant_calls {
  void (*now)(void *arg, size_t page, size_t count); // these pages were to be claimed and cannot be: a system call uses them, another service has claimed them UNSAVED, or nothing traps. To be copied at once
  void (*at)(void *arg);                             // the instant: veil_description_take, or veil_description_again
  // Before the stop, of an increment (VEIL_INSTANT_DIRTY): `pages` have been found written so far. Returns of how many pages, at most, `now` is to be told instead of claiming them: to copy a page in the stop takes as long as to claim it,
  // and spares the program a trap. It may allocate, and is called in the thread that asked, which counts as no mutator meanwhile. NULL: what can be claimed is.
  size_t (*copies)(void *arg, size_t pages);
  // `now` reads what is away by veil_page_copy, wherever that can be had: such pages are not put back in the stop. False: all that `now` is told of is there.
  bool copies_away;
  size_t most; // with all three flags: pages. If more were written the instant is none: nobody is called, VEIL_BUSY, and they still count as written. 0: any number
} veil_instant_calls;

// What an instant was like.
typedef struct veil_instant_figures {
  uint64_t pause_ns; // from the request to stop until the last mutator ran
  size_t claimed;    // pages that carry the service's claim now
  size_t at_once;    // pages that `now` was told of
  bool readable;     // pages that carry the claim can be read without being saved: nearly all of them, at least
} veil_instant_figures;

// Stops the program between two cycles (one that is under way ends first, while mutators run), lays VEIL_UNSAVED for this service on pages in use, and lets the
// program go on: what `unsaved` is called with from then on, and what nobody has touched, is the heap as of that instant. A page that carries the service's UNSAVED already keeps it, and counts as claimed: it has not changed
// since. One that carries another's keeps that, and `now` is told of it. One that is ABSENT is claimed as well, though its contents are not to be had in the stop: whoever settles UNSAVED has them put back
// before `unsaved` is called. Without VEIL_INSTANT_WATCH, what the service's Dirty knows stays as it is. `out` may be NULL.
// VEIL_NO_MEMORY; VEIL_UNSUPPORTED: there is nobody to watch writes; VEIL_INVALID: no such flags; VEIL_BUSY: veil_instant_calls.most. Then nothing has happened. Aborts in callbacks of veil's, in critical sections, and if
// the service takes another instant meanwhile. Any thread, attached or not, between brackets too; it holds no lock that a mutator or a callback may wait for.
veil_status veil_service_instant(veil_service *service, unsigned flags, const veil_instant_calls *calls, void *arg, veil_instant_figures *out);

// Whether the service wants objects to stay where they are, as far as can be: it writes down what has changed, and a cycle that moves objects changes nearly every page.
// While any service of the heap does, cycles leave blocks in place, and untouched, of which a quarter lives; objects that roots lead to may move, and pages change where
// something has died, or refers to what has moved. The price is memory: pages are not looked at object by object, so what is dead and refers to what is dead may stay for
// some cycles, those of veil_collect too; so long do weak references to it, and its finalizers wait. When a quarter more (and the headroom) survives than after the last
// cycle that moved, the next one moves; so do one for which memory is short, and one in 4 to 64, the fewer the less that gains. With `none` nothing changes. Closing the
// service ends it; a child of fork begins with no service that wants it. Any thread, callbacks too.
void veil_service_keep_in_place(veil_service *service, bool keeps);

// Says that the program does not touch what lies on these pages: in the next full cycle it stays where it is even if others move, so that it is not mixed with what is touched. With it stays what lies in the same 64 KiB. A hint, to be given again
// after each cycle, and heeded while any service keeps in place, where memory allows, of blocks that have been through a cycle or were filled with survivors. `page + count` is at most veil_pages.count. Any thread, callbacks too.
void veil_service_asleep(veil_service *service, size_t page, size_t count);

// Asks for a full cycle that begins after this call: for what only a cycle can tell (pages become parkable by one). The heap's own thread begins it, in less than a second as a rule, whatever the program's threads do: later if a cycle is under way,
// or the heap's contents are still being read in. Nobody waits for it. Any thread, callbacks too.
void veil_service_cycle(veil_service *service);

// The first page from `page` on that carries this claim of the service; SIZE_MAX: none. Any thread, callbacks too; others may settle it meanwhile.
size_t veil_service_next(veil_service *service, size_t page, veil_claim claim);

// As veil_service_settle for each page of the range, but in as few calls to the system as can be. Pages that somebody holds are passed over, so it waits for none: `absent` and `unsaved` may call it.
// So are pages that carry an earlier claim as well: UNSAVED where it would take `absent` to have the contents. What is left is for veil_service_settle. Returns how many it has settled. Any thread. While an instant's
// pages are to be saved their memory may be mapped read-only, so that reading costs nothing; the first call that is not in a callback and finds that no page is to be saved any more undoes that.
size_t veil_service_settle_some(veil_service *service, size_t page, size_t count, veil_claim claim);

// Calls `fn`, while the calling thread counts as between brackets (veil_block_begin) in all heaps that it is attached to: for calls of a service that wait for long. `fn` touches no
// object. Any thread, between brackets too; not in a critical section.
void veil_service_wait(veil_heap *heap, void (*fn)(void *arg), void *arg);

// ---- What a heap is beside its pages, to be put down together with them. One thread at a time has a description, any.

typedef struct veil_description veil_description;

// A type, as it was registered. Offsets in bytes. Those of the built-in types are among them.
typedef struct veil_type_described {
  const char *name;  // as the program calls it
  uint32_t number;   // by which headers name it
  uint32_t flags;    // the collector's
  uint64_t size;     // of an object, or of an element
  uint64_t encoding; // how slots decode
  uint64_t fixed;    // bytes before the elements of a flexible array
  size_t slot_count;           // of an object, or of an element
  size_t fixed_slot_count;     // of a flexible array, before its elements
  const uint64_t *slots;       // where they are
  const uint64_t *fixed_slots; // likewise
} veil_type_described;

// A named root (veil/roots.h).
typedef struct veil_root_described {
  const char *name; // as veil_root_set was told
  uint64_t address; // of the object, in the view
} veil_root_described;

// Memory for a description of the heap, which may grow meanwhile by as much again. NULL on error. Any thread.
veil_description *veil_description_open(veil_heap *heap);
void veil_description_close(veil_description *description);

// Takes down what the heap is now: in `at` of an instant.
void veil_description_take(veil_description *description);

// The same for a description that was taken before, likewise in `at`, where `pages` (`count` of them, ascending) are all that were written since it was taken last: those that instants of one service with VEIL_INSTANT_DIRTY and
// VEIL_INSTANT_WATCH have found, this one among them, pages that carry its claim included; pages that are not in use do no harm. Allocates nothing, and meets no page fault. It takes some 0.3 us a page, and a few us where links, entries of
// weak tables or named roots have changed; after a cycle or a minor cycle all is compared, which takes 0.1 to 0.3 ms per GiB of heap.
// As if by veil_description_take where nothing was taken before. If the heap has grown by more than the description has room for, what comes next is VEIL_NO_MEMORY from veil_description_sections and
// veil_description_changes, from now on: open another description.
void veil_description_again(veil_description *description, const size_t *pages, size_t count);

// What was taken, for sections of an image: those that did not change since the last description have the same bytes. `put` stops the enumeration by returning anything but VEIL_OK,
// which is then the result. VEIL_NO_MEMORY: also if the memory did not suffice when it was taken.
veil_status veil_description_sections(veil_description *description, veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size), void *arg);
// The same for those sections only that differ from what this description last put, by either call: what `put` returned VEIL_OK for. With `bytes` NULL, and 0 bytes: there is no such section any more. Where nothing has changed nothing is
// encoded, and `put` not called. If `put` ends it, the next call tells the rest.
veil_status veil_description_changes(veil_description *description, veil_status (*put)(void *arg, const char *name, const void *bytes, size_t size), void *arg);
// Both are the description's, until something is asked of it once more; NULL: no memory.
size_t veil_description_types(veil_description *description, const veil_type_described **out);
size_t veil_description_roots(veil_description *description, const veil_root_described **out);
// Whether these would tell of other types, or roots as of when it was taken last, than when they were called last; true if they never were. Names that went and came again count as others. A few ns.
bool veil_description_types_changed(const veil_description *description);
bool veil_description_roots_changed(const veil_description *description);
// Whether the page was in use then, and of no transient objects.
bool veil_description_has(const veil_description *description, size_t page);
// Whether some type that the process knows is transient, or has slots that are: else what follows has nothing to do. Any thread, in `at` of an instant too.
bool veil_description_blanks(void);
// Makes zero, in a copy of a page's contents as of then, what is not to be saved (VEIL_TRANSIENT in veil/type.h): slots that are transient, and slots that lead to what is not described. So writes to such slots alone leave the copy
// as the one before was. Where an object began on another page, `contents` is asked for the whole of that page as of then (as it is saved will do), and what it returned last is not used any more. Who puts pages down as they are leaves it to the reader (veil_source.blank), but must
// not put down later pages of the same heap beside them, out of which those have been read. VEIL_OK; VEIL_IO: `contents` returned NULL, with the reason in veil_error(); VEIL_NO_MEMORY. It takes some us a page, and nothing in a process without such types.
veil_status veil_description_blank(veil_description *description, size_t page, void *copy, const void *(*contents)(void *arg, size_t page), void *arg);

// ---- A heap out of pages and a description.

// Where a heap comes from. Callbacks may be called by several threads at once.
typedef struct veil_source {
  const char *name;           // for messages
  uint64_t base, span;        // of the view that the pages were in
  size_t page_size;                 // bytes
  const veil_type_described *types; // all that its objects have
  size_t type_count;                // how many
  const veil_root_described *roots; // all of them
  size_t root_count;                // how many
  // VEIL_INVALID: there is no such section. The bytes stay until the heap is open.
  veil_status (*section)(void *arg, const char *name, const void **bytes, size_t *size);
  // The first run of pages from `page` on that there are, cut to begin there; false: none. `zero`: they hold zeros only. While the heap opens.
  bool (*next)(void *arg, size_t page, size_t *first, size_t *count, bool *zero);
  // Contents of pages that `next` has told of and that are not zero, to memory of the alias, or any other. As `absent` of a service is called: in signal handlers too. False: they cannot be had; the reason is in veil_error().
  bool (*read)(void *arg, size_t page, size_t count, void *to);
  void (*done)(void *arg);    // nothing is going to be read any more
  void *arg;
  bool elsewhere;             // not at `base`, even if that is free
  bool drop_finalizers;       // a heap that had finalizers, which are not restored, is refused otherwise; those of transient objects do not count
  bool blank;                 // veil_description_blank was called for all contents of pages; else it is made up for when they are read, which takes some us a page if there are types with anything transient
  unsigned delay_ms;          // the background begins so many milliseconds after the heap was opened, or when veil_source_fetch is called; 0: at once
} veil_source;

// A heap of what the source has: pages are read when they are first touched, and in the background by and by. `types` are those that the program knows
// already: each that the source has under the same name must have the same layout, or the error names type and slot; types with trace callbacks have to be among them. The heap's view is at the source's base if
// that is free; elsewhere references are relocated. `options` as for veil_open, or NULL; those that say how pages and spaces are laid out are the source's: granule, reserve, and whether there can be generations. The limit must hold what there
// is, and is no more than the source's could be raised to. What named roots do not reach is garbage. Weak references and tables, hashes and veil_moves are as they were; finalizers are dropped, if that is allowed; handles, pins,
// registered roots and external bytes were the other process's. Contents of pages are believed, sections, types and roots are not. A page that cannot be read when it is touched aborts with a message. NULL with veil_error; `done` is called in any
// case, once, at the latest by veil_close; in a child of fork once more. Any thread.
veil_heap *veil_open_from(const veil_options *options, const veil_source *source, veil_type *const *types, size_t type_count);

// As veil_open, with the heap's view at this address (a multiple of 2 MiB, below 2^47) if that is free: for heaps that are going to be put down, and are to be found free there again. NULL, and others: anywhere. Any thread.
veil_heap *veil_open_at(const veil_options *options, void *address);

// Reads what is still away of a heap that was opened from a source, beside the background's thread, and returns when nothing is. At once for any other heap. Any thread; not in a critical section.
void veil_source_fetch(veil_heap *heap);

// ---- A heap that goes back to what it was.

// What it was: pages and a description as of an instant of this heap, or as it was opened.
typedef struct veil_past {
  // As of veil_source; `roots` are all of them, and sections all that there were. In the thread that asks, before the stop and in it.
  veil_status (*section)(void *arg, const char *name, const void **bytes, size_t *size);
  const veil_root_described *roots;
  size_t root_count;
  bool (*read)(void *arg, size_t page, void *to);    // contents of a page that was in use, in the stop: no malloc, no stdio, no lock that a mutator may hold. False: they cannot be had; the reason is in veil_error()
  void *arg;
  bool as_opened;       // it is what veil_open_from had: references and types are put right again, if they were then
  bool drop_finalizers; // finalizers, which are never part of what was, are dropped; if not, it is refused while there are any
} veil_past;

// What it took.
typedef struct veil_past_figures {
  uint64_t pause_ns; // that the program was stopped
  size_t pages;      // whose contents were put back …
  size_t came;       // … among them those that were not in use any more
  size_t went;       // that came into use since, and are not any more
  size_t finalizers; // that were dropped
} veil_past_figures;

// Brings the heap back to what it was: objects lie where they lay, with the contents that they had, and nothing else is there. The service has asked Dirty before: what was written since then, or is in use now and was not, is
// found by that. Named roots, weak references and tables, and identity hashes are as they were. All other references of the program's are not: slots of veil_add_roots, veil_add_thread_roots, callbacks of roots,
// and handles refer to nothing afterwards, references in variables are to be had anew; veil_moves has changed. For services it is as if a minor cycle had been. Between two cycles: one that is under way ends first.
// All other attached threads come to rest first: between brackets, at a poll, or in a call of veil's that waits, but for allocations; no signal is sent for that. VEIL_BUSY: one did not within ten seconds; or objects are pinned or touched. VEIL_NO_MEMORY: also if it is more than
// the limit is now. VEIL_INVALID: finalizers; the service does not watch writes. VEIL_IO: `read` failed. VEIL_UNSUPPORTED: the process knows types with something transient (veil_description_blanks): pages that were not written since may lead to objects that would be gone. Then nothing has changed. Any thread, as veil_service_instant.
veil_status veil_service_rollback(veil_service *service, const veil_past *to, veil_past_figures *out);

// Whether pages, read or not, are as the source has them, but for what mutators have written: the view is at the source's base, types have the numbers that they had there, and no cycle or minor cycle has been since. Any thread.
bool veil_source_is_kept(veil_heap *heap);

#ifdef __cplusplus
}
#endif
#endif
