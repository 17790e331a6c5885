// SPDX-License-Identifier: MIT
// program.c: a C program that knows nothing of veil but what is installed.

#include <stdio.h>
#include <veil/hooks.h>
#include <veil/veil.h>

typedef struct node {
  struct node *left, *right;
  long key;
} node;
VEIL_TYPE(node, left, right);

typedef struct link {
  struct link *next;
} link_of_one;
VEIL_TYPE(link_of_one, next); // one field

static node *build(veil_thread *self, int depth) {
  node *n = veil_new(self, node);
  n->key = 1;
  if (depth > 0) {
    n->left = build(self, depth - 1);
    n->right = build(self, depth - 1);
    n->key += n->left->key + n->right->key;
  }
  return n;
}

int main(void) {
  veil_heap *heap = veil_open(NULL);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 1;
  }
  veil_thread *self = veil_attach(heap);
  node *tree = build(self, 12);
  link_of_one *one = veil_new(self, link_of_one);
  one->next = one;
  veil_collect(self);
  bool right = tree->key == 8191 && tree->left->right->key == 2047 && one->next == one && veil_heap_pages(heap).page_size >= 4096;
  veil_detach(self);
  veil_close(heap);
  puts(right ? "as it should be" : "wrong");
  return right ? 0 : 1;
}
