// SPDX-License-Identifier: MIT
// trace_file.h: reads a trace strictly, and checks what holds for every one.
//
// JSON as the standard has it, in the form that veil may write: an array of flat objects, `args` one level below.

#ifndef TESTS_RUNTIME_TRACE_FILE_H
#define TESTS_RUNTIME_TRACE_FILE_H

#include "tests/runtime/test.h"

enum { NAMES_MAX = 64, ARGS_MAX = 3 };

typedef struct event {
  char name[NAMES_MAX];
  char phase;
  long pid, tid;
  bool timed;
  double ts, dur;
  int args;
  char arg_name[ARGS_MAX][NAMES_MAX];
  double arg[ARGS_MAX];
  char text[NAMES_MAX]; // of the last argument that is a string
} event;

typedef struct trace {
  event *events;
  size_t count;
  bool whole; // it ends as it should
  char *file;
} trace;

typedef struct json {
  const char *at;
  bool bad;
} json;

static inline void json_space(json *j) {
  while (*j->at == ' ' || *j->at == '\n' || *j->at == '\t' || *j->at == '\r') {
    j->at++;
  }
}

static inline bool json_is(json *j, char c) {
  json_space(j);
  if (*j->at == c) {
    j->at++;
    return true;
  }
  return false;
}

static inline void json_want(json *j, char c) { j->bad |= !json_is(j, c); }

static inline void json_string(json *j, char *out) {
  size_t n = 0;
  json_want(j, '"');
  while (!j->bad && *j->at != '"') {
    if (*j->at == 0 || (*j->at == '\\' && j->at[1] == 0)) {
      j->bad = true; // cut off
      break;
    }
    unsigned char c = (unsigned char)*j->at++;
    if (c == '\\') {
      c = (unsigned char)*j->at++;
      j->bad |= c != '"' && c != '\\';
    } else {
      j->bad |= c < ' ' || c > '~';
    }
    out[n < NAMES_MAX - 1 ? n++ : n] = (char)c;
  }
  out[n] = 0;
  json_want(j, '"');
}

static inline double json_number(json *j) {
  json_space(j);
  const char *start = j->at;
  size_t whole = strspn(start, "0123456789");
  j->bad |= whole == 0 || (whole > 1 && *start == '0');
  j->at += whole;
  if (*j->at == '.') {
    size_t digits = strspn(++j->at, "0123456789");
    j->bad |= digits == 0;
    j->at += digits;
  }
  return strtod(start, NULL);
}

static inline void json_args(json *j, event *e) {
  json_want(j, '{');
  if (json_is(j, '}')) {
    return;
  }
  do {
    char name[NAMES_MAX];
    json_string(j, name);
    json_want(j, ':');
    json_space(j);
    if (*j->at == '"') {
      json_string(j, e->text);
    } else if (e->args < ARGS_MAX) {
      strcpy(e->arg_name[e->args], name);
      e->arg[e->args++] = json_number(j);
    } else {
      j->bad = true;
    }
  } while (!j->bad && json_is(j, ','));
  json_want(j, '}');
}

static inline void json_event(json *j, event *e) {
  json_want(j, '{');
  do {
    char key[NAMES_MAX], value[NAMES_MAX];
    json_string(j, key);
    json_want(j, ':');
    if (strcmp(key, "name") == 0) {
      json_string(j, e->name);
    } else if (strcmp(key, "ph") == 0) {
      json_string(j, value);
      e->phase = value[0];
      j->bad |= strlen(value) != 1 || strchr("XiCM", value[0]) == NULL;
    } else if (strcmp(key, "pid") == 0) {
      e->pid = (long)json_number(j);
    } else if (strcmp(key, "tid") == 0) {
      e->tid = (long)json_number(j);
    } else if (strcmp(key, "ts") == 0) {
      e->ts = json_number(j);
      e->timed = true;
    } else if (strcmp(key, "dur") == 0) {
      e->dur = json_number(j);
    } else if (strcmp(key, "s") == 0) {
      json_string(j, value);
      j->bad |= strcmp(value, "t") != 0 && strcmp(value, "p") != 0;
    } else if (strcmp(key, "args") == 0) {
      json_args(j, e);
    } else {
      j->bad = true;
    }
  } while (!j->bad && json_is(j, ','));
  json_want(j, '}');
}

static inline char *file_text(const char *path) {
  FILE *file = fopen(path, "r");
  EXPECT(file != NULL);
  EXPECT(fseek(file, 0, SEEK_END) == 0);
  long bytes = ftell(file);
  rewind(file);
  char *text = malloc((size_t)bytes + 1);
  EXPECT(text != NULL && fread(text, 1, (size_t)bytes, file) == (size_t)bytes);
  text[bytes] = 0;
  fclose(file);
  return text;
}

// A trace that was cut off ends in the middle of a line: that one does not count.
static inline trace trace_read(const char *path) {
  trace t = {.file = file_text(path)};
  size_t room = 0;
  json j = {t.file, false};
  json_want(&j, '[');
  do {
    if (t.count == room) {
      room = room ? room * 2 : 1024;
      t.events = realloc(t.events, room * sizeof *t.events);
      EXPECT(t.events != NULL);
    }
    json_space(&j);
    const char *start = j.at;
    memset(&t.events[t.count], 0, sizeof *t.events);
    json_event(&j, &t.events[t.count]);
    if (j.bad) {
      if (strchr(start, '\n') != NULL) {
        fprintf(stderr, "%s: not strict JSON at %.200s\n", path, start);
        abort();
      }
      return t;
    }
    t.count++;
  } while (json_is(&j, ','));
  json_want(&j, ']');
  json_space(&j);
  t.whole = !j.bad && *j.at == 0;
  return t;
}

static inline void trace_free(trace *t) {
  free(t->events);
  free(t->file);
}

static inline size_t trace_count(const trace *t, const char *name, long pid) {
  size_t n = 0;
  for (size_t i = 0; i < t->count; i++) {
    n += strcmp(t->events[i].name, name) == 0 && (pid == 0 || t->events[i].pid == pid);
  }
  return n;
}

// The sum of the i-th argument over all events of that name.
static inline double trace_sum(const trace *t, const char *name, int arg) {
  double sum = 0;
  for (size_t i = 0; i < t->count; i++) {
    sum += strcmp(t->events[i].name, name) == 0 ? t->events[i].arg[arg] : 0;
  }
  return sum;
}

static inline int event_compare(const void *a, const void *b) {
  const event *x = a, *y = b;
  if (x->pid != y->pid || x->tid != y->tid) {
    return x->pid != y->pid ? (x->pid < y->pid ? -1 : 1) : (x->tid < y->tid ? -1 : 1);
  }
  if (x->ts != y->ts) {
    return x->ts < y->ts ? -1 : 1;
  }
  return x->dur > y->dur ? -1 : x->dur < y->dur; // the outer one first
}

// On each track: spans lie in each other like brackets or behind each other, and were written in the order in which they ended.
static inline void trace_check(trace *t) {
  static double const SLACK = 0.0006; // sums of microseconds with three decimals, as doubles
  for (size_t i = 0; i < t->count; i++) {
    const event *e = &t->events[i];
    EXPECT(e->phase != 0 && e->pid > 0 && e->timed == (e->phase != 'M'));
    for (size_t k = i; k-- > 0 && e->phase != 'M' && e->tid != 0;) {
      const event *before = &t->events[k];
      if (before->pid == e->pid && before->tid == e->tid && before->timed) {
        EXPECT(before->ts + before->dur <= e->ts + e->dur + SLACK);
        break;
      }
    }
  }
  event *sorted = malloc(t->count * sizeof *sorted);
  EXPECT(sorted != NULL);
  memcpy(sorted, t->events, t->count * sizeof *sorted);
  qsort(sorted, t->count, sizeof *sorted, event_compare);
  enum { DEPTH = 32 };
  double end[DEPTH];
  int depth = 0;
  for (size_t i = 0; i < t->count; i++) {
    const event *e = &sorted[i];
    if (i == 0 || e->pid != sorted[i - 1].pid || e->tid != sorted[i - 1].tid) {
      depth = 0;
    }
    if (e->phase != 'X') {
      continue;
    }
    while (depth > 0 && end[depth - 1] <= e->ts + SLACK) {
      depth--;
    }
    EXPECT(depth == 0 || e->ts + e->dur <= end[depth - 1] + SLACK);
    EXPECT(depth < DEPTH);
    end[depth++] = e->ts + e->dur;
  }
  free(sorted);
}

static inline trace trace_read_whole(const char *path) {
  trace t = trace_read(path);
  EXPECT(t.whole);
  trace_check(&t);
  return t;
}

#endif
