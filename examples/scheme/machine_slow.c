// SPDX-License-Identifier: MIT
// machine_slow.c: what the machine does out of line: calls that are not of a closure with just so many arguments, primitives, slow halves of instructions.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bytecode.h"
#include "machine_slow.h"

// ---- Primitives.

static const primitive_entry *const tables[] = {primitives_numbers, primitives_number_text, primitives_lists, primitives_characters, primitives_strings,
    primitives_vectors,
                                                primitives_bytevectors, primitives_ports, primitives_hashtables, primitives_control, primitives_system};
enum { TABLES = sizeof tables / sizeof tables[0] };
static const char *const slow_names[SLOW_COUNT] = {"/", "quotient", "remainder", "modulo", "vector-ref", "vector-set!", "string-ref", "bytevector-u8-ref",
    "bytevector-u8-set!", "integer->char"};
static const char slow_counts[SLOW_COUNT] = {2, 2, 2, 2, 2, 3, 2, 2, 3, 1};
static primitive_fn *slow_functions[SLOW_COUNT];

static const primitive_entry *primitive_find(const char *name) {
  for (int t = 0; t < TABLES; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      if (strcmp(e->name, name) == 0) {
        return e;
      }
    }
  }
  return NULL;
}

// What `fn` of a primitive counts: all functions in the order of the tables, behind fail_gone, which is the first. A number, and no address, so that an image
// of a program with the same tables
// can be used as it is: else all primitives would have to be read and written when it opens.
static primitive_fn **functions;
static uint64_t function_count;

static value fail_gone(machine *m, value *argument, int count) { fail(m, NULL, "this primitive procedure of the image is not in this program", 0); }

static void functions_list(void) {
  int count = 1;
  for (int t = 0; t < TABLES; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      count++;
    }
  }
  functions = malloc((size_t)count * sizeof *functions);
  if (functions == NULL) {
    fprintf(stderr, "scheme: no memory\n");
    exit(70);
  }
  functions[0] = fail_gone;
  count = 1;
  for (int t = 0; t < TABLES; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      functions[count++] = e->fn;
    }
  }
  function_count = (uint64_t)count;
}

// FNV-1a of the tables: names and how many arguments.
static value tables_version(void) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int t = 0; t < TABLES; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      for (const char *c = e->name; *c != 0; c++) {
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
      }
      hash = (hash ^ (uint16_t)e->least ^ (uint64_t)(uint16_t)e->most << 16 ^ 1ull << 32) * 0x100000001b3u;
    }
  }
  return fixnum((int64_t)(hash >> 2));
}

static uint64_t primitive_header(const primitive_entry *e) { return KIND_PRIMITIVE | (uint64_t)e->least << 8 | (uint64_t)(e->most + 1) << 24; }

static void primitives_make(machine *m) {
  value all = V_NULL;
  int64_t number = 1;
  for (int t = 0; t < TABLES; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      primitive *p = allocate(m, KIND_PRIMITIVE, 2, primitive_header(e));
      p->name = intern(m, e->name);
      p->fn = fixnum(number++);
      all = cons(m, ref(p), all);
      environment_put(m, world->item[WORLD_BASE], p->name, new_cell(m, ref(p), p->name));
    }
  }
  world->item[WORLD_PRIMITIVES] = all;
}

// An image of a program with other tables: functions are found by their names, and take as many arguments as they do now.
static void primitives_match(machine *m) {
  for (value l = world->item[WORLD_PRIMITIVES]; l != V_NULL; l = cdr(l)) {
    primitive *p = OBJ(primitive, car(l));
    const char *name = utf8_of(m, p->name);
    int64_t number = 1, found = 0;
    for (int t = 0; t < TABLES; t++) {
      for (const primitive_entry *e = tables[t]; e->name != NULL; e++, number++) {
        if (strcmp(e->name, name) == 0) {
          found = number;
          p->header = primitive_header(e);
        }
      }
    }
    p->fn = fixnum(found);
  }
}

bool primitive_is_known(value v) {
  const primitive *p = OBJ(primitive, v);
  int64_t number = is_fixnum(p->fn) ? fixnum_of(p->fn) : -1;
  for (int t = 0; t < TABLES && number > 0; t++) {
    for (const primitive_entry *e = tables[t]; e->name != NULL; e++) {
      if (--number == 0) {
        return p->header == primitive_header(e);
      }
    }
  }
  return number == 0; // fail_gone
}

void primitives_begin(machine *m) {
  functions_list();
  for (int i = 0; i < SLOW_COUNT; i++) {
    const primitive_entry *e = primitive_find(slow_names[i]);
    slow_functions[i] = e != NULL ? e->fn : fail_gone;
  }
  value version = tables_version();
  if (world->item[WORLD_PRIMITIVES] == V_FALSE) {
    primitives_make(m);
  } else if (world->item[WORLD_PRIMITIVES_VERSION] != version) {
    primitives_match(m);
  }
  if (world->item[WORLD_PRIMITIVES_VERSION] != version) { // else nothing is written
    world->item[WORLD_PRIMITIVES_VERSION] = version;
  }
}

value machine_slow(machine *m, enum slow which, value a, value b, value c) {
  value argument[3] = {a, b, c};
  return slow_functions[which](m, argument, slow_counts[which]);
}

value primitive_call(machine *m, value callee, value *argument, int count) {
  primitive *p = OBJ(primitive, callee);
  int least = (int)(p->header >> 8 & 0xffff), most = (int)(p->header >> 24 & 0xffff) - 1;
  if (__builtin_expect(count < least || (most >= 0 && count > most), 0)) {
    fail_arguments(m, callee, count);
  }
  for (int i = count; i < most; i++) {
    argument[i] = V_DEFAULT;
  }
  // An image from elsewhere may hold any number: what is none of these is gone.
  uint64_t number = p->fn >> 1;
  return functions[number < function_count ? number : 0](m, argument, count);
}

value primitive_apply(machine *m, value callee, value l) {
  int64_t count = list_most(l, INT32_MAX);
  vector *all = OBJ(vector, new_vector(m, count, V_FALSE));
  for (int64_t i = 0; i < count && is_pair(l); i++, l = cdr(l)) {
    all->item[i] = car(l);
  }
  if ((OBJ(primitive, callee)->header >> 24 & 0xffff) != 0) {
    fail_arguments(m, callee, count); // it takes no number of arguments as large as this
  }
  return primitive_call(m, callee, all->item, (int)count);
}

static bool order(int sign, enum comparison which) {
  switch (which) {
    case MACHINE_LT: return sign < 0;
    case MACHINE_LE: return sign <= 0;
    case MACHINE_GT: return sign > 0;
    case MACHINE_GE: return sign >= 0;
    default: return sign == 0;
  }
}
bool compare_slow(machine *m, const char *sign, value a, value b, enum comparison which) {
  if (is_flonum(a) && (is_flonum(b) || is_fixnum(b))) {
    int64_t i = fixnum_of(b);
    if (is_flonum(b) || (i < (int64_t)1 << 53 && i > -((int64_t)1 << 53))) {
      double x = flonum_of(a), y = is_flonum(b) ? flonum_of(b) : (double)i;
      return which == MACHINE_LT ? x < y : which == MACHINE_LE ? x <= y : which == MACHINE_GT ? x > y : which == MACHINE_GE ? x >= y : x == y;
    }
  }
  int sign_of = number_compare(m, sign[0] == '=' ? "=" : sign, a, b);
  return sign_of != 2 && order(sign_of, which);
}

// ---- Calls.

int64_t list_most(value l, int64_t most) {
  int64_t n = 0;
  for (; n < most && is_pair(l); n++) {
    l = cdr(l);
  }
  return n;
}

int64_t spread(machine *m, value l, value *to) {
  int64_t n = 0;
  for (; is_pair(l); l = cdr(l)) {
    if (n >= ARGUMENTS_MAX) {
      fail(m, "apply", "too many arguments", 0);
    }
    to[n++] = car(l);
  }
  if (l != V_NULL) {
    fail(m, "apply", "the last argument is no list", 1, l);
  }
  return n;
}

void spread_values(machine *m, value v, unsigned count, value *to) {
  unsigned wanted = count & (SPREAD_REST - 1);
  value one[1] = {v}, *item = one;
  int64_t got = 1;
  if (is_kind(v, KIND_VALUES)) {
    item = OBJ(values, v)->item;
    got = OBJ(values, v)->count;
  }
  if (got < wanted || (got > wanted && !(count & SPREAD_REST))) {
    fail(m, NULL, count & SPREAD_REST ? "too few values: got and wanted at least" : "a wrong number of values: got and wanted", 2, fixnum(got), fixnum(wanted));
  }
  memcpy(to, item, 8 * wanted);
  if (count & SPREAD_REST) {
    value rest = V_NULL;
    while (got > wanted) {
      rest = cons(m, item[--got], rest);
    }
    to[wanted] = rest;
  }
}

static value arguments_list(machine *m, value *argument, int64_t from, int64_t count) {
  value rest = V_NULL;
  while (count > from) {
    rest = cons(m, argument[--count], rest);
  }
  return rest;
}

static value throw_prepare(machine *m, value callee, value *argument, int64_t *count) {
  continuation *k = OBJ(continuation, callee);
  if (k->winders != m->state->item[STATE_WINDERS]) { // the prelude calls what dynamic-wind was given, and then the continuation again
    argument[1] = arguments_list(m, argument, 0, *count);
    argument[0] = callee;
    *count = 2;
    return world->item[WORLD_REWIND];
  }
  m->state->item[STATE_HANDLERS] = k->handlers;
  m->state->item[STATE_BINDINGS] = k->bindings;
  if (*count != 1) {
    values *all = allocate(m, KIND_VALUES, *count + 1, KIND_VALUES);
    all->count = *count;
    memcpy(all->item, argument, 8 * (size_t)*count);
    argument[0] = ref(all);
  }
  return callee;
}

value call_prepare(machine *m, value callee, value *argument, int64_t *count) {
  if (is_kind(callee, KIND_CLOSURE)) {
    closure *c = OBJ(closure, callee);
    int64_t required = c->header >> 8 & 0xffff, flags = c->header >> 24 & 0xff;
    if (flags & CLOSURE_REST && *count >= required) {
      argument[required] = arguments_list(m, argument, required, *count);
      *count = required + 1;
      return callee;
    }
    for (int64_t i = 0; flags & CLOSURE_CASES && i < (int64_t)(c->header >> 32); i++) {
      uint64_t h = is_kind(c->free[i], KIND_CLOSURE) && !(header_of(c->free[i]) >> 24 & CLOSURE_CASES) ? header_of(c->free[i]) : 0;
      if (closure_takes(h, (int)*count)) {
        return c->free[i];
      }
      if (h >> 24 & 0xff & CLOSURE_REST && *count >= (int64_t)(h >> 8 & 0xffff)) {
        return call_prepare(m, c->free[i], argument, count);
      }
    }
    fail_arguments(m, callee, *count);
  }
  if (is_kind(callee, KIND_CONTINUATION)) {
    return throw_prepare(m, callee, argument, count);
  }
  if (is_kind(callee, KIND_PRIMITIVE)) {
    return callee;
  }
  if (is_kind(callee, KIND_PARAMETER) && *count == 0) {
    argument[0] = OBJ(parameter, callee)->content;
    for (value l = m->state->item[STATE_BINDINGS]; is_pair(l) && is_pair(car(l)); l = cdr(l)) {
      if (car(car(l)) == callee) {
        argument[0] = cdr(car(l));
        break;
      }
    }
    return V_FALSE;
  }
  if (callee == V_UNBOUND) { // a global variable that has no value: the instruction says which
    fail_unbound(m, m->next[-1]);
  }
  fail(m, NULL, "not a procedure", 1, callee);
}
