// SPDX-License-Identifier: MIT
// handlers.c: deaths are those of a program without veil, and the program's own handlers of SIGSEGV and SIGBUS get its faults, veil its own.
//
// Nearly everything runs in children, which begin without handlers and without a heap.

#include <criterion/criterion.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include "tests/runtime/world.h"

#define UNCHECKED __attribute__((noinline, no_sanitize("address", "undefined")))

enum { LENGTH = 20000 };

static node *volatile list; // a registered root

// ---- A world with a cycle under way.

static bool start_list(const char *back_end) {
  if (!start((veil_options){.back_end = back_end})) {
    return false;
  }
  EXPECT(veil_add_roots(heap, (void *)&list, 1) == VEIL_OK);
  list = list_make(self, LENGTH);
  return true;
}

// Does something again and again, with a cycle that has just begun, until traps came in it, or besides it.
static void with_traps(const char *back_end, void (*fn)(void), bool in_it) {
  bool seen = false;
  for (int round = 0; round < 10 || !seen; round++) {
    EXPECT(round < 5000); // traps never came
    veil_collect(self);
    veil_collect_start(self);
    uint64_t before = stats_of(heap).traps;
    fn();
    seen |= in_it && stats_of(heap).traps > before;
    EXPECT(list_check(list) == LENGTH);
    seen |= (!in_it && stats_of(heap).traps > before) || strcmp(back_end, "none") == 0;
  }
}
static void amid_traps(const char *back_end, void (*fn)(void)) { with_traps(back_end, fn, false); }

static void defaults(void) {
  signal(SIGSEGV, SIG_DFL);
  signal(SIGBUS, SIG_DFL);
  stack_t none = {.ss_flags = SS_DISABLE};
  sigaltstack(&none, NULL);
}

static void alternate_stack(size_t bytes) {
  stack_t alternate = {.ss_sp = malloc(bytes), .ss_size = bytes};
  EXPECT(sigaltstack(&alternate, NULL) == 0);
}

// ---- Deaths.

// Volatile, so that the compiler does not see through them.
static char *volatile null = NULL, *volatile wild = (char *)0x1234567000, *volatile nowhere = (char *)0x8123456789abcdefull;
static char data[64];
static const char constant[4096] = {1};
static volatile int sink;

static char *short_file(void) {
  int fd = memfd_create("short", 0);
  EXPECT(ftruncate(fd, 4096) == 0);
  char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  *p = 1;
  EXPECT(ftruncate(fd, 0) == 0);
  return p;
}

UNCHECKED static void read_null(void) { sink = *(volatile char *)null; }
UNCHECKED static void write_null(void) { *(volatile int *)(null + 8) = 1; }
UNCHECKED static void read_wild(void) { sink = *(volatile char *)wild; }
UNCHECKED static void write_wild(void) { *(volatile char *)wild = 1; }
UNCHECKED static void read_nowhere(void) { sink = *(volatile char *)nowhere; }
UNCHECKED static void jump_null(void) { ((void (*volatile)(void))(uintptr_t)null)(); }
UNCHECKED static void jump_wild(void) { ((void (*volatile)(void))(uintptr_t)wild)(); }
UNCHECKED static void jump_data(void) { ((void (*volatile)(void))(uintptr_t)data)(); }
UNCHECKED static void write_code(void) { *(volatile char *)(uintptr_t)write_code = 1; }
UNCHECKED static void write_constant(void) { *(volatile char *)(uintptr_t)&constant[5] = 1; }
UNCHECKED static void read_truncated(void) { sink = *(volatile char *)short_file(); }
UNCHECKED static void write_truncated(void) { *(volatile char *)short_file() = 1; }
UNCHECKED static void misaligned(void) {
  char *volatile p = data + 1;
  __asm__ volatile("pushfq\n orl $0x40000, (%%rsp)\n popfq\n movl (%0), %%eax\n" : : "r"(p) : "rax", "memory", "cc");
}
static void wait_for_it(void) {
  for (;;) {
    sleep_ms(10);
  }
}
static void killed_segv(void) {
  kill(getpid(), SIGSEGV);
  wait_for_it();
}
static void killed_bus(void) {
  kill(getpid(), SIGBUS);
  wait_for_it();
}
static void queued_segv(void) {
  sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 7});
  wait_for_it();
}
static void queued_bus(void) {
  sigqueue(getpid(), SIGBUS, (union sigval){.sival_int = 7});
  wait_for_it();
}
static void raised_segv(void) { raise(SIGSEGV); }
static void raised_bus(void) { raise(SIGBUS); }
UNCHECKED static int deeper(int depth) {
  char volatile frame[1024];
  frame[depth & 1023] = (char)depth;
  return (depth < 1 << 30 ? deeper(depth + 1) : 0) + frame[depth & 1023];
}
UNCHECKED static void overflow(void) { sink = deeper(0); }
UNCHECKED static void illegal(void) { __asm__ volatile("ud2"); }
UNCHECKED static void divides(void) { __asm__ volatile("xorl %%ecx, %%ecx\n movl $1, %%eax\n cltd\n idivl %%ecx" : : : "rax", "rcx", "rdx"); }

static const struct {
  const char *name;
  void (*fn)(void);
} deaths[] = {
    {"read null", read_null},         {"write null", write_null},       {"read wild", read_wild},
    {"write wild", write_wild},       {"no address", read_nowhere},     {"jump to null", jump_null},
    {"jump to nowhere", jump_wild},   {"jump into data", jump_data},    {"write code", write_code},
    {"write constant", write_constant}, {"read truncated", read_truncated}, {"write truncated", write_truncated},
    {"misaligned", misaligned},       {"kill SEGV", killed_segv},       {"kill BUS", killed_bus},
    {"sigqueue SEGV", queued_segv},   {"sigqueue BUS", queued_bus},     {"raise SEGV", raised_segv},
    {"raise BUS", raised_bus},        {"stack overflow", overflow},     {"illegal", illegal},
    {"division by 0", divides},
};
enum { DEATHS = sizeof deaths / sizeof deaths[0] };

typedef struct scene {
  const char *back_end; // NULL: without veil
  int death;
  bool in_thread, alternate, ignored;
} scene;

static void *die_here(void *arg) {
  const scene *s = arg;
  veil_thread *me = NULL;
  if (s->in_thread && s->back_end != NULL) {
    me = veil_attach(heap);
    EXPECT(me != NULL && list_check(list) == LENGTH);
  }
  if (s->alternate) {
    alternate_stack(65536);
  }
  if (s->back_end != NULL) {
    veil_collect_start(s->in_thread ? me : self);
  }
  deaths[s->death].fn();
  return NULL;
}

static void die_in(void *arg) {
  scene *s = arg;
  defaults();
  if (s->ignored) {
    signal(SIGSEGV, SIG_IGN);
    signal(SIGBUS, SIG_IGN);
  }
  struct rlimit stack = {1 << 20, RLIM_INFINITY};
  getrlimit(RLIMIT_STACK, &stack);
  stack.rlim_cur = 1 << 20; // or an overflow takes long
  setrlimit(RLIMIT_STACK, &stack);
  if (s->back_end != NULL && !start_list(s->back_end)) {
    _exit(77);
  }
  if (s->in_thread) {
    pthread_t thread = thread_start(die_here, s);
    if (s->back_end != NULL) {
      veil_block_begin(self);
    }
    pthread_join(thread, NULL);
  } else {
    die_here(s);
  }
}

static void deaths_are_equal(const char *back_end) {
  for (int i = 0; i < DEATHS * 4; i++) {
    scene s = {NULL, i / 4, i & 1, i & 2, false};
    death without = death_of(die_in, &s);
    cr_assert_neq(without.signal, 0, "%s: survived without veil, code %d: %s", deaths[s.death].name, without.code, without.said);
    s.back_end = back_end;
    death with = death_of(die_in, &s);
    if (with.code == 77) {
      cr_skip_test("the back end does not work here");
    }
    cr_assert_eq(with.signal, without.signal, "%s%s%s: signal %d, without veil %d; %s", deaths[s.death].name,
                 s.in_thread ? ", in a thread" : "", s.alternate ? ", with an alternate stack" : "", with.signal, without.signal,
                 with.said);
    cr_assert_null(strstr(with.said, "veil:"), "%s: %s", deaths[s.death].name, with.said);
  }
}
ON_ALL_BACK_ENDS(handlers, every_death_is_that_of_a_program_without_veil) { deaths_are_equal(back_end); }

ON_ALL_BACK_ENDS(handlers, an_ignored_fault_kills_too) {
  for (int i = 0; i < DEATHS; i++) {
    if (deaths[i].fn == read_null || deaths[i].fn == read_truncated || deaths[i].fn == overflow) {
      scene s = {NULL, i, false, false, true};
      death without = death_of(die_in, &s);
      s.back_end = back_end;
      death with = death_of(die_in, &s);
      cr_assert(with.code == 77 || (with.signal == without.signal && with.signal != 0), "%s: signal %d, without veil %d",
                deaths[i].name, with.signal, without.signal);
    }
  }
}

static void ignores_what_is_sent(void *back_end) {
  defaults();
  signal(SIGSEGV, SIG_IGN);
  signal(SIGBUS, SIG_IGN);
  if (start_list(back_end)) {
    raise(SIGSEGV);
    raise(SIGBUS);
    kill(getpid(), SIGSEGV);
    amid_traps(back_end, raised_bus);
    end();
  }
}
ON_ALL_BACK_ENDS(handlers, a_signal_that_was_sent_is_ignored_if_it_was) {
  death d = death_of(ignores_what_is_sent, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}

// Between the end of what the heap holds and of what it has reserved.
UNCHECKED static void strays(void *back_end) {
  defaults();
  if (!start_list(back_end)) {
    _exit(77);
  }
  sink = *((volatile char *)list + 24 * MIB);
}
ON_TRAPPING_BACK_ENDS(handlers, a_stray_access_into_the_free_part_of_a_heap_is_reported) {
  death d = death_of(strays, (void *)(uintptr_t)back_end);
  cr_assert(d.code == 77 || d.signal == SIGSEGV || death_says(&d, "no memory"));
}

// ---- Handlers of the program.

typedef enum way { WITH_INFO, NO_DEFER, PLAIN, ALL_MASKED, ON_STACK, BY_SIGNAL, BY_SYSV, WAYS } way;

static struct {
  way way;
  const char *back_end;
  bool before, reads;
} act;

static sigjmp_buf back;
static int volatile called, caught_signal;
static void *volatile caught_at;
static bool volatile on_alternate;

static void caught(int signo) {
  stack_t now;
  sigaltstack(NULL, &now);
  on_alternate = now.ss_flags & SS_ONSTACK;
  called++;
  caught_signal = signo;
  if (act.reads) {
    EXPECT(list_check(list) == LENGTH); // veiled for a part
  }
  siglongjmp(back, 1);
}
static void caught_with_info(int signo, siginfo_t *info, void *context) {
  caught_at = info->si_addr;
  caught(signo);
}

static void install(int signo) {
  struct sigaction action = {.sa_sigaction = caught_with_info, .sa_flags = SA_SIGINFO};
  switch (act.way) {
  case NO_DEFER:
    action.sa_flags |= SA_NODEFER;
    break;
  case PLAIN:
    action.sa_handler = caught;
    action.sa_flags = 0;
    break;
  case ALL_MASKED:
    sigfillset(&action.sa_mask);
    // The handler of the signal by which no trap comes stays the program's, and has to leave the other alone.
    sigdelset(&action.sa_mask, signo == SIGSEGV ? SIGBUS : SIGSEGV);
    break;
  case ON_STACK:
    action.sa_flags |= SA_ONSTACK;
    break;
  case BY_SIGNAL:
    signal(signo, caught);
    return;
  case BY_SYSV:
    sysv_signal(signo, caught);
    return;
  default:
    break;
  }
  sigaction(signo, &action, NULL);
}

UNCHECKED static void faults(void) {
  char *short_one = short_file();
  for (int signo = SIGBUS; signo <= SIGSEGV; signo += SIGSEGV - SIGBUS) {
    char *volatile at = signo == SIGBUS ? short_one : wild;
    int before = called;
    if (act.way == BY_SYSV && !act.before) {
      install(signo); // it is spent each time
      veil_collect(self); // a stop
      veil_collect_start(self);
    }
    if (sigsetjmp(back, 1) == 0) {
      sink = *(volatile char *)at;
      EXPECT(!"reached");
    }
    EXPECT(called == before + 1 && caught_signal == signo);
    EXPECT(act.way > NO_DEFER || caught_at == at);
    EXPECT(act.way != ON_STACK || on_alternate);
  }
  munmap(short_one, 4096);
}

static void has_handlers(void *unused) {
  defaults();
  alternate_stack(65536);
  if (act.before) {
    install(SIGSEGV);
    install(SIGBUS);
  }
  if (!start_list(act.back_end)) {
    _exit(0);
  }
  if (!act.before) {
    install(SIGSEGV);
    install(SIGBUS);
    veil_collect(self); // a stop: veil's handler is back
    bool signals = strcmp(act.back_end, "none") != 0 && strcmp(act.back_end, "uffd-kernel") != 0;
    EXPECT((stats_of(heap).handlers_restored > 0) == signals);
  }
  if (act.way == BY_SYSV && act.before) {
    faults(); // both are spent now
    raise(SIGSEGV);
    _exit(1);
  }
  with_traps(act.back_end, faults, act.reads);
  end();
}

static void handlers_all_ways(const char *back_end, bool before) {
  for (way way = 0; way < WAYS; way++) {
    for (int reads = 0; reads <= 1; reads++) {
      act.way = way;
      act.back_end = back_end;
      act.before = before;
      act.reads = reads;
      death d = death_of(has_handlers, NULL);
      if (way == BY_SYSV && before) {
        cr_assert(d.signal == SIGSEGV || d.code == 0, "a spent handler came again: %s", d.said);
      } else {
        cr_assert(death_none(&d), "way %d, reads %d", way, reads);
      }
    }
  }
}
ON_ALL_BACK_ENDS(handlers, of_the_program_from_before_get_its_faults) { handlers_all_ways(back_end, true); }
ON_ALL_BACK_ENDS(handlers, of_the_program_from_after_are_chained_at_the_next_stop) { handlers_all_ways(back_end, false); }

// ---- Without a jump: a handler that mends and returns.

static char *volatile closed;
static void mends(int signo, siginfo_t *info, void *context) {
  EXPECT(info->si_addr == closed);
  EXPECT(list_check(list) == LENGTH);
  EXPECT(mprotect(closed, 4096, PROT_READ | PROT_WRITE) == 0);
  called++;
}
UNCHECKED static void fault_and_mend(void) {
  int before = called;
  EXPECT(mprotect(closed, 4096, PROT_NONE) == 0);
  *(volatile char *)closed = 1;
  EXPECT(called == before + 1);
}
static void returns(void *back_end) {
  defaults();
  struct sigaction action = {.sa_sigaction = mends, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGSEGV, &action, NULL);
  closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start_list(back_end)) {
    with_traps(back_end, fault_and_mend, true);
    end();
  }
}
ON_ALL_BACK_ENDS(handlers, that_mend_and_return_read_veiled_objects) {
  death d = death_of(returns, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}

// ---- A handler that unblocks its signal by hand and jumps plainly, as old programs do.

static jmp_buf plain_back;
static void jumps_plainly(int signo) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  called++;
  longjmp(plain_back, 1);
}
UNCHECKED static void fault_at_depth(int depth) {
  char volatile frame[512];
  frame[0] = 1;
  if (depth > 0) {
    fault_at_depth(depth - 1);
  } else {
    sink = *(volatile char *)wild;
  }
  sink = frame[0];
}
static void fault_plainly(void) {
  for (int volatile depth = 0; depth < 64; depth += 3) {
    int before = called;
    if (_setjmp(plain_back) == 0) {
      fault_at_depth(depth);
    }
    EXPECT(called == before + 1);
  }
}
static void old_style(void *back_end) {
  defaults();
  signal(SIGSEGV, jumps_plainly);
  if (start_list(back_end)) {
    amid_traps(back_end, fault_plainly);
    end();
  }
}
ON_ALL_BACK_ENDS(handlers, that_unblock_by_hand_and_jump_are_called_each_time) {
  death d = death_of(old_style, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}

// ---- A handler that faults itself.

UNCHECKED static void faults_itself(int signo) {
  char line[] = "once\n";
  EXPECT(write(1, line, 5) == 5);
  sink = *(volatile char *)wild;
}
static void dies_in_handler(void *back_end) {
  defaults();
  signal(SIGSEGV, faults_itself);
  if (back_end != NULL && !start_list(back_end)) {
    _exit(77);
  }
  read_null();
}
ON_ALL_BACK_ENDS(handlers, that_fault_themselves_die_at_once) {
  death without = death_of(dies_in_handler, NULL), with = death_of(dies_in_handler, (void *)(uintptr_t)back_end);
  cr_assert_eq(without.signal, SIGSEGV);
  cr_assert(with.code == 77 || (with.signal == SIGSEGV && strcmp(with.said, without.said) == 0), "signal %d, said %s", with.signal,
            with.said);
}

// ---- Stack overflow on an alternate stack.

static char *volatile overflow_at;
static void on_overflow(int signo, siginfo_t *info, void *context) {
  overflow_at = info->si_addr;
  called++;
  EXPECT(list_check(list) == LENGTH);
  siglongjmp(back, 1);
}
static void overflow_caught(void) {
  int before = called;
  if (sigsetjmp(back, 1) == 0) {
    overflow();
  }
  EXPECT(called == before + 1);
  EXPECT((char *)&before > (char *)overflow_at && (char *)&before - (char *)overflow_at < 16 * MIB);
}
static void *overflows(void *back_end) {
  alternate_stack(65536);
  veil_thread *was = self;
  self = veil_attach(heap);
  with_traps(back_end, overflow_caught, true);
  veil_detach(self);
  self = was;
  return NULL;
}
static void has_overflow_handler(void *back_end) {
  defaults();
  struct sigaction action = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, NULL);
  struct rlimit stack;
  getrlimit(RLIMIT_STACK, &stack);
  stack.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_STACK, &stack);
  if (!start_list(back_end)) {
    return;
  }
  alternate_stack(65536);
  with_traps(back_end, overflow_caught, true);
  veil_block_begin(self);
  pthread_t thread = thread_start(overflows, back_end);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}
ON_ALL_BACK_ENDS(handlers, of_stack_overflows_on_an_alternate_stack_get_them) {
  death d = death_within(60, has_overflow_handler, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}

// ---- A small alternate stack.

#ifndef __SANITIZE_ADDRESS__ // its frames are larger
enum { SMALL = 16384 };
static char *small_stack;
static void walk(void) { EXPECT(list_check(list) == LENGTH); }
static void has_small_stack(void *back_end) {
  defaults();
  small_stack = mmap(NULL, 2 * SMALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(mprotect(small_stack + SMALL, SMALL, PROT_READ | PROT_WRITE) == 0);
  stack_t alternate = {.ss_sp = small_stack + SMALL, .ss_size = SMALL};
  EXPECT(sigaltstack(&alternate, NULL) == 0);
  if (start_list(back_end)) {
    with_traps(back_end, walk, true);
    size_t untouched = 0;
    while (small_stack[SMALL + untouched] == 0) {
      untouched++;
    }
    printf("a trap takes %zu bytes\n", (size_t)SMALL - untouched);
    end();
  }
}
ON_TRAPPING_BACK_ENDS(handlers, a_trap_fits_on_an_alternate_stack_of_16_kib) {
  death d = death_of(has_small_stack, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
  fprintf(stderr, "%s", d.said);
}
#endif

// ---- A timer every millisecond, whose handler reads and writes objects.

static unsigned long volatile ticks, tick_writes;
static void on_tick(int signo) {
  int saved = errno;
  node *n = list;
  for (unsigned long i = 0, until = ticks * 37 % LENGTH; n != NULL && i < until; i++) {
    n = n->right;
  }
  for (int i = 0; n != NULL && i < 100; i++, n = n->right) {
    n->more++;
    tick_writes++;
  }
  ticks++;
  errno = saved;
}
static void work_a_little(void) {
  raise(SIGPROF); // while there is something to be trapped at: the scanners may be done before the timer comes
  list_make(self, 2000);
  unsigned long until = ticks + 3;
  while (ticks < until) {
  }
}
static void has_timer(void *back_end) {
  defaults();
  if (!start_list(back_end)) {
    return;
  }
  struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  sigaction(SIGPROF, &action, NULL);
  struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_PROF, &every, NULL);
  for (int i = 0; i < 6; i++) {
    with_traps(back_end, work_a_little, true);
  }
  setitimer(ITIMER_PROF, &never, NULL);
  unsigned long sum = 0;
  for (node *n = list; n != NULL; n = n->right) {
    sum += (unsigned long)n->more;
  }
  EXPECT(sum == tick_writes && ticks >= 180);
  end();
}
ON_ALL_BACK_ENDS(handlers, of_a_timer_every_millisecond_read_and_write_objects) {
  death d = death_within(100, has_timer, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}

// ---- The stop signal.

static void nothing(int signo) {}
static void *spins(void *unused) {
  veil_thread *me = veil_attach(heap);
  called = 1;
  for (;;) {
    __asm__ volatile("" ::: "memory");
  }
  veil_detach(me);
  return NULL;
}
DIES(handlers, of_the_program_for_the_stop_signal_are_reported, "was given another handler") {
  defaults();
  start((veil_options){.back_end = "mprotect"});
  thread_start(spins, NULL);
  while (!called) {
    sleep_ms(1);
  }
  signal(SIGRTMIN + 5, nothing);
  veil_collect(self);
}

// ---- A second heap, opened after the program has replaced veil's handler.

static void opens_another(void *back_end) {
  defaults();
  if (!start_list(back_end)) {
    return;
  }
  act.way = WITH_INFO;
  install(SIGSEGV);
  install(SIGBUS);
  veil_heap *other = heap_open((veil_options){.back_end = back_end}); // proves the back end by traps
  EXPECT(other != NULL);
  faults();
  EXPECT(called == 2);
  veil_close(other);
  amid_traps(back_end, faults);
  end();
}
ON_ALL_BACK_ENDS(handlers, of_the_program_are_chained_when_another_heap_opens) {
  death d = death_of(opens_another, (void *)(uintptr_t)back_end);
  cr_assert(death_none(&d));
}
