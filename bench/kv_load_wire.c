// SPDX-License-Identifier: MIT
// kv_load_wire.c: sockets, buffers, and the replies of Redis' protocol. A buffer belongs to one thread.

#include "bench/kv_load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void kv_load_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  flockfile(stderr); // Another thread may fail at the same time: the first one is heard.
  fputs("kv_load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  fflush(stderr);
  _Exit(1);
}

char *kv_load_buffer_room(kv_load_buffer *b, size_t bytes) {
  if (b->first == b->limit) {
    b->first = b->limit = 0;
  }
  if (b->size - b->limit < bytes && b->first > 0) {
    memmove(b->at, b->at + b->first, b->limit - b->first);
    b->limit -= b->first;
    b->first = 0;
  }
  if (b->size - b->limit < bytes) {
    size_t size = b->size < 16384 ? 16384 : b->size;
    while (size - b->limit < bytes) {
      size *= 2;
    }
    b->at = realloc(b->at, size);
    if (b->at == NULL) {
      kv_load_fail("no memory for a buffer of %zu bytes", size);
    }
    b->size = size;
  }
  return b->at + b->limit;
}

// The number of a line that ends at `end`, and whether it is one.
static bool number_read(const char *at, const char *end, long long *number) {
  bool negative = at < end && *at == '-';
  at += negative;
  if (at == end || end - at > 18) {
    return false;
  }
  long long n = 0;
  for (; at < end; at++) {
    if (*at < '0' || *at > '9') {
      return false;
    }
    n = 10 * n + (*at - '0');
  }
  *number = negative ? -n : n;
  return true;
}

int kv_load_reply_take(kv_load_buffer *b, kv_load_reply *reply) {
  const char *at = b->at + b->first, *limit = b->at + b->limit;
  if (at == limit) {
    return 0;
  }
  *reply = (kv_load_reply){.kind = *at};
  if (strchr("+-:$", *at) == NULL || *at == 0) {
    return -1;
  }
  const char *end = memchr(at, '\r', (size_t)(limit - at));
  if (end == NULL || end + 1 == limit) {
    return limit - at > 65536 ? -1 : 0; // no line of this protocol is so long
  }
  if (end[1] != '\n') {
    return -1;
  }
  const char *next = end + 2;
  if (*at == '+' || *at == '-') {
    reply->text = at + 1;
    reply->size = (size_t)(end - at - 1);
  } else if (!number_read(at + 1, end, &reply->integer)) {
    return -1;
  } else if (*at == '$' && reply->integer != -1) {
    if (reply->integer < 0 || reply->integer > KV_LOAD_VALUE_MOST) {
      return -1;
    }
    reply->size = (size_t)reply->integer;
    if ((size_t)(limit - next) < reply->size + 2) {
      return 0;
    }
    reply->text = next;
    next += reply->size;
    if (next[0] != '\r' || next[1] != '\n') {
      return -1;
    }
    next += 2;
  }
  b->first = (size_t)(next - b->at);
  return 1;
}

static int unix_connect(const kv_load_options *o) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, o->unix_path, sizeof address.sun_path - 1); // its length is checked with the options
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    int why = errno;
    close(fd);
    errno = why;
    return -1;
  }
  return fd;
}

static int tcp_connect(const kv_load_options *o, const char **why) {
  char port[8];
  snprintf(port, sizeof port, "%u", o->port);
  struct addrinfo *found, hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  int status = getaddrinfo(o->host, port, &hints, &found);
  if (status != 0) {
    *why = gai_strerror(status);
    return -1;
  }
  int fd = -1;
  for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
    fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
      int reason = errno;
      close(fd);
      errno = reason;
      fd = -1;
    }
  }
  *why = strerror(errno);
  freeaddrinfo(found);
  int one = 1;
  if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
    *why = strerror(errno);
    close(fd);
    fd = -1;
  }
  return fd;
}

int kv_load_connect(const kv_load_options *o, char *error, size_t error_size) {
  const char *why = NULL;
  int fd = o->unix_path != NULL ? unix_connect(o) : tcp_connect(o, &why);
  if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    close(fd);
    fd = -1;
  }
  if (fd < 0) {
    why = why != NULL ? why : strerror(errno);
    if (o->unix_path != NULL) {
      snprintf(error, error_size, "cannot connect to %s: %s", o->unix_path, why);
    } else {
      snprintf(error, error_size, "cannot connect to %s port %u: %s", o->host, o->port, why);
    }
  }
  return fd;
}

long long kv_load_ask(const kv_load_options *o, const char *command) {
  char error[256], text[64];
  int fd = kv_load_connect(o, error, sizeof error);
  if (fd < 0) {
    kv_load_fail("%s", error);
  }
  int length = snprintf(text, sizeof text, "*1\r\n$%zu\r\n%s\r\n", strlen(command), command);
  if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length) {
    kv_load_fail("%s: the server does not take it: %s", command, strerror(errno));
  }
  kv_load_buffer in = {0};
  kv_load_reply reply;
  int taken;
  while ((taken = in.at != NULL ? kv_load_reply_take(&in, &reply) : 0) == 0) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, (int)(o->timeout * 1e3)) == 0) {
      kv_load_fail("%s: no reply within %g s", command, o->timeout);
    }
    ssize_t got = recv(fd, kv_load_buffer_room(&in, 4096), 4096, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      kv_load_fail("%s: the server hung up%s%s", command, got < 0 ? ": " : "", got < 0 ? strerror(errno) : "");
    }
    in.limit += got > 0 ? (size_t)got : 0;
  }
  if (taken < 0) {
    kv_load_fail("%s: the reply is not of Redis' protocol: '%.*s'", command, (int)(in.limit - in.first < 40 ? in.limit - in.first : 40), in.at + in.first);
  }
  if (reply.kind == '-') {
    kv_load_fail("%s: %.*s", command, (int)reply.size, reply.text);
  }
  long long integer = reply.integer;
  free(in.at);
  close(fd);
  return integer;
}
