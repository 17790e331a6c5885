// SPDX-License-Identifier: MIT
// machine.h: the machine, what it executes, and the objects that only the machine, the compiler and their primitives know.
//
// A frame is a run of words on the machine's stack. `frame` points to register 0:
//
//   frame[-2]  the link: where the caller goes on, odd (LINK_*)
//   frame[-1]  the closure that runs
//   frame[0] … its registers: arguments first
//
// All that a frame knows is relative, so that a stack can be copied: to a larger one, or into a continuation.

#ifndef SCHEME_MACHINE_H
#define SCHEME_MACHINE_H

#include <setjmp.h>
#include <signal.h>
#include "memory.h"

// ---- Objects. The word after the header is a slot in all of them (memory.h); small numbers may stand in slots.
typedef struct closure { uint64_t header; value code, free[]; } closure; // header: CLOSURE_HEADER
typedef struct code {
  uint64_t header;
  value name;      // a symbol, or V_FALSE
  value positions; // a bytevector: of pairs of words, an index into `word` and where the call that ends there stands in the source (as a pair's header)
  int64_t length, frame, captures; // words below; registers; free variables of its closures
  value word[];    // instructions, which are odd, and values between them (bytecode.h)
} code;
// a global variable, which has a name; or a box: a local one that is assigned and has a home in the heap
typedef struct cell { uint64_t header; value content, name; } cell;
typedef struct primitive { uint64_t header; value name, fn; } primitive; // header: KIND | least << 8 | (most + 1) << 24; fn: a fixnum (machine_slow.c)
typedef struct continuation { uint64_t header; value words, next, link; int64_t length; value winders, handlers, bindings; } continuation;
typedef struct parameter { uint64_t header; value content, converter; } parameter;
// table: a vector: symbol, what it means, symbol, ...
typedef struct environment { uint64_t header; value table, name, exports, aliases; int64_t count; } environment;
typedef struct macro { uint64_t header; value literals, rules, ellipsis, scope; } macro;
typedef struct identifier { uint64_t header; value name, scope; } identifier; // what a macro's template has put in: `name` as it is understood in `scope`

#define OBJ(T, V) OBJECT_(T, V)
static inline value ref(const void *object) { return (value)(uintptr_t)object; }
static inline uint64_t header_of(value v) { return OBJ(object, v)->header; }

enum { CLOSURE_REST = 1, CLOSURE_CASES = 2 };
#define CLOSURE_HEADER(REQUIRED, FLAGS, CAPTURES) (KIND_CLOSURE | (uint64_t)(REQUIRED) << 8 | (uint64_t)(FLAGS) << 24 | (uint64_t)(CAPTURES) << 32)
static inline bool closure_takes(uint64_t header, int count) { return (uint32_t)header == (KIND_CLOSURE | (uint32_t)count << 8); } // exactly so many arguments
enum { ARGUMENTS_MAX = 0x3fff, FRAME_MAX = 0x4000, CAPTURES_MAX = 0x7fff };

#define LINK(WORD, TARGET, DISTANCE) ((uint64_t)(WORD) << 33 | (uint64_t)(TARGET) << 17 | (uint64_t)(DISTANCE) << 1 | 1)
#define LINK_WORD(L) ((L) >> 33)              // index of the caller's next instruction
#define LINK_TARGET(L) ((L) >> 17 & 0xffff)   // the caller's register that gets the result
#define LINK_DISTANCE(L) ((L) >> 1 & 0xffff)  // from the caller's frame to this one

// ---- The world: what all threads share. One object, by which an image is found again.
typedef enum world_slot {
  WORLD_VERSION, WORLD_SYMBOLS, WORLD_SYMBOL_COUNT, WORLD_PRIMITIVES, WORLD_PRIMITIVES_VERSION, WORLD_FILES, WORLD_LIBRARIES, WORLD_LIBRARY_COUNT, WORLD_BASE,
  WORLD_USER, WORLD_UNDERFLOW, WORLD_RAISE, WORLD_REWIND, WORLD_GUARDIANS, WORLD_ARGUMENTS, WORLD_PARAMETERS, WORLD_PRELUDE_FILES, WORLD_LIBRARY_ROOTS,
  WORLD_SLOTS = WORLD_LIBRARY_ROOTS + LIBRARY_ROOTS
} world_slot;
extern vector *world;

// ---- The machine. Not an object: what it holds of the heap is held by two slots that are registered as roots.
typedef enum state_slot { STATE_NEXT, STATE_WINDERS, STATE_HANDLERS, STATE_BINDINGS, STATE_CONDITION, STATE_THREAD, STATE_FORMS, STATE_EXHAUSTED,
    STATE_SLOTS } state_slot;
struct machine {
  memory_self *self;
  // a frame above it makes a call look around (machine_poll): the stack is to grow, or someone wants something. Any thread may set it to NULL: limit_of,
  // limit_set
  value *limit;
  vector *stack, *state;     // roots
  value *frame;              // where it is, as far as others need to know: stored before all that may fail
  const value *next;         // the next instruction
  jmp_buf *escape;           // where fail goes
  char *depth_limit;         // how far down the C stack may reach while forms are expanded
  volatile sig_atomic_t interrupted; // by Ctrl-C
  uint64_t cycles;           // memory_cycles when the stack was cleared
  bool exhausted;            // an error for want of memory is being handled
  bool locked;               // it has the compiler's lock
  int64_t fuel;              // (%fuel n): an error after so many polls; 0: never
  uint64_t polls, gap_from, gap_max; // --stats: times between polls, in ns
};
static inline value *limit_of(machine *m) { return __atomic_load_n(&m->limit, __ATOMIC_RELAXED); }
static inline void limit_set(machine *m, value *limit) { __atomic_store_n(&m->limit, limit, __ATOMIC_SEQ_CST); } // before memory_cycles is looked at
enum { STACK_WORDS = 1 << 17, STACK_STEP = 1 << 13 };
extern size_t machine_stack_most; // words
extern bool machine_measures;     // --stats
extern pthread_mutex_t world_lock; // of the symbol table, of environments, and of the compiler

machine *machine_open(memory_self *self); // NULL: no memory
void machine_close(machine *m);
bool machine_run(machine *m, value procedure, value *result); // of no arguments; false if it failed: the condition is in STATE_CONDITION
void machine_clear(machine *m);           // nothing runs: forgets all that the stack holds
void machines_poke(void);                 // all of them look around soon
value *machine_poll(machine *m, value *frame, int count); // the frame of a callee that is about to begin, with so many registers in use; where it is afterwards
void machines_note(machine *m, bool here);
void machine_exit(machine *m, int status);
_Noreturn void machine_abort(machine *m, value condition); // nobody has handled it: machine_run returns false
void position_write(machine *m, value port, uint64_t where); // FILE:LINE:COLUMN
void machine_backtrace(machine *m, value port, int most);
uint64_t machine_position(machine *m);    // of the call that is under way, 0 if it is not known
value machine_push_all(machine *m, value procedure, value list);

// ---- Allocation (heap.c), inline for the machine.
_Noreturn void out_of_memory(machine *m);
_Noreturn void machine_exhausted(machine *m);
void errors_begin(machine *m); // makes the error of a machine that has no memory left
static inline void *allocate(machine *m, int type, int64_t slots, uint64_t header) {
  uint64_t *made = memory_new(m->self, type, slots);
  if (__builtin_expect(made == NULL, 0)) {
    out_of_memory(m);
  }
  *made = header;
  return made;
}
static inline value cons_inline(machine *m, value head, value tail) {
  pair *made = allocate(m, MEMORY_PAIR, 2, 0);
  made->car = head;
  made->cdr = tail;
  return ref(made) | TAG_PAIR;
}
static inline value flonum_inline(machine *m, double number) {
  flonum *made = memory_new_leaf(m->self, MEMORY_FLONUM, sizeof(flonum));
  if (__builtin_expect(made == NULL, 0)) {
    out_of_memory(m);
  }
  made->number = number;
  return ref(made) | TAG_FLONUM;
}
value new_cell(machine *m, value content, value name);
bool heap_begin(machine *m);  // makes the world, or finds it in an image
void world_lock_take(machine *m);
void world_lock_drop(machine *m);
uint64_t memory_status(const char *name); // of /proc/self/status, in bytes

// ---- Code (code.c).
value closure_of(machine *m, value code, int required, int flags);
primitive_fn code_mutate, fuel;
bool code_check(value code, char *error, size_t bytes); // whether each instruction of it can be executed

// ---- The compiler (expand*.c, syntax_rules.c, analyze.c, generate.c).
value compile(machine *m, value form, value environment); // a closure of no arguments
void compile_declare(machine *m, value form, value environment); // notes what a program is going to define, so that it is no primitive of that name
value environment_new(machine *m, value name);
value environment_get(value environment, value symbol);   // what it means, or 0
void environment_put(machine *m, value environment, value symbol, value meaning);
value environment_cell(machine *m, value environment, value symbol); // its variable; made if there is none
value library_find(machine *m, value name);               // its environment, or V_FALSE
void environment_import(machine *m, value environment, value symbol, value meaning);
value environment_own_cell(machine *m, value environment, value symbol); // its own variable, which no import gave it
void import_sets(machine *m, value sets, value environment);
void libraries_begin(machine *m);
void environment_import_all(machine *m, value to); // of the base environment
void compile_declare_locked(machine *m, value form, value environment);
void parameters_begin(machine *m);
void port_name_set(machine *m, value port, value name);
value read_file_folded(machine *m, value name, bool fold); // all data in it, as a list
value code_version(void); // a number that is another where code means something else: an image of that is refused
bool codes_check(machine *m, char *error, size_t bytes);
void finalizers_run(machine *m);
_Noreturn void fail_syntax(machine *m, value form, const char *message, ...); // as printf; the form says where
value strip(machine *m, value form);                      // symbols in place of identifiers
extern bool compile_trace;

#endif
