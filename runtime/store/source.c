// SPDX-License-Identifier: MIT
// source.c: what a store's heap is opened from: the image, and over it what the log had when the store was opened.
//
// Neighbours: open.c makes it, runtime/restore.c calls it, in traps too: so nothing here changes until `done`, and no lock is taken (st.trap).

#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/futex.h"
#include "runtime/store/inner.h"
#include "runtime/store/record.h"
#include "runtime/store/types.h"
#include "vm/os.h"

enum { SCRATCHES = 4 };

typedef struct over {
  uint64_t page;
  size_t first, count; // of `items`
  bool zeros;          // before them
} over;

struct st_source {
  veil_store *store;
  const rt_image *image;
  over *over; // by page
  size_t over_count;
  const uint64_t **items;
  veil_type_described *types;
  veil_root_described *roots;
  char *scratch;
  uint32_t volatile scratch_taken[SCRATCHES];
  uint32_t volatile scratch_given; // counts
};

void st_source_close(st_source *s) {
  if (s != NULL) {
    free(s->over);
    free(s->items);
    free(s->types);
    free(s->roots);
    free(s->scratch);
    free(s);
  }
}

static bool over_list(st_source *s) {
  const st_contents *c = s->store->contents;
  size_t count, total = 0;
  uint64_t *pages = st_contents_list(c, &count);
  s->over = pages != NULL ? calloc(count + 1, sizeof *s->over) : NULL;
  for (size_t i = 0; i < count && s->over != NULL; i++) {
    over *o = &s->over[i];
    o->page = pages[i];
    o->first = total;
    o->count = st_contents_items(c, pages[i], NULL, 0, &o->zeros);
    total += o->count;
  }
  s->items = s->over != NULL ? malloc((total + 1) * sizeof(uint64_t *)) : NULL;
  for (size_t i = 0; i < count && s->items != NULL; i++) {
    bool zeros;
    st_contents_items(c, pages[i], s->items + s->over[i].first, s->over[i].count, &zeros);
  }
  s->over_count = count;
  free(pages);
  return s->items != NULL;
}

st_source *st_source_open(veil_store *store, rt_image *image) {
  st_source *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->store = store;
  s->image = image;
  s->scratch = malloc((size_t)SCRATCHES * RT_IMAGE_SCRATCH);
  if (s->scratch == NULL || !over_list(s)) {
    st_source_close(s);
    return NULL;
  }
  return s;
}

// The first of them with a page that is not below this one.
static const over *over_from(const st_source *s, uint64_t page) {
  size_t low = 0, high = s->over_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (s->over[middle].page < page) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return &s->over[low];
}

// ---- What the heap asks.

static veil_status section(void *arg, const char *name, const void **bytes, size_t *size) {
  const st_section *found = st_section_find(&((st_source *)arg)->store->sections, name);
  if (found == NULL) {
    return VEIL_INVALID;
  }
  *bytes = found->bytes;
  *size = found->size;
  return VEIL_OK;
}

static bool next(void *arg, size_t page, size_t *first, size_t *count, bool *zero) {
  const st_source *s = arg;
  const over *o = over_from(s, page), *limit = s->over + s->over_count;
  rt_image_run run, zeros;
  bool stored = rt_image_next(s->image, page, &run);
  if (st_zeros_next(&s->store->zeros, page, &zeros) && (!stored || zeros.first < run.first)) { // which the image has not
    zeros.count = stored && run.first - zeros.first < zeros.count ? run.first - zeros.first : zeros.count;
    run = zeros;
    stored = true;
  }
  if (o < limit && (!stored || o->page <= run.first)) {
    *first = o->page;
    *count = 1;
    *zero = o->zeros && o->count == 0;
    return true;
  }
  if (stored) {
    *first = run.first;
    *count = o < limit && o->page - run.first < run.count ? o->page - run.first : run.count;
    *zero = run.zero;
  }
  return stored;
}

static unsigned scratch_take_in_trap(st_source *s) {
  for (;;) {
    uint32_t seen = at32_load_acquire(&s->scratch_given);
    for (unsigned i = 0; i < SCRATCHES; i++) {
      if (at32_cas_full(&s->scratch_taken[i], 0, 1)) {
        return i;
      }
    }
    os_wait(&s->scratch_given, seen); // for who reads, and waits for the disk only
  }
}

// What the image has of the pages; zeros for others.
static bool stored_read(const st_source *s, uint64_t page, uint64_t count, char *to, void *scratch) {
  size_t page_size = s->store->pages.page_size;
  for (uint64_t at = page, limit = page + count; at < limit;) {
    rt_image_run run;
    bool found = rt_image_next(s->image, at, &run) && run.first < limit;
    uint64_t first = found ? run.first : limit, end = found && run.count < limit - first ? first + run.count : limit;
    memset(to + (at - page) * page_size, 0, (first - at) * page_size);
    if (found && rt_image_read(s->image, first, end - first, to + (first - page) * page_size, scratch) != VEIL_OK) {
      return false;
    }
    at = end;
  }
  return true;
}

static bool read_in_trap(void *arg, size_t page, size_t count, void *to) {
  st_source *s = arg;
  size_t page_size = s->store->pages.page_size;
  unsigned i = scratch_take_in_trap(s);
  bool good = stored_read(s, page, count, to, s->scratch + (size_t)i * RT_IMAGE_SCRATCH);
  at32_store_release(&s->scratch_taken[i], 0);
  rt_post(&s->scratch_given);
  for (const over *o = over_from(s, page); good && o < s->over + s->over_count && o->page < page + count; o++) {
    char *at = (char *)to + (o->page - page) * page_size;
    if (o->zeros) {
      memset(at, 0, page_size);
    }
    for (size_t n = 0; n < o->count; n++) {
      st_page_apply(s->items[o->first + n], at);
    }
  }
  return good;
}

static void done(void *arg) {
  veil_store *store = ((st_source *)arg)->store;
  if (st_process_gone(store)) {
    return;
  }
  pthread_mutex_lock(&store->lock);
  store->all_read = true;
  store->fold_wanted |= st_fold_is_due(store); // the next commit may be far away
  store->compact_wanted = true;
  pthread_cond_signal(&store->folder_wanted);
  pthread_cond_broadcast(&store->happened);
  pthread_mutex_unlock(&store->lock);
}

bool st_source_describe(st_source *s, veil_store *store, veil_source *out) {
  const st_section *types = st_section_find(&store->sections, "types"), *roots = st_section_find(&store->sections, "roots");
  s->types = types != NULL ? st_types_decode(types->bytes, types->size, &out->type_count) : NULL;
  s->roots = roots != NULL ? st_roots_decode(roots->bytes, roots->size, &out->root_count) : NULL;
  if (s->types == NULL || s->roots == NULL) {
    rt_error_set("%s: its types or roots are damaged, or there is no memory for them", store->path);
    return false;
  }
  out->types = s->types;
  out->roots = s->roots;
  out->blank = true; // st.blank
  out->section = section;
  out->next = next;
  out->read = read_in_trap;
  out->done = done;
  out->arg = s;
  return true;
}
