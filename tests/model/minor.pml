// SPDX-License-Identifier: MIT
// minor.pml: stops among several threads, and minor cycles while a major one is under way.
//
// A major cycle has just flipped: page G is grey, page O is black, page K holds a pinned object and can be kept, hence veiled, in
// mid-cycle. Two mutators allocate in the nursery and store into old pages; a scanner and traps blacken G and K; a stopper runs
// MINORS minor cycles, before or after the end of the major one. Ageing: once; then promotion to page M, which is black.
// Neighbours: major.pml has copying and counts (here the one from-space object, X, is copied in no time), flip.pml the stop
// instruction by instruction. README.md maps the names to the code. HELD: a mutator holds what the flip pinned.

#ifndef MINORS
#define MINORS 2
#endif
#ifndef SECOND
#define SECOND 1 // steps of the second mutator
#endif
#ifndef STEPS
#define STEPS 3
#endif

// Old pages and their slots.
#define O 0
#define G 1
#define K 2
#define M 3
#define PAGES 4
#define O_SLOT 0
#define G_SLOT 1   // points to X
#define G_SLOT2 2  // points to N1
#define K_SLOT 3   // the pinned object's
#define K_SLOT2 4  // its neighbour's, which points to X
#define M_SLOT 5   // two promoted objects
#define SLOTS 7
#define SLOT_PAGE(s) ((s) == O_SLOT -> O : ((s) <= G_SLOT2 -> G : ((s) <= K_SLOT2 -> K : M)))

// Pointers: 0, nursery cells, X, its copy, promoted objects.
#define N1 1       // pinned at the flip
#define EDEN_LIMIT 3
#define NURSERY 5  // 1 and 2 are eden, 3 and 4 are for what has survived once
#define X 8
#define X_COPY 9
#define PROMOTED 10
#define IN_NURSERY(v) ((v) != 0 && (v) < NURSERY)
#define YOUNG(s) IN_NURSERY(slot[s])

byte slot[SLOTS];
bool veiled[PAGES], busy[PAGES];
bool dirty[PAGES], armed[PAGES]; // Dirty: what the kernel or CLEAN knows
bool remembered[PAGES];
bool kept;                       // K was

bool alive[NURSERY];
byte inner[NURSERY];             // each nursery object's one slot
bool flip_pinned[NURSERY];
byte promoted;

byte reg[2];                     // of the mutators, ambiguous
bool stopping, parked[3], critical[3]; // critical: in the trap handler or in an assist; for the scanner: in a page
#define SCANNER 2

// ---- Pages.

// Step 7 of forwarding, on K: laid while mutators use the page.
inline keep() {
#ifdef FAULT_HARVEST_BEFORE_VEIL
  atomic { if :: dirty[K] -> remembered[K] = 1; dirty[K] = 0 :: else fi }
  veiled[K] = 1;
#else
  veiled[K] = 1;
#ifndef FAULT_VEIL_LOSES_DIRTY
  atomic { if :: dirty[K] -> remembered[K] = 1 :: else fi }
#endif
#endif
  atomic { dirty[K] = 0; busy[K] = 0 } // dropped with the mapping
}

inline scan(page) {
  at = (page == G -> G_SLOT : K_SLOT);
  do
  :: atomic { !parked[me] && SLOT_PAGE(at) == page ->
       if
       :: slot[at] == X -> slot[at] = X_COPY
       :: IN_NURSERY(slot[at]) ->
#ifndef FAULT_SCAN_DOES_NOT_REMEMBER
          remembered[page] = 1;
#endif
          skip
       :: else
       fi;
       at++
     }
     if // no memory, just now
     :: atomic { !parked[me] && page == G && !kept -> kept = 1; busy[K] = 1 }
        keep()
     :: atomic { !parked[me] }
     fi
  :: atomic { !parked[me] && SLOT_PAGE(at) != page -> at = 0; break }
  od;
  atomic { !parked[me] ->
#ifdef FAULT_UNVEILED_UNARMED
    armed[page] = 0;
#else
    armed[page] = 1;
#endif
    dirty[page] = 0; veiled[page] = 0; busy[page] = 0
  }
}

// ---- The processes.

#define USES(v) assert((v) != X); assert(!IN_NURSERY(v) || alive[v])

proctype mutator(byte me; byte limit) {
  byte steps, at, page, s;
  do
  :: atomic { !parked[me] && steps < limit -> steps++ }
     if
     :: atomic { !parked[me] && !(alive[1] && alive[2]) -> // allocates
          s = (alive[1] -> 2 : 1);
          alive[s] = 1;
          inner[s] = reg[me];
          reg[me] = s;
          s = 0
        }
     :: atomic { !parked[me] && IN_NURSERY(reg[me]) -> USES(reg[me]); reg[me] = inner[reg[me]]; USES(reg[me]) }
     :: atomic { !parked[me] && reg[me] >= PROMOTED -> reg[me] = slot[M_SLOT + reg[me] - PROMOTED]; USES(reg[me]) }
     :: atomic { !parked[me] -> reg[me] = 0 }
     :: // An old page: loads, stores.
        atomic { !parked[me] ->
          if :: s = O_SLOT :: s = G_SLOT :: s = G_SLOT2 :: s = K_SLOT fi;
          page = SLOT_PAGE(s)
        }
touch:
        if
        :: atomic { !parked[me] && !veiled[page] ->
             if
             :: reg[me] = slot[s]; USES(reg[me])
             :: slot[s] = reg[me]; dirty[page] = dirty[page] || armed[page]
             :: slot[s] = 0; dirty[page] = dirty[page] || armed[page]
             fi;
             s = 0; page = 0
           }
        :: atomic { !parked[me] && veiled[page] -> critical[me] = 1 } // a trap
           if
           :: atomic { veiled[page] && !busy[page] -> busy[page] = 1 }
              scan(page)
           :: atomic { !veiled[page] -> skip }
           // Else waits for the holder, with the stop signal blocked.
           fi;
           critical[me] = 0;
           goto touch
        fi
     :: // An assist: not in a handler, but as little to be stopped.
        atomic { !parked[me] && veiled[G] && !busy[G] ->
          busy[G] = 1;
#ifndef FAULT_ASSIST_STOPPED
          critical[me] = 1
#endif
        }
        scan(G);
        atomic { !parked[me] -> critical[me] = 0 }
     fi
  :: atomic { !parked[me] && steps == limit -> break }
  od
}

proctype scanner(byte me) {
  byte at, page;
  do
  :: atomic { (veiled[G] && !busy[G]) || (veiled[K] && !busy[K]) ->
       critical[me] = 1 // first, then looks: one of the two sees the other
     }
     if
#if defined(MAKES_WAY) && !defined(FAULT_SCANNER_WAITS_HOLDING)
     :: stopping -> critical[me] = 0; !stopping
     :: !stopping ->
#else
     :: true ->
#endif
        if
        :: atomic { veiled[G] && !busy[G] -> busy[G] = 1; page = G }
        :: atomic { veiled[K] && !busy[K] -> busy[K] = 1; page = K }
        :: atomic { else -> page = O }
        fi;
#ifdef FAULT_SCANNER_WAITS_HOLDING
        critical[me] = 0; !stopping;
#endif
        if
        :: page == G -> scan(G)
        :: page == K -> scan(K)
        :: else
        fi;
        page = 0;
        critical[me] = 0
     fi
  :: atomic { !veiled[G] && !busy[K] && !veiled[K] -> break }
  od;
  // The end of the major cycle: its pins are let go.
  atomic { !critical[0] && !critical[1] && !stopping -> flip_pinned[N1] = 0 }
}

#ifdef FAULT_FLIP_PINS_FORGOTTEN
#define PINNED(c) (reg[0] == (c) || reg[1] == (c))
#else
#define PINNED(c) (reg[0] == (c) || reg[1] == (c) || flip_pinned[c])
#endif

// World stopped; nobody is in a page.
inline collect() {
  d_step {
    // Dirty adds.
    i = 0;
    do
    :: i < PAGES ->
#ifdef FAULT_DIRTY_OVERWRITES
       remembered[i] = dirty[i];
#else
       if :: dirty[i] -> remembered[i] = 1 :: else fi;
#endif
       dirty[i] = 0; armed[i] = 1;
       i++
    :: else -> break
    od;
    // Who is reached. to[c]: 0 not; itself: stays; else where it goes.
    i = 1;
    do
    :: i < NURSERY ->
       to[i] = (alive[i] && PINNED(i) -> i : 0);
       reached[i] = (to[i] != 0);
       i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < SLOTS -> if :: remembered[SLOT_PAGE(i)] && IN_NURSERY(slot[i]) -> reached[slot[i]] = 1 :: else fi; i++
    :: else -> break
    od;
    k = 0;
    do
    :: k < NURSERY ->
       i = 1;
       do
       :: i < NURSERY -> if :: reached[i] && IN_NURSERY(inner[i]) -> reached[inner[i]] = 1 :: else fi; i++
       :: else -> break
       od;
       k++
    :: else -> break
    od;
    // What is reached and not pinned moves: to a free survivor's cell, or out of the nursery.
    i = 1;
    do
    :: i < NURSERY ->
       if
       :: reached[i] && to[i] == 0 ->
          if
          :: i < EDEN_LIMIT && !alive[3] -> to[i] = 3; to[3] = 3; alive[3] = 1; inner[3] = inner[i]; reached[3] = 1
          :: i < EDEN_LIMIT && alive[3] && !alive[4] -> to[i] = 4; to[4] = 4; alive[4] = 1; inner[4] = inner[i]; reached[4] = 1
          :: else ->
             if
             :: promoted < 2 -> to[i] = PROMOTED + promoted; slot[M_SLOT + promoted] = inner[i]; promoted++
             :: else -> to[i] = i // the model's promotion page is full
             fi
          fi
       :: else
       fi;
       i++
    :: else -> break
    od;
    i = 1;
    do
    :: i < NURSERY -> if :: reached[i] && IN_NURSERY(inner[i]) -> inner[i] = to[inner[i]] :: else fi; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < SLOTS ->
       if
       :: IN_NURSERY(slot[i]) && (remembered[SLOT_PAGE(i)] || i >= M_SLOT) -> slot[i] = to[slot[i]]
       :: else
       fi;
       i++
    :: else -> break
    od;
    // The bit stays where there is something to remember, and comes where something was promoted.
    i = 0;
    do
    :: i < PAGES ->
#ifdef FAULT_REMEMBERED_CLEARED
       remembered[i] = 0;
#else
       if
       :: remembered[i] && !veiled[i] ->
          remembered[i] = ((i == O && YOUNG(O_SLOT)) || (i == G && (YOUNG(G_SLOT) || YOUNG(G_SLOT2))) || (i == K && (YOUNG(K_SLOT) || YOUNG(K_SLOT2))))
       :: else
       fi;
#endif
       i++
    :: else -> break
    od;
#ifndef FAULT_PROMOTED_NOT_REMEMBERED
    remembered[M] = (YOUNG(M_SLOT) || YOUNG(M_SLOT + 1));
#else
    remembered[M] = 0;
#endif
    i = 1;
    do
    :: i < NURSERY ->
       if :: !(reached[i] && (to[i] == i)) -> alive[i] = 0; inner[i] = 0 :: else fi;
       to[i] = 0; reached[i] = 0;
       i++
    :: else -> break
    od;
    // Invariant 8, and nothing points to what died. A grey page may point to what the flip pinned.
    i = 0;
    do
    :: i < SLOTS ->
       assert(!IN_NURSERY(slot[i]) || alive[slot[i]]);
       assert(!IN_NURSERY(slot[i]) || remembered[SLOT_PAGE(i)] || (veiled[SLOT_PAGE(i)] && flip_pinned[slot[i]]));
       i++
    :: else -> break
    od;
    i = 1;
    do
    :: i < NURSERY -> assert(!alive[i] || !IN_NURSERY(inner[i]) || alive[inner[i]]); i++
    :: else -> break
    od;
    assert(!IN_NURSERY(reg[0]) || alive[reg[0]]);
    assert(!IN_NURSERY(reg[1]) || alive[reg[1]]);
    i = 0; k = 0
  }
}

proctype stopper() {
  byte minors, i, k;
  byte to[NURSERY];
  bool reached[NURSERY];
  do
  :: minors < MINORS ->
     minors++;
     stopping = 1;
     atomic { !critical[0] -> parked[0] = 1 }
     atomic { !critical[1] -> parked[1] = 1 }
#ifdef MAKES_WAY
     !critical[SCANNER];
#endif
     collect();
     atomic { stopping = 0; parked[0] = 0; parked[1] = 0 }
  :: else -> break
  od
}

init {
  atomic {
    armed[O] = 1; armed[G] = 1; armed[K] = 1; armed[M] = 1;
    veiled[G] = 1;
    slot[G_SLOT] = X; slot[G_SLOT2] = N1; slot[K_SLOT2] = X;
    alive[N1] = 1; flip_pinned[N1] = 1;
#ifdef HELD
    reg[0] = N1;
#endif
    run mutator(0, STEPS);
    run mutator(1, SECOND);
    run scanner(SCANNER);
    run stopper()
  }
}
