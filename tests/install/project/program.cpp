// SPDX-License-Identifier: MIT
// program.cpp: a C++ program that knows nothing of veil but what is installed: templates, namespaces, private fields,
// threads. C++11 and later.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>
#include <veil/hooks.h>
#include <veil/veil.h>

#define REQUIRE(what)                                                                                                  \
  do {                                                                                                                 \
    if (!(what)) {                                                                                                     \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                          \
      std::exit(1);                                                                                                    \
    }                                                                                                                  \
  } while (0)

namespace outer {
namespace inner {

struct base {
  base *up;
  explicit base(base *u) : up(u) {}
};

// Not laid out as in C, with private fields, and a constructor.
class node : public base {
public:
  node(node *l, node *r, long k) : base(nullptr), left_(l), right_(r), key_(k) {}
  long sum() const { return key_ + (left_ ? left_->sum() : 0) + (right_ ? right_->sum() : 0); }
  const node *left() const { return left_; }

private:
  node *left_;
  node *const volatile right_;
  long key_;
  VEIL_FRIEND(node);
};
VEIL_TYPE(node, up, left_, right_);

struct shape { // with a table of virtual functions
  shape *next;
  virtual long area() const = 0;

protected:
  ~shape() = default;
};
struct square final : shape {
  long side;
  explicit square(long s) : side(s) {}
  long area() const override { return side * side; }
};
VEIL_TYPE(square, next);

} // namespace inner

template <class T>
struct pair {
  T *first, *second;
  T plain;
};

} // namespace outer

typedef outer::pair<outer::inner::node> node_pair;
VEIL_TYPE(node_pair, first, second);
typedef outer::pair<long> long_pair;
VEIL_TYPE(long_pair, first, second);

struct many {
  many *child[3];
  void (*function)();
};
VEIL_TYPE(many, child[0], child[1], child[2]);

struct published {
  std::atomic<published *> next;
  long key;
};
VEIL_TYPE_TAGGED(published, NULL, next);

extern "C" {
struct plain_c {
  plain_c *next;
};
VEIL_TYPE(plain_c, next); // a header of C's
}

static const veil_encoding low_bits = {1 << 0 | 1 << 1, 0, 0};
struct cell {
  uintptr_t car, cdr;
};
VEIL_TYPE_TAGGED(cell, &low_bits, car, cdr);

struct sample {
  double x, y, z;
};
VEIL_LEAF(sample);

struct frame {
  size_t used;
  void *slot[4];
};
extern "C" void frame_trace(const void *, const void *alias, size_t, size_t, size_t, veil_visitor *visitor) {
  for (size_t i = 0; i < static_cast<const frame *>(alias)->used; i++) {
    veil_visit(visitor, offsetof(frame, slot) + i * sizeof(void *));
  }
}
VEIL_TYPE_TRACE(frame, frame_trace);

// A type that only the instance knows, as a class in a namespace.
template <class T, class... Args>
static T *make(veil_thread *self, Args... args) {
  return new (veil_new(self, T)) T(args...);
}

using outer::inner::node;

static node *build(veil_thread *self, int depth) {
  if (depth == 0) {
    return make<node>(self, static_cast<node *>(nullptr), static_cast<node *>(nullptr), 1L);
  }
  node *left = build(self, depth - 1);
  node *right = build(self, depth - 1);
  return make<node>(self, left, right, 1L);
}

template <class T>
static outer::pair<T> *pairs_build(veil_thread *self, size_t count) {
  outer::pair<T> *pairs = veil_new_array(self, outer::pair<T>, count);
  REQUIRE(veil_length(veil_thread_heap(self), pairs) == count);
  return pairs;
}

static void worker(veil_heap *heap, std::atomic<long> *total) {
  veil_thread *self = veil_attach(heap);
  REQUIRE(self != nullptr);
  for (int i = 0; i < 20; i++) {
    node *tree = build(self, 12);
    pairs_build<node>(self, 10)[9].first = tree;
    *total += tree->sum();
  }
  veil_detach(self);
}

static void kinds(veil_thread *self) {
  many *m = veil_new(self, many);
  m->child[2] = veil_new(self, many);
  published *p = veil_new(self, published);
  p->next = veil_new(self, published);
  p->next.load()->key = 11;
  plain_c *c = veil_new(self, plain_c);
  c->next = c;
  cell *list = veil_new(self, cell);
  cell *second = veil_new(self, cell);
  second->car = 42 << 2 | 2;
  list->cdr = reinterpret_cast<uintptr_t>(second) | 1;
  second = nullptr;
  frame *f = veil_new(self, frame);
  f->used = 2;
  f->slot[1] = c;
  sample *samples = veil_new_array(self, sample, 100);
  samples[99].z = 0.5;
  void **pointers = veil_new_pointers(self, 3);
  pointers[2] = samples;
  char *text = static_cast<char *>(veil_new_bytes(self, 6));
  text[5] = '!';
  outer::inner::square *square = make<outer::inner::square>(self, 3L);
  square->next = make<outer::inner::square>(self, 4L);
  outer::pair<long> *longs = pairs_build<long>(self, 2);
  veil_collect(self);
  veil_collect(self);
  REQUIRE(m->child[2]->child[0] == nullptr && p->next.load()->key == 11 && c->next == c);
  REQUIRE(reinterpret_cast<cell *>(list->cdr & ~static_cast<uintptr_t>(7))->car == (42 << 2 | 2));
  REQUIRE(f->slot[1] == c && static_cast<sample *>(pointers[2])[99].z > 0.4 && text[5] == '!');
  REQUIRE(square->area() == 9 && square->next->area() == 16 && longs[1].plain == 0);
}

int main() {
  veil_options options = {};
  options.limit = size_t(64) << 20;
  veil_heap *heap = veil_open(&options);
  if (heap == nullptr) {
    std::fprintf(stderr, "%s\n", veil_error());
    return 1;
  }
  veil_thread *self = veil_attach(heap);
  kinds(self);
  std::atomic<long> total(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++) {
    threads.emplace_back(worker, heap, &total);
  }
  veil_block_begin(self);
  for (std::thread &thread : threads) {
    thread.join();
  }
  veil_block_end(self);
  REQUIRE(total == 3L * 20 * 8191);
  veil_verify(self);
  veil_detach(self);
  veil_close(heap);
  std::puts("as it should be");
}
