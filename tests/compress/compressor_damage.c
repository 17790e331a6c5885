// SPDX-License-Identifier: MIT
// compressor_damage.c: what is compressed is damaged, bit by bit; the system has no memory when it is wanted back, call by call. Wrong data is never seen.
//
//   compressor_damage BACK_END [FLIPS [SEED]]
//
// One bit of an item (what the collector has put down of a page, the blob, the length at its end) is flipped in a child, which then touches everything, or collects first. It has to end by an abort that says what is
// damaged, or to find everything as it was. And in builds that can inject failures: the n-th call to the system that can fail fails while everything is touched, for each n. It has to be there all the same.
//
// Exits with 0, 1 (something was wrong), 77 (the back end does not work here).

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/compress/compressor.h"
#include "veil/veil.h"
#include "vm/os.h"

enum { NODES = 20000, TEXTS = 200, TEXT_BYTES = 3000 };

typedef struct node {
  struct node *left;
  uint64_t key, square;
} node;
VEIL_TYPE(node, left);
typedef struct slot {
  node *to;
} slot;
VEIL_TYPE(slot, to);

#define EXPECT(CONDITION) ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #CONDITION), exit(1)))

static veil_heap *heap;
static veil_thread *self;
static slot *all;
static char *text[TEXTS];
static veil_compressor *c;

static char letter(int i, int k) { return "the quick brown fox jumps over the lazy dog "[(k * (i % 5 + 1) + i) % 44]; }

static void objects_make(void) {
  all = veil_new_array(self, slot, NODES);
  EXPECT(veil_add_roots(heap, &all, 1) == VEIL_OK && veil_add_roots(heap, text, TEXTS) == VEIL_OK);
  for (int i = 0; i < NODES; i++) {
    node *n = veil_new(self, node);
    n->key = (uint64_t)i;
    n->square = (uint64_t)i * (uint64_t)i * 77;
    n->left = i == 0 ? NULL : all[i * 7 % i].to;
    all[i].to = n;
  }
  for (int i = 0; i < TEXTS; i++) {
    text[i] = veil_new_bytes(self, TEXT_BYTES);
    for (int k = 0; k < TEXT_BYTES; k++) {
      text[i][k] = letter(i, k);
    }
  }
}

static bool objects_right(void) {
  bool right = true;
  for (int i = 0; i < NODES; i++) {
    const node *n = all[i].to;
    right &= n->key == (uint64_t)i && n->square == (uint64_t)i * (uint64_t)i * 77 && n->left == (i == 0 ? NULL : all[i * 7 % i].to);
  }
  for (int i = 0; i < TEXTS; i++) {
    for (int k = 0; k < TEXT_BYTES; k++) {
      right &= text[i][k] == letter(i, k);
    }
  }
  return right;
}

static uint64_t random_next(uint64_t *s) { // splitmix64, by Sebastiano Vigna
  uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

// Pages that are away, all of which are settled: nobody is at them.
static size_t away_list(size_t **list) {
  size_t count = 0;
  *list = malloc(c->high * sizeof **list);
  for (size_t page = 0; page < c->high; page++) {
    if (cx_state_of(at_load(&c->state[page])) == CX_AWAY) {
      (*list)[count++] = page;
    }
  }
  return count;
}

// ---- A child that may die.

typedef enum ending { RIGHT, FOUND, WRONG } ending;

static void child_settle(int err) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  dup2(err, 2);
}

static ending child_ended(pid_t child, int err) {
  char said[4096] = "";
  size_t length = 0;
  for (ssize_t n; length < sizeof said - 1 && (n = read(err, said + length, sizeof said - 1 - length)) > 0; length += (size_t)n) {
  }
  said[length] = 0;
  close(err);
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    return RIGHT;
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, "is damaged") != NULL) {
    return FOUND;
  }
  fprintf(stderr, "status %x: %s\n", (unsigned)status, said);
  return WRONG;
}

static ending flipped(size_t page, uint64_t dice) {
  int err[2];
  EXPECT(pipe(err) == 0);
  cx_handle handle = cx_low_of(at_load(&c->state[page]));
  size_t bit = dice % (cx_handle_length(handle) * 8);
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    child_settle(err[1]);
    ((char *)cx_shelf_at(c->shelf, handle))[bit / 8] ^= (char)(1 << bit % 8);
    if (dice >> 60 & 1) {
      veil_collect(self);
    }
    _exit(!objects_right());
  }
  close(err[1]);
  ending how = child_ended(child, err[0]);
  if (how == WRONG) {
    fprintf(stderr, "page %zu, bit %zu of %zu\n", page, bit, cx_handle_length(handle) * 8);
  }
  return how;
}

static void flips(unsigned count, uint64_t seed) {
  size_t *list, away = away_list(&list);
  unsigned ends[3] = {0};
  EXPECT(away > 100);
  for (unsigned i = 0; i < count; i++) {
    size_t page = list[random_next(&seed) % away];
    ends[flipped(page, random_next(&seed))]++;
  }
  free(list);
  printf("%zu pages away; %u flips: %u found, %u without consequence, %u wrong\n", away, count, ends[FOUND], ends[RIGHT], ends[WRONG]);
  EXPECT(ends[WRONG] == 0 && ends[FOUND] >= count * 9 / 10);
}

// ---- No memory.

#ifdef VEIL_FULL_CHECKS
// False: the n-th call was not reached.
static bool failing(unsigned n) {
  int err[2];
  EXPECT(pipe(err) == 0);
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    child_settle(err[1]);
    unsigned before = os_calls();
    os_fail_at(n);
    bool right = objects_right();
    bool reached = os_calls() - before >= n;
    os_fail_at(0);
    _exit(!right || !objects_right() ? 1 : reached ? 0 : 2);
  }
  close(err[1]);
  char said[1024];
  ssize_t length = read(err[0], said, sizeof said - 1);
  close(err[0]);
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 1) {
    fprintf(stderr, "call %u: status %x: %.*s\n", n, (unsigned)status, (int)(length > 0 ? length : 0), said);
    exit(1);
  }
  return WEXITSTATUS(status) == 0;
}

static void failures(unsigned most) {
  unsigned n = 1, step = 1;
  for (; n <= most && failing(n); n += step) {
    step = 1 + n / 16;
  }
  printf("calls that fail: up to the %uth\n", n - 1);
  EXPECT(n > 20);
}
#else
static void failures(unsigned most) { (void)most; }
#endif

int main(int argc, char **argv) {
  unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
  uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)getpid() * 1000003u;
  printf("seed %llu\n", (unsigned long long)seed);
  fflush(stdout);
  veil_options options = {.back_end = argc > 1 ? argv[1] : NULL, .limit = 48 << 20, .fork = VEIL_FORK_COPY, .idle = 86400000};
  heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 77;
  }
  self = veil_attach(heap);
  objects_make();
  veil_collect(self);
  veil_collect(self);
  c = veil_compressor_open(heap, &(veil_compressor_options){.interval_ms = 100000, .least_ms = 100000});
  EXPECT(c != NULL);
  EXPECT(veil_compress_now(c, 0) > 100);
  fflush(NULL);
  flips(count, seed);
  fflush(NULL);
  failures(100000);
  EXPECT(objects_right());
  veil_compressor_close(c);
  EXPECT(objects_right());
  veil_remove_roots(heap, &all);
  veil_remove_roots(heap, text);
  veil_detach(self);
  veil_close(heap);
  return 0;
}
