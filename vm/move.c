// SPDX-License-Identifier: MIT
// move.c: takes all access away from a whole region at once, with everybody stopped: page tables are moved away as they are.
//
// Neighbours: the back end moves (uffd.c), dirty.c harvests what was moved, claim.c and rest.c keep their words and states. One thread, which has stopped all others, between
// vm_move_open and vm_move_close.
//
// vm.stopped  Between vm_move_plan and vm_move_run nobody touches the region through the view, no page is held, no pager is at work, and nobody else lays, settles or opens: so words are changed by
//             plain stores. What is seen of them is ordered by whatever stopped the others and lets them go.
// vm.moved    A page that is MOVED has no entry in the view's page tables and has not been opened since they were moved, so nothing was written through the view: harvests leave it out. Who is about to open
//             a page clears MOVED first, in the step after which others may open it. What was written before the move is told by the moved tables: whoever harvests a range before vm_move_tell has harvested all
//             of them harvests that part of them too, under the harvester's lock.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <string.h>

enum {
  RUNS = 64,         // calls that move
  SEAMS = RUNS / 2,  // runs of chunks at rest, beyond which all are woken before
  MESSAGES = 32,     // faults that the reader keeps
  PIECE = 32 << 20,  // bytes that are harvested, or dropped, by one call
};

struct vm_move {
  // Constant.
  vm_region *region;
  char *space; // reserved; `aside` is in it, where the view's base goes
  ptrdiff_t aside;
  size_t bytes, space_bytes; // of this structure; of the space
  // The thread that has stopped the others; read by harvesters under their lock.
  struct {
    size_t page, count;
  } run[RUNS];
  size_t runs;
  size_t at_run, at_page; // of vm_move_tell and vm_move_close
  uint32_t news;      // consumers that are to be told of what was written before; 0: nobody
  // The reader's: faults that were no news of a move.
  pthread_t reader;
  bool reads;
  uint32_t volatile reading; // 1: it may
  int event;                 // posted: it ends
  unsigned messages;
  char *message[MESSAGES];
  // By who has stopped the others: per chunk.
  uint8_t moves[];
};

static size_t chunk_pages(const vm_region *region) { return VM_HUGE >> region->page_shift; }

static size_t bytes_of(const vm_region *region, size_t pages) { return pages << region->page_shift; }

// ---- Before the stop, and behind it.

static void toucher_wake(const vm_region *region, const char *address) {
  os_uffd_wake(region->state->uffd, vm_page_view(region, vm_page_of(region, address)), region->page_size);
}

// To move a range that a userfaultfd watches is told through its descriptor, and whoever moves waits until that is read. What else comes there (uffd-kernel) is for the pagers, who may be
// behind their gate: so nothing is read before everybody stands, since one who is to stop may need a pager first; and its toucher is made to ask once more.
static void *read_on(void *arg) {
  vm_move *move = arg;
  struct os_fault fault;
  while (at32_load_acquire(&move->reading) == 0) {
    os_wait(&move->reading, 0);
  }
  while (os_uffd_fault(move->region->state->uffd, move->event, &fault) > 0) {
    if (move->messages < MESSAGES) {
      move->message[move->messages++] = fault.address;
    } else {
      os_nap(100);
      toucher_wake(move->region, fault.address);
    }
  }
  while (move->messages > 0) {
    toucher_wake(move->region, move->message[--move->messages]);
  }
  return NULL;
}

static void reader_begin(vm_move *move) {
  at32_store_release(&move->reading, 1);
  os_wake_all(&move->reading);
}

static void reader_end(vm_move *move) {
  if (move->reads) {
    reader_begin(move);
    os_event_post(move->event);
  }
}

static void reader_join(vm_move *move) {
  if (move->reads) {
    reader_end(move);
    os_thread_join(move->reader);
    move->reads = false;
  }
}

static void move_free(vm_move *move) {
  reader_join(move);
  if (move->event >= 0) {
    os_close(move->event);
  }
  if (move->space != NULL) {
    os_unmap(move->space, move->space_bytes);
  }
  os_unmap(move, move->bytes);
}

vm_move *vm_move_open(vm_region *region) {
  if (region->back_end->move == NULL) {
    return NULL;
  }
  size_t bytes = sizeof(vm_move) + region->chunks;
  vm_move *move = os_map_private(bytes);
  if (move == NULL) {
    return NULL;
  }
  move->region = region;
  move->bytes = bytes;
  move->space_bytes = (size_t)(region->limit - region->base) + VM_HUGE;
  move->event = os_event();
  move->space = os_reserve(move->space_bytes);
  move->reads = move->event >= 0 && move->space != NULL && os_thread_start(&move->reader, read_on, move) == 0;
  if (!move->reads) {
    move_free(move);
    return NULL;
  }
  move->aside = (char *)(((uintptr_t)move->space + VM_HUGE - 1) & ~(uintptr_t)(VM_HUGE - 1)) - region->base;
  memset(move->moves, 0, region->chunks); // memory for them
  if (!region->back_end->pager) {
    reader_begin(move); // nothing else comes there
  }
  if (vm_rest_seams(region) > SEAMS) {
    vm_rouse(region, 0, at_load_acquire(&region->top));
  }
  return move;
}

// ---- In the stop.

void vm_move_spare(vm_move *move, size_t page) { move->moves[page / chunk_pages(move->region)] = 2; }

void vm_move_plan(vm_move *move) {
  vm_region *region = move->region;
  size_t per = chunk_pages(region), used = (at_load(&region->top) + per - 1) / per;
  enum vm_mapping before = VM_UNMAPPED; // of the last chunk, if its run goes on
  for (size_t chunk = 0; chunk < used; chunk++) {
    bool spared = move->moves[chunk] == 2;
    enum vm_mapping mapping = spared ? VM_UNMAPPED : vm_chunk_mapping(region, chunk);
    move->moves[chunk] = 0;
    if (mapping == VM_UNMAPPED) {
      before = VM_UNMAPPED;
      continue;
    }
    if (mapping != before) {
      if (move->runs == RUNS) {
        before = VM_UNMAPPED;
        continue;
      }
      move->run[move->runs].page = chunk * per;
      move->run[move->runs++].count = 0;
      before = mapping;
    }
    move->run[move->runs - 1].count += per;
    move->moves[chunk] = 1;
  }
}

bool vm_moves(const vm_move *move, size_t page) { return move->moves[page / chunk_pages(move->region)] == 1; }

_Static_assert(VM_MOVED == VM_COMMITTED << 16, "word_move shifts one to the other");

// Words, four at a time; clean bytes, sixteen (vm.stopped).
typedef uint32_t words __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(16), aligned(1), may_alias));

void vm_move_lay(vm_move *move, size_t page, size_t count, unsigned claim) {
  enum { AT_ONCE = sizeof(words) / sizeof(uint32_t) };
  vm_region *region = move->region;
  uint32_t *word = (uint32_t *)(uintptr_t)&region->word[page], *limit = word + count;
  for (size_t i = page; VM_FULL_CHECKS && i < page + count; i++) {
    uint32_t w = at32_load(&region->word[i]);
    VM_CHECK((w & (VM_BUSY | VM_HELPERS | VM_LAYING)) == 0, "page %zu is held while everybody is stopped: word %x", i, w);
  }
  for (; word + AT_ONCE <= limit; word += AT_ONCE) {
    words w = *(words *)word;
    *(words *)word = (w & ~(uint32_t)VM_ACCESS) | claim | (w & VM_COMMITTED) << 16;
  }
  for (; word < limit; word++) {
    *word = (*word & ~(uint32_t)VM_ACCESS) | claim | (*word & VM_COMMITTED) << 16;
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

void vm_move_run(vm_move *move, size_t laid, unsigned known) {
  vm_region *region = move->region;
  size_t top = at_load(&region->top);
  reader_begin(move);
  move->news = at32_load(&region->dirty->consumers) & ~known;
  for (size_t i = 0; i < move->runs; i++) {
    size_t page = move->run[i].page, count = move->run[i].count, limit = page + count < top ? page + count : top;
    if (limit > laid) {
      size_t first = page > laid ? page : laid;
      vm_move_lay(move, first, limit - first, 0);
    }
    char *from = vm_page_view(region, page);
    if (!region->back_end->move(region, page, count, from + move->aside)) {
      // As it is done page by page (vm.veil-dirty).
      region->back_end->revoke(region, page, limit - page, 0);
      if (vm_dirty_tracked(region)) {
        region->back_end->harvest(region, page, limit - page);
      }
      move->run[i].count = 0;
    }
  }
  reader_end(move);
  at_store_release(&region->moved, (uint64_t)move);
}

// ---- Behind the stop.

// Tells of what was written in [page, limit) before the tables were moved. Under the harvester's lock.
static void moved_harvest(vm_move *move, size_t page, size_t limit) {
  for (size_t i = 0; i < move->runs; i++) {
    size_t from = move->run[i].page, to = from + move->run[i].count;
    from = from < page ? page : from;
    to = to < limit ? to : limit;
    if (from < to) {
      move->region->back_end->harvest_moved(move->region, from, to - from, move->aside, move->news);
    }
  }
}

void vm_move_harvest(vm_region *region, size_t page, size_t limit) {
  vm_move *move = (vm_move *)at_load_acquire(&region->moved);
  if (move != NULL && move->news != 0) {
    moved_harvest(move, page, limit);
  }
}

// The next piece of what was moved. False: there is none.
static bool piece_next(vm_move *move, size_t *page, size_t *count) {
  size_t most = PIECE >> move->region->page_shift;
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

bool vm_move_tell(vm_move *move) {
  vm_region *region = move->region;
  size_t page, count;
  bool more = move->news != 0 && piece_next(move, &page, &count);
  vm_harvest_enter(region);
  if (more) {
    moved_harvest(move, page, page + count);
  } else {
    at_store_release(&region->moved, 0); // nobody looks at it any more
  }
  vm_harvest_leave(region);
  return more;
}

void vm_move_close(vm_move *move) {
  size_t page, count;
  while (piece_next(move, &page, &count)) {
    (void)os_drop(vm_page_view(move->region, page) + move->aside, bytes_of(move->region, count));
  }
  move_free(move);
}

void vm_move_forget(vm_region *region) {
  vm_move *move = (vm_move *)at_load(&region->moved);
  if (move != NULL) { // its thread is gone, and so is what it read from
    at_store(&region->moved, 0);
    os_unmap(move->space, move->space_bytes);
    os_close(move->event);
    os_unmap(move, move->bytes);
  }
}
