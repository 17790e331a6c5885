// SPDX-License-Identifier: MIT
// errors.c: conditions, and where in the source they arose.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "machine_slow.h"

static value irritants_of(machine *m, int count, va_list args) {
  value item[16], made = V_NULL;
  for (int i = 0; i < count && i < 16; i++) {
    item[i] = va_arg(args, value);
  }
  while (count-- > 0) {
    made = cons(m, item[count], made);
  }
  return made;
}

static _Noreturn void escape(machine *m, int why) {
  if (m->escape == NULL) {
    fprintf(stderr, "scheme: an error before the machine runs: %s\n", utf8_of(m, OBJ(condition, m->state->item[STATE_CONDITION])->message));
    exit(70);
  }
  longjmp(*m->escape, why);
}
_Noreturn void machine_abort(machine *m, value condition) {
  m->state->item[STATE_CONDITION] = condition;
  escape(m, ESCAPE_ABORT);
}

static _Noreturn void fail_as(machine *m, const char *kind, const char *who, const char *message, value irritants, uint64_t where) {
  condition *c = allocate(m, KIND_CONDITION, 5, KIND_CONDITION);
  c->kind = intern(m, kind);
  c->message = new_string_utf8(m, message, strlen(message));
  c->irritants = irritants;
  c->who = who != NULL ? intern(m, who) : V_FALSE;
  c->where = fixnum((int64_t)where);
  m->state->item[STATE_CONDITION] = ref(c);
  escape(m, ESCAPE_RAISE);
}

void errors_begin(machine *m) {
  condition *c = allocate(m, KIND_CONDITION, 5, KIND_CONDITION);
  c->kind = intern(m, "error");
  c->message = new_string_utf8(m, "out of memory", 13);
  c->irritants = V_NULL;
  c->who = V_FALSE;
  c->where = fixnum(0);
  m->state->item[STATE_EXHAUSTED] = ref(c);
}
_Noreturn void machine_exhausted(machine *m) {
  value v = m->state->item[STATE_EXHAUSTED];
  if (m->escape == NULL || v == V_NULL) {
    fprintf(stderr, "scheme: out of memory\n");
    _Exit(70);
  }
  OBJ(condition, v)->where = fixnum((int64_t)machine_position(m));
  m->state->item[STATE_CONDITION] = v;
  escape(m, ESCAPE_RAISE);
}

_Noreturn void fail(machine *m, const char *who, const char *message, int irritants, ...) {
  va_list args;
  va_start(args, irritants);
  value all = irritants_of(m, irritants, args);
  va_end(args);
  fail_as(m, "error", who, message, all, machine_position(m));
}

_Noreturn void fail_type(machine *m, const char *who, int position, const char *expected, value got) {
  char text[160];
  snprintf(text, sizeof text, "argument %d must be %s %s, but is", position, strchr("aeiou", expected[0]) != NULL ? "an" : "a", expected);
  fail(m, who, text, 1, got);
}
_Noreturn void fail_range(machine *m, const char *who, int position, value got, value least, value most) {
  char text[160];
  const char *low = utf8_of(m, number_text(m, least, 10)), *high = utf8_of(m, number_text(m, most, 10));
  snprintf(text, sizeof text, "argument %d is out of range: it must be from %.40s to %.40s, but is", position, low, high);
  fail(m, who, text, 1, got);
}
_Noreturn void fail_file(machine *m, const char *who, const char *path, int error) {
  char text[160], room[100];
  snprintf(text, sizeof text, "%s", strerror_r(error, room, sizeof room));
  fail_as(m, "file-error", who, text, list(m, 1, new_string_utf8(m, path, strlen(path))), machine_position(m));
}
_Noreturn void fail_read(machine *m, const char *file, int64_t line, int64_t column, const char *message) {
  uint64_t where = (uint64_t)line << 32 | (uint64_t)(column < 0xfffff ? column : 0xfffff) << 12;
  where |= (uint64_t)file_number(m, new_string_utf8(m, file, strlen(file)));
  fail_as(m, "read-error", NULL, message, V_NULL, where);
}
_Noreturn void fail_syntax(machine *m, value form, const char *message, ...) {
  char text[256];
  va_list args;
  va_start(args, message);
  vsnprintf(text, sizeof text, message, args);
  va_end(args);
  uint64_t where = is_pair(form) ? pair_of(form)->header : 0;
  for (value l = m->state->item[STATE_FORMS]; where == 0 && is_pair(l); l = cdr(l)) {
    where = is_pair(car(l)) ? pair_of(car(l))->header : 0;
  }
  value inner = is_pair(m->state->item[STATE_FORMS]) ? car(m->state->item[STATE_FORMS]) : V_FALSE, head = is_pair(inner) ? strip(m, car(inner)) : V_FALSE;
  fail_as(m, "syntax-error", is_kind(head, KIND_SYMBOL) ? utf8_of(m, head) : NULL, text, list(m, 1, strip(m, form)), where);
}
_Noreturn void fail_unbound(machine *m, value of) {
  value name = is_kind(of, KIND_CELL) ? OBJ(cell, of)->name : V_FALSE;
  if (is_kind(name, KIND_SYMBOL)) {
    fail(m, NULL, "unbound variable", 1, name);
  }
  fail(m, NULL, "a variable is used before its definition", 0);
}
_Noreturn void fail_record(machine *m, value got, value type) {
  value who = OBJ(code, OBJ(closure, m->frame[-1])->code)->name;
  char text[160];
  snprintf(text, sizeof text, "argument 1 must be a record of type %s, but is", utf8_of(m, OBJ(record_type, type)->name));
  fail(m, is_kind(who, KIND_SYMBOL) ? utf8_of(m, who) : NULL, text, 1, got);
}

static void arity_text(uint64_t least, int64_t most, char *text, size_t bytes) {
  if (most < 0) {
    snprintf(text, bytes, "at least %d", (int)least);
  } else if ((int64_t)least == most) {
    snprintf(text, bytes, "%d", (int)least);
  } else {
    snprintf(text, bytes, "%d to %d", (int)least, (int)most);
  }
}
_Noreturn void fail_arguments(machine *m, value callee, int64_t count) {
  char wants[60] = "", text[160];
  uint64_t header = header_of(callee);
  if (is_kind(callee, KIND_PRIMITIVE)) {
    arity_text(header >> 8 & 0xffff, (int64_t)(header >> 24 & 0xffff) - 1, wants, sizeof wants);
  } else if (!(header >> 24 & CLOSURE_CASES)) {
    arity_text(header >> 8 & 0xffff, header >> 24 & CLOSURE_REST ? -1 : (int64_t)(header >> 8 & 0xffff), wants, sizeof wants);
  }
  snprintf(text, sizeof text, "%d argument%s given%s%s, to", (int)count, count == 1 ? "" : "s", *wants ? ", but it takes " : ", which it does not take", wants);
  fail(m, NULL, text, 1, callee);
}

// ---- Positions.

int file_number(machine *m, value name) {
  int n = (int)list_most(world->item[WORLD_FILES], 5000);
  int number = n;
  for (value l = world->item[WORLD_FILES]; l != V_NULL; l = cdr(l), number--) {
    if (is_equal(m, car(l), name)) {
      return number;
    }
  }
  if (n >= 4095) {
    return 0;
  }
  world->item[WORLD_FILES] = cons(m, name, world->item[WORLD_FILES]);
  return n + 1;
}

static uint64_t position_in(value code_value, int64_t word) {
  code *c = OBJ(code, code_value);
  if (!is_kind(c->positions, KIND_BYTEVECTOR)) {
    return 0;
  }
  bytevector *all = OBJ(bytevector, c->positions);
  for (int64_t i = 0; i + 16 <= all->length; i += 16) {
    uint64_t entry[2];
    memcpy(entry, all->byte + i, 16);
    if ((int64_t)entry[0] >= word) { // the next instruction that has one: instructions of its own call follow what it computes for it
      return entry[1];
    }
  }
  return 0;
}

// Frame by frame, from the one that runs: the closure and the word behind its call.
static value *frame_before(machine *m, value *frame, int64_t *word) {
  uint64_t link = frame[-2];
  value *caller = frame - LINK_DISTANCE(link);
  if (frame <= m->stack->item + 2 || LINK_DISTANCE(link) == 0 || caller < m->stack->item + 2) {
    return NULL;
  }
  *word = (int64_t)LINK_WORD(link);
  return caller;
}

static bool is_prelude(uint64_t where) { return (int64_t)(where & 0xfff) <= fixnum_of(world->item[WORLD_PRELUDE_FILES]); }

uint64_t machine_position(machine *m) {
  if (m->frame == NULL || !is_kind(m->frame[-1], KIND_CLOSURE)) {
    return 0;
  }
  value *frame = m->frame;
  value at = OBJ(closure, frame[-1])->code;
  int64_t word = m->next >= OBJ(code, at)->word && m->next <= OBJ(code, at)->word + OBJ(code, at)->length ? m->next - OBJ(code, at)->word : 0;
  for (int i = 0; frame != NULL && i < 50; i++) {
    at = OBJ(closure, frame[-1])->code;
    uint64_t where = position_in(at, word);
    if (where != 0 && !is_prelude(where)) {
      return where;
    }
    frame = frame_before(m, frame, &word);
  }
  return 0;
}

void position_write(machine *m, value port, uint64_t where) {
  char text[80];
  int number = (int)(where & 0xfff), n = (int)list_most(world->item[WORLD_FILES], 5000);
  for (value l = world->item[WORLD_FILES]; l != V_NULL; l = cdr(l), n--) {
    if (n == number) {
      print(m, port, car(l), PRINT_DISPLAY);
    }
  }
  snprintf(text, sizeof text, ":%lld:%lld", (long long)(where >> 32), (long long)(where >> 12 & 0xfffff));
  port_write_utf8(m, port, text, strlen(text));
}

void machine_backtrace(machine *m, value port, int most) {
  value *frame = m->frame;
  int64_t word = 0;
  if (frame == NULL || !is_kind(frame[-1], KIND_CLOSURE)) {
    return;
  }
  while (most > 0 && (frame = frame_before(m, frame, &word)) != NULL && is_kind(frame[-1], KIND_CLOSURE)) {
    code *c = OBJ(code, OBJ(closure, frame[-1])->code);
    uint64_t where = position_in(ref(c), word);
    if (where == 0 || is_prelude(where)) {
      continue;
    }
    port_write_utf8(m, port, "  in ", 5);
    print(m, port, is_kind(c->name, KIND_SYMBOL) ? c->name : intern(m, "a procedure"), PRINT_DISPLAY);
    port_write_utf8(m, port, ", ", 2);
    position_write(m, port, where);
    port_write_utf8(m, port, "\n", 1);
    most--;
  }
}
