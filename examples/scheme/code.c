// SPDX-License-Identifier: MIT
// code.c: what instructions look like, and whether code can be executed: an image is a file like any other. Also the way from a form to a procedure.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "compiler.h"
#include "machine_slow.h"

const operation_format operation_formats[OPERATION_COUNT] = {
#define X(NAME, OPERANDS, WORDS) {#NAME, OPERANDS, WORDS},
    OPERATIONS(X)
#undef X
};

int64_t operation_words(const value *at) {
  const char *words = operation_formats[WORD_OP(*at)].words;
  int64_t n = 1;
  for (; *words != 0; words++) {
    n += *words == '*' ? (int64_t)WORD_B(*at) : 1;
  }
  return n;
}

// ---- Checking.

typedef struct check {
  const code *c;
  uint8_t *starts; // where an instruction begins
  int64_t at;
  const char *what;
} check;

static bool wrong(check *k, const char *what) {
  k->what = what;
  return false;
}

static bool check_jump(check *k, int64_t distance, bool back) {
  if (distance < 0 && !back) {
    return wrong(k, "a jump back does not look around"); // only OP_LOOP polls
  }
  int64_t to = k->at + operation_words(&k->c->word[k->at]) + distance;
  return (to >= 0 && to < k->c->length && k->starts[to]) || wrong(k, "a jump leads nowhere");
}

static bool check_operand(check *k, char kind, unsigned n, uint64_t w) {
  switch (kind) {
    case 'r':
    case 'w': return n < k->c->frame || wrong(k, "there is no such register");
    case 'f': return n < k->c->captures || WORD_OP(w) == OP_PATCH || wrong(k, "there is no such captured value");
    case 'k': return n == KIND_VECTOR || n == KIND_STRING || n == KIND_SYMBOL || n == KIND_BYTEVECTOR || wrong(k, "there is no such kind");
    case 'b': return (int64_t)n + 2 + WORD_B(w) <= k->c->frame || wrong(k, "a call's arguments lie outside of the frame");
    case 'j': return check_jump(k, WORD_CI(w), false);
    case 'J': return check_jump(k, WORD_BC(w), WORD_OP(w) == OP_LOOP);
    default: return true;
  }
}

static bool check_words(check *k, const char *words, const value *at) {
  uint64_t w = *at;
  for (int64_t i = 1; *words != 0; words++, i++) {
    value v = at[i];
    switch (*words) {
      case 'g':
        if (!is_kind(v, KIND_CELL)) {
          return wrong(k, "a global variable is none");
        }
        break;
      case 't':
        if (!is_kind(v, KIND_RECORD_TYPE)) {
          return wrong(k, "a record type is none");
        }
        break;
      case 'c':
        if (!is_kind(v, KIND_CLOSURE) || !is_kind(OBJ(closure, v)->code, KIND_CODE) || OBJ(code, OBJ(closure, v)->code)->captures != WORD_B(w)) {
          return wrong(k, "a procedure captures another number of values");
        }
        break;
      case '*':
        for (int64_t n = 0; n < WORD_B(w); n++) {
          uint64_t from = at[i + n], index = from >> 2;
          if (!(from & 1) || index >= (uint64_t)(from & 2 ? k->c->captures : k->c->frame)) {
            return wrong(k, "a captured value does not exist");
          }
        }
        break;
    }
  }
  return true;
}

static bool check_more(check *k, uint64_t w) {
  switch (WORD_OP(w)) {
    case OP_RECORD: {
      value fields = OBJ(record_type, k->c->word[k->at + 1])->fields;
      if ((int64_t)WORD_B(w) + WORD_C(w) > k->c->frame || (is_kind(fields, KIND_VECTOR) && OBJ(vector, fields)->length != WORD_B(w))) {
        return wrong(k, "a record has another number of fields");
      }
      return true;
    }
    case OP_RECORD_REF:
    case OP_RECORD_SET: {
      value fields = OBJ(record_type, k->c->word[k->at + 1])->fields;
      return !is_kind(fields, KIND_VECTOR) || WORD_C(w) < OBJ(vector, fields)->length || wrong(k, "a record has no such field");
    }
    case OP_SPREAD: return (int64_t)(WORD_B(w) & (SPREAD_REST - 1)) + (WORD_B(w) >> 15) + WORD_C(w) <= k->c->frame || wrong(k,
        "values lie outside of the frame");
    case OP_UNDERFLOW: return k->c->length == 1 || wrong(k, "the bottom of the stack is not here");
    default: return true;
  }
}

static bool check_one(check *k) {
  uint64_t w = k->c->word[k->at];
  const operation_format *f = &operation_formats[WORD_OP(w)];
  return check_operand(k, f->operands[0], WORD_A(w), w) && check_operand(k, f->operands[1], WORD_B(w), w) &&
         (f->operands[1] == 'J' || f->operands[1] == 'I' || check_operand(k, f->operands[2], WORD_C(w), w)) && check_words(k, f->words,
             &k->c->word[k->at]) && check_more(k, w);
}

static bool ends(int op) {
  return op == OP_RETURN || op == OP_JUMP || op == OP_LOOP || op == OP_TAIL_CALL || op == OP_TAIL_CALL_GLOBAL || op == OP_APPLY || op == OP_APPLY_VALUES ||
         op == OP_CALL_CC || op == OP_UNDERFLOW;
}

bool code_check(value code_value, char *error, size_t bytes) {
  const code *c = OBJ(code, code_value);
  uint8_t starts[c->length > 0 && c->length < 1 << 20 ? c->length : 1];
  check k = {.c = c, .starts = starts};
  int last = OP_MOVE;
  if (c->length <= 0 || c->length >= 1 << 20 || c->frame < 4 || c->frame > FRAME_MAX || c->captures < 0 || c->captures > CAPTURES_MAX) {
    snprintf(error, bytes, "code of %lld words, %lld registers", (long long)c->length, (long long)c->frame);
    return false;
  }
  memset(starts, 0, sizeof starts);
  for (int64_t at = 0, n; at < c->length; at += n) {
    if (!(c->word[at] & 1) || WORD_OP(c->word[at]) >= OPERATION_COUNT || (n = operation_words(&c->word[at])) > c->length - at) {
      snprintf(error, bytes, "word %lld is no instruction", (long long)at);
      return false;
    }
    starts[at] = 1;
    last = WORD_OP(c->word[at]);
  }
  if (!ends(last)) {
    snprintf(error, bytes, "the code has no end");
    return false;
  }
  for (k.at = 0; k.at < c->length; k.at++) {
    if (starts[k.at] && !check_one(&k)) {
      snprintf(error, bytes, "word %lld, %s: %s", (long long)k.at, operation_formats[WORD_OP(c->word[k.at])].name, k.what);
      return false;
    }
  }
  return true;
}

// For tests: the procedure with one operand of one instruction changed, or a string that says why that cannot run.
value code_mutate(machine *m, value *a, int count) {
  value v = a[0];
  if (!is_kind(v, KIND_CLOSURE) || !is_fixnum(a[1]) || !is_fixnum(a[2]) || !is_fixnum(a[3]) || header_of(v) >> 24 & CLOSURE_CASES) {
    return V_FALSE;
  }
  code *from = OBJ(code, OBJ(closure, v)->code), *made = allocate(m, KIND_CODE, from->length + 5, KIND_CODE);
  memcpy(&made->name, &from->name, sizeof *from - 8 + 8 * (size_t)from->length);
  int64_t at = 0, wanted = fixnum_of(a[1]);
  for (int64_t i = 0; i < wanted && at < made->length; i++) {
    at += operation_words(&made->word[at]);
  }
  if (at >= made->length || wanted < 0) {
    return V_FALSE;
  }
  int shift = (int)(fixnum_of(a[2]) & 3) * 16;
  uint64_t operand = (uint64_t)fixnum_of(a[3]) & 0xffff;
  made->word[at] = (made->word[at] & ~((uint64_t)0xffff << shift)) | (operand | (shift == 0)) << shift;
  char error[200];
  if (!code_check(ref(made), error, sizeof error)) {
    return new_string_utf8(m, error, strlen(error));
  }
  int64_t captures = (int64_t)(header_of(v) >> 32);
  closure *c = allocate(m, KIND_CLOSURE, captures + 1, header_of(v));
  c->code = ref(made);
  memcpy(c->free, OBJ(closure, v)->free, 8 * (size_t)captures);
  return ref(c);
}

// All code that the world's variables reach, from procedure to procedure. What was seen is noted by its address, outside of the heap: nothing is allocated
// here, so nothing moves; and if
// something has moved all the same it is done again.
typedef struct codes {
  value *stack, *seen;
  size_t used, room, mask, count;
  char *error;
  size_t bytes;
} codes;

static bool codes_grow(codes *k) {
  value *old = k->seen;
  size_t before = k->mask;
  k->seen = calloc(4 * (k->mask + 1), sizeof *k->seen);
  if (k->seen == NULL) {
    k->seen = old;
    return false;
  }
  k->mask = 4 * (before + 1) - 1;
  for (size_t i = 0; i <= before; i++) {
    size_t at = (old[i] * 0x9e3779b97f4a7c15u >> 20) & k->mask;
    while (old[i] != 0 && k->seen[at] != 0) {
      at = (at + 1) & k->mask;
    }
    k->seen[at] = old[i] != 0 ? old[i] : k->seen[at];
  }
  free(old);
  return true;
}

// Puts it on the stack if it is new. False: no memory.
static bool codes_visit(codes *k, value v) {
  if (!is_kind(v, KIND_CLOSURE) && !is_kind(v, KIND_CODE) && !is_kind(v, KIND_CELL) && !is_kind(v, KIND_PRIMITIVE)) {
    return true;
  }
  size_t at = (v * 0x9e3779b97f4a7c15u >> 20) & k->mask;
  while (k->seen[at] != 0 && k->seen[at] != v) {
    at = (at + 1) & k->mask;
  }
  if (k->seen[at] == v) {
    return true;
  }
  k->seen[at] = v;
  if (k->used == k->room) {
    value *more = realloc(k->stack, 2 * k->room * sizeof *more);
    if (more == NULL) {
      return false;
    }
    k->stack = more;
    k->room *= 2;
  }
  k->stack[k->used++] = v;
  return 2 * ++k->count < k->mask || codes_grow(k);
}
static bool codes_table(codes *k, value environment_value) {
  vector *all = OBJ(vector, OBJ(environment, environment_value)->table);
  for (int64_t i = 0; i < all->length; i += 3) {
    if (!codes_visit(k, all->item[i + 1])) {
      return false;
    }
  }
  return true;
}
static bool codes_from(codes *k, value v) {
  bool fine = true;
  if (is_kind(v, KIND_CELL)) {
    return codes_visit(k, OBJ(cell, v)->content);
  }
  if (is_kind(v, KIND_PRIMITIVE)) {
    fine = primitive_is_known(v);
    if (!fine) {
      snprintf(k->error, k->bytes, "it has a primitive procedure that this program does not know");
    }
    return fine;
  }
  if (is_kind(v, KIND_CLOSURE)) {
    for (uint64_t i = 0; i < header_of(v) >> 32 && fine; i++) {
      fine = codes_visit(k, OBJ(closure, v)->free[i]);
    }
    return fine && codes_visit(k, OBJ(closure, v)->code);
  }
  if (!code_check(v, k->error, k->bytes)) {
    return false;
  }
  const code *c = OBJ(code, v);
  for (int64_t at = 0; at < c->length && fine; at += operation_words(&c->word[at])) {
    for (int64_t i = 1; i < operation_words(&c->word[at]) && fine; i++) {
      fine = codes_visit(k, c->word[at + i]);
    }
  }
  return fine;
}
// FNV-1a of the names of all instructions and special forms, in their order.
static uint64_t version_add(uint64_t hash, const char *text) {
  for (; *text != 0; text++) {
    hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
  }
  return hash;
}
value code_version(void) {
  static const char instructions[] =
#define X(NAME, OPERANDS, WORDS) #NAME " " OPERANDS " " WORDS "\n"
      OPERATIONS(X)
#undef X
      ;
  uint64_t hash = version_add(0xcbf29ce484222325u, instructions);
  for (int i = 0; special_forms[i].name != NULL; i++) {
    hash = version_add(version_add(hash, special_forms[i].name), "\n");
  }
  return fixnum((int64_t)(hash >> 2));
}

bool codes_check(machine *m, char *error, size_t bytes) {
  bool fine;
  uint64_t moves;
  do {
    codes k = {.room = 1024, .mask = 4095, .error = error, .bytes = bytes};
    moves = memory_moves();
    snprintf(error, bytes, "no memory");
    k.stack = malloc(k.room * sizeof *k.stack);
    k.seen = calloc(k.mask + 1, sizeof *k.seen);
    fine = k.stack != NULL && k.seen != NULL && codes_table(&k, world->item[WORLD_USER]) && codes_table(&k, world->item[WORLD_BASE]);
    vector *all = OBJ(vector, world->item[WORLD_LIBRARIES]);
    for (int64_t i = 0; i < all->length && fine; i += 3) {
      value e = all->item[i + 2];
      fine = e == V_FALSE || OBJ(environment, e)->table == OBJ(environment, world->item[WORLD_BASE])->table || codes_table(&k, e);
    }
    while (fine && k.used > 0) {
      fine = codes_from(&k, k.stack[--k.used]);
    }
    free(k.stack);
    free(k.seen);
  } while (moves != memory_moves());
  return fine;
}

// ---- Compiling.

value closure_of(machine *m, value code_value, int required, int flags) {
  closure *c = allocate(m, KIND_CLOSURE, 1, CLOSURE_HEADER(required, flags, 0));
  c->code = code_value;
  return ref(c);
}

value compile(machine *m, value form, value environment_value) {
  bool mine = !m->locked;
  world_lock_take(m);
  value body = expand_toplevel(m, form, environment_value);
  if (is_pair(form) && pair_of(form)->header != 0 && kind_of(body) == N_CALL) { // of a file: not in tail position, so that errors find the form
    value result = variable_new(m, intern(m, "result"));
    body = node_new(m, N_LET, list(m, 1, result), list(m, 1, body), node_local(m, result), form);
  }
  value top = lambda_new(m, V_NULL, 0, false, body, V_FALSE, form);
  m->state->item[STATE_FORMS] = V_NULL;
  analyze(m, NODE(top)->a);
  value made = template_of(m, NODE(top)->a);
  if (mine) {
    world_lock_drop(m);
  }
  return made;
}
