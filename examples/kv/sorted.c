// SPDX-License-Identifier: MIT
// sorted.c: commands on sorted sets but for ranges (sorted_range.c). Each member is in the table and in the tree; the table owns it.

#include <math.h>
#include "handlers.h"

static kv_member *find(kv_sorted *sorted, kv_text text, kv_place *place) { return (kv_member *)kv_table_find(sorted->members, kv_hash(text), text, place); }

// A member that is not there. False: memory is out.
static bool member_add(kv_thread *t, kv_sorted *sorted, kv_text text, double score) {
  uint64_t hash = kv_hash(text);
  kv_member *member = kv_item_member(t->self, text, score);
  if (member == NULL || sorted->members->count >= UINT32_MAX || !kv_table_reserve(t->self, sorted->members, hash)) {
    kv_drop(t->self, member);
    return false;
  }
  member->priority = (uint32_t)kv_random(t);
  kv_table_put(t->self, sorted->members, hash, &member->head);
  kv_tree_insert(sorted, member);
  return true;
}

static void member_remove(kv_self *self, kv_sorted *sorted, kv_member *member) {
  kv_place place;
  kv_text text = kv_item_key(&member->head);
  uint64_t hash = kv_hash(text);
  kv_tree_remove(sorted, member);
  kv_table_find(sorted->members, hash, text, &place);
  kv_drop(self, kv_table_take(self, sorted->members, hash, place));
}

typedef struct add_options {
  bool nx, xx, gt, lt, changed, incr;
  int from; // the first score
} add_options;

static bool options_read(kv_call *call, add_options *o) {
  for (o->from = 2; o->from < call->count; o->from++) {
    kv_text word = kv_arg(call, o->from);
    bool *flag = kv_text_is(word, "NX")     ? &o->nx
                 : kv_text_is(word, "XX")   ? &o->xx
                 : kv_text_is(word, "GT")   ? &o->gt
                 : kv_text_is(word, "LT")   ? &o->lt
                 : kv_text_is(word, "CH")   ? &o->changed
                 : kv_text_is(word, "INCR") ? &o->incr
                                            : NULL;
    if (flag == NULL) {
      break;
    }
    *flag = true;
  }
  int pairs = call->count - o->from;
  if (pairs == 0 || pairs % 2 != 0) {
    kv_reply_syntax(call);
  } else if (o->nx && o->xx) {
    kv_reply_error(call, "ERR XX and NX options at the same time are not compatible");
  } else if ((o->gt && o->lt) || (o->nx && (o->gt || o->lt))) {
    kv_reply_error(call, "ERR GT, LT, and/or NX options at the same time are not compatible");
  } else if (o->incr && pairs > 2) {
    kv_reply_error(call, "ERR INCR option supports a single increment-element pair");
  } else {
    double ignored; // all are checked before the first is used
    for (int i = o->from; i < call->count; i += 2) {
      if (!kv_double(kv_arg(call, i), &ignored)) {
        kv_reply_error(call, "ERR value is not a valid float");
        return false;
      }
    }
    return true;
  }
  return false;
}

typedef enum added { NOTHING, ADDED, CHANGED, NOT_A_NUMBER, NO_MEMORY } added;

static added add_one(kv_thread *t, kv_sorted *sorted, const add_options *o, double *score, kv_text text) {
  kv_member *member = find(sorted, text, NULL);
  if (member == NULL) {
    return o->xx ? NOTHING : member_add(t, sorted, text, *score) ? ADDED : NO_MEMORY;
  }
  if (o->nx) {
    return NOTHING;
  }
  if (o->incr) {
    *score += member->score;
    if (isnan(*score)) {
      return NOT_A_NUMBER;
    }
  }
  if ((o->gt && *score <= member->score) || (o->lt && *score >= member->score) || *score == member->score) {
    return o->incr && *score == member->score && !o->gt && !o->lt ? CHANGED : NOTHING;
  }
  kv_tree_remove(sorted, member);
  member->score = *score;
  kv_tree_insert(sorted, member);
  return CHANGED;
}

static void add_all(kv_call *call, kv_sorted *sorted, const add_options *o) {
  int64_t count[5] = {0};
  double score = 0;
  for (int i = o->from; i < call->count; i += 2) {
    kv_double(kv_arg(call, i), &score);
    count[add_one(call->t, sorted, o, &score, kv_arg(call, i + 1))]++;
  }
  if (count[NO_MEMORY] > 0) {
    kv_reply_no_memory(call);
  } else if (count[NOT_A_NUMBER] > 0) {
    kv_reply_error(call, "ERR resulting score is not a number (NaN)");
  } else if (o->incr && count[NOTHING] > 0) {
    kv_reply_null(call);
  } else if (o->incr) {
    kv_reply_double(call, score);
  } else {
    kv_reply_integer(call, count[ADDED] + (o->changed ? count[CHANGED] : 0));
  }
}

static void add(kv_call *call, const add_options *o) {
  kv_key key;
  bool failed;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_sorted *sorted = kv_key_object(call, &key, KV_SORTED, !o->xx, &failed);
  if (sorted != NULL) {
    add_all(call, sorted, o);
    kv_key_tidy(call, &key);
  } else if (!failed && o->incr) {
    kv_reply_null(call);
  } else if (!failed) {
    kv_reply_integer(call, 0);
  }
  kv_key_unlock(&key);
}

void kv_do_zadd(kv_call *call) {
  add_options o = {0};
  if (options_read(call, &o)) {
    add(call, &o);
  }
}
void kv_do_zincrby(kv_call *call) {
  add_options o = {.incr = true, .from = 2};
  double ignored;
  if (kv_double(kv_arg(call, 2), &ignored)) {
    add(call, &o);
  } else {
    kv_reply_error(call, "ERR value is not a valid float");
  }
}

static void remove_some(kv_call *call, kv_key *key, void *sorted) {
  int64_t gone = 0;
  for (int i = 2; i < call->count; i++) {
    kv_member *member = find(sorted, kv_arg(call, i), NULL);
    if (member != NULL) {
      member_remove(call->t->self, sorted, member);
      gone++;
    }
  }
  kv_reply_integer(call, gone);
}
void kv_do_zrem(kv_call *call) { kv_with(call, KV_SORTED, remove_some, kv_reply_zero); }

static void score_of(kv_call *call, kv_sorted *sorted, int at) {
  kv_member *member = sorted ? find(sorted, kv_arg(call, at), NULL) : NULL;
  if (member != NULL) {
    kv_reply_double(call, member->score);
  } else {
    kv_reply_null(call);
  }
}
static void score(kv_call *call, kv_key *key, void *sorted) { score_of(call, sorted, 2); }
void kv_do_zscore(kv_call *call) { kv_with(call, KV_SORTED, score, kv_reply_null); }
static void scores(kv_call *call, kv_key *key, void *sorted) {
  kv_reply_array(call, (uint64_t)call->count - 2);
  for (int i = 2; i < call->count; i++) {
    score_of(call, sorted, i);
  }
}
static void no_scores(kv_call *call) { scores(call, NULL, NULL); }
void kv_do_zmscore(kv_call *call) { kv_with(call, KV_SORTED, scores, no_scores); }

static void count(kv_call *call, kv_key *key, void *sorted) { kv_reply_integer(call, (int64_t)((kv_sorted *)sorted)->members->count); }
void kv_do_zcard(kv_call *call) { kv_with(call, KV_SORTED, count, kv_reply_zero); }

static void rank_reply(kv_call *call, kv_sorted *sorted, bool reverse) {
  kv_member *member = find(sorted, kv_arg(call, 2), NULL);
  if (member == NULL) {
    kv_reply_null(call);
    return;
  }
  uint64_t rank = kv_tree_rank(sorted, member);
  kv_reply_integer(call, (int64_t)(reverse ? sorted->members->count - 1 - rank : rank));
}
static void rank(kv_call *call, kv_key *key, void *sorted) { rank_reply(call, sorted, false); }
static void rank_back(kv_call *call, kv_key *key, void *sorted) { rank_reply(call, sorted, true); }
void kv_do_zrank(kv_call *call) { kv_with(call, KV_SORTED, rank, kv_reply_null); }
void kv_do_zrevrank(kv_call *call) { kv_with(call, KV_SORTED, rank_back, kv_reply_null); }

static void pop_some(kv_call *call, kv_sorted *sorted, bool last) {
  int64_t wanted = 1;
  if (call->count == 3) {
    kv_integer(kv_arg(call, 2), &wanted);
  }
  uint64_t left = (uint64_t)wanted < sorted->members->count ? (uint64_t)wanted : sorted->members->count;
  kv_reply_array(call, left * 2);
  for (; left > 0; left--) {
    kv_member *member = kv_tree_at(sorted, last ? sorted->members->count - 1 : 0);
    kv_reply_bulk(call, kv_item_key(&member->head));
    kv_reply_double(call, member->score);
    member_remove(call->t->self, sorted, member);
  }
}
static void pop_first(kv_call *call, kv_key *key, void *sorted) { pop_some(call, sorted, false); }
static void pop_last(kv_call *call, kv_key *key, void *sorted) { pop_some(call, sorted, true); }
static void pop(kv_call *call, void (*run)(kv_call *call, kv_key *key, void *sorted)) {
  int64_t wanted = 1;
  if (call->count > 3) {
    kv_reply_syntax(call);
  } else if (call->count == 3 && (!kv_integer(kv_arg(call, 2), &wanted) || wanted < 0)) {
    kv_reply_error(call, "ERR value is out of range, must be positive");
  } else {
    kv_with(call, KV_SORTED, run, kv_reply_empty);
  }
}
void kv_do_zpopmin(kv_call *call) { pop(call, pop_first); }
void kv_do_zpopmax(kv_call *call) { pop(call, pop_last); }

// ---- Removing ranges: [from, to) of ranks.

typedef struct bounds {
  double from, to;
  bool from_open, to_open;
} bounds;

bool kv_score_bound(kv_call *call, int at, double *out, bool *open) {
  kv_text text = kv_arg(call, at);
  *open = text.length > 0 && text.at[0] == '(';
  bool ok = kv_double((kv_text){text.at + *open, text.length - *open}, out);
  if (!ok) {
    kv_reply_error(call, "ERR min or max is not a float");
  }
  return ok;
}

static void ranks_remove(kv_call *call, kv_sorted *sorted, uint64_t from, uint64_t to) {
  for (uint64_t i = from; i < to; i++) {
    member_remove(call->t->self, sorted, kv_tree_at(sorted, from));
  }
  kv_reply_integer(call, from < to ? (int64_t)(to - from) : 0);
}
static void scores_remove(kv_call *call, kv_key *key, void *sorted) {
  bounds b;
  if (kv_score_bound(call, 2, &b.from, &b.from_open) && kv_score_bound(call, 3, &b.to, &b.to_open)) {
    ranks_remove(call, sorted, kv_tree_below(sorted, b.from, b.from_open), kv_tree_below(sorted, b.to, !b.to_open));
  }
}
void kv_do_zremrangebyscore(kv_call *call) {
  bounds b;
  if (kv_score_bound(call, 2, &b.from, &b.from_open) && kv_score_bound(call, 3, &b.to, &b.to_open)) {
    kv_with(call, KV_SORTED, scores_remove, kv_reply_zero);
  }
}
static void places_remove(kv_call *call, kv_key *key, void *sorted) {
  int64_t from = 0, to = 0;
  kv_integer(kv_arg(call, 2), &from);
  kv_integer(kv_arg(call, 3), &to);
  uint64_t n = kv_range(&from, &to, ((kv_sorted *)sorted)->members->count);
  ranks_remove(call, sorted, (uint64_t)from, (uint64_t)from + n);
}
void kv_do_zremrangebyrank(kv_call *call) {
  int64_t ignored;
  if (kv_arg_integer(call, 2, &ignored) && kv_arg_integer(call, 3, &ignored)) {
    kv_with(call, KV_SORTED, places_remove, kv_reply_zero);
  }
}

static void between(kv_call *call, kv_key *key, void *sorted) {
  bounds b;
  if (kv_score_bound(call, 2, &b.from, &b.from_open) && kv_score_bound(call, 3, &b.to, &b.to_open)) {
    uint64_t from = kv_tree_below(sorted, b.from, b.from_open), to = kv_tree_below(sorted, b.to, !b.to_open);
    kv_reply_integer(call, from < to ? (int64_t)(to - from) : 0);
  }
}
void kv_do_zcount(kv_call *call) {
  double score;
  bool open;
  if (kv_score_bound(call, 2, &score, &open) && kv_score_bound(call, 3, &score, &open)) {
    kv_with(call, KV_SORTED, between, kv_reply_zero);
  }
}
