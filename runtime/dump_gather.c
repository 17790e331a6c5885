// SPDX-License-Identifier: MIT
// dump_gather.c: lists objects, roots, links and entries of weak tables into memory of its own, while the world is
// stopped.
//
// Neighbours: gc/census.c finds them, dump.c stops the world, dump_file.c writes what was gathered. The thread that
// stopped the world, and helpers that were started before: several threads stop the program for less time, and each has
// a stream of its own. Nothing here calls malloc, which a stopped thread may be in.

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "gc/census.h"
#include "gc/links.h"
#include "gc/scan.h"
#include "gc/young.h"
#include "runtime/dump.h"
#include "runtime/futex.h"

// ---- Memory.

// Most streams are short. One that is not goes on in huge pages, if the system has any: fewer faults in the stop.
enum { CHUNK_FIRST = 64 << 10, CHUNK = 2 << 20 };

static rt_dump_chunk *chunk_new(size_t bytes) {
  rt_dump_chunk *chunk = os_map_private(bytes);
  if (chunk != NULL) {
    if (bytes == CHUNK) {
      madvise(chunk, bytes, MADV_HUGEPAGE); // a wish
    }
    chunk->size = bytes;
  }
  return chunk;
}

static void chunk_use(rt_dump_out *out, rt_dump_chunk *chunk) {
  out->at = chunk->bytes;
  out->limit = (unsigned char *)chunk + chunk->size;
}

void rt_dump_grow(rt_dump_out *out) {
  rt_dump_chunk *chunk = out->failed ? NULL : chunk_new(CHUNK);
  if (chunk == NULL) {
    out->failed = true; // what comes now is for nothing, and goes over what was there
    chunk_use(out, out->last);
    return;
  }
  if (out->last != NULL) {
    out->last->used = (size_t)(out->at - out->last->bytes);
    out->last->next = chunk;
  } else {
    out->first = chunk;
  }
  out->last = chunk;
  chunk_use(out, chunk);
}

// Before the world is stopped: from here on there is a place to write to.
static bool out_open(rt_dump_out *out) {
  rt_dump_chunk *chunk = chunk_new(CHUNK_FIRST);
  if (chunk == NULL) {
    return false;
  }
  out->first = out->last = chunk;
  chunk_use(out, chunk);
  return true;
}

static void out_close(rt_dump_out *out) {
  for (rt_dump_chunk *chunk = out->first; chunk != NULL;) {
    rt_dump_chunk *next = chunk->next;
    os_unmap(chunk, chunk->size);
    chunk = next;
  }
  out->first = out->last = NULL;
}

static inline void put_signed(rt_dump_out *out, int64_t n) { rt_dump_put(out, dump_zigzag(n)); }

void rt_dump_put_text(rt_dump_out *out, const char *text) {
  size_t bytes = strlen(text);
  bytes = bytes < 4000 ? bytes : 4000;
  rt_dump_put(out, bytes);
  for (size_t i = 0; i < bytes; i++) {
    if (out->at == out->limit) {
      rt_dump_grow(out);
    }
    *out->at++ = (unsigned char)text[i];
  }
}

// ---- Objects.

static inline void nones_put(rt_dump_worker *w) {
  if (w->none == 1) {
    rt_dump_put(&w->out, DUMP_NONE);
  } else if (w->none > 1) {
    rt_dump_put(&w->out, DUMP_RUN);
    rt_dump_put(&w->out, w->none - 2);
  }
  w->none = 0;
}

static inline void reference_put(rt_dump_worker *w, uintptr_t view) {
  w->references++;
  rt_dump_put(&w->out, DUMP_REFERENCE + dump_zigzag((int64_t)(view - w->object) / 8));
}

static inline void slot_put(rt_dump_worker *w, uintptr_t view) {
  if (!gc_in_heap(w->dump->heap->gc, view)) {
    w->none++;
    return;
  }
  if (w->none != 0) {
    nones_put(w);
  }
  reference_put(w, view & ~(uintptr_t)7);
}

static void slot_visit(void *arg, gc_seen seen, uintptr_t view) {
  (void)seen;
  slot_put(arg, view);
}

// What a callback reports has no fixed places: each slot comes with its own.
static void traced_visit(void *arg, gc_seen seen, uintptr_t view) {
  rt_dump_worker *w = arg;
  const gc_heap *gc = w->dump->heap->gc;
  if (gc_in_heap(gc, view)) {
    size_t offset = gc_view_of(gc, (void *)seen.slot.alias) - w->object;
    rt_dump_put(&w->out, 1 + dump_zigzag((int64_t)(offset - w->traced) / 8));
    reference_put(w, view & ~(uintptr_t)7);
    w->traced = offset;
  }
}

static void slots_put(rt_dump_worker *w, gc_cell cell, uint64_t header, size_t bytes) {
  const gc_type *type = w->type;
  const gc_heap *gc = w->dump->heap->gc;
  char *data = cell.alias + gc_header_bytes(header);
  if (type->layout == GC_LAYOUT_TRACE) {
    w->traced = 0;
    gc_cell_visit(gc, cell, header, cell.alias, cell.alias + bytes, traced_visit, w);
    rt_dump_put(&w->out, 0);
    return;
  }
  w->none = 0;
  if (type->layout == GC_LAYOUT_MAP && !(header & GC_ARRAY)) {
    for (uint32_t i = 0; i < type->count; i++) { // the usual case
      slot_put(w, at_load((AO_t volatile *)(data + type->offsets[i])));
    }
  } else if (type->layout == GC_LAYOUT_DENSE) {
    char *end = data + gc_data_bytes(cell, header);
    for (char *at = data; at < end; at += 8) {
      slot_put(w, at_load((AO_t volatile *)at));
    }
  } else {
    gc_cell_visit(gc, cell, header, cell.alias, cell.alias + bytes, slot_visit, w);
  }
  if (w->none != 0) {
    rt_dump_put(&w->out, DUMP_REST);
  }
}

static void object_put(void *arg, gc_cell cell, uint64_t header) {
  rt_dump_worker *w = arg;
  const gc_heap *gc = w->dump->heap->gc;
  unsigned id = gc_header_type(header);
  if (id != w->type_id) {
    w->type_id = id;
    w->type = gc_type_at(id);
  }
  size_t bytes = gc_cell_size(cell, header);
  w->object = gc_cell_ref(gc, cell, header).view;
  uintptr_t plain = gc_view_of(gc, cell.alias) + 8;
  rt_dump_put(&w->out, (uint64_t)id << DUMP_TYPE_SHIFT | (plain != w->expected ? DUMP_APART : 0) |
                           (header & GC_ARRAY ? DUMP_ARRAY : 0) | (header & GC_EXTRA ? DUMP_HASHED : 0) |
                           (gc_is_young(gc, w->object) ? DUMP_YOUNG : 0));
  if (plain != w->expected) {
    put_signed(&w->out, (int64_t)(plain - w->expected) / 8);
  }
  w->expected = plain + bytes;
  if (header & GC_ARRAY) {
    rt_dump_put(&w->out, gc_cell_length(cell));
  } else if (w->type->sized) {
    // Of a large leaf the census has looked at the first page only.
    gc_before_read(w->dump->heap->gc, cell.alias + w->type->cell - 8, 8);
    rt_dump_put(&w->out, gc_data_bytes(cell, header));
  }
  if (!(header & GC_LEAF)) {
    slots_put(w, cell, header, bytes);
  }
  w->objects++;
  w->bytes += bytes;
}

static void objects_gather(rt_dump_worker *w) {
  while (gc_census_some(&w->dump->census, object_put, w)) {
  }
}

static void *helper_main(void *arg) {
  rt_dump_worker *w = arg;
  rt_dump *dump = w->dump;
  rt_post(&dump->ready);
  while (at32_load_acquire(&dump->go) == 0) {
    rt_wait(&dump->go, 0, 0);
  }
  if (at32_load(&dump->go) == 1) {
    objects_gather(w);
  }
  rt_post(&dump->done);
  return NULL;
}

// Layouts and kinds of tables are written as they are.
_Static_assert((int)GC_LAYOUT_DENSE == (int)DUMP_DENSE && (int)GC_LAYOUT_MAP == (int)DUMP_MAP &&
                   (int)GC_LAYOUT_TAGGED == (int)DUMP_TAGGED && (int)GC_LAYOUT_TRACE == (int)DUMP_TRACED &&
                   (int)GC_LAYOUT_FLEXIBLE == (int)DUMP_FLEXIBLE,
               "layouts");
_Static_assert((int)GC_TABLE_KEYS == (int)DUMP_ENTRY_KEYS && (int)GC_TABLE_VALUES == (int)DUMP_ENTRY_VALUES &&
                   (int)GC_TABLE_BOTH == (int)DUMP_ENTRY_BOTH,
               "tables");

// ---- Roots, links and entries.

// Looks at all names there are, in the stop: so there are not many, and the last ones are not for variables.
static void name_add(rt_dump *dump, uint64_t address, unsigned most) {
  if (address == 0 || dump->named_count >= most) {
    return;
  }
  for (unsigned i = 0; i < dump->named_count; i++) {
    if (dump->named[i] == address) {
      return;
    }
  }
  dump->named[dump->named_count++] = address;
}

static bool is_named(unsigned kind) {
  return kind == DUMP_BY_SLOTS || kind == DUMP_BY_CALLBACK || kind == DUMP_BY_CALLBACK_SLOT ||
         kind == DUMP_BY_FINALIZER_QUEUE;
}

static void root_put(void *arg, const gc_root *root) {
  rt_dump *dump = arg;
  if (dump->holder_count == 0 || root->kind != dump->last_root.kind || root->owner != dump->last_root.owner) {
    rt_dump_put(&dump->holders, root->kind);
    rt_dump_put(&dump->holders, root->owner);
    dump->holder_count++;
    if (root->kind == DUMP_BY_NAME) { // the others' names are looked for when the world runs
      rt_dump_put(&dump->names, root->owner);
      rt_dump_put_text(&dump->names, (const char *)root->owner);
    } else if (is_named(root->kind)) {
      name_add(dump, root->owner, RT_DUMP_NAMES);
    }
  }
  if (root->kind == DUMP_BY_VARIABLE) {
    name_add(dump, root->where, RT_DUMP_NAMES / 2);
  }
  rt_dump_put(&dump->roots, dump->holder_count - 1);
  put_signed(&dump->roots, (int64_t)(root->where - dump->last_root.where));
  put_signed(&dump->roots, (int64_t)(root->object - dump->last_root.object) / 8);
  put_signed(&dump->roots, (int64_t)(root->word - root->object));
  dump->root_count++;
  dump->last_root = *root;
}

static void links_gather(rt_dump *dump) {
  gc_heap *gc = dump->heap->gc;
  uint64_t high = at_load(&gc->links.high);
  for (uint64_t i = 0; i < high; i++) {
    const gc_link *link = &gc->links.at[i];
    uint32_t kind = at32_load(&link->kind);
    uintptr_t ref = at_load(&link->ref), owner = at_load(&link->owner);
    if (kind == GC_LINK_FREE || ref == 0) {
      continue;
    }
    if (kind == GC_LINK_HANDLE) {
      root_put(dump, &(gc_root){DUMP_BY_HANDLE, 0, (uintptr_t)link, ref, ref});
    } else if (kind == GC_LINK_READY) {
      root_put(dump, &(gc_root){DUMP_BY_FINALIZER_QUEUE, owner, (uintptr_t)link, ref, ref});
    } else {
      rt_dump_put(&dump->links, kind == GC_LINK_WEAK ? DUMP_LINK_WEAK : DUMP_LINK_FINALIZER);
      rt_dump_put(&dump->links, owner);
      rt_dump_put(&dump->links, ref);
      name_add(dump, kind == GC_LINK_FINAL ? owner : 0, RT_DUMP_NAMES);
      dump->link_count++;
    }
  }
}

static void entry_put(void *arg, const gc_held *entry) {
  rt_dump *dump = arg;
  rt_dump_put(&dump->entries, entry->kind);
  put_signed(&dump->entries, (int64_t)(entry->table - dump->last_entry.table) / 8);
  put_signed(&dump->entries, (int64_t)(entry->key - dump->last_entry.key) / 8);
  put_signed(&dump->entries, (int64_t)(entry->value - entry->key) / 8);
  dump->entry_count++;
  dump->last_entry = *entry;
}

static char *text_append(char *to, const char *text) {
  while (*text != 0) {
    *to++ = *text++;
  }
  *to = 0;
  return to;
}

static void thread_put(rt_dump *dump, const rt_thread *t) {
  char path[64], digits[16], name[32] = "", *digit = digits + sizeof digits - 1;
  *digit = 0;
  for (unsigned tid = (unsigned)t->tid; tid != 0; tid /= 10) {
    *--digit = (char)('0' + tid % 10);
  }
  text_append(text_append(text_append(path, "/proc/self/task/"), digit), "/comm");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, name, sizeof name - 1) : 0;
  if (fd >= 0) {
    close(fd);
  }
  name[got > 0 && name[got - 1] == '\n' ? got - 1 : got > 0 ? got : 0] = 0;
  rt_dump_put(&dump->threads, (uint64_t)t->tid);
  rt_dump_put(&dump->threads, rt_state_of(t));
  rt_dump_put(&dump->threads, (uintptr_t)t->stack_low);
  rt_dump_put(&dump->threads, (uintptr_t)t->stack_base);
  rt_dump_put(&dump->threads, (uintptr_t)t->stopped_sp);
  rt_dump_put_text(&dump->threads, name);
}

// ---- The stop.

bool rt_dump_open(rt_dump *dump) {
  rt_dump_out *outs[] = {&dump->info,    &dump->threads, &dump->holders, &dump->roots, &dump->links,
                         &dump->entries, &dump->types,   &dump->names,   &dump->end,   &dump->worker[0].out};
  for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
    if (!out_open(outs[i])) {
      rt_error_set("veil_heap_dump: no memory");
      return false;
    }
  }
  dump->worker[0].dump = dump;
  unsigned wanted = os_processors() < RT_DUMP_WORKERS ? os_processors() : RT_DUMP_WORKERS;
  sigset_t saved;
  os_signals_block(&saved);
  for (dump->workers = 1; dump->workers < wanted; dump->workers++) {
    rt_dump_worker *w = &dump->worker[dump->workers];
    w->dump = dump;
    if (!out_open(&w->out) || pthread_create(&w->thread, NULL, helper_main, w) != 0) {
      break; // fewer will do
    }
  }
  os_signals_restore(&saved);
  // What the C library does when a thread begins may take locks of its own: that is over before the world is stopped.
  for (uint32_t ready; (ready = at32_load_acquire(&dump->ready)) + 1 < dump->workers;) {
    rt_wait(&dump->ready, ready, 0);
  }
  return true;
}

void rt_dump_gather(rt_dump *dump) {
  veil_heap *heap = dump->heap;
  dump->stopped_ns = vm_now();
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  dump->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  gc_census_begin(heap->gc, &dump->census);
  at32_store_release(&dump->go, 1);
  os_wake_all(&dump->go);
  for (const rt_thread *t = heap->threads; t != NULL; t = t->next) {
    thread_put(dump, t);
  }
  gc_roots_list(heap->gc, root_put, dump);
  links_gather(dump);
  gc_entries_list(heap->gc, entry_put, dump);
  objects_gather(&dump->worker[0]);
  for (uint32_t done; (done = at32_load_acquire(&dump->done)) + 1 < dump->workers;) {
    rt_wait(&dump->done, done, 0);
  }
  rt_dump_out *info = &dump->info;
  gc_heap *gc = heap->gc;
  const uint64_t figures[] = {gc->base,          gc->span,    gc->page_size, gc->cycle, at_load(&gc->minor_cycles),
                              gc_used_bytes(gc), dump->flags, dump->time_ns};
  for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
    rt_dump_put(info, figures[i]);
  }
  dump->ended_ns = vm_now();
}

bool rt_dump_failed(const rt_dump *dump) {
  bool failed = dump->info.failed || dump->threads.failed || dump->holders.failed || dump->roots.failed ||
                dump->links.failed || dump->entries.failed || dump->types.failed || dump->names.failed ||
                dump->end.failed;
  for (unsigned i = 0; i < dump->workers; i++) {
    failed = failed || dump->worker[i].out.failed;
  }
  return failed;
}

void rt_dump_close(rt_dump *dump) {
  if (at32_load(&dump->go) == 0) {
    at32_store_release(&dump->go, 2); // nothing was gathered
    os_wake_all(&dump->go);
  }
  for (unsigned i = 1; i < dump->workers; i++) {
    pthread_join(dump->worker[i].thread, NULL);
  }
  for (unsigned i = 0; i < RT_DUMP_WORKERS; i++) {
    out_close(&dump->worker[i].out);
  }
  rt_dump_out *outs[] = {&dump->info,    &dump->threads, &dump->holders, &dump->roots, &dump->links,
                         &dump->entries, &dump->types,   &dump->names,   &dump->end};
  for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
    out_close(outs[i]);
  }
}
