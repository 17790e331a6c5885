// SPDX-License-Identifier: MIT
// damage.c: files that are not what they should be: cut off, changed, foreign; and such whose checksums are right all
// the same.
//
//   TOOLS_SEED=n repeats the changes of a run.

#include <criterion/criterion.h>
#include <time.h>
#include "tests/tools/known.h"

static char said[20000];
static unsigned char whole[8192], bytes[8192];
static size_t size;
static const char path[] = "/tmp/veil-heap-damaged";
static char own[64];

static void known_load(void) {
  dump_file f;
  known_write(&f);
  FILE *from = fopen(f.path, "r");
  size = fread(whole, 1, sizeof whole, from);
  fclose(from);
  unlink(f.path);
  snprintf(own, sizeof own, "%s-%d", path, (int)getpid());
}

static void write_out(const unsigned char *from, size_t count) {
  FILE *to = fopen(own, "w");
  fwrite(from, 1, count, to);
  fclose(to);
}

static uint64_t seed;
static uint64_t random_next(uint64_t below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed % below;
}
static void seed_set(void) {
  const char *given = getenv("TOOLS_SEED");
  seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
  printf("TOOLS_SEED=%llu\n", (unsigned long long)seed);
}

#define SAYS(TEXT) cr_assert_not_null(strstr(said, TEXT), "\"%s\" is not in:\n%s", TEXT, said)

Test(damage, a_file_that_ends_early_is_refused_at_any_length, .timeout = 300) {
  known_load();
  for (size_t count = 0; count < size; count++) {
    write_out(whole, count);
    cr_assert_eq(ASK(said, own), 1, "%zu of %zu bytes: %s", count, size, said);
    cr_assert_gt(strlen(said), strlen(own) + 15);
  }
  SAYS("cut off");
  unlink(own);
}

Test(damage, every_changed_bit_is_seen, .timeout = 300) {
  known_load();
  for (size_t at = 0; at < size; at++) {
    memcpy(bytes, whole, size);
    bytes[at] ^= (unsigned char)(1 << at % 8);
    write_out(bytes, size);
    cr_assert_eq(ASK(said, own), 1, "byte %zu: %s", at, said);
  }
  unlink(own);
}

Test(damage, foreign_files_are_called_so) {
  known_load();
  write_out((const unsigned char *)"#!/bin/sh\necho nothing of the kind\n", 34);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("is no heap dump of veil");
  memcpy(bytes, whole, size);
  memmove(bytes + 9, bytes + 10, size - 10); // what a transfer does that takes carriage returns away
  write_out(bytes, size - 1);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("not for binary files");
  memcpy(bytes, whole, size);
  ((dump_header *)bytes)->version = 9;
  write_out(bytes, size);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("version 9");
  memcpy(bytes, whole, size);
  ((dump_header *)bytes)->byte_order = __builtin_bswap32(DUMP_BYTE_ORDER);
  write_out(bytes, size);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("other byte order");
  memcpy(bytes, whole, size);
  write_out(bytes, size + 3);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("behind its end");
  write_out(bytes, 0);
  cr_assert_eq(ASK(said, own), 1);
  SAYS("is empty");
  unlink(own);
}

// The checksums of all blocks made right again.
static void sums_mend(void) {
  dump_crc crc;
  dump_crc_make(&crc);
  for (size_t at = sizeof(dump_header); at + sizeof(dump_block) <= size;) {
    dump_block block;
    memcpy(&block, bytes + at, sizeof block);
    if (block.bytes > size - at - sizeof block) {
      return;
    }
    block.crc = dump_block_crc(&crc, &block, bytes + at + sizeof block);
    memcpy(bytes + at, &block, sizeof block);
    at += sizeof block + block.bytes;
  }
}

// Whatever stands there, it answers or says what is wrong.
Test(damage, nonsense_with_right_checksums_crashes_nothing, .timeout = 600) {
  seed_set();
  known_load();
  static char *const asked[][2] = {
      {"--quiet", "--json"}, {"--why", "node"}, {"--object", "0x7f0000001090"}, {"--type", "node"}, {"--top", "0"}};
  int answered = 0;
  for (int i = 0; i < 2000; i++) {
    memcpy(bytes, whole, size);
    for (uint64_t changes = 1 + random_next(3); changes != 0; changes--) {
      size_t at = sizeof(dump_header) + random_next(size - sizeof(dump_header));
      bytes[at] = random_next(2) ? (unsigned char)random_next(256) : bytes[at] ^ (unsigned char)(1 << random_next(8));
    }
    sums_mend();
    write_out(bytes, size);
    char *const *a = asked[random_next(sizeof asked / sizeof *asked)];
    int status = ASK(said, a[0], a[1], own);
    cr_assert(status == 0 || status == 1, "change %d: status %d: %s", i, status, said);
    answered += status == 0;
  }
  cr_assert_gt(answered, 50); // some changes are harmless: it gets as far as the answer
  unlink(own);
}
