// SPDX-License-Identifier: MIT
// strings.c: texts of all sizes in a hash table: leaf objects that are made, joined, cut, written to files and read from them.
//
// The table maps keys (short texts too) to texts, --live MiB in all. A length is 2^p to 2^(p+1) bytes, with every p from 3 to 16
// equally likely, so from 8 bytes to 128 KiB; one text in 1024 has 1 to 4 MiB. Many texts are small, most of the memory is in large ones.
//
// Each round makes a text, of such a length, in one of four ways: filled afresh; joined from two texts of the table, and filled up;
// cut out of one; or *carried*: a part of one is written to a pipe (from 16 KiB on, to a file in memory) by write(2) straight from its
// object, and read by read(2) straight into a new one, then compared. One text in four replaces that of a random key, the others are
// garbage at once, or are freed. There are 16 rounds for each key, unless --steps says otherwise. Memory that the allocator has not zeroed
// is not zeroed: it is written anyway.
//
// Words of each text made, and of each text replaced, go into the checksum.
//
// A step is 4 KiB of text filled, copied, compared, written or read; a round counts 512 bytes besides. What goes through a file goes in pieces of
// 16 KiB, through the pipe of 4 KiB. An allocation lies within one step, however large it is.

#include "bench/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAST_POWER = 3, POWERS = 14, HUGE_EVERY = 1024, HUGE_LEAST = 1 << 20, HUGE_RANGE = 3 << 20 };
enum { STEP_BYTES = 4096, ROUND_BYTES = 512, FILE_PIECE = 16384, PIPE_PIECE = 4096 };
enum { STORE_EVERY = 4, ROUNDS_PER_KEY = 16, CHECK_WORDS = 16, KEY_BYTES = 24, PART_TRIES = 8 };

typedef struct text {
  char *bytes; // a leaf object
  size_t length;
} text;

typedef struct entry {
  struct entry *next; // in its bucket
  char *key;          // KEY_BYTES at most, ends with 0
  char *bytes;
  uint64_t length; // of bytes
} entry;
BENCH_TYPE(entry, next, key, bytes);

typedef struct bench {
  bench_mutator *m;
  entry **bucket;
  uint32_t keys, mask; // the number of buckets is mask + 1
  size_t done;         // bytes in this step so far
  bool measured;
  int pipe[2], file;
} bench;

static double mean_length(void) {
  double small = 1.5 * ((1 << (LEAST_POWER + POWERS)) - (1 << LEAST_POWER)) / POWERS;
  return small + (HUGE_LEAST + HUGE_RANGE / 2.0) / HUGE_EVERY;
}

static uint32_t key_count(const bench_options *o) {
  double keys = o->live_mib * (1 << 20) / (mean_length() + bench_cell(sizeof(entry)) + bench_cell(KEY_BYTES));
  return keys < 16 ? 16 : (uint32_t)keys;
}

static double strings_live_mib(const bench_options *o) {
  return key_count(o) * (mean_length() + bench_cell(sizeof(entry)) + bench_cell(KEY_BYTES)) / (1 << 20);
}

static inline void work_counted(bench *b, size_t bytes) {
  b->done += bytes;
  if (b->done >= STEP_BYTES) {
    b->done = 0;
    if (b->measured) {
      bench_step(b->m);
    }
  }
}

static uint32_t random_below(bench *b, uint32_t limit) { return bench_random_below(&b->m->random, limit); }

static size_t length_choose(bench *b) {
  if (random_below(b, HUGE_EVERY) == 0) {
    return HUGE_LEAST + random_below(b, HUGE_RANGE);
  }
  uint32_t least = 1u << (LEAST_POWER + random_below(b, POWERS));
  return least + random_below(b, least);
}

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }

// ---- Texts.

static text text_new(bench *b, size_t length) { return (text){bench_new_bytes_raw(b->m->self, length), length}; }

static void text_fill(bench *b, char *to, size_t bytes) {
  uint64_t word = bench_random(&b->m->random);
  while (bytes > 0) {
    size_t piece = least_of(bytes, STEP_BYTES), at = 0;
    for (; at + sizeof word <= piece; at += sizeof word) {
      memcpy(to + at, &word, sizeof word);
      word += 0x0101010101010101u;
    }
    memcpy(to + at, &word, piece - at);
    to += piece;
    bytes -= piece;
    work_counted(b, piece);
  }
}

static void text_copy(bench *b, char *to, const char *from, size_t bytes) {
  while (bytes > 0) {
    size_t piece = least_of(bytes, STEP_BYTES);
    memcpy(to, from, piece);
    to += piece;
    from += piece;
    bytes -= piece;
    work_counted(b, piece);
  }
}

static bool text_equal(bench *b, const char *x, const char *y, size_t bytes) {
  while (bytes > 0) {
    size_t piece = least_of(bytes, STEP_BYTES);
    if (memcmp(x, y, piece) != 0) {
      return false;
    }
    x += piece;
    y += piece;
    bytes -= piece;
    work_counted(b, piece);
  }
  return true;
}

// The length, and some words spread over the text.
static void text_check(bench *b, text t) {
  uint64_t check = bench_check_add(b->m->check, t.length);
  size_t words = t.length / sizeof(uint64_t), stride = words / CHECK_WORDS + 1;
  for (size_t i = 0; i < words; i += stride) {
    uint64_t word;
    memcpy(&word, t.bytes + i * sizeof word, sizeof word);
    check = bench_check_add(check, word);
  }
  b->m->check = check;
}

// ---- The table.

static uint64_t key_hash(const char *key) {
  uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
  for (; *key != 0; key++) {
    hash = (hash ^ (unsigned char)*key) * 0x100000001b3u;
  }
  return hash ^ hash >> 32;
}

// Writes the key that has this number, and returns its length with the 0. By hand, because snprintf would cost as much as the look-up.
static size_t key_write(char *key, uint32_t number) {
  static const char digit[] = "0123456789abcdef";
  size_t at = 0;
  memcpy(key, "text-", 5);
  for (at = 5; number != 0; number >>= 4) {
    key[at++] = digit[number & 15];
  }
  key[at++] = 0;
  return at;
}

static entry *entry_find(bench *b, uint32_t number) {
  char key[KEY_BYTES];
  key_write(key, number);
  for (entry *e = b->bucket[key_hash(key) & b->mask]; e != NULL; e = e->next) {
    if (strcmp(e->key, key) == 0) {
      return e;
    }
  }
  bench_wrong("strings: a key is lost");
}

static entry *entry_random(bench *b) { return entry_find(b, random_below(b, b->keys)); }

static void entry_add(bench *b, uint32_t number, text t) {
  char key[KEY_BYTES];
  size_t bytes = key_write(key, number);
  entry *e = bench_new(b->m->self, entry);
  e->bytes = t.bytes;
  e->length = t.length;
  e->key = bench_new_bytes_raw(b->m->self, bytes);
  memcpy(e->key, key, bytes);
  entry **bucket = &b->bucket[key_hash(key) & b->mask];
  e->next = *bucket;
  *bucket = e;
}

// ---- Four ways to make a text.

static text make_fresh(bench *b, size_t length) {
  text t = text_new(b, length);
  text_fill(b, t.bytes, length);
  return t;
}

static text make_joined(bench *b, size_t length) {
  const entry *first = entry_random(b), *second = entry_random(b);
  text t = text_new(b, length);
  size_t from_first = least_of(length / 2, first->length);
  size_t from_second = least_of(length - from_first, second->length), both = from_first + from_second;
  text_copy(b, t.bytes, first->bytes, from_first);
  text_copy(b, t.bytes + from_first, second->bytes, from_second);
  text_fill(b, t.bytes + both, length - both);
  return t;
}

// A random part of a text of the table, `length` bytes long; NULL if no text that long was found.
static const char *part_choose(bench *b, size_t length) {
  for (unsigned tries = 0; tries < PART_TRIES; tries++) {
    const entry *e = entry_random(b);
    if (e->length >= length) {
      return e->bytes + random_below(b, (uint32_t)(e->length - length + 1));
    }
  }
  return NULL;
}

static text make_cut(bench *b, size_t length) {
  const char *from = part_choose(b, length);
  if (from == NULL) {
    return make_joined(b, length);
  }
  text t = text_new(b, length);
  text_copy(b, t.bytes, from, length);
  return t;
}

// One system call does not have to take all, and a stop may interrupt it.
#define WHOLE(CALL, BYTES, WHAT) \
  for (size_t done = 0; done < (BYTES);) { \
    ssize_t some = (CALL); \
    if (some > 0) { \
      done += (size_t)some; \
    } else if (some == 0 || errno != EINTR) { \
      perror(WHAT); \
      bench_wrong("strings: a system call on an object failed"); \
    } \
  }

static text make_carried(bench *b, size_t length) {
  const char *from = part_choose(b, length);
  char *made = from == NULL ? make_fresh(b, length).bytes : NULL; // to be carried itself, and dropped
  from = made != NULL ? made : from;
  bool by_pipe = length < FILE_PIECE;
  size_t most = by_pipe ? PIPE_PIECE : FILE_PIECE;
  if (!by_pipe) {
    for (size_t at = 0, piece; at < length; at += piece) {
      piece = least_of(length - at, most);
      WHOLE(pwrite(b->file, from + at + done, piece - done, (off_t)(at + done)), piece, "write to a file");
      work_counted(b, piece);
    }
  }
  text t = text_new(b, length);
  for (size_t at = 0, piece; at < length; at += piece) {
    piece = least_of(length - at, most);
    if (by_pipe) { // Even the smallest pipe takes so much.
      WHOLE(write(b->pipe[1], from + at + done, piece - done), piece, "write to a pipe");
      WHOLE(read(b->pipe[0], t.bytes + at + done, piece - done), piece, "read from a pipe");
    } else {
      WHOLE(pread(b->file, t.bytes + at + done, piece - done, (off_t)(at + done)), piece, "read from a file");
    }
    work_counted(b, piece);
  }
  if (!text_equal(b, from, t.bytes, length)) {
    bench_wrong("strings: what was read is not what was written");
  }
  bench_free(made);
  return t;
}

// ---- The workload.

static void strings_round(bench *b) {
  static text (*const make[])(bench *, size_t) = {make_fresh, make_joined, make_cut, make_carried};
  size_t length = length_choose(b);
  text t = make[random_below(b, sizeof make / sizeof make[0])](b, length);
  text_check(b, t);
  if (random_below(b, STORE_EVERY) == 0) {
    entry *e = entry_random(b);
    text old = {e->bytes, e->length};
    e->bytes = t.bytes;
    e->length = t.length;
    text_check(b, old);
    t = old;
  }
  bench_free(t.bytes);
  work_counted(b, ROUND_BYTES);
}

static void table_fill(bench *b) {
  b->keys = key_count(b->m->options);
  b->mask = 1;
  while (b->mask < b->keys) {
    b->mask = 2 * b->mask + 1;
  }
  b->bucket = (entry **)bench_new_pointers(b->m->self, (size_t)b->mask + 1);
  for (uint32_t i = 0; i < b->keys; i++) {
    entry_add(b, i, make_fresh(b, length_choose(b)));
  }
}

static void table_empty(bench *b) {
  for (uint32_t i = 0; i <= b->mask; i++) {
    for (entry *e = b->bucket[i], *next; e != NULL; e = next) {
      next = e->next;
      text_check(b, (text){e->bytes, e->length});
      bench_free(e->bytes);
      bench_free(e->key);
      bench_free(e);
    }
  }
  bench_free(b->bucket);
}

static void strings_run(bench_mutator *m) {
  bench b = {.m = m};
  b.file = memfd_create("bench", MFD_CLOEXEC);
  if (b.file < 0 || pipe2(b.pipe, O_CLOEXEC) != 0) {
    perror("strings");
    bench_wrong("strings: no file or pipe");
  }
  table_fill(&b);
  uint64_t rounds = m->options->steps != 0 ? m->options->steps : (uint64_t)b.keys * ROUNDS_PER_KEY;
  bench_measure_begin(m);
  b.measured = true;
  for (uint64_t r = 0; r < rounds; r++) {
    strings_round(&b);
  }
  b.measured = false;
  bench_measure_end(m);
  table_empty(&b);
  close(b.file);
  close(b.pipe[0]);
  close(b.pipe[1]);
}

const bench_workload bench_workloads[] = {
    {"strings", "texts of 8 bytes to 4 MiB in a hash table, written and read as well (--live, --steps)", strings_live_mib,
     strings_run},
    {NULL, NULL, NULL, NULL},
};
