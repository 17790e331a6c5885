// SPDX-License-Identifier: MIT
// options.c: one table of options: name, range, default.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/runtime.h"

enum kind { SIZE, NUMBER, U64, STRING, CHOICE };

typedef struct option {
  const char *name;
  enum kind kind;
  size_t offset;
  uint64_t min, max;
  const char *choices; // comma-separated, for CHOICE: values 0, 1, …
} option;

#define FIELD(NAME) offsetof(veil_options, NAME)
static const option table[] = {
    {"limit", SIZE, FIELD(limit), (uint64_t)2 << 20, (uint64_t)20 << 30, NULL},
    {"back_end", STRING, FIELD(back_end), 0, 0, NULL},
    {"granule", SIZE, FIELD(granule), 4096, 65536, NULL},
    {"scanners", NUMBER, FIELD(scanners), 1, RT_SCANNERS, NULL},
    {"stop", CHOICE, FIELD(stop), 0, 1, "signal,poll"},
    {"stop_signal", NUMBER, FIELD(stop_signal), 1, 64, NULL},
    {"oom", CHOICE, FIELD(oom), 0, 1, "abort,null"},
    {"growth", NUMBER, FIELD(growth), 5, 1000, NULL},
    {"headroom", SIZE, FIELD(headroom), 1, (uint64_t)20 << 30, NULL},
    {"verify", NUMBER, FIELD(verify), 0, 2, NULL},
    {"torture", NUMBER, FIELD(torture), 0, 1000000, NULL},
    {"fork", CHOICE, FIELD(fork), 0, 1, "copy,exec"},
    {"seed", U64, FIELD(seed), 0, UINT64_MAX, NULL},
};
enum { OPTIONS = sizeof table / sizeof *table };

static uint64_t field_get(const veil_options *options, const option *o) {
  const char *at = (const char *)options + o->offset;
  if (o->kind == SIZE || o->kind == U64) {
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
  if (o->kind == SIZE || o->kind == U64) {
    memcpy(at, &value, sizeof value);
  } else {
    unsigned v = (unsigned)value;
    memcpy(at, &v, sizeof v);
  }
}

static bool size_parse(const char *text, bool suffix, uint64_t *out) {
  char *end;
  errno = 0;
  if (*text < '0' || *text > '9') {
    return false;
  }
  unsigned long long value = strtoull(text, &end, 10);
  unsigned shift = 0;
  if (suffix && *end) {
    const char *at = strchr("kmgKMG", *end);
    if (at == NULL) {
      return false;
    }
    shift = (unsigned)((at - "kmgKMG") % 3 + 1) * 10;
    end++;
  }
  if (errno || *end || (shift && value > UINT64_MAX >> shift)) {
    return false;
  }
  *out = value << shift;
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

static bool value_read(veil_options *options, const option *o, const char *value, const char *where) {
  uint64_t number = 0;
  if (o->kind == STRING) {
    // Needed until the heap is open, by this thread.
    static __thread char text[64];
    if (strlen(value) >= sizeof text) {
      rt_error_set("%s: option %s: '%s' is too long", where, o->name, value);
      return false;
    }
    strcpy(text, value);
    *(const char **)((char *)options + o->offset) = text;
    return true;
  }
  if (o->kind == CHOICE) {
    int index = choice_find(o->choices, value);
    if (index < 0) {
      rt_error_set("%s: option %s: '%s' is none of %s", where, o->name, value, o->choices);
      return false;
    }
    number = (uint64_t)index;
  } else if (!size_parse(value, o->kind == SIZE, &number)) {
    rt_error_set("%s: option %s: '%s' is not a number%s", where, o->name, value,
                 o->kind == SIZE ? " of bytes (with k, m or g)" : "");
    return false;
  }
  if (number < o->min || number > o->max) {
    rt_error_set("%s: option %s: %s is out of range [%llu, %llu]", where, o->name, value, (unsigned long long)o->min,
                 (unsigned long long)o->max);
    return false;
  }
  field_set(options, o, number);
  return true;
}

static bool list_read(veil_options *options, const char *list, const char *where) {
  char *copy = strdup(list);
  char *save = NULL;
  bool ok = copy != NULL;
  if (!ok) {
    rt_error_set("%s: no memory", where);
    return false;
  }
  for (char *item = strtok_r(copy, ",", &save); ok && item; item = strtok_r(NULL, ",", &save)) {
    char *equals = strchr(item, '=');
    const option *found = NULL;
    if (equals == NULL) {
      rt_error_set("%s: '%s' is not name=value", where, item);
      ok = false;
      break;
    }
    *equals = 0;
    for (int i = 0; i < OPTIONS; i++) {
      found = strcmp(table[i].name, item) == 0 ? &table[i] : found;
    }
    if (found == NULL) {
      rt_error_set("%s: there is no option '%s'", where, item);
      ok = false;
    } else {
      ok = value_read(options, found, equals + 1, where);
    }
  }
  free(copy);
  return ok;
}

static bool struct_check(const veil_options *options) {
  for (int i = 0; i < OPTIONS; i++) {
    uint64_t value = table[i].kind == STRING ? 0 : field_get(options, &table[i]);
    if (value != 0 && (value < table[i].min || value > table[i].max)) {
      rt_error_set("veil_options: %s: %llu is out of range [%llu, %llu]", table[i].name, (unsigned long long)value,
                   (unsigned long long)table[i].min, (unsigned long long)table[i].max);
      return false;
    }
  }
  return true;
}

static uint64_t memory_default(void) {
  uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4 * 3;
  uint64_t most = (uint64_t)20 << 30;
  return memory < most ? memory : most;
}

bool rt_options_read(veil_options *out, const veil_options *given) {
  *out = given ? *given : (veil_options){0};
  if (!struct_check(out)) {
    return false;
  }
  const char *env = getenv("VEIL_OPTIONS");
  if (env && !list_read(out, env, "VEIL_OPTIONS")) {
    return false;
  }
  const char *verify = getenv("VEIL_VERIFY");
  for (int i = 0; verify && i < OPTIONS; i++) {
    if (strcmp(table[i].name, "verify") == 0 && !value_read(out, &table[i], verify, "VEIL_VERIFY")) {
      return false;
    }
  }
  if (out->granule == 0) {
    out->granule = 4096;
  }
  if (out->granule & (out->granule - 1)) {
    rt_error_set("option granule: %zu is not a power of 2", out->granule);
    return false;
  }
  out->limit = out->limit ? out->limit : memory_default();
  out->scanners = out->scanners ? out->scanners : 1;
  out->stop_signal = out->stop_signal ? out->stop_signal : SIGRTMIN + 5;
  out->growth = out->growth ? out->growth : 80;
  out->headroom = out->headroom ? out->headroom : (size_t)32 << 20;
#ifdef VEIL_TSAN
  out->stop = VEIL_STOP_POLL; // TSan holds asynchronous signals back
#endif
  return true;
}
