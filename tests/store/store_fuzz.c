// SPDX-License-Identifier: MIT
// store_fuzz.c: stores whose files somebody has changed, at random and with a plan. In a process of its own each is
// opened, walked, verified, collected, committed to, and opened again.
//
// Where no checksum was mended (`torn`): it is refused with a reason, or a page is said to be damaged when it is read,
// or what is there is what was committed once, whole. Where they were mended (`lies`), what stands behind them is a lie
// that nobody can tell from the truth: a program that follows a reference which was made up dies of it. So the heap is
// verified first, which says so, and walked by veil only, not by the program. What veil does with it ends, in time,
// with memory in proportion to the file, and in no other way than an error, or an abort with a message.

#include <string.h>
#include <sys/resource.h>
#include "runtime/store/log_inner.h"
#include "runtime/store/record.h"
#include "tests/gc/death.h"
#include "tests/image/hostile.h"
#include "tests/store/store_trials.h"

enum {
  BASES = 4,
  RECORDS = 400,
  REFUSED = 10,
  OTHER = 12,
  SILENT = 13,
  LARGE = 14,
  BROKE = 15,
  SECONDS = 20,
  MEMORY = 300 << 10 /* KiB */
};

static struct {
  disk *d, *before; // and as it was some commits before
  states told;
  uint64_t at[RECORDS]; // of the log
  unsigned records;
} bases[BASES];

static const states *told; // of the store that is looked at
static disk *changed;
static bool lies, reads_only, elsewhere;

// ---- The process that looks.

static void memory_look(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  if (used.ru_maxrss > MEMORY) {
    printf("it takes %ld KiB\n", used.ru_maxrss);
    fflush(stdout);
    _exit(LARGE);
  }
}

static void opened_or_exit(story *s, shared *on) {
  if (reads_only ? story_open_to_read(s, on) : story_open(s, on, elsewhere)) {
    return;
  }
  printf("%s\n", veil_error());
  fflush(stdout);
  memory_look();
  _exit(strlen(veil_error()) < 10 ? SILENT : strstr(veil_error(), "no memory") != NULL ? LARGE : REFUSED);
}

static void say(const char *what) {
  printf("%s\n", what);
  fflush(stdout);
}

static void lie_look(story *s, shared *on) {
  enum { BYTES = 100 };
  veil_verify(s->self);
  say("verified");
  veil_collect(s->self);
  say("collected");
  veil_verify(s->self);
  char *bytes = veil_new_bytes(s->self, BYTES);
  memset(bytes, 7, BYTES);
  if (reads_only || veil_root_set(s->self, "after", bytes) != VEIL_OK || veil_store_commit(s->store, NULL) != VEIL_OK) {
    memory_look();
    _exit(0);
  }
  say("committed");
  if (seed % 2 == 0) {
    story_die(s);
  } else {
    story_close(s);
  }
  opened_or_exit(s, on);
  bytes = veil_root_get(s->self, "after");
  if (bytes == NULL || veil_length(veil_store_heap(s->store), bytes) != BYTES || bytes[BYTES - 1] != 7) {
    say("what was committed to it is not there");
    _exit(BROKE);
  }
  veil_verify(s->self);
  memory_look();
  _exit(0);
}

static void look(void *unused) {
  static story s;
  shared on;
  (void)unused;
  shared_open(&on, changed);
  opened_or_exit(&s, &on);
  say("opened");
  if (lies) {
    lie_look(&s, &on);
  }
  uint64_t hash = story_hash(&s);
  if (states_ever(told, hash) < 0) {
    _exit(OTHER);
  }
  veil_verify(s.self);
  veil_collect(s.self);
  if (story_hash(&s) != hash) {
    say("a cycle has changed the graph");
    _exit(BROKE);
  }
  memory_look();
  if (reads_only) {
    _exit(0);
  }
  uint64_t dice = seed;
  graph_number_set(s.self, graph_number(s.self) + 1);
  hash = story_hash(&s);
  if (veil_store_commit(s.store, NULL) == VEIL_OK) {
    if (graph_dice(&dice) % 2 == 0) {
      story_die(&s);
    } else {
      story_close(&s);
    }
    opened_or_exit(&s, &on);
    if (story_hash(&s) != hash) {
      say("what was committed to it is not there");
      _exit(BROKE);
    }
  }
  _exit(0);
}

// ---- What the changes are made to.

static bool is_record(const disk_file *log, uint64_t at) {
  const log_record *r = (const log_record *)(log->at + at);
  bool kind = r->kind == LOG_RECORD || r->kind == LOG_TURN || r->kind == LOG_MARK;
  return kind && st_log_whole(r->size) <= log->bytes - at &&
         r->sum == rt_image_sum(&r->kind, st_log_whole(r->size) - offsetof(log_record, kind));
}

static void records_find(unsigned n) {
  const disk_file *log = disk_find(bases[n].d, LOG_PATH);
  for (uint64_t at = ST_LOG_HEADER; at + ST_LOG_RECORD <= log->bytes && bases[n].records < RECORDS; at += LOG_UNIT) {
    if (is_record(log, at)) {
      bases[n].at[bases[n].records++] = at;
    }
  }
}

// One was closed, the others died with something in the log; one while it was folded, one at another address.
static void base_make(unsigned n, uint64_t dice) {
  static story s;
  shared on;
  s = (story){.dice = dice};
  shared_open(&on, disk_new());
  story_run(&s, &on, 1, 15);
  bases[n].before = disk_copy(on.d);
  if (n != 0) {
    MUST(story_open(&s, &on, n == 2), "%s", veil_error());
    on.slow = n == 3 ? 10000 : 0;
    for (int i = 0; i < 30; i++) {
      MUST(story_commit(&s, 30, i % 8 == 0) == VEIL_OK, "%s", veil_error());
    }
    story_die(&s);
  }
  disk_forget(on.d);
  bases[n].told = s.states;
  bases[n].d = on.d;
  records_find(n);
  shared_close(&on);
}

// ---- Torn: nothing is mended.

static hostile file_of(disk *d, const char *name, random_state *r) {
  disk_file *file = disk_find(d, name);
  return (hostile){file->at, file->bytes, {random_next(r)}};
}

static uint64_t sector_of(const hostile *h, random_state *r) {
  return random_below(r, (random_below(r, 3) == 0 ? 16384 : h->size) / DISK_SECTOR) * DISK_SECTOR;
}

static void torn_change(unsigned n, random_state *r) {
  const char *name = random_below(r, 2) ? PATH : LOG_PATH;
  hostile h = file_of(changed, name, r);
  uint64_t to = sector_of(&h, r), from = sector_of(&h, r);
  const disk_file *other = disk_find(random_below(r, 3) == 0 ? bases[n].before : bases[(n + 1) % BASES].d, name);
  switch (random_below(r, 8)) {
  case 0:
    hostile_bytes(&h, h.bytes, h.size);
    break;
  case 1:
    hostile_bytes(&h, h.bytes, random_below(r, 2) ? 8192 : 256);
    break;
  case 2:
    disk_find(changed, name)->bytes = random_below(r, 4) == 0 ? random_below(r, 9000) : random_below(r, h.size);
    break;
  case 3:
    memset(h.bytes + to, random_below(r, 2) ? 0 : 0xff, DISK_SECTOR);
    break;
  case 4:
    memmove(h.bytes + to, h.bytes + from, DISK_SECTOR);
    break;
  case 5: // another store's
    to = to < other->bytes - DISK_SECTOR ? to : 0;
    memcpy(h.bytes + to, other->at + to, DISK_SECTOR);
    break;
  case 6: // a whole file that belongs to another, or is older
    changed->io.ftruncate(changed, changed->io.open(changed, name, 0, 0), other->bytes);
    memcpy(disk_find(changed, name)->at, other->at, other->bytes);
    break;
  default: // a bit of a record
    if (bases[n].records != 0) {
      h = file_of(changed, LOG_PATH, r);
      h.bytes[bases[n].at[random_below(r, bases[n].records)] + random_below(r, 64)] ^=
          (uint8_t)(1u << random_below(r, 8));
    }
  }
}

// ---- Lies: checksums are mended.

// And of those that follow, whose chain goes through it.
static void record_mend(unsigned n, uint8_t *log, uint64_t at, uint64_t sum_was) {
  for (unsigned left = RECORDS; left-- != 0;) {
    log_record *r = (log_record *)(log + at);
    r->sum = rt_image_sum(&r->kind, st_log_whole(r->size) - offsetof(log_record, kind));
    uint64_t next = 0;
    for (unsigned i = 0; i < bases[n].records && sum_was != r->sum; i++) {
      const log_record *other = (const log_record *)(log + bases[n].at[i]);
      next = bases[n].at[i] != at && other->chain == sum_was ? bases[n].at[i] : next;
    }
    if (next == 0) {
      return;
    }
    log_record *follows = (log_record *)(log + next);
    follows->chain = r->sum;
    sum_was = follows->sum;
    at = next;
  }
}

// A word of the record's: the head of an item, or any.
static uint64_t *word_choose(log_record *record, random_state *r) {
  const uint64_t *first = (const uint64_t *)(record + 1), *at = first, *limit = first + record->size / 8;
  st_item item;
  for (uint64_t n = random_below(r, 12); n != 0 && at < limit; n--) {
    const uint64_t *here = at;
    if (!st_item_read(&at, limit, 4096, UINT64_C(1) << 30, &item) || at >= limit) {
      at = here;
      break;
    }
  }
  uint64_t *chosen = (uint64_t *)(uintptr_t)at;
  return chosen + (random_below(r, 3) == 0 && limit - at > 8 ? random_below(r, 8) : 0);
}

// A run of a page's item that reaches its end, or beyond.
static void run_lie(log_record *record, random_state *r) {
  uint64_t *first = (uint64_t *)(record + 1), *limit = first + record->size / 8;
  const uint64_t *at = first;
  uint16_t *run = NULL;
  for (st_item item; at < limit && st_item_read(&at, limit, 4096, UINT64_C(1) << 30, &item);) {
    if (item.kind == ST_PAGE && (run == NULL || random_below(r, 4) == 0)) {
      run = (uint16_t *)(uintptr_t)(item.at + 1) + 2 * random_below(r, item.count);
    }
  }
  if (run != NULL) { // its unit, and one less than it has; a page has 512
    run[random_below(r, 2)] = (uint16_t)(random_below(r, 3) == 0 ? random_next(r) : 500 + random_below(r, 30));
  }
}

static void log_lie(unsigned n, random_state *r) {
  hostile h = file_of(changed, LOG_PATH, r);
  uint64_t at = bases[n].at[random_below(r, bases[n].records)];
  log_record *record = (log_record *)(h.bytes + at);
  uint64_t was = record->sum;
  uint32_t room = (uint32_t)(st_log_whole(record->size) - ST_LOG_RECORD);
  for (uint64_t k = 1 + random_below(r, 3); k != 0 && record->size >= 8; k--) {
    switch (random_below(r, 8)) {
    case 0:
      record->size = (uint32_t)random_below(r, room + 1);
      break;
    case 1:
      record->sequence = hostile_number(&h.random, record->sequence, h.size);
      break;
    case 2:
      record->kind = random_below(r, 2) ? LOG_MARK : LOG_TURN;
      break;
    case 3:
      hostile_bytes(&h, (uint8_t *)(record + 1), record->size);
      break;
    case 4:
    case 5:
      run_lie(record, r);
      break;
    default: {
      uint64_t *word = word_choose(record, r);
      *word =
          random_below(r, 2) ? *word ^ UINT64_C(1) << random_below(r, 64) : hostile_number(&h.random, *word, h.size);
    }
    }
  }
  record_mend(n, h.bytes, at, was);
}

static void lie_change(unsigned n, random_state *r) {
  if (bases[n].records != 0 && random_below(r, 2) == 0) {
    log_lie(n, r);
  } else {
    hostile h = file_of(changed, PATH, r);
    hostile_image_change(&h);
    disk_find(changed, PATH)->bytes = h.size;
  }
}

// ---- The trial.

static struct { unsigned refused, damaged, aborted, good; } figures[2];

// What the bases are depends on the time that things take, and on the store's random name: so the files are kept for
// who wants them.
static void files_keep(void) {
  const char *folder = getenv("STORE_KEEP"), *const names[] = {PATH, LOG_PATH};
  for (int i = 0; i < 2 && folder != NULL; i++) {
    char path[300];
    snprintf(path, sizeof path, "%s%s", folder, names[i]);
    FILE *f = fopen(path, "wb");
    const disk_file *file = disk_find(changed, names[i]);
    MUST(f != NULL && fwrite(file->at, 1, file->bytes, f) == file->bytes && fclose(f) == 0, "%s", path);
    printf("kept: %s\n", path);
  }
}

static void round_one(unsigned number) {
  random_state r = {seed + (uint64_t)number * 7919};
  unsigned n = (unsigned)random_below(&r, BASES);
  lies = random_below(&r, 2) == 0;
  reads_only = random_below(&r, 4) == 0;
  elsewhere = random_below(&r, 3) == 0;
  told = &bases[n].told;
  changed = disk_copy(bases[n].d);
  if (lies) {
    lie_change(n, &r);
  } else {
    torn_change(n, &r);
  }
  disk_restart(changed);
  disk_rebase(changed);
  death d = death_within(SECONDS, look, NULL);
  bool opened = strstr(d.said, "opened\n") != NULL, says = d.signal == SIGABRT && strstr(d.said, "veil: ") != NULL;
  if (d.signal == 0 && (d.code == 0 || d.code == REFUSED)) {
    figures[lies].good += d.code == 0;
    figures[lies].refused += d.code == REFUSED;
  } else if (says && (strstr(d.said, "damaged") != NULL || strstr(d.said, "cannot be read") != NULL)) {
    figures[lies].damaged++;
  } else if (says && lies && opened) {
    figures[lies].aborted++;
  } else {
    files_keep();
    found("round %u, base %u, %s, %s%s: signal %d, code %d: %s", number, n, lies ? "lies" : "torn",
          reads_only  ? "to read"
          : elsewhere ? "elsewhere"
                      : "there",
          opened ? ", opened" : "", d.signal, d.code, d.said);
  }
  disk_free(changed);
}

void trial_fuzz(void) {
  uint64_t dice = seed;
  for (unsigned n = 0; n < BASES; n++) {
    base_make(n, graph_dice(&dice));
  }
  unsigned first = getenv("STORE_ROUND") != NULL ? (unsigned)strtoul(getenv("STORE_ROUND"), NULL, 10) : 0,
           rounds = getenv("STORE_ROUND") != NULL ? 1
                    : long_run                    ? 20000
                                                  : 150;
  for (unsigned i = first; i < first + rounds && !enough(); i++) {
    round_one(i);
  }
  for (int i = 0; i < 2; i++) {
    printf("fuzz, %s: %u good, %u refused, %u damaged, %u aborted\n", i == 0 ? "torn" : "lies", figures[i].good,
           figures[i].refused, figures[i].damaged, figures[i].aborted);
  }
  for (unsigned n = 0; n < BASES; n++) {
    disk_free(bases[n].d);
    disk_free(bases[n].before);
  }
}
