// SPDX-License-Identifier: MIT
// system.c: primitives of the process: exit, time, environment variables, files of source; the collector's figures; images and stores.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "machine_slow.h"
#include "program.h"

extern char **environ;

uint64_t memory_status(const char *name) {
  FILE *f = fopen("/proc/self/status", "r");
  char line[200];
  unsigned long long kib = 0;
  while (f != NULL && fgets(line, sizeof line, f) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) {
      kib = strtoull(line + strlen(name), NULL, 10);
    }
  }
  if (f != NULL) {
    fclose(f);
  }
  return kib * 1024;
}

// ---- The end, and what --stats writes then.

static double figure(const memory_figure *all, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    if (strcmp(all[i].name, name) == 0) {
      return (double)all[i].number;
    }
  }
  return -1;
}
static void write_or_null(FILE *f, const char *name, double number) {
  if (number < 0) {
    fprintf(f, ", \"%s\": null", name);
  } else {
    fprintf(f, ", \"%s\": %.3f", name, number);
  }
}
static void stats_write(machine *m) {
  FILE *f = fopen(program_stats, "w");
  if (f == NULL) {
    fprintf(stderr, "scheme: %s: %s\n", program_stats, strerror(errno));
    return;
  }
  memory_figure all[MEMORY_FIGURES];
  int count = memory_figures(m->self, all);
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  double cpu = (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec + 1e-6 * ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec);
  double flip = figure(all, count, "flip-max-ns"), minor = figure(all, count, "minor-max-ns"), allocated = figure(all, count, "allocated-bytes");
  fprintf(f, "{\"memory\": \"%s\", \"back_end\": \"%s\", \"gap_max_us\": %.1f, \"peak_mib\": %.2f, \"cpu_s\": %.3f", memory_name, memory_back_end(),
      (double)m->gap_max / 1000,
          (double)memory_peak() / 1048576, cpu);
  write_or_null(f, "allocated_mib", allocated < 0 ? -1 : allocated / 1048576);
  write_or_null(f, "major_cycles", figure(all, count, "major-cycles"));
  write_or_null(f, "minor_cycles", figure(all, count, "minor-cycles"));
  write_or_null(f, "flip_max_us", flip < 0 ? -1 : flip / 1000);
  write_or_null(f, "minor_max_us", minor < 0 ? -1 : minor / 1000);
  fprintf(f, "}\n");
  fclose(f);
}
void machine_exit(machine *m, int status) {
  jmp_buf here;
  m->escape = &here;
  if (setjmp(here) == 0) { // a port that cannot be written any more is no reason to stay
    ports_flush_all(m);
  }
  if (program_stats != NULL) {
    stats_write(m);
  }
  fflush(NULL);
  _exit(status);
}
static value exit_(machine *m, value *a, int count) {
  int status = a[0] == V_TRUE || a[0] == V_DEFAULT ? 0 : a[0] == V_FALSE ? 1 : is_fixnum(a[0]) ? (int)fixnum_of(a[0]) : 0;
  machine_exit(m, status);
  return V_UNSPECIFIED;
}

// ---- The process.

static value text(machine *m, const char *s) { return new_string_utf8(m, s, strlen(s)); }
static const char *want_text(machine *m, const char *who, value v) {
  if (!is_kind(v, KIND_STRING)) {
    fail_type(m, who, 1, "string", v);
  }
  return utf8_of(m, v);
}
static value command_line(machine *m, value *a, int count) { return world->item[WORLD_ARGUMENTS]; }
static value get_variable(machine *m, value *a, int count) {
  const char *found = getenv(want_text(m, "get-environment-variable", a[0]));
  return found != NULL ? text(m, found) : V_FALSE;
}
static value get_variables(machine *m, value *a, int count) {
  value all = V_NULL;
  for (char **e = environ; *e != NULL; e++) {
    size_t n = strcspn(*e, "=");
    value name = new_string_utf8(m, *e, n), item = text(m, (*e)[n] != 0 ? *e + n + 1 : "");
    all = cons(m, cons(m, name, item), all);
  }
  return all;
}
static int64_t clock_ns(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static value current_second(machine *m, value *a, int count) { return new_flonum(m, (double)clock_ns(CLOCK_REALTIME) / 1e9); }
static value current_jiffy(machine *m, value *a, int count) { return fixnum(clock_ns(CLOCK_MONOTONIC) / 1000); }
static value jiffies(machine *m, value *a, int count) { return fixnum(1000000); }
static value runtime(machine *m, value *a, int count) { return new_flonum(m, (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9); }
static value real_time(machine *m, value *a, int count) { return new_flonum(m, (double)clock_ns(CLOCK_MONOTONIC) / 1e6); }
static value void_(machine *m, value *a, int count) { return V_UNSPECIFIED; }

// ---- Source files.

value read_file(machine *m, value name) {
  const char *path = want_text(m, "load", name);
  value port = port_open_file(m, "load", path, true, false, false), all = V_NULL;
  if (port_peek_char(m, port) == '#') { // #! and the name of an interpreter
    port_read_char(m, port);
    if (port_peek_char(m, port) == '!') {
      int32_t next = port_read_char(m, port);
      next = port_peek_char(m, port);
      if (next == '/' || next == ' ') {
        while ((next = port_read_char(m, port)) >= 0 && next != '\n') {
        }
      } else {
        port = port_open_file(m, "load", path, true, false, false);
      }
    } else {
      port = port_open_file(m, "load", path, true, false, false);
    }
  }
  for (value datum; (datum = read_datum(m, port)) != V_EOF;) {
    all = cons(m, datum, all);
  }
  value done = V_NULL;
  for (; all != V_NULL; all = cdr(all)) {
    done = cons(m, car(all), done);
  }
  return done;
}
static value read_file_(machine *m, value *a, int count) { return read_file(m, a[0]); }

// ---- The collector.

static value gc(machine *m, value *a, int count) {
  memory_collect(m->self);
  memory_collect(m->self);
  return V_UNSPECIFIED;
}
static value gc_stats(machine *m, value *a, int count) {
  memory_figure all[MEMORY_FIGURES];
  value made = V_NULL;
  for (int n = memory_figures(m->self, all); n-- > 0;) {
    value entry = cons(m, intern(m, all[n].name), integer_from_int64(m, (int64_t)all[n].number));
    made = cons(m, entry, made);
  }
  value collector = cons(m, intern(m, "collector"), text(m, memory_name));
  return cons(m, collector, made);
}
static value heap_dump(machine *m, value *a, int count) {
  char error[300];
  if (!memory_dump(m->self, want_text(m, "heap-dump", a[0]), error, sizeof error)) {
    fail(m, "heap-dump", error, 1, a[0]);
  }
  return V_UNSPECIFIED;
}
static value checkpoint(machine *m, value *a, int count) {
  char error[300];
  const char *path = want_text(m, "checkpoint", a[0]);
  ports_flush_all(m);
  if (!memory_save(m->self, path, error, sizeof error)) {
    fail(m, "checkpoint", error, 1, a[0]);
  }
  return V_UNSPECIFIED;
}
static value commit(machine *m, value *a, int count) {
  char error[300];
  if (!memory_commit(m->self, error, sizeof error)) {
    fail(m, "commit!", error, 0);
  }
  return V_UNSPECIFIED;
}

const primitive_entry primitives_system[] = {
    {"%exit", exit_, 0, 1}, {"command-line", command_line, 0, 0}, {"get-environment-variable", get_variable, 1, 1}, {"get-environment-variables",
        get_variables, 0, 0},
    {"current-second", current_second, 0, 0}, {"current-jiffy", current_jiffy, 0, 0}, {"jiffies-per-second", jiffies, 0, 0}, {"runtime", runtime, 0, 0},
    {"real-time", real_time, 0, 0}, {"void", void_, 0, -1}, {"%read-file", read_file_, 1, 1}, {"%missing-library", missing_library, 1, 1}, {"features",
        features, 0, 0},
    {"%code-mutate", code_mutate, 4, 4}, {"%fuel", fuel, 1, 1}, {"gc", gc, 0, 0}, {"gc-stats", gc_stats, 0, 0}, {"heap-dump", heap_dump, 1, 1},
        {"checkpoint", checkpoint, 1, 1}, {"commit!", commit, 0, 0},
    {"%make-thread", make_thread, 2, 2}, {"thread-start!", thread_start, 1, 1}, {"%thread-join!", thread_join, 1, 1}, {"thread?", is_thread, 1, 1},
    {"thread-name", thread_name, 1, 1}, {"current-thread", current_thread, 0, 0}, {"thread-yield!", thread_yield, 0, 0}, {"thread-sleep!", thread_sleep, 1, 1},
    {"make-mutex", make_mutex, 0, 1}, {"mutex?", is_mutex, 1, 1}, {"mutex-lock!", mutex_lock, 1, 3}, {"mutex-unlock!", mutex_unlock, 1, 3},
    {"make-condition-variable", make_condition_variable, 0, 1}, {"condition-variable-signal!", condition_signal, 1, 1},
    {"condition-variable-broadcast!", condition_broadcast, 1, 1},
    {"weak-cons", weak_cons, 2, 2}, {"weak-pair?", is_weak_pair, 1, 1}, {"weak-car", weak_car, 1, 1}, {"weak-cdr", weak_cdr, 1, 1},
    {"make-weak-key-table", make_weak_key_table, 0, 0}, {"make-weak-value-table", make_weak_value_table, 0, 0}, {"weak-table?", is_weak_table, 1, 1},
    {"weak-table-ref", weak_table_ref, 2, 3}, {"weak-table-set!", weak_table_set, 3, 3}, {"weak-table-delete!", weak_table_delete, 2, 2},
    {"weak-table-count", weak_table_count, 1, 1}, {"weak-table->alist", weak_table_alist, 1, 1},
    {"%make-guardian", make_guardian, 0, 0}, {"%guardian-add!", guardian_add, 2, 2}, {"%guardian-next", guardian_next, 1, 1}, {NULL, NULL, 0, 0}};
