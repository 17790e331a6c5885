// SPDX-License-Identifier: MIT
// major.pml: pages, copying, traps, background scanners, and the count that ends a cycle.
//
// It begins just after a flip: the root object A has been copied to page 0 of to-space, nothing else. A mutator
// and SCANNERS background scanners do the rest; the finisher declares the end and frees from-space.
// Neighbours: claims.pml has the page's word and its helpers, flip.pml what comes before, minor.pml the generations.
// README.md maps the names to the code. Configurations (-D): NT pages of to-space, SCANNERS, STEPS of the mutator;
// NEAR: a scan goes on with slots of the copies it makes. LARGE: C is large and has two pages. CROSS: C crosses pages. PIN: a pinned object shares C's page.
// SPARED: C's page is kept although there is memory for a copy, and P on it is dead.

#ifndef NT
#define NT 4
#endif
#ifndef SCANNERS
#define SCANNERS 1
#endif
#ifndef STEPS
#define STEPS 3
#endif
#ifndef LANE
#define LANE 255 // the mutator's copier fills no page yet; 0: it is the one that the flip used
#endif

#define CAP 2          // cells per page
#define BORN NT        // the page on which the mutator allocates: black
#define FROM0 (NT + 1) // A and B
#define FROM1 (NT + 2) // C, and P if there is one
#define FROM2 (NT + 3) // the second page of a large C
#define PAGES (NT + 4)
#define CELLS (PAGES * CAP)

// A pointer is a cell's number + 1; 0 is NULL.
#define PTR(page, k) ((page) * CAP + (k) + 1)
#define PAGE_OF(p) (((p) - 1) / CAP)
#define SLOT(p, i) slot[((p) - 1) * 2 + (i)]
#define A PTR(FROM0, 0)
#define B PTR(FROM0, 1)
#define C PTR(FROM1, 0)
#define C_REST PTR(FROM2, 0) // the part of a large C that lies on its second page
#define P PTR(FROM1, 1)
#define IS_FROM(p) ((p) >= PTR(FROM0, 0))
#define STAYS(p) (peer[p] == (p))
#define STALE(p) ((p) != 0 && IS_FROM(p) && !STAYS(p)) // what a mutator must never see (gc.tospace)
#define NONE 255

// What a scan visits, and answers for.
#ifdef FAULT_KEPT_ONLY_REACHED
#define SCANNED(p) (kind[p] == OBJECT && (!IS_FROM(p) || STAYS(p)))
#else
#define SCANNED(p) (kind[p] == OBJECT && (!IS_FROM(p) || STAYS(p) || peer[p] == 0)) // on kept pages all but corpses
#endif
#define FORWARDED(p) (!STALE(SLOT(p, 0)) && !STALE(SLOT(p, 1)))

#define OBJECT 1 // kinds of cells; 0 is nothing yet
#define FILLER 2

// A page: vm's word, what the hardware lets a mutator do (access), gc's top. GREY is unscanned && top != 0.
bool unscanned[PAGES];
bool busy[PAGES];
bool stamped[PAGES];
bool access[PAGES];
#ifdef SPARED
bool veiled[PAGES];      // the veil is known to have been in force: no need to ask the page's word
#endif
byte top[PAGES];         // 0: FREE; else 1 + cells
bool closed[PAGES];

byte kind[CELLS + 1];    // by pointer
byte peer[CELLS + 1];    // of originals: 0, or where the object is in this cycle
byte slot[CELLS * 2];
byte original[CELLS + 1]; // ghost: of copies
bool scanning[PAGES];    // ghost: a thread scans the page

byte next_page = 1;      // FREE pages are taken in order
byte opened = 1, cleaned;
bool done, freed;

// ---- Forwarding: `v` in and out. The labels are local to the process, so each process uses this once.

// FREE → OPEN. lane is NONE if there is no memory.
inline page_open() {
  atomic {
    if
    :: next_page < NT -> lane = next_page; next_page++
    :: else -> lane = NONE
    fi
  }
  if
  :: lane != NONE ->
#ifdef FAULT_COUNT_LATE
     top[lane] = 1;
     opened++
#else
     opened++;
     top[lane] = 1
#endif
  :: else
  fi
}

// FROM → GREY. vm_prot with the cycle's stamp; what another thread lays is in force when it returns.
inline page_veil(page) {
#ifndef FAULT_COUNT_AFTER_CLAIM
  opened++;
#endif
  atomic {
    laid = !stamped[page];
    if
    :: laid -> assert(!busy[page]); stamped[page] = 1; unscanned[page] = 1; busy[page] = 1
    :: else
    fi
  }
  if
  :: laid ->
     atomic { access[page] = 0; busy[page] = 0 } // the system call, and BUSY is dropped
#ifdef FAULT_COUNT_AFTER_CLAIM
     opened++
#endif
  :: else ->
#ifndef FAULT_STAMP_DOES_NOT_WAIT
     // BUSY with access still on: being laid. Being scanned is not waited for, it may be we who scan it (gc.onescan).
     !(busy[page] && access[page]);
#endif
#ifdef FAULT_COUNT_AFTER_CLAIM
     opened++;
#endif
#ifndef FAULT_STAMP_NOT_BALANCED
     cleaned++
#endif
  fi
}

inline header_to_itself() {
  atomic {
    if :: peer[place] == 0 -> peer[place] = place :: else fi
  }
}

// Step 3 and step 7: the object does not move.
inline stay() {
  place = v;
#ifdef FAULT_STAY_PUBLISHED_FIRST
  header_to_itself();
#endif
#ifdef SPARED
#ifdef FAULT_VEILED_EARLY
  atomic { laid = veiled[PAGE_OF(place)]; veiled[PAGE_OF(place)] = 1 }
#else
  laid = veiled[PAGE_OF(place)];
#endif
  if
  :: !laid -> page_veil(PAGE_OF(place)); veiled[PAGE_OF(place)] = 1
  :: else
  fi;
#else
  page_veil(PAGE_OF(place));
#endif
#ifdef LARGE
  page_veil(FROM2);
#endif
  header_to_itself();
  v = peer[place]
}

inline contents_copy() {
  d_step {
    kind[place] = OBJECT;
    original[place] = v;
    SLOT(place, 0) = SLOT(v, 0);
    SLOT(place, 1) = SLOT(v, 1)
  }
}

inline top_advance() {
  atomic { ok = !closed[PAGE_OF(place)]; top[PAGE_OF(place)] = top[PAGE_OF(place)] + ok }
}

// Step 6. ok: this copy counts.
inline publish() {
  atomic {
    assert(!freed);
#ifdef FAULT_PUBLISH_BLIND
    ok = 1;
#else
    ok = (peer[v] == 0);
#endif
    if :: ok -> peer[v] = place :: else fi
  }
}

inline forward() {
  atomic {
    if
    :: v == 0 || !IS_FROM(v) -> goto forwarded
    :: else
    fi;
    assert(!freed || STAYS(v)); // from-space is read only while it is there
    if
    :: peer[v] != 0 -> v = peer[v]; goto forwarded
    :: else
    fi;
#if defined(LARGE) || defined(SPARED)
    if :: v == C -> goto stays :: else fi;
#endif
  }
#ifdef CROSS
  atomic {
    if
    :: v != C -> goto find
    :: v == C && next_page == NT -> goto stays
    :: v == C && next_page < NT -> place = PTR(next_page, 0); next_page++
    fi
  }
  // FREE → GREY: the further page of a cell that crosses; `cover` is not modelled.
  contents_copy();
#ifdef FAULT_CROSS_COUNTED_LATE
  atomic { closed[PAGE_OF(place)] = 1; top[PAGE_OF(place)] = 2 }
  opened++;
#else
  opened++;
  atomic { closed[PAGE_OF(place)] = 1; top[PAGE_OF(place)] = 2 }
#endif
  publish();
  if
  :: ok -> v = place
  :: else -> atomic { kind[place] = FILLER; v = peer[v] }
  fi;
  goto forwarded;
#endif
find:
  if
  :: atomic { lane != NONE && !closed[lane] && top[lane] <= CAP -> place = PTR(lane, top[lane] - 1) }
  :: atomic { else -> skip }
     page_open();
     if
     :: lane == NONE -> goto stays
     :: else -> goto find
     fi
  fi;
#ifdef FAULT_PUBLISH_BEFORE_COPY
  d_step { kind[place] = OBJECT; original[place] = v; SLOT(place, 0) = 0; SLOT(place, 1) = 0 }
  top_advance();
  if :: !ok -> goto find :: else fi;
  publish();
  contents_copy();
#else
#ifdef FAULT_PUBLISH_BEFORE_TOP
  contents_copy();
  publish();
  if :: ok -> top_advance(); ok = 1 :: else fi;
#else
  contents_copy();
  top_advance();
  if :: !ok -> goto find :: else fi; // closed meanwhile: the cell does not exist
  publish();
#endif
#endif
  if
  :: ok -> v = place
  :: else ->
#ifndef FAULT_LOSER_LEAVES_IT
#ifndef FAULT_PUBLISH_BEFORE_TOP
     atomic {
       if
       :: !closed[lane] -> top[lane] = top[lane] - 1
       :: else -> kind[place] = FILLER
       fi
     }
#endif
#endif
#ifdef FAULT_LOSER_USES_HIS
     v = place
#else
     v = peer[v]
#endif
  fi;
  goto forwarded;
stays:
  stay();
forwarded:
  skip
}

// A slot of the copy that was just published may be the next to be forwarded (near.h); nobody holds its page for that.
inline near_note() {
#ifdef NEAR
  if
  :: ok && v == place && STALE(SLOT(place, 0)) -> near = (place - 1) * 2 + 1; word = slot[near - 1]
  :: ok && v == place && STALE(SLOT(place, 1)) -> near = (place - 1) * 2 + 2; word = slot[near - 1]
  :: true
  fi
#else
  skip
#endif
}

// The CAS on that slot: what a mutator has stored there since stays.
inline near_store() {
  if
#ifdef FAULT_NEAR_STORED_BLINDLY
  :: true ->
#else
  :: slot[near - 1] == word ->
#endif
     assert(slot[near - 1] == word || slot[near - 1] == v);
     slot[near - 1] = v
#ifndef FAULT_NEAR_STORED_BLINDLY
  :: else
#endif
  fi;
  near = 0; word = 0
}

// ---- Scanning: the caller holds `page` BUSY. GREY → BUSY → BLACK.

inline scan(page) {
  atomic {
    assert(!scanning[page]); // gc.onescan
    scanning[page] = 1;
  }
  atomic {
#ifndef FAULT_SCAN_WITHOUT_CLOSING
    // The page that this copier fills itself stays open: it is scanned as Cheney did, and closed when the scan has caught up.
    if :: lane != page -> closed[page] = 1 :: else fi;
#endif
    limit = top[page] - 1
#ifdef FAULT_SCAN_BEYOND_TOP
    ; limit = CAP
#endif
  }
  k = 0;
  do
  :: atomic { near != 0 || k < 2 * limit ->
       if
       :: near != 0 -> v = word
       :: else ->
          i = k % 2;
          k++;
          assert(k <= 2 * (top[page] - 1)); // gc.top
          if
          :: SCANNED(PTR(page, (k - 1) / 2)) -> v = SLOT(PTR(page, (k - 1) / 2), i)
          :: else -> v = 0
          fi
       fi;
       if :: v == 0 -> goto next :: else fi
     }
#ifdef FAULT_UNVEILED_EARLY
     if :: k == 2 * limit -> atomic { unscanned[page] = 0; access[page] = 1 } :: else fi;
#endif
     forward();
     atomic {
       // gc.onecopy: what is stored is the copy that counts. (It may have been copied in an earlier scan.)
       assert(!STALE(v));
       assert(v == 0 || IS_FROM(v) || PAGE_OF(v) == BORN || peer[original[v]] == v);
       if
       :: near != 0 -> near_store()
       :: else -> SLOT(PTR(page, (k - 1) / 2), i) = v
       fi;
       near_note()
     }
next: atomic { v = 0; place = 0; ok = 0; laid = 0; i = 0 }
  :: atomic { near == 0 && k == 2 * limit ->
       if
#if !defined(FAULT_OWN_PAGE_SCANNED_ONCE) && !defined(FAULT_SCAN_WITHOUT_CLOSING)
       :: !closed[page] && limit != top[page] - 1 -> limit = top[page] - 1
#endif
       :: else ->
#ifndef FAULT_SCAN_WITHOUT_CLOSING
          closed[page] = 1;
#endif
          k = 0; limit = 0; break
       fi
     }
  od;
  skip;
  // gc.grey: everything below top has been forwarded; on a kept page every object, reached or not.
  d_step {
    do
    :: k < top[page] - 1 ->
       assert(!SCANNED(PTR(page, k)) || FORWARDED(PTR(page, k)));
       k++
    :: else -> break
    od;
    k = 0
  }
#ifdef FAULT_CLEANED_EARLY
  cleaned++;
  atomic { scanning[page] = 0; unscanned[page] = 0 }
  atomic { access[page] = 1; busy[page] = 0 }
#else
  atomic { scanning[page] = 0; unscanned[page] = 0 }
  atomic { access[page] = 1; busy[page] = 0 }
  cleaned++ // last: who sees the end finds nothing held
#endif
}

// ---- The processes.

#define TAKEABLE(p) (unscanned[p] && top[p] != 0 && !busy[p])
#define TAKE(p) :: atomic { TAKEABLE(p) -> busy[p] = 1; page = p }

proctype scanner() {
  byte page, lane = NONE, v, place, limit, k, i, near, word;
  bool ok, laid;
take:
  if
  TAKE(0)
  TAKE(1)
#if NT > 2
  TAKE(2)
#endif
#if NT > 3
  TAKE(3)
#endif
#if NT > 4
  TAKE(4)
#endif
#if NT > 5
  TAKE(5)
#endif
  TAKE(FROM0)
  TAKE(FROM1)
  TAKE(FROM2)
  :: done -> goto out
  fi;
  scan(page);
  goto take;
out:
  skip
}

// What a mutator loads from a page that it can touch, it may use.
#define LOAD(reg) reg = SLOT(base, way); assert(!STALE(reg)); assert(!freed || reg == 0 || !IS_FROM(reg) || STAYS(reg))

proctype mutator() {
  byte r = PTR(0, 0), s = 0, base, page, lane = LANE, v, place, limit, k, i, near, word, way, steps, born;
  bool ok, laid;
#ifdef PIN
  s = P;
#endif
  do
  :: atomic { steps < STEPS && r != 0 ->
       steps++;
       base = r;
#ifdef LARGE
       if :: r == C -> base = C_REST :: true fi;
#endif
       if :: way = 0 :: way = 1 fi;
       page = PAGE_OF(base)
     }
touch:
     if
     :: atomic { access[page] ->
          // The hardware lets it: the access is one step. What is below top on a page that is open counts.
          if
          :: LOAD(r)
          :: LOAD(s)
          :: SLOT(base, way) = s
          :: SLOT(base, way) = 0; r = s; s = 0
          :: born < CAP && s != 0 -> // allocates black (gc.black)
             born++;
             SLOT(PTR(BORN, born - 1), 0) = r;
             SLOT(PTR(BORN, born - 1), 1) = s;
             r = PTR(BORN, born - 1)
          fi;
          base = 0; way = 0; page = 0
        }
#ifdef FAULT_TRAP_WITHOUT_BUSY
     :: atomic { !access[page] && unscanned[page] -> skip }
#else
     :: atomic { !access[page] && unscanned[page] && !busy[page] -> busy[page] = 1 }
#endif
        scan(page);
        goto touch
     // Else somebody holds it: waits for him and no other.
     fi
  :: atomic { steps == STEPS || r == 0 -> break }
  od
}

proctype finisher() {
  byte seen, p, k;
  do
  :: true ->
#ifdef FAULT_FREED_EARLY
     break;
#endif
#ifdef FAULT_OPENED_FIRST
     seen = opened;
     if
     :: atomic { cleaned == seen -> break }
     :: atomic { cleaned != seen && (opened != seen) -> skip }
     fi
#else
     seen = cleaned; // first (gc.count)
     if
     :: atomic { opened == seen -> break }
     :: atomic { opened != seen && cleaned != seen -> skip }
     fi
#endif
  od;
  skip;
  d_step {
    // Nothing is OPEN, GREY or BUSY; nothing in to-space points to from-space; each original has one copy.
    do
    :: p < PAGES ->
       assert(!(unscanned[p] && top[p] != 0));
       assert(!scanning[p]);
       assert(!busy[p]);
       k = 0;
       do
       :: k < CAP && (p <= BORN || stamped[p]) && (p == BORN || k < top[p] - 1) ->
          assert(!SCANNED(PTR(p, k)) || FORWARDED(PTR(p, k)));
          assert(kind[PTR(p, k)] != OBJECT || p >= BORN || peer[original[PTR(p, k)]] == PTR(p, k));
          k++
       :: else -> break
       od;
       p++
    :: else -> break
    od;
    p = 0; k = 0; seen = 0;
    done = 1
  }
  freed = 1
}

init {
  atomic {
    d_step {
      byte p = 0;
      do
      :: p < NT -> unscanned[p] = 1; p++
      :: else -> break
      od;
      p = 0;
      access[BORN] = 1;
      // From-space is open to mutators: what holds them back is that they have no pointer.
      access[FROM0] = 1; top[FROM0] = 1 + CAP; closed[FROM0] = 1;
      access[FROM1] = 1; top[FROM1] = 1 + CAP; closed[FROM1] = 1;
      access[FROM2] = 1; top[FROM2] = 2; closed[FROM2] = 1;
      kind[A] = OBJECT; SLOT(A, 0) = B; SLOT(A, 1) = C;
      kind[B] = OBJECT; SLOT(B, 0) = A; SLOT(B, 1) = C;
      kind[C] = OBJECT; SLOT(C, 0) = B;
#ifdef LARGE
      kind[C_REST] = OBJECT; SLOT(C_REST, 1) = B;
#endif
#ifdef SPARED
      kind[P] = OBJECT; SLOT(P, 0) = A; SLOT(P, 1) = C;
#endif
#ifdef PIN
      kind[P] = OBJECT; peer[P] = P; SLOT(P, 0) = PTR(0, 0);
#endif
      // The flip copied A.
      top[0] = 2;
      kind[PTR(0, 0)] = OBJECT; original[PTR(0, 0)] = A; peer[A] = PTR(0, 0);
      SLOT(PTR(0, 0), 0) = B; SLOT(PTR(0, 0), 1) = C
    }
    run mutator();
    run scanner();
#if SCANNERS > 1
    run scanner();
#endif
    run finisher()
  }
}
