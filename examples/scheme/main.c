// SPDX-License-Identifier: MIT
// main.c: the command: options, the start of the world, programs, errors.

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "compiler.h"
#include "machine_slow.h"
#include "program.h"

const char *program_stats;
static machine *first; // whom Ctrl-C interrupts

// The prelude lies in the program as text; CMakeLists.txt says where the files are.
#define PRELUDE(NAME) \
  __asm__(".section .rodata\n.global prelude_" #NAME "\nprelude_" #NAME ": .incbin \"" SCHEME_PRELUDE "/" #NAME ".scm\"\n" \
          ".global prelude_" #NAME "_end\nprelude_" #NAME "_end: .byte 0\n.previous\n"); \
  extern const char prelude_##NAME[], prelude_##NAME##_end[];
PRELUDE(control)
PRELUDE(lists)
PRELUDE(strings)
PRELUDE(vectors)
PRELUDE(hashtables)
PRELUDE(ports)

// ---- Errors.

// Stale words of calls that have returned may stand in what the next calls leave unwritten of their frames, and hold objects: they are overwritten.
static __attribute__((noinline)) void stack_scrub(void) {
  char below[1 << 16];
  memset(below, 0, sizeof below);
  __asm__ volatile("" : : "r"(below) : "memory");
}

// The evaluation that ran out of memory is over: what its frames held goes, and what was lent is taken back.
static __attribute__((noinline)) void recover(machine *m) {
  m->exhausted = false;
  machine_clear(m);
  for (int i = 0; i < 3; i++) {
    stack_scrub();
    memory_collect(m->self);
  }
  memory_reserve(false);
}

void report(machine *m, value condition_value, bool trace) {
  value port = port_stderr(m);
  uint64_t where = 0;
  port_flush(m, port_stdout(m));
  if (is_kind(condition_value, KIND_CONDITION)) {
    condition *c = OBJ(condition, condition_value);
    where = (uint64_t)fixnum_of(c->where);
    if (where >> 32 != 0) {
      position_write(m, port, where);
      port_write_utf8(m, port, ": ", 2);
    }
    if (c->who != V_FALSE) {
      print(m, port, c->who, PRINT_DISPLAY);
      port_write_utf8(m, port, ": ", 2);
    }
    print(m, port, c->message, is_kind(c->message, KIND_STRING) ? PRINT_DISPLAY : PRINT_WRITE);
    for (value l = c->irritants; is_pair(l); l = cdr(l)) {
      port_write_utf8(m, port, " ", 1);
      print(m, port, car(l), PRINT_WRITE);
    }
  } else {
    where = machine_position(m);
    if (where >> 32 != 0) {
      position_write(m, port, where);
      port_write_utf8(m, port, ": ", 2);
    }
    port_write_utf8(m, port, "uncaught exception: ", 20);
    print(m, port, condition_value, PRINT_WRITE);
  }
  port_write_utf8(m, port, "\n", 1);
  if (trace) {
    machine_backtrace(m, port, 8);
  }
  port_flush(m, port);
  if (m->exhausted) {
    recover(m);
  }
}

// Reports what came of a run; what fails while that is done is told in plain text.
static void report_safely(machine *m) {
  jmp_buf here, *before = m->escape;
  m->escape = &here;
  if (setjmp(here) == 0) {
    report(m, m->state->item[STATE_CONDITION], true);
  } else {
    fprintf(stderr, "scheme: an error that cannot be printed\n");
  }
  m->escape = before;
}

// (lambda () (name 'one 'two)), made of its parts. False: it failed.
static bool thunk_make(machine *m, const char *name, value one, value two, value *out) {
  jmp_buf here;
  m->escape = &here;
  m->frame = NULL;
  bool fine = setjmp(here) == 0;
  if (fine) {
    value body = node_new(m, N_CALL, node_base(m, name), list(m, 2, node_constant(m, one), node_constant(m, two)), V_FALSE, V_FALSE);
    value l = NODE(lambda_new(m, V_NULL, 0, false, body, V_FALSE, V_FALSE))->a;
    world_lock_take(m);
    analyze(m, l);
    *out = template_of(m, l);
  }
  world_lock_drop(m);
  m->escape = NULL;
  return fine;
}

// Calls a procedure of the library's with two arguments. False: it failed, and that was reported.
static bool call_named(machine *m, const char *name, value one, value two, value *result) {
  value procedure = V_FALSE;
  bool fine = thunk_make(m, name, one, two, &procedure);
  if (!fine && m->exhausted) { // what the last evaluation held was held a little longer
    recover(m);
    fine = thunk_make(m, name, one, two, &procedure);
  }
  if (!fine || !machine_run(m, procedure, result)) {
    report_safely(m);
    return false;
  }
  return true;
}
bool evaluate(machine *m, value form, value environment, value *result) { return call_named(m, "eval", form, environment, result); }

// ---- The start.

static void prelude_load(machine *m, const char *name, const char *text, const char *end) {
  value port = port_open_string(m, new_string_utf8(m, text, (size_t)(end - text)));
  value file = new_string_utf8(m, name, strlen(name)), result;
  port_name_set(m, port, file);
  for (value datum; (datum = read_datum(m, port)) != V_EOF;) {
    jmp_buf *before = m->escape;
    value procedure = compile(m, datum, world->item[WORLD_BASE]);
    if (!machine_run(m, procedure, &result)) {
      report(m, m->state->item[STATE_CONDITION], true);
      exit(70);
    }
    m->escape = before;
  }
}

static void world_make(machine *m) {
  value underflow[] = {WORD(OP_UNDERFLOW, 0, 0, 0)};
  code *c = allocate(m, KIND_CODE, 5 + 1, KIND_CODE);
  c->name = V_FALSE;
  c->positions = V_FALSE;
  c->length = 1;
  c->frame = 4;
  c->word[0] = underflow[0];
  world->item[WORLD_UNDERFLOW] = closure_of(m, ref(c), 0, 0);
  world->item[WORLD_BASE] = environment_new(m, intern(m, "base"));
  for (int i = 0; special_forms[i].name != NULL; i++) {
    environment_put(m, world->item[WORLD_BASE], intern(m, special_forms[i].name), fixnum(i));
  }
  primitives_begin(m);
  parameters_begin(m);
  inline_begin(m);
  prelude_load(m, "prelude/control.scm", prelude_control, prelude_control_end);
  prelude_load(m, "prelude/lists.scm", prelude_lists, prelude_lists_end);
  prelude_load(m, "prelude/strings.scm", prelude_strings, prelude_strings_end);
  prelude_load(m, "prelude/vectors.scm", prelude_vectors, prelude_vectors_end);
  prelude_load(m, "prelude/hashtables.scm", prelude_hashtables, prelude_hashtables_end);
  prelude_load(m, "prelude/ports.scm", prelude_ports, prelude_ports_end);
  world->item[WORLD_PRELUDE_FILES] = fixnum(list_most(world->item[WORLD_FILES], 100));
  libraries_begin(m);
  world->item[WORLD_USER] = environment_new(m, intern(m, "user"));
  environment_import_all(m, world->item[WORLD_USER]);
}

// That an image is what was saved its checksums say, page by page, when a page is first touched. With --check all of its code that global variables and
// procedures reach is looked at before any runs,
// from code to code, which reads most of it in.
static bool world_check(machine *m, bool codes, char *error, size_t bytes) {
  if (!is_kind(ref(world), KIND_VECTOR) || world->length != WORLD_SLOTS || world->item[WORLD_VERSION] != code_version() ||
      !is_kind(world->item[WORLD_UNDERFLOW], KIND_CLOSURE)) {
    snprintf(error, bytes, "it is no image of this program, or one of another version");
    return false;
  }
  primitives_begin(m);
  return !codes || codes_check(m, error, bytes);
}

static void interrupt(int signal_number) {
  if (first != NULL) {
    first->interrupted = 1;
    machines_poke();
  }
}

// ---- The command.

typedef struct command {
  memory_options memory;
  const char *file;
  int expression_count, argument_count;
  char **expressions, **arguments;
  bool checks; // code of an image, before any runs
} command;

static void usage(FILE *out) {
  fprintf(out,
          "usage: scheme [option ...] [file [argument ...]]\n"
          "  FILE               runs the program in FILE; - or nothing: reads expressions, with a prompt at a terminal\n"
          "  -e EXPRESSION      evaluates EXPRESSION and prints its value; may be given again\n"
          "  --heap SIZE        memory that the heap may have: 512m, 4g\n"
          "  --stack SIZE       memory that recursion may have: default 128m\n"
          "  --image FILE       starts from what (checkpoint \"FILE\") has saved\n"
          "  --check            looks at all code of the image or store before any runs: for files from elsewhere\n"
          "  --store FILE       what is defined stays in FILE, from one (commit!) to the next run\n"
          "  --stats FILE       writes figures of the run to FILE (also SCHEME_STATS=FILE)\n"
          "  --version, --help\n"
          "This is the build on %s.\n",
          memory_name);
}

static size_t size_of(const char *option, const char *text) {
  char *end;
  double number = strtod(text, &end);
  const char *units = "kmgt", *unit = *end != 0 ? strchr(units, *end | 0x20) : NULL;
  if (end == text || number <= 0 || (*end != 0 && (unit == NULL || end[1] != 0))) {
    fprintf(stderr, "scheme: %s: %s is no size: a number and k, m, g\n", option, text);
    exit(64);
  }
  size_t bytes = (size_t)(number * (unit == NULL ? 1 : (double)((size_t)1 << (10 * (unit - units + 1)))));
  if (bytes < 4 << 20) {
    fprintf(stderr, "scheme: %s: %s is too little: at least 4m\n", option, text);
    exit(64);
  }
  return bytes;
}

static command options_read(int count, char **words) {
  static char **expressions; // until the process ends, by whatever way
  expressions = calloc((size_t)count, sizeof *expressions);
  command c = {.expressions = expressions};
  program_stats = getenv("SCHEME_STATS");
  int i = 1;
  for (; i < count && words[i][0] == '-' && words[i][1] != 0; i++) {
    const char *o = words[i];
    if (strcmp(o, "--help") == 0 || strcmp(o, "-h") == 0) {
      usage(stdout);
      exit(0);
    }
    if (strcmp(o, "--version") == 0) {
      printf("scheme of veil 0.1.0, on %s\n", memory_name);
      exit(0);
    }
    if (strcmp(o, "--check") == 0) {
      c.checks = true;
      continue;
    }
    if (strcmp(o, "-e") != 0 && strcmp(o, "--heap") != 0 && strcmp(o, "--stack") != 0 && strcmp(o, "--image") != 0 && strcmp(o, "--store") != 0 && strcmp(o,
        "--stats") != 0) {
      fprintf(stderr, "scheme: there is no option %s\n", o);
      usage(stderr);
      exit(64);
    }
    if (++i == count) {
      fprintf(stderr, "scheme: %s wants a value\n", o);
      exit(64);
    }
    if (strcmp(o, "-e") == 0) {
      c.expressions[c.expression_count++] = words[i];
    } else if (strcmp(o, "--heap") == 0) {
      c.memory.limit = size_of(o, words[i]);
    } else if (strcmp(o, "--stack") == 0) {
      machine_stack_most = size_of(o, words[i]) / 8;
    } else {
      *(strcmp(o, "--image") == 0 ? &c.memory.image : strcmp(o, "--store") == 0 ? &c.memory.store : &program_stats) = words[i];
    }
  }
  c.arguments = words + i;
  c.argument_count = count - i;
  c.file = i < count && strcmp(words[i], "-") != 0 ? words[i] : NULL;
  return c;
}

static bool run_expressions(machine *m, command *c) {
  for (volatile int i = 0; i < c->expression_count; i++) {
    jmp_buf here;
    m->escape = &here;
    if (setjmp(here) != 0) {
      report_safely(m);
      return false;
    }
    value port = port_open_string(m, new_string_utf8(m, c->expressions[i], strlen(c->expressions[i]))), result;
    port_name_set(m, port, new_string_utf8(m, "-e", 2));
    for (value datum; (datum = read_datum(m, port)) != V_EOF;) {
      if (!evaluate(m, datum, world->item[WORLD_USER], &result)) {
        return false;
      }
      m->escape = &here;
      if (result != V_UNSPECIFIED) {
        print(m, port_stdout(m), result, PRINT_WRITE);
        port_write_utf8(m, port_stdout(m), "\n", 1);
      }
    }
  }
  return true;
}

// A program that begins with an import, or with a library, knows nothing else; any other knows everything.
static bool run_program(machine *m, const char *file) {
  jmp_buf here;
  m->escape = &here;
  if (setjmp(here) != 0) {
    report_safely(m);
    return false;
  }
  m->frame = NULL;
  value forms = read_file(m, new_string_utf8(m, file, strlen(file))), result, environment = world->item[WORLD_USER];
  value head = is_pair(forms) && is_pair(car(forms)) ? car(car(forms)) : V_FALSE;
  if (head == intern(m, "import") || head == intern(m, "define-library")) {
    environment = environment_new(m, V_FALSE);
    environment_import(m, environment, intern(m, "import"), fixnum(FORM_IMPORT));
    environment_import(m, environment, intern(m, "define-library"), fixnum(FORM_DEFINE_LIBRARY));
  }
  m->escape = NULL;
  return call_named(m, "%run-program", forms, environment, &result);
}

static void begin(machine *m, command *c) {
  char error[300];
  jmp_buf here;
  m->escape = &here;
  if (setjmp(here) != 0) {
    fprintf(stderr, "scheme: the start failed\n");
    report_safely(m);
    exit(70);
  }
  if (!heap_begin(m)) {
    fprintf(stderr, "scheme: no memory\n");
    exit(70);
  }
  errors_begin(m);
  if (world->item[WORLD_UNDERFLOW] == V_FALSE) {
    world_make(m);
  } else if (!world_check(m, c->checks, error, sizeof error)) {
    fprintf(stderr, "scheme: %s: %s\n", c->memory.image != NULL ? c->memory.image : c->memory.store, error);
    exit(70);
  } else {
    parameters_begin(m);
  }
  value arguments = V_NULL;
  for (int i = c->argument_count; i-- > 0;) {
    arguments = cons(m, new_string_utf8(m, c->arguments[i], strlen(c->arguments[i])), arguments);
  }
  world->item[WORLD_ARGUMENTS] = arguments == V_NULL ? list(m, 1, new_string_utf8(m, "scheme", 6)) : arguments;
  m->escape = NULL;
}

static __attribute__((noinline)) int run(command *c, memory_self *self) {
  machine *m = machine_open(self);
  char here;
  if (m == NULL) {
    fprintf(stderr, "scheme: no memory\n");
    return 70;
  }
  m->depth_limit = (char *)((uintptr_t)&here - (6 << 20));
  first = m;
  machines_note(m, true);
  machine_measures = program_stats != NULL;
  if (machine_measures) {
    limit_set(m, NULL);
  }
  begin(m, c);
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
  bool fine = true;
  if (c->expression_count != 0) {
    fine = run_expressions(m, c);
  }
  if (c->file != NULL && fine) {
    fine = run_program(m, c->file);
  } else if (c->expression_count == 0) {
    sigaction(SIGINT, &action, NULL);
    repl(m, isatty(0));
  }
  machine_exit(m, fine ? 0 : 70);
  return 0;
}

int main(int count, char **words) {
  char error[400];
  setlocale(LC_CTYPE, "");
  command c = options_read(count, words);
  if (!memory_open(&c.memory, error, sizeof error)) {
    fprintf(stderr, "scheme: %s\n", error);
    return 70;
  }
  memory_self *self = memory_attach();
  if (self == NULL) {
    fprintf(stderr, "scheme: no memory for a thread\n");
    return 70;
  }
  return run(&c, self);
}
