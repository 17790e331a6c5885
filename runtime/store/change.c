// SPDX-License-Identifier: MIT
// change.c: from what was compared or copied in the stop to a record, or a version of the image.
//
// Neighbours: take.c compares and copies, commit.c calls this in the thread that is `taking`, between brackets. record.h has the form.

#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/store/inner.h"
#include "runtime/store/record.h"
#include "runtime/store/types.h"
#include "vm/check.h"

#define ZEROS SIZE_MAX // among places: no item of its own, but a run of zeros

// ---- What has changed.

static veil_status no_memory(const veil_store *store) {
  rt_error_set("%s: no memory for a commit", store->path);
  return VEIL_NO_MEMORY;
}

static bool is_committed(const veil_store *store, const char *name, const void *bytes, size_t size) {
  const st_section *was = st_section_find(&store->sections, name);
  return bytes == NULL ? was == NULL : was != NULL && was->size == size && memcmp(was->bytes, bytes, size) == 0;
}

// Also what a commit that failed has found, and is as it was committed again.
static veil_status section_found(void *arg, const char *name, const void *bytes, size_t size) {
  veil_store *store = arg;
  bool owed = false;
  for (size_t i = 0; i < store->change.sections.count && !owed; i++) {
    owed = strcmp(store->change.sections.at[i].name, name) == 0;
  }
  if (!owed && is_committed(store, name, bytes, size)) {
    return VEIL_OK;
  }
  return st_section_set(&store->change.sections, name, strlen(name), bytes, size, false) ? VEIL_OK : no_memory(store);
}

static veil_status named_find(veil_store *store) {
  veil_status status = VEIL_OK;
  if (veil_description_types_changed(store->description)) {
    const veil_type_described *types;
    size_t count = veil_description_types(store->description, &types), size = 0;
    void *bytes = types != NULL ? st_types_encode(types, count, &size) : NULL;
    status = bytes != NULL ? section_found(store, "types", bytes, size) : no_memory(store);
    free(bytes);
  }
  if (status == VEIL_OK && veil_description_roots_changed(store->description)) {
    const veil_root_described *roots;
    size_t count = veil_description_roots(store->description, &roots), size = 0;
    void *bytes = roots != NULL ? st_roots_encode(roots, count, &size) : NULL;
    status = bytes != NULL ? section_found(store, "roots", bytes, size) : no_memory(store);
    free(bytes);
  }
  return status;
}

static bool gone_add(st_change *c, uint64_t page) {
  if (c->gone_count != 0 && c->gone[c->gone_count - 1].first + c->gone[c->gone_count - 1].count == page) {
    c->gone[c->gone_count - 1].count++;
    return true;
  }
  if (c->gone_count == c->gone_room) {
    size_t room = 2 * c->gone_room + 64;
    struct st_gone *gone = realloc(c->gone, room * sizeof *gone);
    if (gone == NULL) {
      return false;
    }
    c->gone = gone;
    c->gone_room = room;
  }
  c->gone[c->gone_count++] = (struct st_gone){page, 1};
  return true;
}

static veil_status gone_find(veil_store *store) {
  st_change *c = &store->change;
  c->gone_count = 0;
  if (!c->looked || STORE_BREAK == STORE_BREAK_GONE) {
    return VEIL_OK;
  }
  for (size_t page = 0; page < store->has_top; page++) {
    if (page % 8 == 0 && store->has[page / 8] == 0) {
      page += 7;
    } else if (st_bit(store->has, page) && !veil_description_has(store->description, page) && !gone_add(c, page)) {
      return no_memory(store);
    }
  }
  return VEIL_OK;
}

// ---- The record.

static void words_add(st_change *c, size_t words) {
  VM_CHECK((c->words + words) * sizeof *c->record <= c->record_bytes, "a record of %zu words", c->words + words);
  c->words += words;
}

size_t st_change_add(st_change *c, size_t page, const void *was, const void *now, size_t page_size) {
  VM_CHECK((c->words + st_page_words(page_size)) * sizeof *c->record <= c->record_bytes, "a record of %zu words", c->words);
  size_t words = st_page_write(c->record + c->words, page, was, now, page_size, &c->changed);
  c->words += words;
  c->items += words != 0;
  return words;
}

static bool is_zero(const char *page, size_t page_size) { return page[0] == 0 && memcmp(page, page + 1, page_size - 1) == 0; }

// st.gone: a page that has come into use and holds zeros, as before, is named as well. `*last`: the run that was written last.
static void zeros_write(st_change *c, uint64_t page, uint64_t **last) {
  if (*last != NULL && c->zeros_next == page) {
    (*last)[1]++;
  } else {
    *last = c->record + c->words;
    words_add(c, ST_GONE_WORDS);
    st_gone_write(*last, page, 1);
  }
  c->zeros_next = page + 1;
  c->items++;
}

static size_t copy_find(const st_change *c, size_t first, size_t limit, size_t page) {
  while (first < limit) {
    size_t middle = (first + limit) / 2;
    if (c->pages[middle] < page) {
      first = middle + 1;
    } else {
      limit = middle;
    }
  }
  return first;
}

// Contents of a page at the instant: what was not written since is as it was committed. NULL with the error set.
static const void *contents_then(void *arg, size_t page) {
  veil_store *store = arg;
  const st_change *c = &store->change;
  size_t n = copy_find(c, 0, c->count, page);
  return n < c->count && c->pages[n] == page ? st_change_copy(c, n, store->pages.page_size) : st_contents_page(store->contents, page);
}

// st.blank: where there was anything transient at the instant all pages were copied (pages_take). A type that a thread has brought since has no object in them.
static veil_status pages_blank(veil_store *store) {
  const st_change *c = &store->change;
  veil_status status = VEIL_OK;
  for (size_t i = 0; c->blanks && i < c->count && status == VEIL_OK; i++) {
    status = veil_description_blank(store->description, c->pages[i], st_change_copy(c, i, store->pages.page_size), contents_then, store);
  }
  return status;
}

static bool is_too_long(const veil_store *store) { return store->log != NULL && store->change.words * sizeof *store->change.record > st_log_most(store->log); }

// What was copied is compared now.
static veil_status pages_write(veil_store *store) {
  st_change *c = &store->change;
  size_t page_size = store->pages.page_size;
  uint64_t *zeros = NULL;
  for (size_t i = 0; i < c->count; i++) {
    if (is_too_long(store)) { // the image wants pages as a whole
      c->changed += (c->count - i) * page_size;
      break;
    }
    char *now = st_change_copy(c, i, page_size);
    const void *was = c->copied[i] ? st_contents_page(store->contents, c->pages[i]) : NULL;
    if (!c->copied[i]) {
      continue;
    }
    if (was == NULL) {
      return VEIL_IO;
    }
    size_t words = st_change_add(c, c->pages[i], was, now, page_size);
    c->places[i] = words != 0 ? c->words + 1 - words : 0;
    if (words == 0 && !st_bit(store->has, c->pages[i]) && is_zero(now, page_size)) {
      zeros_write(c, c->pages[i], &zeros);
      c->places[i] = ZEROS;
    }
  }
  return VEIL_OK;
}

static void sections_write(st_change *c) {
  for (size_t i = 0; i < c->sections.count; i++) {
    const st_section *s = &c->sections.at[i];
    uint64_t *to = c->record + c->words;
    words_add(c, st_section_words(s->name, s->bytes != NULL ? s->size : 0));
    st_section_write(to, s->name, s->bytes, s->size);
  }
}

// Who fails has nothing changed that was committed, and owes what he has found.
veil_status st_change_compose(veil_store *store) {
  st_change *c = &store->change;
  veil_status status = veil_description_changes(store->description, section_found, store);
  status = status == VEIL_OK ? named_find(store) : status;
  status = status == VEIL_OK ? gone_find(store) : status;
  if (status == VEIL_OK && !st_sections_reserve(&store->sections, &c->sections)) {
    status = no_memory(store);
  }
  if (status != VEIL_OK) {
    return status;
  }
  for (size_t i = 0; i < c->gone_count; i++) { // nothing of them is in the record
    uint64_t *to = c->record + c->words;
    words_add(c, ST_GONE_WORDS);
    st_gone_write(to, c->gone[i].first, c->gone[i].count);
    c->items += c->gone[i].count;
  }
  status = pages_blank(store);
  status = status != VEIL_OK || store->moved_away ? status : pages_write(store);
  if (status == VEIL_OK) {
    sections_write(c);
  }
  return status;
}

// ---- It is committed.

static void has_set(veil_store *store, size_t page, bool has) {
  if (has && page >= store->has_top) {
    store->has_top = page + 1;
  }
  st_bit_set(store->has, page, has);
}

static void items_note(veil_store *store, const uint64_t *record, uint64_t sequence) {
  const st_change *c = &store->change;
  for (size_t i = 0; i < c->gone_count; i++) {
    for (uint64_t n = 0; n < c->gone[i].count; n++) {
      st_contents_gone(store->contents, c->gone[i].first + n, sequence);
    }
  }
  for (size_t i = 0; i < c->count; i++) {
    if (c->places[i] == ZEROS) {
      st_contents_gone(store->contents, c->pages[i], sequence);
    } else if (c->places[i] != 0) {
      st_contents_note(store->contents, c->pages[i], record + c->places[i] - 1, sequence);
    }
  }
}

void st_change_apply(veil_store *store, const uint64_t *record, uint64_t sequence) {
  st_change *c = &store->change;
  for (size_t i = 0; i < c->gone_count; i++) {
    for (uint64_t n = 0; n < c->gone[i].count; n++) {
      has_set(store, c->gone[i].first + n, false);
      st_contents_forget(store->contents, c->gone[i].first + n);
    }
  }
  for (size_t i = 0; i < c->count; i++) {
    has_set(store, c->pages[i], true);
    if (record == NULL) {
      st_contents_forget(store->contents, c->pages[i]);
    }
  }
  if (record != NULL) {
    items_note(store, record, sequence);
  }
  st_sections_move(&store->sections, &c->sections, record == NULL); // compose has made room: what is durable is not forgotten for lack of memory
  c->looked = false;
  c->gone_count = 0;
}

// The image wants pages as a whole, and the record of those that were compared in the stop has only what differs.
static veil_status copies_complete(veil_store *store) {
  st_change *c = &store->change;
  veil_status status = VEIL_OK;
  pthread_mutex_lock(&store->contents_lock);
  for (size_t i = 0; i < c->count && status == VEIL_OK; i++) {
    if (!c->copied[i]) {
      char *copy = st_change_copy(c, i, store->pages.page_size);
      status = st_contents_read(store->contents, c->pages[i], copy);
      if (status == VEIL_OK && c->places[i] != 0) {
        st_page_apply(c->record + c->places[i] - 1, copy);
      }
      c->copied[i] = status == VEIL_OK;
    }
  }
  pthread_mutex_unlock(&store->contents_lock);
  return status;
}

static veil_status through_image(veil_store *store, uint64_t *logged) {
  veil_status status = copies_complete(store);
  if (status != VEIL_OK) {
    return status;
  }
  st_fold_begin(store);
  status = st_fold(store, &store->change, false);
  st_fold_end(store);
  *logged = 0;
  return status;
}

// Room in the log for the record, which is then there, or has to be had by a fold.
static bool appended(veil_store *store, uint64_t *logged) {
  st_change *c = &store->change;
  size_t bytes = c->words * sizeof *c->record;
  pthread_mutex_lock(&store->contents_lock);
  uint64_t *room = (uint64_t *)(void *)st_log_room(store->log, bytes);
  if (room != NULL) {
    memcpy(room, c->record, bytes);
    st_log_place place = st_log_append(store->log, bytes);
    st_change_apply(store, room, place.sequence);
    *logged = bytes + ST_LOG_RECORD;
    at_store(&store->log_used, st_log_used(store->log));
  }
  pthread_mutex_unlock(&store->contents_lock);
  return room != NULL;
}

veil_status st_change_commit(veil_store *store, uint64_t *logged) {
  st_change *c = &store->change;
  if (store->log == NULL || store->moved_away || is_too_long(store)) {
    return through_image(store, logged);
  }
  if (c->words == 0) {
    pthread_mutex_lock(&store->contents_lock);
    st_change_apply(store, c->record, 0);
    pthread_mutex_unlock(&store->contents_lock);
    return VEIL_OK;
  }
  bool reserved;
  pthread_mutex_lock(&store->contents_lock);
  reserved = st_contents_reserve(store->contents, c->items);
  pthread_mutex_unlock(&store->contents_lock);
  if (!reserved) {
    return no_memory(store);
  }
  while (!appended(store, logged)) {
    pthread_mutex_lock(&store->lock);
    store->figures.commit_waits++;
    pthread_mutex_unlock(&store->lock);
    st_fold_begin(store);
    veil_status status = st_fold(store, NULL, false);
    st_fold_end(store);
    if (status != VEIL_OK) {
      return status;
    }
  }
  return VEIL_OK;
}
