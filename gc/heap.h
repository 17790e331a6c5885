// SPDX-License-Identifier: MIT
// heap.h: the collector's structures, fields grouped by who may write them.

#ifndef GC_HEAP_H
#define GC_HEAP_H

#include "gc/object.h"
#include "vm/vm.h"

enum {
  GC_BLOCK_SHIFT = 16,
  GC_BLOCK = 1 << GC_BLOCK_SHIFT,
  GC_COPIERS = 64,
  GC_BATCH = 16,          // slots whose referents are fetched at once; 8, 24 and 32 are slower
  GC_NEAR = 64,           // slots of neighbours, a power of two
  GC_FLOORS = 4096,
  GC_WORKERS = 8,         // threads that work on one minor cycle, at most
  GC_NONE = 0xffffffffu,  // no block, no page
  GC_CLOSED = 1u << 31,   // in a page's top: no object enters any more
  GC_TOP_MASK = (1u << 20) - 1,
};

// Bits of a block's flags. Zero: an ordinary block, or none.
enum {
  GC_BLOCK_LEAF = 1,    // holds leaf objects only; never veiled
  GC_BLOCK_RETAIN = 2,  // from-space with pins, kept objects or floors: swept, not freed
  GC_BLOCK_FLOOR = 8,   // a mutator's buffer: what is born behind the floor is no from-space (gc.tlab)
  GC_BLOCK_KEPT = 4,    // from-space that could not be copied, or need not be: scanned whole
  GC_BLOCK_MORE = 32,   // in the nursery's zone, what counts as old: more than the flip has pinned
  GC_BLOCK_GAPS = 16,   // of a block that GC_HELD says: there is free space in it worth a buffer
  GC_BLOCK_YOUNG = 64,  // the first of a large object that a minor cycle may free
  GC_BLOCK_AGED = 128,  // and that has survived one
};

// What a block's space may be besides 0, free, and 1 and 2, the two spaces of major cycles: the nursery's blocks (young.h).
enum {
  GC_EDEN = 3,     // what is born there has survived no minor cycle
  GC_AGED,         // one
  GC_SURVIVOR,     // being filled by the minor cycle under way; then aged
  GC_HELD,         // its objects were pinned in a major cycle, which is over for it: eden again at the next stop; or (zone_old) at the next flip
};

// A lock-free stack of blocks, linked through gc_heap.link. The high half counts, against ABA.
typedef struct gc_stack {
  AO_t volatile head;
  AO_t volatile count;
} gc_stack;

// Where objects are born one behind the other: in a copier, or in a mutator.
typedef struct gc_lane {
  uint32_t volatile block; // GC_NONE: none. Owner writes; scanners without work read
  uint32_t volatile page;  // the OPEN page
} gc_lane;

// A slot between its discovery and its forwarding, and the word it held: read once, since another thread may forward it meanwhile (near.h).
typedef struct gc_seen {
  gc_slot slot;
  uint64_t word;
} gc_seen;

typedef struct gc_batch {
  unsigned count;
  gc_seen seen[GC_BATCH];
} gc_batch;

// What a thread needs to copy. Taken for one trap, or for good by a scanner.
typedef struct gc_copier {
  AO_t taken;
  // The holder's.
  gc_lane lane[GC_SORTS];
  gc_batch batch[2]; // one is being filled; the referents of the other's slots are on their way
  unsigned finding;  // which of the two is being filled
  uint64_t turns;    // of the two
  gc_seen near[GC_NEAR]; // slots of copies whose referents lie beside the originals: a ring
  unsigned near_first, near_last;
  ptrdiff_t near_left; // bytes that may still be copied before no more neighbours are looked for
  bool background; // the holder is a scanner, not a mutator that helps
  struct gc_deferred *deferred; // of a trap that puts marks off; NULL: none (defer.h)
  uint64_t dense_bytes; // of copied_bytes: out of dense blocks
  uint64_t leaf_bytes;  // … out of leaf blocks that mutators have filled
  uint64_t born_bytes;  // … out of their other blocks
  uint64_t copied_bytes, copied_objects; // flushed to the heap when the copier is given back
  // Odd while the holder reads or writes objects. A service that has laid a claim waits until every copier
  // was even once: whoever looked for claims before it was laid is out then.
  AO_t tick;
  char pad[64];
} gc_copier;

// What is set aside for a mutator that is not going to wait (reserve.c). Its own.
typedef struct gc_reserve {
  uint32_t first;                // blocks, linked through gc_heap.link; GC_NONE: none
  uint32_t run_block, run_count; // of the large zone, with memory
} gc_reserve;

// A mutator's place to allocate: one lane per kind, apart from its buffer.
typedef struct gc_alloc_lane {
  uint32_t block;      // GC_NONE: none
  uint32_t cursor;     // bytes into the block
  gc_reserve *reserve; // where blocks come from; NULL: from the heap
} gc_alloc_lane;

// Bytes born since the flip in a buffer that a mutator held at the flip (gc.tlab).
typedef struct gc_floor {
  char *base, *limit; // view
} gc_floor;

// Free runs of blocks in the large zone (runs.c), which coalesce. All under gc_heap.large_lock.
enum { GC_RUN_BINS = 256 }; // by length
typedef struct gc_runs {
  uint32_t first[2][GC_RUN_BINS], last[2][GC_RUN_BINS]; // [1]: runs that have memory; GC_NONE: none
  uint64_t some[2][GC_RUN_BINS / 64];                   // a bit for each bin that is not empty
  // Per block of the large zone.
  uint32_t *length;      // of a free run, at its first and at its last block; 0: neither
  uint32_t *pages;       // of a free run, at its first block: pages that have memory
  uint32_t *next, *prev; // in its bin, at its first block
} gc_runs;

// Where a minor cycle's survivors go: a block that is filled page by page, and scanned behind that. Addresses are of the alias.
typedef struct gc_birth {
  uint32_t block;   // GC_NONE: none
  char *free, *end; // of the page that is being filled; its top is written when it is left
  char *scan;       // what has not been scanned yet starts here
} gc_birth;

// A word outside of the heap that refers to an object (links.h).
typedef enum gc_link_kind {
  GC_LINK_FREE = 0,
  GC_LINK_HANDLE, // holds it
  GC_LINK_WEAK,   // does not
  GC_LINK_FINAL,  // waits until nothing else holds it: then it is …
  GC_LINK_READY,  // … in the queue of what is to be finalized, which holds it
  GC_LINK_TABLE,  // refers to nothing: tells when its owner, which stands for a weak table, is dead
  GC_LINK_KINDS
} gc_link_kind;
static inline bool gc_link_is_owned(uint32_t kind) { return kind == GC_LINK_WEAK || kind == GC_LINK_TABLE; }
typedef struct gc_link {
  // Atomic.
  AO_t ref;                 // 0: nothing
  AO_t owner, data;         // links.h
  uint32_t volatile kind;   // written last
  uint32_t volatile logged; // links.c
  uint32_t volatile serial; // how often it was freed
  // Under the lock of links: of a free one, or one in the queue, the next, plus 1.
  uint32_t next;
} gc_link;
// When each of so many links, entries or tables was changed last: gc_heap.described as it was then (changed.h). Atomic; the pointer is constant.
typedef struct gc_changes {
  AO_t *at;  // per group
  AO_t last; // of all
} gc_changes;
typedef struct gc_links {
  gc_link *at;     // constant: `limit` of them, whose memory the system gives when they are used
  uint32_t limit;  // how many there may ever be
  uint32_t serial; // what serials begin with: in a heap that was restored, above all that there were
  uint32_t *log;   // links.c: added to by mutators, and by the sweep under its lock; read and made anew with the world stopped, under that lock
  AO_t log_count;
  AO_t high;       // no link from here on was ever used
  AO_t count[GC_LINK_KINDS];
  AO_t lock;
  uint32_t free;        // the first free one, plus 1 …
  uint32_t free_handles; // … of those that were handles …
  uint32_t first, last; // … and the queue's
  // Of this cycle: the next unit of scanners' work, and how many there are; whether finalizers were looked at (1: somebody does, 2: yes).
  AO_t scan_next, scan_limit, finals_traced;
  gc_changes changes;
} gc_links;

// A weak table, and its entries: outside of the heap, too (table.h).
typedef enum gc_table_kind {
  GC_TABLE_FREE = 0,
  GC_TABLE_KEYS,   // an entry is there as long as its key lives, and holds the value as long as that (ephemerons)
  GC_TABLE_VALUES, // … its value, and holds the key
  GC_TABLE_BOTH,   // … both, and holds neither
  GC_TABLE_DEAD,   // nobody has it any more: its entries are being freed
} gc_table_kind;
typedef struct gc_pair {
  // Atomic.
  AO_t key, value;          // 0, both: it is no entry
  uint32_t volatile table;  // GC_NONE: none
  uint32_t volatile hash;
  uint32_t volatile logged; // as a link's
  // Under the lock of its bucket; of a free one, under that of the free ones: the next there, plus 1.
  uint32_t chain;
  // Under its table's lock.
  uint32_t next, prev; // in the table, plus 1
  uint32_t visits;     // by how many who list the table: it stays in there meanwhile
  bool removed;        // … though it is no entry any more
} gc_pair;
typedef struct gc_table {
  AO_t lock;
  AO_t count;             // of entries; atomic
  uint32_t volatile kind; // written last
  uint32_t link;          // constant while it has a kind
  uint32_t first, last;   // its entries, plus 1; under the lock
  uint32_t next;          // of the free ones, or of the dead ones, plus 1; under the lock of free ones
} gc_table;
enum { GC_TABLE_LOCKS = 64 };
typedef struct gc_weak {
  // Constant: memory for as many as there may ever be, which the system gives when they are used.
  gc_pair *pairs;
  gc_table *tables;
  uint32_t volatile *buckets; // the first entry, plus 1; under a lock each
  uint32_t *log;              // as that of links
  uint32_t limit, table_limit;
  // Atomic.
  AO_t log_count, high, table_high; // as of links
  AO_t count, table_count;          // there are now
  AO_t width;                       // buckets in use
  AO_t growing;                     // somebody adds a bucket
  AO_t traced;                      // `opened` when tracing entries last found nothing: as long as it is that, nothing has to be traced (gc.pairs)
  AO_t tracing;                     // somebody traces them
  AO_t traces;                      // how often that was done
  AO_t locks[GC_TABLE_LOCKS];       // of buckets
  AO_t lock;                        // of what is free:
  uint32_t free, free_table, dead;  // the first, plus 1
  gc_changes changes, table_changes;
} gc_weak;

// What is known of a cell whose header may be away (parked.c).
typedef struct gc_crossing {
  AO_t header, length; // of an array; else 1
} gc_crossing;

typedef enum gc_phase {
  GC_IDLE = 0,  // no cycle; one space
  GC_FLIPPING,  // world stopped
  GC_SCANNING,  // pages are grey
  GC_SWEEPING,  // nothing is grey; from-space is being freed
} gc_phase;

// Upcalls to the runtime, handed in when the heap opens. `flip` is passed back to the gc_flip_* calls.
typedef struct gc_flip gc_flip;
// What the collector tells of itself, while gc_heap.listening is not 0; in any thread, traps too. `arg` is the world's.
typedef struct gc_events {
  void (*phase)(void *arg, unsigned phase); // a cycle comes to this phase (gc_phase); GC_IDLE: it is about to end
  void (*trap_began)(void *arg, size_t page, uint32_t heard); // as vm tells it
  void (*trap_ended)(void *arg, size_t page, uint64_t began_ns, uint64_t ended_ns, uint32_t heard);
  void (*scanned)(void *arg, size_t page, size_t count, size_t scanned, bool background, uint64_t began_ns);
  void (*kept)(void *arg, size_t page);     // the first page of a block
  void (*committed)(void *arg, size_t bytes);
  void (*returned)(void *arg, size_t bytes);
} gc_events;

typedef struct gc_world {
  void (*buffers)(void *arg, gc_flip *flip);   // calls gc_flip_buffer for each buffer of each thread
  void (*ambiguous)(void *arg, gc_flip *flip); // calls gc_flip_range for stacks, registers, touched ranges
  void (*precise)(void *arg, gc_flip *flip);   // calls gc_flip_slots
  void (*absent)(void *arg, size_t page);      // a service's claim is to be settled
  void (*unsaved)(void *arg, size_t page);
  void (*discarded)(void *arg, size_t page, size_t count);
  void (*help)(void *arg);                     // a minor cycle has work for more threads (gc_minor_help), if there are any
  void (*low)(void *arg);                      // few blocks are at hand for mutators (gc_provide_open); in a mutator's slow half. NULL: nobody would care
  void (*finals)(void *arg);                   // objects wait to be finalized; NULL: nobody asks. In the pause, or in the background
  bool (*touched)(void *arg, size_t page);     // a system call uses the page: never veil it
  const gc_events *events;                     // NULL: nobody ever listens
  void *arg;
} gc_world;

typedef enum gc_generations {
  GC_GENERATIONS_OFF,
  GC_GENERATIONS_ON,
  GC_GENERATIONS_AUTO, // while they pay
} gc_generations;

// How often a block was written a lot, one minor cycle after the other (hot.c).
typedef struct gc_heat {
  uint8_t count; // of cycles; 0xff: it is hot
  uint8_t cycle; // the last one's number; of a hot block: cycles in which it was not
} gc_heat;

// Whether what survives its first minor cycle is promoted at once (nursery.h).
typedef struct gc_tenure {
  bool now;
  unsigned stays;  // cycles running in which nearly all that was born stayed
  unsigned vain;   // … and in which nearly all that had aged was promoted
  unsigned rest;   // cycles for which it is not asked whether aging is in vain
  uint64_t aged;   // bytes that the last cycle has left to age
} gc_tenure;

// What was judged so far since generations were switched on (nursery.h).
typedef struct gc_trust {
  bool on_trial; // nothing yet
  bool settles;  // the nursery still grows: minor cycles are judged by what they will cost
  bool lost;     // the last time they did not pay
} gc_trust;

// Minor cycles that will be judged together.
typedef struct gc_judged {
  unsigned cycles;
  uint64_t ns, taken, survived; // nanoseconds; bytes
  uint64_t dirty;               // gc_heap.minor_dirty_pages before them
  uint64_t nursery;             // its bytes before them
} gc_judged;

// Where things lie in a heap that is made out of another's description (describe.h).
typedef struct gc_geometry {
  uint32_t blocks, small_blocks, young_blocks;
  void *at; // the view's base, if that is free; NULL: anywhere
} gc_geometry;

// How long blocks may stay still (gc.still): until more survives, or so many cycles have left them.
typedef struct gc_still_pace {
  uint64_t most;   // bytes
  unsigned cycles; // since the last one that moved
  unsigned span;   // as many as may be; 0: no cycle has moved yet
  uint32_t volatile over; // the next one moves; atomic
} gc_still_pace;

typedef struct gc_config {
  size_t limit;          // bytes, to begin with
  size_t soft_limit;     // bytes; 0: none
  size_t reserve;        // what the limit may ever be raised to; 0: the limit
  unsigned page_shift;
  const char *back_end;
  unsigned growth;       // percent
  size_t headroom;
  gc_generations generations;
  bool early;            // GC_GENERATIONS_AUTO: minor cycles from the start
  size_t nursery;        // bytes that may be born between two minor cycles, at most; 0: as pacing wants it
  uint64_t pause_ns;     // what a minor cycle had better not exceed; 0: does not matter
  bool verify;           // what a minor cycle relies on
  void *at;              // where the view is to be, if that is free, a multiple of 2 MiB; NULL: anywhere, or where the geometry says
  const gc_geometry *geometry; // NULL: as the limit wants it. Read while the heap opens
  size_t zone;           // bytes of the nursery's zone, if there is a geometry and it has one; else 0
} gc_config;

typedef struct gc_heap {
  // Constant after opening.
  vm_region *region;
  uintptr_t base;       // view
  size_t span;          // bytes of the view
  ptrdiff_t delta;
  unsigned page_shift;
  size_t page_size;
  unsigned block_pages; // pages per block
  uint32_t small_blocks; // blocks [0, small_blocks) hold small and medium objects
  uint32_t young_blocks; // of these, [0, young_blocks) are the nursery's zone; 0: no generations
  size_t young_span;     // the same in bytes
  uint32_t blocks;       // [small_blocks, blocks) hold large ones
  uintptr_t hash_base;   // identity hashes are made of addresses as if the view began here: where it did when the first was made (rebuild.c)
  bool wide;             // the processor compares four words at a time (survive.c)
  gc_config config;
  gc_world world;

  // Side tables, atomic.
  uint8_t volatile *space;   // per block: 0 free, else the space it belongs to (1 or 2)
  uint8_t volatile *flags;   // per block
  uint8_t volatile *transient; // per block: 1: holds transient objects only (gc.transient). Of a free one it says nothing: who takes it writes that
  uint32_t volatile *link;   // per block: next in a stack
  uint32_t volatile *died;   // per block: the cycle in which it was last freed
  uint32_t volatile *spared; // per block: the first cycle to empty it (gc.spared); 0: mutators have filled it
  AO_t volatile *aside;      // per block: marks beside the heap (aside.h); zero but in a cycle
  uint16_t volatile *cells;  // per block: how many cells it has, and GC_CELLS_KNOWN; 0: not known (aside.h)
  uint8_t volatile *still;   // per block: what is known of it for cycles that leave it in place (still.h)
  uint8_t volatile *parked;  // per block, of the large zone too: what is known of pages that are parked (parked.h)
  uint32_t volatile *held;   // per block: 0 but in a cycle, and of a cold one: a bit for each page that is veiled with what it hangs together with; << 16, all of whose marks are set, too (cold.c)
  uint32_t volatile *filled; // per block: of a leaf block, a bit for each page that a mutator may be filling (gc.filled)
  AO_t volatile *notes;      // per page: the notes of one that is parked, or 0
  struct gc_crossing *crossing; // per page: of a cell that reaches into the next one, or of a large object; written when either is parked
  uint8_t volatile *veiled;  // per block of from-space that is kept: the stamp of the cycle once all its pages are veiled
  uint32_t volatile *top;    // per page: bytes used, GC_CLOSED
  uint16_t volatile *cover;  // per page: 0, or (distance back to the cell that covers the page's start + 8) / 16

  // Atomic, read for every object and hardly ever written: so not beside the counters below.
  AO_t service_claims;          // claims of services on pages now, and services that watch writes
  uint32_t volatile listening;  // 0: nobody wants to be told (gc_events); else a number of the listener's
  AO_t parked_pages;            // pages that are parked
  AO_t keeps_in_place;          // services that want blocks to stay where they are (gc.still)
  AO_t leaves_rest;            // services for which leaf pages may rest like others: then system calls write there only what was touched
  uint32_t volatile dirty_mask; // consumers of Dirty who want to know of the collector's writes

  // The nursery (young.h). Atomic:
  gc_stack young_free;       // with memory, accessible, stale
  gc_stack young_empty;      // without memory: it was given back
  gc_stack young_partial[GC_SORTS]; // with gaps
  AO_t young_fresh;          // blocks of the zone from here on never had memory
  gc_stack born_ready;       // old blocks for what is promoted: with memory, accessible, armed, in no space
  AO_t born_wanted;          // how many of these are to be at hand
  AO_t harvesting;           // a minor cycle asks the system what was written: nothing is made ready in the background meanwhile
  AO_t nursery;              // bytes that may be born until the next minor cycle
  AO_t young_on;             // whether anything is born young
  AO_t young_switches;       // how often that has changed
  AO_t young_pays;           // minor cycles have been judged since, and free memory for less than major ones
  AO_t trial_due_ns;         // from when on they may be tried again without a flip; UINT64_MAX: never
  AO_t trial_due;            // that has come (young.h)
  AO_t trial_armed_ns;       // what it took to track writes for the last trial …
  AO_t trial_flip_ns;        // … flip_ns when that began …
  AO_t trial_armed;          // … and the first block that has not been asked about yet
  AO_t zone_left;            // bytes of the zone that were in use when generations were switched off, until the next flip
  AO_t young_tracking;       // young.c: whether Dirty is asked …
  int young_consumer;        // … as whom …
  uint32_t volatile young_mask; // … and its bit while young_on
  AO_t young_taken;          // blocks that mutators took since the last minor cycle
  AO_t sweep_lock;           // sweep.h …
  AO_t sweep_wanted;         // … and how many wait for it, other than the sweep
  AO_t volatile *remembered; // a bit per page: an old page that may hold a pointer to what is young (REMEMBERED)
  uint32_t *young_large;     // large objects that are young: their first blocks …
  AO_t young_large_count;    // … and how many
  // A minor cycle's, which several threads may work on (crew.c). Atomic:
  AO_t crew;               // who is there, and who has work
  gc_stack minor_full;     // blocks of survivors that their worker has left without scanning them to the end …
  uint32_t volatile *scan_from; // per block: … from this byte on
  gc_stack minor_large;    // young large objects that were reached, to be scanned
  uint32_t *minor_list;    // pages that were REMEMBERED when the scan began …
  AO_t minor_listed;       // … how many …
  AO_t minor_next;         // … and the first that no worker has taken
  gc_stack young_large_dead; // to be freed when the world runs again
  // Changed with the world stopped.
  gc_heat *heat;            // per block
  uint32_t *hot;            // blocks that are hot …
  size_t hot_count;         // … how many
  size_t pins_scanned;      // of the pins
  struct gc_minor *workers; // GC_WORKERS of them; [0] is the thread that stopped the world
  gc_birth promoted[GC_WORKERS][GC_SORTS]; // per worker
  gc_floor young_floors[GC_FLOORS];
  unsigned young_floor_count;
  gc_judged judged;
  uint64_t trial_ns;  // what the minor cycles have cost for which they were switched off
  unsigned trials;    // that failed, one after the other
  gc_trust trust;
  bool zone_old;      // until the next flip, what is GC_HELD counts as old: generations were switched on after it was young (gc.zone)
  gc_tenure tenure;
  size_t flip_pins;   // pins[0 …]: objects of the zone that the last flip pinned; minor cycles scan them until the sweep
  // Figures: written in a minor cycle's pause, atomic.
  AO_t minor_cycles, minor_survived_bytes, minor_promoted_bytes, minor_dirty_pages, minor_scanned_pages;

  // Changed by gc_flip with the world stopped, or by the sweep, which no flip meets.
  uint8_t to_space, from_space; // from_space is 0 when no cycle is under way
  bool spares; // this cycle keeps dense blocks (gc.spared)
  bool asides; // and marks leaf objects of dense blocks aside (gc.aside), from its first root on …
  uint8_t volatile leaves_stay; // … those of blocks that mutators have filled, too: most of them live. Atomic: the sweep writes it, mutators with new leaf blocks read it
  bool spares_born; // and other blocks that mutators have filled (gc.born), because …
  uint8_t volatile born_stay; // … atomic, as leaves_stay: most of what was in such blocks lived when the last cycle ended
  bool stills; // and leaves blocks as they are that have been through a cycle (gc.still)
  bool mixes;  // what is copied out of a block, or marked by its header, is noted for the block (GC_MIXED): in the flip, and where blocks stay still
  bool colds;  // there are cold blocks (gc.parked) …
  bool wholes; // … and nobody asks which objects of a parked page live: all do if one does
  bool defers; // and traps put off marking what stays (gc.deferred)
  uint8_t volatile sparse; // atomic: of what was dense once too little has been found alive lately
  unsigned epoch, next_epoch; // the next one is carried by no header: the sweep sees to that (gc.still)
  gc_still_pace still_pace;
  uint32_t cycle;
  gc_floor floors[GC_FLOORS];
  unsigned floor_count;

  // Atomic.
  AO_t phase;
  AO_t limit;                // bytes of memory, at most
  AO_t opened, cleaned;      // gc.count
  AO_t fresh;                // chunks that never had memory start at this block
  gc_stack empty;            // without memory
  gc_stack ready;            // with memory, never used: neither claimed nor open
  gc_stack open_free;        // with memory, accessible
  gc_stack veiled_free;      // with memory, veiled
  gc_stack partial[GC_SORTS]; // with gaps, for allocation
  gc_stack grey;             // filled by copiers, to be scanned
  AO_t used_blocks;          // small blocks in a space
  AO_t large_bytes;          // large objects' memory
  AO_t committed_bytes;
  AO_t committed_max;
  AO_t born_bytes;           // handed to mutators since the last flip
  AO_t allocated_bytes;      // ever
  AO_t external_bytes;       // owned by objects outside the heap, as the program says
  AO_t external_base;        // of it, what was there after the last cycle and has not been given up since
  AO_t external_flip;        // the same for the last flip
  AO_t scanned_trap, scanned_background, scanned_assist;
  AO_t got_bytes, returned_bytes; // of memory, ever
  AO_t copied_bytes, copied_objects, kept_blocks;
  AO_t kept_before; // kept_blocks at the last flip
  AO_t spared_blocks, spared_ever; // kept without need: since the last flip; before it
  AO_t dense_copied;  // bytes copied out of blocks that had been dense, since then
  AO_t leaf_copied;   // … out of leaf blocks that mutators have filled
  AO_t born_copied;   // … out of their other blocks
  AO_t staying_blocks; // at the end of the last cycle, those that the next one is likely to leave where they are (gc.spared)
  AO_t aside_blocks;  // those that the last sweep has found marked aside …
  AO_t aside_walked;  // … and which of them it has walked
  // parked.c: who is about to park; the next flip is, or the cycle under way, so nobody may; pages scanned by their notes; those that came back for a reference that did not fit, or to be saved
  // first; refusals.
  AO_t parking, parking_closed, parked_scanned, parked_misfits, parked_saved, park_refused[9];
  AO_t empties;       // the next flip is to empty every block
  gc_copier copiers[GC_COPIERS];
  struct gc_deferred *deferred; // defer.h; constant …
  AO_t deferred_free, deferred_full; // … stacks of them …
  AO_t deferred_fresh;               // … how many were ever taken …
  AO_t deferred_full_count;          // … and are full, about

  gc_links links;
  gc_weak weak;
  AO_t described; // how often anybody has taken down what the heap is (describe.c); written with the world stopped
  AO_t outer_frozen, outer_settled; // the last cycle in which it was decided what lives, and the last after which no word outside refers to from-space

  // Large objects: under `large_lock` (never taken in a trap, nor by a thread that may be stopped meanwhile).
  AO_t large_lock;
  gc_runs runs;                 // what no object has
  uint64_t kept_low;            // the least that `kept_free` was since the last sweep
  uint64_t kept_low_before;     // … and from the one before to the last
  uint64_t *large_size;         // per block of the large zone, at an object's first: bytes of memory; 0: no object begins here
  uint32_t volatile large_high; // no block from here on was ever used; read without the lock
  // Memory of the large zone that no object needs, in bytes (gc.kept); written under the lock.
  AO_t kept_free;               // in free runs
  AO_t kept_tails;              // behind objects, in their last blocks
  // Per block of the large zone: pages that have memory, from its start on. Whoever has the block writes; of a free one, under the lock.
  uint8_t *large_pages;
  // Large objects marked in this cycle, to be scanned; atomic.
  gc_stack large_grey;
  uint32_t volatile *large_head;  // per block of the large zone: the object's first block
  uint16_t volatile *large_lead;  // per block of the large zone, at an object's first: bytes in front of its cell
  uint32_t volatile *large_scan;  // per block of the large zone: next page to scan (head only)

  // Written by the thread that flips or sweeps; read for pacing (atomic words).
  AO_t live_bytes;           // after the last sweep
  AO_t survived_bytes;       // of it, what was there at the flip
  AO_t reached_bytes;        // of survived_bytes, what was probably reached: the rest is garbage in blocks that were spared
  AO_t large_live_bytes;     // of live_bytes: large objects
  AO_t most_bytes;           // used bytes at which the next cycle starts at the latest, for the limit
  AO_t soft_bytes;           // used bytes at which it starts for the soft limit
  AO_t cycle_began_ns, cycle_ended_ns, cycle_took_ns; // the last one
  AO_t last_major_ns, last_major_freed, last_major_traps; // nursery.c: what the last cycle cost and freed; traps until then
  AO_t flip_used;            // bytes in use at the last flip
  AO_t cycle_total_ns;       // in which a cycle was under way
  AO_t from_blocks;          // small blocks that the last flip put into from-space
  AO_t from_left;            // those of them that the sweep has not come to
  AO_t copied_blocks;        // small blocks copiers took since the flip
  AO_t pinned_objects;
  AO_t flip_roots, flip_words; // precise slots, ambiguous words that the last flip looked at
  AO_t flip_ns;              // when the last flip ended
  AO_t veiled_max_ns, veiled_total_ns;
  AO_t kept_due;             // bytes kept without use for two whole cycles: to be given back
  AO_t trim_lock;            // held while memory is given back, or made ready; before large_lock
  AO_t trims;                // how often that was done
  uint32_t *trim;            // per chunk: free blocks that a trim looks through; set and given back under trim_lock, anybody takes them
  AO_t trim_chunks;          // past the last chunk with any, 0: nothing is to be had there
  AO_t trim_hint;            // where one was found
  void *tables;              // all side tables; constant
  size_t tables_bytes;
  gc_cell *pins;             // pinned objects to be scanned in the pause
  size_t pin_count, pin_limit;
} gc_heap;

static inline bool gc_in_heap(const gc_heap *heap, uintptr_t view) { return view - heap->base < heap->span; }
static inline uint32_t gc_block_of(const gc_heap *heap, uintptr_t view) {
  return (uint32_t)((view - heap->base) >> GC_BLOCK_SHIFT);
}
static inline size_t gc_block_page(const gc_heap *heap, uint32_t block) { return (size_t)block * heap->block_pages; }
static inline uint32_t gc_page_block(const gc_heap *heap, size_t page) {
  return (uint32_t)(page >> (GC_BLOCK_SHIFT - heap->page_shift));
}
static inline char *gc_page_alias(const gc_heap *heap, size_t page) {
  return (char *)heap->base + heap->delta + (page << heap->page_shift);
}
static inline char *gc_block_alias(const gc_heap *heap, uint32_t block) {
  return (char *)heap->base + heap->delta + ((size_t)block << GC_BLOCK_SHIFT);
}
static inline uintptr_t gc_view_of(const gc_heap *heap, const void *alias) { return (uintptr_t)alias - heap->delta; }
static inline size_t gc_page_at(const gc_heap *heap, uintptr_t view) { return (view - heap->base) >> heap->page_shift; }

// A reference's cell: bit 3 of the address tells an array (8 modulo 16) from a plain object.
static inline gc_cell gc_ref_cell(const gc_heap *heap, gc_ref ref) {
  return (gc_cell){(char *)(ref.view + heap->delta) - 8 - (ref.view & 8)};
}
static inline uint64_t gc_cell_peer(const gc_heap *heap, gc_cell cell) {
  return (gc_view_of(heap, cell.alias) - heap->base) / GC_UNIT;
}
static inline gc_cell gc_peer_cell(const gc_heap *heap, uint64_t header) {
  return (gc_cell){(char *)heap->base + heap->delta + (header & GC_PEER_MASK) * GC_UNIT + 8};
}
static inline gc_ref gc_cell_ref(const gc_heap *heap, gc_cell cell, uint64_t header) {
  return (gc_ref){gc_view_of(heap, cell.alias) + gc_header_bytes(header)};
}
static inline unsigned gc_top(const gc_heap *heap, size_t page) {
  return at32_load_acquire(&heap->top[page]) & GC_TOP_MASK;
}
static inline uint8_t gc_space(const gc_heap *heap, uint32_t block) {
  return AO_char_load((unsigned char volatile *)&heap->space[block]);
}
static inline uint8_t gc_flags(const gc_heap *heap, uint32_t block) {
  return AO_char_load((unsigned char volatile *)&heap->flags[block]);
}
static inline bool gc_is_transient(const gc_heap *heap, uint32_t block) { return at8_load(&heap->transient[block]) != 0; }
// Of which sort a block's objects are.
static inline unsigned gc_block_sort(const gc_heap *heap, uint32_t block) {
  return (gc_flags(heap, block) & GC_BLOCK_LEAF ? GC_SORT_LEAF : 0) | (gc_is_transient(heap, block) ? GC_SORT_TRANSIENT : 0);
}
static inline bool gc_is_large(const gc_heap *heap, uint32_t block) { return block >= heap->small_blocks; }
// Whether the object has been forwarded, marked or pinned in this cycle (gc.epoch).
static inline bool gc_is_done(const gc_heap *heap, uint64_t header) { return gc_header_epoch(header) == heap->epoch; }
static inline bool gc_is_kept_in_place(const gc_heap *heap, gc_cell cell, uint64_t header) {
  return gc_is_done(heap, header) && (header & GC_PEER_MASK) == gc_cell_peer(heap, cell);
}

#endif
