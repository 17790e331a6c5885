// SPDX-License-Identifier: MIT
// stores.c: what veil-image says of stores that are known: an image that is marked as one, and a log, both made here; whole, damaged, of others, and made up.

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include "runtime/store/inspect.h"
#include "runtime/store/log_inner.h"
#include "runtime/store/record.h"
#include "runtime/store/types.h"
#define heap_main image_main // whom file.h's ask runs
#include "tests/tools/file.h"

enum { PAGE = 4096, LOG = 1 << 17, PAGES = 256, RECORDS = 6 };
static char said[40000], path[80], log_path[90];
static const rt_image_layout layout = {PAGE, 0x7f0000000000, PAGES * PAGE};
static const uint64_t id[2] = {0x1234, 0xabcd};
static st_log_place place[RECORDS + 2]; // of record n, and of the one that would be next

#define OK(CALL) cr_assert_eq(CALL, VEIL_OK, "%s: %s", #CALL, veil_error())
#define SAYS(TEXT) cr_assert_not_null(strstr(said, TEXT), "\"%s\" is not in:\n%s", TEXT, said)
#define SAYS_NOT(TEXT) cr_assert_null(strstr(said, TEXT), "\"%s\" is in:\n%s", TEXT, said)
#define ANSWERS(STATUS, ...) cr_assert_eq(ASK(said, __VA_ARGS__), STATUS, "%s", said)

// ---- Files.

static void image_make(st_log_place from, uint64_t upto, bool closed) {
  static char pages[8 * PAGE];
  rt_image_writer *w;
  memset(pages, 'a', sizeof pages);
  OK(rt_image_create(&w, path, &layout, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, 3, 8, pages));
  OK(rt_image_put_types(w, NULL, 0));
  OK(rt_image_put_roots(w, NULL, 0));
  OK(st_mark_put(w, id, from, upto, closed));
  OK(rt_image_commit(w, NULL));
  rt_image_close(w);
}

// Of record n: two pages of which a word differs, and one that is the same in all; the third has a section and zeros, too.
static size_t record_compose(uint64_t *to, uint64_t n) {
  static char was[PAGE], now[PAGE];
  uint64_t changed = 0;
  size_t words = 0;
  for (uint64_t i = 0; i < 2; i++) {
    memset(was, 'a', PAGE);
    memset(now, 'a', PAGE);
    now[8 * n] = 'b';
    words += st_page_write(to + words, i == 0 ? 5 : 20 + n, was, now, PAGE, &changed);
  }
  if (n == 3) {
    size_t size;
    void *roots = st_roots_encode(&(veil_root_described){.name = "table", .address = 0x7f0000003010}, 1, &size);
    st_gone_write(to + words, 100, 7);
    words += ST_GONE_WORDS;
    st_section_write(to + words, "roots", roots, size);
    words += st_section_words("roots", size);
    free(roots);
  }
  return words * sizeof *to;
}

static void log_make(void) {
  st_log *log;
  st_log_place first = {.sequence = 1};
  OK(st_log_create(&log, log_path, id, LOG, &first, NULL));
  place[1] = first;
  for (uint64_t n = 1; n <= RECORDS; n++) {
    uint64_t *room = (uint64_t *)(void *)st_log_room(log, 2 * PAGE);
    place[n] = st_log_append(log, record_compose(room, n));
    OK(st_log_write(log, NULL));
  }
  place[RECORDS + 1] = st_log_tail(log);
  st_log_close(log);
}

static void files_make(void) {
  snprintf(path, sizeof path, "/tmp/veil-store-tool-%d", (int)getpid());
  snprintf(log_path, sizeof log_path, "%s.log", path);
  log_make();
  image_make(place[1], 1, false);
}

static void files_remove(void) {
  unlink(path);
  unlink(log_path);
}

static void byte_flip(const char *name, uint64_t offset) {
  int fd = open(name, O_RDWR);
  char byte;
  cr_assert(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1);
  byte ^= 4;
  cr_assert_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
  close(fd);
}

static uint64_t sum_of(const char *name) {
  static char bytes[1 << 20];
  FILE *f = fopen(name, "r");
  size_t size = f != NULL ? fread(bytes, 1, sizeof bytes, f) : 0;
  if (f != NULL) {
    fclose(f);
  }
  return rt_image_sum(bytes, size);
}

// ---- What there is.

Test(stores, what_would_be_recovered_is_told, .init = files_make, .fini = files_remove) {
  uint64_t image = sum_of(path), log = sum_of(log_path);
  ANSWERS(0, "--verify", path);
  SAYS("  damaged             0\n");
  SAYS("needs its log");
  SAYS("  records to recover  6\n");
  SAYS("    from number       1\n");
  SAYS("    up to, without    7\n");
  SAYS("    pages' changes    12\n");
  SAYS("      of so many      7\n"); // 5, and 21 to 26
  SAYS("      their values    96 B\n");
  SAYS("    zero pages        7\n");
  SAYS("    sections          1\n");
  SAYS("nothing was written there yet");
  SAYS_NOT("Damage\n");
  ANSWERS(0, path);
  SAYS("  records to recover  6\n");
  SAYS("Pages                 8\n");
  ANSWERS(0, "--verify", "--json", path);
  SAYS("\"log_records\": 6, ");
  SAYS("\"log_damage\": \"\"");
  cr_assert(sum_of(path) == image && sum_of(log_path) == log, "the files have changed");
}

Test(stores, a_place_in_the_middle_counts_from_there, .init = files_make, .fini = files_remove) {
  image_make(place[4], 6, false);
  ANSWERS(0, "--verify", path);
  SAYS("  records to recover  3\n");
  SAYS("    from number       4\n");
  SAYS("  has nothing from    6\n");
}

Test(stores, a_closed_one_needs_no_log, .init = files_make, .fini = files_remove) {
  image_make(place[RECORDS + 1], RECORDS + 1, true);
  ANSWERS(0, "--verify", path);
  SAYS("  records to recover  0\n");
  unlink(log_path);
  ANSWERS(0, "--verify", path);
  SAYS("is not there");
  SAYS("the log may be missing");
  cr_assert_neq(access(log_path, F_OK), 0);
  image_make(place[1], 1, false);
  ANSWERS(1, "--verify", path);
  SAYS("is missing, which may have commits");
  ANSWERS(1, path);
  SAYS("is missing");
}

// ---- Damage.

Test(stores, a_log_of_others_or_of_nobody, .init = files_make, .fini = files_remove) {
  byte_flip(log_path, 30); // of the id
  ANSWERS(1, "--verify", path);
  SAYS("the header at byte 0 is damaged");
  files_remove();
  files_make();
  rt_image_writer *w;
  OK(rt_image_append(&w, path, NULL));
  OK(rt_image_begin(w));
  OK(st_mark_put(w, (const uint64_t[]){1, 2}, place[1], 1, false));
  OK(rt_image_commit(w, NULL));
  rt_image_close(w);
  ANSWERS(1, "--verify", path);
  SAYS("is the log of another store");
  cr_assert_eq(truncate(log_path, 5000), 0);
  ANSWERS(1, "--verify", path);
  SAYS("it was cut off");
  cr_assert_eq(truncate(log_path, 0), 0);
  ANSWERS(1, "--verify", path);
  SAYS("is no log");
}

Test(stores, a_torn_end_is_told_and_is_no_damage, .init = files_make, .fini = files_remove) {
  byte_flip(log_path, place[RECORDS].offset + 60);
  ANSWERS(0, "--verify", path);
  SAYS("  records to recover  5\n");
  SAYS("a record that is not whole: a crash has cut it off");
}

Test(stores, what_follows_a_damaged_record_is_told, .init = files_make, .fini = files_remove) {
  static const uint64_t at[] = {0, 30, 40, 60}; // its sum; its chain, so that it seems to be another's; its bytes
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    byte_flip(log_path, place[3].offset + at[i]);
    ANSWERS(4, "--verify", path);
    SAYS("  records to recover  2\n");
    SAYS("others follow it");
    SAYS("    first of them     4\n");
    ANSWERS(4, path);
    byte_flip(log_path, place[3].offset + at[i]);
  }
  ANSWERS(0, "--verify", path);
}

Test(stores, an_image_that_is_newer_than_the_log, .init = files_make, .fini = files_remove) {
  image_make(place[2], RECORDS + 1, false);
  ANSWERS(0, "--verify", path);
  byte_flip(log_path, place[RECORDS].offset + 60);
  ANSWERS(1, "--verify", path);
  SAYS("record 6 is not whole, and the image has something of record 6");
}

Test(stores, damaged_pages_are_told_beside_the_log, .init = files_make, .fini = files_remove) {
  static char bytes[200000];
  FILE *f = fopen(path, "r");
  size_t size = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  char *page = memmem(bytes, size, "aaaaaaaaaaaaaaaa", 16);
  cr_assert_not_null(page);
  byte_flip(path, (uint64_t)(page - bytes) + 100);
  ANSWERS(1, "--verify", path);
  SAYS("the checksum of page 3");
  SAYS("  records to recover  6\n");
}

Test(stores, marks_of_other_formats_are_refused_with_the_reason, .init = files_make, .fini = files_remove) {
  struct old {
    char magic[8];
    uint32_t format, closed;
    uint64_t id[2], place[3];
  } old = {"veilsto", 1, 1, {1, 2}, {1, 4096, 0}};
  static const char *const why[] = {"a store of format 1; this veil reads 2", "a store of format 3", "its section store is something else", "should have 72", "impossible place"};
  old.magic[7] = 'r';
  for (int i = 0; i < 5; i++) {
    st_mark mark = {.format = i == 1 ? 3 : 2, .bytes = i == 3 ? 64 : 72, .id = {1, 2}, .place = {5, 4096, 0}, .upto = i == 4 ? 3 : 5};
    rt_image_writer *w;
    memcpy(mark.magic, i == 2 ? "somebody" : "veilstor", 8);
    OK(rt_image_append(&w, path, NULL));
    OK(rt_image_begin(w));
    OK(i == 0 ? rt_image_put_section(w, "store", &old, sizeof old) : rt_image_put_section(w, "store", &mark, sizeof mark));
    OK(rt_image_commit(w, NULL));
    rt_image_close(w);
    ANSWERS(1, "--verify", path);
    SAYS(why[i]);
  }
}

// ---- Others.

static void holder(const char *name, int flags) {
  int ready[2];
  char c = 0;
  cr_assert_eq(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    int fd = open(name, flags);
    pid_t other;
    c = flags == O_RDWR ? (char)rt_image_io_system.lock(NULL, fd, &other) : (char)rt_image_io_system.lock_shared(NULL, fd, &other);
    if (write(ready[1], &c, 1) == 1) {
      pause();
    }
    _exit(0);
  }
  cr_assert(read(ready[0], &c, 1) == 1 && c == 0);
  char text[60];
  snprintf(text, sizeof text, "is being written by process %d", (int)pid);
  int reading = flags == O_RDONLY;
  ANSWERS(reading ? 0 : 1, "--verify", path);
  if (!reading) {
    SAYS(text);
    SAYS("verified while nobody writes it");
    ANSWERS(0, path); // what the image says can be read
    SAYS(text);
  }
  ANSWERS(1, "--compact", path);
  snprintf(text, sizeof text, "by process %d", (int)pid);
  SAYS(text);
  kill(pid, SIGKILL);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(stores, a_writer_is_named, .init = files_make, .fini = files_remove) {
  holder(path, O_RDWR);
  holder(log_path, O_RDWR); // which has lost the image's for a moment
  holder(log_path, O_RDONLY);
  ANSWERS(0, "--verify", path);
}

Test(stores, compaction_leaves_the_log_and_what_it_is_for, .init = files_make, .fini = files_remove) {
  uint64_t log = sum_of(log_path);
  ANSWERS(0, "--compact", path);
  cr_assert_eq(sum_of(log_path), log);
  ANSWERS(0, "--verify", path);
  SAYS("  records to recover  6\n");
  ANSWERS(0, path);
  SAYS("Version               2\n");
}

// ---- Made up.

static uint64_t dice_state;
static uint64_t dice(uint64_t below) {
  dice_state += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t z = dice_state;
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (z ^ z >> 31) % below;
}

static uint64_t interesting(uint64_t was) {
  switch (dice(8)) {
  case 0:
    return 0;
  case 1:
    return UINT64_MAX;
  case 2:
    return UINT64_C(1) << dice(64);
  case 3:
    return was + 1;
  case 4:
    return was ^ UINT64_C(1) << dice(64);
  case 5:
    return was ^ dice(16); // a kind
  case 6:
    return dice(UINT64_MAX);
  default:
    return (was & 0xfffffffffful) | dice(1 << 20) << 40;
  }
}

// Words of records are changed, or of the heads, and all sums and chains made right again.
static void log_made_up(char *bytes) {
  uint64_t chain = 0, n = 1;
  for (uint64_t changes = 1 + dice(4); changes != 0; changes--) {
    uint64_t record = 1 + dice(RECORDS), words = (place[record + 1].offset - place[record].offset) / 8;
    uint64_t *at = (uint64_t *)(void *)(bytes + place[record].offset) + (dice(3) == 0 ? dice(8) : dice(words));
    *at = interesting(*at);
  }
  for (uint64_t at = ST_LOG_HEADER; n <= RECORDS && at + sizeof(log_record) <= LOG; n++) {
    log_record *r = (log_record *)(void *)(bytes + at);
    size_t whole = st_log_whole(r->size);
    if (whole > LOG - at) {
      return;
    }
    r->chain = chain;
    r->sum = rt_image_sum(&r->kind, whole - offsetof(log_record, kind));
    chain = r->sum;
    at += whole;
  }
}

Test(stores, whatever_a_log_says_is_survived, .init = files_make, .fini = files_remove, .timeout = 300) {
  static char whole[LOG], bytes[LOG];
  unsigned damaged = 0, rounds = getenv("STORES_ROUNDS") != NULL ? (unsigned)atoi(getenv("STORES_ROUNDS")) : 1500;
  dice_state = getenv("STORES_SEED") != NULL ? strtoull(getenv("STORES_SEED"), NULL, 10) : (uint64_t)time(NULL);
  fprintf(stderr, "STORES_SEED=%llu\n", (unsigned long long)dice_state);
  int fd = open(log_path, O_RDWR);
  cr_assert_eq(pread(fd, whole, LOG, 0), LOG);
  for (unsigned i = 0; i < rounds; i++) {
    st_inspection s;
    memcpy(bytes, whole, LOG);
    log_made_up(bytes);
    cr_assert_eq(pwrite(fd, bytes, LOG, 0), LOG);
    if (st_inspect(path, NULL, &s) != VEIL_OK) {
      cr_assert_fail("round %u: %s", i, veil_error());
    }
    cr_assert((s.log_status == VEIL_OK) == (*s.why == 0), "round %u: %s", i, s.why);
    cr_assert(s.log_status == VEIL_OK || s.log_status == VEIL_IO || s.log_status == VEIL_UNSUPPORTED);
    cr_assert(s.records.count <= LOG / ST_LOG_RECORD && s.records.pages <= PAGES && s.records.bytes < LOG);
    damaged += s.log_status != VEIL_OK;
    st_inspect_close(&s);
  }
  close(fd);
  cr_assert(damaged > rounds / 10 && damaged < rounds, "%u of %u", damaged, rounds);
}
