// SPDX-License-Identifier: MIT
// control.c: primitives of control: values, parameters, promises, conditions, the machine's state; compiling and evaluating. prelude/control.scm builds the
// rest on them.

#include <string.h>
#include "machine_slow.h"

// ---- Procedures and values.

static value is_procedure(machine *m, value *a, int count) {
  return boolean(is_kind(a[0], KIND_CLOSURE) || is_kind(a[0], KIND_PRIMITIVE) || is_kind(a[0], KIND_CONTINUATION) || is_kind(a[0], KIND_PARAMETER));
}
static value values_(machine *m, value *a, int count) {
  if (count == 1) {
    return a[0];
  }
  values *all = allocate(m, KIND_VALUES, count + 1, KIND_VALUES);
  all->count = count;
  memcpy(all->item, a, 8 * (size_t)count);
  return ref(all);
}
static value list_star(machine *m, value *a, int count) { // the list (x y (z ...)) as (x y z ...)
  value made = V_NULL, rest = a[0];
  while (is_pair(rest) && is_pair(cdr(rest))) {
    made = cons(m, car(rest), made);
    rest = cdr(rest);
  }
  value end = is_pair(rest) ? car(rest) : V_NULL;
  for (; made != V_NULL; made = cdr(made)) {
    end = cons(m, car(made), end);
  }
  return end;
}

// ---- The machine's state.

// Each is a list. Who walks along it checks what is in it.
static value state_get(machine *m, state_slot slot) { return m->state->item[slot]; }
static value state_set(machine *m, state_slot slot, value v) {
  if (v != V_NULL && !is_pair(v)) {
    fail_type(m, NULL, 1, "list", v);
  }
  m->state->item[slot] = v;
  return V_UNSPECIFIED;
}
static value get_winders(machine *m, value *a, int count) { return state_get(m, STATE_WINDERS); }
static value set_winders(machine *m, value *a, int count) { return state_set(m, STATE_WINDERS, a[0]); }
static value get_handlers(machine *m, value *a, int count) { return state_get(m, STATE_HANDLERS); }
static value set_handlers(machine *m, value *a, int count) { return state_set(m, STATE_HANDLERS, a[0]); }
static value get_bindings(machine *m, value *a, int count) { return state_get(m, STATE_BINDINGS); }
static value set_bindings(machine *m, value *a, int count) { return state_set(m, STATE_BINDINGS, a[0]); }

static value continuation_winders(machine *m, value *a, int count) {
  if (!is_kind(a[0], KIND_CONTINUATION)) {
    fail_type(m, NULL, 1, "continuation", a[0]);
  }
  return OBJ(continuation, a[0])->winders;
}
static value uncaught(machine *m, value *a, int count) { machine_abort(m, a[0]); }
static value set_hook(machine *m, value *a, int count) {
  if (!is_kind(a[1], KIND_CLOSURE)) {
    fail_type(m, NULL, 2, "procedure", a[1]);
  }
  world->item[a[0] == fixnum(0) ? WORLD_RAISE : WORLD_REWIND] = a[1];
  return V_UNSPECIFIED;
}

// ---- Parameters and promises.

static value make_parameter(machine *m, value *a, int count) {
  parameter *p = allocate(m, KIND_PARAMETER, 2, KIND_PARAMETER);
  p->content = a[0];
  p->converter = a[1];
  return ref(p);
}
static value parameter_converter(machine *m, value *a, int count) {
  if (!is_kind(a[0], KIND_PARAMETER)) {
    fail_type(m, "parameterize", 1, "parameter", a[0]);
  }
  return OBJ(parameter, a[0])->converter;
}

static value delay(machine *m, value *a, int count) {
  value state = cons(m, a[0], a[1]);
  vector *p = allocate(m, KIND_PROMISE, 1, KIND_PROMISE);
  p->length = (int64_t)state; // its one slot
  return ref(p);
}
static value is_promise(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_PROMISE)); }
static value promise_state(machine *m, value *a, int count) {
  if (!is_kind(a[0], KIND_PROMISE)) {
    fail_type(m, "force", 1, "promise", a[0]);
  }
  return (value)OBJ(vector, a[0])->length;
}
static value promise_share(machine *m, value *a, int count) {
  promise_state(m, a, 1);
  if (!is_pair(a[1])) {
    fail_type(m, "force", 2, "pair", a[1]);
  }
  OBJ(vector, a[0])->length = (int64_t)a[1];
  return V_UNSPECIFIED;
}

// ---- Records of types that a body defines; those of the top are instructions.

static value make_record_type(machine *m, value *a, int count) {
  record_type *t = allocate(m, KIND_RECORD_TYPE, 3, KIND_RECORD_TYPE);
  t->name = a[0];
  t->fields = a[1];
  t->parent = V_FALSE;
  return ref(t);
}
static void want_record_type(machine *m, value v, value index, int64_t fields) {
  if (!is_kind(v, KIND_RECORD_TYPE) || !is_kind(OBJ(record_type, v)->fields, KIND_VECTOR)) {
    fail_type(m, NULL, 1, "record type", v);
  }
  int64_t length = OBJ(vector, OBJ(record_type, v)->fields)->length;
  if (!is_fixnum(index) || fixnum_of(index) < 0 || (fields < 0 && fixnum_of(index) >= length) || (fields >= 0 && fields != length)) {
    fail(m, NULL, "the record type has other fields", 1, v);
  }
}
static value make_record(machine *m, value *a, int count) {
  want_record_type(m, a[0], a[1], count - 2);
  record *made = allocate(m, KIND_RECORD, count - 1, KIND_RECORD);
  made->type = a[0];
  memcpy(made->field, a + 2, 8 * (size_t)(count - 2));
  return ref(made);
}
static value is_record(machine *m, value *a, int count) { return boolean(is_kind(a[2], KIND_RECORD) && OBJ(record, a[2])->type == a[0]); }
static record *want_record(machine *m, value *a) {
  want_record_type(m, a[0], a[1], -1);
  if (!is_kind(a[2], KIND_RECORD) || OBJ(record, a[2])->type != a[0]) {
    fail_record(m, a[2], a[0]);
  }
  return OBJ(record, a[2]);
}
static value record_ref(machine *m, value *a, int count) { return want_record(m, a)->field[fixnum_of(a[1])]; }
static value record_set(machine *m, value *a, int count) {
  want_record(m, a)->field[fixnum_of(a[1])] = a[3];
  return V_UNSPECIFIED;
}

// ---- Conditions.

static value make_condition(machine *m, value *a, int count) {
  condition *c = allocate(m, KIND_CONDITION, 5, KIND_CONDITION);
  c->kind = a[0];
  c->message = a[1];
  c->irritants = a[2];
  c->who = V_FALSE;
  c->where = fixnum((int64_t)machine_position(m));
  return ref(c);
}
static value is_condition(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_CONDITION)); }
static condition *want_condition(machine *m, const char *who, value v) {
  if (!is_kind(v, KIND_CONDITION)) {
    fail_type(m, who, 1, "error object", v);
  }
  return OBJ(condition, v);
}
static value condition_message(machine *m, value *a, int count) { return want_condition(m, "error-object-message", a[0])->message; }
static value condition_irritants(machine *m, value *a, int count) { return want_condition(m, "error-object-irritants", a[0])->irritants; }
static value is_of(machine *m, value v, const char *kind) { return boolean(is_kind(v, KIND_CONDITION) && OBJ(condition, v)->kind == intern(m, kind)); }
static value is_file_error(machine *m, value *a, int count) { return is_of(m, a[0], "file-error"); }
static value is_read_error(machine *m, value *a, int count) { return is_of(m, a[0], "read-error"); }

// ---- Environments and evaluation.

static value want_environment(machine *m, const char *who, value v) {
  if (v == V_DEFAULT) {
    return world->item[WORLD_USER];
  }
  if (!is_kind(v, KIND_ENVIRONMENT)) {
    fail_type(m, who, 2, "environment", v);
  }
  return v;
}
static value compile_(machine *m, value *a, int count) { return compile(m, a[0], want_environment(m, "eval", a[1])); }
static value declare_(machine *m, value *a, int count) {
  world_lock_take(m);
  for (value l = a[0]; is_pair(l); l = cdr(l)) {
    compile_declare(m, car(l), want_environment(m, "load", a[1]));
  }
  world_lock_drop(m);
  return V_UNSPECIFIED;
}
static value interaction_environment(machine *m, value *a, int count) { return world->item[WORLD_USER]; }
static value base_environment(machine *m, value *a, int count) { return world->item[WORLD_BASE]; }
static value environment_(machine *m, value *a, int count) {
  value sets = V_NULL;
  while (count > 0) {
    sets = cons(m, a[--count], sets);
  }
  world_lock_take(m);
  value made = environment_new(m, V_FALSE);
  import_sets(m, sets, made);
  world_lock_drop(m);
  return made;
}
static value is_environment(machine *m, value *a, int count) { return boolean(is_kind(a[0], KIND_ENVIRONMENT)); }

const primitive_entry primitives_control[] = {
    {"procedure?", is_procedure, 1, 1}, {"values", values_, 0, -1}, {"%list*", list_star, 1, 1}, {"%winders", get_winders, 0, 0}, {"%set-winders!",
        set_winders, 1, 1},
    {"%handlers", get_handlers, 0, 0}, {"%set-handlers!", set_handlers, 1, 1}, {"%bindings", get_bindings, 0, 0}, {"%set-bindings!", set_bindings, 1, 1},
    {"%continuation-winders", continuation_winders, 1, 1}, {"%uncaught", uncaught, 1, 1}, {"%set-hook!", set_hook, 2, 2}, {"%make-parameter",
        make_parameter, 2, 2},
    {"%parameter-converter", parameter_converter, 1, 1}, {"%delay", delay, 2, 2}, {"promise?", is_promise, 1, 1}, {"%promise-state", promise_state, 1, 1},
    {"%promise-share!", promise_share, 2, 2}, {"%make-condition", make_condition, 3, 3}, {"error-object?", is_condition, 1, 1},
    {"error-object-message", condition_message, 1, 1}, {"error-object-irritants", condition_irritants, 1, 1}, {"file-error?", is_file_error, 1, 1},
    {"read-error?", is_read_error, 1, 1}, {"%compile", compile_, 1, 2}, {"%declare", declare_, 1, 2}, {"interaction-environment", interaction_environment,
        0, 0},
    {"%record-type", make_record_type, 2, 2}, {"%record", make_record, 2, -1}, {"%record?", is_record, 3, 3}, {"%record-ref", record_ref, 3, 3},
    {"%record-set!", record_set, 4, 4}, {"%base-environment", base_environment, 0, 0}, {"environment", environment_, 0, -1}, {"environment?",
        is_environment, 1, 1}, {NULL, NULL, 0, 0}};
