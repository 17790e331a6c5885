// SPDX-License-Identifier: MIT
// check.c: says what was wrong, and aborts.
//
// Neighbours: check.h. Any thread, signal handlers too: formats by hand into the stack, one write(2).

#include "vm/check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct line {
  size_t length;
  char text[512];
};

static void put(struct line *line, const char *s, size_t n) {
  // One byte stays for the newline.
  size_t room = sizeof line->text - 1 - line->length;
  n = n < room ? n : room;
  memcpy(line->text + line->length, s, n);
  line->length += n;
}

static void put_string(struct line *line, const char *s) { put(line, s, strlen(s)); }

static void put_number(struct line *line, uint64_t value, unsigned base) {
  char digits[24];
  size_t at = sizeof digits;
  do {
    digits[--at] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  put(line, digits + at, sizeof digits - at);
}

static void put_signed(struct line *line, int64_t value) {
  if (value < 0) {
    put(line, "-", 1);
  }
  put_number(line, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

// One conversion; `f` stands behind the '%'. Where it ends.
static const char *put_conversion(struct line *line, const char *f, va_list *args) {
  bool wide = false;
  while (*f == 'l' || *f == 'z') {
    wide = true;
    f++;
  }
  switch (*f) {
  case 's': {
    const char *s = va_arg(*args, const char *);
    put_string(line, s != NULL ? s : "(null)");
    break;
  }
  case 'c': {
    char c = (char)va_arg(*args, int);
    put(line, &c, 1);
    break;
  }
  case 'd':
    put_signed(line, wide ? va_arg(*args, long) : va_arg(*args, int));
    break;
  case 'u':
    put_number(line, wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 10);
    break;
  case 'x':
    put_number(line, wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 16);
    break;
  case 'p':
    put_string(line, "0x");
    put_number(line, (uintptr_t)va_arg(*args, void *), 16);
    break;
  case '%':
    put(line, "%", 1);
    break;
  default: // not of the subset: show it as it stands
    put(line, "%", 1);
    return f;
  }
  return f + 1;
}

static void put_format(struct line *line, const char *format, va_list *args) {
  while (*format != 0) {
    size_t plain = strcspn(format, "%");
    put(line, format, plain);
    format += plain;
    if (*format == '%') {
      format = put_conversion(line, format + 1, args);
    }
  }
}

static _Noreturn void say_and_abort(struct line *line) {
  line->text[line->length++] = '\n';
  ssize_t ignored = write(2, line->text, line->length);
  (void)ignored;
  abort();
}

void vm_check_failed(const char *file, int line_number, const char *condition, const char *format, ...) {
  struct line line = {0};
  put_string(&line, "veil: ");
  put_string(&line, file);
  put_string(&line, ":");
  put_signed(&line, line_number);
  put_string(&line, ": ");
  put_string(&line, condition);
  put_string(&line, ": ");
  va_list args;
  va_start(args, format);
  put_format(&line, format, &args);
  va_end(args);
  say_and_abort(&line);
}

void vm_fatal(const char *format, ...) {
  struct line line = {0};
  put_string(&line, "veil: ");
  va_list args;
  va_start(args, format);
  put_format(&line, format, &args);
  va_end(args);
  say_and_abort(&line);
}
