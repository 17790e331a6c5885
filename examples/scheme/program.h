// SPDX-License-Identifier: MIT
// program.h: what main.c, system.c and the files of threads and weak objects share.

#ifndef SCHEME_PROGRAM_H
#define SCHEME_PROGRAM_H

#include "machine.h"

extern const char *program_stats; // the file that --stats names, or NULL
value read_file(machine *m, value name); // all data in it, as a list
void report(machine *m, value condition, bool trace); // an exception that nobody handled
void repl(machine *m, bool interactive);
bool evaluate(machine *m, value form, value environment, value *result); // false: it failed, and that was reported
primitive_fn missing_library, features;
primitive_fn make_thread, thread_start, thread_join, is_thread, thread_name, current_thread, thread_yield, thread_sleep, make_mutex, is_mutex, mutex_lock,
    mutex_unlock,
    make_condition_variable, condition_signal, condition_broadcast;
primitive_fn weak_cons, is_weak_pair, weak_car, weak_cdr, make_weak_key_table, make_weak_value_table, is_weak_table, weak_table_ref, weak_table_set,
    weak_table_delete,
    weak_table_count, weak_table_alist, make_guardian, guardian_add, guardian_next;

#endif
