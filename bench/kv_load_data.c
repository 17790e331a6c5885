// SPDX-License-Identifier: MIT
// kv_load_data.c: keys and values of the load client, and whom the dice choose. All functions but kv_load_data_open may run in any thread.

#include "bench/kv_load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The bytes of values are cut out of this pool, which costs a copy to make and a comparison to check.
enum { POOL = 1 << 16 };
static char pool[POOL + KV_LOAD_VALUE_MOST]; // constant after kv_load_data_open

uint64_t kv_load_random(uint64_t *state) { // splitmix64, after Steele, Lea and Flood
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

double kv_load_random_unit(uint64_t *state) { return ((double)(kv_load_random(state) >> 12) + 0.5) * 0x1p-52; }

// ---- Zipf: rejection-inversion after Hörmann and Derflinger (1996), which needs no table.

static double zipf_area(const kv_load_zipf *z, double x) { // of the hat below x
  double power = 1 - z->s;
  return fabs(power) < 1e-9 ? log(x) : (pow(x, power) - 1) / power;
}

static double zipf_area_inverse(const kv_load_zipf *z, double area) {
  double power = 1 - z->s;
  return fabs(power) < 1e-9 ? exp(area) : pow(1 + area * power, 1 / power);
}

void kv_load_zipf_open(kv_load_zipf *z, uint64_t n, double s) {
  *z = (kv_load_zipf){.n = (double)n, .s = s};
  z->low = zipf_area(z, 1.5) - 1;
  z->high = zipf_area(z, z->n + 0.5);
  z->shift = 2 - zipf_area_inverse(z, zipf_area(z, 2.5) - pow(2, -s));
}

uint64_t kv_load_zipf_draw(const kv_load_zipf *z, uint64_t *random) {
  for (;;) {
    double area = z->high + kv_load_random_unit(random) * (z->low - z->high);
    double x = zipf_area_inverse(z, area), k = floor(x + 0.5);
    k = k < 1 ? 1 : k > z->n ? z->n : k;
    if (k - x <= z->shift || area >= zipf_area(z, k + 0.5) - pow(k, -z->s)) {
      return (uint64_t)k - 1;
    }
  }
}

// ---- Keys and values.

// The factor is a prime above any number of keys, so this is a permutation.
uint64_t kv_load_key_of_rank(uint64_t rank, uint64_t keys) { return rank * 2654435761u % keys; }

void kv_load_key_write(char *to, uint64_t key) {
  memcpy(to, "key:", 4);
  for (unsigned i = KV_LOAD_KEY_BYTES; i-- > 4; key /= 10) {
    to[i] = (char)('0' + key % 10);
  }
}

void kv_load_data_open(uint64_t seed) {
  for (size_t i = 0; i + 8 <= sizeof pool; i += 8) {
    uint64_t word = kv_load_random(&seed);
    memcpy(pool + i, &word, 8);
  }
}

static uint64_t mixed(uint64_t key, uint32_t version) {
  uint64_t state = key << 32 ^ version;
  return kv_load_random(&state);
}

unsigned kv_load_value_size(const kv_load_options *o, uint64_t key, uint32_t version) {
  return o->value_least + (unsigned)(mixed(key, version) % (o->value_most - o->value_least + 1));
}

static uint32_t checksum(uint64_t key, uint32_t version, size_t size) { return (uint32_t)(mixed(key * 31 + size, version) >> 32); }

void kv_load_value_write(char *to, unsigned size, uint64_t key, uint32_t version) {
  uint32_t sum = checksum(key, version, size);
  memcpy(to, &key, 8);
  memcpy(to + 8, &version, 4);
  memcpy(to + 12, &sum, 4);
  memcpy(to + 16, pool + (mixed(key, version) >> 48), size - 16);
}

const char *kv_load_value_wrong(const kv_load_options *o, const char *value, size_t size, uint64_t key, uint32_t least, uint32_t most) {
  uint64_t its_key;
  uint32_t version, sum;
  if (size < KV_LOAD_VALUE_LEAST) {
    return "too short";
  }
  memcpy(&its_key, value, 8);
  memcpy(&version, value + 8, 4);
  memcpy(&sum, value + 12, 4);
  if (sum != checksum(its_key, version, size)) {
    return "damaged: its checksum is wrong";
  }
  if (its_key != key) {
    return "another key's";
  }
  if (version < least) {
    return "a version that had been replaced before it was asked for";
  }
  if (version > most) {
    return "a version that was never written";
  }
  if (size != kv_load_value_size(o, key, version) || memcmp(value + 16, pool + (mixed(key, version) >> 48), size - 16) != 0) {
    return "damaged: its bytes are not those that were written";
  }
  return NULL;
}
