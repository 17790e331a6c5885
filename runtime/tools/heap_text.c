// SPDX-License-Identifier: MIT
// heap_text.c: what things are called.

#include <inttypes.h>
#include <string.h>
#include "runtime/tools/heap.h"

const char *heap_kind_text(uint32_t kind) {
  static const char *const texts[DUMP_BY_COUNT] = {
      [DUMP_BY_NOTHING] = "nothing",
      [DUMP_BY_STACK] = "stacks of threads",
      [DUMP_BY_REGISTERS] = "registers",
      [DUMP_BY_COROUTINE] = "stacks of coroutines",
      [DUMP_BY_COROUTINE_REGISTERS] = "registers of coroutines",
      [DUMP_BY_COROUTINE_SLOT] = "slots of coroutines",
      [DUMP_BY_VARIABLE] = "global variables",
      [DUMP_BY_THREAD_LOCAL] = "thread-local variables",
      [DUMP_BY_SYSTEM_CALL] = "system calls (veil_touch)",
      [DUMP_BY_PIN] = "pins (veil_pin)",
      [DUMP_BY_SLOTS] = "registered slots",
      [DUMP_BY_THREAD_SLOTS] = "registered slots of threads",
      [DUMP_BY_CALLBACK] = "ranges of callbacks",
      [DUMP_BY_CALLBACK_SLOT] = "slots of callbacks",
      [DUMP_BY_START] = "threads' arguments and results",
      [DUMP_BY_HANDLE] = "handles",
      [DUMP_BY_FINALIZER_QUEUE] = "the queue of finalizers",
      [DUMP_BY_NAME] = "named roots",
  };
  return texts[kind < DUMP_BY_COUNT ? kind : 0];
}

static void thread_text(const heap_dump *d, const char *what, uint64_t tid, char *to, size_t bytes) {
  for (size_t i = 0; i < d->thread_count; i++) {
    if (d->threads[i].tid == tid) {
      snprintf(to, bytes, "%s of thread %" PRIu64 " (%s)", what, tid, d->threads[i].name);
      return;
    }
  }
  snprintf(to, bytes, "%s of thread %" PRIu64, what, tid);
}

static void named_text(const heap_dump *d, const char *what, uint64_t address, char *to, size_t bytes) {
  const char *name = heap_name_of(d, address);
  if (name != NULL) {
    snprintf(to, bytes, "%s %s", what, name);
  } else {
    snprintf(to, bytes, "%s at 0x%" PRIx64, what, address);
  }
}

void heap_holder_text(const heap_dump *d, uint32_t holder, char *to, size_t bytes) {
  const heap_holder *h = &d->holders[holder];
  switch ((dump_by)h->kind) {
  case DUMP_BY_STACK:
    thread_text(d, "stack", h->owner, to, bytes);
    break;
  case DUMP_BY_REGISTERS:
    thread_text(d, "registers", h->owner, to, bytes);
    break;
  case DUMP_BY_THREAD_LOCAL:
    thread_text(d, "thread-local variables", h->owner, to, bytes);
    break;
  case DUMP_BY_THREAD_SLOTS:
    thread_text(d, "registered slots", h->owner, to, bytes);
    break;
  case DUMP_BY_COROUTINE:
    snprintf(to, bytes, "stack of the coroutine below 0x%" PRIx64, h->owner);
    break;
  case DUMP_BY_COROUTINE_REGISTERS:
    snprintf(to, bytes, "registers of the coroutine below 0x%" PRIx64, h->owner);
    break;
  case DUMP_BY_COROUTINE_SLOT:
    snprintf(to, bytes, "slot of the coroutine below 0x%" PRIx64, h->owner);
    break;
  case DUMP_BY_SLOTS:
    named_text(d, "slots", h->owner, to, bytes);
    break;
  case DUMP_BY_CALLBACK:
    named_text(d, "range that a callback reports:", h->owner, to, bytes);
    break;
  case DUMP_BY_CALLBACK_SLOT:
    named_text(d, "slot that a callback reports:", h->owner, to, bytes);
    break;
  case DUMP_BY_FINALIZER_QUEUE:
    named_text(d, "waits for its finalizer", h->owner, to, bytes);
    break;
  case DUMP_BY_NAME:
    named_text(d, "named root", h->owner, to, bytes);
    break;
  case DUMP_BY_VARIABLE:
    snprintf(to, bytes, "global variables from 0x%" PRIx64, h->owner);
    break;
  default:
    snprintf(to, bytes, "%s", heap_kind_text(h->kind));
  }
}

void heap_root_text(const heap_dump *d, const heap_root *root, char *to, size_t bytes) {
  char holder[300];
  const heap_holder *h = &d->holders[root->holder];
  const char *name = h->kind == DUMP_BY_VARIABLE ? heap_name_of(d, root->where) : NULL;
  heap_holder_text(d, root->holder, holder, sizeof holder);
  if (h->kind == DUMP_BY_SLOTS) {
    snprintf(to, bytes, "%s [%" PRIu64 "]", holder, (root->where - h->owner) / 8);
  } else if (name != NULL) {
    snprintf(to, bytes, "global variable %s", name);
  } else if (h->kind == DUMP_BY_PIN || h->kind == DUMP_BY_START || h->kind == DUMP_BY_SYSTEM_CALL ||
             h->kind == DUMP_BY_FINALIZER_QUEUE || h->kind == DUMP_BY_NAME) {
    snprintf(to, bytes, "%s", holder);
  } else {
    snprintf(to, bytes, "%s, 0x%" PRIx64, holder, root->where);
  }
}

void heap_type_text(const heap_dump *d, uint32_t object, char *to, size_t bytes) {
  const char *name = heap_type_of(d, object)->name;
  if (heap_sort_of(d, object) & HEAP_ARRAY) {
    snprintf(to, bytes, "%s[%" PRIu64 "]", name, heap_length(d, object));
  } else {
    snprintf(to, bytes, "%s", name);
  }
}

void heap_slot_text(const heap_dump *d, uint32_t object, uint64_t offset, char *to, size_t bytes) {
  uint64_t size = heap_type_of(d, object)->size, fixed = heap_type_of(d, object)->fixed;
  if (!(d->what[object] & HEAP_ARRAY) || size == 0 || offset < fixed) {
    snprintf(to, bytes, "+%" PRIu64, offset);
    return;
  }
  offset -= fixed;
  if (size == 8) {
    snprintf(to, bytes, "[%" PRIu64 "]", offset / 8);
  } else {
    snprintf(to, bytes, "[%" PRIu64 "]+%" PRIu64, offset / size, offset % size);
  }
}

void heap_entry_text(const heap_dump *d, const heap_entry *entry, char *to, size_t bytes) {
  snprintf(to, bytes, "entry of weak table 0x%" PRIx64 ", whose %s is 0x%" PRIx64, heap_address(d, entry->table),
           entry->kind == DUMP_ENTRY_VALUES ? "value" : "key",
           heap_address(d, entry->kind == DUMP_ENTRY_VALUES ? entry->value : entry->key));
}
