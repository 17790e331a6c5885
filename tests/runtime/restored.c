// SPDX-License-Identifier: MIT
// restored.c: heaps in processes that did not make them. A plain program, which runs itself: restored BACK_END
//
// Fresh processes have the view where it was, if that is free, and types under the numbers that they had; or the view is elsewhere; or numbers are taken already, so that headers are rewritten.

#include <sys/wait.h>
#include "tests/runtime/image_memory.h"
#include "tests/runtime/things.h"

static veil_options options_of(const char *back_end) { return (veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .verify = 2}; }

static __attribute__((noinline)) void names_make(veil_thread *t) {
  things_make(t);
  thing_name(t, "garbage", 0, list_make(t, 1000));
  veil_root_set(t, "garbage 0", NULL);
}

static int save(const char *back_end, const char *path) {
  veil_options options = options_of(back_end);
  veil_heap *heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 77;
  }
  veil_thread *t = veil_attach(heap);
  names_make(t);
  stack_clear();
  veil_collect(t);
  image *i = image_take(heap);
  image_write(i, path);
  veil_detach(t);
  veil_close(heap);
  image_free(i);
  return 0;
}

// Others have the numbers that the image's types had.
static void numbers_take(const char *back_end) {
  enum { MANY = 200 };
  static veil_type types[MANY];
  static char names[MANY][20];
  static const size_t slot[1] = {0};
  veil_options options = options_of(back_end);
  veil_heap *heap = veil_open(&options);
  EXPECT(heap != NULL);
  veil_thread *t = veil_attach(heap);
  for (int i = 0; i < MANY; i++) {
    snprintf(names[i], sizeof names[i], "other %d", i);
    types[i] = (veil_type){.name = names[i], .size = 16 + 16 * (size_t)(i % 5), .pointers = slot, .pointer_count = 1};
    EXPECT(veil_alloc(t, &types[i], types[i].size) != NULL);
  }
  veil_detach(t);
  veil_close(heap);
}

static void *fetches(void *arg) {
  veil_source_fetch(arg);
  return NULL;
}

static void *looks_too(void *arg) {
  veil_thread *t = veil_attach(arg);
  if ((uintptr_t)t / 4096 % 2 == 0) {
    veil_source_fetch(arg);
  }
  things_check(t, false);
  thing_name(t, "new", (size_t)(uintptr_t)t, list_make(t, 10000));
  things_check(t, false);
  veil_detach(t);
  return NULL;
}

static void look(veil_heap *heap, bool collected) {
  pthread_t others[] = {thread_start(looks_too, heap), thread_start(looks_too, heap), thread_start(fetches, heap)};
  veil_thread *t = veil_attach(heap);
  things_check(t, collected);
  veil_collect(t);
  veil_block_begin(t);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    pthread_join(others[i], NULL);
  }
  veil_block_end(t);
  veil_verify(t);
  for (int round = 0; round < 2; round++) {
    stack_clear();
    veil_collect(t);
    things_check(t, true);
    list_make(t, 1000);
  }
  veil_detach(t);
}

// `how`: h: where it was, e: elsewhere, n: numbers are others.
static int load(const char *back_end, const char *path, const char *how) {
  image *i = image_load(path), *next;
  if (strchr(how, 'n') != NULL) {
    numbers_take(back_end);
  }
  void *filled = MAP_FAILED;
  if (strchr(how, 'e') != NULL) {
    filled = mmap((void *)i->base, i->page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  }
  veil_options options = options_of(back_end);
  veil_heap *heap = image_open(i, options, things_types, THINGS_TYPES);
  bool moved = (uint64_t)veil_heap_pages(heap).base != i->base;
  EXPECT(moved || strchr(how, 'e') == NULL);
  look(heap, false);
  next = image_take(heap);
  veil_close(heap);
  EXPECT(i->dones == 1);
  heap = image_open(next, options, things_types, THINGS_TYPES);
  look(heap, true);
  veil_close(heap);
  fprintf(stderr, "%s %s: %s, %u reads\n", back_end, how, moved ? "elsewhere" : "where it was", i->reads);
  image_free(i);
  image_free(next);
  if (filled != MAP_FAILED) {
    munmap(filled, 4096);
  }
  return 0;
}

static int run(const char *program, const char *back_end, const char *path, const char *how) {
  pid_t child = fork();
  if (child == 0) {
    execl(program, program, back_end, path, how, (char *)NULL);
    _exit(127);
  }
  int status;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) {
    return WEXITSTATUS(status);
  }
  fprintf(stderr, "%s %s ended by signal %d\n", back_end, how, WTERMSIG(status));
  return 1;
}

int main(int argc, char **argv) {
  if (argc == 4) {
    return strcmp(argv[3], "save") == 0 ? save(argv[1], argv[2]) : load(argv[1], argv[2], argv[3]);
  }
  EXPECT(argc == 2);
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-restored-%d", (int)getpid());
  int result = run("/proc/self/exe", argv[1], path, "save");
#ifdef __SANITIZE_THREAD__
  static const char *const hows[] = {"h", "en"}; // each takes twenty times as long
#else
  static const char *const hows[] = {"h", "e", "hn", "en"};
#endif
  for (size_t i = 0; i < sizeof hows / sizeof *hows && result == 0; i++) {
    result = run("/proc/self/exe", argv[1], path, hows[i]);
  }
  unlink(path);
  return result;
}
