// SPDX-License-Identifier: MIT
// image_extract.c: what an image holds, as bytes: pages into a file, a section to standard output.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/tools/image.h"

enum { AT_ONCE = 1 << 20 };

// 0, or an errno.
static int bytes_write(int fd, const char *from, size_t bytes, uint64_t offset) {
  while (bytes != 0) {
    ssize_t n = pwrite(fd, from, bytes, (off_t)offset);
    if (n < 0 && errno != EINTR) {
      return errno;
    }
    if (n > 0) {
      from += n;
      bytes -= (size_t)n;
      offset += (uint64_t)n;
    }
  }
  return 0;
}

static int run_extract(const rt_image *image, const rt_image_run *run, int fd, const char *to, char *pages) {
  uint32_t page_size = rt_image_info_of(image)->layout.page_size;
  uint64_t most = AT_ONCE / page_size;
  for (uint64_t done = 0; done < run->count && !run->zero; done += most) {
    uint64_t n = run->count - done < most ? run->count - done : most;
    if (rt_image_read(image, run->first + done, n, pages, NULL) != VEIL_OK) {
      image_complain("%s", veil_error());
      return IMAGE_DAMAGED;
    }
    int error = bytes_write(fd, pages, n * page_size, (run->first + done) * page_size);
    if (error != 0) {
      image_complain("%s: cannot be written: %s", to, strerror(error));
      return IMAGE_DAMAGED;
    }
  }
  return 0;
}

int image_extract_pages(const rt_image *image, const char *to, image_progress *progress) {
  uint32_t page_size = rt_image_info_of(image)->layout.page_size;
  int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  char *pages = malloc(AT_ONCE);
  if (fd < 0 || pages == NULL) {
    image_complain("%s: cannot be created: %s", to, strerror(errno));
    free(pages);
    return IMAGE_DAMAGED;
  }
  uint64_t page = 0, done = 0;
  rt_image_run run;
  int status = 0;
  while (status == 0 && rt_image_next(image, page, &run)) {
    status = run_extract(image, &run, fd, to, pages);
    page = run.first + run.count;
    done += run.count;
    image_progress_show(progress, done, rt_image_info_of(image)->pages);
  }
  image_progress_end(progress);
  if (status == 0 && (ftruncate(fd, (off_t)(page * page_size)) != 0 || close(fd) != 0)) { // the last may be a page of zeros
    image_complain("%s: cannot be written: %s", to, strerror(errno));
    status = IMAGE_DAMAGED;
  }
  free(pages);
  return status;
}

int image_extract_section(const rt_image *image, const char *name) {
  const void *contents;
  size_t bytes;
  if (rt_image_section(image, name, &contents, &bytes) != VEIL_OK) {
    image_complain("%s", veil_error());
    return IMAGE_DAMAGED;
  }
  fwrite(contents, 1, bytes, stdout);
  return 0;
}
