// SPDX-License-Identifier: MIT
// notebook.c: notes, and an index of their words, that live in a store from one run to the next. There is no format of a file here, no reading, no writing: there are
// objects, plain pointers, and a commit after each change.

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <veil/store.h>

enum { WORD = 64, FIRST = 8, SHOWN = 10 }; // bytes of a word with its end, longer ones are cut; room of the smallest array; what `list` shows

typedef struct list { // an array that grows: part of an object
  void **item;
  long count;
} list;
typedef struct note {
  char *text;
  long number, time;
} note;
VEIL_TYPE(note, text);
typedef struct word {
  struct word *next; // in its bucket
  char *text;        // in small letters
  list notes;        // that have it, in the order of their numbers
} word;
VEIL_TYPE(word, next, text, notes.item);
typedef struct book {
  list notes;    // number n is at n - 1; NULL: it was deleted, and its number is not used again
  word **bucket; // of the table of words: as many as it is long, a power of two
  long words;
} book;
VEIL_TYPE(book, notes.item, bucket);
static veil_type *const types[] = {&veil_type_note, &veil_type_word, &veil_type_book}; // a store in which they look different is refused

typedef struct run {
  const char *path;
  veil_store *store;
  veil_thread *self;
  book *book;
  char **arg;
  int count;
} run;

static void __attribute__((noreturn, format(printf, 2, 3))) fail(int status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fputs("notebook: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(status); // what was not committed never happened
}

static void commit(run *r) {
  if (veil_store_commit(r->store, NULL) != VEIL_OK) {
    fail(1, "%s", veil_error());
  }
}

// ---- Lists.

static void list_put(run *r, list *l, long at, void *item) {
  size_t room = l->item != NULL ? veil_length(veil_thread_heap(r->self), l->item) : 0;
  if ((size_t)l->count == room) {
    void **larger = veil_new_pointers(r->self, room != 0 ? 2 * room : FIRST);
    for (long i = 0; i < l->count; i++) {
      larger[i] = l->item[i];
    }
    l->item = larger; // the old one is garbage, in the file as well
  }
  for (long i = l->count++; i > at; i--) {
    l->item[i] = l->item[i - 1];
  }
  l->item[at] = item;
}

static void list_cut(list *l, long at) {
  for (l->count--; at < l->count; at++) {
    l->item[at] = l->item[at + 1];
  }
  l->item[at] = NULL; // or what was there would live
}

// Where the note is among notes by number, or would be.
static long list_place(const list *l, const note *n) {
  long low = 0, high = l->count;
  while (low < high) {
    long middle = low + (high - low) / 2;
    if (((note *)l->item[middle])->number < n->number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool word_has(const word *w, const note *n) {
  long at = list_place(&w->notes, n);
  return at < w->notes.count && w->notes.item[at] == n;
}

// ---- Words.

static bool is_in_word(char c) { return isalnum((unsigned char)c) || (c & 0x80) != 0 || c == '#'; } // all of UTF-8 beyond ASCII counts as letters

static bool word_next(const char **text, char out[WORD]) {
  size_t length = 0;
  while (**text != 0 && !is_in_word(**text)) {
    ++*text;
  }
  for (; is_in_word(**text); ++*text) {
    if (length < WORD - 1) {
      out[length++] = (char)tolower((unsigned char)**text);
    }
  }
  out[length] = 0;
  return length > 0;
}

static char *text_new(run *r, const char *text) { return strcpy(veil_new_bytes(r->self, strlen(text) + 1), text); }

static word **bucket_of(run *r, const char *text) {
  uint64_t hash = 14695981039346656037u; // FNV-1a
  for (const char *c = text; *c != 0; c++) {
    hash = (hash ^ (unsigned char)*c) * 1099511628211u;
  }
  return &r->book->bucket[hash & (veil_length(veil_thread_heap(r->self), r->book->bucket) - 1)];
}

static word *word_find(run *r, const char *text) {
  word *w = *bucket_of(r, text);
  while (w != NULL && strcmp(w->text, text) != 0) {
    w = w->next;
  }
  return w;
}

static void words_spread(run *r) {
  word **old = r->book->bucket;
  size_t length = veil_length(veil_thread_heap(r->self), old);
  r->book->bucket = (word **)veil_new_pointers(r->self, 2 * length);
  for (size_t i = 0; i < length; i++) {
    for (word *w = old[i], *next; w != NULL; w = next) {
      word **bucket = bucket_of(r, w->text);
      next = w->next;
      w->next = *bucket;
      *bucket = w;
    }
  }
}

static word *word_get(run *r, const char *text) {
  word *w = word_find(r, text);
  if (w == NULL) {
    if ((size_t)r->book->words++ == veil_length(veil_thread_heap(r->self), r->book->bucket)) {
      words_spread(r);
    }
    w = veil_new(r->self, word);
    w->text = text_new(r, text);
    word **bucket = bucket_of(r, text);
    w->next = *bucket;
    *bucket = w;
  }
  return w;
}

static void word_add(run *r, word *w, note *n) {
  if (!word_has(w, n)) {
    list_put(r, &w->notes, list_place(&w->notes, n), n);
  }
}

static void word_remove(run *r, word *w, const note *n) {
  if (w == NULL || !word_has(w, n)) {
    return; // the text has the word twice
  }
  list_cut(&w->notes, list_place(&w->notes, n));
  if (w->notes.count == 0) {
    word **at = bucket_of(r, w->text);
    while (*at != w) {
      at = &(*at)->next;
    }
    *at = w->next;
    r->book->words--;
  }
}

// ---- Notes.

static note *note_add(run *r, const char *text) {
  char found[WORD];
  note *n = veil_new(r->self, note);
  n->text = text_new(r, text);
  n->time = (long)time(NULL);
  n->number = r->book->notes.count + 1;
  list_put(r, &r->book->notes, r->book->notes.count, n);
  for (const char *at = text; word_next(&at, found);) {
    word_add(r, word_get(r, found), n);
  }
  return n;
}

static note *note_get(run *r, const char *number) {
  char *end;
  errno = 0;
  long n = strtol(number, &end, 10);
  if (*number == 0 || *end != 0) {
    fail(2, "%s is no number of a note", number);
  }
  note *found = errno == 0 && n >= 1 && n <= r->book->notes.count ? r->book->notes.item[n - 1] : NULL;
  if (found == NULL) {
    fail(1, "there is no note %s", number);
  }
  return found;
}

static void note_print(const note *n, bool whole) {
  char when[32];
  time_t time = n->time;
  strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime(&time));
  printf("%4ld  %s  %.*s\n", n->number, when, (int)(whole ? strlen(n->text) : strcspn(n->text, "\n")), n->text);
}

// ---- Commands.

static void added(run *r, const char *text) {
  note *n = note_add(r, text);
  commit(r);
  printf("note %ld\n", n->number); // it outlives a crash
  fflush(stdout);
}

static void do_add(run *r) {
  char *line = NULL;
  size_t bytes = 0;
  if (r->count == 1 && strcmp(r->arg[0], "-") == 0) {
    for (ssize_t length; (length = getline(&line, &bytes, stdin)) > 0;) {
      line[strcspn(line, "\n")] = 0;
      if (*line != 0) {
        added(r, line);
      }
    }
  } else {
    for (int i = 0; i < r->count; i++) {
      bytes += strlen(r->arg[i]) + 1;
    }
    char *end = line = malloc(bytes);
    for (int i = 0; i < r->count && line != NULL; i++) {
      end += sprintf(end, "%s%s", i > 0 ? " " : "", r->arg[i]);
    }
    added(r, line != NULL ? line : "");
  }
  free(line);
}

static void do_list(run *r) {
  char *end = "";
  long most = r->count > 0 ? strtol(r->arg[0], &end, 10) : SHOWN;
  if (*end != 0 || most < 1) {
    fail(2, "list: %s is no number of notes", r->arg[0]);
  }
  for (long i = r->book->notes.count; i-- > 0 && most > 0;) {
    if (r->book->notes.item[i] != NULL) {
      note_print(r->book->notes.item[i], false);
      most--;
    }
  }
}

static void do_find(run *r) {
  char text[WORD];
  list wanted = {0};
  word *rarest = NULL;
  for (int i = 0; i < r->count; i++) {
    for (const char *at = r->arg[i]; word_next(&at, text);) {
      word *w = word_find(r, text);
      if (w == NULL) {
        return;
      }
      list_put(r, &wanted, wanted.count, w);
      rarest = rarest == NULL || w->notes.count < rarest->notes.count ? w : rarest;
    }
  }
  if (rarest == NULL) {
    fail(2, "find: a word has letters or digits");
  }
  for (long i = rarest->notes.count; i-- > 0;) {
    note *n = rarest->notes.item[i];
    bool all = true;
    for (long k = 0; k < wanted.count && all; k++) {
      all = word_has(wanted.item[k], n);
    }
    if (all) {
      note_print(n, false);
    }
  }
}

// A tag is a word at the end of the text that begins with '#'.
static void do_tag(run *r) {
  char given[WORD], tag[WORD];
  note *n = note_get(r, r->arg[0]);
  snprintf(given, sizeof given, "#%s", r->arg[1] + (r->arg[1][0] == '#'));
  const char *at = given;
  if (!word_next(&at, tag) || *at != 0 || tag[1] == 0) {
    fail(2, "tag: %s is no single word", r->arg[1]);
  }
  word *w = word_get(r, tag);
  if (!word_has(w, n)) {
    char *text = veil_new_bytes(r->self, strlen(n->text) + strlen(given) + 2);
    sprintf(text, "%s %s", n->text, given);
    n->text = text;
    word_add(r, w, n);
    commit(r);
  }
}

static void do_show(run *r) { note_print(note_get(r, r->arg[0]), true); }

static void do_delete(run *r) {
  char found[WORD];
  note *n = note_get(r, r->arg[0]);
  for (const char *at = n->text; word_next(&at, found);) {
    word_remove(r, word_find(r, found), n);
  }
  r->book->notes.item[n->number - 1] = NULL;
  commit(r);
}

// A line for each note: number, time, text, with tabs between them.
static void do_export(run *r) {
  for (long i = 0; i < r->book->notes.count; i++) {
    const note *n = r->book->notes.item[i];
    if (n == NULL) {
      continue;
    }
    char when[32];
    time_t time = n->time;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&time));
    printf("%ld\t%s\t", n->number, when);
    for (const char *c = n->text; *c != 0; c++) {
      const char *special = *c == '\n' ? "\\n" : *c == '\t' ? "\\t" : *c == '\\' ? "\\\\" : NULL;
      special != NULL ? printf("%s", special) : putchar(*c);
    }
    putchar('\n');
  }
}

static const struct command {
  const char *name, *arguments, *help;
  int least, most;
  veil_store_mode mode;
  void (*run)(run *r);
} commands[] = {
    {"add", "TEXT...", "a new note; -: one for each line of the input", 1, 1 << 20, VEIL_STORE_ANY, do_add},
    {"list", "[N]", "the newest N (10)", 0, 1, VEIL_STORE_READ_ONLY, do_list},
    {"find", "WORD...", "notes that have all of the words, the newest first", 1, 1 << 20, VEIL_STORE_READ_ONLY, do_find},
    {"tag", "NOTE TAG", "#TAG is a word of the note from now on", 2, 2, VEIL_STORE_EXISTING, do_tag},
    {"show", "NOTE", "all of its text", 1, 1, VEIL_STORE_READ_ONLY, do_show},
    {"delete", "NOTE", "its number is not used again", 1, 1, VEIL_STORE_EXISTING, do_delete},
    {"export", "", "number, time and text of all notes, with tabs between them", 0, 0, VEIL_STORE_READ_ONLY, do_export},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void help(FILE *out) {
  fputs("notebook [--file FILE] COMMAND ...\n\n", out);
  for (int i = 0; i < COMMANDS; i++) {
    fprintf(out, "  %-7s %-9s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
  }
  fputs("  help\n\nWithout --file it is what $NOTEBOOK names, or ~/.notebook.\n", out);
}

static void execute(run *r, const struct command *command) {
  // The log is written in full when the store is made. A few notes want little of it.
  veil_store_options options = {.types = types, .type_count = sizeof types / sizeof types[0], .mode = command->mode, .log = 1 << 20};
  r->store = veil_store_open(r->path, NULL, &options);
  r->self = r->store != NULL ? veil_attach(veil_store_heap(r->store)) : NULL;
  if (r->self == NULL) {
    fail(1, "%s", veil_error());
  }
  r->book = veil_root_get(r->self, "notebook");
  if (r->book == NULL) {
    r->book = veil_new(r->self, book);
    r->book->bucket = (word **)veil_new_pointers(r->self, FIRST);
    veil_root_set(r->self, "notebook", r->book);
  }
  command->run(r);
  r->book = NULL;
  veil_detach(r->self);
  if (veil_store_close(r->store) != VEIL_OK) {
    fail(1, "%s", veil_error());
  }
}

int main(int argc, char **argv) {
  run r = {.path = getenv("NOTEBOOK")};
  char *home = getenv("HOME"), path[4096];
  int at = 1;
  if (r.path == NULL && home != NULL && snprintf(path, sizeof path, "%s/.notebook", home) < (int)sizeof path) {
    r.path = path;
  }
  if (at < argc && strcmp(argv[at], "--file") == 0) {
    r.path = argv[at + 1];
    at += 2;
  }
  if (at > argc) {
    fail(2, "--file takes FILE");
  }
  if (at == argc || strcmp(argv[at], "help") == 0 || strcmp(argv[at], "--help") == 0) {
    help(at == argc ? stderr : stdout);
    return at == argc ? 2 : 0;
  }
  const struct command *command = commands;
  while (command < commands + COMMANDS && strcmp(command->name, argv[at]) != 0) {
    command++;
  }
  if (command == commands + COMMANDS) {
    fail(2, "there is no command %s; notebook help tells what there is", argv[at]);
  }
  r.arg = argv + at + 1;
  r.count = argc - at - 1;
  if (r.count < command->least || r.count > command->most) {
    fail(2, "%s takes %s", command->name, *command->arguments != 0 ? command->arguments : "nothing");
  }
  if (r.path == NULL) {
    fail(2, "where? There is no --file, no $NOTEBOOK and no $HOME");
  }
  execute(&r, command);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fail(1, "standard output: %s", strerror(errno));
  }
}
