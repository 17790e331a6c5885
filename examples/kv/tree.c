// SPDX-License-Identifier: MIT
// tree.c: the order of a sorted set: a treap (Seidel and Aragon) whose nodes are the members, each with the size of its subtree.
//
// Its priorities are random, so it is some 2 log2(n) deep whatever the scores. Nothing is allocated here. Under the shard's lock.

#include "collection.h"

static uint32_t size_of(const kv_member *node) { return node != NULL ? node->size : 0; }
static void size_set(kv_member *node) { node->size = 1 + size_of(node->left) + size_of(node->right); }

static int order(const kv_member *a, double score, kv_text text) {
  if (a->score != score) {
    return a->score < score ? -1 : 1;
  }
  kv_text key = kv_item_key(&a->head);
  int by = memcmp(key.at, text.at, key.length < text.length ? key.length : text.length);
  return by != 0 ? by : (key.length > text.length) - (key.length < text.length);
}

// Cuts a tree in what comes before `member` and what comes behind it.
static void split(kv_member *node, const kv_member *member, kv_text text, kv_member **before, kv_member **behind) {
  if (node == NULL) {
    *before = *behind = NULL;
    return;
  }
  kv_member *part = NULL;
  if (order(node, member->score, text) < 0) {
    split(node->right, member, text, &part, behind);
    node->right = part;
    *before = node;
  } else {
    split(node->left, member, text, before, &part);
    node->left = part;
    *behind = node;
  }
  size_set(node);
}

static kv_member *join(kv_member *before, kv_member *behind) {
  if (before == NULL || behind == NULL) {
    return before != NULL ? before : behind;
  }
  if (before->priority > behind->priority) {
    before->right = join(before->right, behind);
    size_set(before);
    return before;
  }
  behind->left = join(before, behind->left);
  size_set(behind);
  return behind;
}

static kv_member *insert(kv_member *node, kv_member *member, kv_text text) {
  if (node == NULL || member->priority > node->priority) {
    kv_member *before, *behind;
    split(node, member, text, &before, &behind);
    member->left = before;
    member->right = behind;
    size_set(member);
    return member;
  }
  if (order(node, member->score, text) < 0) {
    node->right = insert(node->right, member, text);
  } else {
    node->left = insert(node->left, member, text);
  }
  node->size++;
  return node;
}

void kv_tree_insert(kv_sorted *sorted, kv_member *member) {
  member->left = member->right = NULL;
  sorted->root = insert(sorted->root, member, kv_item_key(&member->head));
}

static kv_member *removed(kv_member *node, kv_member *member, kv_text text) {
  if (node == member) {
    return join(node->left, node->right);
  }
  if (order(node, member->score, text) < 0) {
    node->right = removed(node->right, member, text);
  } else {
    node->left = removed(node->left, member, text);
  }
  node->size--;
  return node;
}

void kv_tree_remove(kv_sorted *sorted, kv_member *member) {
  sorted->root = removed(sorted->root, member, kv_item_key(&member->head));
  member->left = member->right = NULL;
}

uint64_t kv_tree_rank(const kv_sorted *sorted, const kv_member *member) {
  kv_text text = kv_item_key(&member->head);
  uint64_t rank = 0;
  const kv_member *node = sorted->root;
  while (node != member) {
    if (order(node, member->score, text) < 0) {
      rank += size_of(node->left) + 1;
      node = node->right;
    } else {
      node = node->left;
    }
  }
  return rank + size_of(node->left);
}

uint64_t kv_tree_below(const kv_sorted *sorted, double score, bool also) {
  uint64_t count = 0;
  for (const kv_member *node = sorted->root; node != NULL;) {
    if (node->score < score || (also && node->score == score)) {
      count += size_of(node->left) + 1;
      node = node->right;
    } else {
      node = node->left;
    }
  }
  return count;
}

kv_member *kv_tree_at(const kv_sorted *sorted, uint64_t rank) {
  kv_member *node = sorted->root;
  for (;;) {
    uint64_t left = size_of(node->left);
    if (rank == left) {
      return node;
    }
    node = rank < left ? node->left : node->right;
    rank -= rank < left ? 0 : left + 1;
  }
}

typedef struct each {
  uint64_t from, to;
  bool reverse;
  void (*visit)(void *arg, kv_member *member);
  void *arg;
} each;

// `first` is the rank of the subtree's first member.
static void each_in(const each *e, kv_member *node, uint64_t first) {
  while (node != NULL && first < e->to && first + node->size > e->from) {
    uint64_t rank = first + size_of(node->left);
    kv_member *now = e->reverse ? node->right : node->left, *then = e->reverse ? node->left : node->right;
    each_in(e, now, e->reverse ? rank + 1 : first);
    if (rank >= e->from && rank < e->to) {
      e->visit(e->arg, node);
    }
    first = e->reverse ? first : rank + 1;
    node = then;
  }
}

void kv_tree_each(const kv_sorted *sorted, uint64_t from, uint64_t to, bool reverse, void (*visit)(void *arg, kv_member *member), void *arg) {
  each e = {from, to, reverse, visit, arg};
  each_in(&e, sorted->root, 0);
}
