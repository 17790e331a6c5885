// SPDX-License-Identifier: MIT
// expand.c: from a datum to a syntax tree: identifiers, scopes, applications.
//
// Hygiene: what a macro's template puts in is not a symbol but an identifier, an object of its own for each expansion and each name, that knows the scope of
// the macro's definition. If it is
// bound in the scope where it stands, that counts; else its name is looked up in the scope of the definition. So a binding that a template makes catches only
// what came
// from the same expansion.

#include <string.h>
#include "compiler.h"

// ---- Tree.

static void *other(machine *m, int slots, int what) { return allocate(m, KIND_OTHER, slots, OTHER_HEADER(what)); }

value node_new(machine *m, node_kind kind, value a, value b, value c, value form) {
  node *n = other(m, 5, OTHER_NODE);
  n->header |= (uint64_t)kind << 8;
  n->a = a;
  n->b = b;
  n->c = c;
  n->d = V_FALSE;
  n->where = fixnum(is_pair(form) ? (int64_t)pair_of(form)->header : 0);
  return ref(n);
}
value node_constant(machine *m, value datum) { return node_new(m, N_CONST, datum, V_FALSE, V_FALSE, V_FALSE); }
value node_local(machine *m, value v) {
  VARIABLE(v)->references++;
  return node_new(m, N_LOCAL, v, V_FALSE, V_FALSE, V_FALSE);
}
value node_base(machine *m, const char *name) {
  return node_new(m, N_GLOBAL, environment_cell(m, world->item[WORLD_BASE], intern(m, name)), V_FALSE, V_FALSE, V_FALSE);
}
value variable_new(machine *m, value identifier) {
  variable *v = other(m, 8, OTHER_VARIABLE);
  v->name = strip(m, identifier);
  return ref(v);
}
value lambda_new(machine *m, value variables, int required, bool rest, value body, value name, value form) {
  lambda *l = other(m, 13, OTHER_LAMBDA);
  l->name = name;
  l->parameters = variables;
  l->required = required;
  l->rest = rest;
  l->body = body;
  l->free = V_NULL;
  l->where = fixnum(is_pair(form) ? (int64_t)pair_of(form)->header : 0);
  return node_new(m, N_LAMBDA, ref(l), V_FALSE, V_FALSE, form);
}

value reversed(value l) {
  value done = V_NULL;
  while (l != V_NULL) {
    value rest = cdr(l);
    pair_of(l)->cdr = done;
    done = l;
    l = rest;
  }
  return done;
}

// ---- Forms.

int64_t form_length(value form) {
  int64_t n = 0;
  value slow = form;
  for (; is_pair(form); form = cdr(form), n++) {
    slow = n > 0 && n % 2 == 0 ? cdr(slow) : slow;
    if (n > 0 && form == slow) {
      return -1;
    }
  }
  return form == V_NULL ? n : -1;
}

void form_check(machine *m, value form, int least, int most) {
  int64_t n = form_length(form);
  if (n < 0) {
    fail_syntax(m, form, "this is not a proper list");
  }
  if (n < least || (most >= 0 && n > most)) {
    fail_syntax(m, form, n < least ? "something is missing in" : "there is too much in");
  }
}

bool is_identifier(value v) { return is_kind(v, KIND_SYMBOL) || is_kind(v, KIND_IDENTIFIER); }

void identifiers_check(machine *m, value l, value form, bool dotted) {
  for (value rest = l; rest != V_NULL; rest = cdr(rest)) {
    if (!is_pair(rest)) {
      if (dotted && is_identifier(rest)) {
        for (value other = l; other != rest; other = cdr(other)) {
          if (car(other) == rest) {
            fail_syntax(m, form, "a variable stands twice in");
          }
        }
        return;
      }
      fail_syntax(m, form, "this is no list of variables");
    }
    if (!is_identifier(car(rest))) {
      fail_syntax(m, form, "a variable must be a symbol");
    }
    for (value other = l; other != rest; other = cdr(other)) {
      if (car(other) == car(rest)) {
        fail_syntax(m, form, "a variable stands twice in");
      }
    }
  }
}

// The datum that a form is, once it is quoted.
static value strip_deep(machine *m, value form, int depth) {
  if (is_kind(form, KIND_IDENTIFIER)) {
    while (is_kind(form, KIND_IDENTIFIER)) {
      form = OBJ(identifier, form)->name;
    }
    return form;
  }
  if (depth > 10000) {
    return form;
  }
  if (is_pair(form)) {
    value first = strip_deep(m, car(form), depth + 1), last = V_NULL, made = V_NULL;
    // Along the list without recursion, and only as far as there is something to change: what is shared stays shared.
    value end = form, changed = V_FALSE;
    (void)first;
    int64_t n = 0;
    for (value l = form; is_pair(l) && n < 10000000; l = cdr(l), n++) {
      if (strip_deep(m, car(l), depth + 1) != car(l) || is_kind(cdr(l), KIND_IDENTIFIER)) {
        changed = V_TRUE;
      }
      end = cdr(l);
    }
    if (changed == V_FALSE) {
      return form;
    }
    for (value l = form; is_pair(l); l = cdr(l)) {
      value item = cons(m, strip_deep(m, car(l), depth + 1), V_NULL);
      pair_of(item)->header = pair_of(l)->header;
      if (made == V_NULL) {
        made = item;
      } else {
        pair_of(last)->cdr = item;
      }
      last = item;
    }
    pair_of(last)->cdr = strip_deep(m, end, depth + 1);
    return made;
  }
  if (is_kind(form, KIND_VECTOR)) {
    vector *v = OBJ(vector, form);
    for (int64_t i = 0; i < v->length; i++) {
      if (strip_deep(m, v->item[i], depth + 1) != v->item[i]) {
        vector *made = OBJ(vector, new_vector(m, v->length, V_FALSE));
        for (i = 0; i < v->length; i++) {
          made->item[i] = strip_deep(m, v->item[i], depth + 1);
        }
        return ref(made);
      }
    }
  }
  return form;
}

// Whether anything in it is to be changed at all; ends on circular data by going no further than a macro's template can have made it.
static bool has_identifiers(value form, int64_t *budget) {
  while (is_pair(form) && --*budget > 0) {
    if (has_identifiers(car(form), budget)) {
      return true;
    }
    form = cdr(form);
  }
  if (is_kind(form, KIND_VECTOR)) {
    vector *v = OBJ(vector, form);
    for (int64_t i = 0; i < v->length && --*budget > 0; i++) {
      if (has_identifiers(v->item[i], budget)) {
        return true;
      }
    }
  }
  return is_kind(form, KIND_IDENTIFIER);
}
value strip(machine *m, value form) {
  int64_t budget = 1000000;
  return has_identifiers(form, &budget) ? strip_deep(m, form, 0) : form;
}

// ---- Scopes.

value scope_new(machine *m, value parent) {
  scope *s = other(m, 2, OTHER_SCOPE);
  s->parent = parent;
  s->bindings = V_NULL;
  return ref(s);
}
void scope_bind(machine *m, value s, value identifier, value meaning) {
  value entry = cons(m, identifier, meaning);
  OBJ(scope, s)->bindings = cons(m, entry, OBJ(scope, s)->bindings);
}
value environment_of(value s) {
  while (is_other(s, OTHER_SCOPE)) {
    s = OBJ(scope, s)->parent;
  }
  return s;
}

static value assq_in(value l, value key) {
  for (; l != V_NULL; l = cdr(l)) {
    if (car(car(l)) == key) {
      return cdr(car(l));
    }
  }
  return 0;
}

value resolve(machine *m, value id, value s, value *environment, value *symbol) {
  while (true) {
    value meaning = 0;
    for (; is_other(s, OTHER_SCOPE); s = OBJ(scope, s)->parent) {
      meaning = assq_in(OBJ(scope, s)->bindings, id);
      if (meaning != 0) {
        return meaning;
      }
    }
    *environment = s;
    *symbol = id;
    if (is_kind(id, KIND_SYMBOL)) {
      return environment_get(s, id);
    }
    meaning = assq_in(OBJ(struct environment, s)->aliases, id);
    if (meaning != 0) {
      return meaning;
    }
    s = OBJ(identifier, id)->scope;
    id = OBJ(identifier, id)->name;
  }
}

bool is_form(machine *m, value id, value s, int form) {
  value e, symbol;
  return is_identifier(id) && resolve(m, id, s, &e, &symbol) == fixnum(form);
}

bool same_identifier(machine *m, value a, value scope_a, value b, value scope_b) {
  value e1, e2, s1, s2, m1 = resolve(m, a, scope_a, &e1, &s1), m2 = resolve(m, b, scope_b, &e2, &s2);
  return m1 != 0 || m2 != 0 ? m1 == m2 : s1 == s2;
}

// ---- Expressions.

static value expand_identifier(machine *m, value id, value s, value form) {
  value e, symbol, meaning = resolve(m, id, s, &e, &symbol);
  if (meaning == 0) {
    meaning = environment_cell(m, e, symbol);
  }
  if (is_fixnum(meaning) || is_kind(meaning, KIND_MACRO)) {
    fail_syntax(m, form == V_FALSE ? id : form, "a keyword stands where a value is wanted: %s", utf8_of(m, strip(m, id)));
  }
  if (is_kind(meaning, KIND_CELL)) {
    return node_new(m, N_GLOBAL, meaning, V_FALSE, V_FALSE, form);
  }
  return node_local(m, meaning);
}

value expand_list(machine *m, value forms, value s) {
  value all = V_NULL;
  for (; is_pair(forms); forms = cdr(forms)) {
    all = cons(m, is_identifier(car(forms)) ? expand_identifier(m, car(forms), s, forms) : expand(m, car(forms), s), all);
  }
  return reversed(all);
}

// A call; of a lambda expression: its variables are bound; of a primitive that is an instruction: that.
value node_call(machine *m, value callee, value arguments, value form) {
  if (kind_of(callee) == N_GLOBAL) {
    int which = (int)(header_of(NODE(callee)->a) >> 8 & 0xff);
    value folded = which != 0 ? inline_fold(m, which, arguments, form) : 0;
    if (folded != 0) {
      return folded;
    }
  }
  if (kind_of(callee) == N_LAMBDA) {
    lambda *l = LAMBDA(NODE(callee)->a);
    if (!l->rest && l->required == form_length(arguments)) {
      return node_new(m, N_LET, l->parameters, arguments, l->body, form);
    }
  }
  return node_new(m, N_CALL, callee, arguments, V_FALSE, form);
}

static value expand_application(machine *m, value form, value s) {
  if (form_length(form) < 0) {
    fail_syntax(m, form, "a call must be a proper list");
  }
  value callee = is_identifier(car(form)) ? expand_identifier(m, car(form), s, form) : expand(m, car(form), s);
  return node_call(m, callee, expand_list(m, cdr(form), s), form);
}

enum { MOST_EXPANSIONS = 100000 }; // of one form, by macros that make calls of macros

value expand_head(machine *m, value *form, value s, value *where, value *symbol) {
  for (int expansions = 0;; expansions++) {
    value meaning = is_pair(*form) && is_identifier(car(*form)) ? resolve(m, car(*form), s, where, symbol) : 0;
    if (!is_kind(meaning, KIND_MACRO)) {
      return meaning;
    }
    if (expansions > MOST_EXPANSIONS) {
      fail_syntax(m, *form, "a macro expands without end");
    }
    *form = expand_macro(m, meaning, *form, s);
  }
}

value expand(machine *m, value form, value s) {
  char here;
  if (m->depth_limit != NULL && &here < m->depth_limit) {
    fail_syntax(m, V_FALSE, "expressions are nested too deeply");
  }
  for (int expansions = 0; is_pair(form); expansions++) {
    value outer = m->state->item[STATE_FORMS], e, symbol, result;
    m->state->item[STATE_FORMS] = cons(m, form, outer);
    if (expansions > MOST_EXPANSIONS) {
      fail_syntax(m, form, "a macro expands without end");
    }
    value meaning = is_identifier(car(form)) ? resolve(m, car(form), s, &e, &symbol) : 0;
    if (is_kind(meaning, KIND_MACRO)) {
      form = expand_macro(m, meaning, form, s);
      m->state->item[STATE_FORMS] = outer;
      continue;
    }
    if (meaning != 0 && is_fixnum(meaning)) {
      const special_form *f = &special_forms[fixnum_of(meaning)];
      if (f->expand == NULL) {
        fail_syntax(m, form, "this does not belong here: %s", f->name);
      }
      result = f->expand(m, form, s);
    } else {
      result = expand_application(m, form, s);
    }
    m->state->item[STATE_FORMS] = outer;
    return result;
  }
  if (is_identifier(form)) {
    return expand_identifier(m, form, s, V_FALSE);
  }
  if (form == V_NULL) {
    fail_syntax(m, form, "the empty list is no expression; quote it");
  }
  if (is_kind(form, KIND_STRING) || is_kind(form, KIND_VECTOR) || is_kind(form, KIND_BYTEVECTOR)) {
    return node_constant(m, strip(m, form));
  }
  return node_constant(m, form);
}
