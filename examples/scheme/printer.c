// SPDX-License-Identifier: MIT
// printer.c: what write and display put out. Nothing recurs, so data may be nested as deep as memory allows; what is circular gets labels.

#include <stdio.h>
#include <string.h>
#include "library.h"

typedef struct printer {
  machine *machine;
  value to; // the port
  port *p;  // the same
  print_how how;
  value labels; // a table of what is labelled: V_TRUE, or the label once it has been written; 0: there is nothing of the kind
  int64_t next_label;
  value_stack frames; // what has been begun: three words each, see enum frame
} printer;

static void put(printer *p, const char *text) { port_write_bytes(p->machine, p->p, text, (int64_t)strlen(text)); }
static void put_char(printer *p, uint32_t c) { port_write_char(p->machine, p->to, c); }

// ---- What has parts: pairs, vectors, records.
static vector *record_fields(value v) { // the names, or NULL
  value type = OBJECT_(record, v)->type;
  value names = is_kind(type, KIND_RECORD_TYPE) ? OBJECT_(record_type, type)->fields : V_FALSE;
  return is_kind(names, KIND_VECTOR) ? OBJECT_(vector, names) : NULL;
}
static int64_t part_count(value v) {
  if (is_pair(v)) {
    return 2;
  }
  if (is_kind(v, KIND_VECTOR)) {
    return OBJECT_(vector, v)->length;
  }
  return is_kind(v, KIND_RECORD) && record_fields(v) != NULL ? record_fields(v)->length : 0;
}
static value part_of(value v, int64_t i) {
  if (is_pair(v)) {
    return i == 0 ? car(v) : cdr(v);
  }
  return is_kind(v, KIND_VECTOR) ? OBJECT_(vector, v)->item[i] : OBJECT_(record, v)->field[i];
}

// ---- Labels. Most data end when they are simply walked as a tree. What does not end after a few steps may be circular, or share much, or be large. To note
// all of its parts in a table tells which it is, but costs far more than a walk: so that is tried with few parts first, then a long walk, then all parts.
enum { FEW = 1 << 16, FEW_NOTED = 1 << 10, MANY = 1 << 24 };
static bool ends_as_tree(machine *m, value v, int64_t steps) {
  value_stack todo;
  stack_open(&todo, m);
  stack_push(&todo, v);
  while (todo.top > 0) {
    v = stack_pop(&todo);
    for (; is_pair(v); v = cdr(v)) {
      if (--steps < 0) {
        return false;
      }
      if (part_count(car(v)) > 0) {
        stack_push(&todo, car(v));
      }
    }
    for (int64_t i = 0, count = part_count(v); i < count; i++) {
      if (--steps < 0) {
        return false;
      }
      if (part_count(part_of(v, i)) > 0) {
        stack_push(&todo, part_of(v, i));
      }
    }
  }
  return true;
}

// Depth first, in the order in which they are written. An object that is met again while its parts are looked at is circular; with `shared`, all that are met
// again count. False: there are more than `most` parts.
static bool find_labels(printer *p, value v, bool shared, int64_t most) {
  enum { ENTER, LEAVE };
  machine *m = p->machine;
  value seen = table_new(m, TABLE_EQV, 64), labels = 0; // seen: ENTER: its parts are being looked at
  value_stack todo;
  stack_open(&todo, m);
  stack_push(&todo, v);
  stack_push(&todo, fixnum(ENTER));
  while (todo.top > 0) {
    value step = stack_pop(&todo);
    v = stack_pop(&todo);
    if (step == fixnum(LEAVE)) {
      table_put(m, seen, v, fixnum(LEAVE));
      continue;
    }
    int64_t count = part_count(v);
    if (count == 0) {
      continue;
    }
    value before = table_get(m, seen, v, V_FALSE);
    if (before != V_FALSE) {
      if (shared || before == fixnum(ENTER)) {
        labels = labels == 0 ? table_new(m, TABLE_EQV, 8) : labels;
        table_put(m, labels, v, V_TRUE);
      }
      continue;
    }
    if ((most -= count) < 0) {
      return false;
    }
    table_put(m, seen, v, fixnum(ENTER));
    stack_push(&todo, v);
    stack_push(&todo, fixnum(LEAVE));
    for (int64_t i = count - 1; i >= 0; i--) {
      stack_push(&todo, part_of(v, i));
      stack_push(&todo, fixnum(ENTER));
    }
  }
  p->labels = labels;
  return true;
}
static void choose_labels(printer *p, value v) {
  if (p->how == PRINT_WRITE_SHARED) {
    find_labels(p, v, true, INT64_MAX);
  } else if (p->how != PRINT_WRITE_SIMPLE && !ends_as_tree(p->machine, v, FEW) && !find_labels(p, v, false, FEW_NOTED) &&
             !ends_as_tree(p->machine, v, MANY)) {
    find_labels(p, v, false, INT64_MAX);
  }
}
static bool is_labelled(printer *p, value v) { return p->labels != 0 && table_get(p->machine, p->labels, v, V_FALSE) != V_FALSE; }

// ---- Text.
static const char *char_name(uint32_t c) {
  switch (c) {
  case 0: return "null";
  case 7: return "alarm";
  case 8: return "backspace";
  case '\t': return "tab";
  case '\n': return "newline";
  case '\r': return "return";
  case 27: return "escape";
  case ' ': return "space";
  case 127: return "delete";
  default: return NULL;
  }
}
static bool is_graphic(uint32_t c) {
  if (c < 0x80) {
    return c > 0x20 && c < 0x7f;
  }
  return c > 0xa0 && !char_is_space(c) && c != 0xfeff && (c & 0xfffe) != 0xfffe && (c < 0x200b || c > 0x200f);
}
static void put_hex(printer *p, const char *before, uint32_t c, const char *after) {
  char text[32];
  snprintf(text, sizeof text, "%s%x%s", before, (unsigned)c, after);
  put(p, text);
}
static void put_char_literal(printer *p, uint32_t c) {
  const char *name = char_name(c);
  if (name != NULL) {
    put(p, "#\\");
    put(p, name);
  } else if (is_graphic(c)) {
    put(p, "#\\");
    put_char(p, c);
  } else {
    put_hex(p, "#\\x", c, "");
  }
}
static void put_escaped(printer *p, uint32_t c, uint32_t quote) {
  if (c == quote || c == '\\') {
    put_char(p, '\\');
    put_char(p, c);
  } else if (c == '\n' || c == '\t' || c == '\r' || c == 7 || c == 8) {
    put_char(p, '\\');
    put_char(p, c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == 7 ? 'a' : 'b');
  } else if (c == ' ' || is_graphic(c)) {
    put_char(p, c);
  } else {
    put_hex(p, "\\x", c, ";");
  }
}
static void put_quoted(printer *p, const string *s, uint32_t quote) {
  put_char(p, quote);
  for (int64_t i = 0; i < s->length; i++) {
    put_escaped(p, string_get(s, i), quote);
  }
  put_char(p, quote);
}
static void put_string(printer *p, const string *s) { port_write_part(p->machine, p->p, s, 0, s->length); }

// Whether a symbol reads as itself without bars.
static bool is_plain_name(machine *m, const string *s) {
  char text[64];
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    if (!is_graphic(c) || (c < 0x80 && strchr("()[]{}\";'`,|\\", (int)c) != NULL)) {
      return false;
    }
    if (i < (int64_t)sizeof text) {
      text[i] = c < 0x80 ? (char)c : 'x'; // no number has such a character
    }
  }
  uint32_t first = s->length > 0 ? string_get(s, 0) : '#';
  if (first == '#' || (first == '.' && s->length == 1)) {
    return false;
  }
  if ((first >= '0' && first <= '9') || first == '+' || first == '-' || first == '.') { // it may be a number; one that is longer than the room is taken for one
    return s->length <= (int64_t)sizeof text && number_parse(m, text, (size_t)s->length, 10) == V_FALSE;
  }
  return true;
}

// ---- What has no parts.
static void put_constant(printer *p, value v) {
  put(p, v == V_FALSE         ? "#f"
         : v == V_TRUE        ? "#t"
         : v == V_NULL        ? "()"
         : v == V_EOF         ? "#<eof>"
         : v == V_UNSPECIFIED ? "#<unspecified>"
         : v == V_DEFAULT     ? "#<default>"
                              : "#<unbound>");
}
static void put_bytes(printer *p, const bytevector *b) {
  char text[8];
  put(p, "#u8(");
  for (int64_t i = 0; i < b->length; i++) {
    snprintf(text, sizeof text, i == 0 ? "%d" : " %d", b->byte[i]);
    put(p, text);
  }
  put(p, ")");
}
static void put_named(printer *p, const char *what, value name) { // #<what name>
  put(p, "#<");
  put(p, what);
  name = is_kind(name, KIND_SYMBOL) ? OBJECT_(symbol, name)->name : name;
  if (is_kind(name, KIND_STRING)) {
    put(p, " ");
    put_string(p, OBJECT_(string, name));
  }
  put(p, ">");
}
static void put_port(printer *p, value v) {
  uint64_t header = OBJECT_(port, v)->header;
  bool in = header & PORT_INPUT, binary = header & PORT_BINARY;
  put_named(p, in ? binary ? "binary-input-port" : "input-port" : binary ? "binary-output-port" : "output-port", port_name(v));
}
static void put_condition(printer *p, value v) {
  condition *c = OBJECT_(condition, v);
  char *kind_name = is_kind(c->kind, KIND_SYMBOL) ? utf8_of(p->machine, c->kind) : "condition";
  put_named(p, kind_name, c->message);
}
static void put_object(printer *p, value v) {
  machine *m = p->machine;
  char room[200];
  bool written = p->how != PRINT_DISPLAY;
  switch ((uint8_t)OBJECT_(object, v)->header) {
  case KIND_STRING: written ? put_quoted(p, OBJECT_(string, v), '"') : put_string(p, OBJECT_(string, v)); break;
  case KIND_SYMBOL: {
    string *name = OBJECT_(string, OBJECT_(symbol, v)->name);
    written && !is_plain_name(m, name) ? put_quoted(p, name, '|') : put_string(p, name);
    break;
  }
  case KIND_BYTEVECTOR: put_bytes(p, OBJECT_(bytevector, v)); break;
  case KIND_BIGNUM:
  case KIND_RATIONAL: put_string(p, OBJECT_(string, number_text(m, v, 10))); break;
  case KIND_VECTOR: put(p, "#()"); break;
  case KIND_PORT: put_port(p, v); break;
  case KIND_CONDITION: put_condition(p, v); break;
  case KIND_RECORD_TYPE: put_named(p, "record-type", OBJECT_(record_type, v)->name); break;
  case KIND_HASHTABLE:
    snprintf(room, sizeof room, "#<hash-table %lld>", (long long)table_count(v));
    put(p, room);
    break;
  default:
    put(p, "#<");
    put(p, describe(m, v, room, sizeof room));
    put(p, ">");
  }
}
static void put_fixnum(printer *p, int64_t i) {
  char room[24], *at = room + sizeof room;
  uint64_t left = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
  do {
    *--at = (char)('0' + left % 10);
    left /= 10;
  } while (left != 0);
  if (i < 0) {
    *--at = '-';
  }
  port_write_bytes(p->machine, p->p, at, room + sizeof room - at);
}
static void put_atom(printer *p, value v) {
  if (is_fixnum(v)) {
    put_fixnum(p, fixnum_of(v));
  } else if (is_flonum(v)) {
    put_string(p, OBJECT_(string, number_text(p->machine, v, 10)));
  } else if (is_char(v)) {
    p->how == PRINT_DISPLAY ? put_char(p, char_of(v)) : put_char_literal(p, char_of(v));
  } else if ((v & TAG_MASK) == TAG_IMMEDIATE) {
    put_constant(p, v);
  } else if (is_object(v)) {
    put_object(p, v);
  } else {
    put(p, "#<nothing>"); // a slot that has never been set
  }
}

// ---- What has parts: a frame for each that has been begun.
enum frame { FRAME_KIND, FRAME_OF, FRAME_AT, FRAME_WORDS }; // its kind; the rest of a list, or the vector or record; the next index
enum { IN_LIST, IN_VECTOR, IN_RECORD };

static void begin(printer *p, int what, value of) {
  stack_push(&p->frames, fixnum(what));
  stack_push(&p->frames, of);
  stack_push(&p->frames, fixnum(0));
}
static void put_record_name(printer *p, value v) { // <point> and point are both written as point
  value name = OBJECT_(record_type, OBJECT_(record, v)->type)->name;
  name = is_kind(name, KIND_SYMBOL) ? OBJECT_(symbol, name)->name : name;
  put(p, "#<");
  if (is_kind(name, KIND_STRING)) {
    string *s = OBJECT_(string, name);
    int64_t last = s->length - 1;
    bool wrapped = last > 1 && string_get(s, 0) == '<' && string_get(s, last) == '>';
    for (int64_t i = wrapped; i <= last - wrapped; i++) {
      put_char(p, string_get(s, i));
    }
  }
}
// Writes an object, or begins to. Its parts follow.
static void put_value(printer *p, value v) {
  if (part_count(v) == 0) {
    if (is_kind(v, KIND_RECORD) && is_kind(OBJECT_(record, v)->type, KIND_RECORD_TYPE)) {
      put_record_name(p, v);
      put(p, ">");
    } else {
      put_atom(p, v);
    }
    return;
  }
  if (is_labelled(p, v)) {
    char text[32];
    value label = table_get(p->machine, p->labels, v, V_TRUE);
    if (label != V_TRUE) {
      snprintf(text, sizeof text, "#%lld#", (long long)fixnum_of(label));
      put(p, text);
      return;
    }
    snprintf(text, sizeof text, "#%lld=", (long long)p->next_label);
    put(p, text);
    table_put(p->machine, p->labels, v, fixnum(p->next_label++));
  }
  if (is_kind(v, KIND_RECORD)) {
    put_record_name(p, v);
    begin(p, IN_RECORD, v);
  } else if (is_pair(v)) {
    put(p, "(");
    begin(p, IN_LIST, v);
  } else {
    put(p, "#(");
    begin(p, IN_VECTOR, v);
  }
}
// The next part of what was begun last; false: that was all, and it has been ended.
static bool next_part(printer *p, value *out) {
  value *frame = stack_at(&p->frames, p->frames.top - FRAME_WORDS), of = frame[FRAME_OF];
  int64_t at = fixnum_of(frame[FRAME_AT]);
  frame[FRAME_AT] = fixnum(at + 1);
  if (frame[FRAME_KIND] == fixnum(IN_LIST)) {
    if (of == V_NULL) {
      return false;
    }
    if (is_pair(of) && (at == 0 || !is_labelled(p, of))) {
      put(p, at == 0 ? "" : " ");
      frame[FRAME_OF] = cdr(of);
      *out = car(of);
    } else {
      put(p, " . ");
      frame[FRAME_OF] = V_NULL;
      *out = of;
    }
    return true;
  }
  if (at >= part_count(of)) {
    return false;
  }
  if (frame[FRAME_KIND] == fixnum(IN_VECTOR)) {
    put(p, at == 0 ? "" : " ");
  } else {
    value name = record_fields(of)->item[at];
    put(p, " ");
    put_string(p, OBJECT_(string, is_kind(name, KIND_SYMBOL) ? OBJECT_(symbol, name)->name : new_string(p->machine, 1, '?')));
    put(p, ": ");
  }
  *out = part_of(of, at);
  return true;
}

void print(machine *m, value to, value v, print_how how) {
  printer p = {.machine = m, .to = to, .p = OBJECT_(port, to), .how = how};
  if (part_count(v) == 0) {
    put_value(&p, v);
    return;
  }
  choose_labels(&p, v);
  stack_open(&p.frames, m);
  put_value(&p, v);
  while (p.frames.top > 0) {
    value next;
    if (next_part(&p, &next)) {
      put_value(&p, next);
    } else {
      put(&p, *stack_at(&p.frames, p.frames.top - FRAME_WORDS) == fixnum(IN_RECORD) ? ">" : ")");
      p.frames.top -= FRAME_WORDS;
    }
  }
}
