// SPDX-License-Identifier: MIT
// claims.pml: the page's word: claims, BUSY, SETTLED, helpers, LAYING, sleeping; a service against scanners and traps.
//
// Two grey pages that are scanned in place (kept, or large), of which each scan also writes a header on the other. A scanner
// takes both and opens them as one run; MUTATORS touch them; a service lays ABSENT or UNSAVED on the range, at any time.
// Neighbours: major.pml has the copying. README.md maps the names to the code. Every atomic step is one CAS on the
// word, one system call, or one access to memory.

#ifndef MUTATORS
#define MUTATORS 1
#endif
#ifndef TOUCHES
#define TOUCHES 2
#endif

#define PAGES 2
#define THREADS (MUTATORS + 2)
#define SCANNER MUTATORS
#define SERVICE (MUTATORS + 1)

#define ABSENT 1
#define UNSAVED 2
#define UNSCANNED 4

// The word.
byte claims[PAGES];
bool busy[PAGES], settled[PAGES], laying[PAGES], waited[PAGES];
byte helpers[PAGES];
byte access[PAGES];   // what the word says the view gives: 0, 1 read, 2 write
byte view[PAGES];     // what it gives

byte asleep[THREADS]; // 0, or the page + 1 on whose word the thread sleeps
bool inside[THREADS]; // the thread is in a page: its copier's tick is odd

// The service's side of its claim.
#define NOT_LAID 0
#define LAID 1
#define IN_FORCE 2    // ABSENT: the contents are away. UNSAVED: nobody may write before it is called
byte service[PAGES];
byte claim;           // which it lays
bool lay_done;        // vm_prot has returned

bool grey[PAGES];     // ghost: there are slots to forward

#define ALLOWS(c) ((c) & (ABSENT | UNSCANNED) -> 0 : ((c) & UNSAVED -> 1 : 2))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

// Part of the step that changes the word.
inline wake(woken) {
#ifdef FAULT_NO_WAKE
  skip
#else
  if
  :: waited[woken] ->
     waited[woken] = 0;
     n = 0;
     do
     :: n < THREADS -> if :: asleep[n] == woken + 1 -> asleep[n] = 0 :: else fi; n++
     :: else -> break
     od;
     n = 0
  :: else
  fi
#endif
}

// vm_claim_wait: WAIT is set and the word compared in one step with falling asleep.
inline sleep_on(slept) {
  waited[slept] = 1;
  asleep[me] = slept + 1
}
#define AWAKE (asleep[me] == 0)

#ifdef FAULT_LAYING_IGNORES_HELPERS
#define HELPED(p) 0
#else
#define HELPED(p) (helpers[p] != 0)
#endif

// ---- What must hold.

// A write of the collector through the alias.
#define MAY_WRITE(p) (service[p] != IN_FORCE)

// vm.access. It decides whether a claim needs a system call.
#define ACCESS_HOLDS(p) (busy[p] || helpers[p] || access[p] >= view[p])

// ---- Settling, by a holder of BUSY.

inline call_service(served, kind) {
  // The callback; then vm drops the claim.
  atomic {
    if
    :: claims[served] & kind ->
       assert(busy[served]);
       service[served] = NOT_LAID
    :: else -> goto dropped
    fi
  }
  atomic { claims[served] = claims[served] & ~(kind); wake(served) }
dropped:
  skip
}

// vm_settle of a service's claims on a page that the caller does not hold, while it holds another: step 2 of forwarding.
inline settle_other(other) {
  do
  :: atomic { (claims[other] & (ABSENT | UNSAVED)) == 0 -> break }
  :: atomic { (claims[other] & (ABSENT | UNSAVED)) != 0 && (busy[other] || helpers[other] != 0) -> sleep_on(other) }
     AWAKE
  :: atomic { (claims[other] & (ABSENT | UNSAVED)) != 0 && !busy[other] && helpers[other] == 0 -> busy[other] = 1 }
     atomic { service[other] = NOT_LAID }
     atomic { claims[other] = claims[other] & ~(ABSENT | UNSAVED); busy[other] = 0; wake(other) }
  od
}

// vm_prot with the cycle's stamp on a page that carries it: what it waits for.
inline mark_on_other(marked) {
  do
#ifdef FAULT_STAMP_WAITS_FOR_SETTLED
  :: atomic { !(busy[marked] && access[marked] != 0) -> break }
  :: atomic { busy[marked] && access[marked] != 0 -> sleep_on(marked) }
#else
#ifdef FAULT_STAMP_WAITS_FOR_BUSY
  :: atomic { !busy[marked] -> break }
  :: atomic { busy[marked] -> sleep_on(marked) }
#else
  :: atomic { !laying[marked] -> break }
  :: atomic { laying[marked] -> sleep_on(marked) }
#endif
#endif
     AWAKE
  od
}

inline scan(page) {
  atomic { inside[me] = 1; q = 1 - page }
  // A slot of the page itself, which is held.
  atomic { assert(grey[page]); assert(busy[page]); assert(MAY_WRITE(page)) }
#ifdef FAULT_SETTLED_EARLY
  atomic { claims[page] = claims[page] & ~UNSCANNED; settled[page] = 1; wake(page) }
#endif
  settle_other(q);
  // A header on a page that is not held: a claim may have been laid since.
  atomic { assert(MAY_WRITE(q)) }
  mark_on_other(q);
  atomic { grey[page] = 0; inside[me] = 0; q = 0 }
}

// open_held: SETTLED, the system call, BUSY off.
inline open_held(opened) {
  atomic { settled[opened] = 1; wake(opened) }
#ifdef FAULT_OPENED_ALL_THE_WAY
  view[opened] = 2;
#else
  atomic { view[opened] = MAX(view[opened], ALLOWS(claims[opened])) }
#endif
  atomic { busy[opened] = 0; settled[opened] = 0; access[opened] = MAX(access[opened], ALLOWS(claims[opened])); wake(opened); assert(ACCESS_HOLDS(opened)) }
}

// ---- The processes.

proctype mutator(byte me) {
  byte p, q, need, touches, level, n;
  do
  :: atomic { touches < TOUCHES ->
       touches++;
       if :: p = 0 :: p = 1 fi;
       if :: need = 1 :: need = 2 fi
     }
touch:
     if
     :: atomic { view[p] >= need ->
          assert(!grey[p]);
          assert(!(lay_done && service[p] != NOT_LAID && (claim == ABSENT || need == 2)));
          p = 0; need = 0
        }
     :: atomic { view[p] < need -> skip }
trap:
        if
        :: atomic { busy[p] && settled[p] && ALLOWS(claims[p]) >= need -> helpers[p]++; level = ALLOWS(claims[p]) }
           atomic { view[p] = MAX(view[p], level) } // the helper's own system call
           atomic {
             helpers[p]--; access[p] = MAX(access[p], level); level = 0;
             if :: helpers[p] == 0 -> wake(p) :: else fi
           }
           goto touch
        :: atomic { busy[p] && !(settled[p] && ALLOWS(claims[p]) >= need) -> sleep_on(p) }
           AWAKE;
           goto trap
        :: atomic { !busy[p] && claims[p] != 0 && ALLOWS(claims[p]) < need && helpers[p] != 0 -> sleep_on(p) }
           AWAKE;
           goto trap
        :: atomic { !busy[p] && !(ALLOWS(claims[p]) < need && helpers[p] != 0) -> busy[p] = 1 }
           call_service(p, ABSENT);
#ifdef FAULT_UNSAVED_LAST
           if :: claims[p] & UNSCANNED -> scan(p); atomic { claims[p] = claims[p] & ~UNSCANNED; wake(p) } :: else fi;
           if :: claims[p] & UNSAVED && need == 2 -> atomic { service[p] = NOT_LAID; claims[p] = claims[p] & ~UNSAVED; wake(p) } :: else fi;
#else
           if
#ifdef FAULT_READ_LEAVES_UNSAVED
           :: claims[p] & UNSAVED && need == 2 ->
#else
           :: claims[p] & UNSAVED && (need == 2 || claims[p] & UNSCANNED) -> // a scan writes, whatever the touch
#endif
              atomic { service[p] = NOT_LAID }
              atomic { claims[p] = claims[p] & ~UNSAVED; wake(p) }
           :: else
           fi;
           if :: claims[p] & UNSCANNED -> scan(p); atomic { claims[p] = claims[p] & ~UNSCANNED; wake(p) } :: else fi;
#endif
           open_held(p);
           goto touch
        fi
     fi
  :: atomic { touches == TOUCHES -> break }
  od
}

proctype scanner(byte me) {
  byte p, q, n, given;
  bool took[PAGES];
  do
  :: p < PAGES ->
     atomic {
       took[p] = (claims[p] & UNSCANNED) && !busy[p] && helpers[p] == 0;
       if :: took[p] -> busy[p] = 1 :: else -> p++; goto next fi
     }
     call_service(p, ABSENT);
#ifndef FAULT_UNSAVED_LAST
     if
     :: claims[p] & UNSAVED -> atomic { service[p] = NOT_LAID } atomic { claims[p] = claims[p] & ~UNSAVED; wake(p) }
     :: else
     fi;
#endif
     scan(p);
     atomic { claims[p] = claims[p] & ~UNSCANNED; settled[p] = 1; wake(p); p++ } // vm_settled
next:
     skip
  :: p == PAGES -> break
  od;
  // vm_give: the run.
  do
  :: given < PAGES ->
     if
     :: took[given] -> open_held(given)
     :: else
     fi;
     given++
  :: given == PAGES -> break
  od
}

// vm_prot of the range with stamp 0, then what a service does before it relies on the claim.
proctype laying_service(byte me) {
  byte p, n, at;
  bool held;
lay:
  if
  :: atomic { at == PAGES -> goto revoke }
  :: atomic { at < PAGES && !busy[at] && !HELPED(at) ->
       claims[at] = claims[at] | claim;
       service[at] = LAID;
       at++;
       if
       :: access[at - 1] > ALLOWS(claims[at - 1]) -> busy[at - 1] = 1; laying[at - 1] = 1; held = 1; goto lay
       :: else -> goto revoke // at no cost: the view gives no more than that
       fi
     }
  :: atomic { at < PAGES && (busy[at] || HELPED(at)) ->
#ifndef FAULT_LAYING_WAITS_WHILE_HOLDING
       if :: held -> goto revoke :: else fi; // vm.empty
#endif
       sleep_on(at)
     }
     AWAKE;
     goto lay
  fi;
revoke:
  do
  :: p < PAGES ->
     if
     :: laying[p] ->
#ifdef FAULT_LAYING_LETS_GO_EARLY
        atomic { busy[p] = 0; laying[p] = 0; access[p] = MIN(access[p], ALLOWS(claims[p])); wake(p) }
        atomic { view[p] = MIN(view[p], ALLOWS(claims[p])) }
#else
        atomic { view[p] = MIN(view[p], ALLOWS(claims[p])) }
        atomic { busy[p] = 0; laying[p] = 0; access[p] = MIN(access[p], ALLOWS(claims[p])); wake(p) }
#endif
     :: else
     fi;
     p++
  :: else -> break
  od;
  atomic { held = 0; p = 0; if :: at < PAGES -> goto lay :: else fi }
  lay_done = 1;
#ifndef FAULT_NO_GRACE
  // Every thread that was in a page when the claim came has been outside since.
  p = 0;
  do
  :: p < THREADS -> !inside[p]; p++
  :: else -> break
  od;
#endif
  p = 0;
  do
  :: p < PAGES -> atomic { if :: service[p] == LAID -> service[p] = IN_FORCE :: else fi; p++ }
  :: else -> break
  od
}

init {
  atomic {
    if :: claim = ABSENT :: claim = UNSAVED fi;
    claims[0] = UNSCANNED; claims[1] = UNSCANNED;
    grey[0] = 1; grey[1] = 1;
    run mutator(0);
#if MUTATORS > 1
    run mutator(1);
#endif
    run scanner(SCANNER);
    run laying_service(SERVICE)
  }
  // The end: nobody sleeps, nothing is held, the view is what the words say.
  _nr_pr == 1;
  assert(ACCESS_HOLDS(0) && ACCESS_HOLDS(1));
  assert(grey[0] == ((claims[0] & UNSCANNED) != 0) && grey[1] == ((claims[1] & UNSCANNED) != 0))
}
