// SPDX-License-Identifier: MIT
// machine_slow.h: what machine.c leaves to machine_slow.c and machine_stack.c.

#ifndef SCHEME_MACHINE_SLOW_H
#define SCHEME_MACHINE_SLOW_H

#include "machine.h"

enum { ESCAPE_RAISE = 1, ESCAPE_ABORT };

// Primitives that do what an instruction could not.
enum slow { SLOW_DIVIDE, SLOW_QUOTIENT, SLOW_REMAINDER, SLOW_MODULO, SLOW_VECTOR_REF, SLOW_VECTOR_SET, SLOW_STRING_REF, SLOW_BYTE_REF, SLOW_BYTE_SET,
    SLOW_INTEGER_CHAR, SLOW_COUNT };
value machine_slow(machine *m, enum slow which, value a, value b, value c);
enum comparison { MACHINE_LT, MACHINE_LE, MACHINE_SAME, MACHINE_GT, MACHINE_GE };
bool compare_slow(machine *m, const char *sign, value a, value b, enum comparison which);
void primitives_begin(machine *m);  // makes objects of all tables; or, if an image is of a program with others, finds its functions by their names
bool primitive_is_known(value v);   // what it calls is one of the tables', with as many arguments

_Noreturn void fail_unbound(machine *m, value cell);
_Noreturn void fail_record(machine *m, value got, value type);
_Noreturn void fail_arguments(machine *m, value callee, int64_t count);

value primitive_call(machine *m, value callee, value *argument, int count);
value primitive_apply(machine *m, value callee, value list);
int64_t list_most(value list, int64_t most); // how long it is, or `most`
int64_t spread(machine *m, value list, value *to);
void spread_values(machine *m, value v, unsigned count, value *to);

// What is called is no closure of just so many arguments: afterwards it is a closure that may be entered, a primitive, or a continuation whose value is
// argument[0]; anything
// else means that argument[0] is the result already.
value call_prepare(machine *m, value callee, value *argument, int64_t *count);
value *continuation_capture(machine *m, value *frame); // all below `frame`; the new frame, with the continuation in register 0
value *continuation_resume(machine *m);                // of STATE_NEXT; the frame whose link says where to go on, or NULL: nothing is left

#endif
