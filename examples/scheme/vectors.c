// SPDX-License-Identifier: MIT
// vectors.c: vectors, but for what takes a procedure (prelude/vectors.scm).

#include <string.h>
#include "library.h"

static value p_is_vector(machine *m, value *argument, int count) { return boolean(is_kind(argument[0], KIND_VECTOR)); }
static value p_make_vector(machine *m, value *argument, int count) {
  return new_vector(m, want_index(m, "make-vector", 1, argument[0], 0, LENGTH_MOST), is_given(argument, count, 1) ? argument[1] : V_FALSE);
}
static value p_vector(machine *m, value *argument, int count) {
  value made = new_vector(m, count, V_FALSE);
  memcpy(OBJECT_(vector, made)->item, argument, (size_t)count * sizeof(value));
  return made;
}
static value p_vector_length(machine *m, value *argument, int count) { return fixnum(want_vector(m, "vector-length", 1, argument[0])->length); }
static value p_vector_ref(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "vector-ref", 1, argument[0]);
  return v->item[want_index(m, "vector-ref", 2, argument[1], 0, v->length - 1)];
}
static value p_vector_set(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "vector-set!", 1, argument[0]);
  v->item[want_index(m, "vector-set!", 2, argument[1], 0, v->length - 1)] = argument[2];
  return V_UNSPECIFIED;
}

static value part(machine *m, vector *v, int64_t start, int64_t end) {
  value made = new_vector(m, end - start, V_FALSE);
  memcpy(OBJECT_(vector, made)->item, v->item + start, (size_t)(end - start) * sizeof(value));
  return made;
}
static value p_vector_to_list(machine *m, value *argument, int count) {
  int64_t start, end;
  vector *v = want_vector(m, "vector->list", 1, argument[0]);
  want_range(m, "vector->list", argument, count, 1, v->length, &start, &end);
  value made = V_NULL;
  for (int64_t i = end; i > start; i--) {
    made = cons(m, v->item[i - 1], made);
  }
  return made;
}
static value p_list_to_vector(machine *m, value *argument, int count) {
  int64_t length = proper_length(argument[0]);
  if (length < 0) {
    fail_type(m, "list->vector", 1, "list", argument[0]);
  }
  value made = new_vector(m, length, V_FALSE), at = argument[0];
  for (int64_t i = 0; i < length && is_pair(at); i++, at = cdr(at)) {
    OBJECT_(vector, made)->item[i] = car(at);
  }
  return made;
}
static value p_vector_fill(machine *m, value *argument, int count) {
  int64_t start, end;
  vector *v = want_vector(m, "vector-fill!", 1, argument[0]);
  want_range(m, "vector-fill!", argument, count, 2, v->length, &start, &end);
  value with = argument[1];
  for (int64_t i = start; i < end; i++) {
    v->item[i] = with;
  }
  return V_UNSPECIFIED;
}
static value p_vector_copy(machine *m, value *argument, int count) {
  int64_t start, end;
  vector *v = want_vector(m, "vector-copy", 1, argument[0]);
  want_range(m, "vector-copy", argument, count, 1, v->length, &start, &end);
  return part(m, v, start, end);
}
static value p_subvector(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "subvector", 1, argument[0]);
  int64_t end = want_index(m, "subvector", 3, argument[2], 0, v->length);
  return part(m, v, want_index(m, "subvector", 2, argument[1], 0, end), end);
}
static value p_vector_head(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "vector-head", 1, argument[0]);
  return part(m, v, 0, want_index(m, "vector-head", 2, argument[1], 0, v->length));
}
static value p_vector_tail(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "vector-tail", 1, argument[0]);
  return part(m, v, want_index(m, "vector-tail", 2, argument[1], 0, v->length), v->length);
}
static value p_vector_grow(machine *m, value *argument, int count) {
  vector *v = want_vector(m, "vector-grow", 1, argument[0]);
  value made = new_vector(m, want_index(m, "vector-grow", 2, argument[1], v->length, LENGTH_MOST), V_FALSE);
  memcpy(OBJECT_(vector, made)->item, v->item, (size_t)v->length * sizeof(value));
  return made;
}
static value p_vector_copy_to(machine *m, value *argument, int count) {
  int64_t start, end;
  vector *to = want_vector(m, "vector-copy!", 1, argument[0]), *from = want_vector(m, "vector-copy!", 3, argument[2]);
  int64_t at = want_index(m, "vector-copy!", 2, argument[1], 0, to->length);
  want_range(m, "vector-copy!", argument, count, 3, from->length, &start, &end);
  if (end - start > to->length - at) {
    fail(m, "vector-copy!", "there is no room for that many elements", 2, fixnum(end - start), fixnum(to->length - at));
  }
  memmove(to->item + at, from->item + start, (size_t)(end - start) * sizeof(value));
  return V_UNSPECIFIED;
}
static value p_vector_append(machine *m, value *argument, int count) {
  int64_t length = 0, at = 0;
  for (int i = 0; i < count; i++) {
    length += want_vector(m, "vector-append", i + 1, argument[i])->length;
  }
  value made = new_vector(m, length, V_FALSE);
  for (int i = 0; i < count; i++) {
    vector *v = OBJECT_(vector, argument[i]);
    memcpy(OBJECT_(vector, made)->item + at, v->item, (size_t)v->length * sizeof(value));
    at += v->length;
  }
  return made;
}

const primitive_entry primitives_vectors[] = {
    {"vector?", p_is_vector, 1, 1}, {"make-vector", p_make_vector, 1, 2}, {"vector", p_vector, 0, -1}, {"vector-length", p_vector_length, 1, 1},
    {"vector-ref", p_vector_ref, 2, 2}, {"vector-set!", p_vector_set, 3, 3}, {"vector->list", p_vector_to_list, 1, 3},
    {"list->vector", p_list_to_vector, 1, 1}, {"vector-fill!", p_vector_fill, 2, 4}, {"vector-copy", p_vector_copy, 1, 3}, {"subvector", p_subvector, 3, 3},
    {"vector-head", p_vector_head, 2, 2}, {"vector-tail", p_vector_tail, 2, 2}, {"vector-grow", p_vector_grow, 2, 2},
    {"vector-copy!", p_vector_copy_to, 3, 5}, {"vector-append", p_vector_append, 0, -1}, {NULL, NULL, 0, 0}};
