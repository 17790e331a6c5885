// SPDX-License-Identifier: MIT
// image_compare.c: how one image differs from another: pages, sections, types, roots.

#include <stdlib.h>
#include <string.h>
#include "runtime/tools/image.h"

#define END_OF_COLUMNS                                                                                                                                         \
  { NULL, NULL, 0, HEAP_TEXT }

typedef struct comparison {
  heap_out *out;
  const rt_image *before, *after;
  uint64_t same, changed, added, removed; // pages
  uint64_t run_first, run_count;          // pages that differ in the same way, one behind the other
  const char *run_how;
  unsigned top, rows;
  bool different;
} comparison;

// ---- Pages.

static void run_end(comparison *c) {
  if (c->run_count != 0 && (c->top == 0 || c->rows < c->top)) {
    c->rows++;
    heap_out_row(c->out, (heap_value[]){{.n = c->run_first}, {.n = c->run_count}, {.text = c->run_how}});
  }
  c->run_count = 0;
}

static void page_note(comparison *c, uint64_t page, uint64_t count, uint64_t *sum, const char *how) {
  *sum += count;
  if (how == NULL) {
    return;
  }
  c->different = true;
  if (c->run_count != 0 && (c->run_how != how || c->run_first + c->run_count != page)) {
    run_end(c);
  }
  if (c->run_count == 0) {
    c->run_first = page;
    c->run_how = how;
  }
  c->run_count += count;
}

// Pages that both have, and neither as a run of zeros. VEIL_OK, or the error is set.
static veil_status pages_compare(comparison *c, uint64_t first, uint64_t count, char *pages) {
  uint32_t page_size = rt_image_info_of(c->after)->layout.page_size;
  uint64_t most = (1u << 20) / page_size;
  for (uint64_t done = 0; done < count; done += most) {
    uint64_t n = count - done < most ? count - done : most;
    char *a = pages, *b = pages + n * page_size;
    veil_status status = rt_image_read(c->before, first + done, n, a, NULL);
    status = status == VEIL_OK ? rt_image_read(c->after, first + done, n, b, NULL) : status;
    if (status != VEIL_OK) {
      return status;
    }
    for (uint64_t i = 0; i < n; i++) {
      bool same = memcmp(a + i * page_size, b + i * page_size, page_size) == 0;
      page_note(c, first + done + i, 1, same ? &c->same : &c->changed, same ? NULL : "changed");
    }
  }
  return VEIL_OK;
}

static bool run_at(const rt_image *image, uint64_t page, rt_image_run *run) {
  if (rt_image_next(image, page, run)) {
    return true;
  }
  *run = (rt_image_run){.first = UINT64_MAX};
  return false;
}

static veil_status all_compare(comparison *c, image_progress *progress, char *pages) {
  uint64_t page = 0;
  rt_image_run a, b;
  veil_status status = VEIL_OK;
  for (;;) {
    run_at(c->before, page, &a);
    run_at(c->after, page, &b);
    uint64_t first = a.first < b.first ? a.first : b.first;
    if (first == UINT64_MAX || status != VEIL_OK) {
      return status;
    }
    uint64_t count;
    if (a.first != b.first) { // one has none there
      const rt_image_run *one = a.first < b.first ? &a : &b, *other = a.first < b.first ? &b : &a;
      count = one->count < other->first - first ? one->count : other->first - first;
      page_note(c, first, count, one == &a ? &c->removed : &c->added, one == &a ? "removed" : "added");
    } else {
      count = a.count < b.count ? a.count : b.count;
      if (a.zero && b.zero) {
        page_note(c, first, count, &c->same, NULL);
      } else {
        status = pages_compare(c, first, count, pages);
      }
    }
    page = first + count;
    image_progress_show(progress, c->same + c->changed + c->added, rt_image_info_of(c->after)->pages);
  }
}

// ---- Tables: what stands in one and not in the other, or otherwise.

static void row(comparison *c, const char *what, const char *name, const char *how) {
  c->different = true;
  heap_out_row(c->out, (heap_value[]){{.text = how}, {.text = what}, {.text = image_name(name)}});
}

static void sections_compare(comparison *c) {
  const void *a, *b;
  size_t a_bytes, b_bytes;
  const char *name;
  for (size_t i = 0; (name = rt_image_section_name(c->before, i)) != NULL; i++) {
    rt_image_section(c->before, name, &a, &a_bytes);
    if (rt_image_section(c->after, name, &b, &b_bytes) != VEIL_OK) {
      row(c, "section", name, "removed");
    } else if (a_bytes != b_bytes || memcmp(a, b, a_bytes) != 0) {
      row(c, "section", name, "changed");
    }
  }
  for (size_t i = 0; (name = rt_image_section_name(c->after, i)) != NULL; i++) {
    if (rt_image_section(c->before, name, &a, &a_bytes) != VEIL_OK) {
      row(c, "section", name, "added");
    }
  }
}

static int by_name(const void *a, const void *b) {
  const rt_image_type *x = *(const rt_image_type *const *)a, *y = *(const rt_image_type *const *)b;
  int order = strcmp(x->name, y->name);
  return order != 0 ? order : x->hash < y->hash ? -1 : x->hash > y->hash;
}

static const rt_image_type **types_sorted(const rt_image *image, size_t *count) {
  const rt_image_type *types;
  *count = rt_image_types(image, &types);
  const rt_image_type **sorted = malloc((*count + 1) * sizeof *sorted);
  for (size_t i = 0; sorted != NULL && i < *count; i++) {
    sorted[i] = &types[i];
  }
  if (sorted != NULL) {
    qsort(sorted, *count, sizeof *sorted, by_name);
  }
  return sorted;
}

static bool types_compare(comparison *c) {
  size_t a_count, b_count, i = 0, k = 0;
  const rt_image_type **a = types_sorted(c->before, &a_count), **b = types_sorted(c->after, &b_count);
  while (a != NULL && b != NULL && (i < a_count || k < b_count)) {
    int order = i == a_count ? 1 : k == b_count ? -1 : strcmp(a[i]->name, b[k]->name);
    if (order == 0 && a[i]->hash != b[k]->hash) {
      row(c, "type", a[i]->name, "layout changed");
    } else if (order == 0 && a[i]->number != b[k]->number) {
      row(c, "type", a[i]->name, "number changed");
    } else if (order != 0) {
      row(c, "type", order < 0 ? a[i]->name : b[k]->name, order < 0 ? "removed" : "added");
    }
    i += order <= 0;
    k += order >= 0;
  }
  bool good = a != NULL && b != NULL;
  free(a);
  free(b);
  return good;
}

static void roots_compare(comparison *c) {
  const rt_image_root *a, *b, *other;
  size_t a_count = rt_image_roots(c->before, &a), b_count = rt_image_roots(c->after, &b);
  for (size_t i = 0; i < a_count; i++) {
    other = rt_image_root_named(c->after, a[i].name);
    if (other == NULL || other->address != a[i].address) {
      row(c, "root", a[i].name, other == NULL ? "removed" : "changed");
    }
  }
  for (size_t i = 0; i < b_count; i++) {
    if (rt_image_root_named(c->before, b[i].name) == NULL) {
      row(c, "root", b[i].name, "added");
    }
  }
}

int image_compare(heap_out *out, const rt_image *before, const rt_image *after, image_progress *progress, unsigned top) {
  static const heap_column page_columns[] = {{"page", "page", 12, HEAP_NUMBER},
                                             {"count", "count", 10, HEAP_NUMBER},
                                             {"how", "how", 0, HEAP_TEXT},
                                             END_OF_COLUMNS},
                           name_columns[] = {{"how", "how", 14, HEAP_TEXT}, {"what", "what", 8, HEAP_TEXT}, {"name", "name", 0, HEAP_TEXT}, END_OF_COLUMNS};
  comparison c = {.out = out, .before = before, .after = after, .top = top};
  const rt_image_layout *a = &rt_image_info_of(before)->layout, *b = &rt_image_info_of(after)->layout;
  if (a->page_size != b->page_size) {
    image_complain("the one has pages of %u bytes, the other of %u", a->page_size, b->page_size);
    return IMAGE_DIFFERENT;
  }
  char *pages = malloc(2 << 20);
  heap_out_table(out, "pages", "Pages", page_columns);
  veil_status status = pages != NULL ? all_compare(&c, progress, pages) : VEIL_NO_MEMORY;
  image_progress_end(progress);
  run_end(&c);
  heap_out_table_end(out);
  free(pages);
  heap_out_table(out, "names", "Sections, types and roots", name_columns);
  sections_compare(&c);
  bool good = types_compare(&c) && status == VEIL_OK;
  roots_compare(&c);
  heap_out_table_end(out);
  heap_out_value(out, "same", "Pages that are equal", HEAP_NUMBER, (heap_value){.n = c.same});
  heap_out_value(out, "changed", "  changed", HEAP_NUMBER, (heap_value){.n = c.changed});
  heap_out_value(out, "added", "  added", HEAP_NUMBER, (heap_value){.n = c.added});
  heap_out_value(out, "removed", "  removed", HEAP_NUMBER, (heap_value){.n = c.removed});
  if (a->base != b->base) {
    c.different = true;
    heap_out_note(out, "The heaps were at different addresses: 0x%llx, 0x%llx\n", (unsigned long long)a->base, (unsigned long long)b->base);
  }
  if (!good) {
    image_complain("%s", status == VEIL_NO_MEMORY ? "no memory" : veil_error());
    return IMAGE_DAMAGED;
  }
  return c.different ? IMAGE_DIFFERENT : 0;
}
