// SPDX-License-Identifier: MIT
// writer.c: the thread that gives pages to the image.
//
// Neighbours: saver.c gives it orders and runs of pages, traps queue slots (pool.c), file.c has the image. While a version is in flight it waits for the disk
// and for nothing else: it calls no hook of the collector's, takes no lock, and allocates nothing until the last page is safe (cp.pool).

#include <string.h>
#include <sys/prctl.h>
#include "runtime/checkpoint/inner.h"

// Slots that the image copies from, in the order of pool->order, from this one on.
typedef struct copied {
  cp_pool *pool;
  const rt_image_page *next;
} copied;

static void slots_taken(void *arg, uint64_t count) {
  copied *s = arg;
  cp_pool_give_some(s->pool, s->next, count);
  s->next += count;
}

// cp.first: pages in order. A slot is free as soon as it was copied once more, or the image refuses it.
static bool slots_write(veil_checkpointer *c) {
  cp_pool *pool = &c->pool;
  if (CHECKPOINT_BREAK == CHECKPOINT_BREAK_FAIL && at32_load(&c->failed)) {
    return false;
  }
  uint32_t count = cp_pool_queued(pool);
  for (uint32_t i = 0; i < count && CHECKPOINT_BREAK == CHECKPOINT_BREAK_BEFORE; i++) {
    memcpy((char *)pool->order[i].contents, cp_page_alias(c, pool->order[i].page), pool->page_size);
  }
  copied s = {pool, pool->order};
  cp_file_put_list(c, pool->order, count, slots_taken, &s);
  slots_taken(&s, (uint64_t)(pool->order + count - s.next));
  return count != 0;
}

static bool stash_write(veil_checkpointer *c) {
  cp_stash *s = (cp_stash *)at_load_acquire(&c->stash);
  if (s == NULL) {
    return false;
  }
  at_store(&c->stash, (uint64_t)s->next);
  cp_file_put(c, s->page, s->count, (char *)s + c->pages.page_size);
  os_unmap(s, s->bytes);
  return true;
}

static bool run_write(veil_checkpointer *c) {
  uint64_t tail = at_load(&c->run_tail);
  if (tail == at_load_acquire(&c->run_head)) {
    return false;
  }
  cp_run *run = &c->runs[tail % c->run_count];
  for (uint32_t left = run->saved; left != 0;) {
    unsigned at = (unsigned)__builtin_ctz(left), n = 1;
    while (at + n < CP_RUN && (left >> (at + n) & 1)) {
      n++;
    }
    cp_file_put(c, run->first + at, n, run->memory + at * c->pages.page_size);
    left &= ~(((1u << n) - 1) << at);
  }
  at_store_release(&c->run_tail, tail + 1);
  rt_post(&c->run_given);
  return true;
}

static void rest(veil_checkpointer *c) {
  at32_store_release(&c->order, CP_REST);
  rt_post(&c->rests);
}

void *cp_writer_main(void *checkpointer) {
  veil_checkpointer *c = checkpointer;
  prctl(PR_SET_NAME, "veil-writer");
  CHECKPOINT_WRITER(c);
  for (;;) {
    uint32_t seen = at32_load_acquire(&c->ordered), order = at32_load_acquire(&c->order);
    if (order == CP_END) {
      return NULL;
    }
    if (order == CP_COMPACT) {
      cp_file_compact(c);
      rest(c);
    } else if (order == CP_WRITE) {
      bool walked = at32_load_acquire(&c->walked); // what was queued before that is seen below
      if (slots_write(c) || stash_write(c) || run_write(c)) {
        continue;
      }
      if (walked) {
        cp_file_finish(c);
        rest(c);
        continue;
      }
    }
    at32_store(&c->asleep, 1);
    at_fence_full();
    rt_wait(&c->ordered, seen, 0);
    at32_store(&c->asleep, 0);
  }
}
