// SPDX-License-Identifier: MIT
// dump_trouble.c: heap dumps while other threads run, in cycles, with services and children; and dumps that cannot be
// written.

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "runtime/tools/heap.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"
#include "veil/hooks.h"

static char path[128];

static void path_make(void) { snprintf(path, sizeof path, "/tmp/veil-dump-trouble-%d", (int)getpid()); }

static heap_dump *load(void) {
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  heap_reach(d);
  return d;
}

static void drop(heap_dump *d) {
  heap_free(d);
  free(d);
}

// ---- One instant.

// Published in one store: a list, and as many bytes as it is long.
typedef struct box {
  node *list;
  void *bytes;
} box;
VEIL_TYPE(box, list, bytes);

enum { WRITERS = 3 };
static box *published[WRITERS];
static volatile bool over;

static void *publishes(void *arg) {
  veil_thread *me = veil_attach(heap);
  size_t which = (size_t)arg;
  uint64_t random = which + 1;
  while (!over) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    long length = (long)(random >> 33) % 500 + 1;
    box *b = veil_new(me, box);
    b->list = list_make(me, length);
    b->bytes = veil_new_bytes(me, (size_t)length);
    published[which] = b;
  }
  veil_detach(me);
  return NULL;
}

static void box_check(const heap_dump *d, uint32_t b) {
  cr_assert_eq(d->first[b + 1] - d->first[b], 2);
  uint32_t n = d->target[d->first[b]], bytes = d->target[d->first[b] + 1];
  uint64_t length = 1;
  for (; d->first[n + 1] != d->first[n]; n = d->target[d->first[n]]) {
    length++;
  }
  cr_assert_eq(heap_length(d, bytes), length);
}

static void instants_check(const char *back_end, veil_options options) {
  options.back_end = back_end;
  options.limit = 96 * MIB;
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  path_make();
  memset(published, 0, sizeof published);
  cr_assert_eq(veil_add_roots(heap, published, WRITERS), VEIL_OK);
  over = false;
  pthread_t thread[WRITERS];
  for (size_t i = 0; i < WRITERS; i++) {
    thread[i] = thread_start(publishes, (void *)i);
  }
  for (size_t i = 0; i < WRITERS; i++) { // the processors may be busy with other things
    while (((box *volatile *)published)[i] == NULL) {
      sleep_ms(1);
    }
  }
  int boxes = 0;
  for (int round = 0; round < 12; round++) {
    cr_assert_eq(veil_heap_dump(self, path, round % 2 ? VEIL_DUMP_AS_IS : 0), VEIL_OK, "%s", veil_error());
    heap_dump *d = load();
    cr_assert_eq(d->dangling, 0);
    for (uint32_t i = 0; i < d->root_count; i++) {
      if (d->holders[d->roots[i].holder].kind == DUMP_BY_SLOTS) {
        box_check(d, d->roots[i].object);
        boxes++;
      }
    }
    drop(d);
  }
  cr_assert_eq(boxes, 12 * WRITERS);
  over = true;
  veil_block_begin(self);
  for (size_t i = 0; i < WRITERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  unlink(path);
  veil_remove_roots(heap, published);
  end();
}

ON_ALL_BACK_ENDS(dump_trouble, is_of_one_instant_while_others_write) {
  instants_check(back_end, (veil_options){.verify = 1});
}
ON_ALL_BACK_ENDS(dump_trouble, is_of_one_instant_with_generations) {
  instants_check(back_end, (veil_options){.generations = VEIL_GENERATIONS_ON, .nursery = 256 << 10, .scanners = 2});
}

ON_TRAPPING_BACK_ENDS(dump_trouble, a_cycle_under_way_is_waited_for) {
  START_OR_SKIP(.back_end = back_end, .limit = 96 * MIB, .verify = 2);
  path_make();
  static node *root;
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root = list_make(self, 100000);
  for (int i = 0; i < 10; i++) {
    veil_collect_start(self);
    cr_assert_eq(veil_heap_dump(self, path, VEIL_DUMP_AS_IS), VEIL_OK, "%s", veil_error());
    heap_dump *d = load();
    cr_assert_geq(d->reached, 100000);
    cr_assert_eq(d->dangling, 0);
    drop(d);
  }
  list_check(root);
  unlink(path);
  end();
}

static void *dumps(void *arg) {
  veil_thread *me = veil_attach(heap);
  char mine[160];
  snprintf(mine, sizeof mine, "%s-%zu", path, (size_t)arg);
  for (int i = 0; i < 5; i++) {
    EXPECT(veil_heap_dump(me, mine, 0) == VEIL_OK);
  }
  unlink(mine);
  veil_detach(me);
  return NULL;
}

Test(dump_trouble, several_threads_dump_at_once) {
  start((veil_options){.verify = 1});
  path_make();
  node *list = list_make(self, 5000);
  pthread_t thread[3];
  for (size_t i = 0; i < 3; i++) {
    thread[i] = thread_start(dumps, (void *)i);
  }
  veil_block_begin(self);
  for (size_t i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  list_check(list);
  end();
}

static veil_heap *second;
static void *dumps_second(void *arg) {
  for (int i = 0; i < 10; i++) {
    veil_thread *a = veil_attach(heap), *b = veil_attach(second);
    char mine[160];
    snprintf(mine, sizeof mine, "%s-%zu", path, (size_t)arg);
    for (int k = 0; k < 5; k++) {
      EXPECT(veil_heap_dump((size_t)arg ? a : b, mine, 0) == VEIL_OK);
    }
    unlink(mine);
    veil_detach(a);
    veil_detach(b);
  }
  return NULL;
}

Test(dump_trouble, threads_of_two_heaps_dump_one_each, .timeout = 120) {
  start((veil_options){.verify = 1});
  second = heap_open((veil_options){0});
  path_make();
  pthread_t one = thread_start(dumps_second, (void *)0), other = thread_start(dumps_second, (void *)1);
  veil_block_begin(self);
  pthread_join(one, NULL);
  pthread_join(other, NULL);
  veil_block_end(self);
  veil_close(second);
  end();
}

// ---- To a pipe whose reader is a mutator, which is stopped as well.

static int ends[2];
static uint64_t volatile piped;
static void *reads_pipe(void *unused) {
  veil_thread *me = veil_attach(heap);
  FILE *to = fopen(path, "w");
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) {
    fwrite(part, 1, (size_t)n, to);
    piped += (uint64_t)n;
    list_make(me, 10);
  }
  fclose(to);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(dump_trouble, a_pipe_is_read_by_a_thread_of_the_same_heap) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB);
  path_make();
  static node *root;
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root = list_make(self, 100000);
  cr_assert_eq(pipe(ends), 0);
  pthread_t reader = thread_start(reads_pipe, NULL);
  cr_assert_eq(veil_heap_dump_fd(self, ends[1], 0), VEIL_OK, "%s", veil_error());
  close(ends[1]);
  veil_block_begin(self);
  pthread_join(reader, NULL);
  veil_block_end(self);
  close(ends[0]);
  heap_dump *d = load();
  cr_assert_geq(d->reached, 100000);
  cr_assert_gt(piped, 100000);
  drop(d);
  unlink(path);
  end();
}

// ---- What cannot be written.

// Files in /tmp that begin as this test's: what is left over.
static int left_over(void) {
  int n = 0;
  DIR *dir = opendir("/tmp");
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    n += strncmp(e->d_name, path + 5, strlen(path + 5)) == 0;
  }
  closedir(dir);
  return n;
}

static void fails(const char *to, veil_status status, const char *text) {
  cr_assert_eq(veil_heap_dump(self, to, 0), status);
  cr_assert_not_null(strstr(veil_error(), text), "%s", veil_error());
  list_check(list_make(self, 1000)); // all goes on
  veil_collect(self);
}

ON_ALL_BACK_ENDS(dump_trouble, what_cannot_be_written_is_said_and_leaves_nothing) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  path_make();
  node *list = list_make(self, 50000);
  fails("/nowhere/at/all", VEIL_IO, "No such file or directory");
  fails("/proc/version", VEIL_IO, "/proc/version");
  fails("/tmp", VEIL_IO, "Is a directory");
  fails("", VEIL_INVALID, "no path");
  fails(NULL, VEIL_INVALID, "no path");
  fails("/dev/full", VEIL_IO, "No space left on device");
  cr_assert_eq(veil_heap_dump(self, path, 4), VEIL_INVALID);
  cr_assert_eq(veil_heap_dump_fd(self, -1, 0), VEIL_IO);
  cr_assert_not_null(strstr(veil_error(), "Bad file descriptor"), "%s", veil_error());
  // A pipe that nobody reads: an error, and no signal.
  cr_assert_eq(pipe(ends), 0);
  close(ends[0]);
  cr_assert_eq(veil_heap_dump_fd(self, ends[1], 0), VEIL_IO);
  cr_assert_not_null(strstr(veil_error(), "Broken pipe"), "%s", veil_error());
  close(ends[1]);
  // A limit to the size of files, which this heap's dump exceeds; what was there before stays.
  cr_assert_eq(veil_heap_dump(self, path, 0), VEIL_OK);
  struct stat before, after;
  cr_assert_eq(stat(path, &before), 0);
  struct rlimit old, most = {20000, RLIM_INFINITY};
  getrlimit(RLIMIT_FSIZE, &old);
  most.rlim_max = old.rlim_max;
  setrlimit(RLIMIT_FSIZE, &most);
  fails(path, VEIL_IO, "File too large");
  setrlimit(RLIMIT_FSIZE, &old);
  cr_assert_eq(stat(path, &after), 0);
  cr_assert(before.st_ino == after.st_ino && before.st_size == after.st_size);
  drop(load());
  cr_assert_eq(left_over(), 1);
  unlink(path);
  list_check(list);
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  cr_assert(!sigismember(&mask, SIGPIPE) && !sigismember(&mask, SIGXFSZ));
  end();
}

Test(dump_trouble, a_new_dump_takes_the_place_of_an_old_one_and_is_its_owners) {
  start((veil_options){0});
  path_make();
  cr_assert_eq(veil_heap_dump(self, path, 0), VEIL_OK);
  struct stat one, two;
  stat(path, &one);
  cr_assert_eq(one.st_mode & 0777, 0600);
  int kept = open(path, O_RDONLY); // so that the number is not used again
  list_make(self, 1000);
  cr_assert_eq(veil_heap_dump(self, path, VEIL_DUMP_AS_IS), VEIL_OK);
  stat(path, &two);
  cr_assert_neq(one.st_ino, two.st_ino);
  close(kept);
  unlink(path);
  end();
}

DIES(dump_trouble, a_thread_between_brackets_dumps_nothing, "veil_heap_dump: between veil_block_begin") {
  start((veil_options){0});
  veil_block_begin(self);
  veil_heap_dump(self, "/tmp/never", 0);
}

// ---- Services.

static veil_pages pages;
static char *away;
static size_t away_page;
static int fetched, saved;
static void on_absent(void *arg, size_t page) {
  EXPECT(page == away_page);
  memcpy(pages.base + pages.delta + page * pages.page_size, away, pages.page_size);
  fetched++;
}
static void on_unsaved(void *arg, size_t page) { saved++; }

ON_ALL_BACK_ENDS(dump_trouble, what_a_service_has_away_is_fetched_and_what_it_is_to_save_is_not_written) {
  START_OR_SKIP(.back_end = back_end);
  path_make();
  pages = veil_heap_pages(heap);
  static node *root;
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root = list_make(self, 20000);
  veil_collect(self);
  static const veil_service_callbacks callbacks = {.absent = on_absent, .unsaved = on_unsaved};
  veil_service *service = veil_service_open(heap, "test", &callbacks, NULL);
  cr_assert_not_null(service);
  fetched = saved = 0;
  const node *n = root;
  for (int i = 0; i < 10000; i++) {
    n = n->right;
  }
  away_page = (size_t)((const char *)n - pages.base) / pages.page_size;
  const node *m = n;
  while ((size_t)((const char *)m - pages.base) / pages.page_size == away_page) {
    m = m->right;
  }
  size_t unsaved = (size_t)((const char *)m - pages.base) / pages.page_size;
  // With `none` a claim is settled when it is laid.
  if (veil_service_claim(service, away_page, VEIL_ABSENT) == VEIL_OK) {
    away = malloc(pages.page_size);
    if (fetched == 0) {
      memcpy(away, pages.base + pages.delta + away_page * pages.page_size, pages.page_size);
      memset(pages.base + pages.delta + away_page * pages.page_size, 0xa5, pages.page_size);
    }
    cr_assert_eq(veil_service_claim(service, unsaved, VEIL_UNSAVED), VEIL_OK);
    int before = saved;
    cr_assert_eq(veil_heap_dump(self, path, VEIL_DUMP_AS_IS), VEIL_OK, "%s", veil_error());
    cr_assert_eq(fetched, 1);
    cr_assert_eq(saved, before);
    heap_dump *d = load();
    cr_assert_geq(d->reached, 20000);
    cr_assert_eq(d->dangling, 0);
    drop(d);
  }
  list_check(root);
  veil_service_close(service);
  unlink(path);
  end();
}

#ifndef __SANITIZE_ADDRESS__ // its allocator's locks do not outlive a fork
ON_ALL_BACK_ENDS(dump_trouble, a_child_of_fork_dumps_its_own_heap) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB);
  path_make();
  static node *root;
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root = list_make(self, 1000);
  pid_t child = fork();
  if (child == 0) {
    root = list_make(self, 3000);
    _exit(veil_heap_dump(self, path, 0) == VEIL_OK ? 0 : 1);
  }
  int status;
  waitpid(child, &status, 0);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  heap_dump *d = load();
  cr_assert_eq(d->info.pid, (uint64_t)child);
  cr_assert_geq(d->reached, 3000);
  drop(d);
  unlink(path);
  end();
}
#endif
