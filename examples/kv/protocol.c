// SPDX-License-Identifier: MIT
// protocol.c: from bytes to requests: RESP2's arrays of bulk strings, and lines.
//
// A request may come in pieces of any size. What was found of it is kept in the client, in positions relative to its beginning, so nothing is looked at twice
// and the bytes may move. Nothing is allocated for what a client says it will send, only for what it sent. Runs in the client's thread.

#include <ctype.h>
#include "kv.h"

enum { LINE_MOST = 65536, ARGUMENTS_MOST = 1 << 20, BACKLOG = 1 << 20 };
typedef enum parsed { MORE, WHOLE, BAD } parsed;

static parsed bad(kv_call *call, const char *what) {
  kv_reply_error(call, "ERR Protocol error: %s", what);
  call->c->closing = true;
  return BAD;
}

static kv_span *spans_of(kv_thread *t, kv_client *c) { return c->spans != NULL ? c->spans : t->spans; }

// A copy that is the client's own, with room for `room`.
static bool spans_own(kv_thread *t, kv_client *c, uint32_t room) {
  kv_span *made = kv_new_bytes(t->self, room * sizeof *made);
  if (made == NULL) {
    c->dead = true;
    return false;
  }
  memcpy(made, spans_of(t, c), (size_t)c->have * sizeof *made);
  kv_drop(t->self, c->spans);
  c->spans = made;
  c->spans_room = room;
  return true;
}

static bool span_add(kv_thread *t, kv_client *c, uint32_t at, uint32_t length) {
  uint32_t room = c->spans != NULL ? c->spans_room : t->spans_room;
  if ((uint32_t)c->have == room && !spans_own(t, c, room * 2)) {
    return false;
  }
  spans_of(t, c)[c->have++] = (kv_span){at, length};
  return true;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

// What a backslash in double quotes means; *at is at the backslash, and goes to the last character of it.
static char unescape(const char *line, uint32_t *at, uint32_t end) {
  if (line[*at + 1] == 'x' && *at + 3 < end && hex(line[*at + 2]) >= 0 && hex(line[*at + 3]) >= 0) {
    *at += 3;
    return (char)(hex(line[*at - 1]) * 16 + hex(line[*at]));
  }
  char c = line[++*at];
  return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c == 'b' ? '\b' : c == 'a' ? '\a' : c;
}

// One word of a line, rewritten in place without its quotes. False: the quotes do not fit.
static bool word_read(char *line, uint32_t *at, uint32_t end, uint32_t *to) {
  char quote = 0;
  for (; *at < end; (*at)++) {
    char c = line[*at];
    if (quote == 0 && isspace((unsigned char)c)) {
      return true;
    }
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (quote != 0 && c == quote) {
      quote = 0;
      if (*at + 1 < end && !isspace((unsigned char)line[*at + 1])) {
        return false;
      }
    } else if (quote == '"' && c == '\\' && *at + 1 < end) {
      line[(*to)++] = unescape(line, at, end);
    } else if (quote == '\'' && c == '\\' && *at + 1 < end && line[*at + 1] == '\'') {
      line[(*to)++] = '\'';
      (*at)++;
    } else {
      line[(*to)++] = c;
    }
  }
  return quote == 0;
}

static parsed line_parse(kv_call *call, char *base, uint32_t bytes) {
  kv_client *c = call->c;
  char *newline = memchr(base + c->parsed, '\n', bytes - c->parsed);
  if (newline == NULL ? bytes > LINE_MOST : newline - base > LINE_MOST) {
    return bad(call, "too big inline request");
  }
  if (newline == NULL) {
    c->parsed = bytes;
    return MORE;
  }
  uint32_t end = (uint32_t)(newline - base), at = 0;
  c->parsed = end + 1;
  while (at < end) {
    if (isspace((unsigned char)base[at])) {
      at++;
      continue;
    }
    uint32_t from = at, to = at;
    if (!word_read(base, &at, end, &to)) {
      return bad(call, "unbalanced quotes in request");
    }
    if (!span_add(call->t, c, from, to - from)) {
      return BAD;
    }
  }
  return WHOLE;
}

// The number in the line that begins at `parsed`, behind its first character. MORE: the line is not whole.
static parsed number_parse(kv_call *call, const char *base, uint32_t bytes, int64_t *out, const char *too_long, const char *wrong) {
  kv_client *c = call->c;
  uint32_t from = c->parsed + 1;
  const char *end = memchr(base + c->parsed, '\r', bytes - c->parsed);
  if (end == NULL || (uint32_t)(end - base) + 1 >= bytes) {
    return end == NULL && bytes - c->parsed > LINE_MOST ? bad(call, too_long) : MORE;
  }
  if (!kv_integer((kv_text){base + from, (size_t)(end - base) - from}, out)) {
    return bad(call, wrong);
  }
  c->parsed = (uint32_t)(end - base) + 2;
  return WHOLE;
}

static parsed bulk_parse(kv_call *call, const char *base, uint32_t bytes) {
  kv_client *c = call->c;
  if (c->bulk < 0) {
    if (c->parsed == bytes) {
      return MORE;
    }
    if (base[c->parsed] != '$') {
      char what[] = "expected '$', got 'X'";
      what[sizeof what - 3] = base[c->parsed];
      return bad(call, what);
    }
    int64_t length;
    parsed result = number_parse(call, base, bytes, &length, "too big bulk count string", "invalid bulk length");
    if (result != WHOLE) {
      return result;
    }
    if (length < 0 || (uint64_t)length > kv_options_now.bulk_limit) {
      return bad(call, "invalid bulk length");
    }
    c->bulk = length;
  }
  if ((uint64_t)bytes - c->parsed < (uint64_t)c->bulk + 2) {
    return MORE;
  }
  if (!span_add(call->t, c, c->parsed, (uint32_t)c->bulk)) {
    return BAD;
  }
  c->parsed += (uint32_t)c->bulk + 2;
  c->bulk = -1;
  return WHOLE;
}

static parsed request_parse(kv_call *call, char *base, uint32_t bytes) {
  kv_client *c = call->c;
  if (c->wanted == 0) {
    if (base[0] != '*') {
      return line_parse(call, base, bytes);
    }
    int64_t count;
    parsed result = number_parse(call, base, bytes, &count, "too big mbulk count string", "invalid multibulk length");
    if (result != WHOLE) {
      return result;
    }
    if (count > ARGUMENTS_MOST) {
      return bad(call, "invalid multibulk length");
    }
    if (count <= 0) {
      return WHOLE;
    }
    c->wanted = (int32_t)count;
    c->bulk = -1;
  }
  while (c->have < c->wanted) {
    parsed result = bulk_parse(call, base, bytes);
    if (result != WHOLE) {
      return result;
    }
  }
  return WHOLE;
}

static void request_end(kv_thread *t, kv_client *c) {
  c->parsed = 0;
  c->wanted = c->have = 0;
  c->bulk = -1;
  if (c->spans != NULL) {
    kv_drop(t->self, c->spans);
    c->spans = NULL;
  }
}

uint32_t kv_requests_run(kv_thread *t, kv_client *c, const char *base, uint32_t from, uint32_t to) {
  c->stuffed = false;
  while (from < to && !c->closing && !c->dead) {
    if (c->waiting > BACKLOG) {
      c->stuffed = true;
      break;
    }
    kv_call call = {t, c, base + from, NULL, 0, NULL};
    parsed result = request_parse(&call, (char *)(uintptr_t)base + from, to - from);
    if (result == MORE) {
      if (c->have > 0 && c->spans == NULL) {
        spans_own(t, c, c->have < 8 ? 16 : (uint32_t)c->have * 2);
      }
      break;
    }
    if (result == BAD) {
      return to;
    }
    if (c->have > 0) {
      call.spans = spans_of(t, c);
      call.count = c->have;
      kv_call_run(&call);
      if (t->out_used > KV_BUFFER / 2) { // before it has to be passed on
        kv_reply_flush(t, c);
      }
    }
    from += c->parsed;
    request_end(t, c);
  }
  return c->closing ? to : from;
}
