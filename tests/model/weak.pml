// SPDX-License-Identifier: MIT
// weak.pml: weak references that are read while a cycle ends, and the finalizer's second tracing (gc.freeze, gc.links).
//
// It begins when all that is held has been scanned. W is white; readers ask for it through one weak link, and use what
// they get; V is what W refers to. F has a finalizer and is white, too, and refers to V. A scanner ends the cycle: traces F, tries the
// end, settles the link, waits for grace, and frees from-space.
// Neighbours: major.pml has pages, copying and the count. Here a page is `grey`, and to scan it forwards V.
// Configurations (-D): READERS, READS of each. IN_PLACE: W is not moved, and sweeping its block takes the mark away. FINAL: there is F.

#ifndef READS
#define READS 2
#endif
#ifndef READERS
#define READERS 1
#endif

#define SCANNING 0
#define SWEEPING 1
#define IDLE 2

// Of the link: W where it was before the flip, where it is now, nothing.
#define FROM 1
#ifdef IN_PLACE
#define TO FROM
#else
#define TO 2
#endif
#define NOTHING 0

byte phase = SCANNING;
byte open;            // opened - cleaned: major.pml has why it is two numbers
byte ref = FROM;
bool w_done, v_done, f_done; // forwarded; the header in from-space
byte grey;            // pages that refer to V and are to be scanned
bool frozen, settled, freed, swept;
bool finals_traced;
bool inside[2];       // a reader's copier has an odd tick
bool nulled;          // ghost: somebody was told that W is gone

// To scan one grey page, by whoever takes it.
inline page_scan() {
  atomic { grey > 0 -> grey--; assert(!freed); v_done = 1 }
  open--
}

inline w_forward() {
  atomic {
    assert(!freed && phase != IDLE);
    if
    :: !w_done -> w_done = 1; open++; grey++
    :: else
    fi;
    if :: ref == FROM -> ref = TO :: else fi
  }
}

proctype reader(byte me) {
  byte view, n;
  bool asked;
again:
  view = ref;
  if
  :: view == FROM && !swept -> goto slow // the space of its block says so
#ifdef FAULT_READ_ONCE
  :: else -> goto have
#else
  :: else ->
     if
     :: view == ref -> goto have // it was not swept between the two
     :: else -> goto again
     fi
#endif
  fi;
slow:
  if
  :: frozen -> goto over
  :: else
  fi;
#ifdef FAULT_COUNTED_LATE
  asked = phase == SCANNING;
  open++;
#else
  open++;
  asked = phase == SCANNING;
#endif
  if
  :: asked ->
     w_forward();
     view = TO;
     open--;
     goto have
  :: else ->
     open--;
#ifdef FAULT_TRIED_IS_OVER
     view = (w_done -> TO : NOTHING);
     goto have
#else
     (frozen || phase == SCANNING); // it looks again and again
     goto slow
#endif
  fi;
over:
#ifndef FAULT_NO_TICK
  inside[me] = 1;
#endif
#ifdef FAULT_SETTLED_NOT_ASKED
  asked = 0;
#else
  asked = settled;
#endif
  view = ref;
  if
  :: !asked && view == FROM -> atomic { assert(!freed); view = (w_done -> TO : NOTHING) }
  :: else
  fi;
  inside[me] = 0;
have:
  atomic {
    asked = 0;
    assert(view != TO || !nulled); // for everybody, and for good (gc.freeze)
#ifndef IN_PLACE
    assert(view != FROM);
#endif
    if
    :: view == NOTHING -> nulled = 1
    :: else -> assert(!swept || settled)
    fi
  }
  if
  :: view != NOTHING ->
     // It uses W: the page is veiled while it is grey.
     do
     :: atomic { grey > 0 -> grey--; assert(!freed); v_done = 1 }; open--
     :: atomic { grey == 0 -> break }
     od;
     // Somebody else may be scanning it: he has it, and V is forwarded before he counts.
     assert(v_done)
  :: else
  fi;
  n++;
  if
  :: n < READS -> goto again
  :: else
  fi
}

proctype scanner() {
scan:
  do
  :: page_scan()
  :: open == 0 -> break
  od;
#ifdef FINAL
  if
  :: !finals_traced ->
     open++; // the cycle does not end meanwhile
     finals_traced = 1;
     atomic { f_done = 1; open++; grey++ }
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
  frozen = 1;
  assert(grey == 0);
  // The link is settled.
  atomic {
    if
    :: ref == FROM -> ref = (w_done -> TO : NOTHING)
    :: else
    fi
  }
  settled = 1;
#ifndef FAULT_NO_GRACE
  !inside[0];
  !inside[1];
#endif
  // The sweep.
  atomic {
    swept = 1;
#ifdef IN_PLACE
    w_done = 0 // its block has no marks any more; the object stays
#else
    freed = 1
#endif
  }
  phase = IDLE
}

init {
  atomic {
    run reader(0);
#if READERS > 1
    run reader(1);
#endif
    run scanner()
  }
}
