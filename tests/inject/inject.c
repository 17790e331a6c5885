// SPDX-License-Identifier: MIT
// inject.c: a program opens a heap, allocates, collects and closes it, or opens one out of another's image; the n-th system call of vm fails, for n = 1, 2, 3 …
// until a run passes in which none was left to fail. Then the same for the n-th call of malloc and its like.
//
//   inject BACK_END [FIRST [LAST]]
//
// Each n has its own child. It must end well, with right contents, or with an error that says something, or
// abort with a message of veil's; never by another signal, and never hang.

#include <errno.h>
#include "tests/runtime/image_memory.h"
#include "veil/roots.h"

#include "veil/dump.h"
#include "vm/os.h"

// ---- The C library's calls.

static unsigned volatile library_fail_in;
static bool library_fails(void) {
  for (;;) {
    unsigned left = __atomic_load_n(&library_fail_in, __ATOMIC_SEQ_CST);
    if (left == 0) {
      return false;
    }
    if (__atomic_compare_exchange_n(&library_fail_in, &left, left - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      return left == 1;
    }
  }
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

void *__wrap_malloc(size_t bytes) { return library_fails() ? NULL : __real_malloc(bytes); }
void *__wrap_calloc(size_t count, size_t bytes) { return library_fails() ? NULL : __real_calloc(count, bytes); }
void *__wrap_realloc(void *old, size_t bytes) { return library_fails() ? NULL : __real_realloc(old, bytes); }
char *__wrap_strdup(const char *text) { return library_fails() ? NULL : __real_strdup(text); }
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg) {
  return library_fails() ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

// ---- The program.

enum { CLEAN_ERROR = 3, NOTHING_FAILED = 4, UNSUPPORTED = 5, OUT_OF_MEMORY = 6 };

static const char *back_end;
static bool in_library; // where the failure is injected
static veil_heap *heap;

static unsigned calls_before, fail_at;

// Whether the failure has happened.
static bool injected(void) { return in_library ? library_fail_in == 0 : os_calls() - calls_before >= fail_at; }

_Noreturn static void end_with(int code) {
  fflush(NULL);
  _exit(code);
}

_Noreturn static void error_end(const char *what) {
  printf("%s: %s\n", what, veil_error());
  // An error that nothing caused, or that says nothing, is none.
  end_with(injected() && strlen(veil_error()) > 10 ? CLEAN_ERROR : 1);
}

static void *works_too(void *unused) {
  veil_thread *self = veil_attach(heap);
  if (self == NULL) {
    return (void *)1;
  }
  for (int i = 0; i < 10; i++) {
    EXPECT(list_check(list_make(self, 500)) == 500);
  }
  veil_detach(self);
  return NULL;
}

static void failure_set(unsigned n) {
  if (in_library) {
    library_fail_in = n;
  } else {
    calls_before = os_calls();
    fail_at = n;
    os_fail_at(n);
  }
}

// A heap out of an image: as a whole, or not at all.
static void restores(void *arg) {
  static veil_type *const types[] = {&veil_type_node};
  veil_options options = {.back_end = back_end, .limit = 12 * MIB, .headroom = MIB, .scanners = 2, .verify = 1};
  heap = veil_open(&options);
  if (heap == NULL) {
    end_with(UNSUPPORTED);
  }
  veil_thread *self = veil_attach(heap);
  EXPECT(veil_root_set(self, "list", list_make(self, 5000)) == VEIL_OK && veil_root_set(self, "large", veil_new_pointers(self, 20000)) == VEIL_OK);
  image *i = image_take(heap);
  veil_detach(self);
  veil_close(heap);
  failure_set((unsigned)(uintptr_t)arg);
  heap = image_open_from(i, image_source(i), &options, types, 1);
  if (heap == NULL) {
    EXPECT(i->dones == 1);
    error_end("veil_open_from");
  }
  self = veil_attach(heap);
  if (self == NULL) {
    error_end("veil_attach");
  }
  veil_description *description = veil_description_open(heap);
  EXPECT(description != NULL || injected());
  veil_description_close(description);
  EXPECT(list_check(veil_root_get(self, "list")) == 5000);
  veil_collect(self);
  EXPECT(list_check(veil_root_get(self, "list")) == 5000 && ((void **)veil_root_get(self, "large"))[19999] == NULL);
  if (veil_root_set(self, "more", list_make(self, 100)) != VEIL_OK) {
    error_end("veil_root_set");
  }
  veil_detach(self);
  veil_close(heap);
  EXPECT(i->dones == 1);
  end_with(injected() ? 0 : NOTHING_FAILED);
}

static void program(void *arg) {
  unsigned n = (unsigned)(uintptr_t)arg;
  failure_set(n);
  setenv("VEIL_OPTIONS", "growth=50,seed=3", 1); // read with strdup
  veil_options options = {.back_end = back_end, .limit = 12 * MIB, .headroom = MIB, .scanners = 2, .verify = 1};
  heap = veil_open(&options);
  if (heap == NULL) {
    if (!injected() && !back_end_is_everywhere(back_end)) {
      end_with(UNSUPPORTED);
    }
    error_end("veil_open");
  }
  veil_thread *self = veil_attach(heap);
  if (self == NULL) {
    error_end("veil_attach");
  }
  static node *root;
  if (veil_add_roots(heap, &root, 1) != VEIL_OK) {
    error_end("veil_add_roots");
  }
  node *list = list_make(self, 4000);
  root = list_make(self, 2000);
  void **large = veil_new_pointers(self, 20000);
  for (size_t i = 0; i < 20000; i += 100) {
    large[i] = list;
  }
  for (int cycle = 0; cycle < 3; cycle++) {
    veil_collect_start(self);
    EXPECT(list_check(list) == 4000);
    EXPECT(list_check(root) == 2000);
    for (size_t i = 0; i < 20000; i++) {
      EXPECT(large[i] == (i % 100 == 0 ? list : NULL));
    }
    memset(veil_new_bytes(self, 100000), 1, 100000);
    veil_collect(self);
  }
  pthread_t thread;
  if (__real_pthread_create(&thread, NULL, works_too, NULL) == 0) {
    void *refused;
    veil_block_begin(self);
    pthread_join(thread, &refused);
    veil_block_end(self);
    EXPECT(refused == NULL || injected());
  }
  veil_status touched = veil_touch(self, large, 80000, true);
  if (touched != VEIL_OK) {
    error_end("veil_touch");
  }
  veil_collect(self);
  veil_untouch(self, large);
  // Fewer threads than wanted will do for it; without memory there is an error and no file.
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-inject-%d", (int)getpid());
  veil_status dumped = veil_heap_dump(self, path, n % 2 ? VEIL_DUMP_AS_IS : 0);
  EXPECT((access(path, F_OK) == 0) == (dumped == VEIL_OK));
  unlink(path);
  if (dumped != VEIL_OK) {
    error_end("veil_heap_dump");
  }
  veil_verify(self);
  EXPECT(list_check(list) == 4000 && list_check(root) == 2000);
  veil_remove_roots(heap, &root);
  veil_detach(self);
  veil_close(heap);
  end_with(injected() ? 0 : NOTHING_FAILED);
}

// ---- The driver.

static int outcomes[8];

// False if the outcome is none of those that are allowed.
static bool judge(unsigned n, const death *d, bool *over) {
  if (d->signal == SIGABRT && strstr(d->said, "veil: ") != NULL && strstr(d->said, "out of memory") != NULL) {
    outcomes[OUT_OF_MEMORY]++;
    return true;
  }
  // Registering a type without memory for its description has nobody to report to either.
  if (d->signal == SIGABRT && strstr(d->said, "veil: ") != NULL && strstr(d->said, "no memory") != NULL) {
    outcomes[OUT_OF_MEMORY]++;
    return true;
  }
  if (d->signal == 0 && (d->code == 0 || d->code == CLEAN_ERROR || d->code == NOTHING_FAILED || d->code == UNSUPPORTED)) {
    outcomes[d->code]++;
    *over = d->code == NOTHING_FAILED || d->code == UNSUPPORTED;
    return true;
  }
  printf("%s: call %u of %s: signal %d%s, code %d:\n%s\n", back_end, n, in_library ? "the C library" : "the system",
         d->signal, d->signal == SIGALRM ? " (it hung)" : "", d->code, d->said);
  return false;
}

int main(int argc, char **argv) {
  back_end = argc > 1 ? argv[1] : "mprotect";
  unsigned first = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
  unsigned last = argc > 3 ? (unsigned)atoi(argv[3]) : 100000;
  int failures = 0;
  for (int library = 0; library < 4; library++) {
    in_library = library % 2;
    bool whole = library < 2;
    memset(outcomes, 0, sizeof outcomes);
    bool over = false;
    unsigned n = first;
    // All of the beginning; then a sample, since a cycle makes hundreds of calls of the same kinds.
    for (unsigned step = 1; !over && n <= last; n += step) {
      step = n < 150 ? 1 : n < 600 ? 7 : n < 5000 ? 61 : 501;
      death d = death_within(60, whole ? program : restores, (void *)(uintptr_t)n);
      failures += !judge(n, &d, &over);
    }
    if (outcomes[UNSUPPORTED] != 0) {
      puts("skipped: the back end does not work here");
      return 77;
    }
    printf("%s, %s%s: up to call %u: %d ended well, %d with an error, %d out of memory\n", back_end,
           in_library ? "C library" : "system", whole ? "" : ", out of an image", n, outcomes[0], outcomes[CLEAN_ERROR], outcomes[OUT_OF_MEMORY]);
    if (!over && last == 100000) {
      puts("no run passed without a failure");
      failures++;
    }
  }
  printf("%d bad outcomes\n", failures);
  return failures != 0;
}
