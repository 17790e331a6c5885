// SPDX-License-Identifier: MIT
// record.h: what is in a record of the log: items, one behind the other, in words of 8 bytes.
//
// Neighbours: commit.c composes records, open.c goes through those that were found. Knows no files and no heap. Any thread.
//
// An item begins with a word: kind (4 bits), n (20 bits), value (40 bits).
//   PAGE      value: the page; n: runs. Then each run, 4 bytes: unit, and units less one; zeros to a word; then the runs' units, of 8 bytes, as the page has them now.
//   GONE      value: the first page that is not in use any more, or has just come into use: whose contents are zeros from here on; then a word: how many there are.
//   SECTION   value: bytes; n: length of the name. Then the name, and the bytes, each with zeros to a word.
//   NO_SECTION  n: length of the name, which follows. There is no such section any more.

#ifndef RT_STORE_RECORD_H
#define RT_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum st_kind { ST_PAGE = 1, ST_GONE, ST_SECTION, ST_NO_SECTION } st_kind;

enum { ST_NAME_MOST = 31 };

typedef struct st_item {
  st_kind kind;
  uint64_t value; // page, or bytes of a section
  uint64_t count; // runs, or pages
  const uint64_t *at;    // the item
  const char *name;      // not ended by a zero
  size_t name_length;
  const void *bytes;     // of a section
} st_item;

// The item at *at, which is then behind it. False: there is no proper one between it and `limit`, for pages of this size, of which there are so many.
bool st_item_read(const uint64_t **at, const uint64_t *limit, size_t page_size, uint64_t pages, st_item *out);

// Words that a page's item takes at most.
size_t st_page_words(size_t page_size);
// The item that makes `now` of `was`, to `to`; its words, 0 if they are equal. *changed grows by the bytes that differ.
size_t st_page_write(uint64_t *to, uint64_t page, const void *was, const void *now, size_t page_size, uint64_t *changed);
// Puts the values of a PAGE that was read or written by the above into the page.
void st_page_apply(const uint64_t *item, void *page);

// Words of the others, and the items themselves. `bytes` NULL: no such section.
enum { ST_GONE_WORDS = 2 };
void st_gone_write(uint64_t *to, uint64_t first, uint64_t count);
size_t st_section_words(const char *name, size_t bytes);
void st_section_write(uint64_t *to, const char *name, const void *bytes, size_t size);

#endif
