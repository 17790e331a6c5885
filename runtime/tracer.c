// SPDX-License-Identifier: MIT
// tracer.c: writes notes into a file in the Chrome trace format, which Perfetto and chrome://tracing load.
//
// Neighbours: trace.c fills the rings; heap.c, thread.c and collect.c open and close them. One tracer per file, with a thread of its own that
// empties the rings of all heaps that trace into it; when the last of them closes, or at exit, the thread ends and whoever ends it takes what is left.
//
// The file is a JSON array, complete after each write: the end goes along with the events, and the next write begins where it stands. Killed
// in the middle of a write, the process leaves a file without an end, which the format allows.
//
// A child of fork has no tracer thread and must not write into its parent's file: everything here is its who opened it, by process id.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/futex.h"
#include "runtime/trace.h"

enum {
  BUFFER = 1 << 17,
  EVENT_MAX = 768, // bytes of one event
  SLEEP_MS = 50,
  TID_MEMORY = 0,  // the track of the heap as a whole
};

#define END "\n]\n"

typedef struct rt_tracer {
  struct rt_tracer *next;
  // Constant while a heap traces.
  char *path;
  dev_t device;
  ino_t inode;
  int fd; // -1: no heap traces now
  // Under tracers_lock.
  unsigned heaps;
  pthread_t thread;
  bool running;
  // Atomic.
  AO_t fresh; // rings, newest first: pushed by whoever makes one, taken by whoever drains
  uint32_t volatile wake, passes, quit;
  // Whoever drains: the thread, or under tracers_lock when it does not run.
  rt_ring *rings; // oldest first: a thread that comes again has a new one, and its track goes on in order
  uint64_t end;   // of the file, without END
  bool failed;
  size_t used;
  char *buffer;
} rt_tracer;

// ---- The lock. In a child of fork that came while another thread had it, it is free: it holds its owner's process id.

static uint32_t volatile tracers_lock;
static rt_tracer *tracers; // of `tracers_pid`
static pid_t tracers_pid;

static void tracers_enter(void) {
  uint32_t me = (uint32_t)getpid();
  for (;;) {
    uint32_t holder = at32_load(&tracers_lock);
    if (holder != me && at32_cas_full(&tracers_lock, holder, me)) {
      break; // free, or locked by a thread of the parent that does not exist here
    }
    sched_yield();
  }
  if (tracers_pid != (pid_t)me) {
    tracers = NULL; // the parent's
    tracers_pid = (pid_t)me;
  }
}

static void tracers_leave(void) { at32_store_release(&tracers_lock, 0); }

// ---- Text. Written by hand: a hundred thousand events a second are not to cost a tenth of a processor.

static void flush(rt_tracer *t) {
  if (t->used == 0) {
    return;
  }
  memcpy(t->buffer + t->used, END, sizeof END - 1);
  size_t bytes = t->used + sizeof END - 1;
  for (size_t done = 0; done < bytes && !t->failed;) {
    ssize_t n = pwrite(t->fd, t->buffer + done, bytes - done, (off_t)(t->end + done));
    if (n > 0) {
      done += (size_t)n;
    } else if (n == 0 || errno != EINTR) {
      // The program goes on; its trace does not.
      fprintf(stderr, "veil: trace %s ends here: %s\n", t->path, n == 0 ? "cannot write" : strerror(errno));
      t->failed = true;
    }
  }
  t->end += t->used;
  t->used = 0;
}

static void put(rt_tracer *t, const char *text) {
  size_t n = strlen(text);
  memcpy(t->buffer + t->used, text, n);
  t->used += n;
}

static void put_number(rt_tracer *t, uint64_t value) {
  char digits[20];
  int n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
  } while ((value /= 10) != 0);
  while (n > 0) {
    t->buffer[t->used++] = digits[--n];
  }
}

// Microseconds, exact.
static void put_us(rt_tracer *t, uint64_t ns) {
  put_number(t, ns / 1000);
  unsigned rest = (unsigned)(ns % 1000);
  char fraction[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10), 0};
  put(t, fraction);
}

// A name somebody chose, as the inside of a JSON string.
static void put_name(rt_tracer *t, const char *name) {
  for (; *name; name++) {
    unsigned char c = (unsigned char)*name;
    if (c == '"' || c == '\\') {
      t->buffer[t->used++] = '\\';
    }
    t->buffer[t->used++] = c < ' ' || c > '~' ? '?' : (char)c;
  }
}

// The common beginning: comma, name, phase, process, thread.
static void put_event(rt_tracer *t, const char *name, const char *phase, unsigned heap, pid_t tid) {
  if (t->used + EVENT_MAX > BUFFER) {
    flush(t);
  }
  put(t, t->end + t->used == 0 ? "[\n{\"name\":\"" : ",\n{\"name\":\"");
  put(t, name);
  put(t, "\",\"ph\":\"");
  put(t, phase);
  put(t, "\",\"pid\":");
  put_number(t, heap);
  put(t, ",\"tid\":");
  put_number(t, (uint64_t)tid);
}

static void put_metadata(rt_tracer *t, const char *what, const rt_ring *ring, const char *name) {
  put_event(t, what, "M", ring->heap_id, ring->tid);
  put(t, ",\"args\":{\"name\":\"");
  put_name(t, name);
  put(t, "\"}}");
}

// ---- Notes.

typedef struct form {
  const char *name;
  char phase;          // X, i (of a thread), p (instant of the process), C; 0: not in the trace
  const char *args[3]; // names; NULL: none
} form;

static const form forms[RT_NOTE_KINDS] = {
    [RT_NOTE_STOP] = {"stop", 'X', {NULL}},
    [RT_NOTE_STOPPED] = {"stopped", 'X', {NULL}},
    [RT_NOTE_FLIP] = {"flip", 'X', {"cycle", "pins", "roots"}},
    [RT_NOTE_MINOR] = {"minor", 'X', {"minor", "survived", "promoted"}},
    [RT_NOTE_TRAP] = {"trap", 'X', {"page"}},
    [RT_NOTE_SCAN] = {"scan", 'X', {"page", "count", "scanned"}},
    [RT_NOTE_ASSIST] = {"assist", 'X', {"found"}},
    [RT_NOTE_SWEEP] = {"sweep", 'X', {"cycle"}},
    [RT_NOTE_CYCLE] = {"cycle", 'X', {"cycle", "live", "held"}},
    [RT_NOTE_STALL] = {"stall", 'X', {NULL}},
    [RT_NOTE_BRACKET] = {"blocked", 'X', {NULL}},
    [RT_NOTE_CHECKPOINT] = {"checkpoint", 'X', {"version", "pages", "bytes"}},
    [RT_NOTE_HEAP_OPENED] = {"heap opened", 'p', {NULL}},
    [RT_NOTE_HEAP_CLOSED] = {"heap closed", 'p', {NULL}},
    [RT_NOTE_ATTACHED] = {"attached", 'i', {NULL}},
    [RT_NOTE_DETACHED] = {"detached", 'i', {NULL}},
    [RT_NOTE_SCANNING] = {"cycle starts", 'p', {"cycle"}},
    [RT_NOTE_SWEEPING] = {"nothing is grey", 'i', {"cycle"}},
    [RT_NOTE_KEPT] = {"block kept", 'i', {"cycle", "page"}},
    [RT_NOTE_SETTLED] = {"claim settled", 'i', {"page", "claim"}},
    [RT_NOTE_COMMITTED] = {"committed", 'i', {"bytes", "held"}},
    [RT_NOTE_RETURNED] = {"returned", 'i', {"bytes", "held"}},
    [RT_NOTE_LIMIT] = {"limit reached", 'p', {"bytes"}},
    [RT_NOTE_OOM] = {"out of memory", 'p', {"bytes"}},
    [RT_NOTE_RESTORED] = {"handlers restored", 'p', {"count"}},
    [RT_NOTE_MEMORY] = {"memory", 'C', {"held", "used", "live"}},
    [RT_NOTE_PROGRESS] = {"checkpoint pages", 'i', {"done", "of"}},
};

static void note_write(rt_tracer *t, unsigned heap, pid_t tid, const rt_note *note) {
  const form *f = &forms[note->kind];
  const uint64_t values[] = {note->a, note->b, note->c};
  char phase[] = {f->phase == 'p' ? 'i' : f->phase, 0};
  put_event(t, f->name, phase, heap, tid);
  put(t, ",\"ts\":");
  put_us(t, note->began_ns);
  if (f->phase == 'X') {
    put(t, ",\"dur\":");
    put_us(t, note->span_ns);
  } else if (f->phase != 'C') {
    put(t, f->phase == 'p' ? ",\"s\":\"p\"" : ",\"s\":\"t\"");
  }
  put(t, ",\"args\":{");
  for (int i = 0; i < 3 && f->args[i] != NULL; i++) {
    put(t, i ? ",\"" : "\"");
    put(t, f->args[i]);
    put(t, "\":");
    put_number(t, values[i]);
  }
  put(t, "}}");
}

// ---- Rings.

static rt_ring *ring_make(rt_tracer *t, veil_heap *heap, pid_t tid) {
  rt_ring *ring = os_map_private(sizeof *ring);
  if (ring != NULL) {
    ring->tracer = t;
    ring->heap = heap;
    ring->heap_id = heap->trace_id;
    ring->tid = tid;
  }
  return ring;
}

static void ring_push(rt_tracer *t, rt_ring *ring) {
  uint64_t first;
  do {
    first = at_load(&t->fresh);
    ring->next = (rt_ring *)first;
  } while (!at_cas_full(&t->fresh, first, (uint64_t)ring));
}

static void dropped_write(rt_tracer *t, rt_ring *ring) {
  uint64_t dropped = at_load(&ring->dropped);
  if (dropped != ring->dropped_told) {
    put_event(t, "dropped", "i", ring->heap_id, ring->tid);
    put(t, ",\"ts\":");
    put_us(t, ring->last_ns);
    put(t, ",\"s\":\"t\",\"args\":{\"events\":");
    put_number(t, dropped - ring->dropped_told);
    put(t, "}}");
    ring->dropped_told = dropped;
  }
}

static void ring_drain(rt_tracer *t, rt_ring *ring) {
  if (!ring->named) {
    put_metadata(t, ring->tid == TID_MEMORY ? "process_name" : "thread_name", ring, ring->name);
    if (ring->tid == TID_MEMORY) {
      put_metadata(t, "thread_name", ring, "cycles");
    }
    ring->named = true;
  }
  uint64_t head = at_load_acquire(&ring->head);
  for (uint64_t i = at_load(&ring->tail); i < head; i++) {
    const rt_note *note = &ring->slot[i % RT_RING].note;
    note_write(t, ring->heap_id, ring->slot[i % RT_RING].tid, note);
    ring->last_ns = note->began_ns + note->span_ns;
    at_store_release(&ring->tail, i + 1); // the slot is the writer's again
  }
  dropped_write(t, ring);
}

// Puts the fresh rings at the end of the list, in the order in which they were made.
static void rings_take(rt_tracer *t) {
  uint64_t first;
  do {
    first = at_load_acquire(&t->fresh);
  } while (first != 0 && !at_cas_full(&t->fresh, first, 0));
  rt_ring *oldest = NULL;
  for (rt_ring *ring = (rt_ring *)first, *next; ring != NULL; ring = next) {
    next = ring->next;
    ring->next = oldest;
    oldest = ring;
  }
  rt_ring **at = &t->rings;
  while (*at != NULL) {
    at = &(*at)->next;
  }
  *at = oldest;
}

static void drain(rt_tracer *t) {
  rings_take(t);
  for (rt_ring **at = &t->rings; *at != NULL;) {
    rt_ring *ring = *at;
    bool done = at32_load_acquire(&ring->done) != 0; // first: nothing comes after it
    ring_drain(t, ring);
    if (done) {
      *at = ring->next;
      os_unmap(ring, sizeof *ring);
    } else {
      at = &ring->next;
    }
  }
  flush(t);
}

// ---- The thread.

void rt_trace_wake(rt_tracer *t) { rt_post(&t->wake); }

static void *tracer_main(void *arg) {
  rt_tracer *t = arg;
  while (!at32_load_acquire(&t->quit)) {
    uint32_t wake = at32_load_acquire(&t->wake);
    drain(t);
    rt_post(&t->passes);
    if (!at32_load_acquire(&t->quit)) {
      rt_wait(&t->wake, wake, SLEEP_MS);
    }
  }
  return NULL;
}

static int thread_start_locked(rt_tracer *t) {
  sigset_t all, saved;
  sigfillset(&all);
  at32_store(&t->quit, 0);
  pthread_sigmask(SIG_SETMASK, &all, &saved);
  int error = pthread_create(&t->thread, NULL, tracer_main, t);
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
  t->running = error == 0;
  if (t->running) {
    pthread_setname_np(t->thread, "veil-tracer");
  }
  return error;
}

static void thread_stop_locked(rt_tracer *t) {
  if (t->running) {
    at32_store_release(&t->quit, 1);
    rt_trace_wake(t);
    pthread_join(t->thread, NULL);
    t->running = false;
  }
  drain(t);
}

// What was noted before the call is in the file after it.
static void drained_wait_locked(rt_tracer *t) {
  if (!t->running) {
    drain(t);
    return;
  }
  uint32_t before = at32_load_acquire(&t->passes);
  for (uint32_t now; (now = at32_load_acquire(&t->passes)) - before < 2;) { // the one under way may be past our rings
    rt_trace_wake(t);
    rt_wait(&t->passes, now, SLEEP_MS);
  }
}

static void exits(void) {
  tracers_enter();
  for (rt_tracer *t = tracers; t != NULL; t = t->next) {
    if (t->fd >= 0) {
      thread_stop_locked(t);
    }
  }
  tracers_leave();
}

// ---- Files.

static const char *path_expand(char *out, size_t bytes, const char *path) {
  size_t used = 0;
  for (; *path && used + 12 < bytes; path++) {
    if (path[0] == '%' && path[1] == 'p') {
      used += (size_t)snprintf(out + used, 12, "%d", (int)getpid());
      path++;
    } else {
      out[used++] = *path;
    }
  }
  out[used] = 0;
  return *path ? NULL : out;
}

static bool cannot(const char *path, const char *why) {
  rt_error_set("option trace: cannot write %.300s: %s", path, why);
  return false;
}

// Opens and locks the file; one that an earlier heap of this process has left is gone on with.
static bool file_open_locked(rt_tracer *t, const char *path) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct stat stat;
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
  if (fd < 0 || fstat(fd, &stat) != 0) {
    cannot(path, strerror(errno));
  } else if (!S_ISREG(stat.st_mode) && !S_ISCHR(stat.st_mode)) {
    cannot(path, "not a regular file");
  } else if (S_ISREG(stat.st_mode) && fcntl(fd, F_SETLK, &lock) != 0) {
    cannot(path, "another process is writing it (%p in the name stands for the process id)");
  } else {
    bool ours = t->device == stat.st_dev && t->inode == stat.st_ino && (uint64_t)stat.st_size == t->end + sizeof END - 1;
    if (!ours) {
      t->end = 0;
      if (S_ISREG(stat.st_mode) && ftruncate(fd, 0) != 0) {
        cannot(path, strerror(errno));
        close(fd);
        return false;
      }
    }
    t->device = stat.st_dev;
    t->inode = stat.st_ino;
    t->fd = fd;
    return true;
  }
  if (fd >= 0) {
    close(fd);
  }
  return false;
}

static void tracer_shut_locked(rt_tracer *t) {
  if (t->fd >= 0) {
    close(t->fd);
    t->fd = -1;
  }
  os_unmap(t->buffer, BUFFER + sizeof END);
  t->buffer = NULL;
  free(t->path);
  t->path = NULL;
}

static bool tracer_start_locked(rt_tracer *t, const char *path) {
  static bool at_exit;
  at_exit = at_exit || atexit(exits) == 0;
  t->failed = false;
  t->used = 0;
  t->buffer = os_map_private(BUFFER + sizeof END);
  t->path = strdup(path);
  if (t->buffer == NULL || t->path == NULL || !at_exit) {
    cannot(path, "no memory");
  } else if (file_open_locked(t, path)) {
    int error = thread_start_locked(t);
    if (error == 0) {
      return true;
    }
    rt_error_set("option trace: cannot start a thread: %s", strerror(error));
  }
  tracer_shut_locked(t);
  return false;
}

// The tracer of this file: one that runs, one that has been used before, or a new one. (By the file, not by its name. And not by opening it: closing it again
// would give up the lock.)
static rt_tracer *tracer_find_locked(const char *path) {
  struct stat stat_now;
  bool exists = stat(path, &stat_now) == 0;
  for (rt_tracer *t = tracers; exists && t != NULL; t = t->next) {
    if (t->device == stat_now.st_dev && t->inode == stat_now.st_ino) {
      return t;
    }
  }
  rt_tracer *t = calloc(1, sizeof *t);
  if (t != NULL) {
    t->fd = -1;
    t->next = tracers;
    tracers = t;
  }
  return t;
}

static rt_tracer *tracer_join(const char *path) {
  tracers_enter();
  rt_tracer *t = tracer_find_locked(path);
  if (t == NULL) {
    cannot(path, "no memory");
  } else if (t->fd < 0 && !tracer_start_locked(t, path)) {
    t = NULL;
  }
  if (t != NULL) {
    t->heaps++;
  }
  tracers_leave();
  return t;
}

// ---- Heaps and threads.

bool rt_trace_open(veil_heap *heap) {
  static AO_t opened;
  char path[PATH_MAX];
  if (heap->options.trace == NULL || heap->options.trace[0] == 0) {
    return true;
  }
  if (path_expand(path, sizeof path, heap->options.trace) == NULL) {
    return cannot(heap->options.trace, "the name is too long");
  }
  heap->tracer = tracer_join(path);
  if (heap->tracer == NULL) {
    return false;
  }
  heap->trace_pid = getpid();
  heap->trace_id = (unsigned)at_add(&opened, 1) + 1;
  rt_ring *ring = ring_make(heap->tracer, heap, TID_MEMORY);
  if (ring == NULL) {
    cannot(path, "no memory");
    rt_trace_close(heap);
    return false;
  }
  snprintf(ring->name, sizeof ring->name, "heap %u (%s), process %d", heap->trace_id, vm_region_back_end(heap->gc->region), (int)heap->trace_pid);
  heap->trace_common = ring;
  ring_push(heap->tracer, ring);
  return true;
}

void rt_trace_close(veil_heap *heap) {
  rt_tracer *t = heap->tracer;
  if (t == NULL || heap->trace_pid != getpid()) {
    return;
  }
  if (heap->trace_common != NULL) {
    at32_store_release(&heap->trace_common->done, 1);
  }
  tracers_enter();
  if (--t->heaps == 0) {
    thread_stop_locked(t);
    tracer_shut_locked(t);
  } else {
    drained_wait_locked(t);
  }
  tracers_leave();
  heap->tracer = NULL;
  heap->trace_common = NULL;
}

void rt_trace_begin(veil_heap *heap) {
  rt_ring *ring = heap->tracer == NULL || heap->trace_pid != getpid() ? NULL : ring_make(heap->tracer, heap, (pid_t)syscall(SYS_gettid));
  if (ring == NULL) {
    return;
  }
  char name[17] = "";
  prctl(PR_GET_NAME, name);
  snprintf(ring->name, sizeof ring->name, "%s %d", name, (int)ring->tid);
  ring_push(heap->tracer, ring);
  ring->next_here = rt_rings_here;
  *(rt_ring *volatile *)&rt_rings_here = ring; // a handler that comes now finds a whole list
}

void rt_trace_end(veil_heap *heap) {
  for (rt_ring **at = &rt_rings_here; *at != NULL; at = &(*at)->next_here) {
    if ((*at)->heap == heap) {
      rt_ring *ring = *at;
      *(rt_ring *volatile *)at = ring->next_here;
      at32_store_release(&ring->done, 1);
      return;
    }
  }
}
