// SPDX-License-Identifier: MIT
// system_calls.c: memory of objects in the kernel's hands, while cycles run.

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/socket.h>
#include "tests/runtime/world.h"

static int volatile over;

static void *collects_all_the_time(void *unused) {
  veil_thread *me = veil_attach(heap);
  while (!over) {
    veil_collect_start(me);
    list_make(me, 200);
    veil_collect(me);
    veil_block_begin(me);
    sleep_ms(1); // a heap without traps would do nothing but collect
    veil_block_end(me);
  }
  veil_detach(me);
  return NULL;
}

// Words that are no pointers; different in each round.
static void words_fill(long *words, size_t count, long round) {
  for (size_t i = 0; i < count; i++) {
    words[i] = (long)(i * 2 + 1) * (round + 1) % 65536 * 2 + 1;
  }
}

static bool words_check(const long *words, size_t count, long round) {
  for (size_t i = 0; i < count; i++) {
    if (words[i] != (long)(i * 2 + 1) * (round + 1) % 65536 * 2 + 1) {
      return false;
    }
  }
  return true;
}

ON_ALL_BACK_ENDS(system_calls, read_and_write_on_touched_objects_with_pointers_succeed_during_cycles) {
  START_OR_SKIP(.back_end = back_end, .verify = 1);
  int ends[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  pthread_t thread = thread_start(collects_all_the_time, NULL);
  static const size_t counts[] = {3, 60, 500, 3000, 8000}; // small to large
  static long outside[8000];
  for (long round = 0; round < 200; round++) {
    size_t count = counts[round % 5], bytes = count * 8;
    void **out = veil_new_pointers(self, count), **in = veil_new_pointers(self, count);
    words_fill((long *)out, count, round);
    // Sometimes they are old when they are touched.
    if (round % 3 == 0) {
      sleep_ms(2);
    }
    cr_assert_eq(veil_touch(self, out, bytes, false), VEIL_OK, "%s", veil_error());
    cr_assert_eq(veil_touch(self, in, bytes, true), VEIL_OK, "%s", veil_error());
    for (size_t at = 0; at < bytes;) {
      ssize_t n = write(ends[0], (char *)out + at, bytes - at > 60000 ? 60000 : bytes - at);
      cr_assert(n > 0 || errno == EINTR, "round %ld: write: %s", round, strerror(errno));
      for (ssize_t got = 0; got < n;) {
        ssize_t m = read(ends[1], (char *)in + at + got, (size_t)(n - got));
        cr_assert(m > 0 || errno == EINTR, "round %ld: read: %s", round, strerror(errno));
        got += m > 0 ? m : 0;
      }
      at += n > 0 ? (size_t)n : 0;
    }
    veil_untouch(self, out);
    veil_untouch(self, in);
    memcpy(outside, in, bytes);
    cr_assert(words_check(outside, count, round), "round %ld of %zu words", round, count);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

// A read that blocks between brackets for many cycles: the pages stay open to the kernel all the time.
static void *sends_late(void *fd) {
  sleep_ms(300);
  long words[1000];
  words_fill(words, 1000, 5);
  EXPECT(write(*(int *)fd, words, sizeof words) == (ssize_t)sizeof words);
  return NULL;
}

ON_ALL_BACK_ENDS(system_calls, a_read_that_blocks_through_many_cycles_arrives) {
  START_OR_SKIP(.back_end = back_end, .verify = 1);
  int ends[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  pthread_t collector = thread_start(collects_all_the_time, NULL);
  for (int large = 0; large < 2; large++) {
    size_t count = large ? 20000 : 1000;
    void **in = veil_new_pointers(self, count) + count - 1000;
    in[-(long)(count - 1000)] = veil_new(self, node);
    pthread_t sender = thread_start(sends_late, &ends[0]);
    uint64_t before = stats_of(heap).major_cycles;
    cr_assert_eq(veil_touch(self, in, 8000, true), VEIL_OK);
    veil_block_begin(self);
    ssize_t got = 0;
    while (got < 8000) {
      ssize_t n = read(ends[1], (char *)in + got, (size_t)(8000 - got));
      EXPECT(n > 0);
      got += n;
    }
    veil_block_end(self);
    veil_untouch(self, in);
    cr_assert_gt(stats_of(heap).major_cycles, before);
    veil_collect(self);
    cr_assert(words_check((long *)in, 1000, 5));
    veil_block_begin(self);
    pthread_join(sender, NULL);
    veil_block_end(self);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(collector, NULL);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(system_calls, byte_buffers_need_no_touch) {
  START_OR_SKIP(.back_end = back_end, .verify = 1);
  int ends[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  pthread_t thread = thread_start(collects_all_the_time, NULL);
  for (int round = 0; round < 200; round++) {
    size_t bytes = (size_t)(round * 37 % 50000 + 1);
    char *out = veil_new_bytes(self, bytes), *in = veil_new_bytes(self, bytes);
    memset(out, round, bytes);
    ssize_t n;
    while ((n = write(ends[0], out, bytes)) < 0) {
      cr_assert_eq(errno, EINTR, "%s", strerror(errno));
    }
    for (ssize_t got = 0; got < n;) {
      ssize_t m = read(ends[1], in + got, (size_t)(n - got));
      cr_assert(m > 0 || errno == EINTR, "%s", strerror(errno));
      got += m > 0 ? m : 0;
    }
    cr_assert_eq(memcmp(in, out, (size_t)n), 0);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

Test(system_calls, a_range_has_to_lie_within_one_object) {
  start((veil_options){.verify = 1});
  char outside[100];
  void **object = veil_new_pointers(self, 101); // 808 bytes, and 8 of padding
  static const struct {
    long offset;
    size_t bytes;
  } bad[] = {{0, 0}, {0, 816}, {0, 1 << 20}, {-8, 8}, {-16, 32}, {0, SIZE_MAX}, {400, SIZE_MAX - 200}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    cr_assert_eq(veil_touch(self, (char *)object + bad[i].offset, bad[i].bytes, true), VEIL_INVALID, "case %zu", i);
    cr_assert(strstr(veil_error(), "veil_touch") != NULL);
  }
  cr_assert_eq(veil_touch(self, outside, 10, true), VEIL_INVALID);
  cr_assert_eq(veil_touch(self, NULL, 10, true), VEIL_INVALID);
  cr_assert_eq(veil_touch(self, object, 808, true), VEIL_OK);
  cr_assert_eq(veil_touch(self, object + 100, 8, false), VEIL_OK); // overlapping is fine
  veil_untouch(self, object);
  veil_untouch(self, object + 100);
  end();
}

Test(system_calls, sixteen_ranges_at_a_time_per_thread) {
  start((veil_options){.verify = 1});
  void **objects[17];
  for (int i = 0; i < 17; i++) {
    objects[i] = veil_new_pointers(self, 10);
    cr_assert_eq(veil_touch(self, objects[i], 80, true), i < 16 ? VEIL_OK : VEIL_BUSY);
  }
  cr_assert(strstr(veil_error(), "16") != NULL, "%s", veil_error());
  veil_collect(self);
  veil_untouch(self, objects[5]);
  cr_assert_eq(veil_touch(self, objects[16], 80, true), VEIL_OK);
  veil_collect(self);
  end(); // detaching ends what is left
}

DIES(system_calls, ending_a_touch_that_was_not_begun_is_noticed, "veil_untouch") {
  start((veil_options){.verify = 1});
  veil_untouch(self, veil_new(self, node));
}

Test(system_calls, a_thread_that_ends_gives_its_touches_up) {
  start((veil_options){.verify = 1});
  for (int i = 0; i < 2000; i++) { // more than a heap has
    veil_thread *me = self;
    cr_assert_eq(veil_touch(me, veil_new(me, node), 16, true), VEIL_OK, "%s", veil_error());
    veil_detach(me);
    self = veil_attach(heap);
  }
  end();
}

// With uffd-kernel the kernel waits for the page as a mutator does: nothing has to be touched.
Test(system_calls, on_veiled_pages_they_succeed_with_uffd_kernel, .timeout = 120) {
  START_OR_SKIP(.back_end = "uffd-kernel", .verify = 1, .scanners = 2);
  int fds[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  pthread_t thread = thread_start(collects_all_the_time, NULL);
  enum { OBJECTS = 200, WORDS = 1500 };
  void ***table = (void ***)veil_new_pointers(self, OBJECTS);
  for (long i = 0; i < OBJECTS; i++) {
    table[i] = veil_new_pointers(self, WORDS);
    words_fill((long *)table[i], WORDS, i);
  }
  static long outside[WORDS];
  uint64_t cycles = stats_of(heap).major_cycles;
  for (long round = 0; round < 3000 || stats_of(heap).major_cycles < cycles + 20; round++) {
    long i = round * 37 % OBJECTS;
    char *out = (char *)table[i], *in = (char *)veil_new_pointers(self, WORDS);
    ssize_t n = write(fds[0], out, WORDS * 8); // `out` is on the stack, so it stays where it is
    cr_assert(n > 0 || errno == EINTR, "write: %s", strerror(errno));
    for (ssize_t got = 0; got < n;) {
      ssize_t m = read(fds[1], in + got, (size_t)(n - got));
      cr_assert(m > 0 || errno == EINTR, "read: %s", strerror(errno));
      got += m > 0 ? m : 0;
    }
    if (n == WORDS * 8) {
      memcpy(outside, in, sizeof outside);
      cr_assert(words_check(outside, WORDS, i));
    }
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}
