// SPDX-License-Identifier: MIT
// compiler.h: what the compiler's files share: the syntax tree, scopes, and the passes.
//
//   expand.c, expand_forms.c, expand_define.c, syntax_rules.c   a datum becomes a tree; macros, scopes, primitives that are instructions
//   analyze.c    which local functions are loops, which need no closure, what each closure captures
//   generate.c, generate_call.c, emit.c   bytecode
//
// The tree lies in the heap: a compilation may be collected in the midst. So all of its structs are objects with a header and slots (memory.h).

#ifndef SCHEME_COMPILER_H
#define SCHEME_COMPILER_H

#include "bytecode.h"
#include "machine.h"

typedef enum node_kind {
  N_CONST,        // a: the datum
  N_LOCAL,        // a: variable
  N_SET_LOCAL,    // a: variable, b: node
  N_GLOBAL,       // a: cell
  N_SET_GLOBAL,   // a: cell, b: node
  N_DEFINE,       // a: cell, b: node
  N_IF,           // a, b, c
  N_OR,           // a, b
  N_LAMBDA,       // a: lambda
  N_CASES,        // a: list of N_LAMBDA
  N_SEQUENCE,     // a, then b
  N_CALL,         // a: node, b: list of nodes
  N_INLINE,       // a: fixnum INLINE_*, b: list of nodes, c: for records: the type, d: for records: index
  N_LET,          // a: list of variables, b: list of nodes, c: body
  N_FIX,          // a: list of variables, b: list of N_LAMBDA, c: body
  N_BOX,          // a: list of variables, which have no value yet; c: body
  N_RECEIVE,      // a: list of variables, the last of which gets a list if d is V_TRUE; b: node, c: body
} node_kind;
typedef struct node { uint64_t header; value a, b, c, d, where; } node; // header: KIND_OTHER | kind << 8; where: fixnum of a pair's header, or fixnum(0)

typedef struct variable {
  uint64_t header;
  value name, owner, known; // owner: the lambda in whose frame it lives; known: the lambda that it is bound to by N_FIX, or 0
  value alias;              // generate: a variable or constant node that stands for it
  int64_t assigned, references, place, mark; // place: its register
} variable;

typedef struct lambda {
  uint64_t header;
  value name, parameters, body, where; // parameters: variables, the last gets the rest if `rest`
  value free, outer;                   // analyze: captured variables; the lambda around
  value made;                          // generate: the closure, if it is static
  int64_t required, rest;
  int64_t loop, fixed;                 // analyze: 1: its calls are jumps; it captures nothing
  int64_t label, context;              // of a loop
} lambda;
typedef struct scope { uint64_t header; value parent, bindings; } scope; // bindings: list of (identifier . meaning); parent: a scope or an environment

enum { OTHER_NODE = 1, OTHER_VARIABLE, OTHER_LAMBDA, OTHER_SCOPE };
#define OTHER_HEADER(WHAT) (KIND_OTHER | (uint64_t)(WHAT) << 24)
static inline bool is_other(value v, int what) { return is_kind(v, KIND_OTHER) && (int)(header_of(v) >> 24) == what; }
static inline node_kind kind_of(value v) { return (node_kind)(header_of(v) >> 8 & 0xff); }
#define NODE(V) OBJ(node, V)
#define VARIABLE(V) OBJ(variable, V)
#define LAMBDA(V) OBJ(lambda, V)

// ---- Meanings of identifiers: a variable, a cell, a macro, or one of these as a fixnum.
typedef value expand_fn(machine *m, value form, value scope);
typedef struct special_form {
  const char *name;
  expand_fn *expand; // NULL: it means something only within another form
} special_form;
enum { FORM_DEFINE, FORM_BEGIN, FORM_DEFINE_VALUES, FORM_DEFINE_RECORD, FORM_DEFINE_SYNTAX, FORM_INCLUDE, FORM_INCLUDE_CI, FORM_COND_EXPAND, FORM_IMPORT,
    FORM_DEFINE_LIBRARY,
       FORM_ELSE, FORM_ARROW, FORM_DOTS, FORM_UNDERSCORE, FORM_UNQUOTE, FORM_SPLICING, FORM_QUASIQUOTE, FORM_QUOTE, FORM_LAMBDA, FORM_SYNTAX_RULES,
           FORM_EXPRESSIONS };
extern const special_form special_forms[];
// its meaning, or 0: then the environment and the symbol that it would have there
value resolve(machine *m, value identifier, value scope, value *environment, value *symbol);
bool is_identifier(value v);
bool is_form(machine *m, value identifier, value scope, int form); // whether it means this special form
bool same_identifier(machine *m, value a, value scope_a, value b, value scope_b);
value environment_of(value scope);

value expand(machine *m, value form, value scope);
value expand_body(machine *m, value forms, value scope, value whole);
value expand_toplevel(machine *m, value form, value environment);
value expand_macro(machine *m, value macro, value form, value scope);
// Expands a form as long as its head is a macro. What the head means then, 0: nothing; where, and which symbol it is, as resolve.
value expand_head(machine *m, value *form, value scope, value *where, value *symbol);
value macro_of(machine *m, value spec, value scope, value whole);
value expand_list(machine *m, value forms, value scope);
value forms_included(machine *m, value form);
value cond_expand_chosen(machine *m, value form, value scope);
value record_definitions(machine *m, value form, value scope); // list of (identifier . node)
value letrec_node(machine *m, value variables, value nodes, value body, bool functions_only);
value define_library(machine *m, value form, value environment);

value scope_new(machine *m, value parent);
void scope_bind(machine *m, value scope, value identifier, value meaning);
value variable_new(machine *m, value identifier);
value node_new(machine *m, node_kind kind, value a, value b, value c, value form);
value node_constant(machine *m, value datum);
value node_local(machine *m, value variable);
value node_base(machine *m, const char *name); // a global variable of the library
value node_call(machine *m, value callee, value arguments, value form);
value node_lambda(machine *m, value identifiers, value forms, value scope, value name, value form);
value lambda_new(machine *m, value variables, int required, bool rest, value body, value name, value form);
value reversed(value list);    // in place
int64_t form_length(value form); // -1: no proper list
void form_check(machine *m, value form, int least, int most); // the length, with the keyword; most < 0: any
void identifiers_check(machine *m, value list, value form, bool dotted);

// ---- Instructions for primitives.
enum inline_operation {
  INLINE_NONE, INLINE_CAR, INLINE_CDR, INLINE_CAAR, INLINE_CADR, INLINE_CDAR, INLINE_CDDR, INLINE_CONS, INLINE_SET_CAR, INLINE_SET_CDR, INLINE_ADD,
      INLINE_SUBTRACT, INLINE_MULTIPLY, INLINE_DIVIDE,
  INLINE_QUOTIENT, INLINE_REMAINDER, INLINE_MODULO, INLINE_VECTOR_REF, INLINE_VECTOR_SET, INLINE_VECTOR_LENGTH, INLINE_STRING_REF, INLINE_BYTE_REF,
      INLINE_BYTE_SET,
  INLINE_CHAR_INTEGER, INLINE_INTEGER_CHAR,
  INLINE_TESTS, INLINE_NOT = INLINE_TESTS, INLINE_EQ, INLINE_EQV, INLINE_NULL, INLINE_PAIR, INLINE_LT, INLINE_GT, INLINE_LE, INLINE_GE, INLINE_SAME,
      INLINE_ZERO, INLINE_POSITIVE, INLINE_NEGATIVE,
  INLINE_CHAR, INLINE_CHAR_SAME, INLINE_VECTOR, INLINE_STRING, INLINE_SYMBOL, INLINE_BYTEVECTOR, INLINE_FIXNUM, INLINE_EOF, INLINE_TESTS_END,
  INLINE_RECORD = INLINE_TESTS_END, INLINE_RECORD_REF, INLINE_RECORD_SET, INLINE_IS_RECORD, INLINE_APPLY, INLINE_APPLY_VALUES, INLINE_CALL_CC, INLINE_COUNT
};
void inline_begin(machine *m); // marks the cells of the base environment
value inline_fold(machine *m, int which, value arguments, value form); // a node, or 0: an ordinary call

bool tree_mentions(value n, value variable);

// ---- Passes.
void analyze(machine *m, value lambda);
value generate(machine *m, value lambda); // a closure that captures nothing: a template for others

// ---- Generating (emit.c, generate*.c).
enum { TO_RETURN = -1, TO_NOTHING = -2 }; // instead of a register
typedef struct generator {
  machine *m;
  value lambda;
  value words;                        // a vector
  value positions, patches, labels;   // bytevectors of numbers of 64 bits: pairs; label, place; place of each label
  int64_t used, positions_used, patches_used, labels_used;
  int64_t last_label, last_operation; // where a label was bound last, and where the last instruction begins
  int top, most;                      // the next free register, and how many there have been
} generator;
void generator_open(generator *g, machine *m, value lambda);
value generator_close(generator *g); // the code
void emit(generator *g, uint64_t word);
void emit_value(generator *g, value v);
void emit_position(generator *g, value where);
int64_t label_new(generator *g);
void label_bind(generator *g, int64_t label);
bool label_is_bound(generator *g, int64_t label);
void emit_jump(generator *g, int operation, unsigned a, unsigned b, int64_t label); // to be followed by the words that the operation has
int register_new(generator *g, int count); // the first of so many

bool falls_through(generator *g);    // whether what comes next can be reached from what was emitted last
value variable_real(generator *g, value variable); // what it stands for: itself, another one, or a constant node
void load_variable(generator *g, value variable, int to);
void generate_node(generator *g, value n, int to);
void generate_constant(generator *g, value datum, int to);
void generate_done(generator *g, int from, int to); // the result is in a register
int generate_operand(generator *g, value n); // the register that has it: a variable's, or a new one
void generate_call(generator *g, value n, int to);
void generate_fix(generator *g, value n, int to);
void generate_lambda(generator *g, value n, int to);
void generate_cases(generator *g, value n, int to);
void generate_inline(generator *g, value n, int to);
void generate_test(generator *g, value n, bool when, int64_t label); // jumps there when the node's truth is `when`
bool is_test(value n);
value template_of(machine *m, value lambda);

#endif
