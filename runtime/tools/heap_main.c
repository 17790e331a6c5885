// SPDX-License-Identifier: MIT
// heap_main.c: what veil-heap was asked for.

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/tools/heap.h"

static const char help[] =
    "Usage: veil-heap [OPTION]… FILE\n"
    "Reads a heap dump that veil_heap_dump has written: what there is by type, what holds the most, the roots.\n"
    "\n"
    "  --why ADDRESS|TYPE  a shortest way from a root to the object, or to objects of the type by how they are held\n"
    "  --object ADDRESS    an object: what it refers to, who refers to it, what goes with it\n"
    "  --type NAME         a type: what its objects retain, who refers to them; NAME[] means arrays only\n"
    "  --roots             every root, by what its object retains\n"
    "  --diff OTHER        growth by type from the dump OTHER to FILE: what leaks\n"
    "  --top N             so many lines in each table (20); 0: all\n"
    "  --json              for programs\n"
    "  --quiet             no progress on large files\n"
    "  --help              this\n"
    "\n"
    "An object retains what would go with it. Bytes are what objects take in the heap, headers included; addresses are as of\n"
    "the dump. Exits with 0, or with 1 if the file cannot be read or what was asked for is not in it, or with 2 if asked wrongly.\n";

static int usage(const char *why, const char *what) {
  fprintf(stderr, "veil-heap: %s%s\nTry veil-heap --help.\n", why, what);
  return 2;
}

typedef struct request {
  heap_options options;
  bool json, quiet;
  const char *path;
} request;

// 0: go on; else 1 + the exit status.
static int parse(int argc, char **argv, request *r) {
  enum { WHY = 1, OBJECT, TYPE, ROOTS, DIFF, TOP, JSON, QUIET, HELP };
  static const struct option options[] = {{"why", 1, NULL, WHY},   {"object", 1, NULL, OBJECT}, {"type", 1, NULL, TYPE},  {"roots", 0, NULL, ROOTS}, {"diff", 1, NULL, DIFF},
                                          {"top", 1, NULL, TOP},   {"json", 0, NULL, JSON},     {"quiet", 0, NULL, QUIET}, {"help", 0, NULL, HELP},   {NULL, 0, NULL, 0}};
  char *end;
  unsigned asked = 0;
  opterr = 0;
  optind = 0;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
    case WHY: r->options.why = optarg; asked++; break;
    case OBJECT: r->options.object = optarg; asked++; break;
    case TYPE: r->options.type = optarg; asked++; break;
    case ROOTS: r->options.roots_all = true; asked++; break;
    case DIFF: r->options.diff = optarg; asked++; break;
    case TOP: {
      unsigned long top = strtoul(optarg, &end, 10);
      if (*optarg < '0' || *optarg > '9' || *end != 0 || top > 1000000000) {
        return 1 + usage("--top wants a number: ", optarg);
      }
      r->options.top = (unsigned)top;
      break;
    }
    case JSON: r->json = true; break;
    case QUIET: r->quiet = true; break;
    case HELP:
      fputs(help, stdout);
      return 1;
    default:
      return 1 + usage("no such option, or nothing behind it: ", argv[optind - 1]);
    }
  }
  if (asked > 1) {
    return 1 + usage("one of --why, --object, --type, --roots, --diff at a time", "");
  }
  if (optind != argc - 1) {
    return 1 + usage(optind == argc ? "no file" : "more than one file: ", optind == argc ? "" : argv[optind + 1]);
  }
  r->path = argv[optind];
  return 0;
}

static heap_dump *dump_load(const request *r, const char *path) {
  heap_dump *d = calloc(1, sizeof *d);
  if (d == NULL) {
    fprintf(stderr, "veil-heap: no memory\n");
    exit(1);
  }
  d->progress = !r->quiet;
  heap_load(d, path);
  return d;
}

static bool answer(heap_out *out, heap_dump *d, const request *r) {
  const heap_options *o = &r->options;
  if (o->diff != NULL) {
    heap_dump *before = dump_load(r, o->diff);
    heap_report_diff(out, before, d, o);
    heap_free(before);
    free(before);
    return true;
  }
  if (o->why != NULL) {
    return heap_report_why(out, d, o);
  }
  if (o->object != NULL) {
    return heap_report_object(out, d, o);
  }
  if (o->type != NULL) {
    return heap_report_type(out, d, o);
  }
  (o->roots_all ? heap_report_roots : heap_report)(out, d, o);
  return true;
}

int heap_main(int argc, char **argv) {
  request r = {.options.top = 20};
  int said = parse(argc, argv, &r);
  if (said != 0) {
    return said - 1;
  }
  heap_dump *d = dump_load(&r, r.path);
  heap_out out = {.json = r.json};
  heap_out_begin(&out);
  bool found = answer(&out, d, &r);
  heap_out_end(&out);
  heap_free(d);
  free(d);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "veil-heap: cannot write the answer\n");
    return 1;
  }
  return found ? 0 : 1;
}
