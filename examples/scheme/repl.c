// SPDX-License-Identifier: MIT
// repl.c: reads expressions, evaluates them, prints their values. At a terminal with libedit, if the program was built with it; else line by line.

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "program.h"
#ifdef SCHEME_LIBEDIT
#include <histedit.h>
#endif

// What a line leaves open: parentheses, a string, a comment. Characters like #\( do not count.
typedef struct balance {
  int64_t open;
  bool in_string, in_bar;
  int comment;  // depth of #| |#
  bool any;     // something stands there that is no comment
} balance;

static size_t skip_plain(const char *text, size_t i) { // behind #\x
  i += 2;
  if (text[i] != 0) {
    i++;
  }
  while (text[i] != 0 && strchr("()[]\"; \t\n", text[i]) == NULL) {
    i++;
  }
  return i - 1;
}
static balance balance_of(const char *text) {
  balance b = {0};
  for (size_t i = 0; text[i] != 0; i++) {
    char c = text[i], next = text[i + 1];
    if (b.comment > 0) {
      b.comment += (c == '#' && next == '|') - (c == '|' && next == '#');
      i += (c == '#' && next == '|') || (c == '|' && next == '#');
    } else if (b.in_string || b.in_bar) {
      i += c == '\\' && next != 0;
      b.in_string = b.in_string && c != '"';
      b.in_bar = b.in_bar && c != '|';
    } else if (c == ';') {
      i += strcspn(text + i, "\n");
      i -= text[i] == 0;
    } else if (c == '#' && next == '|') {
      b.comment = 1;
      i++;
    } else if (c == '#' && next == '\\') {
      b.any = true;
      i = skip_plain(text, i);
    } else {
      b.in_string = c == '"';
      b.in_bar = c == '|';
      b.open += (c == '(' || c == '[') - (c == ')' || c == ']');
      b.any = b.any || strchr(" \t\n", c) == NULL;
    }
  }
  return b;
}
static bool is_complete(const char *text) {
  balance b = balance_of(text);
  return b.open <= 0 && !b.in_string && !b.in_bar && b.comment == 0;
}

static void show(machine *m, value result) {
  value out = port_stdout(m);
  if (result != V_UNSPECIFIED) {
    jmp_buf here;
    m->escape = &here;
    if (setjmp(here) == 0) {
      if (is_kind(result, KIND_VALUES)) {
        for (int64_t i = 0; i < OBJ(values, result)->count; i++) {
          print(m, out, OBJ(values, result)->item[i], PRINT_WRITE);
          port_write_utf8(m, out, "\n", 1);
        }
      } else {
        print(m, out, result, PRINT_WRITE);
        port_write_utf8(m, out, "\n", 1);
      }
    } else {
      report(m, m->state->item[STATE_CONDITION], false);
    }
    m->escape = NULL;
  }
  port_flush(m, out);
}

// All that a text has. False: the text is wrong somewhere, which was said.
static void evaluate_text(machine *m, const char *text) {
  jmp_buf here;
  value result;
  m->escape = &here;
  if (setjmp(here) != 0) {
    m->frame = NULL;
    report(m, m->state->item[STATE_CONDITION], false);
    m->escape = NULL;
    return;
  }
  m->frame = NULL;
  value port = port_open_string(m, new_string_utf8(m, text, strlen(text)));
  port_name_set(m, port, new_string_utf8(m, "-", 1));
  while (true) {
    m->escape = &here;
    m->frame = NULL;
    value datum = read_datum(m, port);
    if (datum == V_EOF) {
      break;
    }
    compile_declare_locked(m, datum, world->item[WORLD_USER]);
    if (evaluate(m, datum, world->item[WORLD_USER], &result)) {
      show(m, result);
    }
  }
  m->escape = NULL;
}

// Without a terminal: from the port of standard input, so that programs can read what follows.
static void repl_plain(machine *m) {
  jmp_buf here;
  value result;
  while (true) {
    m->escape = &here;
    m->frame = NULL;
    if (setjmp(here) != 0) {
      m->frame = NULL;
      report(m, m->state->item[STATE_CONDITION], false);
      continue;
    }
    value datum = read_datum(m, port_stdin(m));
    if (datum == V_EOF) {
      break;
    }
    compile_declare_locked(m, datum, world->item[WORLD_USER]);
    if (evaluate(m, datum, world->item[WORLD_USER], &result)) {
      show(m, result);
    }
  }
  m->escape = NULL;
}

typedef struct text {
  char *bytes;
  size_t length, room;
} text;
static bool text_add(text *t, const char *line, size_t length) {
  if (t->length + length + 1 > t->room) {
    size_t room = (t->length + length + 1) * 2;
    char *bytes = realloc(t->bytes, room);
    if (bytes == NULL) {
      return false;
    }
    t->bytes = bytes;
    t->room = room;
  }
  memcpy(t->bytes + t->length, line, length);
  t->length += length;
  t->bytes[t->length] = 0;
  return true;
}

#ifdef SCHEME_LIBEDIT
static const char *prompt_now = "> ";
static char *prompt(EditLine *editor) { return (char *)prompt_now; }

// Reading a line touches no object, so nobody waits for this thread meanwhile.
static void repl_terminal(machine *m) {
  EditLine *editor = el_init("scheme", stdin, stdout, stderr);
  History *history_of = history_init();
  HistEvent event;
  text t = {0};
  el_set(editor, EL_PROMPT, prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 1);
  history(history_of, &event, H_SETSIZE, 1000);
  el_set(editor, EL_HIST, history, history_of);
  while (true) {
    int length = 0;
    m->interrupted = 0;
    memory_block_begin(m->self);
    const char *line = el_gets(editor, &length);
    memory_block_end(m->self);
    if (line == NULL && m->interrupted) {
      t.length = 0;
      prompt_now = "> ";
      continue;
    }
    if (line == NULL || length <= 0 || !text_add(&t, line, (size_t)length)) {
      break;
    }
    if (!is_complete(t.bytes)) {
      prompt_now = "  ";
      continue;
    }
    prompt_now = "> ";
    if (balance_of(t.bytes).any) {
      history(history_of, &event, H_ENTER, t.bytes);
      evaluate_text(m, t.bytes);
    }
    t.length = 0;
  }
  printf("\n");
  history_end(history_of);
  el_end(editor);
  free(t.bytes);
}
#else
static void repl_terminal(machine *m) {
  text t = {0};
  char line[4096];
  const char *prompt = "> ";
  while (true) {
    printf("%s", prompt);
    fflush(stdout);
    m->interrupted = 0;
    memory_block_begin(m->self);
    bool got = fgets(line, sizeof line, stdin) != NULL;
    memory_block_end(m->self);
    if (!got || !text_add(&t, line, strlen(line))) {
      break;
    }
    prompt = is_complete(t.bytes) ? "> " : "  ";
    if (prompt[0] == '>') {
      evaluate_text(m, t.bytes);
      t.length = 0;
    }
  }
  printf("\n");
  free(t.bytes);
}
#endif

void repl(machine *m, bool interactive) {
  if (interactive) {
    repl_terminal(m);
  } else {
    repl_plain(m);
  }
}
