// SPDX-License-Identifier: MIT
// image_main.c: what veil-image was asked for.

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "runtime/store/inspect.h"
#include "runtime/tools/image.h"

static const char help[] =
    "Usage: veil-image [OPTION]… FILE\n"
    "Shows an image, the file of a checkpoint or a store: what it is, and what it holds. Headers, map and sections are checked whenever it is opened.\n"
    "\n"
    "  --verify            read all pages and check them; of a store its log, too, and that they belong together (not while it is being written)\n"
    "  --types             the types, by number\n"
    "  --roots             the named roots\n"
    "  --compare OTHER     how FILE differs from OTHER: pages, sections, types, roots\n"
    "  --extract TO        its pages into the new file TO, each at its number times the page size\n"
    "  --section NAME      a section's bytes, to standard output\n"
    "  --compact           write it anew, without what no version needs; a stream becomes a file that takes further versions. A store's log stays as it is\n"
    "  --top N             so many lines in tables of pages (20); 0: all\n"
    "  --json              for programs\n"
    "  --quiet             no progress on large files\n"
    "  --help              this\n"
    "\n"
    "Exits with 0, or with 1 if the file cannot be read, is damaged, or does not have what was asked for, or with 2 if asked wrongly, or with 3 if images "
    "differ, or with 4 if the last records of a store's log are not whole, and it cannot be told whether a crash or the medium is why.\n"
    "Of a store, whose newest commits are in its log, FILE.log, the other options show what the image has.\n";

void image_complain(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fprintf(stderr, "veil-image: ");
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

static int usage(const char *why, const char *what) {
  fprintf(stderr, "veil-image: %s%s\nTry veil-image --help.\n", why, what);
  return IMAGE_MISUSED;
}

const char *image_name(const char *name) {
  static char texts[4][300];
  static unsigned next;
  char *to = texts[next++ % 4];
  snprintf(to, sizeof texts[0], "%s", name);
  for (char *c = to; *c != 0; c++) {
    *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
  }
  return to;
}

// ---- Progress.

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool image_progress_show(void *arg, uint64_t done, uint64_t of) {
  image_progress *p = arg;
  uint64_t now = p->on ? now_ns() : 0;
  if (p->on && now - p->last_ns > 100000000) {
    fprintf(stderr, "\r%s %3.0f %%  %.1f of %.1f MiB ", p->what, 100.0 * (double)done / (double)(of != 0 ? of : 1), (double)(done * p->page_size) / (1 << 20),
            (double)(of * p->page_size) / (1 << 20));
    fflush(stderr);
    p->last_ns = now;
  }
  return true;
}

void image_progress_end(image_progress *p) {
  if (p->on && p->last_ns != 0) {
    fprintf(stderr, "\r%60s\r", "");
    p->last_ns = 0;
  }
}

// ---- Asking.

typedef struct request {
  bool verify, types, roots, compact, json, quiet;
  const char *compare, *extract, *section, *path;
  unsigned top;
} request;

static bool number_parse(const char *text, unsigned *out) {
  char *end;
  unsigned long n = strtoul(text, &end, 10);
  *out = (unsigned)n;
  return *text >= '0' && *text <= '9' && *end == 0 && n <= 1000000000;
}

// 0: go on; else 1 + the exit status.
static int parse(int argc, char **argv, request *r) {
  enum { VERIFY = 1, TYPES, ROOTS, COMPARE, EXTRACT, SECTION, COMPACT, TOP, JSON, QUIET, HELP };
  static const struct option options[] = {{"verify", 0, NULL, VERIFY},   {"types", 0, NULL, TYPES},     {"roots", 0, NULL, ROOTS},
                                          {"compare", 1, NULL, COMPARE}, {"extract", 1, NULL, EXTRACT}, {"section", 1, NULL, SECTION},
                                          {"compact", 0, NULL, COMPACT}, {"top", 1, NULL, TOP},         {"json", 0, NULL, JSON},
                                          {"quiet", 0, NULL, QUIET},     {"help", 0, NULL, HELP},       {NULL, 0, NULL, 0}};
  unsigned asked = 0;
  opterr = 0;
  optind = 0;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
    case VERIFY:
      r->verify = true;
      asked++;
      break;
    case TYPES:
      r->types = true;
      asked++;
      break;
    case ROOTS:
      r->roots = true;
      asked++;
      break;
    case COMPARE:
      r->compare = optarg;
      asked++;
      break;
    case EXTRACT:
      r->extract = optarg;
      asked++;
      break;
    case SECTION:
      r->section = optarg;
      asked++;
      break;
    case COMPACT:
      r->compact = true;
      asked++;
      break;
    case TOP:
      if (!number_parse(optarg, &r->top)) {
        return 1 + usage("--top wants a number: ", optarg);
      }
      break;
    case JSON:
      r->json = true;
      break;
    case QUIET:
      r->quiet = true;
      break;
    case HELP:
      fputs(help, stdout);
      return 1;
    default:
      return 1 + usage("no such option, or nothing behind it: ", argv[optind - 1]);
    }
  }
  if (asked > 1) {
    return 1 + usage("one of --verify, --types, --roots, --compare, --extract, --section, --compact at a time", "");
  }
  if (optind != argc - 1) {
    return 1 + usage(optind == argc ? "no file" : "more than one file: ", optind == argc ? "" : argv[optind + 1]);
  }
  r->path = argv[optind];
  return 0;
}

static rt_image *image_load(const char *path) {
  rt_image *image;
  if (rt_image_open(&image, path, NULL) != VEIL_OK) {
    image_complain("%s", veil_error());
    return NULL;
  }
  const rt_image_info *info = rt_image_info_of(image);
  if (info->fallen_back) {
    image_complain("%s: %s; this is version %llu, the one before", path, info->damage, (unsigned long long)info->version);
  }
  return image;
}

static int compare(const request *r, heap_out *out, const rt_image *image, image_progress *progress) {
  rt_image *before = image_load(r->compare);
  if (before == NULL) {
    return IMAGE_DAMAGED;
  }
  int status = image_compare(out, before, image, progress, r->top);
  rt_image_free(before);
  return status;
}

static int compact(const request *r, bool is_store, image_progress *progress) {
  veil_status status = is_store ? st_inspect_compact(r->path, NULL, image_progress_show, progress) : rt_image_compact(r->path, NULL, NULL, image_progress_show, progress);
  image_progress_end(progress);
  if (status != VEIL_OK) {
    image_complain("%s", veil_error());
  }
  return status == VEIL_OK ? 0 : IMAGE_DAMAGED;
}

static int answer(const request *r, heap_out *out, const rt_image *image, image_progress *progress) {
  if (r->verify) {
    return st_inspect_is_store(image) ? image_store_verify(out, r->path, progress, r->top) : image_report_verify(out, image, progress, r->top);
  }
  if (r->compare != NULL) {
    return compare(r, out, image, progress);
  }
  if (r->types || r->roots) {
    (r->types ? image_report_types : image_report_roots)(out, image);
    return 0;
  }
  image_report(out, image, r->path);
  int status = st_inspect_is_store(image) ? image_store_report(out, r->path) : 0;
  return rt_image_info_of(image)->fallen_back ? IMAGE_DAMAGED : status;
}

int image_main(int argc, char **argv) {
  request r = {.top = 20};
  int status = parse(argc, argv, &r);
  if (status != 0) {
    return status - 1;
  }
  rt_image *image = image_load(r.path);
  if (image == NULL) {
    return IMAGE_DAMAGED;
  }
  const rt_image_info *info = rt_image_info_of(image);
  image_progress progress = {
      .on = !r.quiet && isatty(2) && info->file > (64u << 20), .page_size = info->layout.page_size, .what = r.verify ? "checked" : "done"};
  if (r.compact) {
    status = compact(&r, st_inspect_is_store(image), &progress);
  } else if (r.extract != NULL) {
    status = image_extract_pages(image, r.extract, &progress);
  } else if (r.section != NULL) {
    status = image_extract_section(image, r.section);
  } else {
    heap_out out = {.json = r.json};
    heap_out_begin(&out);
    status = answer(&r, &out, image, &progress);
    heap_out_end(&out);
  }
  rt_image_free(image);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    image_complain("cannot write the answer");
    return IMAGE_DAMAGED;
  }
  return status;
}
