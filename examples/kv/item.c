// SPDX-License-Identifier: MIT
// item.c: making and measuring items; see item.h.

#include "item.h"

KV_DROPS box_drop(kv_self *self, void *object) { kv_drop(self, ((kv_box *)object)->object); }
KV_DROPS member_drop(kv_self *self, void *object) {}
KV_TYPE_TAIL(kv_box, box_drop, object)
KV_TYPE_TAIL(kv_member, member_drop, left, right)

static void key_write(kv_item *item, kv_kind kind, kv_text key, int64_t expires) {
  item->kind = kind;
  item->timed = expires != 0;
  kv_item_set_clock(item, 0);
  item->key_length = (uint32_t)key.length;
  memcpy((char *)item + kv_key_offset(item), key.at, key.length);
  if (expires != 0) {
    kv_item_set_expires(item, expires);
  }
}

kv_blob *kv_blob_new(kv_self *self, const char *text, size_t length, size_t room) {
  size_t bytes = kv_room(sizeof(kv_blob) + (room > length ? room : length));
  kv_blob *blob = kv_new_bytes(self, bytes);
  if (blob == NULL) {
    return NULL;
  }
  blob->length = length;
  blob->room = bytes - sizeof(kv_blob);
  if (text != NULL) {
    memcpy(blob->bytes, text, length);
  }
  return blob;
}

kv_item *kv_item_string(kv_self *self, kv_text key, const char *text, size_t length, int64_t expires) {
  if (length > KV_INLINE) {
    kv_blob *blob = kv_blob_new(self, text, length, length);
    return blob != NULL ? kv_item_box(self, KV_BLOB, key, blob, expires) : NULL;
  }
  size_t fixed = sizeof(kv_string) + (expires != 0 ? 8 : 0) + key.length, bytes = kv_room(fixed + length);
  kv_string *made = kv_new_bytes(self, bytes);
  if (made == NULL) {
    return NULL;
  }
  key_write(&made->head, KV_STRING, key, expires);
  made->length = (uint16_t)length;
  made->room = (uint16_t)(bytes - fixed);
  if (text != NULL) {
    memcpy(kv_string_text(made), text, length);
  }
  return &made->head;
}

kv_item *kv_item_box(kv_self *self, kv_kind kind, kv_text key, void *object, int64_t expires) {
  kv_box *made = kv_new_tail(self, kv_box, sizeof(kv_box) + (expires != 0 ? 8 : 0) + key.length);
  if (made == NULL) {
    kv_drop(self, object);
    return NULL;
  }
  key_write(&made->head, kind, key, expires);
  made->object = object;
  return &made->head;
}

kv_member *kv_item_member(kv_self *self, kv_text key, double score) {
  kv_member *made = kv_new_tail(self, kv_member, sizeof(kv_member) + key.length);
  if (made != NULL) {
    key_write(&made->head, KV_MEMBER, key, 0);
    made->score = score;
    made->size = 1;
  }
  return made;
}

kv_item *kv_item_again(kv_self *self, kv_item *item, kv_text key, int64_t expires) {
  kv_item *made;
  if (item->kind == KV_STRING) {
    kv_text text = kv_item_text(item);
    made = kv_item_string(self, key, text.at, text.length, expires);
  } else {
    made = kv_item_box(self, item->kind, key, NULL, expires);
    if (made != NULL) {
      ((kv_box *)made)->object = ((kv_box *)item)->object;
    }
  }
  if (made != NULL) {
    kv_item_set_clock(made, kv_item_clock(item));
  }
  return made;
}

void kv_item_emptied(kv_item *old) {
  if (old->kind != KV_STRING) {
    ((kv_box *)old)->object = NULL;
  }
}

size_t kv_item_bytes(const kv_item *item) {
  size_t bytes = kv_key_offset(item) + item->key_length;
  if (item->kind == KV_STRING) {
    bytes += ((const kv_string *)item)->room;
  } else if (item->kind == KV_BLOB && ((const kv_box *)item)->object != NULL) {
    bytes += sizeof(kv_blob) + ((const kv_blob *)((const kv_box *)item)->object)->room;
  }
  return bytes;
}
