// SPDX-License-Identifier: MIT
// fake.c: see fake.h.

#include "tests/gc/fake.h"
#include "gc/nursery.h"
#include "gc/young.h"

static const size_t pair_offsets[] = {0, 8};
static const size_t first_offset[] = {0};
fake_type type_pair = {
    {.name = "pair", .size = sizeof(pair), .layout = GC_LAYOUT_MAP, .count = 2, .offsets = pair_offsets}, 0};
fake_type type_pointer = {{.name = "pointer", .size = 8, .layout = GC_LAYOUT_DENSE, .count = 1, .offsets = first_offset},
                          0};
fake_type type_byte = {{.name = "byte", .size = 1, .layout = GC_LAYOUT_LEAF}, 0};

// ---- The world.

static void world_buffers(void *arg, gc_flip *flip) {
  fake *f = arg;
  for (int m = 0; m < FAKE_MUTATORS; m++) {
    fake_mutator *mutator = &f->mutator[m];
    for (int i = 0; i < 2; i++) {
      mutator->start[i] = gc_flip_buffer(flip, mutator->start[i], mutator->free[i], mutator->limit[i]);
      gc_flip_lane(flip, &mutator->lane[i]);
      gc_flip_lane(flip, &mutator->medium[i]);
    }
  }
}

static void world_ambiguous(void *arg, gc_flip *flip) {
  fake *f = arg;
  gc_flip_range(flip, f->word, f->word + FAKE_WORDS);
  for (int i = 0; i < FAKE_TOUCHES; i++) {
    if (f->touch_base[i] != 0) {
      gc_flip_touched(flip, f->touch_base[i], f->touch_limit[i]);
    }
  }
  if (f->in_pause != NULL) {
    f->in_pause(f, flip);
  }
}

static void world_precise(void *arg, gc_flip *flip) {
  fake *f = arg;
  gc_flip_slots(flip, (uintptr_t *)f->root, FAKE_ROOTS);
}

static void world_absent(void *arg, size_t page) {
  fake *f = arg;
  EXPECT(f->absent != NULL);
  f->absent(f, page);
}

static void world_unsaved(void *arg, size_t page) {
  fake *f = arg;
  EXPECT(f->unsaved != NULL);
  f->unsaved(f, page);
}

static void world_discarded(void *arg, size_t page, size_t count) {
  (void)page;
  ((fake *)arg)->discarded += count;
}

static bool world_touched(void *arg, size_t page) {
  fake *f = arg;
  for (int i = 0; i < FAKE_TOUCHES; i++) {
    if (f->touch_base[i] != 0 && page >= gc_page_at(f->gc, f->touch_base[i]) &&
        page <= gc_page_at(f->gc, f->touch_limit[i] - 1)) {
      return true;
    }
  }
  return false;
}

static void world_help(void *arg) {
  fake *f = arg;
  if (f->help != NULL) {
    f->help(f);
  }
}

static unsigned log2_of(size_t value) { return (unsigned)__builtin_ctzl(value); }

fake *fake_open(fake_options options) {
  fake *f = calloc(1, sizeof *f);
  EXPECT(f != NULL);
  for (int m = 0; m < FAKE_MUTATORS; m++) {
    for (int i = 0; i < 2; i++) {
      f->mutator[m].lane[i].block = f->mutator[m].medium[i].block = GC_NONE;
    }
  }
  gc_config config = {
      .limit = options.limit ? options.limit : (size_t)32 << 20,
      .soft_limit = options.soft_limit,
      .reserve = options.reserve,
      .page_shift = log2_of(options.granule ? options.granule : 4096),
      .back_end = options.back_end,
      .growth = options.growth ? options.growth : 80,
      .headroom = options.headroom ? options.headroom : (size_t)4 << 20,
      .generations = options.nursery ? GC_GENERATIONS_ON : GC_GENERATIONS_OFF,
      .nursery = options.nursery,
      .verify = options.verify,
  };
  gc_world world = {
      .buffers = world_buffers,
      .ambiguous = world_ambiguous,
      .precise = world_precise,
      .absent = world_absent,
      .unsaved = world_unsaved,
      .discarded = world_discarded,
      .touched = world_touched,
      .help = world_help,
      .arg = f,
  };
  vm_status status = gc_open(&f->gc, &config, &world, f->why, sizeof f->why);
  if (status != VM_OK) {
    fprintf(stderr, "cannot open: %s\n", f->why);
    EXPECT(status == VM_UNSUPPORTED);
    free(f);
    return NULL;
  }
  return f;
}

void fake_close(fake *f) {
  gc_close(f->gc);
  free(f);
}

// ---- Allocation.

static void type_use(fake_type *type) {
  if (type->id == 0) {
    type->type.cell = (uint32_t)gc_round_cell(8 + type->type.size);
    type->id = gc_type_register(&type->type);
    EXPECT(type->id != 0);
  }
}

uint64_t fake_header(fake_type *type, bool array) {
  type_use(type);
  return gc_header_make(type->id, array, type->type.layout == GC_LAYOUT_LEAF);
}

static void *allocate(fake *f, uint64_t header, size_t cell_bytes, size_t length, bool raw) {
  gc_wanted want = {header, cell_bytes, length, raw, false};
  fake_mutator *m = &f->mutator[f->now];
  bool leaf = (header & GC_LEAF) != 0;
  char *cell;
  if (cell_bytes > GC_MEDIUM_MAX) {
    cell = gc_alloc_large(f->gc, &want);
    return cell == NULL ? NULL : cell + gc_header_bytes(header);
  }
  if (cell_bytes > GC_SMALL_MAX) {
    cell = gc_alloc_medium(f->gc, &m->medium[leaf], &want);
    return cell == NULL ? NULL : cell + gc_header_bytes(header);
  }
  if ((size_t)(m->limit[leaf] - m->free[leaf]) < cell_bytes) {
    char *base, *limit;
    if (!gc_alloc_buffer(f->gc, &m->lane[leaf], leaf, cell_bytes, &base, &limit)) {
      return NULL;
    }
    EXPECT((uintptr_t)base % 16 == 8 && (uintptr_t)limit % 16 == 8 && (size_t)(limit - base) >= cell_bytes);
    for (char *at = base; at < limit; at++) {
      EXPECT(*at == 0);
    }
    gc_buffer_leave(f->gc, m->start[leaf], m->free[leaf]);
    m->start[leaf] = m->free[leaf] = base;
    m->limit[leaf] = limit;
  }
  cell = m->free[leaf];
  m->free[leaf] += cell_bytes;
  gc_cell_begin(cell, &want);
  return cell + gc_header_bytes(header);
}

void *fake_new(fake *f, fake_type *type) {
  type_use(type);
  return allocate(f, fake_header(type, false), type->type.cell, 1, false);
}

void *fake_array(fake *f, fake_type *type, size_t length) {
  type_use(type);
  return allocate(f, fake_header(type, true), gc_round_cell(16 + type->type.fixed + length * type->type.size), length, false);
}

void *fake_array_raw(fake *f, fake_type *type, size_t length) {
  type_use(type);
  return allocate(f, fake_header(type, true), gc_round_cell(16 + length * type->type.size), length, true);
}

void fake_buffers_drop(fake *f) {
  fake_mutator *m = &f->mutator[f->now];
  for (int i = 0; i < 2; i++) {
    gc_buffer_leave(f->gc, m->start[i], m->free[i]);
    m->start[i] = m->free[i] = m->limit[i] = NULL;
  }
}

// ---- Cycles.

void fake_flip(fake *f) {
  EXPECT(gc_phase_now(f->gc) == GC_IDLE);
  gc_kept_yield(f->gc); // as the runtime does before it stops the world
  if (!f->spares) {
    gc_empty_all(f->gc);
  }
  vm_quiesce(f->gc->region);
  gc_flip_stopped(f->gc);
  gc_flip_open(f->gc);
  vm_resume(f->gc->region);
}

bool fake_step(fake *f) {
  gc_copier *copier = gc_copier_take(f->gc);
  bool found = gc_scan_some(f->gc, copier, true);
  gc_copier_give(f->gc, copier);
  return found;
}

void fake_finish(fake *f) {
  // As a scanner does; what is not found in this many idle steps in a row will never be.
  for (int idle = 0; gc_phase_now(f->gc) == GC_SCANNING && !gc_sweep_begin(f->gc);) {
    idle = fake_step(f) ? 0 : idle + 1;
    if (idle > 3) {
      gc_copier *copier = gc_copier_take(f->gc);
      gc_scan_anything(f->gc, copier);
      gc_copier_give(f->gc, copier);
    }
    EXPECT(idle < 100);
  }
  if (f->gc->region->traps) {
    gc_sweep(f->gc);
  }
  EXPECT(gc_phase_now(f->gc) == GC_IDLE);
  if (!f->unverified) {
    gc_verify_stopped(f->gc, "in a test");
  }
}

void fake_cycle(fake *f) {
  fake_flip(f);
  fake_finish(f);
}

void fake_minor(fake *f) {
  vm_quiesce(f->gc->region);
  gc_minor_stopped(f->gc);
  vm_resume(f->gc->region);
  gc_minor_free(f->gc);
}

void fake_young_off(fake *f) {
  vm_quiesce(f->gc->region);
  gc_nursery_switch_off(f->gc, 0);
  vm_resume(f->gc->region);
}

bool fake_young_on(fake *f) {
  if (!gc_trial_prepared(f->gc)) {
    at_store(&f->gc->trial_due, GC_TRIAL_DUE);
    gc_young_settle(f->gc);
    return false;
  }
  vm_quiesce(f->gc->region);
  gc_trial_stopped(f->gc);
  vm_resume(f->gc->region);
  return gc_young_is_on(f->gc);
}

void fake_memory_take(fake *f, size_t spare_blocks) {
  while (gc_block_take_veiled(f->gc) != GC_NONE) {
    // It belongs to nobody: an empty block of to-space until it dies in the next cycle.
  }
  fake_limit(f, spare_blocks);
}

void fake_limit(fake *f, size_t spare_blocks) {
  EXPECT(f->gc->ready.count == 0); // in a heap with a larger limit they would count as memory that is there
  at_store(&f->gc->limit, at_load(&f->gc->committed_bytes) + spare_blocks * GC_BLOCK);
}

// ---- Looking.

gc_cell fake_cell(const fake *f, const void *object) { return gc_ref_cell(f->gc, (gc_ref){(uintptr_t)object}); }

uint64_t fake_object_header(const fake *f, const void *object) { return gc_header_load(fake_cell(f, object)); }

bool fake_is_veiled(const fake *f, const void *address) {
  return (vm_claims(f->gc->region, gc_page_at(f->gc, (uintptr_t)address)) & VM_UNSCANNED) != 0;
}

static unsigned char pattern(size_t i, unsigned seed) { return (unsigned char)((i * 131 + seed * 31 + i / 251) | 1); }

void fake_fill(void *at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; i++) {
    ((unsigned char volatile *)at)[i] = pattern(i, seed);
  }
}

bool fake_filled(const void *at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; i++) {
    if (((const unsigned char volatile *)at)[i] != pattern(i, seed)) {
      fprintf(stderr, "byte %zu of %zu at %p differs\n", i, bytes, at);
      return false;
    }
  }
  return true;
}

void fake_list(fake *f, size_t slot, size_t length) {
  f->root[slot] = NULL;
  for (size_t i = length; i-- > 0;) {
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL);
    p->right = f->root[slot];
    p->key = (long)i;
    f->root[slot] = p;
  }
}

size_t fake_list_length(fake *f, size_t slot) {
  size_t length = 0;
  for (pair *p = f->root[slot]; p != NULL; p = p->right) {
    EXPECT(p->key == (long)length);
    length++;
  }
  return length;
}
