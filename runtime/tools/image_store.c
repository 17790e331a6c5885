// SPDX-License-Identifier: MIT
// image_store.c: what a store is: an image, and a log beside it. What the log has for the image, and whether both are whole and belong together. Nothing is changed.

#include <inttypes.h>
#include <string.h>
#include "runtime/store/inspect.h"
#include "runtime/tools/image.h"

static void value(heap_out *out, const char *key, const char *title, heap_format kind, uint64_t n) {
  heap_out_value(out, key, title, kind, (heap_value){.n = n});
}

static void text(heap_out *out, const char *key, const char *title, const char *what) { heap_out_value(out, key, title, HEAP_TEXT, (heap_value){.text = what}); }

static void mark_report(heap_out *out, const st_inspection *s) {
  char id[40];
  snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, s->mark.id[1], s->mark.id[0]);
  text(out, "store", "Store", id);
  text(out, "state", "  its image", s->mark.closed ? "has everything; the log may be missing" : "needs its log");
  value(out, "place_record", "  needs the log from", HEAP_NUMBER, s->mark.place.sequence);
  value(out, "place_byte", "    at byte", HEAP_NUMBER, s->mark.place.offset);
  value(out, "upto_record", "  has nothing from", HEAP_NUMBER, s->mark.upto);
}

static const char *end_text(const st_log_end *end) {
  switch (end->kind) {
  case ST_LOG_END_ROOM:
    return "the file's end";
  case ST_LOG_END_ZEROS:
    return "nothing was written there yet";
  case ST_LOG_END_OTHER:
    return "what is left of older records";
  case ST_LOG_END_TORN:
    return "a record that is not whole: a crash has cut it off before anybody was told of it, or the medium has damaged it";
  case ST_LOG_END_FOLLOWED:
    return "a record that is not whole, and others follow it: all of them were on their way to the disk when the machine crashed, or the medium has damaged it and the others are lost";
  }
  return "?";
}

static void log_report(heap_out *out, const st_inspection *s) {
  const st_inspected_records *r = &s->records;
  text(out, "log", "Log", s->log_path);
  value(out, "log_bytes", "  its bytes", HEAP_BYTES, s->log_bytes);
  value(out, "log_used_bytes", "  used", HEAP_BYTES, s->log_used);
  value(out, "log_records", "  records to recover", HEAP_NUMBER, r->count);
  value(out, "log_first_record", "    from number", HEAP_NUMBER, r->first);
  value(out, "log_next_record", "    up to, without", HEAP_NUMBER, r->first + r->count);
  value(out, "log_record_bytes", "    their bytes", HEAP_BYTES, r->bytes);
  value(out, "log_page_items", "    pages' changes", HEAP_NUMBER, r->page_items);
  value(out, "log_pages", "      of so many", HEAP_NUMBER, r->pages);
  value(out, "log_value_bytes", "      their values", HEAP_BYTES, r->values);
  value(out, "log_gone_pages", "    zero pages", HEAP_NUMBER, r->gone);
  value(out, "log_sections", "    sections", HEAP_NUMBER, r->sections);
  if (s->log != NULL) {
    value(out, "log_end_byte", "  ends at byte", HEAP_NUMBER, s->end.place.offset);
    text(out, "log_end", "    where there is", end_text(&s->end));
  }
  if (s->end.kind == ST_LOG_END_FOLLOWED) {
    value(out, "log_follower", "    first of them", HEAP_NUMBER, s->end.follower.sequence);
    value(out, "log_follower_byte", "      at byte", HEAP_NUMBER, s->end.follower.offset);
  }
}

// All but the image's pages. An exit status.
static int files_report(heap_out *out, const st_inspection *s) {
  mark_report(out, s);
  if (s->log_there) {
    log_report(out, s);
  } else {
    text(out, "log", "Log", "is not there");
  }
  text(out, "log_damage", NULL, s->why);
  if (s->log_status != VEIL_OK) {
    heap_out_note(out, "%-22s%s\n", "Damage", image_name(s->why));
    return IMAGE_DAMAGED;
  }
  return s->end.kind == ST_LOG_END_FOLLOWED ? IMAGE_UNSURE : 0;
}

int image_store_report(heap_out *out, const char *path) {
  st_inspection s;
  int status = 0;
  veil_status looked = st_inspect(path, NULL, &s);
  if (looked == VEIL_OK) {
    status = files_report(out, &s);
  } else if (looked == VEIL_BUSY) {
    text(out, "log", "Log", "is not looked at:");
    heap_out_note(out, "  %s\n", image_name(veil_error()));
  } else {
    image_complain("%s", veil_error());
    status = IMAGE_DAMAGED;
  }
  st_inspect_close(&s);
  return status;
}

int image_store_verify(heap_out *out, const char *path, image_progress *progress, unsigned top) {
  st_inspection s;
  int status = IMAGE_DAMAGED;
  veil_status looked = st_inspect(path, NULL, &s);
  if (looked == VEIL_BUSY) {
    image_complain("%s; a store is verified while nobody writes it, or a backup of it is", veil_error());
  } else if (looked != VEIL_OK) {
    image_complain("%s", veil_error());
    if (s.image != NULL) {
      image_report_verify(out, s.image, progress, top);
    }
  } else {
    int pages = image_report_verify(out, s.image, progress, top);
    status = files_report(out, &s);
    status = pages != 0 ? pages : status;
    if (s.log_status != VEIL_OK) {
      image_complain("%s", s.why);
    }
  }
  st_inspect_close(&s);
  return status;
}
