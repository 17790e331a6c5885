// SPDX-License-Identifier: MIT
// lists.c: commands on lists; list.c has the lists themselves.

#include "handlers.h"

static void push(kv_call *call, bool front, bool make) {
  kv_key key;
  bool failed, full = false;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_list *list = kv_key_object(call, &key, KV_LIST, make, &failed);
  for (int i = 2; list != NULL && i < call->count && !full; i++) {
    full = !kv_list_push(call->t->self, list, kv_arg(call, i), front);
    if (full) { // those that were pushed come off again
      for (; i > 2; i--) {
        kv_list_pop(call->t->self, list, front);
      }
      break;
    }
  }
  if (full) {
    kv_reply_no_memory(call);
  } else if (!failed) {
    kv_reply_integer(call, list ? (int64_t)list->count : 0);
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}
void kv_do_lpush(kv_call *call) { push(call, true, true); }
void kv_do_rpush(kv_call *call) { push(call, false, true); }
void kv_do_lpushx(kv_call *call) { push(call, true, false); }
void kv_do_rpushx(kv_call *call) { push(call, false, false); }

static void pop(kv_call *call, bool front) {
  int64_t count = 1;
  if (call->count > 3) {
    kv_reply_error(call, "ERR wrong number of arguments for '%s' command", call->command->name);
    return;
  }
  if (call->count == 3 && (!kv_integer(kv_arg(call, 2), &count) || count < 0)) {
    kv_reply_error(call, "ERR value is out of range, must be positive");
    return;
  }
  kv_key key;
  bool failed;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_list *list = kv_key_object(call, &key, KV_LIST, false, &failed);
  if (list != NULL) {
    uint64_t wanted = (uint64_t)count < list->count ? (uint64_t)count : list->count;
    if (call->count == 3) {
      kv_reply_array(call, wanted);
    }
    for (; wanted > 0; wanted--) {
      kv_reply_bulk(call, kv_list_end(list, front));
      kv_list_pop(call->t->self, list, front);
    }
  } else if (!failed) {
    if (call->count == 3) {
      kv_reply_null_array(call);
    } else {
      kv_reply_null(call);
    }
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}
void kv_do_lpop(kv_call *call) { pop(call, true); }
void kv_do_rpop(kv_call *call) { pop(call, false); }

static void length(kv_call *call, kv_key *key, void *object) { kv_reply_integer(call, (int64_t)((kv_list *)object)->count); }
void kv_do_llen(kv_call *call) { kv_with(call, KV_LIST, length, kv_reply_zero); }

static void range(kv_call *call, kv_key *key, void *object) {
  kv_list *list = object;
  int64_t from = 0, to = 0;
  kv_integer(kv_arg(call, 2), &from);
  kv_integer(kv_arg(call, 3), &to);
  uint64_t count = kv_range(&from, &to, list->count);
  kv_reply_array(call, count);
  kv_at at = count > 0 ? kv_list_seek(list, (uint64_t)from) : (kv_at){0};
  for (; count > 0; count--) {
    kv_reply_bulk(call, kv_list_get(at));
    if (count > 1) {
      kv_list_next(&at);
    }
  }
}
void kv_do_lrange(kv_call *call) {
  int64_t ignored;
  if (kv_arg_integer(call, 2, &ignored) && kv_arg_integer(call, 3, &ignored)) {
    kv_with(call, KV_LIST, range, kv_reply_empty);
  }
}

// Where an index that may count from the end is; false if it is not there.
static bool index_read(kv_text text, uint64_t count, uint64_t *out) {
  int64_t index = 0;
  kv_integer(text, &index);
  index += index < 0 ? (int64_t)count : 0;
  *out = (uint64_t)index;
  return index >= 0 && (uint64_t)index < count;
}

static void at_index(kv_call *call, kv_key *key, void *object) {
  uint64_t index;
  int64_t ignored;
  if (!kv_arg_integer(call, 2, &ignored)) {
    return;
  }
  if (index_read(kv_arg(call, 2), ((kv_list *)object)->count, &index)) {
    kv_reply_bulk(call, kv_list_get(kv_list_seek(object, index)));
  } else {
    kv_reply_null(call);
  }
}
void kv_do_lindex(kv_call *call) { kv_with(call, KV_LIST, at_index, kv_reply_null); } // without a list any index will do

static void no_key(kv_call *call) { kv_reply_error(call, "ERR no such key"); }
static void set_index(kv_call *call, kv_key *key, void *object) {
  uint64_t index;
  int64_t ignored;
  if (!kv_arg_integer(call, 2, &ignored)) {
    return;
  }
  if (!index_read(kv_arg(call, 2), ((kv_list *)object)->count, &index)) {
    kv_reply_error(call, "ERR index out of range");
  } else if (kv_list_set(call->t->self, object, kv_list_seek(object, index), kv_arg(call, 3))) {
    kv_reply_ok(call);
  } else {
    kv_reply_no_memory(call);
  }
}
void kv_do_lset(kv_call *call) { kv_with(call, KV_LIST, set_index, no_key); }

static void remove_some(kv_call *call, kv_key *key, void *object) {
  kv_list *list = object;
  int64_t count = 0, removed = 0;
  kv_integer(kv_arg(call, 2), &count);
  bool back = count < 0;
  uint64_t most = count == 0 ? list->count : back ? 0 - (uint64_t)count : (uint64_t)count;
  kv_at at = kv_list_seek(list, back ? list->count - 1 : 0);
  for (bool more = true; more && (uint64_t)removed < most;) {
    kv_at here = at;
    bool same = kv_text_compare(kv_list_get(at), kv_arg(call, 3)) == 0;
    if (!back && !same) {
      more = kv_list_next(&at);
    } else if (!back) {
      more = kv_list_remove(call->t->self, list, &at);
    } else {
      more = kv_list_prev(&at); // first: removing moves only what is behind it
      if (same) {
        kv_list_remove(call->t->self, list, &here);
      }
    }
    removed += same;
  }
  kv_reply_integer(call, removed);
}
void kv_do_lrem(kv_call *call) {
  int64_t ignored;
  if (kv_arg_integer(call, 2, &ignored)) {
    kv_with(call, KV_LIST, remove_some, kv_reply_zero);
  }
}

static void trim(kv_call *call, kv_key *key, void *object) {
  kv_list *list = object;
  int64_t from = 0, to = 0;
  kv_integer(kv_arg(call, 2), &from);
  kv_integer(kv_arg(call, 3), &to);
  uint64_t count = kv_range(&from, &to, list->count);
  kv_list_trim(call->t->self, list, count > 0 ? (uint64_t)from : list->count, count > 0 ? list->count - 1 - (uint64_t)to : 0);
  kv_reply_ok(call);
}
void kv_do_ltrim(kv_call *call) {
  int64_t ignored;
  if (kv_arg_integer(call, 2, &ignored) && kv_arg_integer(call, 3, &ignored)) {
    kv_with(call, KV_LIST, trim, kv_reply_ok);
  }
}

static void insert(kv_call *call, kv_key *key, void *object) {
  kv_list *list = object;
  kv_at at = kv_list_seek(list, 0);
  bool more = true;
  while (more && kv_text_compare(kv_list_get(at), kv_arg(call, 3)) != 0) {
    more = kv_list_next(&at);
  }
  if (!more) {
    kv_reply_integer(call, -1);
  } else if (kv_list_insert(call->t->self, list, at, kv_arg(call, 4), kv_text_is(kv_arg(call, 2), "AFTER"))) {
    kv_reply_integer(call, (int64_t)list->count);
  } else {
    kv_reply_no_memory(call);
  }
}
void kv_do_linsert(kv_call *call) {
  if (!kv_text_is(kv_arg(call, 2), "BEFORE") && !kv_text_is(kv_arg(call, 2), "AFTER")) {
    kv_reply_syntax(call);
  } else {
    kv_with(call, KV_LIST, insert, kv_reply_zero);
  }
}

// From one list's end to another's, or the same one's. It is pushed first, so nothing is lost if memory is out.
static void move(kv_call *call, bool from_front, bool to_front) {
  kv_self *self = call->t->self;
  kv_text source = kv_arg(call, 1), target = kv_arg(call, 2);
  kv_shards shards = {{0}};
  kv_shards_add(&shards, source);
  kv_shards_add(&shards, target);
  kv_shards_lock(call, &shards);
  kv_key from, to;
  bool failed, same = kv_text_compare(source, target) == 0;
  kv_key_find(call, &from, source);
  kv_list *list = kv_key_object(call, &from, KV_LIST, false, &failed), *onto = NULL;
  if (list != NULL) {
    kv_key_find(call, &to, target);
    onto = kv_key_object(call, &to, KV_LIST, true, &failed);
  }
  if (onto != NULL) {
    kv_key_find(call, &from, source); // making the other may have moved it
    list = kv_key_object(call, &from, KV_LIST, false, &failed);
    kv_text text = kv_list_end(list, from_front);
    char *copy = same ? kv_new_bytes(self, text.length + 1) : NULL; // a push into the same list may move what it copies
    if (copy != NULL) {
      memcpy(copy, text.at, text.length);
      text.at = copy;
    }
    if ((copy != NULL || !same) && kv_list_push(self, onto, text, to_front)) {
      // In the same list the element is at its end still, or next to it.
      bool beside = same && from_front == to_front;
      kv_at at = kv_list_seek(list, from_front ? beside : list->count - 1 - beside);
      kv_reply_bulk(call, kv_list_get(at));
      kv_list_remove(self, list, &at);
    } else {
      kv_reply_no_memory(call);
    }
    kv_drop(self, copy);
    // Each is counted from what it had: tidying one may move the other in its table, but not what they hold.
    uint64_t before = from.before;
    kv_key_tidy(call, &to);
    if (!same) {
      kv_key_find(call, &from, source);
      from.before = before;
      kv_key_tidy(call, &from);
    }
  } else if (!failed) {
    kv_reply_null(call);
  }
  kv_shards_unlock(&shards);
}
void kv_do_rpoplpush(kv_call *call) { move(call, false, true); }
void kv_do_lmove(kv_call *call) {
  bool from_left = kv_text_is(kv_arg(call, 3), "LEFT"), to_left = kv_text_is(kv_arg(call, 4), "LEFT");
  if ((!from_left && !kv_text_is(kv_arg(call, 3), "RIGHT")) || (!to_left && !kv_text_is(kv_arg(call, 4), "RIGHT"))) {
    kv_reply_syntax(call);
  } else {
    move(call, from_left, to_left);
  }
}
