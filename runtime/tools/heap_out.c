// SPDX-License-Identifier: MIT
// heap_out.c: what is found, as tables for people or as JSON, from the same calls.

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "runtime/tools/heap.h"

static void json_text(const char *text) {
  putchar('"');
  for (; *text != 0; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      printf("\\%c", c);
    } else if (c < ' ' || c >= 0x7f) {
      printf("\\u%04x", c); // of bytes that are no ASCII, one by one: a name may be in any encoding
    } else {
      putchar(c);
    }
  }
  putchar('"');
}

static void json_value(heap_format kind, heap_value v) {
  switch (kind) {
  case HEAP_NUMBER:
  case HEAP_BYTES:
    printf("%" PRIu64, v.n);
    break;
  case HEAP_DELTA:
    printf("%" PRId64, v.delta);
    break;
  case HEAP_SHARE:
    printf("%.6f", v.share);
    break;
  case HEAP_ADDRESS:
    if (v.n != 0) {
      printf("\"0x%" PRIx64 "\"", v.n);
    } else {
      printf("null");
    }
    break;
  case HEAP_TEXT:
    json_text(v.text);
    break;
  }
}

static const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB"};

static void bytes_text(char *to, size_t room, double n, bool sign) {
  int unit = 0;
  double size = n < 0 ? -n : n;
  for (; size >= 10000 && unit < 4; unit++) {
    size /= 1024;
    n /= 1024;
  }
  if (sign) {
    snprintf(to, room, unit == 0 ? "%+.0f %s" : "%+.1f %s", n, units[unit]);
  } else {
    snprintf(to, room, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
  }
}

static void plain_value(heap_format kind, heap_value v, int width) {
  char text[64];
  switch (kind) {
  case HEAP_NUMBER:
    snprintf(text, sizeof text, "%" PRIu64, v.n);
    break;
  case HEAP_BYTES:
    bytes_text(text, sizeof text, (double)v.n, false);
    break;
  case HEAP_DELTA:
    snprintf(text, sizeof text, "%+" PRId64, v.delta);
    break;
  case HEAP_SHARE:
    snprintf(text, sizeof text, "%.1f %%", 100 * v.share);
    break;
  case HEAP_ADDRESS:
    snprintf(text, sizeof text, v.n != 0 ? "0x%" PRIx64 : "-", v.n);
    break;
  case HEAP_TEXT:
    printf("%*s", -width, v.text);
    return;
  }
  printf("%*s", width, text);
}

void heap_out_begin(heap_out *out) {
  if (out->json) {
    printf("{");
  }
}

void heap_out_end(heap_out *out) {
  if (out->json) {
    printf("}\n");
  }
}

static void key_put(heap_out *out, const char *key) {
  printf(out->any ? ", " : "");
  out->any = true;
  json_text(key);
  printf(": ");
}

void heap_out_value(heap_out *out, const char *key, const char *title, heap_format kind, heap_value value) {
  if (out->json) {
    key_put(out, key);
    json_value(kind, value);
  } else if (title != NULL) {
    printf("%-22s", title);
    plain_value(kind, value, 0);
    putchar('\n');
  }
}

void heap_out_table(heap_out *out, const char *key, const char *title, const heap_column *columns) {
  out->columns = columns;
  out->rows = false;
  if (out->json) {
    key_put(out, key);
    printf("[");
    return;
  }
  printf("\n%s\n", title);
  for (const heap_column *c = columns; c->key != NULL; c++) {
    if (c->kind == HEAP_TEXT) {
      printf("  %*s", c[1].key != NULL ? -c->width : 0, c->title);
    } else {
      printf("  %*s", c->width, c->title);
    }
  }
  putchar('\n');
}

void heap_out_row(heap_out *out, const heap_value *values) {
  printf(out->json ? (out->rows ? ", {" : "{") : "");
  for (const heap_column *c = out->columns; c->key != NULL; c++) {
    heap_value v = values[c - out->columns];
    if (out->json) {
      printf(c != out->columns ? ", " : "");
      json_text(c->key);
      printf(": ");
      json_value(c->kind, v);
    } else {
      printf("  ");
      plain_value(c->kind, v, c[1].key != NULL || c->kind != HEAP_TEXT ? c->width : 0);
    }
  }
  printf(out->json ? "}" : "\n");
  out->rows = true;
}

void heap_out_table_end(heap_out *out) {
  if (out->json) {
    printf("]");
  } else if (!out->rows) {
    printf("  (none)\n");
  }
}

void heap_out_note(heap_out *out, const char *format, ...) {
  if (!out->json) {
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
  }
}
