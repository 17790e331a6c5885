// SPDX-License-Identifier: MIT
// sampler.c: who was touched in the last interval, and so how old pages are.
//
// Neighbours: control.h makes of it from when on a page is cold. The keeper's thread.
//
// What was touched in several looks, one after the other, is taken to be touched for some intervals without a look, so that a hot page traps once in eight intervals, and not in each. Such a page counts as cold as much later at most.

#include <string.h>
#include <time.h>
#include "runtime/compress/compressor.h"

static bool looks(void *arg, size_t page) {
  const veil_compressor *c = arg;
  return c->page[page].skip == 0;
}

size_t cx_known_next(const veil_compressor *c, size_t page) {
  while (page < c->high && !c->group[page / CX_GROUP]) {
    page = (page / CX_GROUP + 1) * CX_GROUP;
  }
  return page;
}

static void seen(void *arg, size_t page) {
  veil_compressor *c = arg;
  cx_page *p = &c->page[page];
  p->touched = 1;
  c->group[page / CX_GROUP] = 1;
  c->high = page >= c->high ? page + 1 : c->high;
}

// What a page was in the interval: counted by the age that it had, and that it has.
static void page_age(veil_compressor *c, size_t page) {
  cx_page *p = &c->page[page];
  bool back = at8_load(&c->back[page]) != 0;
  if (back) {
    at8_store(&c->back[page], 0);
    c->counted.promoted += p->touched;
    c->counted.fetched += !p->touched;
  }
  if (p->touched && !p->known) { // it came into use
    *p = (cx_page){.known = 1};
  } else if (p->touched) {
    unsigned most = 1u << p->streak;
    c->interval.touched[p->age]++;
    *p = (cx_page){.known = 1, .streak = (p->streak < 7 ? p->streak + 1u : 7u) & 7u, .skip = (most - 1 < c->skip_most ? most - 1 : c->skip_most) & 15u};
  } else if (p->skip != 0) {
    c->interval.touched[0]++;
    p->skip = (p->skip - 1u) & 15u;
  } else {
    p->streak = 0;
    p->age = (uint8_t)(p->age < CX_AGES - 1 ? p->age + 1 : CX_AGES - 1);
    p->wait = (uint8_t)(p->wait - (p->wait != 0));
  }
  c->interval.age[p->age]++;
  if (p->fresh && c->settles) {
    p->fresh = 0;
    p->fails = 0;
    p->wait = 0;
  }
  c->fresh += p->fresh;
}

static void totals_add(veil_compressor *c) {
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < CX_AGES; i++) {
    c->ages[i] += c->interval.age[i];
    c->touched[i] += c->interval.touched[i];
  }
  pthread_mutex_unlock(&c->lock);
}

void cx_look(veil_compressor *c) { veil_service_touched(c->service, 0, c->pages.count, looks, seen, c); }

// Pages that stay together, [first, end), are counted by whether they are old. One more than the last that is in use; 0: none is.
static size_t pages_age(veil_compressor *c, size_t first, size_t end) {
  size_t last = 0;
  unsigned in_use = 0, old = 0, least = c->fixed != 0 ? c->fixed : c->control.goal.least;
  for (size_t page = first; page < end; page++) {
    if (!c->page[page].known && !c->page[page].touched) {
      continue;
    }
    if (veil_page_in_use(c->heap, page)) {
      page_age(c, page);
      in_use++;
      old += c->page[page].age >= (least + 1) / 2;
      last = page + 1;
    } else {
      c->page[page] = (cx_page){0};
      at8_store(&c->hint[page], VEIL_COMPRESS_AS_USED);
      at8_store(&c->back[page], 0);
    }
  }
  if (old != 0 && old * 2 >= in_use) { // or a cycle that moves would mix what is old with what is not, and it would count as touched
    veil_service_asleep(c->service, first, end - first);
  }
  return last;
}

// All of a group that are known. As pages_age.
static size_t group_age(veil_compressor *c, size_t group) {
  size_t last = 0, together = CX_TOGETHER / c->pages.page_size, limit = group + CX_GROUP < c->high ? group + CX_GROUP : c->high;
  for (size_t page = group; page < limit; page += together) {
    size_t known = pages_age(c, page, page + together < limit ? page + together : limit);
    last = known != 0 ? known : last;
  }
  return last;
}

void cx_sample(veil_compressor *c) {
  uint64_t cycles = at_load(&c->cycles);
  c->settles = cycles != c->cycles_seen;
  c->cycles_seen = cycles;
  c->fresh = 0;
  memset(&c->interval, 0, sizeof c->interval);
  cx_look(c);
  size_t high = 0;
  c->groups = 0;
  for (size_t page = 0; (page = cx_known_next(c, page)) < c->high; page += CX_GROUP) {
    size_t last = group_age(c, page);
    c->group[page / CX_GROUP] = last != 0;
    c->groups += last != 0;
    high = last != 0 ? last : high;
  }
  c->high = high;
  totals_add(c);
}
