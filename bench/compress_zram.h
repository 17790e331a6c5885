// SPDX-License-Identifier: MIT
// compress_zram.h: a swap device in compressed memory, for as long as something is compared with it.
//
// All that changes the system is done by a process of its own, the guard, which undoes it when it is told to, and when its parent ends in whatever way: by an error, by Ctrl-C, by SIGKILL.
// It keeps standard output open until then, so that who waits for that finds the device as it was.

#ifndef BENCH_COMPRESS_ZRAM_H
#define BENCH_COMPRESS_ZRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Starts the guard. Before there are threads; once.
void zram_begin(void);

// Makes a device with this algorithm swap space, before all other. NULL, or why not: a line that stays valid until the next call. What it says is no failure of the program's: there is no
// device, or it is in use, or this is not root.
const char *zram_up(const char *algorithm, size_t bytes);

// Pages out [at, at + bytes), private anonymous memory, and says how many pages are out. NULL, or why they are not in the device.
const char *zram_page_out(char *at, size_t bytes, size_t *pages);

// Whether the page at this address is paged out.
bool zram_is_out(const char *page);

// Bytes of memory that the device takes for what is in it (mm_stat: mem_used_total), without its table of pages.
uint64_t zram_held(void);

// Undoes zram_up, if it did anything. NULL, or what is left of it.
const char *zram_down(void);

#endif
