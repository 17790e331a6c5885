// SPDX-License-Identifier: MIT
// hashtables.c: hash tables: open addressing with linear probing in one vector of hash, key, value, hash, key, value, ...
//
// A table is never in a state that could make another thread read outside of its vector: that is loaded once per operation, and its length is its own. Threads
// that change one table at the same time may lose each other's entries, and take a lock if they mind.

#include <string.h>
#include "library.h"

typedef struct hashtable {
  uint64_t header; // its table_kind above the kind
  int64_t length;  // of what follows, as a vector's
  value count;     // entries
  value used;      // slots that are not free: entries, and what was deleted since the vector was made
  value data;
} hashtable;
enum { TABLE_ITEMS = 3, TABLE_LEAST = 8, KIND_SHIFT = 8 };
#define SLOT_FREE V_UNBOUND
#define SLOT_DELETED V_DEFAULT // instead of a hash

static table_kind kind_of(const hashtable *t) { return (table_kind)(t->header >> KIND_SHIFT); }

static value new_data(machine *m, int64_t entries) { // a vector in which they take at most half
  int64_t capacity = TABLE_LEAST;
  while (capacity < 2 * entries) {
    capacity *= 2;
  }
  return new_vector(m, 3 * capacity, SLOT_FREE);
}
value table_new(machine *m, table_kind kind, int64_t room) {
  value made = new_of_kind(m, KIND_HASHTABLE, TABLE_ITEMS, fixnum(0));
  hashtable *t = OBJECT_(hashtable, made);
  t->header |= (uint64_t)kind << KIND_SHIFT;
  t->data = new_data(m, room);
  return made;
}

static value hash_of(machine *m, table_kind kind, value key) {
  uint64_t hash;
  switch (kind) {
  case TABLE_EQV: hash = hash_eqv(m, key); break;
  case TABLE_EQUAL: hash = hash_equal(m, key); break;
  default: hash = hash_string(OBJECT_(string, key), kind == TABLE_STRING_CI); break;
  }
  return fixnum((int64_t)(hash >> 2));
}
static bool same_key(machine *m, table_kind kind, value a, value b) {
  if (a == b) {
    return true;
  }
  switch (kind) {
  case TABLE_EQV: return is_eqv(a, b);
  case TABLE_EQUAL: return is_equal(m, a, b);
  default: return strings_equal(OBJECT_(string, a), OBJECT_(string, b), kind == TABLE_STRING_CI);
  }
}

// The slot of the key, or -1.
static int64_t find(machine *m, table_kind kind, vector *data, value hash, value key) {
  int64_t mask = data->length / 3 - 1, at = fixnum_of(hash) & mask;
  for (int64_t seen = 0; seen <= mask && data->item[3 * at] != SLOT_FREE; seen++, at = (at + 1) & mask) {
    if (data->item[3 * at] == hash && same_key(m, kind, data->item[3 * at + 1], key)) {
      return at;
    }
  }
  return -1;
}

value table_get(machine *m, value table, value key, value otherwise) {
  hashtable *t = OBJECT_(hashtable, table);
  vector *data = OBJECT_(vector, t->data);
  int64_t at = find(m, kind_of(t), data, hash_of(m, kind_of(t), key), key);
  return at < 0 ? otherwise : data->item[3 * at + 2];
}

static bool insert(vector *data, value hash, value key, value to) { // a key that is not there; false: it is full
  int64_t mask = data->length / 3 - 1, at = fixnum_of(hash) & mask;
  for (int64_t seen = 0; seen <= mask; seen++, at = (at + 1) & mask) {
    if (data->item[3 * at] == SLOT_FREE) {
      data->item[3 * at + 1] = key;
      data->item[3 * at + 2] = to;
      data->item[3 * at] = hash;
      return true;
    }
  }
  return false;
}
static vector *rebuild(machine *m, hashtable *t) {
  vector *old = OBJECT_(vector, t->data);
  value made = new_data(m, fixnum_of(t->count) + fixnum_of(t->count) / 4 + 4);
  int64_t count = 0;
  for (int64_t i = 0; i < old->length; i += 3) {
    if (old->item[i] != SLOT_FREE && old->item[i] != SLOT_DELETED) {
      count += insert(OBJECT_(vector, made), old->item[i], old->item[i + 1], old->item[i + 2]);
    }
  }
  t->count = t->used = fixnum(count);
  t->data = made;
  return OBJECT_(vector, made);
}
void table_put(machine *m, value table, value key, value to) {
  hashtable *t = OBJECT_(hashtable, table);
  vector *data = OBJECT_(vector, t->data);
  value hash = hash_of(m, kind_of(t), key);
  int64_t at = find(m, kind_of(t), data, hash, key);
  if (at >= 0) {
    data->item[3 * at + 2] = to;
    return;
  }
  if ((fixnum_of(t->used) + 1) * 3 > data->length / 3 * 2) { // two thirds are taken
    data = rebuild(m, t);
  }
  while (!insert(data, hash, key, to)) { // others fill it as fast as it grows
    data = rebuild(m, t);
  }
  t->count = fixnum(fixnum_of(t->count) + 1);
  t->used = fixnum(fixnum_of(t->used) + 1);
}
static void table_delete(machine *m, value table, value key) {
  hashtable *t = OBJECT_(hashtable, table);
  vector *data = OBJECT_(vector, t->data);
  int64_t at = find(m, kind_of(t), data, hash_of(m, kind_of(t), key), key);
  if (at >= 0) {
    data->item[3 * at] = SLOT_DELETED;
    data->item[3 * at + 1] = data->item[3 * at + 2] = V_FALSE;
    t->count = fixnum(fixnum_of(t->count) - 1);
  }
}
int64_t table_count(value table) { return fixnum_of(OBJECT_(hashtable, table)->count); }

// ---- Primitives.
static value want_table(machine *m, const char *who, value v) {
  check_kind(m, who, 1, "hash table", v, KIND_HASHTABLE);
  return v;
}
// Its key, too, where the table takes strings only.
static value want_key(machine *m, const char *who, value *argument) {
  want_table(m, who, argument[0]);
  if (kind_of(OBJECT_(hashtable, argument[0])) >= TABLE_STRING) {
    want_string(m, who, 2, argument[1]);
  }
  return argument[1];
}
static value make(machine *m, const char *who, value *argument, int count, table_kind kind) {
  bool sized = is_given(argument, count, 0) && is_fixnum(argument[0]);
  return table_new(m, kind, sized ? want_index(m, who, 1, argument[0], 0, LENGTH_MOST / 64) : 0);
}
static value p_make_equal(machine *m, value *argument, int count) { return make(m, "make-equal-hash-table", argument, count, TABLE_EQUAL); }
static value p_make_eqv(machine *m, value *argument, int count) { return make(m, "make-eqv-hash-table", argument, count, TABLE_EQV); }
static value p_make_string(machine *m, value *argument, int count) { return make(m, "make-string-hash-table", argument, count, TABLE_STRING); }
static value p_make_string_ci(machine *m, value *argument, int count) { return make(m, "make-string-ci-hash-table", argument, count, TABLE_STRING_CI); }
static value p_is_table(machine *m, value *argument, int count) { return boolean(is_kind(argument[0], KIND_HASHTABLE)); }
static value p_ref(machine *m, value *argument, int count) {
  value key = want_key(m, "hash-table-ref/default", argument);
  return table_get(m, argument[0], key, argument[2]);
}
static value p_set(machine *m, value *argument, int count) {
  value key = want_key(m, "hash-table-set!", argument);
  table_put(m, argument[0], key, argument[2]);
  return V_UNSPECIFIED;
}
static value p_delete(machine *m, value *argument, int count) {
  value key = want_key(m, "hash-table-delete!", argument);
  table_delete(m, argument[0], key);
  return V_UNSPECIFIED;
}
static value p_contains(machine *m, value *argument, int count) {
  value key = want_key(m, "hash-table-contains?", argument);
  return boolean(table_get(m, argument[0], key, SLOT_FREE) != SLOT_FREE);
}
static value p_count(machine *m, value *argument, int count) { return fixnum(table_count(want_table(m, "hash-table-count", argument[0]))); }
static value p_clear(machine *m, value *argument, int count) {
  hashtable *t = OBJECT_(hashtable, want_table(m, "hash-table-clear!", argument[0]));
  t->data = new_data(m, 0);
  t->count = t->used = fixnum(0);
  return V_UNSPECIFIED;
}
static value p_copy(machine *m, value *argument, int count) {
  hashtable *t = OBJECT_(hashtable, want_table(m, "hash-table-copy", argument[0]));
  value made = table_new(m, kind_of(t), 0);
  OBJECT_(hashtable, made)->data = t->data;
  OBJECT_(hashtable, made)->count = t->count;
  rebuild(m, OBJECT_(hashtable, made)); // into a vector of its own
  return made;
}

typedef enum listed { LIST_KEYS, LIST_VALUES, LIST_BOTH } listed;
static value list_entries(machine *m, const char *who, value table, listed what) {
  vector *data = OBJECT_(vector, OBJECT_(hashtable, want_table(m, who, table))->data);
  value made = V_NULL;
  for (int64_t i = 0; i < data->length; i += 3) {
    if (data->item[i] != SLOT_FREE && data->item[i] != SLOT_DELETED) {
      value key = data->item[i + 1], to = data->item[i + 2];
      made = cons(m, what == LIST_KEYS ? key : what == LIST_VALUES ? to : cons(m, key, to), made);
    }
  }
  return made;
}
static value p_keys(machine *m, value *argument, int count) { return list_entries(m, "hash-table-keys", argument[0], LIST_KEYS); }
static value p_values(machine *m, value *argument, int count) { return list_entries(m, "hash-table-values", argument[0], LIST_VALUES); }
static value p_alist(machine *m, value *argument, int count) { return list_entries(m, "hash-table->alist", argument[0], LIST_BOTH); }

static value vector_of(machine *m, value items) {
  int64_t length = 0;
  for (value at = items; is_pair(at); at = cdr(at)) {
    length++;
  }
  value made = new_vector(m, length, V_FALSE);
  for (int64_t i = 0; i < length; i++, items = cdr(items)) {
    OBJECT_(vector, made)->item[i] = car(items);
  }
  return made;
}
static value p_key_vector(machine *m, value *argument, int count) { return vector_of(m, list_entries(m, "hashtable-keys", argument[0], LIST_KEYS)); }
static value p_entries(machine *m, value *argument, int count) {
  value entries = list_entries(m, "hashtable-entries", argument[0], LIST_BOTH), keys = V_NULL, to = V_NULL;
  for (value at = entries; is_pair(at); at = cdr(at)) {
    keys = cons(m, car(car(at)), keys);
    to = cons(m, cdr(car(at)), to);
  }
  keys = vector_of(m, keys);
  return two_values(m, keys, vector_of(m, to));
}

// A hash, below the bound if one is given.
static value bounded(machine *m, const char *who, value *argument, int count, uint64_t hash) {
  uint64_t bound = is_given(argument, count, 1) ? (uint64_t)want_index(m, who, 2, argument[1], 1, GREATEST_FIXNUM) : (uint64_t)GREATEST_FIXNUM;
  return fixnum((int64_t)(hash % bound));
}
static value p_hash(machine *m, value *argument, int count) { return bounded(m, "hash", argument, count, hash_equal(m, argument[0])); }
static value p_hash_eqv(machine *m, value *argument, int count) { return bounded(m, "eqv-hash", argument, count, hash_eqv(m, argument[0])); }
static value p_hash_string(machine *m, value *argument, int count) {
  return bounded(m, "string-hash", argument, count, hash_string(want_string(m, "string-hash", 1, argument[0]), false));
}
static value p_hash_string_ci(machine *m, value *argument, int count) {
  return bounded(m, "string-ci-hash", argument, count, hash_string(want_string(m, "string-ci-hash", 1, argument[0]), true));
}

const primitive_entry primitives_hashtables[] = {
    {"make-equal-hash-table", p_make_equal, 0, 1}, {"make-eqv-hash-table", p_make_eqv, 0, 1}, {"make-eq-hash-table", p_make_eqv, 0, 1},
    {"make-strong-eqv-hash-table", p_make_eqv, 0, 1}, {"make-strong-eq-hash-table", p_make_eqv, 0, 1}, {"make-string-hash-table", p_make_string, 0, 1},
    {"make-string-ci-hash-table", p_make_string_ci, 0, 1}, {"hash-table?", p_is_table, 1, 1}, {"hash-table-ref/default", p_ref, 3, 3},
    {"hash-table-set!", p_set, 3, 3}, {"hash-table-delete!", p_delete, 2, 2}, {"hash-table-contains?", p_contains, 2, 2},
    {"hash-table-exists?", p_contains, 2, 2}, {"hash-table-count", p_count, 1, 1}, {"hash-table-size", p_count, 1, 1}, {"hash-table-clear!", p_clear, 1, 1},
    {"hash-table-copy", p_copy, 1, 2}, {"hash-table-keys", p_keys, 1, 1}, {"hash-table-values", p_values, 1, 1}, {"hash-table->alist", p_alist, 1, 1},
    {"hash-table/get", p_ref, 3, 3}, {"hash-table/put!", p_set, 3, 3}, {"hash-table/remove!", p_delete, 2, 2}, {"hash-table/count", p_count, 1, 1},
    {"make-equal-hashtable", p_make_equal, 0, 1}, {"make-eqv-hashtable", p_make_eqv, 0, 1}, {"make-eq-hashtable", p_make_eqv, 0, 1},
    {"hashtable?", p_is_table, 1, 1}, {"hashtable-ref", p_ref, 3, 3}, {"hashtable-set!", p_set, 3, 3}, {"hashtable-delete!", p_delete, 2, 2},
    {"hashtable-contains?", p_contains, 2, 2}, {"hashtable-size", p_count, 1, 1}, {"hashtable-clear!", p_clear, 1, 2}, {"hashtable-copy", p_copy, 1, 2},
    {"hashtable-keys", p_key_vector, 1, 1}, {"hashtable-entries", p_entries, 1, 1}, {"hash", p_hash, 1, 2}, {"equal-hash", p_hash, 1, 2},
    {"eqv-hash", p_hash_eqv, 1, 2}, {"eq-hash", p_hash_eqv, 1, 2}, {"hash-by-identity", p_hash_eqv, 1, 2}, {"symbol-hash", p_hash_eqv, 1, 2},
    {"string-hash", p_hash_string, 1, 2}, {"string-ci-hash", p_hash_string_ci, 1, 2}, {NULL, NULL, 0, 0}};
