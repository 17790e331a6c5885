// SPDX-License-Identifier: MIT
// contents.h: pages as they were committed: what the image has, with what the log has for them since, and copies of some (twins).
//
// Neighbours: commit.c compares with them, fold.c puts them into the image. Under the store's `contents` lock. Items stay where they are, in the log's mirror, until
// st_contents_folded has dropped them.

#ifndef RT_STORE_CONTENTS_H
#define RT_STORE_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/image/image.h"

typedef struct st_contents st_contents;

// `pages`: that the heap may have, at most; `cache`: bytes of twins, at most. NULL: no memory.
st_contents *st_contents_open(size_t page_size, size_t pages, size_t cache);
void st_contents_close(st_contents *c); // NULL is fine; the image is the caller's

// The image's newest version; NULL: there is none yet.
void st_contents_image(st_contents *c, const rt_image *image);

// The page, until the next call. NULL with the error set: it cannot be read, or there is no memory.
const void *st_contents_page(st_contents *c, uint64_t page);
// The page if there is a twin of it, or NULL: nothing is made, read or dropped, so it can be asked for in a stop.
const void *st_contents_twin(st_contents *c, uint64_t page);
// It will be asked for soon: fetches where its entry is said to be; or, `near`, the entry, which asks for the first.
void st_contents_fetch(const st_contents *c, uint64_t page, bool near);
// The same into memory of the caller's, and without a twin.
veil_status st_contents_read(const st_contents *c, uint64_t page, void *to);

// Room for so many of the next two. False: no memory.
bool st_contents_reserve(st_contents *c, size_t items);
// The log has this for the page, in the record of that sequence.
void st_contents_note(st_contents *c, uint64_t page, const uint64_t *item, uint64_t sequence);
// The page holds zeros from that record on.
void st_contents_gone(st_contents *c, uint64_t page, uint64_t sequence);
// The same for all pages of a run of which anything is known; takes no more time than there are such pages, or the run has.
void st_contents_gone_known(st_contents *c, uint64_t first, uint64_t count, uint64_t sequence);
// What is known of the page beside the image and the log's items is not so any more.
void st_contents_forget(st_contents *c, uint64_t page);

// Pages of which the log has anything, ascending, to be freed. NULL: no memory, or *count is 0.
uint64_t *st_contents_list(const st_contents *c, size_t *count);
// What the log has for a page: how many items, oldest first, of which up to `room` go to `items`; whether it is zeros before.
size_t st_contents_items(const st_contents *c, uint64_t page, const uint64_t **items, size_t room, bool *zeros);

// The image has all that records before that sequence say.
void st_contents_folded(st_contents *c, const rt_image *image, uint64_t sequence);

size_t st_contents_cached(const st_contents *c); // bytes of twins

#endif
