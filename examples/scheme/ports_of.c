// SPDX-License-Identifier: MIT
// ports_of.c: the current ports, which are parameters; names of ports; what objects of the machine's look like when they are printed.

#include <stdio.h>
#include <string.h>
#include "library.h"
#include "compiler.h"
#include "machine.h"
#include "program.h"

static value parameter_new(machine *m, const char *name, value content) {
  parameter *p = allocate(m, KIND_PARAMETER, 2, KIND_PARAMETER);
  p->content = content;
  p->converter = V_FALSE;
  environment_put(m, world->item[WORLD_BASE], intern(m, name), new_cell(m, ref(p), intern(m, name)));
  return ref(p);
}

// An image has the parameters; the ports behind them are this process's.
void parameters_begin(machine *m) {
  value ports[3] = {port_stdin(m), port_stdout(m), port_stderr(m)};
  if (world->item[WORLD_PARAMETERS] == V_FALSE) {
    value all = new_vector(m, 3, V_FALSE);
    static const char *const names[3] = {"current-input-port", "current-output-port", "current-error-port"};
    for (int i = 0; i < 3; i++) {
      OBJ(vector, all)->item[i] = parameter_new(m, names[i], ports[i]);
    }
    world->item[WORLD_PARAMETERS] = all;
  }
  for (int i = 0; i < 3; i++) {
    OBJ(parameter, OBJ(vector, world->item[WORLD_PARAMETERS])->item[i])->content = ports[i];
  }
}

value current_port(machine *m, int root) {
  value p = OBJ(vector, world->item[WORLD_PARAMETERS])->item[root];
  for (value l = m->state->item[STATE_BINDINGS]; is_pair(l) && is_pair(car(l)); l = cdr(l)) {
    if (car(car(l)) == p) {
      return cdr(car(l));
    }
  }
  return OBJ(parameter, p)->content;
}

void port_name_set(machine *m, value port_value, value name) {
  port *p = OBJECT_(port, port_value);
  p->name = name;
  p->file = V_FALSE;
}

value read_file_folded(machine *m, value name, bool fold) {
  if (!fold) {
    return read_file(m, name);
  }
  value port_value = port_open_file(m, "include-ci", utf8_of(m, name), true, false, false), all = V_NULL, done = V_NULL;
  OBJECT_(port, port_value)->header |= PORT_FOLD;
  for (value datum; (datum = read_datum(m, port_value)) != V_EOF;) {
    all = cons(m, datum, all);
  }
  for (; all != V_NULL; all = cdr(all)) {
    done = cons(m, car(all), done);
  }
  return done;
}

static const char *with_name(machine *m, const char *what, value name, char *room, size_t bytes) {
  if (is_kind(name, KIND_SYMBOL) || is_kind(name, KIND_STRING)) {
    snprintf(room, bytes, "%s %s", what, utf8_of(m, name));
  } else {
    snprintf(room, bytes, "%s", what);
  }
  return room;
}

const char *describe(machine *m, value v, char *room, size_t bytes) {
  if (v == V_UNBOUND) {
    return "unbound";
  }
  if (v == V_DEFAULT) {
    return "default";
  }
  if (v == 0 || !is_object(v)) {
    return "unknown";
  }
  switch ((kind)(uint8_t)header_of(v)) {
    case KIND_CLOSURE: return with_name(m, "procedure", OBJ(code, OBJ(closure, v)->code)->name, room, bytes);
    case KIND_PRIMITIVE: return with_name(m, "procedure", OBJ(primitive, v)->name, room, bytes);
    case KIND_CONTINUATION: return "continuation";
    case KIND_PARAMETER: return "parameter";
    case KIND_ENVIRONMENT: return with_name(m, "environment", OBJ(environment, v)->name, room, bytes);
    case KIND_GUARDIAN: return "guardian";
    case KIND_THREAD: return "thread";
    case KIND_MUTEX: return header_of(v) >> 8 & 1 ? "condition-variable" : "mutex";
    case KIND_IDENTIFIER: return with_name(m, "identifier", OBJ(identifier, v)->name, room, bytes);
    default: {
      int k = (int)(uint8_t)header_of(v);
      return k < MEMORY_TYPES ? memory_type_names[k] : "unknown";
    }
  }
}
