// SPDX-License-Identifier: MIT
// bytecode.h: the instructions.
//
// An instruction is a word: bit 0 is set, so that the collector takes it for a number; then the operation, to bit 15; and three operands of 16 bits, A, B and
// C.
// Some are followed by words of their own. What the operands are, letter by letter for A, B and C:
//   r register that is read   w register that is written   i signed number   n number   f index of a captured value   k kind of object   - nothing
//   b a call's place: the callee lies in register b + 1, arguments from b + 2 on   j a jump, in words from the next instruction   I, J the same as i and j,
// in B and C together
// And the words behind: v any value, g a global variable's cell, c code, t a record type; * B captures: odd words, register << 2 | 1, or index << 2 | 3 of a
// captured value.

#ifndef SCHEME_BYTECODE_H
#define SCHEME_BYTECODE_H

#include "scheme.h"

#define OPERATIONS(X) \
  X(MOVE, "wr-", "") X(INT, "wI", "") X(CONST, "w--", "v") X(GLOBAL, "w--", "g") X(SET_GLOBAL, "r--", "g") X(DEFINE, "r--", "g") \
  X(FREE, "wf-", "") X(FREE_CELL, "wf-", "") X(SET_FREE_CELL, "rf-", "") X(NEW_CELL, "wr-", "") X(CELL, "wr-", "") X(SET_CELL, "rr-", "") \
   X(UNBOUND, "w--", "") \
  X(CLOSURE, "wn-", "c*") X(PATCH, "rfr", "") \
  X(CALL, "bnw", "") X(TAIL_CALL, "bn-", "") X(CALL_GLOBAL, "bnw", "g") X(TAIL_CALL_GLOBAL, "bn-", "g") \
  X(RETURN, "r--", "") X(JUMP, "-J", "") X(LOOP, "-J", "") X(JUMP_FALSE, "rJ", "") X(JUMP_TRUE, "rJ", "") \
  X(JUMP_NULL, "rJ", "") X(JUMP_NOT_NULL, "rJ", "") X(JUMP_PAIR, "rJ", "") X(JUMP_NOT_PAIR, "rJ", "") X(JUMP_FIXNUM, "rJ", "") X(JUMP_NOT_FIXNUM, "rJ", "") \
  X(JUMP_CHAR, "rJ", "") X(JUMP_NOT_CHAR, "rJ", "") X(JUMP_KIND, "rkj", "") X(JUMP_NOT_KIND, "rkj", "") X(JUMP_RECORD, "rJ", "t") \
   X(JUMP_NOT_RECORD, "rJ", "t") \
  X(JUMP_EQ, "rrj", "") X(JUMP_NOT_EQ, "rrj", "") X(JUMP_EQV, "rrj", "") X(JUMP_NOT_EQV, "rrj", "") \
  X(JUMP_LT, "rrj", "") X(JUMP_NOT_LT, "rrj", "") X(JUMP_LE, "rrj", "") X(JUMP_NOT_LE, "rrj", "") X(JUMP_SAME, "rrj", "") X(JUMP_NOT_SAME, "rrj", "") \
  X(JUMP_LT_INT, "rij", "") X(JUMP_NOT_LT_INT, "rij", "") X(JUMP_LE_INT, "rij", "") X(JUMP_NOT_LE_INT, "rij", "") X(JUMP_SAME_INT, "rij", "") \
   X(JUMP_NOT_SAME_INT, "rij", "") \
  X(JUMP_GT_INT, "rij", "") X(JUMP_NOT_GT_INT, "rij", "") X(JUMP_GE_INT, "rij", "") X(JUMP_NOT_GE_INT, "rij", "") \
  X(JUMP_EQ_CONST, "rJ", "v") X(JUMP_NOT_EQ_CONST, "rJ", "v") X(JUMP_CHAR_SAME, "rrj", "") X(JUMP_NOT_CHAR_SAME, "rrj", "") \
  X(ADD, "wrr", "") X(ADD_INT, "wri", "") X(SUBTRACT, "wrr", "") X(MULTIPLY, "wrr", "") X(DIVIDE, "wrr", "") X(QUOTIENT, "wrr", "") X(REMAINDER, "wrr", "") \
  X(MODULO, "wrr", "") X(CONS, "wrr", "") X(CAR, "wr-", "") X(CDR, "wr-", "") X(CAAR, "wr-", "") X(CADR, "wr-", "") X(CDAR, "wr-", "") X(CDDR, "wr-", "") \
  X(SET_CAR, "rr-", "") X(SET_CDR, "rr-", "") X(VECTOR_REF, "wrr", "") X(VECTOR_SET, "rrr", "") X(VECTOR_LENGTH, "wr-", "") \
  X(STRING_REF, "wrr", "") X(BYTE_REF, "wrr", "") X(BYTE_SET, "rrr", "") X(CHAR_INTEGER, "wr-", "") X(INTEGER_CHAR, "wr-", "") \
  X(RECORD, "wnr", "t") X(RECORD_REF, "wrn", "t") X(RECORD_SET, "rrn", "t") \
  X(SPREAD, "rnw", "") X(APPLY, "rr-", "") X(APPLY_VALUES, "rr-", "") X(CALL_CC, "r--", "") X(UNDERFLOW, "---", "")

enum operation {
#define X(NAME, OPERANDS, WORDS) OP_##NAME,
  OPERATIONS(X)
#undef X
      OPERATION_COUNT
};
enum { SPREAD_REST = 0x8000 };

#define WORD(OP, A, B, C) ((uint64_t)(OP) << 1 | 1 | (uint64_t)(uint16_t)(A) << 16 | (uint64_t)(uint16_t)(B) << 32 | (uint64_t)(uint16_t)(C) << 48)
#define WORD_OP(W) ((int)((W) >> 1 & 0x7fff))
#define WORD_A(W) ((unsigned)((W) >> 16 & 0xffff))
#define WORD_B(W) ((unsigned)((W) >> 32 & 0xffff))
#define WORD_C(W) ((unsigned)((W) >> 48))
#define WORD_BI(W) ((int64_t)(int16_t)((W) >> 32)) // signed
#define WORD_CI(W) ((int64_t)(W) >> 48)
#define WORD_BC(W) ((int64_t)(W) >> 32)
#define WORD_BIG(OP, A, BC) ((uint64_t)(OP) << 1 | 1 | (uint64_t)(uint16_t)(A) << 16 | (uint64_t)(uint32_t)(int32_t)(BC) << 32)

typedef struct operation_format {
  const char *name, *operands, *words;
} operation_format;
extern const operation_format operation_formats[OPERATION_COUNT];
int64_t operation_words(const value *at); // how many words the instruction there takes

#endif
