// SPDX-License-Identifier: MIT
// image_report.c: what an image is, what it holds, and whether its pages are what they were.

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "runtime/tools/image.h"

#define END_OF_COLUMNS                                                                                                                                         \
  { NULL, NULL, 0, HEAP_TEXT }

static void value(heap_out *out, const char *key, const char *title, heap_format kind, uint64_t n) {
  heap_out_value(out, key, title, kind, (heap_value){.n = n});
}

static void head_report(heap_out *out, const rt_image_info *info, const char *path) {
  char when[64] = "?";
  time_t seconds = (time_t)(info->time / 1000000000);
  struct tm tm;
  if (gmtime_r(&seconds, &tm) != NULL) {
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
  }
  heap_out_value(out, "file", NULL, HEAP_TEXT, (heap_value){.text = path});
  value(out, "version", "Version", HEAP_NUMBER, info->version);
  heap_out_value(out, "time", "Time", HEAP_TEXT, (heap_value){.text = when});
  heap_out_value(out, "kind", "Written as", HEAP_TEXT, (heap_value){.text = info->stream ? "a stream" : "a file"});
  value(out, "base", "Heap at", HEAP_ADDRESS, info->layout.base);
  value(out, "span_bytes", "  its span", HEAP_BYTES, info->layout.span);
  value(out, "page_bytes", "Page size", HEAP_BYTES, info->layout.page_size);
  value(out, "pages", "Pages", HEAP_NUMBER, info->pages);
  value(out, "heap_bytes", "  their bytes", HEAP_BYTES, info->pages * info->layout.page_size);
  value(out, "zero_pages", "  of these, zero", HEAP_NUMBER, info->zero_pages);
  value(out, "stored_bytes", "  stored in", HEAP_BYTES, info->stored);
  value(out, "file_bytes", "File", HEAP_BYTES, info->file);
  value(out, "needed_bytes", "  needed", HEAP_BYTES, info->needed);
  value(out, "segments", "Segments of the map", HEAP_NUMBER, info->segments);
  value(out, "extents", "Extents", HEAP_NUMBER, info->extents);
  heap_out_value(out, "damage", NULL, HEAP_TEXT, (heap_value){.text = info->damage});
  if (*info->damage != 0) {
    heap_out_note(out, "%-22s%s\n", "Damage", info->damage);
  }
}

void image_report(heap_out *out, const rt_image *image, const char *path) {
  static const heap_column columns[] = {{"bytes", "bytes", 12, HEAP_BYTES}, {"name", "section", 0, HEAP_TEXT}, END_OF_COLUMNS};
  const rt_image_type *types;
  const rt_image_root *roots;
  head_report(out, rt_image_info_of(image), path);
  value(out, "types", "Types", HEAP_NUMBER, rt_image_types(image, &types));
  value(out, "roots", "Named roots", HEAP_NUMBER, rt_image_roots(image, &roots));
  heap_out_table(out, "sections", "Sections", columns);
  for (size_t i = 0; rt_image_section_name(image, i) != NULL; i++) {
    const char *name = rt_image_section_name(image, i);
    const void *contents;
    size_t bytes = 0;
    rt_image_section(image, name, &contents, &bytes);
    heap_out_row(out, (heap_value[]){{.n = bytes}, {.text = name}});
  }
  heap_out_table_end(out);
}

enum { TRANSIENT = 2 }; // in a slot's offset: it is NULL in what is saved

static void offsets_text(const uint64_t *offsets, uint32_t count, char *to, size_t room) {
  *to = 0;
  for (uint32_t i = 0; i < count; i++) {
    size_t used = strlen(to);
    if (room - used < 48) {
      snprintf(to + used, room - used, " …");
      return;
    }
    bool transient = (offsets[i] & TRANSIENT) != 0;
    snprintf(to + used, room - used, "%s%" PRIu64 "%s", i == 0 ? "" : " ", offsets[i] & ~(uint64_t)TRANSIENT, transient ? " (transient)" : "");
  }
}

void image_report_types(heap_out *out, const rt_image *image) {
  static const heap_column columns[] = {
      {"number", "number", 6, HEAP_NUMBER}, {"size", "size", 10, HEAP_NUMBER}, {"fixed", "fixed", 8, HEAP_NUMBER},  {"flags", "flags", 8, HEAP_ADDRESS},
      {"hash", "layout", 18, HEAP_ADDRESS}, {"name", "type", 30, HEAP_TEXT},   {"slots", "slots at", 0, HEAP_TEXT}, END_OF_COLUMNS};
  const rt_image_type *types;
  size_t count = rt_image_types(image, &types);
  heap_out_table(out, "types", "Types", columns);
  for (size_t i = 0; i < count; i++) {
    const rt_image_type *t = &types[i];
    char fixed[200], slots[500];
    offsets_text(t->fixed_slots, t->fixed_slot_count, fixed, sizeof fixed);
    offsets_text(t->slots, t->slot_count, slots, sizeof slots);
    char both[720];
    snprintf(both, sizeof both, "%s%s%s", fixed, *fixed != 0 ? "; elements " : "", slots);
    heap_out_row(
        out, (heap_value[]){{.n = t->number}, {.n = t->size}, {.n = t->fixed}, {.n = t->flags}, {.n = t->hash}, {.text = image_name(t->name)}, {.text = both}});
  }
  heap_out_table_end(out);
}

void image_report_roots(heap_out *out, const rt_image *image) {
  static const heap_column columns[] = {
      {"address", "address", 18, HEAP_ADDRESS}, {"page", "page", 12, HEAP_NUMBER}, {"name", "root", 0, HEAP_TEXT}, END_OF_COLUMNS};
  const rt_image_root *roots;
  const rt_image_layout *layout = &rt_image_info_of(image)->layout;
  size_t count = rt_image_roots(image, &roots);
  heap_out_table(out, "roots", "Roots", columns);
  for (size_t i = 0; i < count; i++) {
    uint64_t inside = roots[i].address - layout->base;
    heap_out_row(out,
                 (heap_value[]){{.n = roots[i].address}, {.n = inside < layout->span ? inside / layout->page_size : 0}, {.text = image_name(roots[i].name)}});
  }
  heap_out_table_end(out);
}

// ---- Verifying.

typedef struct verification {
  image_progress *progress;
  heap_out *out;
  uint64_t damaged;
  unsigned top;
} verification;

static bool progress_pass(void *arg, uint64_t done, uint64_t of) { return image_progress_show(((verification *)arg)->progress, done, of); }

static bool damage_row(void *arg, uint64_t page, const char *what) {
  verification *v = arg;
  if (v->damaged++ < v->top || v->top == 0) {
    image_progress_end(v->progress);
    heap_out_row(v->out, (heap_value[]){{.n = page}, {.text = image_name(what)}});
  }
  return true;
}

int image_report_verify(heap_out *out, const rt_image *image, image_progress *progress, unsigned top) {
  static const heap_column columns[] = {{"page", "page", 12, HEAP_NUMBER}, {"damage", "damage", 0, HEAP_TEXT}, END_OF_COLUMNS};
  verification v = {.progress = progress, .out = out, .top = top};
  const rt_image_info *info = rt_image_info_of(image);
  heap_out_table(out, "damaged", "Damaged pages", columns);
  veil_status status = rt_image_verify(image, progress_pass, damage_row, &v);
  image_progress_end(progress);
  heap_out_table_end(out);
  value(out, "pages", "Pages", HEAP_NUMBER, info->pages);
  value(out, "damaged_pages", "  damaged", HEAP_NUMBER, v.damaged);
  heap_out_value(out, "damage", NULL, HEAP_TEXT, (heap_value){.text = info->damage});
  if (*info->damage != 0) {
    heap_out_note(out, "%-22s%s\n", "Damage", info->damage);
  }
  if (status != VEIL_OK && v.damaged == 0) {
    image_complain("%s", veil_error());
  }
  return status != VEIL_OK || info->fallen_back ? IMAGE_DAMAGED : 0;
}
