// SPDX-License-Identifier: MIT
// weak.pml: weak references and entries of weak tables that are read while a cycle ends, and the finalizer's second tracing
// (gc.freeze, gc.links, gc.pairs).
//
// It begins when all that is held has been scanned. W is white; readers ask for it through one weak link, and use what
// they get; V is what W refers to. F has a finalizer and is white, too, and refers to V. With PAIR a table has W as a key, and a leaf beside it:
// who has W asks for that. A scanner ends the cycle: traces the entry and F, tries the end, settles the words, waits for grace, and frees from-space.
// Neighbours: major.pml has pages, copying and the count. Here a page is `grey`, and to scan it forwards V.
// Configurations (-D): READERS, READS of each. IN_PLACE: what is reached is not moved, and sweeping its block takes the mark away. FINAL: there
// is F. PAIR: there is the entry. LEAF: W refers to nothing, so to reach it makes no page grey.

#ifndef READS
#define READS 2
#endif
#ifndef READERS
#define READERS 1
#endif

#define SCANNING 0
#define SWEEPING 1
#define IDLE 2

// A word outside: the object where it was before the flip, where it is now, nothing.
#define FROM 1
#ifdef IN_PLACE
#define TO FROM
#else
#define TO 2
#endif
#define NOTHING 0

#define W 0 // the link's word, and the object
#define P 1 // the entry's value

byte phase = SCANNING;
byte open;            // opened - cleaned: major.pml has why it is two numbers
byte since = 7;       // `opened` has grown so often since the tracer has read it, as far as 7
bool traced;          // he has found nothing: `traced` is what he had read
byte word[2];         // of the link; of the entry
bool done[2], v_done, f_done; // forwarded; the header in from-space
byte grey;            // pages that refer to V and are to be scanned
bool frozen, settled, freed, swept;
bool finals_traced;
bool inside[2];       // a reader's copier has an odd tick
bool nulled[2];       // ghost: somebody was told that it is gone

inline count() {
  atomic {
    open++;
    if :: since < 7 -> since++ :: else fi
  }
}

// To scan one grey page, by whoever takes it.
inline page_scan() {
  atomic { grey > 0 -> grey--; assert(!freed); v_done = 1 }
  open--
}

// A leaf makes no page grey.
inline forward(o) {
  atomic {
    assert(!freed && phase != IDLE);
    if
#ifndef LEAF
    :: !done[o] && o == W -> done[o] = 1; grey++; open++; if :: since < 7 -> since++ :: else fi
    :: !done[o] && o != W -> done[o] = 1
#else
    :: !done[o] -> done[o] = 1
#endif
    :: else
    fi;
    if :: word[o] == FROM -> word[o] = TO :: else fi
  }
}

proctype reader(byte me) {
  byte view, n, o;
  bool asked, over;
again:
  o = W;
read:
  view = word[o];
  if
  :: view == FROM && !swept -> goto slow // the space of its block says so
#ifdef FAULT_READ_ONCE
  :: else -> goto have
#else
  :: else ->
     if
     :: view == word[o] -> goto have // it was not swept between the two
     :: else -> goto read
     fi
#endif
  fi;
slow:
#ifndef FAULT_FROZEN_ASKED_LAST
  over = frozen;
#endif
  // What was reached is told without being counted.
#ifndef FAULT_NO_TICK
  inside[me] = 1;
#endif
#ifdef FAULT_SETTLED_NOT_ASKED
  asked = 0;
#else
  asked = settled;
#endif
  view = word[o];
  if
  :: !asked && view == FROM -> atomic { assert(!freed); view = (done[o] -> TO : NOTHING) }
  :: else
  fi;
  inside[me] = 0;
#ifdef FAULT_FROZEN_ASKED_LAST
  over = frozen;
#endif
  if
  :: view != NOTHING || over || word[o] == NOTHING -> goto have
  :: else
  fi;
#ifdef FAULT_COUNTED_LATE
  asked = phase == SCANNING;
  count();
#else
  count();
  asked = phase == SCANNING;
#endif
  if
  :: asked ->
     forward(o);
     view = TO;
     open--;
     goto have
  :: else ->
     open--;
#ifdef FAULT_TRIED_IS_OVER
     view = (done[o] -> TO : NOTHING);
     goto have
#else
     (frozen || phase == SCANNING); // it looks again and again
     goto slow
#endif
  fi;
have:
  atomic {
    asked = 0;
    over = 0;
    assert(view != TO || !nulled[o]); // for everybody, and for good (gc.freeze)
#ifndef IN_PLACE
    assert(view != FROM);
#endif
    if
    :: view == NOTHING -> nulled[o] = 1
    :: else -> assert(!swept || settled)
    fi
  }
#ifdef PAIR
  assert(o == W || view != NOTHING); // who has the key finds the value (gc.pairs)
  if
  :: o == W && view != NOTHING -> o = P; goto read
  :: else
  fi;
#endif
  if
  :: view != NOTHING ->
     // It uses W: the page is veiled while it is grey.
     do
     :: atomic { grey > 0 -> grey--; assert(!freed); v_done = 1 }; open--
     :: atomic { grey == 0 -> break }
     od;
     // Somebody else may be scanning it: he has it, and V is forwarded before he counts.
#ifndef LEAF
     assert(v_done)
#else
     skip
#endif
  :: else
  fi;
  n++;
  if
  :: n < READS -> goto again
  :: else
  fi
}

#ifdef FAULT_PAIR_TRACED_ONCE
#define PAIR_DONE traced
#else
#define PAIR_DONE (traced && since == 0)
#endif

proctype scanner() {
  bool alone, key, found;
scan:
  do
  :: page_scan()
  :: open == 0 -> break
  od;
#ifdef PAIR
  if
  :: PAIR_DONE
  :: else ->
     count(); // the cycle does not end meanwhile
     since = 0; // reads `opened` …
#ifdef FAULT_PAIR_NOT_ALONE
     alone = 1;
#else
     alone = open == since + 1; // … then `cleaned`
#endif
     if
     :: alone ->
        key = done[W];
        found = 0;
        if
        :: atomic { key && !done[P] -> forward(P); found = 1 }
        :: else
        fi;
        traced = !found;
        key = 0
     :: else -> traced = 0
     fi;
     open--;
     if
     :: PAIR_DONE
     :: else -> goto scan
     fi
  fi;
#endif
#ifdef FINAL
  if
  :: !finals_traced ->
     count(); // the cycle does not end meanwhile
     finals_traced = 1;
     atomic { f_done = 1; grey++ }
     count();
     open--;
     goto scan
  :: else
  fi;
#endif
  phase = SWEEPING;
#ifdef FAULT_FROZEN_EARLY
  frozen = 1;
#endif
#ifndef FAULT_NOT_LOOKED_AGAIN
  if
  :: open != 0 -> phase = SCANNING; goto scan
  :: else
  fi;
#endif
#if defined(PAIR) && !defined(FAULT_PAIR_NOT_LOOKED_AGAIN)
  if
  :: !PAIR_DONE -> phase = SCANNING; goto scan
  :: else
  fi;
#endif
  frozen = 1;
  assert(grey == 0);
  // The words are settled.
  atomic {
    if
    :: word[W] == FROM -> word[W] = (done[W] -> TO : NOTHING)
    :: else
    fi
  }
#ifdef PAIR
  atomic {
    if
    :: word[P] == FROM && done[W] -> assert(done[P]); word[P] = TO
    :: word[P] == FROM && !done[W] -> word[P] = NOTHING
    :: else
    fi
  }
#endif
  settled = 1;
#ifndef FAULT_NO_GRACE
  !inside[0];
  !inside[1];
#endif
  // The sweep.
  atomic {
    swept = 1;
#ifdef IN_PLACE
    done[W] = 0; // its block has no marks any more; the object stays
    done[P] = 0
#else
    freed = 1
#endif
  }
  phase = IDLE
}

init {
  atomic {
    word[W] = FROM;
    word[P] = FROM;
    run reader(0);
#if READERS > 1
    run reader(1);
#endif
    run scanner()
  }
}
