// SPDX-License-Identifier: MIT
// reader.c: text to data. What has been begun and not ended lies on a stack in the heap: a million parentheses are a matter of memory, not of the C stack.
//
//   read_datum: takes tokens; an opening one begins a frame, a datum is delivered to the topmost frame, which may be ended by it and deliver in turn
//
// The states of a frame that is a list: IN_LIST, then after a dot BEHIND_DOT, then after the datum there AT_END, where only the parenthesis may follow.

#include <string.h>
#include "reader.h"

enum { IN_LIST, BEHIND_DOT, AT_END, IN_VECTOR, IN_BYTES, IN_QUOTE, IN_COMMENT, IN_LABEL };
enum frame { FRAME_KIND, FRAME_HEAD, FRAME_LAST, FRAME_PLACE, FRAME_CLOSE, FRAME_WORDS };
// HEAD, LAST: the list so far (of vectors, too, and CLOSE counts); the symbol of a quotation; a label's box. PLACE: line << 20 | column. CLOSE: what ends it.

enum { LINE_MOST = 0x7fffffff, COLUMN_MOST = 0xfffff };
static int64_t place(reader *r) {
  int64_t line = r->line < LINE_MOST ? r->line : LINE_MOST, column = r->column < COLUMN_MOST ? r->column : COLUMN_MOST;
  return line << 20 | column;
}
static value cons_at(reader *r, value head, value tail, int64_t where) {
  value made = cons(r->machine, head, tail);
  pair_of(made)->header = (uint64_t)where << 12 | (uint64_t)r->file;
  return made;
}

_Noreturn void reader_fail_at(reader *r, int64_t line, int64_t column, const char *message) {
  fail_read(r->machine, utf8_of(r->machine, r->p->name), line, column, message);
}
_Noreturn void reader_fail(reader *r, const char *message) { reader_fail_at(r, r->line, r->column, message); }

// ---- Frames.
static value *top(reader *r) { return stack_at(&r->frames, r->frames.top - FRAME_WORDS); }
static int top_kind(reader *r) { return r->frames.top == 0 ? -1 : (int)fixnum_of(top(r)[FRAME_KIND]); }
static void begin(reader *r, int kind, value head, int32_t close) {
  stack_push(&r->frames, fixnum(kind));
  stack_push(&r->frames, head);
  stack_push(&r->frames, V_NULL);
  stack_push(&r->frames, fixnum(place(r)));
  stack_push(&r->frames, fixnum(close));
}
static void add(reader *r, value v) { // to the topmost list. Its first pair says where the list begins, the others where their own element does
  value *frame = top(r);
  bool first = frame[FRAME_HEAD] == V_NULL;
  value made = cons_at(r, v, V_NULL, first ? fixnum_of(frame[FRAME_PLACE]) : place(r));
  frame = top(r);
  if (first) {
    frame[FRAME_HEAD] = made;
  } else {
    pair_of(frame[FRAME_LAST])->cdr = made;
  }
  frame[FRAME_LAST] = made;
}

// ---- Labels. A box stands for the datum until that is complete: its item then is the datum.
static bool is_box(value v) { return is_kind(v, KIND_OTHER); }
static value *content(value box) { return &OBJECT_(vector, box)->item[0]; }
static void begin_label(reader *r, int64_t number) {
  machine *m = r->machine;
  r->labels = r->labels == 0 ? table_new(m, TABLE_EQV, 8) : r->labels;
  if (table_get(m, r->labels, fixnum(number), V_FALSE) != V_FALSE) {
    reader_fail(r, "this label has been used for another datum");
  }
  value box = new_of_kind(m, KIND_OTHER, 1, V_UNBOUND);
  table_put(m, r->labels, fixnum(number), box);
  begin(r, IN_LABEL, box, 0);
}
static value refer(reader *r, int64_t number) {
  value box = r->labels == 0 ? V_FALSE : table_get(r->machine, r->labels, fixnum(number), V_FALSE);
  if (box == V_FALSE) {
    reader_fail(r, "there is no datum with this label");
  }
  if (*content(box) != V_UNBOUND) {
    return *content(box);
  }
  r->unresolved = true;
  return box;
}
static value resolved(value v) {
  while (is_box(v)) {
    v = *content(v);
  }
  return v;
}
// Puts what boxes stand for in their place, everywhere in the datum.
static void resolve(reader *r, value v) {
  machine *m = r->machine;
  value seen = table_new(m, TABLE_EQV, 64);
  value_stack todo;
  stack_open(&todo, m);
  stack_push(&todo, v);
  while (todo.top > 0) {
    v = stack_pop(&todo);
    if ((!is_pair(v) && !is_kind(v, KIND_VECTOR)) || table_get(m, seen, v, V_FALSE) != V_FALSE) {
      continue;
    }
    table_put(m, seen, v, V_TRUE);
    if (is_pair(v)) {
      pair_of(v)->car = resolved(car(v));
      pair_of(v)->cdr = resolved(cdr(v));
      stack_push(&todo, cdr(v));
      stack_push(&todo, car(v));
    } else {
      vector *items = OBJECT_(vector, v);
      for (int64_t i = 0; i < items->length; i++) {
        items->item[i] = resolved(items->item[i]);
        stack_push(&todo, items->item[i]);
      }
    }
  }
}

// ---- Data that are complete.
static value collected_vector(reader *r, value items, int64_t length) {
  value made = new_vector(r->machine, length, V_FALSE);
  for (int64_t i = 0; i < length; i++, items = cdr(items)) {
    OBJECT_(vector, made)->item[i] = car(items);
  }
  return made;
}
static value collected_bytes(reader *r, value items, int64_t length) {
  value made = new_bytevector(r->machine, length, -1);
  for (int64_t i = 0; i < length; i++, items = cdr(items)) {
    OBJECT_(bytevector, made)->byte[i] = (uint8_t)fixnum_of(car(items));
  }
  return made;
}
// A datum is complete. True: it is the one that was asked for; else it is part of what has been begun.
static bool deliver(reader *r, value *datum) {
  for (;;) {
    if (r->frames.top == 0) {
      return true;
    }
    value *frame = top(r);
    int64_t where = fixnum_of(frame[FRAME_PLACE]);
    switch (fixnum_of(frame[FRAME_KIND])) {
    case IN_BYTES:
      if (!is_fixnum(*datum) || fixnum_of(*datum) < 0 || fixnum_of(*datum) > 255) {
        reader_fail(r, "the elements of a bytevector are integers from 0 to 255");
      } // fall through
    case IN_VECTOR:
      frame[FRAME_CLOSE] = fixnum(fixnum_of(frame[FRAME_CLOSE]) + 1); // fall through
    case IN_LIST: add(r, *datum); return false;
    case BEHIND_DOT:
      pair_of(frame[FRAME_LAST])->cdr = *datum;
      frame[FRAME_KIND] = fixnum(AT_END);
      return false;
    case AT_END: reader_fail(r, "more than one datum behind a dot");
    case IN_QUOTE:
      *datum = cons_at(r, frame[FRAME_HEAD], cons_at(r, *datum, V_NULL, place(r)), where);
      r->line = where >> 20;
      r->column = where & COLUMN_MOST;
      break;
    case IN_COMMENT: r->frames.top -= FRAME_WORDS; return false;
    default: // IN_LABEL
      if (*datum == frame[FRAME_HEAD]) {
        reader_fail_at(r, where >> 20, where & COLUMN_MOST, "this label stands for itself");
      }
      *content(frame[FRAME_HEAD]) = *datum;
    }
    r->frames.top -= FRAME_WORDS;
  }
}
static value close_frame(reader *r, int32_t close) {
  value *frame = r->frames.top == 0 ? NULL : top(r);
  value head = frame == NULL ? V_NULL : frame[FRAME_HEAD], made = head;
  switch (top_kind(r)) {
  case IN_LIST:
  case AT_END:
    if (frame[FRAME_CLOSE] != fixnum(close)) {
      reader_fail(r, close == ')' ? "a list that was begun with [ is ended with )" : "a list that was begun with ( is ended with ]");
    }
    break;
  case IN_VECTOR: made = collected_vector(r, head, fixnum_of(frame[FRAME_CLOSE])); break;
  case IN_BYTES: made = collected_bytes(r, head, fixnum_of(frame[FRAME_CLOSE])); break;
  case BEHIND_DOT: reader_fail(r, "a datum is missing behind the dot");
  case IN_QUOTE: reader_fail(r, "a datum is missing behind a quotation mark");
  case IN_COMMENT: reader_fail(r, "a datum is missing behind #;");
  case IN_LABEL: reader_fail(r, "a datum is missing behind a label");
  default: reader_fail(r, close == ')' ? "a parenthesis ) too many" : "a bracket ] too many");
  }
  r->line = fixnum_of(frame[FRAME_PLACE]) >> 20; // where the datum begins
  r->column = fixnum_of(frame[FRAME_PLACE]) & COLUMN_MOST;
  r->frames.top -= FRAME_WORDS;
  return made;
}

// ---- Between data.
static void skip_block(reader *r) {
  int64_t depth = 1;
  while (depth > 0) {
    int32_t c = reader_next(r);
    if (c < 0) {
      reader_fail(r, "the file ends within this comment");
    }
    if (c == '|' && reader_peek(r) == '#') {
      reader_next(r);
      depth--;
    } else if (c == '#' && reader_peek(r) == '|') {
      reader_next(r);
      depth++;
    }
  }
}
static void skip_line(reader *r) {
  int32_t c = reader_next(r);
  while (c >= 0 && c != '\n') {
    c = reader_next(r);
  }
}
static void read_directive(reader *r) { // behind #!
  char name[24];
  size_t used = 0;
  if (r->line == 1 && r->column == 1 && (reader_peek(r) == '/' || reader_peek(r) == ' ')) { // a script's first line
    skip_line(r);
    return;
  }
  while (!is_delimiter(reader_peek(r)) && used < sizeof name - 1) {
    name[used++] = (char)reader_next(r);
  }
  name[used] = 0;
  if (strcmp(name, "fold-case") == 0) {
    r->p->header |= PORT_FOLD;
  } else if (strcmp(name, "no-fold-case") == 0) {
    r->p->header &= ~(uint64_t)PORT_FOLD;
  } else {
    reader_fail(r, "an unknown directive: #!fold-case and #!no-fold-case are known");
  }
}
static _Noreturn void fail_at_end(reader *r) {
  value *frame = top(r);
  int64_t where = fixnum_of(frame[FRAME_PLACE]);
  int kind = top_kind(r);
  const char *what = kind == IN_VECTOR || kind == IN_BYTES ? "the file ends within this vector"
                     : kind == IN_QUOTE                    ? "the file ends behind this quotation mark"
                     : kind == IN_COMMENT                  ? "the file ends behind #;"
                     : kind == IN_LABEL                    ? "the file ends behind this label"
                                                           : "the file ends within this list";
  reader_fail_at(r, where >> 20, where & COLUMN_MOST, what);
}

// ---- Tokens that begin with #. True: *datum is complete.
static bool read_label(reader *r, value *datum) {
  int64_t number = 0;
  int32_t c;
  while ((c = reader_peek(r)) >= '0' && c <= '9') {
    reader_next(r);
    number = number < (int64_t)1 << 40 ? number * 10 + (c - '0') : number;
  }
  reader_next(r);
  if (c == '=') {
    begin_label(r, number);
    return false;
  }
  if (c == '#') {
    *datum = refer(r, number);
    return true;
  }
  reader_fail(r, "a label is ended by = or #");
}
static bool read_hash(reader *r, value *datum) {
  int32_t c = reader_peek(r);
  switch (c) {
  case '(':
    reader_next(r);
    begin(r, IN_VECTOR, V_NULL, 0);
    return false;
  case ';':
    reader_next(r);
    begin(r, IN_COMMENT, V_NULL, 0);
    return false;
  case '|':
    reader_next(r);
    skip_block(r);
    return false;
  case '!':
    reader_next(r);
    read_directive(r);
    return false;
  case '\\':
    reader_next(r);
    *datum = read_character(r);
    return true;
  case 'u':
  case 'U':
    reader_next(r);
    if (reader_next(r) != '8' || reader_next(r) != '(') {
      reader_fail(r, "this is no datum: a bytevector begins with #u8(");
    }
    begin(r, IN_BYTES, V_NULL, 0);
    return false;
  case 't':
  case 'f':
  case 'T':
  case 'F': *datum = read_boolean(r); return true;
  case -1: reader_fail(r, "the file ends behind #");
  default: break;
  }
  if (c >= '0' && c <= '9') {
    return read_label(r, datum);
  }
  if (c < 0x80 && strchr("bodxeiBODXEI", c) != NULL) {
    *datum = read_prefixed_number(r);
    return true;
  }
  reader_fail(r, "an unknown character behind #");
}

static bool read_quotation(reader *r, int32_t c) {
  const char *name = c == '\'' ? "quote" : c == '`' ? "quasiquote" : "unquote";
  if (c == ',' && reader_peek(r) == '@') {
    reader_next(r);
    name = "unquote-splicing";
  }
  begin(r, IN_QUOTE, intern(r->machine, name), 0);
  return false;
}
static bool read_dot(reader *r) {
  value *frame = r->frames.top == 0 ? NULL : top(r);
  if (top_kind(r) != IN_LIST || frame[FRAME_HEAD] == V_NULL) {
    reader_fail(r, "a dot stands where no datum may be");
  }
  frame[FRAME_KIND] = fixnum(BEHIND_DOT);
  return false;
}
// The next token. True: *datum is complete.
static bool read_token(reader *r, value *datum) {
  int32_t c = reader_peek(r);
  switch (c) {
  case '(':
  case '[':
    reader_next(r);
    begin(r, IN_LIST, V_NULL, c == '(' ? ')' : ']');
    return false;
  case ')':
  case ']':
    reader_next(r);
    *datum = close_frame(r, c);
    return true;
  case '\'':
  case '`':
  case ',': reader_next(r); return read_quotation(r, c);
  case '"':
    reader_next(r);
    *datum = read_string_literal(r);
    return true;
  case '#': reader_next(r); return read_hash(r, datum);
  case '{':
  case '}': reader_fail(r, "braces have no meaning");
  default:
    if (c < ' ' || c == 127) {
      reader_fail(r, "a control character stands where no datum may be");
    }
    *datum = read_word(r);
    return *datum != V_UNBOUND ? true : read_dot(r);
  }
}

value read_datum(machine *m, value from) {
  reader r = {.machine = m, .from = from, .p = OBJECT_(port, from)};
  value datum = V_EOF;
  if (r.p->file == V_FALSE) {
    r.p->file = fixnum(file_number(m, r.p->name));
  }
  r.file = (int)fixnum_of(r.p->file) & 0xfff;
  buffer_open(&r.token, m, 64);
  stack_open(&r.frames, m);
  for (;;) {
    int32_t c = reader_peek(&r);
    port_position(from, &r.line, &r.column);
    if (c < 0) {
      if (r.frames.top > 0) {
        fail_at_end(&r);
      }
      return V_EOF;
    }
    if (c == ';') {
      skip_line(&r);
    } else if (c == ' ' || (c >= 9 && c <= 13) || (c >= 0x80 && (char_is_space((uint32_t)c) || c == 0xfeff))) {
      reader_next(&r);
    } else if (read_token(&r, &datum) && deliver(&r, &datum)) {
      if (r.unresolved) {
        resolve(&r, datum);
      }
      return datum;
    }
  }
}
