// SPDX-License-Identifier: MIT
// flip.pml: a stop between any two instructions of a mutator, the floor of its buffer, pins, and the flip.
//
// One mutator allocates inline (bump, header, use), loads, stores to a precise root, and goes in and out of a bracketed call. A
// collector stops it, flips (in two steps, since nobody else may run), lets it run, scans, and sweeps what did not stay; then it stops it once more. Objects have one
// slot. Neighbours: major.pml has what happens between flip and sweep, minor.pml stops among several threads.

#ifndef STEPS
#define STEPS 6
#endif

// Cells, which are pointers too; 0 is NULL. A and B are old, the buffer is T0 T1 T2, copies go to D0 and D0 + 1.
#define A 1
#define B 2
#define T0 3
#define T_LIMIT 6
#define D0 6
#define CELLS 10

bool header[CELLS]; // of from-space and the buffer: 0 ends what is whole
byte slot[CELLS];
byte peer[CELLS];   // where it went; itself: pinned
bool dead[CELLS];   // ghost: swept

byte root = A;      // a precise root
byte reg = B;       // ambiguous: the mutator's registers
byte cell;          // the same, in the middle of an allocation
byte buffer_free = T0, buffer_limit = T_LIMIT;

byte floor = CELLS; // the buffer's, at the flip
byte next_copy = D0;
bool flipped, veiled, swept; // veiled: the page of D0

#define RUNNING 0
#define STOPPED 1
#define BLOCKED 2
byte state;         // of the mutator
bool stopping;
bool parked;        // in the stop handler, or waiting in rt_unblock
bool in_trap;       // the stop signal is blocked

#define IS_FROM(p) (flipped && (p) != 0 && (p) < D0 && !((p) >= floor && (p) < T_LIMIT))
#define STALE(p) (IS_FROM(p) && peer[p] != (p))

inline forward(p) {
  if
  :: IS_FROM(p) ->
     assert(!dead[p] && header[p]);
     if
     :: peer[p] == 0 ->
        assert(next_copy < CELLS);
        slot[next_copy] = slot[p];
        peer[p] = next_copy;
        next_copy++
     :: else
     fi;
     p = peer[p]
  :: else
  fi
}

inline pin(word) {
  if
  :: IS_FROM(word) && header[word] && peer[word] == 0 -> peer[word] = word
  :: else
  fi
}

// The page that holds the copies. New ones go to the same page while it is veiled, as Cheney's did.
inline page_scan() {
  d_step {
    i = D0;
    do
    :: i < next_copy -> forward(slot[i]); i++
    :: else -> break
    od;
    i = 0;
    veiled = 0
  }
}

// A mutator must see neither the dead nor what has moved.
#define ALIVE(p) assert((p) == 0 || (!dead[p] && !STALE(p)))

proctype mutator() {
  byte steps, i, old;
  do
  :: atomic { !parked && steps < STEPS -> steps++ }
     if
     :: // Allocates.
        atomic { !parked && buffer_free < buffer_limit -> cell = buffer_free }
        atomic { !parked -> buffer_free = cell + 1 }
#ifdef FAULT_USED_BEFORE_HEADER
        atomic { !parked -> ALIVE(cell); slot[cell] = reg }
        atomic { !parked -> reg = cell }
        atomic { !parked -> ALIVE(cell); header[cell] = 1; cell = 0 }
#else
        atomic { !parked -> ALIVE(cell); header[cell] = 1 }
        atomic { !parked -> ALIVE(cell); slot[cell] = reg }
        atomic { !parked -> reg = cell; cell = 0 }
#endif
     :: // Loads.
        atomic { !parked && reg != 0 }
        do
        :: atomic { !parked && !(reg >= D0 && veiled) -> ALIVE(reg); reg = slot[reg]; ALIVE(reg); break }
        :: atomic { !parked && reg >= D0 && veiled -> in_trap = 1 }
           page_scan();
           in_trap = 0
        od
     :: atomic { !parked -> ALIVE(root); old = root; root = reg; reg = old; old = 0 }
     :: // A bracketed call: it counts as stopped meanwhile.
        atomic { !parked -> state = BLOCKED }
#ifdef FAULT_UNBLOCK_LOOKS_FIRST
        !parked && !stopping;
        atomic { !parked -> state = RUNNING }
#else
        do
        :: atomic { !parked -> state = RUNNING }
           if
           :: atomic { !parked && !stopping -> break }
           :: atomic { !parked && stopping -> state = STOPPED }
              !stopping
           fi
        od
#endif
     :: atomic { !parked && (buffer_free == buffer_limit || reg == 0) -> skip }
     fi
  :: atomic { !parked && steps == STEPS -> break }
  od;
  state = BLOCKED // detached
}

// The mutator's signal handler: between any two of its steps, but not in the trap handler.
proctype handler() {
end:
  do
  :: atomic { stopping && state == RUNNING && !parked && !in_trap -> parked = 1; state = STOPPED }
     do
     :: atomic { !stopping -> state = RUNNING }
        if
        :: atomic { !stopping -> parked = 0; break }
        :: atomic { stopping -> state = STOPPED }
        fi
     od
  od
}

inline stop() {
  stopping = 1;
  state != RUNNING
}

proctype collector() {
  byte i, k;
  stop();
  d_step {
    // The floor: the first zero header.
    floor = T0;
    do
    :: floor < buffer_free && header[floor] -> floor++
    :: else -> break
    od;
#ifdef FAULT_FLOOR_AT_FREE
    floor = buffer_free;
#endif
#ifdef FAULT_BUFFER_TAKEN
    floor = CELLS;
    buffer_free = buffer_limit;
#endif
    flipped = 1;
#ifdef FAULT_PINS_AFTER_FORWARDING
    forward(root);
#endif
    pin(reg)
#ifndef FAULT_REGISTER_MISSED
    ; pin(cell)
#endif
  }
  d_step {
    forward(root);
#ifndef FAULT_PINS_NOT_SCANNED
    k = A;
    do
    :: k < T_LIMIT -> if :: peer[k] == k -> forward(slot[k]) :: else fi; k++
    :: else -> break
    od;
    k = 0;
#endif
#ifndef FAULT_COPIES_NOT_VEILED
    veiled = (next_copy > D0);
#endif
    // gc.tospace
    assert(!STALE(reg) && !STALE(root))
  }
  stopping = 0;
  // Background scanning, while nobody holds the page in a trap. It may never come to it: then a trap does.
  if
  :: atomic { veiled && !in_trap -> page_scan() }
  :: !veiled
  fi;
  atomic {
    do
    :: !veiled && !in_trap -> break
    od;
    // The end of the cycle: what does not stay is freed.
    k = A;
    do
    :: k < T_LIMIT ->
       if :: IS_FROM(k) && peer[k] != k -> dead[k] = 1; header[k] = 0; slot[k] = 0 :: else fi;
       k++
    :: else -> break
    od;
    k = 0;
    swept = 1
  }
  stop();
  d_step {
    // Nothing that lives points to what died.
    ALIVE(reg);
    ALIVE(root);
    k = A;
    do
    :: k < next_copy -> if :: !dead[k] && (k < T0 || k >= T_LIMIT || header[k]) -> ALIVE(slot[k]) :: else fi; k++
    :: else -> break
    od;
    k = 0
  }
  stopping = 0
}

init {
  atomic {
    header[A] = 1; header[B] = 1;
    slot[A] = B; slot[B] = A;
    run mutator();
    run handler();
    run collector()
  }
}
