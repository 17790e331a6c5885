// SPDX-License-Identifier: MIT
// syntax_rules.c: macros: matching patterns and filling templates. For scopes and identifiers see expand.c.

#include "compiler.h"

typedef struct match {
  machine *m;
  value use_scope, bindings;  // bindings: list of (pattern variable . what it matched); below an ellipsis, a list of such lists under V_TRUE: see match_many
  value macro, renamed;       // renamed: list of (symbol . identifier) of this expansion
} match;

static bool is_dots(match *c, value v) {
  macro *mac = OBJ(macro, c->macro);
  if (!is_identifier(v)) {
    return false;
  }
  if (mac->ellipsis != V_FALSE) {
    return v == mac->ellipsis;
  }
  return is_form(c->m, v, mac->scope, FORM_DOTS);
}
static bool is_literal(match *c, value v) {
  for (value l = OBJ(macro, c->macro)->literals; is_pair(l); l = cdr(l)) {
    if (car(l) == v) {
      return true;
    }
  }
  return false;
}

static value vector_list(machine *m, value v) {
  value items = V_NULL;
  for (int64_t i = OBJ(vector, v)->length; i-- > 0;) {
    items = cons(m, OBJ(vector, v)->item[i], items);
  }
  return items;
}
static int64_t pairs_in(value form) {
  int64_t n = 0;
  for (; is_pair(form) && n < 100000000; form = cdr(form)) {
    n++;
  }
  return n;
}

static bool match_one(match *c, value pattern, value form);

static void pattern_variables(match *c, value pattern, value *all) {
  if (is_identifier(pattern)) {
    if (!is_literal(c, pattern) && !is_dots(c, pattern) && !is_form(c->m, pattern, OBJ(macro, c->macro)->scope, FORM_UNDERSCORE)) {
      *all = cons(c->m, pattern, *all);
    }
  } else if (is_pair(pattern)) {
    pattern_variables(c, car(pattern), all);
    pattern_variables(c, cdr(pattern), all);
  } else if (is_kind(pattern, KIND_VECTOR)) {
    pattern_variables(c, vector_list(c->m, pattern), all);
  }
}

// `pattern ...` against the first `count` items: each variable is bound to the list of what it matched.
static bool match_many(match *c, value pattern, value form, int64_t count) {
  machine *m = c->m;
  value variables = V_NULL, outer = c->bindings, rows = V_NULL;
  pattern_variables(c, pattern, &variables);
  for (; count > 0; count--, form = cdr(form)) {
    c->bindings = V_NULL;
    if (!match_one(c, pattern, car(form))) {
      return false;
    }
    rows = cons(m, c->bindings, rows);
  }
  for (value v = variables; v != V_NULL; v = cdr(v)) {
    value all = V_NULL;
    for (value r = rows; r != V_NULL; r = cdr(r)) {
      for (value b = car(r); b != V_NULL; b = cdr(b)) {
        if (car(car(b)) == car(v)) {
          all = cons(m, cdr(car(b)), all);
          break;
        }
      }
    }
    outer = cons(m, cons(m, car(v), all), outer);
  }
  c->bindings = outer;
  return true;
}

static bool match_one(match *c, value pattern, value form) {
  machine *m = c->m;
  while (is_pair(pattern)) {
    if (is_pair(cdr(pattern)) && is_dots(c, car(cdr(pattern)))) {
      value after = cdr(cdr(pattern));
      int64_t least = pairs_in(after), have = pairs_in(form);
      if (have < least || !match_many(c, car(pattern), form, have - least)) {
        return false;
      }
      for (int64_t i = have - least; i > 0; i--) {
        form = cdr(form);
      }
      pattern = after;
      continue;
    }
    if (!is_pair(form) || !match_one(c, car(pattern), car(form))) {
      return false;
    }
    pattern = cdr(pattern);
    form = cdr(form);
  }
  if (is_identifier(pattern)) {
    value scope = OBJ(macro, c->macro)->scope;
    if (is_literal(c, pattern)) {
      return is_identifier(form) && same_identifier(m, form, c->use_scope, pattern, scope);
    }
    if (!is_form(m, pattern, scope, FORM_UNDERSCORE)) {
      c->bindings = cons(m, cons(m, pattern, form), c->bindings);
    }
    return true;
  }
  if (is_kind(pattern, KIND_VECTOR)) {
    return is_kind(form, KIND_VECTOR) && match_one(c, vector_list(m, pattern), vector_list(m, form));
  }
  return is_equal(m, pattern, form);
}

// ---- Templates.

static value binding_of(value bindings, value id) {
  for (; bindings != V_NULL; bindings = cdr(bindings)) {
    if (car(car(bindings)) == id) {
      return car(bindings);
    }
  }
  return 0;
}

static value renamed(match *c, value id) {
  machine *m = c->m;
  value known = binding_of(c->renamed, id);
  if (known != 0) {
    return cdr(known);
  }
  identifier *made = allocate(m, KIND_IDENTIFIER, 2, KIND_IDENTIFIER);
  made->name = id;
  made->scope = OBJ(macro, c->macro)->scope;
  c->renamed = cons(m, cons(m, id, ref(made)), c->renamed);
  return ref(made);
}

static void template_variables(match *c, value template, value bindings, value *all) {
  if (is_identifier(template)) {
    value b = binding_of(bindings, template);
    if (b != 0) {
      *all = cons(c->m, b, *all);
    }
  } else if (is_pair(template)) {
    template_variables(c, car(template), bindings, all);
    template_variables(c, cdr(template), bindings, all);
  } else if (is_kind(template, KIND_VECTOR)) {
    template_variables(c, vector_list(c->m, template), bindings, all);
  }
}

static value fill(match *c, value template, value bindings, value depths, bool escaped);

static value depth_of(value depths, value id) {
  value b = binding_of(depths, id);
  return b != 0 ? cdr(b) : fixnum(0);
}

// The items that `template ...` stands for, in reverse on top of `made`. Variables that are matched lists at this depth go on together.
static value fill_many(match *c, value template, value bindings, value depths, value made) {
  machine *m = c->m;
  value used = V_NULL, inner_depths = depths, going = V_NULL;
  template_variables(c, template, bindings, &used);
  int64_t count = -1;
  for (value l = used; l != V_NULL; l = cdr(l)) {
    int64_t depth = fixnum_of(depth_of(depths, car(car(l))));
    if (depth > 0 && binding_of(going, car(car(l))) == 0) {
      int64_t n = pairs_in(cdr(car(l)));
      if (count >= 0 && n != count) {
        fail_syntax(m, template, "pattern variables matched different numbers of forms in the template");
      }
      count = n;
      going = cons(m, car(l), going);
      inner_depths = cons(m, cons(m, car(car(l)), fixnum(depth - 1)), inner_depths);
    }
  }
  if (count < 0) {
    fail_syntax(m, template, "an ellipsis follows what has no pattern variable of an ellipsis in the template");
  }
  for (int64_t i = 0; i < count; i++) {
    value inner = bindings, rest = V_NULL;
    for (value l = going; l != V_NULL; l = cdr(l)) {
      inner = cons(m, cons(m, car(car(l)), car(cdr(car(l)))), inner);
      rest = cons(m, cons(m, car(car(l)), cdr(cdr(car(l)))), rest);
    }
    made = cons(m, fill(c, template, inner, inner_depths, false), made);
    going = reversed(rest);
  }
  return made;
}

static value fill_ellipses(match *c, value template, int dots, value bindings, value depths, value made) {
  if (dots == 1) {
    return fill_many(c, template, bindings, depths, made);
  }
  // x ... ...: the inner one's items, one list behind the other
  machine *m = c->m;
  value ellipsis = OBJ(macro, c->macro)->ellipsis != V_FALSE ? OBJ(macro, c->macro)->ellipsis : intern(m, "..."), inner = V_NULL;
  while (--dots > 0) {
    inner = cons(m, ellipsis, inner);
  }
  value nested = fill_many(c, cons(m, template, inner), bindings, depths, V_NULL);
  for (value l = reversed(nested); l != V_NULL; l = cdr(l)) {
    for (value i = car(l); is_pair(i); i = cdr(i)) {
      made = cons(m, car(i), made);
    }
  }
  return made;
}

static value fill(match *c, value template, value bindings, value depths, bool escaped) {
  machine *m = c->m;
  if (is_identifier(template)) {
    value b = binding_of(bindings, template);
    if (b == 0) {
      return renamed(c, template);
    }
    if (fixnum_of(depth_of(depths, template)) > 0) {
      fail_syntax(m, template, "a pattern variable of an ellipsis stands without one in the template: %s", utf8_of(m, strip(m, template)));
    }
    return cdr(b);
  }
  if (is_kind(template, KIND_VECTOR)) {
    value items = fill(c, vector_list(m, template), bindings, depths, escaped);
    int64_t n = pairs_in(items);
    vector *made = OBJ(vector, new_vector(m, n, V_FALSE));
    for (int64_t i = 0; i < n; i++, items = cdr(items)) {
      made->item[i] = car(items);
    }
    return ref(made);
  }
  if (!is_pair(template)) {
    return template;
  }
  if (!escaped && is_dots(c, car(template)) && is_pair(cdr(template))) {
    return fill(c, car(cdr(template)), bindings, depths, true);
  }
  value made = V_NULL, first = template;
  while (is_pair(template) && (escaped || template == first || !is_dots(c, car(template)))) {
    value item = car(template);
    int dots = 0;
    template = cdr(template);
    while (!escaped && is_pair(template) && is_dots(c, car(template))) {
      dots++;
      template = cdr(template);
    }
    made = dots == 0 ? cons(m, fill(c, item, bindings, depths, escaped), made) : fill_ellipses(c, item, dots, bindings, depths, made);
  }
  value end = template == V_NULL ? V_NULL : fill(c, template, bindings, depths, escaped);
  for (; made != V_NULL; made = cdr(made)) {
    end = cons(m, car(made), end);
  }
  if (is_pair(end)) {
    pair_of(end)->header = pair_of(first)->header;
  }
  return end;
}

static void depths_of(match *c, value pattern, int64_t depth, value *all) {
  machine *m = c->m;
  if (is_kind(pattern, KIND_VECTOR)) {
    pattern = vector_list(m, pattern);
  }
  for (; is_pair(pattern); pattern = cdr(pattern)) {
    bool many = is_pair(cdr(pattern)) && is_dots(c, car(cdr(pattern)));
    depths_of(c, car(pattern), depth + many, all);
    pattern = many ? cdr(pattern) : pattern;
  }
  if (is_identifier(pattern)) {
    *all = cons(m, cons(m, pattern, fixnum(depth)), *all);
  }
}

value expand_macro(machine *m, value macro_value, value form, value s) {
  macro *mac = OBJ(macro, macro_value);
  if (m->interrupted) {
    m->interrupted = 0;
    fail(m, NULL, "interrupted", 0);
  }
  for (value r = mac->rules; r != V_NULL; r = cdr(r)) {
    value rule = car(r), depths = V_NULL;
    match c = {.m = m, .use_scope = s, .bindings = V_NULL, .macro = macro_value, .renamed = V_NULL};
    if (match_one(&c, cdr(car(rule)), cdr(form))) {
      depths_of(&c, cdr(car(rule)), 0, &depths);
      value made = fill(&c, car(cdr(rule)), c.bindings, depths, false);
      if (is_pair(made) && is_pair(car(cdr(rule))) && pair_of(form)->header != 0) {
        pair_of(made)->header = pair_of(form)->header; // errors are told where the macro is used
      }
      return made;
    }
  }
  fail_syntax(m, form, "no rule of the macro fits");
}

value macro_of(machine *m, value spec, value s, value whole) {
  value e, symbol;
  while (is_pair(spec) && is_identifier(car(spec))) {
    value meaning = resolve(m, car(spec), s, &e, &symbol);
    if (meaning == fixnum(FORM_SYNTAX_RULES)) {
      break;
    }
    if (!is_kind(meaning, KIND_MACRO)) {
      fail_syntax(m, whole, "a macro must be given by syntax-rules in");
    }
    spec = expand_macro(m, meaning, spec, s);
  }
  if (is_identifier(spec)) { // another name for a macro or a special form
    value meaning = resolve(m, spec, s, &e, &symbol);
    if (is_kind(meaning, KIND_MACRO) || (meaning != 0 && is_fixnum(meaning))) {
      return meaning;
    }
  }
  if (!is_pair(spec)) {
    fail_syntax(m, whole, "a macro must be given by syntax-rules in");
  }
  macro *made = allocate(m, KIND_MACRO, 4, KIND_MACRO);
  made->scope = s;
  made->ellipsis = V_FALSE;
  value rest = cdr(spec);
  if (is_pair(rest) && is_identifier(car(rest))) {
    made->ellipsis = car(rest);
    rest = cdr(rest);
  }
  if (!is_pair(rest) || form_length(rest) < 0) {
    fail_syntax(m, spec, "syntax-rules wants a list of literals and rules");
  }
  made->literals = car(rest);
  identifiers_check(m, car(rest), spec, false);
  for (value r = cdr(rest); r != V_NULL; r = cdr(r)) {
    if (form_length(car(r)) != 2 || !is_pair(car(car(r)))) {
      fail_syntax(m, is_pair(car(r)) ? car(r) : spec, "a rule must be a pattern, which is a list, and a template");
    }
  }
  made->rules = cdr(rest);
  for (value l = made->literals; made->ellipsis != V_FALSE && l != V_NULL; l = cdr(l)) {
    if (car(l) == made->ellipsis) {
      made->ellipsis = V_UNSPECIFIED; // a literal after all: nothing is an ellipsis
    }
  }
  return ref(made);
}
