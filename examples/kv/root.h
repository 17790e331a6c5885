// SPDX-License-Identifier: MIT
// root.h: the one object from which all others are reached, but for what threads hold.

#ifndef KV_ROOT_H
#define KV_ROOT_H

#include "kv.h"

typedef struct kv_roots {
  void **tables;  // owned: KV_SHARDS tables, each under its shard's lock
  void **clients; // owned: by slot
} kv_roots;
extern kv_roots *kv_root;

#endif
