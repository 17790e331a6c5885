// SPDX-License-Identifier: MIT
// emit.c: puts instructions behind each other; labels and positions.

#include <string.h>
#include "compiler.h"

static int64_t *numbers(value bytes) { return (int64_t *)OBJ(bytevector, bytes)->byte; }
static void number_add_to(machine *m, value *bytes, int64_t *used, int64_t number) {
  int64_t room = OBJ(bytevector, *bytes)->length;
  if (8 * *used + 8 > room) {
    value made = new_bytevector(m, room * 2, 0);
    memcpy(OBJ(bytevector, made)->byte, OBJ(bytevector, *bytes)->byte, (size_t)room);
    *bytes = made;
  }
  numbers(*bytes)[(*used)++] = number;
}

void generator_open(generator *g, machine *m, value lambda_value) {
  *g = (generator){.m = m, .lambda = lambda_value, .last_label = -1, .last_operation = -1};
  g->words = new_vector(m, 64, fixnum(0));
  g->positions = new_bytevector(m, 128, 0);
  g->patches = new_bytevector(m, 128, 0);
  g->labels = new_bytevector(m, 64, 0);
}

void emit_value(generator *g, value v) {
  vector *words = OBJ(vector, g->words);
  if (g->used == words->length) {
    value made = new_vector(g->m, words->length * 2, fixnum(0));
    memcpy(OBJ(vector, made)->item, words->item, 8 * (size_t)g->used);
    g->words = made;
    words = OBJ(vector, made);
  }
  words->item[g->used++] = v;
}
void emit(generator *g, uint64_t word) {
  g->last_operation = g->used;
  emit_value(g, word);
}
bool falls_through(generator *g) {
  if (g->used == 0 || g->last_label == g->used || g->last_operation != g->used - 1) {
    return true;
  }
  int op = WORD_OP(OBJ(vector, g->words)->item[g->used - 1]);
  return op != OP_JUMP && op != OP_LOOP && op != OP_RETURN;
}

void emit_position(generator *g, value where) {
  if (where != fixnum(0)) {
    number_add_to(g->m, &g->positions, &g->positions_used, g->used);
    number_add_to(g->m, &g->positions, &g->positions_used, fixnum_of(where));
  }
}

int64_t label_new(generator *g) {
  number_add_to(g->m, &g->labels, &g->labels_used, -1);
  return g->labels_used - 1;
}
bool label_is_bound(generator *g, int64_t label) { return numbers(g->labels)[label] >= 0; }

void label_bind(generator *g, int64_t label) {
  int64_t n = g->patches_used;
  // A jump to the next instruction is left out.
  if (n >= 2 && numbers(g->patches)[n - 1] == g->used - 1 && numbers(g->patches)[n - 2] == label && g->last_label != g->used &&
      g->last_operation == g->used - 1 && WORD_OP(OBJ(vector, g->words)->item[g->used - 1]) == OP_JUMP) {
    g->patches_used -= 2;
    g->used--;
  }
  numbers(g->labels)[label] = g->used;
  g->last_label = g->used;
}

void emit_jump(generator *g, int operation, unsigned a, unsigned b, int64_t label) {
  number_add_to(g->m, &g->patches, &g->patches_used, label);
  number_add_to(g->m, &g->patches, &g->patches_used, g->used);
  emit(g, WORD(operation, a, b, 0));
}

int register_new(generator *g, int count) {
  int first = g->top;
  g->top += count;
  if (g->top > FRAME_MAX - 8) {
    fail_syntax(g->m, V_FALSE, "a procedure needs too many registers");
  }
  g->most = g->top > g->most ? g->top : g->most;
  return first;
}

static void patch(generator *g) {
  vector *words = OBJ(vector, g->words);
  for (int64_t i = 0; i < g->patches_used; i += 2) {
    int64_t at = numbers(g->patches)[i + 1], to = numbers(g->labels)[numbers(g->patches)[i]];
    int64_t distance = to - (at + operation_words(&words->item[at]));
    uint64_t w = words->item[at];
    if (operation_formats[WORD_OP(w)].operands[1] == 'J') {
      words->item[at] = WORD_BIG(WORD_OP(w), WORD_A(w), distance);
    } else if (distance > INT16_MAX || distance < INT16_MIN) {
      fail_syntax(g->m, V_FALSE, "a procedure is too long");
    } else {
      words->item[at] = WORD(WORD_OP(w), WORD_A(w), WORD_B(w), distance);
    }
  }
}

value generator_close(generator *g) {
  machine *m = g->m;
  patch(g);
  code *c = allocate(m, KIND_CODE, g->used + 5, KIND_CODE);
  c->length = g->used;
  c->frame = g->most + 4;
  c->captures = form_length(LAMBDA(g->lambda)->free);
  c->name = LAMBDA(g->lambda)->name;
  c->positions = V_FALSE;
  memcpy(c->word, OBJ(vector, g->words)->item, 8 * (size_t)g->used);
  if (g->positions_used != 0) {
    value positions = new_bytevector(m, 8 * g->positions_used, -1);
    memcpy(OBJ(bytevector, positions)->byte, numbers(g->positions), 8 * (size_t)g->positions_used);
    c->positions = positions;
  }
  return ref(c);
}
