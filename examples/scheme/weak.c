// SPDX-License-Identifier: MIT
// weak.c: weak pairs, weak tables and guardians, as the language sees them. Only a heap that knows when objects die has them.
//
// What a weak reference or a key is must be an object of the heap: for numbers, characters and constants there is nothing that could die, and they are held
// as they are.

#include "program.h"

// header: WEAK_*; reference: the memory layer's object; item: cdr, or the value if it is no object
typedef struct weak { uint64_t header; value reference, item; } weak;
enum { WEAK_PAIR = 1 << 8, WEAK_TABLE = 2 << 8, WEAK_VALUES = 3 << 8, WEAK_PLAIN = 1 << 12 };

static void want_weakness(machine *m, const char *who) {
  if (!memory_weakness) {
    fail(m, who, "the heap of this build cannot tell what has died", 0);
  }
}
static bool is_reference(value v) { return v != 0 && (is_object(v) || is_pair(v) || is_flonum(v)); }
static void *object_of(value v) { return OBJ(void, v); }

// References lose their tags on the way through the memory layer: pairs and flonums are kept as the tag beside.
static value tag_of(value v) { return fixnum((int64_t)(v & TAG_MASK)); }

// ---- Weak pairs.

value weak_cons(machine *m, value *a, int count) {
  want_weakness(m, "weak-cons");
  value head = a[0];
  weak *w = allocate(m, KIND_WEAK, 3, KIND_WEAK | WEAK_PAIR | (is_reference(head) ? 0 : WEAK_PLAIN));
  w->item = a[1];
  w->reference = head;
  if (is_reference(head)) {
    w->header |= (head & TAG_MASK) << 16;
    void *r = memory_weak_new(m->self, object_of(head));
    if (r == NULL) {
      out_of_memory(m);
    }
    w->reference = ref(r);
  }
  return ref(w);
}
static weak *want_pair(machine *m, const char *who, value v) {
  if (!is_kind(v, KIND_WEAK) || (header_of(v) & 0xf00) != WEAK_PAIR) {
    fail_type(m, who, 1, "weak pair", v);
  }
  return OBJ(weak, v);
}
value is_weak_pair(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_WEAK) && (header_of(a[0]) & 0xf00) == WEAK_PAIR); }
value weak_car(machine *m, value *a, int count) {
  weak *w = want_pair(m, "weak-car", a[0]);
  if (w->header & WEAK_PLAIN) {
    return w->reference;
  }
  void *object = memory_weak_get(m->self, object_of(w->reference));
  return object != NULL ? ref(object) | (w->header >> 16 & TAG_MASK) : V_FALSE;
}
value weak_cdr(machine *m, value *a, int count) { return want_pair(m, "weak-cdr", a[0])->item; }

// ---- Weak tables. An entry's value is a pair (what was put . tag of the key); in a table of weak values it is what was put, and must be an object.

static value new_table(machine *m, const char *who, bool weak_values) {
  want_weakness(m, who);
  void *table = memory_table_new(m->self, weak_values);
  if (table == NULL) {
    out_of_memory(m);
  }
  weak *w = allocate(m, KIND_WEAK, 3, KIND_WEAK | (weak_values ? WEAK_VALUES : WEAK_TABLE));
  w->reference = ref(table);
  return ref(w);
}
value make_weak_key_table(machine *m, value *a, int count) { return new_table(m, "make-weak-key-table", false); }
value make_weak_value_table(machine *m, value *a, int count) { return new_table(m, "make-weak-value-table", true); }
static bool is_table(value v) { return is_kind(v, KIND_WEAK) && ((header_of(v) & 0xf00) == WEAK_TABLE || (header_of(v) & 0xf00) == WEAK_VALUES); }
value is_weak_table(machine *m, value *a, int count) { return boolean(is_table(a[0])); }
static bool of_values(value v) { return (header_of(v) & 0xf00) == WEAK_VALUES; }
static void *want_table(machine *m, const char *who, value v) {
  if (!is_table(v)) {
    fail_type(m, who, 1, "weak table", v);
  }
  return object_of(OBJ(weak, v)->reference);
}
static void *want_key(machine *m, const char *who, int position, value v) {
  if (!is_object(v) && !is_pair(v)) {
    fail_type(m, who, position, "object with an identity", v);
  }
  return object_of(v);
}
value weak_table_ref(machine *m, value *a, int count) {
  void *table = want_table(m, "weak-table-ref", a[0]), *item = memory_table_get(m->self, table, want_key(m, "weak-table-ref", 2, a[1]));
  if (item == NULL) {
    return a[2] != V_DEFAULT ? a[2] : V_FALSE;
  }
  return of_values(a[0]) ? ref(item) : car(ref(item) | TAG_PAIR);
}
value weak_table_set(machine *m, value *a, int count) {
  void *table = want_table(m, "weak-table-set!", a[0]);
  void *key = want_key(m, "weak-table-set!", 2, a[1]);
  void *item = of_values(a[0]) ? want_key(m, "weak-table-set!", 3, a[2]) : NULL;
  if (of_values(a[0]) && is_pair(a[2])) {
    fail(m, "weak-table-set!", "a table of weak values takes no pairs", 1, a[2]);
  }
  if (item == NULL) {
    item = object_of(cons(m, a[2], tag_of(a[1])));
  }
  if (!memory_table_put(m->self, table, key, item)) {
    out_of_memory(m);
  }
  return V_UNSPECIFIED;
}
value weak_table_delete(machine *m, value *a, int count) {
  return boolean(memory_table_remove(m->self, want_table(m, "weak-table-delete!", a[0]), want_key(m, "weak-table-delete!", 2, a[1])));
}
value weak_table_count(machine *m, value *a, int count) { return fixnum((int64_t)memory_table_count(m->self, want_table(m, "weak-table-count", a[0]))); }
value weak_table_alist(machine *m, value *a, int count) {
  size_t n = 0;
  void **all = memory_table_entries(m->self, want_table(m, "weak-table->alist", a[0]), &n);
  value made = V_NULL;
  for (size_t i = 0; i + 1 < n && all[i] != NULL; i += 2) {
    value key = ref(all[i]), item = ref(all[i + 1]);
    if (!of_values(a[0])) {
      key |= (value)fixnum_of(cdr(item | TAG_PAIR));
      item = car(item | TAG_PAIR);
    }
    made = cons(m, cons(m, key, item), made);
  }
  return made;
}

// ---- Guardians: a list of what has died, in the order in which that was found. Finalizers know their guardian by its number in the world.

typedef struct guardian { uint64_t header; value due, number; } guardian;
static pthread_mutex_t guardians_lock = PTHREAD_MUTEX_INITIALIZER;

value make_guardian(machine *m, value *a, int count) {
  want_weakness(m, "make-guardian");
  guardian *g = allocate(m, KIND_GUARDIAN, 2, KIND_GUARDIAN);
  g->due = V_NULL;
  world_lock_take(m);
  value all = world->item[WORLD_GUARDIANS];
  g->number = fixnum(all == V_NULL ? 1 : fixnum_of(car(car(all))) + 1);
  void *r = memory_weak_new(m->self, g);
  if (r == NULL) {
    out_of_memory(m);
  }
  value holder = cons(m, V_FALSE, V_NULL);
  weak *w = allocate(m, KIND_WEAK, 3, KIND_WEAK | WEAK_PAIR);
  w->reference = ref(r);
  w->item = holder;
  world->item[WORLD_GUARDIANS] = cons(m, cons(m, g->number, ref(w)), all);
  world_lock_drop(m);
  return ref(g);
}

static _Thread_local machine *finalizing; // whose guardian-next runs the finalizers

static void guardian_take(machine *m, value what, int64_t number) {
  for (value l = world->item[WORLD_GUARDIANS]; l != V_NULL; l = cdr(l)) {
    if (fixnum_of(car(car(l))) != number) {
      continue;
    }
    guardian *g = memory_weak_get(m->self, object_of(OBJ(weak, cdr(car(l)))->reference));
    if (g != NULL) {
      value entry = cons(m, what, V_NULL);
      memory_lock(m->self, &guardians_lock);
      value *end = &g->due;
      while (*end != V_NULL) {
        end = &pair_of(*end)->cdr;
      }
      *end = entry;
      pthread_mutex_unlock(&guardians_lock);
    }
    return;
  }
}

// Called by the memory layer, which is to be returned to: an object for which there is no memory is given up.
static void object_died(memory_self *self, void *object, void *data) {
  machine *m = finalizing;
  jmp_buf here, *before = m->escape;
  m->escape = &here;
  if (setjmp(here) == 0) {
    guardian_take(m, ref(object) | ((value)(intptr_t)data & TAG_MASK), (int64_t)(intptr_t)data >> 3);
  }
  m->escape = before;
}
void finalizers_run(machine *m) {
  finalizing = m;
  memory_finalizers_run(m->self, 1000);
}
static guardian *want_guardian(machine *m, value v) {
  if (!is_kind(v, KIND_GUARDIAN)) {
    fail_type(m, "guardian", 1, "guardian", v);
  }
  return OBJ(guardian, v);
}
value guardian_add(machine *m, value *a, int count) {
  guardian *g = want_guardian(m, a[0]);
  want_key(m, "guardian", 2, a[1]);
  if (!memory_finalize(m->self, object_of(a[1]), object_died, (void *)(intptr_t)(fixnum_of(g->number) << 3 | (int64_t)(a[1] & TAG_MASK)))) {
    out_of_memory(m);
  }
  return V_UNSPECIFIED;
}
value guardian_next(machine *m, value *a, int count) {
  guardian *g = want_guardian(m, a[0]);
  finalizers_run(m);
  memory_lock(m->self, &guardians_lock);
  value first = g->due;
  g->due = first != V_NULL ? cdr(first) : V_NULL;
  pthread_mutex_unlock(&guardians_lock);
  return first != V_NULL ? car(first) : V_FALSE;
}
