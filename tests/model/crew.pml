// SPDX-License-Identifier: MIT
// crew.pml: several workers at one minor cycle: who copies, who scans, when it is over.
//
// The owner makes the list of REMEMBERED pages, clears their bits, and opens the crew; helpers join when they like. A worker takes pages of the list,
// forwards what they point to (copy, then publish by CAS; the loser takes his copy back), and scans copies: his own, or those of a block that somebody has left. Object A is
// aged, so it is promoted into its worker's lane, a page that is REMEMBERED when what it points to stays young; B and C are eden. The owner's lane
// is REMEMBERED from an earlier cycle; what is below its top, which is written when the page is left, is not young any more. Neighbours: minor.pml has what a minor cycle is beside a major one; major.pml the
// copying protocol with pages. README.md maps the names to the code.

#ifndef HELPERS
#define HELPERS 1
#endif
#define WORKERS (HELPERS + 1)

// Pages: two old ones, then a lane for each worker. Each has a slot from before; lanes get another when A is promoted there.
#define PAGES (2 + WORKERS)
#define LANE(w) (2 + (w))
// Objects: 0 is none.
#define A 1
#define B 2
#define C 3
#define FIELD(o) ((o) == A -> B : ((o) == B -> C : 0))

byte slot[PAGES];       // the object that the page's old slot points to
bool updated[PAGES];    // it has the new address
bool remembered[PAGES];
byte list[PAGES], listed, next;
byte done[4];           // forwarded: by the worker + 1
byte scanned[4];        // copies scanned: how often
bool field_updated[4];
byte a_lane;            // where A was promoted: the page
byte own[WORKERS], left; // sets of copies that are not scanned: a bit per object

bool open, closed;
byte joined = 1, idle;
byte working;            // workers at work: for the assertions

#define YOUNG(o) ((o) == B || (o) == C) // before and after: eden is aged now

// The object's copy exists once this is over, whoever made it.
inline forward(o) {
  if
  :: done[o] != 0
  :: done[o] == 0 -> // copies; then the CAS
#ifdef FAULT_PUBLISHED_BLINDLY
     done[o] = me + 1; own[me] = own[me] | (1 << o);
     if :: o == A -> a_lane = LANE(me) :: else fi
#else
     atomic {
       if
       :: done[o] == 0 ->
          done[o] = me + 1; own[me] = own[me] | (1 << o);
          if :: o == A -> a_lane = LANE(me) :: else fi
       :: else // taken back
       fi
     }
#endif
  fi
}

inline page_scan(p) {
  o = slot[p];
  if
  :: o != 0 ->
     forward(o);
     updated[p] = 1;
     if :: YOUNG(o) -> remembered[p] = 1 :: else fi
  :: else
  fi
}

inline copy_scan(c) {
  scanned[c] = scanned[c] + 1;
  if
  :: FIELD(c) != 0 ->
     forward(FIELD(c));
     field_updated[c] = 1;
     if :: c == A -> remembered[a_lane] = 1 :: else fi // what it points to stays young
  :: else
  fi
}

inline work() {
  do
  :: atomic { next < listed -> p = list[next]; next++ }
     page_scan(p)
  :: else -> break
  od;
  do
  :: atomic { own[me] != 0 -> // one of them: any
       if
       :: own[me] & (1 << A) -> o2 = A
       :: own[me] & (1 << B) -> o2 = B
       :: own[me] & (1 << C) -> o2 = C
       fi;
       own[me] = own[me] & ~(1 << o2)
     }
     copy_scan(o2)
  :: atomic { own[me] != 0 && open -> left = left | own[me]; own[me] = 0 } // the block is left
  :: atomic { own[me] == 0 && left != 0 ->
       if
       :: left & (1 << A) -> o2 = A
       :: left & (1 << B) -> o2 = B
       :: left & (1 << C) -> o2 = C
       fi;
       left = left & ~(1 << o2)
     }
     copy_scan(o2)
#ifdef FAULT_IDLE_WITHOUT_LOOKING
  :: own[me] == 0 -> break
#else
  :: atomic { own[me] == 0 && left == 0 -> break }
#endif
  od;
  o2 = 0; o = 0; p = 0
}

proctype helper(byte me) {
  byte p, o, o2;
  if
  :: atomic { open -> joined++; working++ } // the CAS on the one word
  :: closed -> goto out
  fi;
  work();
  atomic { working--; idle++ }
  do
  :: left != 0 -> // looks; then the CAS, on the word that says whether the cycle is still open
     if
     :: atomic { open -> idle--; working++ }
        work();
        atomic { working--; idle++ }
     :: closed -> break
     fi
  :: closed -> break
  od;
out: skip
}

inline make_list() {
  p = 0;
  do
  :: p < PAGES ->
     if
     :: remembered[p] -> list[listed] = p; o = 1
     :: else -> o = 0
     fi;
     if :: o == 1 -> remembered[p] = 0; listed++ :: else fi; // whoever has set it meanwhile is forgotten
     p++
  :: else -> break
  od;
  p = 0; o = 0
}

proctype owner() {
  byte p, o, o2, me = 0;
  working++;
#ifdef FAULT_OPENED_BEFORE_THE_LIST
  forward(A); // by a precise root: promoted into the owner's lane, and left to whoever has time
  open = 1;
  atomic { left = left | own[0]; own[0] = 0 }
  make_list();
#else
  d_step { make_list() }
  forward(A);
  open = 1;
#endif
  work();
  atomic { working--; idle++ }
  do
  :: left != 0 ->
     atomic { idle--; working++ }
     work();
     atomic { working--; idle++ }
#ifdef FAULT_CLOSED_WITHOUT_CAS
  :: idle == joined -> open = 0; closed = 1; break
#else
  :: atomic { idle == joined -> open = 0; closed = 1; break }
#endif
  od;
  // Over: nobody is at work, all that is reached was copied once and scanned once, all slots are new, invariant 8.
  atomic {
    assert(working == 0);
    assert(done[A] && done[B] && done[C]);
    assert(scanned[A] == 1 && scanned[B] == 1 && scanned[C] == 1);
    assert(field_updated[A] && field_updated[B]);
    assert(left == 0 && own[0] == 0 && own[1] == 0);
    p = 0;
    do
    :: p < PAGES ->
       assert(slot[p] == 0 || updated[p]);
       assert(!YOUNG(slot[p]) || remembered[p]);
       p++
    :: else -> break
    od;
    assert(remembered[a_lane])
  }
}

init {
  atomic {
    slot[0] = A; slot[1] = B;
    remembered[0] = 1; remembered[1] = 1; remembered[LANE(0)] = 1;
    run owner();
#if HELPERS > 1
    run helper(2);
#endif
    run helper(1)
  }
}
