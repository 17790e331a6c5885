// SPDX-License-Identifier: MIT
// environments.c: environments: what the symbols of a library or of a program mean.

#include "compiler.h"

// Entries are three words: the symbol, what it means, and whether that came by an import.
enum { ENTRY = 3 };

value environment_new(machine *m, value name) {
  environment *e = allocate(m, KIND_ENVIRONMENT, 5, KIND_ENVIRONMENT);
  e->name = name;
  e->exports = V_NULL;
  e->aliases = V_NULL;
  e->table = new_vector(m, 64 * ENTRY, V_FALSE);
  return ref(e);
}

static value *entry_find(value table, value symbol_value) {
  vector *t = OBJ(vector, table);
  uint64_t mask = (uint64_t)(t->length / ENTRY - 1), i = OBJ(symbol, symbol_value)->hash >> 1 & mask;
  while (t->item[i * ENTRY] != V_FALSE && t->item[i * ENTRY] != symbol_value) {
    i = (i + 1) & mask;
  }
  return &t->item[i * ENTRY];
}

value environment_get(value e, value symbol) {
  value *entry = entry_find(OBJ(environment, e)->table, symbol);
  return entry[0] == V_FALSE ? 0 : entry[1];
}

static void put(machine *m, value e, value symbol, value meaning, value imported) {
  environment *to = OBJ(environment, e);
  vector *old = OBJ(vector, to->table);
  if (3 * to->count >= 2 * (old->length / ENTRY)) {
    value made = new_vector(m, old->length * 2, V_FALSE);
    for (int64_t i = 0; i < old->length; i += ENTRY) {
      if (old->item[i] != V_FALSE) {
        value *entry = entry_find(made, old->item[i]);
        entry[0] = old->item[i];
        entry[1] = old->item[i + 1];
        entry[2] = old->item[i + 2];
      }
    }
    to->table = made;
  }
  value *entry = entry_find(to->table, symbol);
  to->count += entry[0] == V_FALSE;
  entry[1] = meaning;
  entry[2] = imported;
  entry[0] = symbol;
}
void environment_put(machine *m, value e, value symbol, value meaning) { put(m, e, symbol, meaning, V_FALSE); }
void environment_import(machine *m, value e, value symbol, value meaning) { put(m, e, symbol, meaning, V_TRUE); }

value environment_cell(machine *m, value e, value symbol) {
  value meaning = environment_get(e, symbol);
  if (is_kind(meaning, KIND_CELL)) {
    return meaning;
  }
  meaning = new_cell(m, V_UNBOUND, symbol);
  environment_put(m, e, symbol, meaning);
  return meaning;
}

value environment_own_cell(machine *m, value e, value symbol) {
  value *entry = entry_find(OBJ(environment, e)->table, symbol);
  if (entry[0] != V_FALSE && entry[2] == V_FALSE && is_kind(entry[1], KIND_CELL)) {
    OBJ(cell, entry[1])->header = KIND_CELL; // no instruction from now on
    return entry[1];
  }
  value before = entry[0] != V_FALSE && is_kind(entry[1], KIND_CELL) ? OBJ(cell, entry[1])->content : V_UNBOUND;
  value made = new_cell(m, before, symbol);
  environment_put(m, e, symbol, made);
  return made;
}

static void declare(machine *m, value e, value symbol) {
  if (is_kind(symbol, KIND_SYMBOL)) {
    value *entry = entry_find(OBJ(environment, e)->table, symbol);
    if (entry[0] != V_FALSE && entry[2] != V_FALSE && is_kind(entry[1], KIND_CELL)) {
      environment_own_cell(m, e, symbol);
    }
  }
}

static void declare_assigned(machine *m, value form, value e, value set, int64_t *budget) {
  if (is_pair(form) && is_kind(car(form), KIND_SYMBOL) && is_pair(cdr(form))) {
    value meaning = environment_get(e, car(form));
    if (meaning == fixnum(FORM_QUOTE)) {
      return;
    }
    if (meaning != 0 && meaning == set) {
      declare(m, e, car(cdr(form)));
    }
  }
  for (; is_pair(form) && --*budget > 0; form = cdr(form)) {
    if (is_pair(car(form))) {
      declare_assigned(m, car(form), e, set, budget);
    }
  }
}

// What is assigned somewhere, or defined at the top, is the program's own variable from the beginning, though a library has one of that name.
void compile_declare(machine *m, value form, value e) {
  if (!is_pair(form)) {
    return;
  }
  value meaning = is_kind(car(form), KIND_SYMBOL) ? environment_get(e, car(form)) : 0;
  if (meaning == fixnum(FORM_BEGIN) && form_length(form) > 0) {
    for (form = cdr(form); form != V_NULL; form = cdr(form)) {
      compile_declare(m, car(form), e);
    }
    return;
  }
  if (meaning == fixnum(FORM_DEFINE) && is_pair(cdr(form))) {
    value what = car(cdr(form));
    while (is_pair(what)) {
      what = car(what);
    }
    declare(m, e, what); // a keyword stays one until its definition is expanded
  }
  int64_t budget = 10000000;
  declare_assigned(m, form, e, environment_get(world->item[WORLD_BASE], intern(m, "set!")), &budget);
}

void compile_declare_locked(machine *m, value form, value e) {
  world_lock_take(m);
  compile_declare(m, form, e);
  world_lock_drop(m);
}
