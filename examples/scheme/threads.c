// SPDX-License-Identifier: MIT
// threads.c: threads of the language: a system thread and a machine each. Mutexes and condition variables are one lock and one condition of the system, and
// states in objects: objects move, and
// may be in an image.

#include <errno.h>
#include <sched.h>
#include <time.h>
#include "program.h"

typedef struct thread { uint64_t header; value thunk, name, result, state; int64_t system; } thread; // state: THREAD_*; result: (fine? . value)
enum { THREAD_NEW, THREAD_RUNNING, THREAD_DONE };
// owner: a thread, #t for the first one, or #f; a condition variable counts its signals in `waiting`
typedef struct mutex { uint64_t header; value name, owner, waiting; } mutex;
enum { MUTEX_CONDITION = 1 << 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of all states; held for a moment only
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static thread *want_thread(machine *m, const char *who, value v) {
  if (!is_kind(v, KIND_THREAD)) {
    fail_type(m, who, 1, "thread", v);
  }
  return OBJ(thread, v);
}
value make_thread(machine *m, value *a, int count) {
  thread *t = allocate(m, KIND_THREAD, 5, KIND_THREAD);
  t->thunk = a[0];
  t->name = a[1];
  t->result = V_FALSE;
  t->state = fixnum(THREAD_NEW);
  return ref(t);
}
value is_thread(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_THREAD)); }
value thread_name(machine *m, value *a, int count) { return want_thread(m, "thread-name", a[0])->name; }
value current_thread(machine *m, value *a, int count) {
  if (m->state->item[STATE_THREAD] == V_NULL) { // the first one
    value made[2] = {V_FALSE, V_FALSE}, t = make_thread(m, made, 2);
    OBJ(thread, t)->state = fixnum(THREAD_RUNNING);
    m->state->item[STATE_THREAD] = t;
  }
  return m->state->item[STATE_THREAD];
}

static void finish(memory_self *self, thread *t, value result) {
  memory_lock(self, &lock);
  t->result = result;
  t->state = fixnum(THREAD_DONE);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void *thread_run(memory_self *self, void *object) {
  thread *t = object;
  char here;
  machine *m = machine_open(self);
  if (m == NULL) {
    finish(self, t, V_FALSE);
    return t;
  }
  m->depth_limit = (char *)((uintptr_t)&here - (6 << 20));
  machines_note(m, true);
  m->state->item[STATE_THREAD] = ref(t);
  value result = V_UNSPECIFIED;
  jmp_buf escape;
  m->escape = &escape;
  if (setjmp(escape) == 0) {
    errors_begin(m);
    bool fine = machine_run(m, t->thunk, &result);
    finish(self, t, cons(m, boolean(fine), fine ? result : m->state->item[STATE_CONDITION]));
  } else {
    finish(self, t, V_FALSE);
  }
  machines_note(m, false);
  machine_close(m);
  return t;
}

value thread_start(machine *m, value *a, int count) {
  thread *t = want_thread(m, "thread-start!", a[0]);
  memory_lock(m->self, &lock);
  bool fresh = t->state == fixnum(THREAD_NEW);
  t->state = fresh ? fixnum(THREAD_RUNNING) : t->state;
  pthread_mutex_unlock(&lock);
  if (!fresh) {
    fail(m, "thread-start!", "the thread was started already", 1, a[0]);
  }
  pthread_t system;
  int error = memory_thread_start(m->self, &system, thread_run, t);
  if (error != 0) {
    t->state = fixnum(THREAD_NEW);
    fail(m, "thread-start!", "the system has no more threads", 1, a[0]);
  }
  t->system = (int64_t)((uint64_t)system << 1 | 1); // odd: no reference
  return a[0];
}

// Several may wait for the same thread; the first takes the system's away.
value thread_join(machine *m, value *a, int count) {
  thread *t = want_thread(m, "thread-join!", a[0]);
  memory_lock(m->self, &lock);
  while (t->state == fixnum(THREAD_RUNNING)) {
    memory_wait(m->self, &changed, &lock, NULL);
  }
  bool done = t->state == fixnum(THREAD_DONE);
  uint64_t system = (uint64_t)t->system;
  t->system = 0;
  pthread_mutex_unlock(&lock);
  if (!done) {
    fail(m, "thread-join!", "the thread was not started", 1, a[0]);
  }
  if (system != 0) {
    memory_thread_join(m->self, (pthread_t)(system >> 1), NULL);
  }
  if (!is_pair(t->result)) {
    fail(m, "thread-join!", "the thread ended for want of memory", 1, a[0]);
  }
  return t->result;
}

value thread_yield(machine *m, value *a, int count) {
  sched_yield();
  return V_UNSPECIFIED;
}
static double seconds_of(machine *m, const char *who, int position, value v) {
  if (is_fixnum(v)) {
    return (double)fixnum_of(v);
  }
  if (!is_flonum(v)) {
    fail_type(m, who, position, "number of seconds", v);
  }
  return flonum_of(v);
}
value thread_sleep(machine *m, value *a, int count) {
  double seconds = seconds_of(m, "thread-sleep!", 1, a[0]);
  if (seconds > 0) {
    memory_sleep(m->self, (uint64_t)(seconds * 1e9));
  }
  return V_UNSPECIFIED;
}

// ---- Mutexes and condition variables.

static value new_mutex(machine *m, value name, uint64_t header) {
  mutex *made = allocate(m, KIND_MUTEX, 3, KIND_MUTEX | header);
  made->name = name == V_DEFAULT ? V_FALSE : name;
  made->owner = V_FALSE;
  made->waiting = fixnum(0);
  return ref(made);
}
value make_mutex(machine *m, value *a, int count) { return new_mutex(m, a[0], 0); }
value make_condition_variable(machine *m, value *a, int count) { return new_mutex(m, a[0], MUTEX_CONDITION); }
value is_mutex(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_MUTEX) && !(header_of(a[0]) & MUTEX_CONDITION)); }
static mutex *want_mutex(machine *m, const char *who, int position, value v, uint64_t header) {
  if (!is_kind(v, KIND_MUTEX) || (header_of(v) & MUTEX_CONDITION) != header) {
    fail_type(m, who, position, header ? "condition variable" : "mutex", v);
  }
  return OBJ(mutex, v);
}

static struct timespec after(double seconds) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  double whole = seconds < 0 ? 0 : seconds > 1e9 ? 1e9 : seconds;
  t.tv_sec += (time_t)whole;
  t.tv_nsec += (long)((whole - (double)(time_t)whole) * 1e9);
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

value mutex_lock(machine *m, value *a, int count) {
  mutex *x = want_mutex(m, "mutex-lock!", 1, a[0], 0);
  bool limited = a[1] != V_DEFAULT && a[1] != V_FALSE, got = true;
  struct timespec until = after(limited ? seconds_of(m, "mutex-lock!", 2, a[1]) : 0);
  value me = current_thread(m, a, 0);
  memory_lock(m->self, &lock);
  while (x->owner != V_FALSE && got) {
    got = memory_wait(m->self, &changed, &lock, limited ? &until : NULL) != ETIMEDOUT;
  }
  if (x->owner == V_FALSE) {
    got = true;
    x->owner = me;
  }
  pthread_mutex_unlock(&lock);
  return boolean(got);
}
// (mutex-unlock! mutex [condition-variable [timeout]]): with the second it waits there for a signal.
value mutex_unlock(machine *m, value *a, int count) {
  mutex *x = want_mutex(m, "mutex-unlock!", 1, a[0], 0), *c = a[1] != V_DEFAULT ? want_mutex(m, "mutex-unlock!", 2, a[1], MUTEX_CONDITION) : NULL;
  bool limited = a[2] != V_DEFAULT && a[2] != V_FALSE, got = true;
  struct timespec until = after(limited ? seconds_of(m, "mutex-unlock!", 3, a[2]) : 0);
  memory_lock(m->self, &lock);
  x->owner = V_FALSE;
  pthread_cond_broadcast(&changed);
  if (c != NULL) {
    value before = c->waiting;
    while (c->waiting == before && got) {
      got = memory_wait(m->self, &changed, &lock, limited ? &until : NULL) != ETIMEDOUT;
    }
  }
  pthread_mutex_unlock(&lock);
  return boolean(got);
}
static value signal_all(machine *m, const char *who, value v) {
  mutex *c = want_mutex(m, who, 1, v, MUTEX_CONDITION);
  memory_lock(m->self, &lock);
  c->waiting = fixnum(fixnum_of(c->waiting) + 1);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return V_UNSPECIFIED;
}
// Wakes all: who waits looks at what he waits for, as SRFI 18 asks him to.
value condition_signal(machine *m, value *a, int count) { return signal_all(m, "condition-variable-signal!", a[0]); }
value condition_broadcast(machine *m, value *a, int count) { return signal_all(m, "condition-variable-broadcast!", a[0]); }
