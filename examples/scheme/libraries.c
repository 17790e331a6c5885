// SPDX-License-Identifier: MIT
// libraries.c: libraries: those that the program has, those that are defined, imports and exports; cond-expand and include.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "compiler.h"
#include "program.h"

// ---- What the program has: names of the base environment. Of (scheme r5rs), (veil) and the SRFIs as much as there is.
typedef struct built_in {
  const char *name, *exports;
} built_in;
static const built_in built_ins[] = {
    {"scheme base",
     "* + - ... / < <= = => > >= _ abs and append apply assoc assq assv begin binary-port? boolean=? boolean? bytevector bytevector-append "
     "bytevector-copy bytevector-copy! "
     "bytevector-length bytevector-u8-ref bytevector-u8-set! bytevector? caar cadr call-with-current-continuation call-with-port call-with-values "
     "call/cc car case cdar cddr cdr "
     "ceiling char->integer char-ready? char<=? char<? char=? char>=? char>? char? close-input-port close-output-port close-port complex? cond "
     "cond-expand cons "
     "current-error-port current-input-port current-output-port define define-record-type define-syntax define-values denominator do dynamic-wind "
     "else eof-object eof-object? eq? "
     "equal? eqv? error error-object-irritants error-object-message error-object? even? exact exact-integer-sqrt exact-integer? exact? expt features "
     "file-error? floor "
     "floor-quotient floor-remainder floor/ flush-output-port for-each gcd get-output-bytevector get-output-string guard if include include-ci "
     "inexact inexact? input-port-open? "
     "input-port? integer->char integer? lambda lcm length let let* let*-values let-syntax let-values letrec letrec* letrec-syntax list list->string "
     "list->vector list-copy "
     "list-ref list-set! list-tail list? make-bytevector make-list make-parameter make-string make-vector map max member memq memv min modulo "
     "negative? newline not null? "
     "number->string number? numerator odd? open-input-bytevector open-input-string open-output-bytevector open-output-string or output-port-open? "
     "output-port? pair? parameterize "
     "peek-char peek-u8 port? positive? procedure? quasiquote quote quotient raise raise-continuable rational? rationalize read-bytevector "
     "read-bytevector! read-char read-error? "
     "read-line read-string read-u8 real? remainder reverse round set! set-car! set-cdr! square string string->list string->number string->symbol "
     "string->utf8 string->vector "
     "string-append string-copy string-copy! string-fill! string-for-each string-length string-map string-ref string-set! string<=? string<? string=? "
     "string>=? string>? string? "
     "substring symbol->string symbol=? symbol? syntax-error syntax-rules textual-port? truncate truncate-quotient truncate-remainder truncate/ "
     "u8-ready? unless unquote "
     "unquote-splicing utf8->string values vector vector->list vector->string vector-append vector-copy vector-copy! vector-fill! vector-for-each "
     "vector-length vector-map "
     "vector-ref vector-set! vector? when with-exception-handler write-bytevector write-char write-string write-u8 zero?"},
    {"scheme case-lambda", "case-lambda"},
    {"scheme char",
        "char-alphabetic? char-ci<=? char-ci<? char-ci=? char-ci>=? char-ci>? char-downcase char-foldcase char-lower-case? char-numeric? char-upcase "
        "char-upper-case? "
                    "char-whitespace? digit-value string-ci<=? string-ci<? string-ci=? string-ci>=? string-ci>? string-downcase string-foldcase string-upcase"},
    {"scheme complex", "angle imag-part magnitude make-polar make-rectangular real-part"}, // but there are no complex numbers, and so no way to make one
    {"scheme cxr",
        "caaar caadr cadar caddr cdaar cdadr cddar cdddr caaaar caaadr caadar caaddr cadaar cadadr caddar cadddr cdaaar cdaadr cdadar cdaddr cddaar "
        "cddadr cdddar cddddr"},
    {"scheme eval", "environment eval"},
    {"scheme file",
        "call-with-input-file call-with-output-file delete-file file-exists? open-binary-input-file open-binary-output-file open-input-file open-output-file "
                    "with-input-from-file with-output-to-file"},
    {"scheme inexact", "acos asin atan cos exp finite? infinite? log nan? sin sqrt tan"},
    {"scheme lazy", "delay delay-force force make-promise promise?"},
    {"scheme load", "load"},
    {"scheme process-context", "command-line emergency-exit exit get-environment-variable get-environment-variables"},
    {"scheme read", "read"},
    {"scheme repl", "interaction-environment"},
    {"scheme time", "current-jiffy current-second jiffies-per-second"},
    {"scheme write", "display write write-shared write-simple"},
    {"scheme r5rs",
     "* + - / < <= = > >= abs acos and angle append apply asin assoc assq assv atan begin boolean? caaaar caaadr caaar caadar caaddr caadr caar "
     "cadaar cadadr cadar caddar cadddr caddr "
     "cadr call-with-current-continuation call-with-input-file call-with-output-file call-with-values car case cdaaar cdaadr cdaar cdadar cdaddr "
     "cdadr cdar cddaar cddadr cddar "
     "cdddar cddddr cdddr cddr cdr ceiling char->integer char-alphabetic? char-ci<=? char-ci<? char-ci=? char-ci>=? char-ci>? char-downcase "
     "char-lower-case? char-numeric? "
     "char-ready? char-upcase char-upper-case? char-whitespace? char<=? char<? char=? char>=? char>? char? close-input-port close-output-port "
     "complex? cond cons cos "
     "current-input-port current-output-port define define-syntax delay denominator display do dynamic-wind else eof-object? eq? equal? eqv? eval "
     "even? exact->inexact exact? exp "
     "expt floor for-each force gcd if inexact->exact inexact? input-port? integer->char integer? interaction-environment lambda lcm length let let* "
     "let-syntax letrec "
     "letrec-syntax list list->string list->vector list-ref list-tail list? load log magnitude make-string make-vector map max member memq memv min "
     "modulo negative? newline not "
     "null-environment null? number->string number? numerator odd? open-input-file open-output-file or output-port? pair? peek-char positive? "
     "procedure? quasiquote quote quotient "
     "rational? rationalize read read-char real? remainder reverse round scheme-report-environment set! set-car! set-cdr! sin sqrt string "
     "string->list string->number "
     "string->symbol string-append string-ci<=? string-ci<? string-ci=? string-ci>=? string-ci>? string-copy string-fill! string-length string-ref "
     "string-set! string<=? string<? "
     "string=? string>=? string>? string? substring symbol->string symbol? syntax-rules tan truncate unquote unquote-splicing values vector "
     "vector->list vector-fill! vector-length "
     "vector-ref vector-set! vector? with-input-from-file with-output-to-file write write-char zero? _ ... =>"},
    {"scheme list", NULL}, {"srfi 1", NULL}, {"srfi 8", "receive"}, {"srfi 9", "define-record-type"}, {"srfi 18", NULL}, {"srfi 23", "error"}, {"srfi 39",
        "make-parameter parameterize"},
    {"srfi 69", NULL}, {"srfi 132", NULL}, {"srfi 133", NULL}, {"veil", NULL}}; // NULL: everything

static value name_list(machine *m, const char *words) {
  value all = V_NULL;
  while (*words != 0) {
    size_t n = strcspn(words, " ");
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)n, words);
    bool number = word[0] >= '0' && word[0] <= '9';
    all = cons(m, number ? fixnum(strtol(word, NULL, 10)) : intern(m, word), all);
    words += n + (words[n] == ' ');
  }
  return reversed(all);
}

void environment_import_all(machine *m, value to) {
  vector *all = OBJ(vector, OBJ(environment, world->item[WORLD_BASE])->table);
  for (int64_t i = 0; i < all->length; i += 3) {
    if (all->item[i] != V_FALSE) {
      environment_import(m, to, all->item[i], all->item[i + 1]);
    }
  }
}

// ---- The table of libraries: who looks for one in an image does not want to read all others in. Entries are three words: the hash of the name, the name, its
// environment, or #f thrice.
enum { ENTRY = 3 };

static value hash_of_name(machine *m, value name) { return fixnum((int64_t)(hash_equal(m, name) >> 2)); }

// The entry of the name, or the free one where it belongs: there is always one.
static value *library_entry(machine *m, value table, value hash, value name) {
  vector *t = OBJ(vector, table);
  uint64_t mask = (uint64_t)(t->length / ENTRY - 1), i = (uint64_t)fixnum_of(hash) & mask;
  while (t->item[i * ENTRY] != V_FALSE && (t->item[i * ENTRY] != hash || !is_equal(m, t->item[i * ENTRY + 1], name))) {
    i = (i + 1) & mask;
  }
  return &t->item[i * ENTRY];
}

static void libraries_grow(machine *m) {
  vector *old = OBJ(vector, world->item[WORLD_LIBRARIES]);
  value made = new_vector(m, old->length * 2, V_FALSE);
  for (int64_t i = 0; i < old->length; i += ENTRY) {
    if (old->item[i] != V_FALSE) {
      memcpy(library_entry(m, made, old->item[i], old->item[i + 1]), &old->item[i], ENTRY * sizeof(value));
    }
  }
  world->item[WORLD_LIBRARIES] = made;
}

static void library_add(machine *m, value name, value e) {
  int64_t count = fixnum_of(world->item[WORLD_LIBRARY_COUNT]);
  if (3 * count >= 2 * (OBJ(vector, world->item[WORLD_LIBRARIES])->length / ENTRY)) {
    libraries_grow(m);
  }
  value hash = hash_of_name(m, name), *entry = library_entry(m, world->item[WORLD_LIBRARIES], hash, name);
  world->item[WORLD_LIBRARY_COUNT] = fixnum(count + (entry[0] == V_FALSE));
  entry[1] = name;
  entry[2] = e;
  entry[0] = hash;
}

void libraries_begin(machine *m) {
  world->item[WORLD_LIBRARIES] = new_vector(m, 64 * ENTRY, V_FALSE);
  for (size_t i = 0; i < sizeof built_ins / sizeof built_ins[0]; i++) {
    environment *base = OBJ(environment, world->item[WORLD_BASE]), *e;
    value name = name_list(m, built_ins[i].name), made = environment_new(m, name);
    e = OBJ(environment, made);
    e->table = base->table;
    e->count = base->count;
    e->exports = built_ins[i].exports != NULL ? fixnum((int64_t)i) : V_TRUE; // the list is made when somebody asks for it
    library_add(m, name, made);
  }
}

value library_find(machine *m, value name) { return library_entry(m, world->item[WORLD_LIBRARIES], hash_of_name(m, name), name)[2]; }

static value exports_of(machine *m, environment *e) {
  value names = V_NULL;
  if (is_fixnum(e->exports)) {
    names = name_list(m, built_ins[fixnum_of(e->exports)].exports);
  } else if (e->exports == V_TRUE) {
    vector *all = OBJ(vector, e->table);
    for (int64_t i = 0; i < all->length; i += 3) {
      if (all->item[i] != V_FALSE && string_get(OBJ(string, OBJ(symbol, all->item[i])->name), 0) != '%') {
        names = cons(m, all->item[i], names);
      }
    }
  } else {
    return e->exports;
  }
  value exports = V_NULL;
  for (; names != V_NULL; names = cdr(names)) {
    exports = cons(m, cons(m, car(names), car(names)), exports);
  }
  return e->exports = exports;
}

// ---- Imports: lists of (name . meaning).

static value library_bindings(machine *m, value name) {
  value found = library_find(m, name), all = V_NULL;
  if (found == V_FALSE) {
    fail_syntax(m, name, "there is no library of this name");
  }
  environment *e = OBJ(environment, found);
  for (value l = exports_of(m, e); l != V_NULL; l = cdr(l)) {
    value meaning = environment_get(found, cdr(car(l)));
    if (meaning == 0) {
      if (e->table == OBJ(environment, world->item[WORLD_BASE])->table) {
        continue; // of a standard library, and missing here
      }
      meaning = environment_cell(m, found, cdr(car(l)));
    }
    all = cons(m, cons(m, car(car(l)), meaning), all);
  }
  return all;
}

static value entry_of(machine *m, value bindings, value name, value set) {
  for (value l = bindings; l != V_NULL; l = cdr(l)) {
    if (car(car(l)) == name) {
      return car(l);
    }
  }
  fail_syntax(m, set, "what is imported from has no such name: %s", is_kind(name, KIND_SYMBOL) ? utf8_of(m, name) : "?");
}
static bool is_in(value l, value name) {
  while (is_pair(l) && car(l) != name) {
    l = cdr(l);
  }
  return is_pair(l);
}

static value renamed_bindings(machine *m, value inner, value pairs, value set) {
  value all = V_NULL;
  for (value p = pairs; p != V_NULL; p = cdr(p)) {
    if (form_length(car(p)) != 2) {
      fail_syntax(m, set, "rename wants lists of two names");
    }
    entry_of(m, inner, car(car(p)), set);
  }
  for (; inner != V_NULL; inner = cdr(inner)) {
    value name = car(car(inner));
    for (value p = pairs; p != V_NULL; p = cdr(p)) {
      if (car(car(p)) == name) {
        name = car(cdr(car(p)));
        break;
      }
    }
    all = cons(m, cons(m, name, cdr(car(inner))), all);
  }
  return all;
}

static value import_bindings(machine *m, value set) {
  set = strip(m, set);
  if (form_length(set) < 1) {
    fail_syntax(m, set, "an import set must be a list");
  }
  value head = car(set), all = V_NULL;
  bool nested = is_pair(cdr(set)) && is_pair(car(cdr(set)));
  if (nested && head == intern(m, "only")) {
    value inner = import_bindings(m, car(cdr(set)));
    for (value l = cdr(cdr(set)); l != V_NULL; l = cdr(l)) {
      all = cons(m, entry_of(m, inner, car(l), set), all);
    }
    return all;
  }
  if (nested && head == intern(m, "except")) {
    value inner = import_bindings(m, car(cdr(set)));
    for (value l = cdr(cdr(set)); l != V_NULL; l = cdr(l)) {
      entry_of(m, inner, car(l), set);
    }
    for (; inner != V_NULL; inner = cdr(inner)) {
      all = is_in(cdr(cdr(set)), car(car(inner))) ? all : cons(m, car(inner), all);
    }
    return all;
  }
  if (nested && head == intern(m, "rename")) {
    return renamed_bindings(m, import_bindings(m, car(cdr(set))), cdr(cdr(set)), set);
  }
  if (nested && head == intern(m, "prefix") && form_length(set) == 3 && is_kind(car(cdr(cdr(set))), KIND_SYMBOL)) {
    for (value l = import_bindings(m, car(cdr(set))); l != V_NULL; l = cdr(l)) {
      char *first = utf8_of(m, car(cdr(cdr(set)))), *last = utf8_of(m, car(car(l)));
      value name = new_bytevector(m, (int64_t)(strlen(first) + strlen(last) + 1), 0);
      char *text = (char *)OBJ(bytevector, name)->byte;
      strcat(strcpy(text, first), last);
      all = cons(m, cons(m, intern(m, text), cdr(car(l))), all);
    }
    return all;
  }
  return library_bindings(m, set);
}

void import_sets(machine *m, value sets, value e) {
  if (form_length(sets) < 0) {
    fail_syntax(m, sets, "import wants a list of import sets");
  }
  for (; sets != V_NULL; sets = cdr(sets)) {
    for (value l = import_bindings(m, car(sets)); l != V_NULL; l = cdr(l)) {
      environment_import(m, e, car(car(l)), cdr(car(l)));
    }
  }
}

// The file of the first library that an import, or a library's definition, asks for and that nobody has defined: (a b) is a/b.sld. #f if there is none to be
// had.
static value missing_in(machine *m, value set) {
  while (is_pair(set) && is_pair(cdr(set)) && is_pair(car(cdr(set))) &&
         (car(set) == intern(m, "only") || car(set) == intern(m, "except") || car(set) == intern(m, "rename") || car(set) == intern(m, "prefix"))) {
    set = car(cdr(set));
  }
  if (form_length(set) < 1) {
    return V_FALSE;
  }
  bool mine = !m->locked;
  world_lock_take(m); // another thread may be putting the table's entries into a larger one
  bool known = library_find(m, set) != V_FALSE;
  if (mine) {
    world_lock_drop(m);
  }
  if (known) {
    return V_FALSE;
  }
  char path[1024] = "";
  for (value l = set; l != V_NULL; l = cdr(l)) {
    char number[32] = "";
    if (is_fixnum(car(l))) {
      snprintf(number, sizeof number, "%lld", (long long)fixnum_of(car(l)));
    } else if (!is_kind(car(l), KIND_SYMBOL)) {
      return V_FALSE;
    }
    const char *part = *number ? number : utf8_of(m, car(l));
    if (strlen(path) + strlen(part) + 8 > sizeof path) {
      return V_FALSE;
    }
    strcat(strcat(path, *path ? "/" : ""), part);
  }
  strcat(path, ".sld");
  char beside[2048];
  const char *program = is_pair(world->item[WORLD_ARGUMENTS]) ? utf8_of(m, car(world->item[WORLD_ARGUMENTS])) : "", *slash = strrchr(program, '/');
  snprintf(beside, sizeof beside, "%.*s%s", slash != NULL ? (int)(slash - program + 1) : 0, program, path);
  const char *found = access(path, R_OK) == 0 ? path : access(beside, R_OK) == 0 ? beside : NULL;
  return found != NULL ? new_string_utf8(m, found, strlen(found)) : V_FALSE;
}
value missing_library(machine *m, value *a, int count) {
  value form = a[0], word = is_pair(form) ? car(form) : V_FALSE;
  if (form_length(form) < 1) {
    return V_FALSE;
  }
  for (value l = cdr(form); l != V_NULL; l = cdr(l)) {
    value found = V_FALSE;
    if (word == intern(m, "import")) {
      found = missing_in(m, car(l));
    } else if (form_length(car(l)) > 0 && car(car(l)) == intern(m, "import")) {
      value inner[1] = {car(l)};
      found = missing_library(m, inner, 1);
    }
    if (found != V_FALSE) {
      return found;
    }
  }
  return V_FALSE;
}

// ---- Definitions of libraries.

static value export_entries(machine *m, value specs, value exports, value form) {
  for (; specs != V_NULL; specs = cdr(specs)) {
    value spec = strip(m, car(specs));
    if (is_kind(spec, KIND_SYMBOL)) {
      exports = cons(m, cons(m, spec, spec), exports);
    } else if (form_length(spec) == 3 && car(spec) == intern(m, "rename")) {
      exports = cons(m, cons(m, car(cdr(cdr(spec))), car(cdr(spec))), exports);
    } else {
      fail_syntax(m, form, "export wants names, or (rename name name)");
    }
  }
  return exports;
}

// Goes through the declarations twice: first imports and exports, then what is to be evaluated.
static value library_part(machine *m, value declarations, value e, value made) {
  for (; declarations != V_NULL; declarations = cdr(declarations)) {
    value d = car(declarations);
    if (form_length(d) < 1) {
      fail_syntax(m, d, "a library's declaration must be a list");
    }
    value word = strip(m, car(d));
    if (word == intern(m, "export")) {
      OBJ(environment, e)->exports = export_entries(m, cdr(d), OBJ(environment, e)->exports, d);
    } else if (word == intern(m, "import")) {
      import_sets(m, cdr(d), e);
    } else if (word == intern(m, "begin")) {
      made = cons(m, cdr(d), made);
    } else if (word == intern(m, "include") || word == intern(m, "include-ci")) {
      made = cons(m, forms_included(m, d), made);
    } else if (word == intern(m, "include-library-declarations")) {
      made = library_part(m, forms_included(m, d), e, made);
    } else if (word == intern(m, "cond-expand")) {
      made = library_part(m, cond_expand_chosen(m, d, world->item[WORLD_BASE]), e, made);
    } else {
      fail_syntax(m, d, "a library has no such declaration");
    }
  }
  return made;
}

value define_library(machine *m, value form, value outer) {
  form_check(m, form, 2, -1);
  value name = strip(m, car(cdr(form))), e = environment_new(m, name), made = node_constant(m, V_UNSPECIFIED);
  if (form_length(name) < 1) {
    fail_syntax(m, form, "a library's name must be a list");
  }
  value parts = reversed(library_part(m, cdr(cdr(form)), e, V_NULL)), nodes = V_NULL;
  for (value p = parts; p != V_NULL; p = cdr(p)) {
    for (value l = car(p); l != V_NULL; l = cdr(l)) {
      compile_declare(m, car(l), e);
    }
  }
  for (value p = parts; p != V_NULL; p = cdr(p)) {
    for (value l = car(p); l != V_NULL; l = cdr(l)) {
      nodes = cons(m, expand_toplevel(m, car(l), e), nodes);
    }
  }
  for (; nodes != V_NULL; nodes = cdr(nodes)) {
    made = node_new(m, N_SEQUENCE, car(nodes), made, V_FALSE, V_FALSE);
  }
  library_add(m, name, e);
  return made;
}

// ---- cond-expand and include.

static const char feature_names[] =
    "r7rs exact-closed exact-complex ieee-float full-unicode ratios posix linux x86-64 veil srfi-0 srfi-6 srfi-8 srfi-9 srfi-23 srfi-39";
value features(machine *m, value *a, int count) {
  value all = name_list(m, feature_names);
  return cons(m, intern(m, memory_name), all);
}

static bool is_met(machine *m, value requirement, value form) {
  requirement = strip(m, requirement);
  if (is_kind(requirement, KIND_SYMBOL)) {
    return requirement == intern(m, "else") || is_in(features(m, NULL, 0), requirement);
  }
  if (form_length(requirement) < 1) {
    fail_syntax(m, form, "cond-expand does not know this requirement");
  }
  value word = car(requirement);
  if (word == intern(m, "and") || word == intern(m, "or")) {
    bool any = word == intern(m, "or"), met = !any;
    for (value l = cdr(requirement); l != V_NULL && met != any; l = cdr(l)) {
      met = is_met(m, car(l), form);
    }
    return met;
  }
  if (form_length(requirement) == 2 && word == intern(m, "not")) {
    return !is_met(m, car(cdr(requirement)), form);
  }
  if (form_length(requirement) == 2 && word == intern(m, "library")) {
    return library_find(m, car(cdr(requirement))) != V_FALSE;
  }
  fail_syntax(m, form, "cond-expand does not know this requirement");
}

value cond_expand_chosen(machine *m, value form, value s) {
  form_check(m, form, 1, -1);
  for (value l = cdr(form); l != V_NULL; l = cdr(l)) {
    form_check(m, car(l), 1, -1);
    if (is_met(m, car(car(l)), form)) {
      return cdr(car(l));
    }
  }
  return V_NULL;
}

static value file_of_number(int number) {
  value l = world->item[WORLD_FILES];
  for (int64_t n = form_length(l); n > number && l != V_NULL; n--) {
    l = cdr(l);
  }
  return number != 0 && l != V_NULL ? car(l) : V_FALSE;
}

// Files are found beside the one that includes them.
value forms_included(machine *m, value form) {
  value all = V_NULL;
  bool fold = strip(m, car(form)) == intern(m, "include-ci");
  form_check(m, form, 2, -1);
  value from = file_of_number((int)(pair_of(form)->header & 0xfff));
  for (value l = cdr(form); l != V_NULL; l = cdr(l)) {
    if (!is_kind(car(l), KIND_STRING)) {
      fail_syntax(m, form, "include wants names of files");
    }
    char path[2048];
    const char *name = utf8_of(m, car(l)), *base = from != V_FALSE ? utf8_of(m, from) : "", *slash = strrchr(base, '/');
    snprintf(path, sizeof path, "%.*s%s", slash != NULL && name[0] != '/' ? (int)(slash - base + 1) : 0, base, name);
    if (access(path, F_OK) != 0 && access(name, F_OK) == 0) {
      snprintf(path, sizeof path, "%s", name);
    }
    for (value forms = read_file_folded(m, new_string_utf8(m, path, strlen(path)), fold); forms != V_NULL; forms = cdr(forms)) {
      all = cons(m, car(forms), all);
    }
  }
  return reversed(all);
}
