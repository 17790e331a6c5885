// SPDX-License-Identifier: MIT
// variables_library.c: a library that is loaded and unloaded while cycles run: it has variables of its own.

static void *variable = (void *)1;      // .data
static void *zeroed[1000];              // .bss
static _Thread_local void *local = (void *)1;

void library_store(void *a, void *b, void *c);
void library_load(void **a, void **b, void **c);

void library_store(void *a, void *b, void *c) {
  variable = a;
  zeroed[700] = b;
  local = c;
}

void library_load(void **a, void **b, void **c) {
  *a = variable;
  *b = zeroed[700];
  *c = local;
}
