// SPDX-License-Identifier: MIT
// dictionary.c: learns what pages of a heap have in common, from a few of them.
//
// A dictionary is pages side by side: trained ones, by zstd's own trainer, gain little more, and cost a third of a second. Neighbours: inner.h.
// Background threads.

#include <string.h>
#include "runtime/compress/inner.h"

enum {
  COMPARED = 64, // pages, before it is asked whether a dictionary still helps
  GAIN = 32,     // it helps if it saves one byte in so many
};

unsigned cx_dictionary_newest(const cx_codec *codec) { return (unsigned)at_load_acquire(&codec->published); }
unsigned cx_codec_dictionaries(const cx_codec *codec) { return cx_dictionary_newest(codec); }

static void one_clear(cx_codec *codec, dictionary *d) {
#ifdef VEIL_LZ4
  cx_memory_give(codec, d->lz4);
#endif
#ifdef VEIL_ZSTD
  cx_memory_give(codec, d->zstd_memory[0]);
  cx_memory_give(codec, d->zstd_memory[1]);
#endif
  cx_memory_give(codec, d->bytes);
  *d = (dictionary){0};
}

// False: no memory; nothing is held then.
static bool one_make(cx_codec *codec, dictionary *d, uint8_t *bytes) {
  bool made = true;
#ifdef VEIL_LZ4
  if (codec->lz4 != NULL) {
    d->lz4 = cx_memory_take(codec, sizeof *d->lz4);
    made = d->lz4 != NULL;
    if (made) {
      codec->lz4->prepare(d->lz4, sizeof *d->lz4);
      codec->lz4->level(d->lz4, codec->lz4_level);
      codec->lz4->dictionary(d->lz4, (const char *)bytes, DICTIONARY);
    }
  }
#endif
#ifdef VEIL_ZSTD
  if (made && codec->zstd != NULL) {
    const rt_image_zstd *zstd = codec->zstd;
    ZSTD_compressionParameters how = zstd->parameters(codec->options.zstd_level, codec->options.page_bytes, DICTIONARY);
    size_t packer = zstd->packer_dictionary_bytes(DICTIONARY, how, ZSTD_dlm_byRef), unpacker = zstd->unpacker_dictionary_bytes(DICTIONARY, ZSTD_dlm_byRef);
    d->zstd_memory[0] = cx_memory_take(codec, packer);
    d->zstd_memory[1] = cx_memory_take(codec, unpacker);
    if (d->zstd_memory[0] != NULL && d->zstd_memory[1] != NULL) {
      d->zstd_packer = zstd->packer_dictionary(d->zstd_memory[0], packer, bytes, DICTIONARY, ZSTD_dlm_byRef, ZSTD_dct_rawContent, how);
      d->zstd_unpacker = zstd->unpacker_dictionary(d->zstd_memory[1], unpacker, bytes, DICTIONARY, ZSTD_dlm_byRef, ZSTD_dct_rawContent);
    }
    made = d->zstd_packer != NULL && d->zstd_unpacker != NULL;
  }
#endif
  if (!made) {
    one_clear(codec, d);
    return false;
  }
  d->bytes = bytes;
  return true;
}

// Publishes the samples as a dictionary. False: no memory; the samples are there still, and the next sample tries again.
static bool learn_locked(cx_codec *codec) {
  unsigned n = (unsigned)at_load(&codec->published);
  if (n == DICTIONARIES || !one_make(codec, &codec->of[n], codec->sample)) {
    return false;
  }
  codec->sample = NULL;
  codec->sampled = 0;
  codec->learning = false;
  codec->compared = 0;
  codec->with = codec->without = 0;
  at_store_release(&codec->published, n + 1); // after all that it is made of
  return true;
}

// Takes a sample. False: no memory.
static bool sample_locked(cx_codec *codec, const uint8_t *page) {
  if (codec->sample == NULL) {
    codec->sample = cx_memory_take(codec, DICTIONARY);
    codec->sampled = 0;
  }
  if (codec->sample == NULL) {
    return false;
  }
  if (codec->sampled < SAMPLES) {
    memcpy(codec->sample + codec->sampled++ * SAMPLE, page, SAMPLE);
  }
  return true;
}

void cx_dictionary_offer(cx_codec *codec, const void *page) {
  pthread_mutex_lock(&codec->lock);
  if (codec->learning && sample_locked(codec, page) && codec->sampled == SAMPLES) {
    learn_locked(codec);
  }
  pthread_mutex_unlock(&codec->lock);
}

bool cx_codec_learn(cx_codec *codec, const void *pages, size_t count) {
  pthread_mutex_lock(&codec->lock);
  bool learned = codec->of[DICTIONARIES - 1].bytes == NULL;
  for (size_t i = 0; i < SAMPLES && learned; i++) {
    learned = sample_locked(codec, (const uint8_t *)pages + i % count * codec->options.page_bytes);
  }
  learned = learned && learn_locked(codec);
  pthread_mutex_unlock(&codec->lock);
  return learned;
}

void cx_dictionary_compare(cx_codec *codec, size_t with, size_t without) {
  pthread_mutex_lock(&codec->lock);
  codec->with += with;
  codec->without += without;
  if (++codec->compared == COMPARED) {
    codec->learning = codec->learning || (codec->without - codec->without / GAIN < codec->with && at_load(&codec->published) < DICTIONARIES);
    codec->compared = 0;
    codec->with = codec->without = 0;
  }
  pthread_mutex_unlock(&codec->lock);
}

void cx_dictionary_clear(cx_codec *codec) {
  for (unsigned i = 0; i < DICTIONARIES; i++) {
    one_clear(codec, &codec->of[i]);
  }
  cx_memory_give(codec, codec->sample);
}
