// SPDX-License-Identifier: MIT
// lists.c: pairs and lists, but for what takes a procedure (prelude/lists.scm); and the predicates of equality and truth.

#include "library.h"

static _Noreturn void fail_list(machine *m, const char *who, int position, value v) { fail_type(m, who, position, "list", v); }

// How long a list is; -1: it is none, or it is circular.
int64_t proper_length(value v) {
  int64_t length = 0;
  for (value slow = v; is_pair(v); slow = cdr(slow)) {
    v = cdr(v);
    length++;
    if (!is_pair(v)) {
      break;
    }
    v = cdr(v);
    length++;
    if (v == slow) {
      return -1;
    }
  }
  return v == V_NULL ? length : -1;
}
static int64_t want_length(machine *m, const char *who, int position, value v) {
  int64_t length = proper_length(v);
  if (length < 0) {
    fail_list(m, who, position, v);
  }
  return length;
}
// Loops along a list ask this now and then, so that a circular one is an error.
enum { LONG = 1 << 22 };
static bool is_circular(value v) {
  for (value slow = v; is_pair(v) && is_pair(cdr(v)); slow = cdr(slow)) {
    v = cdr(cdr(v));
    if (v == slow) {
      return true;
    }
  }
  return false;
}
static void check_circle(machine *m, const char *who, int position, value list, int64_t *steps) {
  if (++*steps % LONG == 0 && is_circular(list)) {
    fail_list(m, who, position, list);
  }
}

// ---- A list that grows at its end.
typedef struct queue {
  value head, last;
} queue;
static void queue_add(machine *m, queue *q, value v) {
  value made = cons(m, v, V_NULL);
  if (q->head == V_NULL) {
    q->head = made;
  } else {
    pair_of(q->last)->cdr = made;
  }
  q->last = made;
}
static value queue_close(queue *q, value rest) {
  if (q->head == V_NULL) {
    return rest;
  }
  pair_of(q->last)->cdr = rest;
  return q->head;
}

// ---- Pairs. c[ad]*r: the letters between c and r, taken from the right.
static inline value walk(machine *m, const char *who, value v, const char *letters, int count) {
  value at = v;
  for (int i = count - 1; i >= 0; i--) {
    if (!is_pair(at)) {
      fail_type(m, who, 1, count == 1 ? "pair" : "list that is deep enough", v);
    }
    at = letters[i] == 'a' ? car(at) : cdr(at);
  }
  return at;
}
#define PATHS(X)                                                                                                                                               \
  X(a) X(d) X(aa) X(ad) X(da) X(dd) X(aaa) X(aad) X(ada) X(add) X(daa) X(dad) X(dda) X(ddd) X(aaaa) X(aaad) X(aada) X(aadd) X(adaa) X(adad) X(adda) X(addd)    \
      X(daaa) X(daad) X(dada) X(dadd) X(ddaa) X(ddad) X(ddda) X(dddd)
#define PATH_FUNCTION(LETTERS)                                                                                                                                 \
  static value p_c##LETTERS##r(machine *m, value *argument, int count) { return walk(m, "c" #LETTERS "r", argument[0], #LETTERS, (int)sizeof #LETTERS - 1); }
PATHS(PATH_FUNCTION)
#define PATH_ENTRY(LETTERS) {"c" #LETTERS "r", p_c##LETTERS##r, 1, 1},

static value p_cons(machine *m, value *argument, int count) { return cons(m, argument[0], argument[1]); }
static value p_is_pair(machine *m, value *argument, int count) { return boolean(is_pair(argument[0])); }
static value p_is_null(machine *m, value *argument, int count) { return boolean(argument[0] == V_NULL); }
static value p_is_list(machine *m, value *argument, int count) { return boolean(proper_length(argument[0]) >= 0); }
static pair *want_pair(machine *m, const char *who, int position, value v) {
  if (!is_pair(v)) {
    fail_type(m, who, position, "pair", v);
  }
  return pair_of(v);
}
static value p_set_car(machine *m, value *argument, int count) {
  want_pair(m, "set-car!", 1, argument[0])->car = argument[1];
  return V_UNSPECIFIED;
}
static value p_set_cdr(machine *m, value *argument, int count) {
  want_pair(m, "set-cdr!", 1, argument[0])->cdr = argument[1];
  return V_UNSPECIFIED;
}

// ---- Making lists.
static value p_list(machine *m, value *argument, int count) {
  value made = V_NULL;
  for (int i = count - 1; i >= 0; i--) {
    made = cons(m, argument[i], made);
  }
  return made;
}
static value p_list_star(machine *m, value *argument, int count) {
  value made = argument[count - 1];
  for (int i = count - 2; i >= 0; i--) {
    made = cons(m, argument[i], made);
  }
  return made;
}
static value p_make_list(machine *m, value *argument, int count) {
  int64_t length = want_index(m, "make-list", 1, argument[0], 0, LENGTH_MOST);
  value fill = is_given(argument, count, 1) ? argument[1] : V_UNSPECIFIED, made = V_NULL;
  for (int64_t i = 0; i < length; i++) {
    made = cons(m, fill, made);
  }
  return made;
}
static value p_iota(machine *m, value *argument, int count) {
  int64_t length = want_index(m, "iota", 1, argument[0], 0, LENGTH_MOST);
  value start = is_given(argument, count, 1) ? want_number(m, "iota", 2, argument[1]) : fixnum(0);
  value step = is_given(argument, count, 2) ? want_number(m, "iota", 3, argument[2]) : fixnum(1);
  queue q = {V_NULL, V_NULL};
  for (int64_t i = 0; i < length; i++) {
    queue_add(m, &q, i == 0 ? start : number_add(m, start, number_multiply(m, fixnum(i), step)));
  }
  return q.head;
}
static value append_two(machine *m, const char *who, int position, value first, value rest) {
  queue q = {V_NULL, V_NULL};
  value at = first;
  for (int64_t steps = 0; is_pair(at); at = cdr(at)) {
    queue_add(m, &q, car(at));
    check_circle(m, who, position, first, &steps);
  }
  if (at != V_NULL) {
    fail_list(m, who, position, first);
  }
  return queue_close(&q, rest);
}
static value p_append(machine *m, value *argument, int count) {
  value made = count == 0 ? V_NULL : argument[count - 1];
  for (int i = count - 2; i >= 0; i--) {
    made = append_two(m, "append", i + 1, argument[i], made);
  }
  return made;
}
static value last_of(value v) {
  while (is_pair(cdr(v))) {
    v = cdr(v);
  }
  return v;
}
static value p_append_in_place(machine *m, value *argument, int count) {
  value made = count == 0 ? V_NULL : argument[count - 1];
  for (int i = count - 2; i >= 0; i--) {
    if (want_length(m, "append!", i + 1, argument[i]) > 0) {
      pair_of(last_of(argument[i]))->cdr = made;
      made = argument[i];
    }
  }
  return made;
}
static value reverse_onto(machine *m, const char *who, value list, value rest) {
  value made = rest, at = list;
  for (int64_t steps = 0; is_pair(at); at = cdr(at)) {
    made = cons(m, car(at), made);
    check_circle(m, who, 1, list, &steps);
  }
  if (at != V_NULL) {
    fail_list(m, who, 1, list);
  }
  return made;
}
static value p_reverse(machine *m, value *argument, int count) { return reverse_onto(m, "reverse", argument[0], V_NULL); }
static value p_append_reverse(machine *m, value *argument, int count) { return reverse_onto(m, "append-reverse", argument[0], argument[1]); }
static value p_reverse_in_place(machine *m, value *argument, int count) {
  want_length(m, "reverse!", 1, argument[0]);
  value made = V_NULL, at = argument[0];
  while (is_pair(at)) {
    value next = cdr(at);
    pair_of(at)->cdr = made;
    made = at;
    at = next;
  }
  return made;
}
static value p_list_copy(machine *m, value *argument, int count) { // of what is no list, and a tail that is none, stays
  queue q = {V_NULL, V_NULL};
  value at = argument[0];
  for (int64_t steps = 0; is_pair(at); at = cdr(at)) {
    queue_add(m, &q, car(at));
    check_circle(m, "list-copy", 1, argument[0], &steps);
  }
  return queue_close(&q, at);
}

// ---- Parts.
static value p_length(machine *m, value *argument, int count) { return fixnum(want_length(m, "length", 1, argument[0])); }
// A circular list has all elements. So that a large index does not take for ever there, a pair is remembered now and then, after twice as many steps each time:
// if it is met again, whole turns are left out. (Brent's way of finding circles.)
static value tail(machine *m, const char *who, value list, value index) {
  int64_t left = want_index(m, who, 2, index, 0, GREATEST_FIXNUM), since = 0, turn = 1024;
  value at = list, mark = V_FALSE;
  for (; left > 0; left--) {
    if (!is_pair(at)) {
      fail(m, who, "the list is too short", 2, list, index);
    }
    at = cdr(at);
    since++;
    if (at == mark && is_pair(at)) {
      left = (left - 1) % since + 1;
    }
    if (since == turn) {
      mark = at;
      since = 0;
      turn *= 2;
    }
  }
  return at;
}
static value element(machine *m, const char *who, value list, value index) {
  value at = tail(m, who, list, index);
  if (!is_pair(at)) {
    fail(m, who, "the list is too short", 2, list, index);
  }
  return at;
}
static value p_list_tail(machine *m, value *argument, int count) { return tail(m, "list-tail", argument[0], argument[1]); }
static value p_list_ref(machine *m, value *argument, int count) { return car(element(m, "list-ref", argument[0], argument[1])); }
static value p_list_set(machine *m, value *argument, int count) {
  pair_of(element(m, "list-set!", argument[0], argument[1]))->car = argument[2];
  return V_UNSPECIFIED;
}
static value head(machine *m, const char *who, value list, value index) {
  int64_t left = want_index(m, who, 2, index, 0, GREATEST_FIXNUM);
  queue q = {V_NULL, V_NULL};
  for (value at = list; left > 0; left--, at = cdr(at)) {
    if (!is_pair(at)) {
      fail(m, who, "the list is too short", 2, list, index);
    }
    queue_add(m, &q, car(at));
  }
  return q.head;
}
static value p_list_head(machine *m, value *argument, int count) { return head(m, "list-head", argument[0], argument[1]); }
static value p_sublist(machine *m, value *argument, int count) {
  int64_t end = want_index(m, "sublist", 3, argument[2], 0, GREATEST_FIXNUM), start = want_index(m, "sublist", 2, argument[1], 0, end);
  return head(m, "sublist", tail(m, "sublist", argument[0], argument[1]), fixnum(end - start));
}
static value p_last_pair(machine *m, value *argument, int count) {
  want_pair(m, "last-pair", 1, argument[0]);
  value at = argument[0];
  for (int64_t steps = 0; is_pair(cdr(at)); at = cdr(at)) {
    check_circle(m, "last-pair", 1, argument[0], &steps);
  }
  return at;
}
static value p_last(machine *m, value *argument, int count) { return car(p_last_pair(m, argument, count)); }
static value p_except_last_pair(machine *m, value *argument, int count) {
  int64_t length = want_length(m, "except-last-pair", 1, argument[0]);
  want_pair(m, "except-last-pair", 1, argument[0]);
  return head(m, "except-last-pair", argument[0], fixnum(length - 1));
}
static value nth(machine *m, const char *who, value list, int n) {
  value at = list;
  for (; n > 0 && is_pair(at); n--) {
    at = cdr(at);
  }
  if (!is_pair(at)) {
    fail(m, who, "the list is too short", 1, list);
  }
  return car(at);
}
static value p_first(machine *m, value *argument, int count) { return nth(m, "first", argument[0], 0); }
static value p_second(machine *m, value *argument, int count) { return nth(m, "second", argument[0], 1); }
static value p_third(machine *m, value *argument, int count) { return nth(m, "third", argument[0], 2); }
static value p_fourth(machine *m, value *argument, int count) { return nth(m, "fourth", argument[0], 3); }
static value p_fifth(machine *m, value *argument, int count) { return nth(m, "fifth", argument[0], 4); }

// ---- Search.
typedef enum sameness { SAME_EQ, SAME_EQV, SAME_EQUAL } sameness;
static bool same(machine *m, sameness how, value a, value b) { return a == b || (how != SAME_EQ && (how == SAME_EQV ? is_eqv(a, b) : is_equal(m, a, b))); }
static sameness simplest(value key, sameness how) { // what is compared by identity is found faster
  bool plain = is_fixnum(key) || (key & TAG_MASK) == TAG_IMMEDIATE || is_kind(key, KIND_SYMBOL);
  return plain ? SAME_EQ : how;
}
static value member(machine *m, const char *who, value key, value list, sameness how) {
  value at = list;
  how = simplest(key, how);
  for (int64_t steps = 0; is_pair(at); at = cdr(at)) {
    if (same(m, how, car(at), key)) {
      return at;
    }
    check_circle(m, who, 2, list, &steps);
  }
  if (at != V_NULL) {
    fail_list(m, who, 2, list);
  }
  return V_FALSE;
}
static value association(machine *m, const char *who, value key, value list, sameness how) {
  value at = list;
  how = simplest(key, how);
  for (int64_t steps = 0; is_pair(at); at = cdr(at)) {
    value entry = car(at);
    if (!is_pair(entry)) {
      fail_type(m, who, 2, "list of pairs", list);
    }
    if (same(m, how, car(entry), key)) {
      return entry;
    }
    check_circle(m, who, 2, list, &steps);
  }
  if (at != V_NULL) {
    fail_list(m, who, 2, list);
  }
  return V_FALSE;
}
static value p_memq(machine *m, value *argument, int count) { return member(m, "memq", argument[0], argument[1], SAME_EQ); }
static value p_memv(machine *m, value *argument, int count) { return member(m, "memv", argument[0], argument[1], SAME_EQV); }
static value p_member(machine *m, value *argument, int count) { return member(m, "member", argument[0], argument[1], SAME_EQUAL); }
static value p_assq(machine *m, value *argument, int count) { return association(m, "assq", argument[0], argument[1], SAME_EQ); }
static value p_assv(machine *m, value *argument, int count) { return association(m, "assv", argument[0], argument[1], SAME_EQV); }
static value p_assoc(machine *m, value *argument, int count) { return association(m, "assoc", argument[0], argument[1], SAME_EQUAL); }

static value p_delete(machine *m, value *argument, int count) {
  queue q = {V_NULL, V_NULL};
  want_length(m, "delete", 2, argument[1]);
  for (value at = argument[1]; is_pair(at); at = cdr(at)) {
    if (!is_equal(m, car(at), argument[0])) {
      queue_add(m, &q, car(at));
    }
  }
  return q.head;
}
static value p_delete_duplicates(machine *m, value *argument, int count) { // the first of each stays
  value seen = table_new(m, TABLE_EQUAL, 16);
  queue q = {V_NULL, V_NULL};
  want_length(m, "delete-duplicates", 1, argument[0]);
  for (value at = argument[0]; is_pair(at); at = cdr(at)) {
    if (table_get(m, seen, car(at), V_FALSE) == V_FALSE) {
      table_put(m, seen, car(at), V_TRUE);
      queue_add(m, &q, car(at));
    }
  }
  return q.head;
}

// ---- Equality and truth.
static value p_eq(machine *m, value *argument, int count) { return boolean(argument[0] == argument[1]); }
static value p_eqv(machine *m, value *argument, int count) { return boolean(is_eqv(argument[0], argument[1])); }
static value p_equal(machine *m, value *argument, int count) { return boolean(is_equal(m, argument[0], argument[1])); }
static value p_not(machine *m, value *argument, int count) { return boolean(argument[0] == V_FALSE); }
static bool is_boolean(value v) { return v == V_FALSE || v == V_TRUE; }
static value p_is_boolean(machine *m, value *argument, int count) { return boolean(is_boolean(argument[0])); }
static value p_boolean_equal(machine *m, value *argument, int count) {
  bool all = true;
  for (int i = 0; i < count; i++) {
    if (!is_boolean(argument[i])) {
      fail_type(m, "boolean=?", i + 1, "boolean", argument[i]);
    }
    all &= argument[i] == argument[0];
  }
  return boolean(all);
}
static value p_is_default(machine *m, value *argument, int count) { return boolean(argument[0] == V_DEFAULT); }

const primitive_entry primitives_lists[] = {
    PATHS(PATH_ENTRY){"cons", p_cons, 2, 2}, {"pair?", p_is_pair, 1, 1}, {"null?", p_is_null, 1, 1}, {"list?", p_is_list, 1, 1},
    {"set-car!", p_set_car, 2, 2}, {"set-cdr!", p_set_cdr, 2, 2}, {"list", p_list, 0, -1}, {"cons*", p_list_star, 1, -1}, {"list*", p_list_star, 1, -1},
    {"make-list", p_make_list, 1, 2}, {"iota", p_iota, 1, 3}, {"append", p_append, 0, -1}, {"append!", p_append_in_place, 0, -1},
    {"reverse", p_reverse, 1, 1}, {"reverse!", p_reverse_in_place, 1, 1}, {"append-reverse", p_append_reverse, 2, 2},
    {"append-reverse!", p_append_reverse, 2, 2}, {"list-copy", p_list_copy, 1, 1}, {"length", p_length, 1, 1}, {"list-tail", p_list_tail, 2, 2},
    {"drop", p_list_tail, 2, 2}, {"list-ref", p_list_ref, 2, 2}, {"list-set!", p_list_set, 3, 3}, {"list-head", p_list_head, 2, 2},
    {"take", p_list_head, 2, 2}, {"sublist", p_sublist, 3, 3}, {"last-pair", p_last_pair, 1, 1}, {"last", p_last, 1, 1},
    {"except-last-pair", p_except_last_pair, 1, 1}, {"except-last-pair!", p_except_last_pair, 1, 1}, {"first", p_first, 1, 1}, {"second", p_second, 1, 1},
    {"third", p_third, 1, 1}, {"fourth", p_fourth, 1, 1}, {"fifth", p_fifth, 1, 1}, {"memq", p_memq, 2, 2}, {"memv", p_memv, 2, 2},
    {"%member", p_member, 2, 2}, {"assq", p_assq, 2, 2}, {"assv", p_assv, 2, 2}, {"%assoc", p_assoc, 2, 2}, {"delete", p_delete, 2, 2},
    {"delete!", p_delete, 2, 2}, {"delete-duplicates", p_delete_duplicates, 1, 1}, {"eq?", p_eq, 2, 2}, {"eqv?", p_eqv, 2, 2}, {"equal?", p_equal, 2, 2},
    {"not", p_not, 1, 1}, {"boolean?", p_is_boolean, 1, 1}, {"boolean=?", p_boolean_equal, 1, -1}, {"default-object?", p_is_default, 1, 1},
    {NULL, NULL, 0, 0}};
