// SPDX-License-Identifier: MIT
// touch.pml: memory that a system call uses, in mid-cycle, against copiers that run out of memory and keep the block.
//
// P is an open page of from-space. On it lie an object that mutators hold (pinned at the flip), and X, whose slot still points to
// from-space and which nobody has reached. A copier that cannot copy X keeps it: veils P, marks X, and with that publishes it. Meanwhile a
// thread touches P for a system call: P must be open from the call's begin to its end, whoever keeps it.
// Neighbours: major.pml has keeping without touches, claims.pml the page's word. README.md maps the names to the code.

#define W 1        // from-space
#define W_COPY 2
#define Z 3        // what a mutator stores

byte x_slot = W;
bool x_marked;     // published: a mutator may have it from now on
bool veiled, busy, laid; // laid: P carries the cycle's stamp
bool registered;   // the range is in the table of touched ranges
bool in_call;
bool inside[2];    // each copier's tick is odd
bool stored;       // ghost: the mutator has stored Z

// Forwards X's slot. Not by a store: who touches a page does not hold it.
inline x_scan() {
  w = x_slot;
  if
  :: w == W ->
#ifdef FAULT_STORED_BLINDLY
     x_slot = W_COPY
#else
     atomic { if :: x_slot == W -> x_slot = W_COPY :: else fi }
#endif
  :: else
  fi;
  w = 0
}

// Forwards a slot that points to X, without memory for a copy.
proctype copier(byte me) {
  bool skip_it;
  inside[me] = 1;
  if
  :: !x_marked ->
     skip_it = registered; // touched?
     if
     :: !skip_it ->
        atomic {
          if
          :: laid -> skip // once per cycle
          :: else -> laid = 1; veiled = 1; assert(!in_call)
          fi
        }
     :: else // what lies there has been scanned
     fi;
     x_marked = 1
  :: else
  fi;
  inside[me] = 0
}

proctype scanner() {
  byte w;
end:
  do
  :: atomic { veiled && !busy -> busy = 1 }
     w = x_slot;
     if :: w == W -> x_slot = W_COPY :: else fi; // held and veiled: a plain store
     atomic { veiled = 0; busy = 0; w = 0 }
  od
}

proctype toucher() {
  byte w;
#ifdef FAULT_REGISTERED_FIRST
  registered = 1;
#endif
  // Counted in opened and cleaned, so that the cycle does not end under it.
  if
  :: !x_marked -> x_scan(); x_marked = 1
  :: else
  fi;
  registered = 1;
#ifndef FAULT_NO_GRACE
  !inside[0];
  !inside[1];
#endif
  // vm_settle: scans it, or waits for who does.
  do
  :: atomic { !veiled -> in_call = 1; break }
  :: atomic { veiled && !busy -> busy = 1 }
     x_scan();
     atomic { veiled = 0; busy = 0 }
  od;
  atomic { assert(!veiled); in_call = 0 }
  registered = 0
}

proctype mutator() {
  if
  :: atomic { x_marked && !veiled -> assert(x_slot != W); x_slot = Z; stored = 1 }
  :: true
  fi
}

init {
  atomic {
    run scanner();
    run copier(0);
    run copier(1);
    run toucher();
    run mutator()
  }
  // All but the scanner, which waits for more.
  _nr_pr == 2 && !veiled && !busy;
  assert(!stored || x_slot == Z);
  assert(!x_marked || x_slot != W)
}
