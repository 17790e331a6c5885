// SPDX-License-Identifier: MIT
// move.c: takes all access away from a whole region at once, with everybody stopped: page tables are moved away as they are.
//
// Neighbours: the back end moves (uffd.c), dirty.c harvests what was moved, claim.c and rest.c keep their words and states. One thread, which has stopped all others, between
// vm_move_open and vm_move_close.
//
// Keeps vm.stopped, vm.moved and vm.move-read.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <string.h>

enum {
  RUNS = 64,         // calls that move
  SEAMS = RUNS / 2,  // runs of stretches at rest, beyond which all are woken before
  MESSAGES = 32,     // faults that the reader keeps
  PIECE = 32 << 20,  // bytes that are harvested, or dropped, by one call
};

enum { WAITING, READING, CLOSING };

struct vm_move {
  // Constant.
  vm_region *region;
  int uffd, seal;
  unsigned page_shift;
  char *space, *aside_base;  // reserved, and where in it the view's base goes
  uint8_t *readable;             // a bit per page: open there
  char *sealing_space, *sealing; // the same for mappings that are prepared to be sealed; NULL: none
  size_t bytes, space_bytes, readable_bytes; // of this structure; of a space; of the bits
  // The thread that has stopped the others; read by harvesters under their lock.
  struct run {
    size_t page, count;
    bool sealed; // now
    bool before; // and has been
  } run[RUNS];
  size_t runs;
  bool told;
  bool sealed; // something may be sealed already
  bool seals;  // what was prepared is sealed; settled by vm_move_plan
  size_t at_run, at_page; // of vm_move_tell and vm_move_close
  uint32_t news;      // consumers that are to be told of what was written before; 0: nobody
  uint32_t volatile state; // what the reader may do
  uint32_t volatile done;  // 1: it does not read any more
  int event;               // posted: there is nothing more to read
  // The reader's: faults that were no news of a move.
  unsigned messages;
  char *message[MESSAGES];
  // By who has stopped the others: per chunk, MOVES or SPARED, and PREPARED for being sealed.
  uint8_t chunk[];
};

enum { MOVES = 1, SPARED = 2, EMPTY = 16 /* no page has memory */, PREPARED = 4, FORBIDS = 8 /* reading a page of it, for another claim's sake than UNSAVED */ };

static size_t chunk_pages(const vm_region *region) { return VM_HUGE >> region->page_shift; }

static size_t bytes_of(const vm_region *region, size_t pages) { return pages << region->page_shift; }

// ---- Before the stop, and behind it.

static void toucher_wake(const vm_move *move, char *address) {
  size_t page_size = (size_t)1 << move->page_shift;
  os_uffd_wake(move->uffd, (char *)((uintptr_t)address & ~(uintptr_t)(page_size - 1)), page_size);
}

// The next piece of what was moved. False: there is none.
static bool piece_next(vm_move *move, size_t *page, size_t *count) {
  size_t most = PIECE >> move->page_shift;
  while (move->at_run < move->runs && move->at_page == move->run[move->at_run].count) {
    move->at_run++;
    move->at_page = 0;
  }
  if (move->at_run == move->runs) {
    move->at_run = move->at_page = 0;
    return false;
  }
  size_t left = move->run[move->at_run].count - move->at_page;
  *page = move->run[move->at_run].page + move->at_page;
  *count = left < most ? left : most;
  move->at_page += *count;
  return true;
}

static void spaces_unmap(const vm_move *move) {
  os_unmap(move->space, move->space_bytes);
  if (move->sealing_space != NULL) {
    os_unmap(move->sealing_space, move->space_bytes);
  }
  if (move->readable != NULL) {
    os_unmap(move->readable, move->readable_bytes);
  }
}

// Needs nothing of the region, which may be closed by now.
static void give_back(vm_move *move) {
  size_t page, count;
  while (piece_next(move, &page, &count)) {
    (void)os_drop(move->aside_base + (page << move->page_shift), count << move->page_shift);
  }
  spaces_unmap(move);
  os_close(move->event);
  os_unmap(move, move->bytes);
}

// To move a range that a userfaultfd watches is told through its descriptor, and whoever moves waits until that is read. What else comes there (uffd-kernel) is for the pagers, who may be
// behind their gate: so nothing is read before everybody stands, since one who is to stop may need a pager first; and its toucher is made to ask once more.
static void *read_on(void *arg) {
  vm_move *move = arg;
  struct os_fault fault;
  while (at32_load_acquire(&move->state) == WAITING) {
    os_wait(&move->state, WAITING);
  }
  while (os_uffd_fault(move->uffd, move->seal, move->event, &fault) > 0) {
    if (move->messages < MESSAGES) {
      move->message[move->messages++] = fault.address;
    } else {
      os_nap(100);
      toucher_wake(move, fault.address);
    }
  }
  while (move->messages > 0) {
    toucher_wake(move, move->message[--move->messages]);
  }
  at32_store_release(&move->done, 1);
  os_wake_all(&move->done);
  while (at32_load_acquire(&move->state) != CLOSING) {
    os_wait(&move->state, READING);
  }
  give_back(move);
  return NULL;
}

static void state_set(vm_move *move, uint32_t state) {
  at32_store_release(&move->state, state);
  os_wake_all(&move->state);
}

static vm_move *move_new(vm_region *region) {
  size_t bytes = sizeof(vm_move) + region->chunks;
  vm_move *move = os_map_private(bytes);
  if (move == NULL) {
    return NULL;
  }
  move->region = region;
  move->uffd = region->state->uffd;
  move->seal = region->back_end->seal != NULL ? region->state->seal : -1;
  move->page_shift = region->page_shift;
  move->bytes = bytes;
  move->readable_bytes = region->pages / 8 + 1;
  move->space_bytes = (size_t)(region->limit - region->base) + VM_HUGE;
  move->event = os_event();
  move->space = os_reserve(move->space_bytes);
  pthread_t thread;
  if (move->event < 0 || move->space == NULL || os_thread_start(&thread, read_on, move) != 0) {
    if (move->space != NULL) {
      os_unmap(move->space, move->space_bytes);
    }
    if (move->event >= 0) {
      os_close(move->event);
    }
    os_unmap(move, bytes);
    return NULL;
  }
  os_thread_detach(thread);
  move->aside_base = (char *)(((uintptr_t)move->space + VM_HUGE - 1) & ~(uintptr_t)(VM_HUGE - 1));
  memset(move->chunk, 0, region->chunks); // memory for them
  if (!region->back_end->pager) {
    state_set(move, READING); // nothing else comes there
  }
  vm_rest_square(region); // a chunk that is not one mapping would not move
  if (vm_rest_seams(region) > SEAMS) {
    vm_rouse(region, 0, at_load_acquire(&region->top));
  }
  return move;
}

// vm.moved: one at a time, since words tell of one.
vm_move *vm_move_open(vm_region *region, bool *busy) {
  *busy = false;
  if (region->back_end->move == NULL) {
    return NULL;
  }
  if (!at32_cas_full(&region->moving, 0, 1)) {
    *busy = true;
    return NULL;
  }
  vm_move *move = move_new(region);
  if (move == NULL) {
    at32_store_release(&region->moving, 0);
  }
  at_store_release(&region->move, (uint64_t)move);
  return move;
}

// Chunks that have memory now; not those beside them, which may be had in one huge page yet (vm.huge).
bool vm_move_seal(vm_move *move) {
  vm_region *region = move->region;
  size_t per = chunk_pages(region), used = (at_load_acquire(&region->top) + per - 1) / per;
  move->sealed = vm_is_sealed(region);
  if (move->seal < 0 || !vm_seal_begin(region)) {
    return false;
  }
  move->readable = os_map_private(move->readable_bytes);
  move->sealing_space = move->readable != NULL ? os_reserve(move->space_bytes) : NULL;
  move->sealing = (char *)(((uintptr_t)move->sealing_space + VM_HUGE - 1) & ~(uintptr_t)(VM_HUGE - 1));
  for (size_t chunk = 0, end; move->sealing_space != NULL && chunk < used; chunk = end) {
    bool mapped = vm_chunk_mapping(region, chunk) != VM_UNMAPPED;
    for (end = chunk + 1; end < used && (vm_chunk_mapping(region, end) != VM_UNMAPPED) == mapped; end++) {
    }
    if (mapped && region->back_end->seal_prepare(region, chunk * per, (end - chunk) * per, move->sealing + chunk * VM_HUGE, move->readable)) {
      memset(&move->chunk[chunk], PREPARED, end - chunk);
      move->seals = true;
    }
  }
  return move->seals;
}

// ---- In the stop.

void vm_move_spare(vm_move *move, size_t page) { move->chunk[page / chunk_pages(move->region)] |= SPARED; }

// What could be written in a chunk that is sealed still counts as written; its tables say nothing of it, and soon its words do not either.
static void sealed_tell(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    if (at32_load(&region->word[i]) & VM_ACCESS_WRITE) {
      vm_dirty_note(region, i, ~0u);
    }
  }
}

void vm_move_plan(vm_move *move) {
  vm_region *region = move->region;
  size_t per = chunk_pages(region), used = (at_load(&region->top) + per - 1) / per;
  move->seals = move->seals && vm_seal_stopped(region);
  struct run *run = NULL; // that goes on
  enum vm_mapping before = VM_UNMAPPED;
  for (size_t chunk = 0; chunk < used; chunk++) {
    if (!move->seals || (move->sealed && (at32_load(&region->word[chunk * per]) & VM_SEALED))) { // what the system has used for long
      move->chunk[chunk] &= (uint8_t)~PREPARED;
    }
    bool sealed = move->chunk[chunk] & PREPARED, was = at32_load(&region->word[chunk * per]) & VM_SEALED;
    enum vm_mapping mapping = move->chunk[chunk] & SPARED ? VM_UNMAPPED : vm_chunk_mapping(region, chunk);
    if (mapping == VM_UNMAPPED) {
      move->chunk[chunk] |= move->chunk[chunk] & SPARED ? 0 : EMPTY;
      run = NULL;
      continue;
    }
    if (run == NULL || mapping != before || sealed != run->sealed || was != run->before) {
      if (move->runs == RUNS) {
        run = NULL;
        continue;
      }
      run = &move->run[move->runs++];
      *run = (struct run){chunk * per, 0, sealed, was};
    }
    before = mapping;
    run->count += per;
    move->chunk[chunk] |= MOVES;
    if (was) {
      sealed_tell(region, chunk * per, per);
    }
  }
}

bool vm_moves(const vm_move *move, size_t page) { return move->chunk[page / chunk_pages(move->region)] & MOVES; }

bool vm_stays(const vm_move *move, size_t page) { return (move->chunk[page / chunk_pages(move->region)] & (MOVES | EMPTY)) == 0; }

static bool seals(const vm_move *move, size_t page) { return (move->chunk[page / chunk_pages(move->region)] & (MOVES | PREPARED)) == (MOVES | PREPARED); }

_Static_assert(VM_MOVED == VM_COMMITTED << 16 && VM_EMPTY == VM_MOVED << 1, "WORD_MOVED shifts one to the other");
_Static_assert(VM_ACCESS_READ << 2 == VM_COMMITTED, "WORD_SEALED shifts one to the other");
#define WORD_MOVED(W, MORE) (((W) & ~(uint32_t)(VM_ACCESS | VM_EMPTY)) | (MORE) | ((W) & VM_COMMITTED) << 16 | ((W) & VM_MOVED) << 1)
// What has memory may be open for reading.
#define WORD_SEALED(W, MORE) (WORD_MOVED(W, (MORE) | VM_SEALED) | ((W) & VM_COMMITTED) >> 2)

// Words, four at a time; clean bytes, sixteen (vm.stopped).
typedef uint32_t words __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(16), aligned(1), may_alias));

// Claims that forbid reading what is sealed, too.
static uint32_t read_forbidding(const vm_region *region) { return region->back_end->forbid_read & ~(unsigned)VM_UNSAVED; }

void vm_move_lay(vm_move *move, size_t page, size_t count, unsigned claim) {
  enum { AT_ONCE = sizeof(words) / sizeof(uint32_t) };
  vm_region *region = move->region;
  bool sealed = seals(move, page);
  uint32_t *word = (uint32_t *)(uintptr_t)&region->word[page], *limit = word + count;
  for (size_t i = page; VM_FULL_CHECKS && i < page + count; i++) {
    uint32_t w = at32_load(&region->word[i]);
    VM_CHECK((w & (VM_BUSY | VM_HELPERS | VM_LAYING)) == 0, "page %zu is held while everybody is stopped: word %x", i, w);
  }
  words all = {0};
  uint32_t last = 0;
  for (; word + AT_ONCE <= limit; word += AT_ONCE) {
    words w = *(words *)word;
    all |= w;
    *(words *)word = sealed ? WORD_SEALED(w, claim) : WORD_MOVED(w, claim);
  }
  for (; word < limit; word++) {
    last |= *word;
    *word = sealed ? WORD_SEALED(*word, claim) : WORD_MOVED(*word, claim);
  }
  for (size_t i = 0; i < AT_ONCE; i++) {
    last |= all[i];
  }
  size_t per = chunk_pages(region);
  for (size_t chunk = page / per; sealed && (last & read_forbidding(region)) && chunk * per < page + count; chunk++) {
    move->chunk[chunk] |= FORBIDS;
  }
}

void vm_move_claim(vm_move *move, size_t page, size_t count, unsigned claim) {
  uint32_t *word = (uint32_t *)(uintptr_t)move->region->word; // vm.stopped
  for (size_t i = page; i < page + count; i++) {
    word[i] |= claim;
  }
}

static void clean_change(vm_move *move, size_t page, size_t count, uint8_t off, uint8_t on) {
  uint8_t *clean = (uint8_t *)(uintptr_t)&move->region->dirty->clean[page], *limit = clean + count;
  for (; clean + sizeof(bytes) <= limit; clean += sizeof(bytes)) {
    *(bytes *)clean = (*(bytes *)clean & (uint8_t)~off) | on;
  }
  for (; clean < limit; clean++) {
    *clean = (uint8_t)((*clean & ~off) | on);
  }
}

void vm_move_know(vm_move *move, size_t page, size_t count, int consumer) {
  clean_change(move, page, count, 0, (uint8_t)(1u << consumer));
}

void vm_move_doubt(vm_move *move, size_t page, size_t count, int consumer) {
  clean_change(move, page, count, (uint8_t)(1u << consumer), 0);
  vm_dirty_stir(move->region, page, count, 1u << consumer);
}

static void words_clear(vm_move *move, size_t page, size_t count, uint32_t bits) {
  uint32_t *word = (uint32_t *)(uintptr_t)move->region->word; // vm.stopped
  for (size_t i = page; i < page + count; i++) {
    word[i] &= ~bits;
  }
}

// What must not be read in a chunk that was sealed goes out of it, whether it could be when that was prepared or not.
static void chunk_forbid(vm_move *move, size_t page) {
  enum { BITS = 8 };
  vm_region *region = move->region;
  size_t per = chunk_pages(region);
  uint32_t *word = (uint32_t *)(uintptr_t)&region->word[page], forbidden = read_forbidding(region); // vm.stopped
  for (size_t i = 0; i < per; i++) {
    word[i] &= (word[i] & forbidden) != 0 ? ~(uint32_t)VM_ACCESS : ~(uint32_t)0;
  }
  for (size_t i = 0; i < per; i += BITS) {
    uint8_t readable = move->readable[(page + i) / BITS];
    for (size_t k = 0; readable != 0 && k < BITS; k++) {
      if ((readable >> k & 1) && (word[i + k] & forbidden)) {
        region->back_end->revoke(region, page + i + k, 1, 0);
      }
    }
  }
}

// The mapping that was prepared comes into its place. If it does not come: nothing is sealed there, or open.
static void run_seal(vm_move *move, size_t page, size_t count) {
  vm_region *region = move->region;
  if (!region->back_end->seal(region, page, count, move->sealing + bytes_of(region, page))) {
    words_clear(move, page, count, VM_SEALED | VM_ACCESS);
    return;
  }
  for (size_t at = page, per = chunk_pages(region); at < page + count; at += per) {
    if (move->chunk[at / per] & FORBIDS) {
      chunk_forbid(move, at);
    }
  }
}

// As it is done page by page (vm.veil-dirty), where tables cannot be moved.
static void run_revoke(vm_move *move, size_t page, size_t count, bool sealed) {
  vm_region *region = move->region;
  words_clear(move, page, count, sealed ? VM_SEALED | VM_ACCESS : 0);
  region->back_end->revoke(region, page, count, 0);
  if (vm_dirty_tracked(region)) {
    region->back_end->harvest(region, page, count);
  }
}

void vm_move_run(vm_move *move, size_t laid, unsigned known) {
  vm_region *region = move->region;
  size_t top = at_load(&region->top);
  state_set(move, READING);
  move->news = at32_load(&region->dirty->consumers) & ~known;
  for (size_t i = 0; i < move->runs; i++) {
    size_t page = move->run[i].page, count = move->run[i].count, limit = page + count < top ? page + count : top;
    limit = move->run[i].sealed ? page + count : limit; // what gets memory later is in that mapping, too
    if (limit > laid) {
      size_t first = page > laid ? page : laid;
      vm_move_lay(move, first, limit - first, 0);
    }
    if (!region->back_end->move(region, page, count, move->aside_base + bytes_of(region, page))) {
      run_revoke(move, page, limit - page, move->run[i].sealed);
      move->run[i].count = 0;
    } else if (move->run[i].sealed) {
      run_seal(move, page, count);
    }
  }
  os_event_post(move->event);
  at_store_release(&region->moved, (uint64_t)move);
}

// ---- Behind the stop.

// Tells of what was written in [page, limit) before the tables were moved. Under the harvester's lock.
static void moved_harvest(vm_move *move, size_t page, size_t limit) {
  for (size_t i = 0; i < move->runs; i++) {
    size_t from = move->run[i].page, to = from + move->run[i].count;
    from = from < page ? page : from;
    to = to < limit ? to : limit;
    if (from < to && !move->run[i].before) { // vm_move_plan has told of those
      move->region->back_end->harvest_moved(move->region, from, to - from, move->aside_base - move->region->base, move->news);
    }
  }
}

void vm_move_harvest(vm_region *region, size_t page, size_t limit) {
  vm_move *move = (vm_move *)at_load_acquire(&region->moved);
  if (move != NULL && move->news != 0) {
    moved_harvest(move, page, limit);
  }
}

bool vm_move_tell(vm_move *move) {
  vm_region *region = move->region;
  size_t page, count;
  bool more = move->news != 0 && piece_next(move, &page, &count);
  vm_harvest_enter(region);
  if (more) {
    moved_harvest(move, page, page + count);
  } else {
    at_store_release(&region->moved, 0); // nobody looks at it any more
    move->told = true;
  }
  vm_harvest_leave(region);
  if (!more) {
    at32_store_release(&region->moving, 0);
  }
  return more;
}

void vm_move_close(vm_move *move) {
  size_t page, count;
  while (piece_next(move, &page, &count)) { // a child of fork has no thread that would give it back
    (void)os_not_inherited(move->aside_base + (page << move->page_shift), count << move->page_shift);
  }
  (void)at_cas_full(&move->region->move, (uint64_t)move, 0); // another thread's by now, perhaps
  if (!move->told) {
    at32_store_release(&move->region->moving, 0);
  }
  os_event_post(move->event);
  if (at32_load(&move->state) == WAITING) {
    state_set(move, READING);
  }
  while (at32_load_acquire(&move->done) == 0) {
    os_wait(&move->done, 0); // the descriptor may be closed, and its number be another's, when we return
  }
  state_set(move, CLOSING);
}

void vm_move_forget(vm_region *region) {
  vm_move *move = (vm_move *)at_load(&region->move);
  at32_store(&region->moving, 0);
  at_store(&region->moved, 0);
  at_store(&region->move, 0);
  if (move != NULL) { // its thread is gone, and so is what it read from
    spaces_unmap(move);
    os_close(move->event);
    os_unmap(move, move->bytes);
  }
}
