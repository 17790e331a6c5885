// SPDX-License-Identifier: MIT
// inspect.c: see inspect.h.

#include "runtime/store/inspect.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/image/file.h"
#include "runtime/store/record.h"
#include "runtime/store/types.h"

bool st_inspect_is_store(const rt_image *image) {
  const void *bytes;
  size_t size;
  return rt_image_section(image, ST_MARK_SECTION, &bytes, &size) == VEIL_OK;
}

static char *log_path_of(const char *path) {
  size_t bytes = strlen(path) + sizeof ".log";
  char *out = malloc(bytes);
  if (out != NULL) {
    snprintf(out, bytes, "%s.log", path);
  } else {
    rt_error_set("%s: no memory", path);
  }
  return out;
}

// ---- Records.

typedef struct reading {
  st_inspection *s;
  uint64_t *pages; // of items, in the order of records
  size_t room;
} reading;

static bool page_note(reading *r, uint64_t page) {
  if (r->s->records.page_items == r->room) {
    size_t room = 2 * r->room + 1024;
    uint64_t *pages = realloc(r->pages, room * sizeof *pages);
    if (pages == NULL) {
      return false;
    }
    r->pages = pages;
    r->room = room;
  }
  r->pages[r->s->records.page_items++] = page;
  return true;
}

static veil_status no_memory(const st_inspection *s) {
  rt_error_set("%s: no memory for what it has", s->log_path);
  return VEIL_NO_MEMORY;
}

// Types and roots have a form of their own. `item` is a section.
static bool section_is_good(const st_item *item) {
  size_t count;
  bool types = item->name_length == 5 && memcmp(item->name, "types", 5) == 0, roots = item->name_length == 5 && memcmp(item->name, "roots", 5) == 0;
  if (item->kind != ST_SECTION || (!types && !roots)) {
    return !types && !roots; // both are always there
  }
  void *decoded = types ? (void *)st_types_decode(item->bytes, item->value, &count) : (void *)st_roots_decode(item->bytes, item->value, &count);
  free(decoded);
  return decoded != NULL;
}

static uint64_t values_of(const st_item *item, const uint64_t *limit) {
  size_t words = (size_t)(limit - item->at), runs = (size_t)(item->count * 4 + 7) / 8; // a run is 4 bytes
  return (words - 1 - runs) * sizeof *limit;
}

static veil_status record_seen(void *arg, st_log_place place, const char *bytes, size_t size) {
  reading *r = arg;
  st_inspection *s = r->s;
  const rt_image_layout *layout = &rt_image_info_of(s->image)->layout;
  const uint64_t *start = (const uint64_t *)(const void *)bytes, *at = start, *limit = at + size / sizeof *at;
  while (at < limit) {
    st_item item;
    const uint64_t *from = at;
    if (!st_item_read(&at, limit, layout->page_size, layout->span / layout->page_size, &item) || ((item.kind == ST_SECTION || item.kind == ST_NO_SECTION) && !section_is_good(&item))) {
      rt_error_set("%s: is damaged: record %llu, at byte %llu, has no proper item at byte %zu of it", s->log_path, (unsigned long long)place.sequence, (unsigned long long)place.offset,
                   (size_t)(from - start) * sizeof *from);
      return VEIL_IO;
    }
    if (item.kind == ST_PAGE) {
      s->records.values += values_of(&item, at);
      if (!page_note(r, item.value)) {
        return no_memory(s);
      }
    } else if (item.kind == ST_GONE) {
      s->records.gone_items++;
      s->records.gone += item.count;
    } else {
      s->records.sections++;
    }
  }
  s->records.first = s->records.count == 0 ? place.sequence : s->records.first;
  s->records.count++;
  s->records.bytes += size;
  return VEIL_OK;
}

static int page_order(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void pages_count(reading *r) {
  size_t count = r->s->records.page_items;
  if (count != 0) {
    qsort(r->pages, count, sizeof *r->pages, page_order);
  }
  for (size_t i = 0; i < count; i++) {
    r->s->records.pages += i == 0 || r->pages[i] != r->pages[i - 1];
  }
}

// ---- The log.

static veil_status log_end(st_inspection *s) {
  uint64_t next = st_log_tail(s->log).sequence;
  s->log_bytes = st_log_bytes(s->log);
  s->log_used = st_log_used(s->log);
  veil_status status = st_log_end_look(s->log, &s->end);
  if (status == VEIL_OK && next < s->mark.upto) { // st.redo
    rt_error_set("%s: is damaged: record %llu is not whole, and the image has something of record %llu", s->log_path, (unsigned long long)next, (unsigned long long)s->mark.upto - 1);
    status = VEIL_IO;
  }
  return status;
}

static veil_status log_read(st_inspection *s, const char *path) {
  uint64_t identity[2];
  reading r = {.s = s};
  s->log_there = s->io->identity(s->io->context, s->log_path, identity) != -ENOENT;
  s->records.first = s->mark.place.sequence;
  if (!s->log_there && s->mark.closed) {
    return VEIL_OK;
  }
  if (!s->log_there) {
    rt_error_set("%s: its log, %s, is missing, which may have commits that it has not", path, s->log_path);
    return VEIL_IO;
  }
  veil_status status = st_log_open(&s->log, s->log_path, s->mark.id, s->mark.place, false, record_seen, &r, s->io);
  if (status == VEIL_OK) {
    pages_count(&r);
    status = log_end(s);
  }
  free(r.pages);
  return status;
}

veil_status st_inspect(const char *path, const rt_image_io *io, st_inspection *out) {
  *out = (st_inspection){.lock = -1, .io = io != NULL ? io : &rt_image_io_system, .log_path = log_path_of(path)};
  rt_image_options options = {.io = out->io};
  image_file file = {.io = out->io, .fd = -1, .path = (char *)path};
  veil_status status = out->log_path != NULL ? rt_image_open_locked(&file, path, O_RDONLY, false, &out->lock) : VEIL_NO_MEMORY;
  status = status == VEIL_OK ? rt_image_open(&out->image, path, &options) : status;
  if (status != VEIL_OK) {
    out->image = NULL;
    return status;
  }
  status = st_mark_read(out->image, path, &out->mark);
  if (status != VEIL_OK) {
    return status;
  }
  out->log_status = log_read(out, path);
  if (out->log_status == VEIL_BUSY || out->log_status == VEIL_NO_MEMORY) {
    return out->log_status;
  }
  if (out->log_status == VEIL_OK && rt_image_info_of(out->image)->fallen_back) { // its place in the log may be written over
    rt_error_set("%s: %s; a store takes no older one", path, rt_image_info_of(out->image)->damage);
    out->log_status = VEIL_IO;
  }
  snprintf(out->why, sizeof out->why, "%s", out->log_status != VEIL_OK ? veil_error() : "");
  return VEIL_OK;
}

void st_inspect_close(st_inspection *s) {
  rt_image_free(s->image);
  st_log_close(s->log);
  if (s->lock >= 0) {
    s->io->close(s->io->context, s->lock);
  }
  free(s->log_path);
  *s = (st_inspection){.lock = -1};
}

// ---- Compaction.

veil_status st_inspect_compact(const char *path, const rt_image_io *io, rt_image_progress *progress, void *arg) {
  rt_image_options options = {.io = io != NULL ? io : &rt_image_io_system};
  char *log_path = log_path_of(path);
  if (log_path == NULL) {
    return VEIL_NO_MEMORY;
  }
  image_file file = {.io = options.io, .fd = -1, .path = log_path};
  veil_status status = rt_image_open_locked(&file, log_path, O_RDWR, true, &file.fd);
  status = status == VEIL_OK ? rt_image_compact(path, NULL, &options, progress, arg) : status;
  if (file.fd >= 0) {
    options.io->close(options.io->context, file.fd);
  }
  free(log_path);
  return status;
}
