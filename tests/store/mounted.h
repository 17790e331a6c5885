// SPDX-License-Identifier: MIT
// mounted.h: the disk of tests/image/disk.h as a file system that is mounted (FUSE), so that a program uses it by
// system calls; it forgets what was not synchronised, as a crash does.
//
// One thread, which answers the system while a child of it works in the file system: so that the child alone, and no
// thread of this process, may use the mount.

#ifndef TESTS_STORE_MOUNTED_H
#define TESTS_STORE_MOUNTED_H

#include <stdbool.h>
#include "tests/image/disk.h"

// Whether file systems can be mounted here; if not, says why.
bool mounted_works(void);

// Mounts the disk, runs `fn` in a child process, which sees it in the folder it is given, and unmounts it when the
// child has ended. The child is killed after `seconds`. `*notes` is in memory that the child shares: notes that the
// disk has, up to date whenever a system call of the child's returns. How it ended, as waitpid says.
int mounted_run(disk *d, volatile size_t *notes, unsigned seconds, void (*fn)(const char *folder, void *arg),
                void *arg);

#endif
