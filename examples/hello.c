// SPDX-License-Identifier: MIT
// hello.c: the example of the README. Builds a tree of a million objects, many times over, and frees none.

#include <stdio.h>
#include <veil/veil.h>

typedef struct node {
  struct node *left, *right;
  long key;
} node;
VEIL_TYPE(node, left, right); // its pointer fields; checked at compile time

static node *build(veil_thread *self, int depth) {
  node *n = veil_new(self, node); // zeroed, moving, collected
  n->key = 1;
  if (depth > 0) {
    n->left = build(self, depth - 1); // a plain store
    n->right = build(self, depth - 1);
    n->key += n->left->key + n->right->key; // plain loads
  }
  return n; // stacks and registers are found by themselves
}

int main(void) {
  veil_heap *heap = veil_open(NULL); // defaults; VEIL_OPTIONS in the environment
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 1;
  }
  veil_thread *self = veil_attach(heap);
  long sum = 0;
  for (int i = 0; i < 20; i++) {
    sum += build(self, 19)->key;
  }
  veil_stats stats;
  veil_get_stats(heap, &stats);
  printf("%ld nodes, %llu cycles, longest stop %.0f us, %s\n", sum, (unsigned long long)stats.major_cycles,
         (double)stats.flip_max_ns / 1000, veil_back_end(heap));
  veil_detach(self);
  veil_close(heap);
}
