// SPDX-License-Identifier: MIT
// open.c: making, opening and closing stores.
//
// Neighbours: veil/store.h is for programs. source.c is what the heap is opened from. One thread, until the store is open.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/described.h"
#include "runtime/error.h"
#include "runtime/image/file.h"
#include "runtime/store/inner.h"
#include "runtime/store/record.h"
#include "runtime/store/types.h"
#include "vm/check.h"
#include "vm/os.h"

enum { LOG_DEFAULT = 64 << 20, LOG_LEAST = 1 << 20, CACHE_DEFAULT = 128 << 20, CACHE_LEAST = 1 << 20, COMPACT_LEAST = 101 };

// ---- Memory.

// The program may go to another folder later.
static char *path_join(const char *path, const char *end) {
  char here[PATH_MAX];
  bool whole = path[0] == '/' || getcwd(here, sizeof here) == NULL;
  size_t bytes = strlen(path) + strlen(end) + (whole ? 0 : strlen(here)) + 2;
  char *out = malloc(bytes);
  if (out != NULL) {
    snprintf(out, bytes, "%s%s%s%s", whole ? "" : here, whole ? "" : "/", path, end);
  }
  return out;
}

static void store_free(veil_store *store) {
  if (store == NULL) {
    return;
  }
  st_change_close(store);
  if (store->has != NULL) {
    os_unmap(store->has, store->pages.count / 8 + 1);
  }
  st_source_close(store->source);
  st_contents_close(store->contents);
  st_sections_free(&store->sections);
  st_zeros_free(&store->zeros);
  rt_image_free(store->image);
  rt_image_close(store->writer);
  st_log_close(store->log);
  if (store->read_lock >= 0) {
    store->io->close(store->io->context, store->read_lock);
  }
  pthread_mutex_destroy(&store->lock);
  pthread_mutex_destroy(&store->contents_lock);
  for (int i = 0; i < ST_TURNS; i++) {
    pthread_cond_destroy(&store->turn[i]);
  }
  pthread_cond_destroy(&store->folder_wanted);
  pthread_cond_destroy(&store->happened);
  free(store->path);
  free(store->log_path);
  free(store);
}

static const char *options_wrong(const char *path, const veil_store_options *o) {
  if (path == NULL || *path == 0) {
    return "no path";
  }
  if (o->mode != VEIL_STORE_ANY && o->mode != VEIL_STORE_EXISTING && o->mode != VEIL_STORE_NEW && o->mode != VEIL_STORE_READ_ONLY) {
    return "an unknown mode";
  }
  if (o->log != 0 && o->log < LOG_LEAST) {
    return "a log of less than 1 MiB";
  }
  if (o->cache != 0 && o->cache < CACHE_LEAST) {
    return "a cache of less than 1 MiB";
  }
  if (o->compact != 0 && o->compact < COMPACT_LEAST) {
    return "a compaction at less than 101 percent";
  }
  return NULL;
}

enum { STOP_BYTES = 16 << 20 }; // some 4 ms

static veil_store *store_new(const char *path, const veil_store_options *options, const rt_image_io *io) {
  const char *wrong = options_wrong(path, options);
  if (wrong != NULL) {
    rt_error_set("veil_store_open: %s", wrong);
    return NULL;
  }
  veil_store *store = calloc(1, sizeof *store);
  if (store == NULL) {
    rt_error_set("veil_store_open: no memory");
    return NULL;
  }
  store->options = *options;
  store->options.log = options->log != 0 ? options->log : LOG_DEFAULT;
  store->options.cache = options->cache != 0 ? options->cache : CACHE_DEFAULT;
  store->io = io != NULL ? io : &rt_image_io_system;
  store->process = getpid();
  store->read_lock = -1;
  pthread_mutex_init(&store->lock, NULL);
  pthread_mutex_init(&store->contents_lock, NULL);
  for (int i = 0; i < ST_TURNS; i++) {
    pthread_cond_init(&store->turn[i], NULL);
  }
  pthread_cond_init(&store->folder_wanted, NULL);
  store->stop_bytes = STOP_BYTES;
  pthread_cond_init(&store->happened, NULL);
  store->path = path_join(path, "");
  store->log_path = path_join(path, ".log");
  if (store->path == NULL || store->log_path == NULL) {
    rt_error_set("veil_store_open: no memory");
    store_free(store);
    return NULL;
  }
  return store;
}

// The heap's pages are known.
static bool tables_open(veil_store *store) {
  store->has = os_map_private(store->pages.count / 8 + 1);
  if (store->contents == NULL) {
    store->contents = st_contents_open(store->pages.page_size, store->pages.count, store->options.cache);
  }
  if (store->has == NULL || store->contents == NULL || !st_change_open(store)) {
    rt_error_set("veil_store_open: %s: no memory", store->path);
    return false;
  }
  return true;
}

// ---- The heap's end of it.

static bool service_open(veil_store *store) {
  store->service = veil_service_open(store->heap, "store", &st_service, store);
  if (store->service == NULL) {
    return false;
  }
  veil_service_keep_in_place(store->service, true);
  return true;
}

static bool folder_start(veil_store *store) {
  int error = os_thread_start(&store->folder, st_folder_main, store);
  if (error != 0) {
    rt_error_set("veil_store_open: no thread: %s", strerror(error < 0 ? -error : error));
    return false;
  }
  store->folder_runs = true;
  return true;
}

static void folder_stop(veil_store *store) {
  if (store->folder_runs) {
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->folder_wanted);
    pthread_mutex_unlock(&store->lock);
    os_thread_join(store->folder);
    store->folder_runs = false;
  }
}

static void heap_close(veil_store *store) {
  if (store->service != NULL) {
    veil_service_close(store->service);
  }
  veil_description_close(store->description);
  if (store->heap != NULL) {
    veil_close(store->heap);
  }
  store->service = NULL;
  store->description = NULL;
  store->heap = NULL;
}

// ---- Making one.

static bool log_is_missing(const veil_store *store) {
  uint64_t identity[2];
  return store->io->identity(store->io->context, store->log_path, identity) == -ENOENT;
}

// The first file of a store is gone, and the other is there. In a log that was made and never used there is nothing to lose: a crash has left it while the store was made.
static veil_status log_replaceable(const veil_store *store) {
  bool unused;
  if (log_is_missing(store)) {
    return VEIL_OK;
  }
  veil_status status = st_log_is_unused(store->log_path, store->io, &unused);
  if (status == VEIL_BUSY || status == VEIL_NO_MEMORY || (status == VEIL_OK && unused)) {
    return status;
  }
  char why[ST_ERROR];
  snprintf(why, sizeof why, "%s%s%s", status != VEIL_OK ? " (" : "", status != VEIL_OK ? veil_error() : "", status != VEIL_OK ? ")" : "");
  rt_error_set("%s: is not there, but its log is, %s, and may have commits%s: put the file back to recover them, or remove the log to begin anew", store->path, store->log_path, why);
  return VEIL_IO;
}

// The image's lock is had first, under the name that it has until it is whole: so nobody else makes the store, or its log, meanwhile.
static veil_status files_make(veil_store *store) {
  store->pages = veil_heap_pages(store->heap);
  rt_image_options options = {.io = store->io};
  rt_image_layout layout = {.page_size = (uint32_t)store->pages.page_size, .base = (uint64_t)(uintptr_t)store->pages.base, .span = store->pages.count * store->pages.page_size};
  uint64_t identity[2];
  veil_status status = rt_image_create(&store->writer, store->path, &layout, &options);
  if (status != VEIL_OK) {
    store->writer = NULL;
    return status;
  }
  if (store->io->identity(store->io->context, store->path, identity) == 0) {
    rt_error_set("%s: somebody else has just made it", store->path);
    return VEIL_BUSY;
  }
  store->first = (st_log_place){.sequence = 1};
  st_log *log;
  status = log_replaceable(store);
  if (status != VEIL_OK) {
    return status;
  }
  status = st_log_create(&log, store->log_path, store->id, store->options.log, &store->first, store->io);
  if (status != VEIL_OK) {
    return status;
  }
  if (!tables_open(store) || !service_open(store)) {
    st_log_close(log);
    return VEIL_NO_MEMORY;
  }
  store->all_read = true;
  // The first commit, of the empty heap, is the image's first version.
  status = veil_store_commit_async(store, &(uint64_t){0});
  store->log = log;
  store->durable = store->appended;
  return status;
}

// Far from where the system maps things, and another one for each store: so it is free in the next run, too, or pages have to be relocated.
static void *base_choose(const veil_store *store) {
#ifdef VEIL_TSAN
  (void)store;
  return NULL; // its shadow lies there
#else
  enum { SLOTS = 252 };
  const uint64_t first = (uint64_t)16 << 40, step = (uint64_t)256 << 30;
  return (void *)(uintptr_t)(first + store->id[0] % SLOTS * step);
#endif
}

static bool store_make(veil_store *store, const veil_options *options) {
  if (!st_mark_new(store->path, store->id)) {
    return false;
  }
  store->heap = veil_open_at(options, base_choose(store));
  return store->heap != NULL && files_make(store) == VEIL_OK && folder_start(store);
}

// ---- Opening one.

// What belongs to the mark is right, or the error says what is not.
static veil_status mark_read(veil_store *store, st_mark *mark) {
  veil_status status = st_mark_read(store->image, store->path, mark);
  if (status == VEIL_OK) {
    memcpy(store->id, mark->id, sizeof store->id);
  }
  return status == VEIL_INVALID ? VEIL_UNSUPPORTED : status;
}

static bool named_load(veil_store *store) {
  size_t types = 0, roots = 0, type_bytes = 0, root_bytes = 0;
  veil_type_described *t = rt_types_of_image(store->image, &types);
  veil_root_described *r = rt_roots_of_image(store->image, &roots);
  void *tb = t != NULL ? st_types_encode(t, types, &type_bytes) : NULL, *rb = r != NULL ? st_roots_encode(r, roots, &root_bytes) : NULL;
  bool good = tb != NULL && rb != NULL && st_section_set(&store->sections, "types", strlen("types"), tb, type_bytes, true) &&
              st_section_set(&store->sections, "roots", strlen("roots"), rb, root_bytes, true);
  free(tb);
  free(rb);
  free(t);
  free(r);
  return good;
}

static veil_status sections_load(veil_store *store) {
  const char *name;
  bool good = named_load(store);
  for (size_t i = 0; good && (name = rt_image_section_name(store->image, i)) != NULL; i++) {
    const void *bytes;
    size_t size;
    if (strcmp(name, "types") != 0 && strcmp(name, "roots") != 0 && strcmp(name, ST_MARK_SECTION) != 0 && rt_image_section(store->image, name, &bytes, &size) == VEIL_OK) {
      good = st_section_set(&store->sections, name, strlen(name), bytes, size, true);
    }
  }
  if (!good) {
    rt_error_set("%s: no memory for its sections", store->path);
  }
  return good ? VEIL_OK : VEIL_NO_MEMORY;
}

static veil_status record_found(void *arg, st_log_place place, const char *bytes, size_t size) {
  veil_store *store = arg;
  const uint64_t *at = (const uint64_t *)(const void *)bytes, *limit = at + size / sizeof *at;
  const rt_image_info *info = rt_image_info_of(store->image);
  size_t page_size = info->layout.page_size;
  while (at < limit) {
    st_item item;
    if (!st_item_read(&at, limit, page_size, info->layout.span / page_size, &item)) {
      rt_error_set("%s: record %llu is damaged", store->log_path, (unsigned long long)place.sequence);
      return VEIL_IO;
    }
    bool good = true;
    if (item.kind == ST_PAGE) {
      good = st_contents_reserve(store->contents, 1);
      if (good) {
        st_contents_note(store->contents, item.value, item.at, place.sequence);
      }
    } else if (item.kind == ST_GONE) {
      good = st_zeros_found(store, item.value, item.count, place.sequence);
    } else {
      good = st_section_set(&store->sections, item.name, item.name_length, item.kind == ST_SECTION ? item.bytes : NULL, item.value, false);
    }
    if (!good) {
      rt_error_set("%s: no memory for what it has", store->log_path);
      return VEIL_NO_MEMORY;
    }
  }
  return VEIL_OK;
}

static veil_status log_open(veil_store *store, st_mark *mark) {
  bool writes = store->options.mode != VEIL_STORE_READ_ONLY;
  if (!log_is_missing(store)) {
    return st_log_open(&store->log, store->log_path, store->id, mark->place, writes, record_found, store, store->io);
  }
  if (!mark->closed) {
    rt_error_set("%s: its log, %s, is missing, which has commits that it has not", store->path, store->log_path);
    return VEIL_IO;
  }
  // The new one begins elsewhere: mark_open says where.
  return writes ? st_log_create(&store->log, store->log_path, store->id, store->options.log, &mark->place, store->io) : VEIL_OK;
}

// From here on the log is needed. So says the image, before anything is in it.
static veil_status mark_open(veil_store *store, st_log_place tail) {
  veil_status status = rt_image_begin(store->writer);
  status = status == VEIL_OK ? st_mark_put(store->writer, store->id, tail, tail.sequence, false) : status;
  return status == VEIL_OK ? rt_image_commit(store->writer, NULL) : status;
}

// st.redo: without the rest of them, what the image has of them is of no commit.
static veil_status log_is_whole(const veil_store *store, const st_mark *mark) {
  uint64_t next = store->log != NULL ? st_log_tail(store->log).sequence : mark->place.sequence;
  if (next < mark->upto && STORE_BREAK != STORE_BREAK_UPTO) {
    rt_error_set("%s: damaged: record %llu is not whole, and the image has something of record %llu", store->log_path, (unsigned long long)next,
                 (unsigned long long)mark->upto - 1);
    return VEIL_IO;
  }
  return VEIL_OK;
}

static void figures_begin(veil_store *store) {
  const rt_image_info *info = rt_image_info_of(store->image);
  store->figures.image_bytes = info->file;
  store->figures.image_needed = info->needed;
  at_store(&store->log_used, store->log != NULL ? st_log_used(store->log) : 0);
}

// What a process that was killed while it made a file has left of it (im.new): the file would lie there until the next one is made. Who makes it has the lock that we have.
static void left_remove(const veil_store *store, const char *path) {
  uint64_t identity[2];
  char *beside = path_join(path, ".new");
  if (beside != NULL && store->io->identity(store->io->context, beside, identity) == 0) {
    store->io->unlink(store->io->context, beside);
  }
  free(beside);
}

static veil_status image_open(veil_store *store, st_mark *mark) {
  rt_image_options options = {.io = store->io};
  bool writes = store->options.mode != VEIL_STORE_READ_ONLY;
  veil_status status;
  if (writes) {
    status = rt_image_append(&store->writer, store->path, &options); // with its lock
    store->writer = status == VEIL_OK ? store->writer : NULL;
  } else { // the log may be missing, or change between the two
    status = rt_image_open_locked(&(image_file){.io = store->io, .fd = -1, .path = store->path}, store->path, O_RDONLY, false, &store->read_lock);
  }
  if (status != VEIL_OK) {
    return status;
  }
  status = rt_image_open(&store->image, store->path, &options);
  status = status == VEIL_OK ? mark_read(store, mark) : status;
  if (status == VEIL_OK && rt_image_info_of(store->image)->fallen_back) { // its place in the log may be written over
    rt_error_set("%s: %s", store->path, rt_image_info_of(store->image)->damage);
    status = VEIL_IO;
  }
  if (status != VEIL_OK) {
    return status;
  }
  const rt_image_layout *layout = &rt_image_info_of(store->image)->layout;
  store->pages.page_size = layout->page_size;
  store->contents = st_contents_open(layout->page_size, layout->span / layout->page_size, store->options.cache);
  if (store->contents == NULL) {
    rt_error_set("%s: no memory", store->path);
    return VEIL_NO_MEMORY;
  }
  st_contents_image(store->contents, store->image);
  status = sections_load(store);
  status = status == VEIL_OK ? log_open(store, mark) : status;
  status = status == VEIL_OK ? log_is_whole(store, mark) : status;
  st_zeros_sort(&store->zeros);
  if (status == VEIL_OK && writes) {
    left_remove(store, store->path);
    left_remove(store, store->log_path);
  }
  if (status == VEIL_OK) {
    figures_begin(store);
  }
  if (status == VEIL_OK && mark->closed && writes) {
    status = mark_open(store, mark->place);
    rt_image *again = NULL;
    status = status == VEIL_OK ? rt_image_open(&again, store->path, &options) : status;
    if (status == VEIL_OK) {
      rt_image_free(store->image);
      store->image = again;
      st_contents_image(store->contents, again);
    }
  }
  return status;
}

// What the heap holds is what was committed: nothing is news but what is written from here on.
static void in_use(void *arg, size_t page) {
  veil_store *store = arg;
  st_bit_set(store->has, page, true);
  store->has_top = page + 1;
}

static bool heap_open(veil_store *store, const veil_options *options) {
  const rt_image_layout *layout = &rt_image_info_of(store->image)->layout;
  veil_source source = {.name = store->path, .base = layout->base, .span = layout->span, .page_size = layout->page_size, .elsewhere = store->options.elsewhere, .drop_finalizers = store->options.drop_finalizers};
  store->source = st_source_open(store, store->image);
  if (store->source == NULL) {
    rt_error_set("%s: no memory", store->path);
    return false;
  }
  if (!st_source_describe(store->source, store, &source)) {
    return false;
  }
  store->heap = veil_open_from(options, &source, store->options.types, store->options.type_count);
  if (store->heap == NULL) {
    return false;
  }
  store->pages = veil_heap_pages(store->heap);
  if (store->pages.count != layout->span / layout->page_size) { // records may name any of them
    rt_error_set("%s: its span is not that of the heap that it describes", store->path);
    return false;
  }
  if (!tables_open(store)) {
    return false;
  }
  if (store->options.mode == VEIL_STORE_READ_ONLY) {
    return true;
  }
  if (!service_open(store)) {
    return false;
  }
  veil_service_dirty(store->service, in_use, store);
  if (!st_zeros_settle(store)) {
    return false;
  }
  store->moved_away = !veil_source_is_kept(store->heap); // after that: what a cycle writes from now on is news
  return true;
}

static bool store_open(veil_store *store, const veil_options *options) {
  st_mark mark;
  return image_open(store, &mark) == VEIL_OK && heap_open(store, options) && (store->options.mode == VEIL_STORE_READ_ONLY || folder_start(store));
}

veil_store *rt_store_open(const char *path, const veil_options *options, const veil_store_options *wanted, const rt_image_io *io) {
  static const veil_store_options none = {0};
  veil_store *store = store_new(path, wanted != NULL ? wanted : &none, io);
  if (store == NULL) {
    return NULL;
  }
  uint64_t identity[2];
  bool there = store->io->identity(store->io->context, store->path, identity) == 0, opened = false;
  veil_store_mode mode = store->options.mode;
  if (there ? mode == VEIL_STORE_NEW : mode == VEIL_STORE_EXISTING || mode == VEIL_STORE_READ_ONLY) {
    rt_error_set("veil_store_open: %s: there is %s", store->path, there ? "one already" : "no such file");
  } else {
    opened = there ? store_open(store, options) : store_make(store, options);
  }
  if (!opened) {
    char why[ST_ERROR];
    snprintf(why, sizeof why, "%s", veil_error());
    folder_stop(store);
    heap_close(store);
    store_free(store);
    rt_error_set("%s", why);
    return NULL;
  }
  return store;
}

ST_EXPORT veil_store *veil_store_open(const char *path, const veil_options *options, const veil_store_options *store) { return rt_store_open(path, options, store, NULL); }

ST_EXPORT veil_heap *veil_store_heap(veil_store *store) { return store->heap; }

ST_EXPORT veil_status veil_store_close(veil_store *store) {
  if (store == NULL) {
    return VEIL_OK;
  }
  if (st_process_gone(store)) {
    heap_close(store);
    return VEIL_OK; // the files are the parent's, and its threads may have had the locks
  }
  bool writes = store->options.mode != VEIL_STORE_READ_ONLY;
  folder_stop(store);
  heap_close(store); // and nobody reads what is away
  veil_status status = writes ? st_write_all(store) : VEIL_OK;
  if (writes && status == VEIL_OK) {
    st_fold_begin(store);
    status = st_fold(store, NULL, true);
    if (status == VEIL_OK && st_compact_is_due(store, 2)) { // who is never open for long has no background
      st_compact(store, false); // if it fails, the store is closed all the same
    }
    st_fold_end(store);
  }
  char why[ST_ERROR];
  snprintf(why, sizeof why, "%s", status != VEIL_OK ? veil_error() : "");
  store_free(store);
  if (status != VEIL_OK) {
    rt_error_set("%s", why);
  }
  return status;
}
