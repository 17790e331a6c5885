// SPDX-License-Identifier: MIT
// images.c: what veil-image says of images that are known, and of files that are none.

#include <criterion/criterion.h>
#include <sys/stat.h>
#include "runtime/image/image.h"
#define heap_main image_main // whom file.h's ask runs
#include "tests/tools/file.h"

static char said[40000], path[80], other[100], raw[100];

static const rt_image_layout layout = {4096, 0x7f0000000000, 1 << 20};
static const uint64_t node_slots[] = {0, 8}, table_slots[] = {0}, table_fixed[] = {16};

static void page_fill(char *page, int with) { memset(page, with, 4096); }

// Pages 3 to 5 and 9, of which 5 is zeros; two types, two roots, a section. `twist` changes a bit of each.
static void known_image(const char *to, bool twist) {
  static char pages[3 * 4096], lone[4096];
  rt_image_writer *w;
  page_fill(pages, 'a');
  page_fill(pages + 4096, twist ? 'x' : 'b');
  page_fill(lone, 'c');
  rt_image_type types[] = {
      {.name = "node", .number = 17, .flags = 2, .size = twist ? 32 : 24, .slot_count = 2, .slots = node_slots},
      {.name = "ta\033ble", .number = 18, .size = 8, .fixed = 24, .slot_count = 1, .slots = table_slots, .fixed_slot_count = 1, .fixed_slots = table_fixed}};
  rt_image_root roots[] = {{"the_cache", 0x7f0000003010}, {twist ? "late" : "early", 0x7f0000009000}};
  cr_assert_eq(rt_image_create(&w, to, &layout, NULL), VEIL_OK);
  cr_assert_eq(rt_image_begin(w), VEIL_OK);
  cr_assert_eq(rt_image_put(w, 3, 3, pages), VEIL_OK);
  cr_assert_eq(rt_image_put(w, twist ? 10 : 9, 1, lone), VEIL_OK);
  cr_assert_eq(rt_image_put_types(w, types, 2), VEIL_OK);
  cr_assert_eq(rt_image_put_roots(w, roots, 2), VEIL_OK);
  cr_assert_eq(rt_image_put_section(w, "blocks", twist ? "ABCE" : "ABCD", 4), VEIL_OK);
  cr_assert_eq(rt_image_commit(w, NULL), VEIL_OK);
  rt_image_close(w);
}

static void files_make(void) {
  snprintf(path, sizeof path, "/tmp/veil-image-tool-%d", (int)getpid());
  snprintf(other, sizeof other, "%s.other", path);
  snprintf(raw, sizeof raw, "%s.raw", path);
  known_image(path, false);
  known_image(other, true);
}
static void files_remove(void) {
  unlink(path);
  unlink(other);
  unlink(raw);
}

#define SAYS(TEXT) cr_assert_not_null(strstr(said, TEXT), "\"%s\" is not in:\n%s", TEXT, said)
#define SAYS_NOT(TEXT) cr_assert_null(strstr(said, TEXT), "\"%s\" is in:\n%s", TEXT, said)
#define ANSWERS(STATUS, ...) cr_assert_eq(ASK(said, __VA_ARGS__), STATUS, "%s", said)

// Flips a bit of the first page that has so many 'a'.
static void page_damage(void) {
  FILE *f = fopen(path, "r+");
  static char bytes[100000];
  size_t size = fread(bytes, 1, sizeof bytes, f);
  char *at = memmem(bytes, size, "aaaaaaaaaaaaaaaa", 16);
  cr_assert_not_null(at);
  fseek(f, at - bytes + 100, SEEK_SET);
  fputc('A', f);
  fclose(f);
}

Test(images, the_report_has_what_it_is_and_what_it_holds, .init = files_make, .fini = files_remove) {
  ANSWERS(0, path);
  SAYS("Version               1\n");
  SAYS("Heap at               0x7f0000000000\n");
  SAYS("Page size             4096 B\n");
  SAYS("Pages                 4\n");
  SAYS("  of these, zero      1\n");
  SAYS("Types                 2\n");
  SAYS("         4 B  blocks\n");
  SAYS_NOT("Damage");
  ANSWERS(0, "--json", path);
  SAYS("\"version\": 1, ");
  SAYS("\"zero_pages\": 1, ");
  SAYS("{\"bytes\": 4, \"name\": \"blocks\"}");
}

Test(images, types_and_roots_are_listed, .init = files_make, .fini = files_remove) {
  ANSWERS(0, "--types", path);
  SAYS("    17          24         0       0x2  0x");
  SAYS("node                            0 8\n");
  SAYS("ta?ble                          16; elements 0\n"); // nothing that a terminal obeys
  ANSWERS(0, "--roots", path);
  SAYS("    0x7f0000003010             3  the_cache\n");
  SAYS("    0x7f0000009000             9  early\n");
}

Test(images, verify_names_the_page_that_is_damaged, .init = files_make, .fini = files_remove) {
  ANSWERS(0, "--verify", path);
  SAYS("  (none)\n");
  page_damage();
  ANSWERS(1, "--verify", path);
  SAYS("           3  ");
  SAYS("the checksum of page 3, at byte ");
  SAYS("  damaged             1\n");
  ANSWERS(0, path); // pages are not looked at
  ANSWERS(1, "--verify", "--json", path);
  SAYS("\"damaged_pages\": 1");
}

Test(images, what_differs_is_told, .init = files_make, .fini = files_remove) {
  ANSWERS(0, "--compare", path, path);
  SAYS("Pages that are equal  4\n");
  ANSWERS(3, "--compare", other, path);
  SAYS("           4           1  changed\n");
  SAYS("           9           1  added\n");
  SAYS("          10           1  removed\n");
  SAYS("Pages that are equal  2\n");
  SAYS("  changed         section   blocks\n");
  SAYS("  layout changed  type      node\n");
  SAYS("  added           root      early\n");
  SAYS("  removed         root      late\n");
  SAYS_NOT("the_cache");
}

Test(images, pages_and_sections_are_extracted, .init = files_make, .fini = files_remove) {
  static char bytes[10 * 4096 + 1];
  ANSWERS(0, "--extract", raw, path);
  FILE *f = fopen(raw, "r");
  cr_assert_eq(fread(bytes, 1, sizeof bytes, f), 10 * 4096u);
  fclose(f);
  cr_assert(bytes[0] == 0 && bytes[3 * 4096] == 'a' && bytes[5 * 4096 - 1] == 'b' && bytes[5 * 4096] == 0 && bytes[9 * 4096] == 'c');
  ANSWERS(1, "--extract", raw, path); // nothing is overwritten
  SAYS("File exists");
  ANSWERS(0, "--section", "blocks", path);
  cr_assert_str_eq(said, "ABCD");
  ANSWERS(1, "--section", "nothing", path);
  SAYS("has no section nothing");
  unlink(raw);
  page_damage();
  ANSWERS(1, "--extract", raw, path);
  SAYS("page 3");
}

Test(images, compaction_leaves_the_same_image, .init = files_make, .fini = files_remove) {
  ANSWERS(0, "--compact", path);
  ANSWERS(0, path);
  SAYS("Version               2\n");
  page_damage();
  ANSWERS(1, "--compact", path);
  SAYS("page 3");
  ANSWERS(0, path);
  SAYS("Version               2\n");
}

Test(images, a_damaged_version_is_told_of_and_the_one_before_shown, .init = files_make, .fini = files_remove) {
  rt_image_writer *w;
  char page[4096] = "second";
  cr_assert_eq(rt_image_append(&w, path, NULL), VEIL_OK);
  cr_assert_eq(rt_image_begin(w), VEIL_OK);
  cr_assert_eq(rt_image_put(w, 0, 1, page), VEIL_OK);
  cr_assert_eq(rt_image_put_section(w, "blocks", "0123456789abcdefghij", 20), VEIL_OK);
  cr_assert_eq(rt_image_commit(w, NULL), VEIL_OK);
  rt_image_close(w);
  static char bytes[200000];
  FILE *f = fopen(path, "r+");
  size_t size = fread(bytes, 1, sizeof bytes, f);
  char *at = memmem(bytes, size, "0123456789abcdefghij", 20);
  cr_assert_not_null(at);
  fseek(f, at - bytes, SEEK_SET);
  fputc('x', f);
  fclose(f);
  ANSWERS(1, path);
  SAYS("version 2 is damaged: the checksum of the section blocks at byte ");
  SAYS("this is version 1, the one before");
  SAYS("Version               1\n");
}

Test(images, what_is_no_image_is_refused, .init = files_make, .fini = files_remove) {
  ANSWERS(1, "/bin/sh");
  SAYS("is no image of veil's");
  ANSWERS(1, "/nonexistent");
  SAYS("No such file");
  ANSWERS(1, "/tmp");
  SAYS("no regular file");
}

Test(images, wrong_questions_are_told, .init = files_make, .fini = files_remove) {
  ANSWERS(2, "--nothing", path);
  SAYS("--help");
  ANSWERS(2, "--verify", "--types", path);
  SAYS("at a time");
  ANSWERS(2, "--top", "x", path);
  ANSWERS(2, path, other);
  SAYS("more than one file");
  cr_assert_eq(ASK(said, "--help"), 0);
  SAYS("Usage: veil-image");
}
