// SPDX-License-Identifier: MIT
// machine.c: how much memory this process may have: RAM, the limits of its cgroups (version 2 and 1) and of its ancestors, resource limits.
//
// /proc/self/cgroup names the process's cgroup of each hierarchy; /proc/self/mountinfo says where the hierarchies are mounted, and from which cgroup on. A
// container sees its own cgroup at the root of the mount, or, without a cgroup namespace, a path that only the host knows: then
// the mount's root is what there is to ask.

#include "runtime/machine.h"
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "vm/os.h"

enum { TEXT = 1 << 18 }; // bytes read of a file; mountinfo of a machine with many containers is long

// Of a file in which a number stands alone: its value; UINT64_MAX if there is none, or "max", or anything else.
static uint64_t number_read(const char *path) {
  char text[64];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return UINT64_MAX;
  }
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  char *end;
  if (*text < '0' || *text > '9') {
    return UINT64_MAX;
  }
  unsigned long long value = strtoull(text, &end, 10); // too large: ULLONG_MAX, which is no limit either
  end += strspn(end, "\n");
  return *end == 0 && value != 0 ? value : UINT64_MAX;
}

// The file's text in `text`, as far as there is room: up to the last whole line. False: none.
static bool text_read(const char *prefix, const char *name, char *text) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s%s", prefix, name) >= (int)sizeof path) {
    return false;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  size_t length = 0;
  for (ssize_t n; length < TEXT - 1 && (n = read(fd, text + length, TEXT - 1 - length)) > 0;) {
    length += (size_t)n;
  }
  close(fd);
  text[length] = 0;
  if (length == 0 || strlen(text) != length) {
    return false;
  }
  if (length == TEXT - 1) {
    char *last = strrchr(text, '\n');
    *(last != NULL ? last : text) = 0;
  }
  return true;
}

// ---- Which cgroup, and where.

typedef struct hierarchy {
  char mount[PATH_MAX]; // "": not mounted
  char root[PATH_MAX];  // the cgroup that is seen at the mount
  char path[PATH_MAX];  // the process's cgroup; "": unknown
} hierarchy;

static bool copy(char *to, const char *from, size_t length) {
  if (length >= PATH_MAX) {
    return false;
  }
  memcpy(to, from, length);
  to[length] = 0;
  return true;
}

// Whether the comma-separated list has `word` in it.
static bool list_has(const char *list, const char *word) {
  size_t length = strlen(word);
  for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
    bool begins = at == list || at[-1] == ',', ends = at[length] == 0 || at[length] == ',';
    if (begins && ends) {
      return true;
    }
  }
  return false;
}

// mountinfo writes blanks and the like as \040.
static void unescape(char *text) {
  char *to = text;
  for (const char *at = text; *at != 0;) {
    if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' && at[3] <= '7') {
      *to++ = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
      at += 4;
    } else {
      *to++ = *at++;
    }
  }
  *to = 0;
}

// One line of /proc/self/cgroup: id:controllers:path. Version 2 has the id 0 and no controllers.
static void cgroup_line(char *line, hierarchy *v1, hierarchy *v2) {
  char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
  if (path == NULL || path[1] != '/') {
    return;
  }
  *controllers++ = 0;
  *path++ = 0;
  if (strcmp(line, "0") == 0 && *controllers == 0) {
    copy(v2->path, path, strlen(path));
  } else if (list_has(controllers, "memory")) {
    copy(v1->path, path, strlen(path));
  }
}

// One line of /proc/self/mountinfo: id parent device root mount options [fields…] - type source options.
static void mount_line(char *line, hierarchy *v1, hierarchy *v2) {
  char *field[6], *save = NULL, *rest = strstr(line, " - ");
  if (rest == NULL) {
    return;
  }
  *rest = 0;
  rest += 3;
  for (int i = 0; i < 6; i++) {
    field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
    if (field[i] == NULL) {
      return;
    }
  }
  char *type = strtok_r(rest, " ", &save), *source = type != NULL ? strtok_r(NULL, " ", &save) : NULL;
  char *options = source != NULL ? strtok_r(NULL, " ", &save) : NULL;
  hierarchy *h = NULL;
  if (type != NULL && strcmp(type, "cgroup2") == 0) {
    h = v2;
  } else if (options != NULL && strcmp(type, "cgroup") == 0 && list_has(options, "memory")) {
    h = v1;
  }
  if (h != NULL && h->mount[0] == 0) {
    unescape(field[3]);
    unescape(field[4]);
    if (!copy(h->root, field[3], strlen(field[3])) || !copy(h->mount, field[4], strlen(field[4]))) {
      h->mount[0] = 0;
    }
  }
}

static void lines(char *text, hierarchy *v1, hierarchy *v2, void (*line)(char *, hierarchy *, hierarchy *)) {
  char *save = NULL;
  for (char *at = strtok_r(text, "\n", &save); at != NULL; at = strtok_r(NULL, "\n", &save)) {
    line(at, v1, v2);
  }
}

// The process's cgroup as a path below the mount: what remains of `path` behind `root`.
static const char *below_mount(const hierarchy *h) {
  size_t length = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
  bool inside = strncmp(h->path, h->root, length) == 0 && (h->path[length] == '/' || h->path[length] == 0);
  // Up and out of the namespace's root, or the host's own name for it: the mount's root it is.
  return inside && strstr(h->path, "/..") == NULL ? h->path + length : "";
}

// The least number in the files `name` of the process's cgroup and all of its ancestors.
static uint64_t least(const char *prefix, const hierarchy *h, const char *name) {
  uint64_t result = UINT64_MAX;
  char at[PATH_MAX], path[3 * PATH_MAX];
  if (h->mount[0] == 0 || h->path[0] == 0) {
    return result;
  }
  const char *below = below_mount(h);
  copy(at, below, strlen(below));
  for (bool more = true; more;) {
    snprintf(path, sizeof path, "%s%s%s/%s", prefix, h->mount, at, name);
    uint64_t value = number_read(path);
    result = value < result ? value : result;
    char *slash = strrchr(at, '/');
    more = slash != NULL;
    if (more) {
      *slash = 0;
    }
  }
  return result;
}

static void cgroups_read(rt_machine *out, const char *prefix, char *text, hierarchy *v1, hierarchy *v2) {
  if (text_read(prefix, "/proc/self/mountinfo", text)) {
    lines(text, v1, v2, mount_line);
  }
  if (text_read(prefix, "/proc/self/cgroup", text)) {
    lines(text, v1, v2, cgroup_line);
  }
  uint64_t two = least(prefix, v2, "memory.max"), one = least(prefix, v1, "memory.limit_in_bytes");
  out->cgroup = two < one ? two : one;
  out->cgroup_high = least(prefix, v2, "memory.high");
}

// ---- The rest.

static uint64_t physical_read(const char *prefix, char *text) {
  static const char label[] = "MemTotal:";
  if (text_read(prefix, "/proc/meminfo", text)) {
    const char *at = strstr(text, label);
    uint64_t kib = at != NULL ? strtoull(at + sizeof label - 1, NULL, 10) : 0;
    if (kib != 0 && kib < UINT64_MAX >> 10) {
      return kib << 10;
    }
  }
  return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t resource(int which) {
  struct rlimit limit;
  return getrlimit(which, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : UINT64_MAX;
}

void rt_machine_read(rt_machine *out, const char *prefix) {
  *out = (rt_machine){
      .cgroup = UINT64_MAX,
      .cgroup_high = UINT64_MAX,
      .data = resource(RLIMIT_DATA),
      .address_space = resource(RLIMIT_AS),
  };
  struct scratch {
    hierarchy v1, v2;
    char text[TEXT];
  } *scratch = os_map_private(sizeof *scratch); // zero; too much for a small stack
  if (scratch == NULL) {
    out->physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  } else {
    out->physical = physical_read(prefix, scratch->text);
    cgroups_read(out, prefix, scratch->text, &scratch->v1, &scratch->v2);
    os_unmap(scratch, sizeof *scratch);
  }
  out->memory = out->physical;
  out->memory = out->cgroup < out->memory ? out->cgroup : out->memory;
  out->memory = out->data < out->memory ? out->data : out->memory;
}
