// SPDX-License-Identifier: MIT
// heap.c: values, types, roots, allocation: all that an embedder of veil has to tell it. The guide in examples/README.md asks these questions in this order.
//
// 1. Values and types: scheme.h and machine.h say what objects look like: a header, then slots, or a leaf. memory_veil.c describes each of these two shapes
// once, for each
//    kind and each number of slots, with the one encoding of scheme.h. Nothing here knows of it.
// 2. Roots: C functions need none for their variables. What outlives a call hangs on `world`, which is one static variable, or on a machine's stack and
// state, which are two
//    slots of each thread. All of them are registered, and there are no others.
// 3. Allocation: each function below makes one kind. An object is zeroed when it is born and zero is no reference, so the collector may look at it at any
// moment.
// 4. Stores are plain. There is no barrier in the interpreter.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "machine.h"

const char *const memory_type_names[MEMORY_TYPES] = {
    [KIND_NONE] = "none", [KIND_STRING] = "string", [KIND_SYMBOL] = "symbol", [KIND_VECTOR] = "vector", [KIND_BYTEVECTOR] = "bytevector",
        [KIND_BIGNUM] = "bignum",
    [KIND_RATIONAL] = "rational", [KIND_PRIMITIVE] = "primitive", [KIND_CLOSURE] = "closure", [KIND_CODE] = "code", [KIND_CONTINUATION] = "continuation",
    [KIND_PARAMETER] = "parameter", [KIND_VALUES] = "values", [KIND_CELL] = "cell", [KIND_RECORD_TYPE] = "record-type", [KIND_RECORD] = "record",
    [KIND_CONDITION] = "condition", [KIND_PROMISE] = "promise", [KIND_PORT] = "port", [KIND_HASHTABLE] = "hash-table", [KIND_WEAK] = "weak",
        [KIND_GUARDIAN] = "guardian",
    [KIND_ENVIRONMENT] = "environment", [KIND_LIBRARY] = "library", [KIND_MACRO] = "macro", [KIND_IDENTIFIER] = "identifier", [KIND_THREAD] = "thread",
    [KIND_MUTEX] = "mutex", [KIND_STACK] = "stack", [KIND_OTHER] = "compiler", [MEMORY_PAIR] = "pair", [MEMORY_FLONUM] = "flonum"};

// ---- Roots.

vector *world;
enum { ENTRY = 2 }; // words, in the table of symbols
pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;

// The memory layer's root by name is what an image and a store are opened by; the static variable is the same object for the program.
bool heap_begin(machine *m) {
  if (!memory_add_roots(m->self, &world, 1)) {
    return false;
  }
  world = memory_root_get(m->self, "world");
  if (world != NULL) {
    return true;
  }
  world = allocate(m, KIND_VECTOR, WORLD_SLOTS + 1, KIND_VECTOR);
  world->length = WORLD_SLOTS;
  for (int i = 0; i < WORLD_SLOTS; i++) {
    world->item[i] = V_FALSE;
  }
  world->item[WORLD_VERSION] = code_version();
  world->item[WORLD_SYMBOLS] = new_vector(m, 2048 * ENTRY, V_FALSE);
  world->item[WORLD_SYMBOL_COUNT] = fixnum(0);
  world->item[WORLD_FILES] = V_NULL;
  world->item[WORLD_LIBRARIES] = new_vector(m, 0, V_FALSE); // until libraries_begin
  world->item[WORLD_LIBRARY_COUNT] = fixnum(0);
  world->item[WORLD_GUARDIANS] = V_NULL;
  world->item[WORLD_ARGUMENTS] = V_NULL;
  world->item[WORLD_PRELUDE_FILES] = fixnum(0);
  return memory_root_set(m->self, "world", world);
}
value *library_roots(machine *m) { return &world->item[WORLD_LIBRARY_ROOTS]; }

// A machine's own roots: its stack, a large object that is scanned page by page like any other, and what else belongs to the thread.
machine *machine_open(memory_self *self) {
  machine *m = calloc(1, sizeof *m);
  if (m == NULL) {
    return NULL;
  }
  m->self = self;
  if (!memory_add_roots(self, &m->stack, 1) || !memory_add_roots(self, &m->state, 1)) {
    free(m);
    return NULL;
  }
  m->stack = memory_new(self, KIND_STACK, STACK_WORDS + 1);
  m->state = memory_new(self, KIND_VECTOR, STATE_SLOTS + 1);
  if (m->stack == NULL || m->state == NULL) {
    free(m);
    return NULL;
  }
  m->stack->header = KIND_STACK;
  m->stack->length = STACK_WORDS;
  m->state->header = KIND_VECTOR;
  m->state->length = STATE_SLOTS;
  for (int i = 0; i < STATE_SLOTS; i++) {
    m->state->item[i] = V_NULL;
  }
  m->frame = m->stack->item + 2;
  limit_set(m, m->stack->item + STACK_STEP);
  return m;
}

void machine_close(machine *m) {
  memory_remove_roots(m->self, &m->stack);
  memory_remove_roots(m->self, &m->state);
  free(m);
}

// Who waits for this lock may be stopped for a collection meanwhile.
void world_lock_take(machine *m) {
  if (!m->locked) {
    memory_lock(m->self, &world_lock);
    m->locked = true;
  }
}
void world_lock_drop(machine *m) {
  if (m->locked) {
    m->locked = false;
    pthread_mutex_unlock(&world_lock);
  }
}

// ---- Allocation. A tag is added where scheme.h says so; otherwise a value is the address.

value cons(machine *m, value head, value tail) { return cons_inline(m, head, tail); }
value new_flonum(machine *m, double number) { return flonum_inline(m, number); }

static void *allocate_leaf(machine *m, kind k, size_t bytes, uint64_t header, int64_t length) {
  bytevector *made = length >= 0 ? memory_new_leaf(m->self, (int)k, bytes) : NULL;
  if (made == NULL) {
    out_of_memory(m);
  }
  made->header = header;
  made->length = length;
  return made;
}

value new_bytevector(machine *m, int64_t length, int fill) {
  bytevector *made = allocate_leaf(m, KIND_BYTEVECTOR, sizeof(bytevector) + (size_t)length, KIND_BYTEVECTOR, length);
  if (fill >= 0) {
    memset(made->byte, fill, (size_t)length);
  }
  return ref(made);
}

value new_bignum(machine *m, int64_t limbs) {
  bignum *made = allocate_leaf(m, KIND_BIGNUM, sizeof(bignum) + 8 * (size_t)limbs, KIND_BIGNUM, limbs);
  memset(made->limb, 0, 8 * (size_t)limbs);
  return ref(made);
}

value new_vector(machine *m, int64_t length, value fill) {
  if (length < 0 || length > INT64_MAX / 16) {
    out_of_memory(m);
  }
  vector *made = allocate(m, KIND_VECTOR, length + 1, KIND_VECTOR);
  for (int64_t i = 0; i < length; i++) {
    made->item[i] = fill;
  }
  made->length = length; // last, for others that may see it; the collector knows how long it is by itself
  return ref(made);
}

value new_rational(machine *m, value numerator, value denominator) {
  rational *made = allocate(m, KIND_RATIONAL, 2, KIND_RATIONAL);
  made->numerator = numerator;
  made->denominator = denominator;
  return ref(made);
}

value new_cell(machine *m, value content, value name) {
  cell *made = allocate(m, KIND_CELL, 2, KIND_CELL);
  made->content = content;
  made->name = name;
  return ref(made);
}

value new_string(machine *m, int64_t length, uint32_t fill) {
  if (length < 0 || length > INT64_MAX / 16) {
    out_of_memory(m);
  }
  bool wide = fill > 255;
  value data = new_bytevector(m, wide ? 4 * length : length, wide ? -1 : (int)fill);
  for (int64_t i = 0; wide && i < length; i++) {
    ((uint32_t *)OBJ(bytevector, data)->byte)[i] = fill;
  }
  string *made = allocate(m, KIND_STRING, 2, KIND_STRING);
  made->length = length;
  made->data = data;
  return ref(made);
}

value list(machine *m, int count, ...) {
  va_list args;
  value item[16], made = V_NULL;
  va_start(args, count);
  for (int i = 0; i < count; i++) {
    item[i] = va_arg(args, value);
  }
  va_end(args);
  while (count-- > 0) {
    made = cons(m, item[count], made);
  }
  return made;
}

// ---- Text.

// Decodes one character of UTF-8; what is none is U+FFFD, one byte long.
static size_t decode(const unsigned char *text, size_t bytes, uint32_t *out) {
  unsigned char first = text[0];
  size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  uint32_t c = length == 1 ? first : first & (0x7fu >> length);
  *out = 0xfffd;
  if (length == 0 || length > bytes) {
    return 1;
  }
  for (size_t i = 1; i < length; i++) {
    if ((text[i] & 0xc0) != 0x80) {
      return 1;
    }
    c = c << 6 | (text[i] & 0x3f);
  }
  if ((length == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (length == 4 && (c < 0x10000 || c > 0x10ffff))) {
    return 1;
  }
  *out = c;
  return length;
}

value new_string_utf8(machine *m, const char *text, size_t bytes) {
  const unsigned char *from = (const unsigned char *)text;
  int64_t length = 0;
  uint32_t c, all = 0;
  for (size_t i = 0; i < bytes; length++) {
    i += decode(from + i, bytes - i, &c);
    all |= c;
  }
  bool wide = all > 255;
  value data = new_bytevector(m, wide ? 4 * length : length, -1);
  bytevector *to = OBJ(bytevector, data);
  for (size_t i = 0, n = 0; i < bytes; n++) {
    i += decode(from + i, bytes - i, &c);
    if (wide) {
      ((uint32_t *)to->byte)[n] = c;
    } else {
      to->byte[n] = (uint8_t)c;
    }
  }
  string *made = allocate(m, KIND_STRING, 2, KIND_STRING);
  made->length = length;
  made->data = data;
  return ref(made);
}

char *utf8_of(machine *m, value v) {
  const string *s = OBJ(string, is_kind(v, KIND_SYMBOL) ? OBJ(symbol, v)->name : v);
  size_t bytes = 1;
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    bytes += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  }
  uint8_t *to = OBJ(bytevector, new_bytevector(m, (int64_t)bytes, 0))->byte, *start = to, *limit = to + bytes - 1;
  for (int64_t i = 0; i < s->length; i++) {
    uint32_t c = string_get(s, i);
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    if (limit - to <= more) { // the string has grown wider meanwhile
      if (limit - to < more + 1) {
        break;
      }
    }
    *to++ = (uint8_t)(more == 0 ? c : (0xf00u >> more & 0xff) | c >> 6 * more);
    while (more-- > 0) {
      *to++ = (uint8_t)(0x80 | (c >> 6 * more & 0x3f));
    }
  }
  return (char *)start;
}

// ---- Symbols: a table in the world, which holds them all. Entries are two words, the hash, which is odd, and the symbol: of an image only those are read
// that are asked for.
static uint64_t name_hash(const string *name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (int64_t i = 0; i < name->length; i++) {
    h = (h ^ string_get(name, i)) * 0x100000001b3u;
  }
  return (h ^ h >> 29) | 1; // odd: it stands in a slot
}

static bool same_text(const string *a, const string *b) {
  if (a->length != b->length) {
    return false;
  }
  for (int64_t i = 0; i < a->length; i++) {
    if (string_get(a, i) != string_get(b, i)) {
      return false;
    }
  }
  return true;
}

// The entry of the name, or the free one where it belongs: there is always one.
static value *symbol_entry(value table_value, const string *name, uint64_t hash) {
  vector *table = OBJ(vector, table_value);
  uint64_t mask = (uint64_t)(table->length / ENTRY - 1), i = hash >> 1 & mask;
  while (table->item[ENTRY * i] != V_FALSE &&
         (table->item[ENTRY * i] != hash || !same_text(OBJ(string, OBJ(symbol, table->item[ENTRY * i + 1])->name), name))) {
    i = (i + 1) & mask;
  }
  return &table->item[ENTRY * i];
}

static void symbols_grow(machine *m) {
  vector *old = OBJ(vector, world->item[WORLD_SYMBOLS]), *made = OBJ(vector, new_vector(m, old->length * 4, V_FALSE));
  uint64_t mask = (uint64_t)(made->length / ENTRY - 1);
  for (int64_t from = 0; from < old->length; from += ENTRY) {
    if (old->item[from] != V_FALSE) {
      uint64_t i = old->item[from] >> 1 & mask;
      while (made->item[ENTRY * i] != V_FALSE) { // all names differ
        i = (i + 1) & mask;
      }
      made->item[ENTRY * i + 1] = old->item[from + 1];
      made->item[ENTRY * i] = old->item[from];
    }
  }
  world->item[WORLD_SYMBOLS] = ref(made);
}

static value symbol_add(machine *m, value name, uint64_t hash) {
  string *given = OBJ(string, name);
  if (!(given->header & STRING_IMMUTABLE)) { // a name is nobody's to change
    string *copy = allocate(m, KIND_STRING, 2, KIND_STRING | STRING_IMMUTABLE);
    bytevector *data = OBJ(bytevector, given->data), *same = OBJ(bytevector, new_bytevector(m, data->length, -1));
    memcpy(same->byte, data->byte, (size_t)data->length);
    copy->length = given->length;
    copy->data = ref(same);
    name = ref(copy);
  }
  symbol *made = allocate(m, KIND_SYMBOL, 2, KIND_SYMBOL);
  made->name = name;
  made->hash = hash;
  int64_t count = fixnum_of(world->item[WORLD_SYMBOL_COUNT]) + 1;
  if (3 * count > 2 * (OBJ(vector, world->item[WORLD_SYMBOLS])->length / ENTRY)) {
    symbols_grow(m);
  }
  world->item[WORLD_SYMBOL_COUNT] = fixnum(count);
  value *entry = symbol_entry(world->item[WORLD_SYMBOLS], OBJ(string, name), hash);
  entry[1] = ref(made);
  entry[0] = hash;
  return ref(made);
}

value intern_string(machine *m, value name) {
  uint64_t hash = name_hash(OBJ(string, name));
  bool mine = !m->locked;
  world_lock_take(m);
  value *entry = symbol_entry(world->item[WORLD_SYMBOLS], OBJ(string, name), hash);
  value found = entry[0] != V_FALSE ? entry[1] : symbol_add(m, name, hash); // which may fail for want of memory: then machine_run drops the lock
  if (mine) {
    world_lock_drop(m);
  }
  return found;
}
value intern(machine *m, const char *text) {
  value name = new_string_utf8(m, text, strlen(text));
  OBJ(string, name)->header |= STRING_IMMUTABLE;
  return intern_string(m, name);
}

// ---- Out of memory. veil calls nobody back: the option oom=null says so. The error, which was made before, is raised like any other; 16 MiB more are lent
// to whoever handles it
// (machine_poll takes them back).

_Noreturn void out_of_memory(machine *m) {
  memory_reserve(true);
  m->exhausted = true;
  machine_exhausted(m);
}
