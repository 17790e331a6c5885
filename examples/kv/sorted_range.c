// SPDX-License-Identifier: MIT
// sorted_range.c: ZRANGE and its elder sisters: members by rank, by score, or by text where all scores are the same.
//
// All kinds come down to a range of ranks, which is found in the time that the tree is deep.

#include "handlers.h"

typedef enum by { BY_RANK, BY_SCORE, BY_TEXT } by;
typedef struct range {
  by by;
  bool reverse, scores, limited;
  int64_t offset, count; // LIMIT
  int low, high;         // arguments
} range;

typedef struct writer {
  kv_call *call;
  bool scores;
} writer;

static void member_write(void *arg, kv_member *member) {
  writer *w = arg;
  kv_reply_bulk(w->call, kv_item_key(&member->head));
  if (w->scores) {
    kv_reply_double(w->call, member->score);
  }
}

uint64_t kv_range(int64_t *from, int64_t *to, uint64_t count) {
  int64_t length = (int64_t)count;
  *from = *from < 0 ? (*from + length < 0 ? 0 : *from + length) : *from;
  *to = *to < 0 ? *to + length : *to;
  if (*from > *to || *from >= length || *to < 0) {
    *from = 0;
    return 0;
  }
  *to = *to >= length ? length - 1 : *to;
  return (uint64_t)(*to - *from) + 1;
}

// A bound of text: - and + are the ends, ( and [ say whether it belongs to the range.
static bool text_bound(kv_text text) {
  return text.length > 0 && (text.at[0] == '(' || text.at[0] == '[' || (text.length == 1 && (*text.at == '-' || *text.at == '+')));
}

// How many members come before the bound; `also`: those that are equal to it count.
static uint64_t text_below(const kv_sorted *sorted, kv_text bound, bool high) {
  if (bound.length == 1 && (*bound.at == '-' || *bound.at == '+')) {
    return *bound.at == '-' ? 0 : sorted->members->count;
  }
  bool also = (bound.at[0] == '[') == high;
  kv_text text = {bound.at + 1, bound.length - 1};
  uint64_t low = 0, end = sorted->members->count;
  while (low < end) {
    uint64_t middle = low + (end - low) / 2;
    int order = kv_text_compare(kv_item_key(&kv_tree_at(sorted, middle)->head), text);
    if (order < 0 || (also && order == 0)) {
      low = middle + 1;
    } else {
      end = middle;
    }
  }
  return low;
}

static bool bounds_check(kv_call *call, const range *r) {
  int64_t ignored;
  double score;
  bool open;
  if (r->by == BY_RANK) {
    return kv_arg_integer(call, r->low, &ignored) && kv_arg_integer(call, r->high, &ignored);
  }
  if (r->by == BY_SCORE) {
    return kv_score_bound(call, r->low, &score, &open) && kv_score_bound(call, r->high, &score, &open);
  }
  bool ok = text_bound(kv_arg(call, r->low)) && text_bound(kv_arg(call, r->high));
  if (!ok) {
    kv_reply_error(call, "ERR min or max not valid string range item");
  }
  return ok;
}

// Ranks [*from, *to) in ascending order.
static void ranks(kv_call *call, const kv_sorted *sorted, const range *r, uint64_t *from, uint64_t *to) {
  uint64_t all = sorted->members->count;
  if (r->by == BY_RANK) {
    int64_t first = 0, last = 0;
    kv_integer(kv_arg(call, r->low), &first);
    kv_integer(kv_arg(call, r->high), &last);
    uint64_t count = kv_range(&first, &last, all);
    *from = r->reverse ? all - (uint64_t)first - count : (uint64_t)first;
    *to = *from + count;
  } else if (r->by == BY_SCORE) {
    double low, high;
    bool low_open, high_open;
    kv_score_bound(call, r->low, &low, &low_open);
    kv_score_bound(call, r->high, &high, &high_open);
    *from = kv_tree_below(sorted, low, low_open);
    *to = kv_tree_below(sorted, high, !high_open);
  } else {
    *from = text_below(sorted, kv_arg(call, r->low), false);
    *to = text_below(sorted, kv_arg(call, r->high), true);
  }
  *to = *to < *from ? *from : *to;
}

static void limit(const range *r, uint64_t *from, uint64_t *to) {
  uint64_t there = *to - *from, skip = r->offset < 0 ? there : (uint64_t)r->offset;
  skip = skip < there ? skip : there;
  uint64_t take = r->count < 0 || (uint64_t)r->count > there - skip ? there - skip : (uint64_t)r->count;
  if (r->reverse) {
    *to -= skip;
    *from = *to - take;
  } else {
    *from += skip;
    *to = *from + take;
  }
}

static void run(kv_call *call, const range *r) {
  if (!bounds_check(call, r)) {
    return;
  }
  kv_key key;
  bool failed;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_sorted *sorted = kv_key_object(call, &key, KV_SORTED, false, &failed);
  if (sorted != NULL) {
    uint64_t from, to;
    ranks(call, sorted, r, &from, &to);
    if (r->limited && r->by != BY_RANK) { // by rank only a limit that is none gets so far
      limit(r, &from, &to);
    }
    kv_reply_array(call, (to - from) * (r->scores ? 2 : 1));
    writer w = {call, r->scores};
    kv_tree_each(sorted, from, to, r->reverse, member_write, &w);
  } else if (!failed) {
    kv_reply_array(call, 0);
  }
  kv_key_unlock(&key);
}

// The words behind the bounds. `modern`: ZRANGE's, of which each may come once.
static bool words_read(kv_call *call, range *r, bool modern) {
  for (int i = 4; i < call->count; i++) {
    kv_text word = kv_arg(call, i);
    if (kv_text_is(word, "WITHSCORES")) {
      r->scores = true;
    } else if (kv_text_is(word, "LIMIT") && i + 2 < call->count) {
      if (!kv_arg_integer(call, i + 1, &r->offset) || !kv_arg_integer(call, i + 2, &r->count)) {
        return false;
      }
      r->limited = true;
      i += 2;
    } else if (modern && !r->reverse && kv_text_is(word, "REV")) {
      r->reverse = true;
    } else if (modern && r->by == BY_RANK && kv_text_is(word, "BYSCORE")) {
      r->by = BY_SCORE;
    } else if (modern && r->by == BY_RANK && kv_text_is(word, "BYLEX")) {
      r->by = BY_TEXT;
    } else {
      kv_reply_syntax(call);
      return false;
    }
  }
  if (modern && r->scores && r->by == BY_TEXT) {
    kv_reply_error(call, "ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    return false;
  }
  if (r->limited && r->count != -1 && r->by == BY_RANK) {
    kv_reply_error(call, "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    return false;
  }
  if (r->reverse && r->by != BY_RANK) {
    r->low = 3;
    r->high = 2;
  }
  return true;
}

static void range_run(kv_call *call, range r, bool modern) {
  r.low = 2;
  r.high = 3;
  if (words_read(call, &r, modern)) {
    run(call, &r);
  }
}
void kv_do_zrange(kv_call *call) { range_run(call, (range){.by = BY_RANK}, true); }
void kv_do_zrevrange(kv_call *call) { range_run(call, (range){.by = BY_RANK, .reverse = true}, false); }
void kv_do_zrangebyscore(kv_call *call) { range_run(call, (range){.by = BY_SCORE}, false); }
void kv_do_zrevrangebyscore(kv_call *call) { range_run(call, (range){.by = BY_SCORE, .reverse = true}, false); }
