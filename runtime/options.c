// SPDX-License-Identifier: MIT
// options.c: one table of options: name, range, default, help; the struct and the environment are read by it.
//
// The text of a row is what veil/options.h says behind its field, word for word.

#include "runtime/options.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/machine.h"
#include "runtime/runtime.h"

enum kind { SIZE, MEMORY, NUMBER, U64, STRING, CHOICE }; // MEMORY: a size that may be given in % of the machine's memory

typedef struct option {
  const char *name;
  enum kind kind;
  size_t offset;
  uint64_t min, max;
  const char *choices; // comma-separated, for CHOICE: values 0, 1, …
  uint64_t preset;     // the default
  const char *shown;   // what to say of it; NULL: its value
  const char *help;
} option;

#define FIELD(NAME) offsetof(veil_options, NAME)
#define LEAST ((uint64_t)2 << 20)
#define MOST ((uint64_t)20 << 30)
enum { STRINGS = 5, STRING_BYTES = 1024 };
static const option table[] = {
    {"limit", MEMORY, FIELD(limit), LEAST, MOST, NULL, 0, "3/4 of what the machine, its cgroups and ulimits allow",
     "bytes of memory that the heap may hold"},
    {"soft_limit", MEMORY, FIELD(soft_limit), LEAST, MOST, NULL, 0, "3/4 of the cgroup's memory.high if that is set, else none",
     "bytes that it stays below while it can, by more cycles; none if not below the limit"},
    {"reserve", MEMORY, FIELD(reserve), LEAST, MOST, NULL, 0, "the limit",
     "bytes to which veil_set_limit may raise the limit, for which address space is reserved"},
    {"back_end", STRING, FIELD(back_end), 0, 63, NULL, 0, "auto", "uffd, guard, mprotect, uffd-kernel, none or auto (also VEIL_VM=)"},
    {"granule", SIZE, FIELD(granule), 4096, 65536, NULL, 4096, NULL, "bytes that one trap scans, a power of 2"},
    {"scanners", NUMBER, FIELD(scanners), 1, RT_SCANNERS, NULL, 1, NULL, "background scanner threads"},
    {"stop", CHOICE, FIELD(stop), 0, 1, "signal,poll", 0, NULL, "how mutators are stopped, signal or poll"},
    {"stop_signal", NUMBER, FIELD(stop_signal), 1, 64, NULL, 0, "SIGRTMIN+5", "the signal that stops a mutator, veil's alone"},
    {"oom", CHOICE, FIELD(oom), 0, 1, "abort,null", 0, NULL, "what allocation does at the limit, abort or null"},
    {"growth", NUMBER, FIELD(growth), 5, 1000, NULL, 80, NULL,
     "garbage allowed before a cycle starts, in % of the live data; half of it while generations pay"},
    {"headroom", SIZE, FIELD(headroom), 1, MOST, NULL, (uint64_t)32 << 20, NULL, "and this many bytes besides, or at the least while generations pay"},
    {"idle", NUMBER, FIELD(idle), 10, 86400000, NULL, 1000, NULL,
     "ms with hardly any allocation, three times as long without a cycle of the program's, after which memory is given back and a cycle may run"},
    {"verify", NUMBER, FIELD(verify), 0, 2, NULL, 0, NULL,
     "1 walks the heap at each flip, 2 at ends of cycles too (also VEIL_VERIFY=)"},
    {"torture", NUMBER, FIELD(torture), 0, 1000000, NULL, 0, NULL,
     "start a cycle about every so many allocation buffers; 0: not"},
    {"seed", U64, FIELD(seed), 0, UINT64_MAX, NULL, 0, "from the clock, and printed", "of the torture mode's choices"},
    {"data_roots", CHOICE, FIELD(data_roots), 0, 1, "no,yes", 0, NULL, "whether global and static variables are ambiguous roots, no or yes"},
    {"tls_roots", CHOICE, FIELD(tls_roots), 0, 1, "no,yes", 0, NULL, "whether thread-local variables are ambiguous roots, no or yes"},
    {"stats", NUMBER, FIELD(stats), 0, 1, NULL, 0, NULL, "1 prints a report to standard error when the heap closes (also VEIL_STATS=)"},
    {"trace", STRING, FIELD(trace), 0, STRING_BYTES - 1, NULL, 0, "none",
     "a file that is written in the Chrome trace format; %p in its name is the process's id (also VEIL_TRACE=)"},
    {"fork", CHOICE, FIELD(fork), 0, 1, "copy,exec", 0, NULL, "what a child of fork() has of the heap, copy or exec"},
    {"generations", CHOICE, FIELD(generations), 0, 3, "auto,off,on,early", 0, NULL, "whether what was born last is collected by itself, auto, off, on or early"},
    {"nursery", SIZE, FIELD(nursery), (uint64_t)128 << 10, (uint64_t)1 << 30, NULL, 0, "a 32nd of what is in use, from 8m to 32m",
     "bytes that are born between two minor cycles, at most"},
    {"pause", NUMBER, FIELD(pause), 50, 10000000, NULL, 0, "1600, none if nursery is given",
     "us that a minor cycle should take: the nursery is smaller while they take longer"},
    {"dump", STRING, FIELD(dump), 0, STRING_BYTES - 1, NULL, 0, "none",
     "a file that a heap dump goes to at a signal; %p in its name is the process's id, %n counts dumps (also VEIL_DUMP=)"},
    {"dump_signal", NUMBER, FIELD(dump_signal), 1, 64, NULL, 0, "SIGRTMIN+6", "that signal"},
};
enum { OPTIONS = sizeof table / sizeof *table };
_Static_assert(OPTIONS <= 64, "a bit for each");

static uint64_t field_get(const veil_options *options, const option *o) {
  const char *at = (const char *)options + o->offset;
  if (o->kind == SIZE || o->kind == MEMORY || o->kind == U64) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
  }
  unsigned v;
  memcpy(&v, at, sizeof v);
  return v;
}

static void field_set(veil_options *options, const option *o, uint64_t value) {
  char *at = (char *)options + o->offset;
  if (o->kind == SIZE || o->kind == MEMORY || o->kind == U64) {
    memcpy(at, &value, sizeof value);
  } else {
    unsigned v = (unsigned)value;
    memcpy(at, &v, sizeof v);
  }
}

// ---- Showing.

typedef struct text {
  char at[32];
} text;

static text number_text(const option *o, uint64_t value) {
  text t;
  int unit = -1;
  bool size = o->kind == SIZE || o->kind == MEMORY;
  while (size && unit < 3 && value != 0 && value % 1024 == 0) {
    value /= 1024;
    unit++;
  }
  if (o->kind == NUMBER) {
    snprintf(t.at, sizeof t.at, "%d", (int)value); // stop_signal may be negative
  } else {
    snprintf(t.at, sizeof t.at, "%llu%.*s", (unsigned long long)value, unit >= 0, unit >= 0 ? &"kmgt"[unit] : "");
  }
  return t;
}

static void choice_text(const option *o, uint64_t value, char *out, size_t bytes) {
  const char *at = o->choices;
  while (value-- > 0 && strchr(at, ',') != NULL) {
    at = strchr(at, ',') + 1;
  }
  snprintf(out, bytes, "%.*s", (int)strcspn(at, ","), at);
}

static void value_text(const option *o, const veil_options *options, char *out, size_t bytes) {
  if (o->kind == STRING) {
    const char *value;
    memcpy(&value, (const char *)options + o->offset, sizeof value);
    snprintf(out, bytes, "%s", value != NULL ? value : o->shown);
  } else if (o->kind == CHOICE) {
    choice_text(o, field_get(options, o), out, bytes);
  } else {
    snprintf(out, bytes, "%s", number_text(o, field_get(options, o)).at);
  }
}

static void option_describe(const option *o, char *line, size_t bytes) {
  char range[80] = "", preset[32] = "";
  if (o->kind != STRING && o->kind != CHOICE && o->kind != U64) {
    snprintf(range, sizeof range, ", [%s, %s]", number_text(o, o->min).at, number_text(o, o->max).at);
  }
  if (o->kind == CHOICE) {
    choice_text(o, o->preset, preset, sizeof preset);
  } else {
    snprintf(preset, sizeof preset, "%s", number_text(o, o->preset).at);
  }
  snprintf(line, bytes, "%s: %s%s; default %s", o->name, o->help, range, o->shown != NULL ? o->shown : preset);
}

RT_EXPORT void veil_options_describe(void (*line)(void *arg, const char *line), void *arg) {
  for (int i = 0; i < OPTIONS; i++) {
    char text[320];
    option_describe(&table[i], text, sizeof text);
    line(arg, text);
  }
}

static void help_print(const veil_options *options) {
  for (int i = 0; i < OPTIONS; i++) {
    char text[STRING_BYTES + 320], value[STRING_BYTES];
    option_describe(&table[i], text, sizeof text);
    value_text(&table[i], options, value, sizeof value);
    fprintf(stderr, "veil: %s; now %s\n", text, value);
  }
}

// ---- Reading one value.

static bool number_parse(const char *value, bool suffix, uint64_t *out) {
  static const char units[] = "kmgtKMGT";
  char *end;
  errno = 0;
  if (*value < '0' || *value > '9') {
    return false;
  }
  unsigned long long number = strtoull(value, &end, 10);
  unsigned shift = 0;
  if (suffix && *end) {
    const char *at = strchr(units, *end);
    if (at == NULL) {
      return false;
    }
    shift = (unsigned)((at - units) % 4 + 1) * 10;
    end++;
  }
  if (errno || *end || (shift && number > UINT64_MAX >> shift)) {
    return false;
  }
  *out = number << shift;
  return true;
}

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max) {
  return value < min ? min : (value > max ? max : value);
}

// "50%": of the memory that the process may have; within the option's range in any case.
static bool percent_parse(const option *o, const char *value, uint64_t *out) {
  char digits[4];
  size_t length = strlen(value);
  uint64_t percent;
  if (length < 2 || length > sizeof digits || value[length - 1] != '%') {
    return false;
  }
  memcpy(digits, value, length - 1);
  digits[length - 1] = 0;
  if (!number_parse(digits, false, &percent) || percent < 1 || percent > 100) {
    return false;
  }
  rt_machine machine;
  rt_machine_read(&machine, "");
  *out = clamp(machine.memory / 100 * percent, o->min, o->max);
  return true;
}

static int choice_find(const char *choices, const char *value) {
  int index = 0;
  size_t length = strlen(value);
  for (const char *at = choices; at; index++) {
    const char *comma = strchr(at, ',');
    size_t n = comma ? (size_t)(comma - at) : strlen(at);
    if (n == length && strncmp(at, value, n) == 0) {
      return index;
    }
    at = comma ? comma + 1 : NULL;
  }
  return -1;
}

static bool string_read(veil_options *options, const option *o, const char *value, const char *where) {
  // Needed until the heap is open, by this thread.
  static __thread char text[STRINGS][STRING_BYTES];
  int index = 0;
  for (const option *before = table; before < o; before++) {
    index += before->kind == STRING;
  }
  VM_CHECK(index < STRINGS, "more than %d options are strings", (int)STRINGS);
  if (strlen(value) > o->max) {
    rt_error_set("%s: option %s: '%.40s…' is longer than %d bytes", where, o->name, value, (int)o->max);
    return false;
  }
  const char *copy = strcpy(text[index], value);
  memcpy((char *)options + o->offset, &copy, sizeof copy);
  return true;
}

static bool value_read(veil_options *options, const option *o, const char *value, const char *where) {
  uint64_t number = 0;
  if (*value == 0) {
    rt_error_set("%s: option %s has no value", where, o->name);
    return false;
  }
  if (o->kind == STRING) {
    return string_read(options, o, value, where);
  }
  if (o->kind == CHOICE) {
    int index = choice_find(o->choices, value);
    if (index < 0) {
      rt_error_set("%s: option %s: '%s' is none of %s", where, o->name, value, o->choices);
      return false;
    }
    number = (uint64_t)index;
  } else if (!(o->kind == MEMORY && percent_parse(o, value, &number)) &&
             !number_parse(value, o->kind == SIZE || o->kind == MEMORY, &number)) {
    static const char *const wanted[] = {[SIZE] = " of bytes (with k, m, g or t)",
                                         [MEMORY] = " of bytes (with k, m, g or t), nor 1% to 100% of the machine's memory",
                                         [NUMBER] = "", [U64] = ""};
    rt_error_set("%s: option %s: '%s' is not a number%s", where, o->name, value, wanted[o->kind]);
    return false;
  }
  if (number < o->min || number > o->max) {
    rt_error_set("%s: option %s: %s is out of range [%s, %s]", where, o->name, value, number_text(o, o->min).at,
                 number_text(o, o->max).at);
    return false;
  }
  field_set(options, o, number);
  return true;
}

// ---- Reading all.

static char *blanks_cut(char *at) {
  at += strspn(at, " \t\n");
  for (size_t length = strlen(at); length > 0 && strchr(" \t\n", at[length - 1]) != NULL; length--) {
    at[length - 1] = 0;
  }
  return at;
}

static const option *option_find(const char *name) {
  for (int i = 0; i < OPTIONS; i++) {
    if (strcmp(table[i].name, name) == 0) {
      return &table[i];
    }
  }
  return NULL;
}

// name=value, or help. `given` has a bit for each option that was met.
static bool item_read(veil_options *options, char *item, const char *where, uint64_t *given, bool *help) {
  char *equals = strchr(item, '=');
  if (equals == NULL && strcmp(item, "help") == 0) {
    *help = true;
    return true;
  }
  if (equals == NULL) {
    rt_error_set("%s: '%s' is not name=value", where, item);
    return false;
  }
  *equals = 0;
  const char *name = blanks_cut(item);
  const option *found = option_find(name);
  if (found == NULL) {
    rt_error_set("%s: there is no option '%s' (%s=help shows all)", where, name, where);
    return false;
  }
  if (*given >> (found - table) & 1) {
    rt_error_set("%s: option %s is given twice", where, name);
    return false;
  }
  *given |= (uint64_t)1 << (found - table);
  return value_read(options, found, blanks_cut(equals + 1), where);
}

static bool list_read(veil_options *options, const char *list, const char *where, bool *help) {
  char *copy = strdup(list);
  char *save = NULL;
  bool ok = copy != NULL;
  uint64_t given = 0;
  if (!ok) {
    rt_error_set("%s: no memory", where);
    return false;
  }
  for (char *item = strtok_r(copy, ",", &save); ok && item; item = strtok_r(NULL, ",", &save)) {
    item = blanks_cut(item);
    ok = *item == 0 || item_read(options, item, where, &given, help);
  }
  free(copy);
  return ok;
}

static bool struct_check(const veil_options *options) {
  for (int i = 0; i < OPTIONS; i++) {
    uint64_t value = table[i].kind == STRING ? 0 : field_get(options, &table[i]);
    if (value != 0 && (value < table[i].min || value > table[i].max)) {
      rt_error_set("veil_options: %s: %s is out of range [%s, %s]", table[i].name, number_text(&table[i], value).at,
                   number_text(&table[i], table[i].min).at, number_text(&table[i], table[i].max).at);
      return false;
    }
  }
  return true;
}

uint64_t rt_limit_default(const rt_machine *machine) {
  uint64_t limit = machine->memory / 4 * 3;
  // A heap reserves six times its limit of addresses, and some for tables; others want some too.
  uint64_t most = machine->address_space / 8;
  return clamp(limit < most ? limit : most, LEAST, MOST);
}

static void defaults_set(veil_options *out) {
  for (int i = 0; i < OPTIONS; i++) {
    if (table[i].kind != STRING && field_get(out, &table[i]) == 0) {
      field_set(out, &table[i], table[i].preset);
    }
  }
  rt_machine machine;
  rt_machine_read(&machine, "");
  out->limit = out->limit ? out->limit : rt_limit_default(&machine);
  if (out->soft_limit == 0 && machine.cgroup_high != UINT64_MAX) {
    out->soft_limit = clamp(machine.cgroup_high / 4 * 3, LEAST, MOST);
  }
  out->reserve = out->reserve > out->limit ? out->reserve : out->limit;
  out->stop_signal = out->stop_signal ? out->stop_signal : SIGRTMIN + 5;
  out->dump_signal = out->dump_signal ? out->dump_signal : SIGRTMIN + 6;
#ifdef VEIL_TSAN
  out->stop = VEIL_STOP_POLL; // TSan holds asynchronous signals back
#endif
}

bool rt_options_read(veil_options *out, const veil_options *given, bool *limit_given) {
  bool help = false;
  *out = given ? *given : (veil_options){0};
  if (!struct_check(out)) {
    return false;
  }
  const char *env = getenv("VEIL_OPTIONS");
  if (env && !list_read(out, env, "VEIL_OPTIONS", &help)) {
    return false;
  }
  // Options with a variable of their own: VEIL_ and the name.
  static const char *const own[][2] = {{"verify", "VEIL_VERIFY"}, {"stats", "VEIL_STATS"}, {"trace", "VEIL_TRACE"}, {"dump", "VEIL_DUMP"}};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    const char *value = getenv(own[i][1]);
    if (value && !value_read(out, option_find(own[i][0]), value, own[i][1])) {
      return false;
    }
  }
  *limit_given = out->limit != 0 || out->reserve != 0;
  defaults_set(out);
  if (out->granule & (out->granule - 1)) {
    rt_error_set("option granule: %zu is not a power of 2", out->granule);
    return false;
  }
  if (help) {
    help_print(out);
  }
  return true;
}
