// SPDX-License-Identifier: MIT
// ports.c: ports: files, strings and bytevectors, and what the reader and the printer do with them. The primitives are in ports_primitives.c.
//
// All ports have a buffer in the heap, a leaf, which system calls may read and write where it is. Text is UTF-8 in it. Offsets are loaded once and checked
// against the buffer that was loaded, so that threads that use one port at a time may mix up their data but never leave the buffer.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "library.h"
#include "machine.h"

// Which run of the program this is: an image that is started again holds ports whose files are not open any more.
static value this_process(void) {
  static value stamp; // atomic
  value found = __atomic_load_n(&stamp, __ATOMIC_RELAXED);
  if (found == 0) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found = fixnum(((int64_t)now.tv_sec << 20 ^ (int64_t)now.tv_nsec >> 10 ^ (int64_t)getpid() << 40) & GREATEST_FIXNUM);
    __atomic_store_n(&stamp, found, __ATOMIC_RELAXED);
  }
  return found;
}

static value new_port(machine *m, unsigned flags, int fd, value buffer, value name) {
  value made = new_of_kind(m, KIND_PORT, PORT_ITEMS, V_FALSE);
  port *p = OBJECT_(port, made);
  p->fd = fixnum(fd);
  p->buffer = buffer;
  p->start = p->end = fixnum(0);
  p->line = p->column = fixnum(1);
  p->name = name;
  p->process = this_process();
  p->header |= flags | PORT_OPEN;
  return made;
}

// ---- The standard ports.
static void look_at_standard(port *p) { // at first, and when an image was started
  int fd = (int)fixnum_of(p->fd);
  p->process = this_process();
  p->start = p->end = fixnum(0);
  p->line = p->column = fixnum(1);
  p->header &= ~(uint64_t)PORT_TERMINAL;
  p->header |= isatty(fd) ? PORT_TERMINAL : 0;
}
static value standard(machine *m, int root, int fd, unsigned flags, const char *name) {
  value *at = &library_roots(m)[root];
  if (!is_kind(*at, KIND_PORT)) {
    value made = new_port(m, flags, fd, new_bytevector(m, PORT_BUFFER, -1), new_string_utf8(m, name, strlen(name)));
    look_at_standard(OBJECT_(port, made));
    at = &library_roots(m)[root];
    *at = made;
  } else if (OBJECT_(port, *at)->process != this_process()) {
    look_at_standard(OBJECT_(port, *at));
  }
  return *at;
}
value port_stdin(machine *m) { return standard(m, ROOT_STDIN, 0, PORT_INPUT, "stdin"); }
value port_stdout(machine *m) { return standard(m, ROOT_STDOUT, 1, PORT_OUTPUT, "stdout"); }
value port_stderr(machine *m) { return standard(m, ROOT_STDERR, 2, PORT_OUTPUT | PORT_UNBUFFERED, "stderr"); }

static bool is_open(port *p) {
  if (fixnum_of(p->fd) >= 0 && p->process != this_process()) {
    if (fixnum_of(p->fd) <= 2) {
      look_at_standard(p);
    } else {
      p->header &= ~(uint64_t)PORT_OPEN;
    }
  }
  return p->header & PORT_OPEN;
}

port *want_port(machine *m, const char *who, int position, value v, unsigned flags) {
  port *p = OBJECT_(port, v);
  bool fits = is_kind(v, KIND_PORT) && (p->header & (flags & (PORT_INPUT | PORT_OUTPUT))) != 0 && ((p->header ^ flags) & PORT_BINARY) == 0;
  if (!fits) {
    bool in = flags & PORT_INPUT;
    fail_type(m, who, position, flags & PORT_BINARY ? in ? "binary input port" : "binary output port" : in ? "textual input port" : "textual output port", v);
  }
  if (!is_open(p)) {
    fail(m, who, "the port is closed", 1, v);
  }
  return p;
}

// ---- Opening.
static void forgotten(memory_self *self, void *object, void *data) { // an input file that nobody can close any more
  port *p = object;
  if (p->header & PORT_OPEN && p->process == this_process()) {
    p->header &= ~(uint64_t)PORT_OPEN;
    close((int)fixnum_of(p->fd));
  }
}
value port_open_file(machine *m, const char *who, const char *path, bool input, bool binary, bool append) {
  int fd = open(path, (input ? O_RDONLY : O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC)) | O_CLOEXEC | O_NOCTTY, 0666);
  if (fd < 0) {
    fail_file(m, who, path, errno);
  }
  unsigned flags = (input ? PORT_INPUT : PORT_OUTPUT) | (binary ? PORT_BINARY : 0);
  value made = new_port(m, flags, fd, new_bytevector(m, PORT_BUFFER, -1), new_string_utf8(m, path, strlen(path)));
  port *p = OBJECT_(port, made);
  if (input) {
    if (memory_weakness) {
      memory_finalize(m->self, p, forgotten, NULL);
    }
  } else { // what is not closed until the end is written then
    value *all = &library_roots(m)[ROOT_OPEN_PORTS];
    bool stale = is_kind(*all, KIND_PORT) && OBJECT_(port, *all)->process != this_process(); // an image's: then all of them are
    p->next = stale ? V_FALSE : *all;
    *all = made;
  }
  return made;
}
value port_open_string(machine *m, value text) {
  byte_buffer bytes;
  string *s = OBJECT_(string, text);
  buffer_open(&bytes, m, s->length);
  string_utf8(&bytes, s, 0, s->length);
  value made = new_port(m, PORT_INPUT, -1, bytes.bytes, new_string_utf8(m, "string", 6));
  OBJECT_(port, made)->end = fixnum(bytes.used);
  return made;
}
value port_output_string(machine *m) { return new_port(m, PORT_OUTPUT, -1, new_bytevector(m, 112, -1), new_string_utf8(m, "string", 6)); }
value port_string(machine *m, value v) {
  port *p = OBJECT_(port, v);
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t end = fixnum_of(p->end);
  return new_string_text(m, bytes->byte, end < bytes->length ? end : bytes->length);
}
value port_open_bytes(machine *m, value bytes, bool input) { // takes the bytevector
  value made = new_port(m, PORT_BINARY | (input ? PORT_INPUT : PORT_OUTPUT), -1, bytes, new_string_utf8(m, "bytevector", 10));
  OBJECT_(port, made)->end = fixnum(input ? OBJECT_(bytevector, bytes)->length : 0);
  return made;
}

// ---- Output.
static int flush(machine *m, port *p) { // 0 or errno
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t end = fixnum_of(p->end), done = 0;
  if (fixnum_of(p->fd) < 0) {
    return 0;
  }
  p->end = fixnum(0); // in any case: what cannot be written is not tried for ever
  end = end < bytes->length ? end : bytes->length;
  while (done < end) {
    ptrdiff_t wrote = memory_write(m, (int)fixnum_of(p->fd), bytes->byte + done, (size_t)(end - done));
    if (wrote < 0 && errno != EINTR) {
      return errno;
    }
    done += wrote > 0 ? wrote : 0;
  }
  return 0;
}
static void flush_or_fail(machine *m, port *p) {
  int error = flush(m, p);
  if (error != 0) {
    fail_file(m, "write", utf8_of(m, p->name), error);
  }
}
void port_flush(machine *m, value v) { flush_or_fail(m, OBJECT_(port, v)); }
void ports_flush_all(machine *m) {
  value *roots = library_roots(m);
  value process = this_process();
  for (value at = roots[ROOT_OPEN_PORTS]; is_kind(at, KIND_PORT); at = OBJECT_(port, at)->next) {
    if (OBJECT_(port, at)->process == process && OBJECT_(port, at)->header & PORT_OPEN) {
      flush(m, OBJECT_(port, at));
    }
  }
  for (int i = ROOT_STDOUT; i <= ROOT_STDERR; i++) {
    if (is_kind(roots[i], KIND_PORT) && OBJECT_(port, roots[i])->process == process) {
      flush(m, OBJECT_(port, roots[i]));
    }
  }
}

static void grow(machine *m, port *p, int64_t end, int64_t more) { // a string or bytevector port
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t room = 2 * bytes->length > end + more ? 2 * bytes->length : end + more;
  value wider = new_bytevector(m, room, -1);
  memcpy(OBJECT_(bytevector, wider)->byte, bytes->byte, (size_t)(end < bytes->length ? end : bytes->length));
  p->buffer = wider;
}
static void advance(port *p, const uint8_t *bytes, int64_t count) { // line and column
  const uint8_t *last = memrchr(bytes, '\n', (size_t)count);
  if (last == NULL) {
    p->column = fixnum(fixnum_of(p->column) + count);
    return;
  }
  int64_t lines = 0;
  for (const uint8_t *at = bytes; at <= last; at++) {
    lines += *at == '\n';
  }
  p->line = fixnum(fixnum_of(p->line) + lines);
  p->column = fixnum(bytes + count - last);
}
void port_write_bytes(machine *m, port *p, const void *from, int64_t count) {
  const uint8_t *at = from;
  int64_t left = count;
  while (left > 0) {
    bytevector *bytes = OBJECT_(bytevector, p->buffer);
    int64_t end = fixnum_of(p->end), room = bytes->length - end;
    if (room < left && fixnum_of(p->fd) < 0) {
      grow(m, p, end, left);
    } else if (room <= 0) {
      flush_or_fail(m, p);
    } else {
      int64_t part = left < room ? left : room;
      memcpy(bytes->byte + end, at, (size_t)part);
      p->end = fixnum(end + part);
      at += part;
      left -= part;
    }
  }
  if ((p->header & PORT_BINARY) == 0) {
    advance(p, from, count);
  }
  if (p->header & PORT_UNBUFFERED || (p->header & PORT_TERMINAL && memchr(from, '\n', (size_t)count) != NULL)) {
    flush_or_fail(m, p);
  }
}
void port_add_byte_slow(machine *m, port *p, int byte) {
  uint8_t one = (uint8_t)byte;
  port_write_bytes(m, p, &one, 1);
}
void port_write_char(machine *m, value v, uint32_t c) {
  port *p = OBJECT_(port, v);
  if (c < 0x80) {
    port_add_byte(m, p, (int)c);
    return;
  }
  uint8_t bytes[4];
  port_write_bytes(m, p, bytes, utf8_put(bytes, c));
}
void port_write_part(machine *m, port *p, const string *s, int64_t start, int64_t end) {
  const bytevector *data = OBJECT_(bytevector, s->data);
  bool wide = data->length != s->length;
  for (int64_t i = start; i < end; i++) {
    uint32_t c = wide ? ((const uint32_t *)data->byte)[i] : data->byte[i];
    if (wide || c >= 0x80) {
      port_write_char(m, (value)(uintptr_t)p, c); // its tag is 0
    } else {
      int64_t run = ascii_run(data->byte + i, end - i);
      port_write_bytes(m, p, data->byte + i, run);
      i += run - 1;
    }
  }
}
void port_write_utf8(machine *m, value v, const char *text, size_t bytes) { port_write_bytes(m, OBJECT_(port, v), text, (int64_t)bytes); }

// ---- Input.
bool port_fill(machine *m, port *p) {
  int fd = (int)fixnum_of(p->fd);
  if (fd < 0) {
    return false;
  }
  bytevector *bytes = OBJECT_(bytevector, p->buffer);
  int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
  if (fd == 0) {
    flush(m, OBJECT_(port, port_stdout(m))); // whoever is asked sees the question
  }
  if (start > 0 && end <= bytes->length && start <= end) {
    memmove(bytes->byte, bytes->byte + start, (size_t)(end - start));
    end -= start;
    p->start = fixnum(0);
    p->end = fixnum(end);
  }
  if (end >= bytes->length) {
    return false;
  }
  ptrdiff_t got;
  do {
    got = memory_read(m, fd, bytes->byte + end, (size_t)(bytes->length - end));
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    fail_file(m, "read", utf8_of(m, p->name), errno);
  }
  p->end = fixnum(end + got);
  return got > 0;
}

static void pass(port *p, int64_t start, int length, uint32_t c) {
  p->start = fixnum(start + length);
  if (c == '\n') {
    p->line = fixnum(fixnum_of(p->line) + 1);
    p->column = fixnum(1);
  } else {
    p->column = fixnum(fixnum_of(p->column) + 1);
  }
}
static int32_t next_char(machine *m, port *p, bool take) {
  for (;;) {
    bytevector *bytes = OBJECT_(bytevector, p->buffer);
    int64_t start = fixnum_of(p->start), end = fixnum_of(p->end);
    end = end < bytes->length ? end : bytes->length;
    uint32_t c = 0;
    int length = start < end ? utf8_get(bytes->byte + start, bytes->byte + end, &c) : 0;
    if (length == 0) {
      if (port_fill(m, p)) {
        continue;
      }
      if (fixnum_of(p->start) >= fixnum_of(p->end)) {
        return -1;
      }
      start = fixnum_of(p->start); // the file ends within a character
      length = 1;
      c = 0xfffd;
    }
    if (take) {
      pass(p, start, length, c);
    }
    return (int32_t)c;
  }
}
int32_t port_read_char(machine *m, value v) { return next_char(m, OBJECT_(port, v), true); }
int32_t port_peek_char(machine *m, value v) { return next_char(m, OBJECT_(port, v), false); }

bool port_reads_ahead(port *p) {
  if (fixnum_of(p->start) < fixnum_of(p->end) || fixnum_of(p->fd) < 0) {
    return true;
  }
  struct pollfd ready = {.fd = (int)fixnum_of(p->fd), .events = POLLIN};
  return poll(&ready, 1, 0) > 0;
}

void port_position(value v, int64_t *line, int64_t *column) {
  *line = fixnum_of(OBJECT_(port, v)->line);
  *column = fixnum_of(OBJECT_(port, v)->column);
}
value port_name(value v) { return OBJECT_(port, v)->name; }

// ---- Closing.
void port_close(machine *m, value v) {
  port *p = OBJECT_(port, v);
  if (!is_open(p)) {
    return;
  }
  int error = p->header & PORT_OUTPUT ? flush(m, p) : 0, fd = (int)fixnum_of(p->fd);
  p->header &= ~(uint64_t)PORT_OPEN;
  if (fd > 2) {
    value *at = &library_roots(m)[ROOT_OPEN_PORTS];
    while (is_kind(*at, KIND_PORT) && *at != v) {
      at = &OBJECT_(port, *at)->next;
    }
    if (*at == v) {
      *at = p->next;
    }
    if (close(fd) != 0 && error == 0 && errno != EINTR) {
      error = errno;
    }
  }
  if (error != 0) {
    fail_file(m, "close-port", utf8_of(m, p->name), error);
  }
}
bool port_is_open(value v) { return is_open(OBJECT_(port, v)); }
