// SPDX-License-Identifier: MIT
// veil-heap.c: the program. Tests call heap_main by themselves.

#include "runtime/tools/heap.h"

int main(int argc, char **argv) { return heap_main(argc, argv); }
