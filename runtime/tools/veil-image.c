// SPDX-License-Identifier: MIT
// veil-image.c: the program. Tests call image_main by themselves.

#include "runtime/tools/image.h"

int main(int argc, char **argv) { return image_main(argc, argv); }
