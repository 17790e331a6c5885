// SPDX-License-Identifier: MIT
// answers.c: what veil-heap says of a heap that is known.

#include <criterion/criterion.h>
#include "tests/tools/known.h"

static char said[20000];

static const char *known_path(void) {
  static dump_file f;
  known_write(&f);
  return f.path;
}

#define SAYS(TEXT) cr_assert_not_null(strstr(said, TEXT), "\"%s\" is not in:\n%s", TEXT, said)
#define SAYS_NOT(TEXT) cr_assert_null(strstr(said, TEXT), "\"%s\" is in:\n%s", TEXT, said)

Test(answers, the_report_has_types_sets_and_roots) {
  const char *path = known_path();
  cr_assert_eq(ASK(said, (char *)path), 0, "%s", said);
  SAYS("Objects reached       5\n");
  SAYS("Objects not reached   2\n");
  SAYS("Stopped for           1.5 ms\n");
  SAYS("             3         144 B   52.9 %  node\n");
  SAYS("             1          48 B   17.6 %  pointer[]\n");
  // The frame and the slots share what is below.
  SAYS("          96 B   35.3 %             2    0x7f0000001008  pointer[3] ");
  SAYS("             1           0 B    0.0 %             0  stacks of threads\n");
  SAYS("          80 B   29.4 %             1  handles\n");
  SAYS("slots the_cache (program)\n");
  SAYS("stack of thread 7 (worker)\n");
  unlink(path);
}

Test(answers, why_names_the_root_the_slots_and_the_types) {
  const char *path = known_path();
  cr_assert_eq(ASK(said, "--why", "0x7f0000001030", (char *)path), 0, "%s", said);
  SAYS("Held by: stack of thread 7 (worker), 0x7fff00\n");
  SAYS("  (root)        0x7f0000001008        48 B  pointer[3]\n");
  SAYS("  [0]           0x7f0000001030        48 B  node\n");
  cr_assert_eq(ASK(said, "--why", "0x7f000000109f", (char *)path), 0, "%s",
               said); // an address within c, which the frame refers to as well
  SAYS("0x7f0000001090        48 B  node\n");
  cr_assert_eq(ASK(said, "--why", "node", (char *)path), 0, "%s", said);
  SAYS("Objects reached       3\n");
  SAYS("held by: slots the_cache (program) [1]\n");
  cr_assert_eq(ASK(said, "--why", "pointer[]", (char *)path), 0, "%s", said);
  cr_assert_eq(ASK(said, "--why", "0x7f0000002000", (char *)path), 0, "%s", said);
  SAYS("is garbage");
  cr_assert_eq(ASK(said, "--why", "0x7f0000003000", (char *)path), 1, "%s", said);
  SAYS("no object is at 0x7f0000003000");
  cr_assert_eq(ASK(said, "--why", "byte", (char *)path), 1, "%s", said); // there, but not reached
  unlink(path);
}

Test(answers, an_object_is_shown_with_all_that_is_around_it) {
  const char *path = known_path();
  cr_assert_eq(ASK(said, "--object", "0x7f0000001090", (char *)path), 0, "%s", said);
  SAYS("Type                  node\n");
  SAYS("Retains               48 B\n");
  SAYS("  +16             0x7f0000020000");
  SAYS("  +0              0x7f0000001060");
  SAYS("  +0              0x7f0000002000"); // garbage refers to it, too
  SAYS("finalizer           0x401234  node_close (program)\n");
  cr_assert_eq(ASK(said, "--object", "0x7f0000001008", (char *)path), 0, "%s", said);
  SAYS("Held by               roots of several kinds\n");
  SAYS("  [0]             0x7f0000001030");
  SAYS("     +12  stack of thread 7 (worker), 0x7fff00\n");
  cr_assert_eq(ASK(said, "--object", "0x7f0000001030", (char *)path), 0, "%s", said);
  SAYS("Goes with             0x7f0000001008 pointer[3]\n");
  SAYS("weak          0x7f0000002000");
  cr_assert_eq(ASK(said, "--object", "node", (char *)path), 1, "%s", said);
  unlink(path);
}

Test(answers, a_type_retains_what_goes_with_all_its_objects) {
  const char *path = known_path();
  cr_assert_eq(ASK(said, "--type", "node", (char *)path), 0, "%s", said);
  SAYS("Objects               3\n");
  SAYS("Retain together       144 B\n");
  SAYS("             2  node\n");
  SAYS("             1  frame\n");
  cr_assert_eq(ASK(said, "--type", "nothing", (char *)path), 1, "%s", said);
  unlink(path);
}

Test(answers, roots_are_listed_with_what_they_are) {
  const char *path = known_path();
  cr_assert_eq(ASK(said, "--roots", (char *)path), 0, "%s", said);
  SAYS("slots the_cache (program) [1]\n");
  SAYS("handles, 0x999000\n");
  cr_assert_eq(ASK(said, "--roots", "--top", "1", (char *)path), 0, "%s", said);
  SAYS("... and 2 more (--top 0)\n");
  unlink(path);
}

Test(answers, growth_is_by_type) {
  static dump_file second;
  const char *path = known_path();
  // The same without the table's root: it stays alive by the frame; and without the slots.
  known_write(&second);
  cr_assert_eq(ASK(said, "--diff", (char *)path, second.path), 0, "%s", said);
  SAYS("Objects               +0\n");
  SAYS("(none)");
  unlink(path);
  unlink(second.path);
}

Test(answers, what_an_entry_of_a_weak_table_holds_is_alive_by_its_key) {
  static dump_file f;
  static const known_entry held = {DUMP_ENTRY_KEYS, KNOWN_FRAME, KNOWN_A, KNOWN_BYTES};
  known_write_with(&f, &held, 1);
  cr_assert_eq(ASK(said, f.path), 0, "%s", said);
  SAYS("Objects reached       6\n");
  SAYS("Weak tables' entries  1\n");
  SAYS("         128 B   32.0 %  byte[]\n");
  cr_assert_eq(ASK(said, "--why", "byte", f.path), 0, "%s", said);
  SAYS("  entry of weak table 0x7f0000020000, whose key is 0x7f0000001030    0x7f0000030008       128 B  byte[100]\n");
  cr_assert_eq(ASK(said, "--object", "0x7f0000001030", f.path), 0, "%s", said);
  SAYS("Retains               176 B\n"); // b is held by the slots, too
  SAYS("  key           0x7f0000020000    0x7f0000001030    0x7f0000030008  keys\n");
  cr_assert_eq(ASK(said, "--object", "0x7f0000030008", f.path), 0, "%s", said);
  SAYS("Goes with             0x7f0000001030 node\n");
  SAYS("  value         0x7f0000020000");
  unlink(f.path);
  static const known_entry back = {DUMP_ENTRY_VALUES, KNOWN_FRAME, KNOWN_D, KNOWN_A};
  known_write_with(&f, &back, 1);
  cr_assert_eq(ASK(said, "--why", "0x7f0000002000", f.path), 0, "%s", said);
  SAYS("  entry of weak table 0x7f0000020000, whose value is 0x7f0000001030    0x7f0000002000        48 B  node\n");
  cr_assert_eq(ASK(said, "--object", "0x7f0000020000", f.path), 0, "%s", said);
  SAYS("  table         0x7f0000020000    0x7f0000002000    0x7f0000001030  values\n");
  unlink(f.path);
}

Test(answers, an_entry_holds_nothing_without_its_table_its_key_or_if_both_are_weak) {
  static const known_entry entries[] = {{DUMP_ENTRY_KEYS, KNOWN_D, KNOWN_A, KNOWN_BYTES},
                                        {DUMP_ENTRY_KEYS, KNOWN_FRAME, KNOWN_D, KNOWN_BYTES},
                                        {DUMP_ENTRY_VALUES, KNOWN_FRAME, KNOWN_A, KNOWN_BYTES},
                                        {DUMP_ENTRY_BOTH, KNOWN_FRAME, KNOWN_A, KNOWN_BYTES}};
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
    static dump_file f;
    known_write_with(&f, &entries[i], 1);
    cr_assert_eq(ASK(said, f.path), 0, "%s", said);
    SAYS("Objects reached       5\n");
    cr_assert_eq(ASK(said, "--why", "0x7f0000030008", f.path), 0, "%s", said);
    SAYS("is garbage");
    unlink(f.path);
  }
}

Test(answers, json_is_json) {
  const char *path = known_path();
  static const char *const asked[][2] = {{"--quiet", NULL},  {"--why", "node"}, {"--object", "0x7f0000001090"},
                                         {"--type", "node"}, {"--roots", NULL}, {"--diff", "SELF"}};
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    char command[400];
    const char *second = asked[i][1] == NULL ? "--json" : strcmp(asked[i][1], "SELF") == 0 ? path : asked[i][1];
    cr_assert_eq(ASK(said, "--json", (char *)asked[i][0], (char *)second, (char *)path), 0, "%s", said);
    snprintf(command, sizeof command, "python3 -c 'import json, sys; json.load(sys.stdin)'");
    FILE *check = popen(command, "w");
    fputs(said, check);
    cr_assert_eq(pclose(check), 0, "%s", said);
  }
  unlink(path);
}

Test(answers, asked_wrongly_it_says_so) {
  cr_assert_eq(ASK(said, "--help"), 0);
  SAYS("Usage: veil-heap");
  cr_assert_eq(ask(said, sizeof said, (char *[]){"veil-heap", NULL}), 2);
  SAYS("no file");
  cr_assert_eq(ASK(said, "--sizes", "x"), 2);
  SAYS("no such option, or nothing behind it: --sizes");
  cr_assert_eq(ASK(said, "--top", "ten", "x"), 2);
  cr_assert_eq(ASK(said, "--roots", "--why", "node", "x"), 2);
  cr_assert_eq(ASK(said, "x", "y"), 2);
  cr_assert_eq(ASK(said, "/nowhere/at all"), 1);
  SAYS("No such file");
  cr_assert_eq(ASK(said, "/dev/null"), 1);
  SAYS("is no file");
}
