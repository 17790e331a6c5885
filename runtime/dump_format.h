// SPDX-License-Identifier: MIT
// dump_format.h: what a heap dump looks like in a file. README.md (A heap dump) has the whole of it.
//
// Neighbours: dump*.c write it, tools/ read it and share nothing else with the library.

#ifndef RT_DUMP_FORMAT_H
#define RT_DUMP_FORMAT_H

#include <stddef.h>
#include <stdint.h>

// The first bytes; a transfer that changes line ends or the high bit is seen.
#define DUMP_MAGIC "\x89veildump\r\n\x1a"
enum {
  DUMP_MAGIC_BYTES = 12,
  DUMP_VERSION = 3,
  DUMP_BYTE_ORDER = 0x04030201, // as the writer's words lie in memory
  DUMP_PAYLOAD_MAX = 2 << 20,
  DUMP_FIRST = 0x80,            // in a block's kind: a section begins
};

// The file: this, then blocks.
typedef struct dump_header {
  char magic[DUMP_MAGIC_BYTES];
  uint32_t byte_order, version, crc; // of what is before it
} dump_header;

typedef struct dump_block {
  uint32_t kind;   // dump_section, perhaps DUMP_FIRST
  uint32_t number; // from 0
  uint32_t bytes;  // of the payload, which follows
  uint32_t crc;    // of the three words before, and the payload
} dump_block;

// The payloads of a section's blocks, one behind the other, are its stream.
typedef enum dump_section {
  DUMP_INFO = 1,
  DUMP_TYPES,
  DUMP_THREADS,
  DUMP_OBJECTS, // several: each thread that gathered has its own
  DUMP_HOLDERS,
  DUMP_ROOTS,
  DUMP_LINKS,
  DUMP_ENTRIES,
  DUMP_NAMES,
  DUMP_END, // and nothing behind it
} dump_section;

// What a holder is. Stored: numbers stay.
typedef enum dump_by {
  DUMP_BY_NOTHING = 0,
  DUMP_BY_STACK,               // owner: the thread's id
  DUMP_BY_REGISTERS,           // the same
  DUMP_BY_COROUTINE,           // owner: the end of its stack
  DUMP_BY_COROUTINE_REGISTERS, // the same
  DUMP_BY_COROUTINE_SLOT,      // the same
  DUMP_BY_VARIABLE,            // owner: its segment's first byte
  DUMP_BY_THREAD_LOCAL,        // owner: the thread's id
  DUMP_BY_SYSTEM_CALL,
  DUMP_BY_PIN,
  DUMP_BY_SLOTS,               // owner: the first of them
  DUMP_BY_THREAD_SLOTS,        // owner: the thread's id
  DUMP_BY_CALLBACK,            // a range it has reported; owner: the function
  DUMP_BY_CALLBACK_SLOT,       // a slot it has reported; the same
  DUMP_BY_START,               // what a thread begins with, or has returned
  DUMP_BY_HANDLE,
  DUMP_BY_FINALIZER_QUEUE,     // owner: the finalizer
  DUMP_BY_NAME,                // owner: an address that stands for the name
  DUMP_BY_COUNT
} dump_by;

// Links that hold nothing.
typedef enum dump_link { DUMP_LINK_WEAK = 1, DUMP_LINK_FINALIZER } dump_link;

// Entries of weak tables, which hold something as long as the table lives: with weak keys the value, while the key lives; with weak values the key, while the value does.
typedef enum dump_entry { DUMP_ENTRY_KEYS = 1, DUMP_ENTRY_VALUES, DUMP_ENTRY_BOTH } dump_entry;

// Layouts of types. A flexible array has slots in the part before its elements as well.
typedef enum dump_layout { DUMP_LEAF = 0, DUMP_DENSE, DUMP_MAP, DUMP_TAGGED, DUMP_TRACED, DUMP_FLEXIBLE, DUMP_LAYOUTS } dump_layout;

// An object's first number: its type << DUMP_TYPE_SHIFT, and these.
enum {
  DUMP_APART = 1,  // not right behind the object before: its distance follows
  DUMP_ARRAY = 2,  // its length follows; as it does if its type is sized
  DUMP_HASHED = 4, // its cell is 16 bytes longer
  DUMP_YOUNG = 8,  // in the nursery
  DUMP_TYPE_SHIFT = 4,
};

// A slot's number.
enum {
  DUMP_REST = 0, // this one and all behind it refer to nothing
  DUMP_NONE = 1, // this one
  DUMP_RUN = 2,  // so many as follows, and two
  DUMP_REFERENCE = 3, // and more: where to
};

// CRC-32 as zip and PNG have it (ISO 3309), eight bytes at a time after Kounavis and Berry (2005). `table` is made by dump_crc_make.
typedef struct dump_crc {
  uint32_t table[8][256];
} dump_crc;

static inline void dump_crc_make(dump_crc *crc) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) {
      c = (c >> 1) ^ ((c & 1) ? 0xedb88320u : 0);
    }
    crc->table[0][i] = c;
  }
  for (int k = 1; k < 8; k++) {
    for (uint32_t i = 0; i < 256; i++) {
      crc->table[k][i] = (crc->table[k - 1][i] >> 8) ^ crc->table[0][crc->table[k - 1][i] & 0xff];
    }
  }
}

// Goes on from `before`, which is 0 at first.
static inline uint32_t dump_crc_of(const dump_crc *crc, uint32_t before, const void *bytes, size_t count) {
  const unsigned char *at = bytes;
  uint32_t c = ~before;
  for (; count >= 8; count -= 8, at += 8) {
    uint32_t low, high;
    __builtin_memcpy(&low, at, 4);
    __builtin_memcpy(&high, at + 4, 4);
    low ^= c;
    c = crc->table[7][low & 0xff] ^ crc->table[6][(low >> 8) & 0xff] ^ crc->table[5][(low >> 16) & 0xff] ^ crc->table[4][low >> 24] ^
        crc->table[3][high & 0xff] ^ crc->table[2][(high >> 8) & 0xff] ^ crc->table[1][(high >> 16) & 0xff] ^ crc->table[0][high >> 24];
  }
  for (; count != 0; count--, at++) {
    c = (c >> 8) ^ crc->table[0][(c ^ *at) & 0xff];
  }
  return ~c;
}

static inline uint32_t dump_block_crc(const dump_crc *crc, const dump_block *block, const void *payload) {
  return dump_crc_of(crc, dump_crc_of(crc, 0, block, offsetof(dump_block, crc)), payload, block->bytes);
}

// Signed numbers, small ones first.
static inline uint64_t dump_zigzag(int64_t n) { return ((uint64_t)n << 1) ^ (uint64_t)(n >> 63); }
static inline int64_t dump_unzigzag(uint64_t n) { return (int64_t)(n >> 1) ^ -(int64_t)(n & 1); }

#endif
