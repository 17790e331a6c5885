// SPDX-License-Identifier: MIT
// symbol.c: the name of the function or variable at an address, static ones too: from the symbols in the file that it
// was loaded from.
//
// Neighbours: dump_file.c asks, when the world runs; the loader's lock may be waited for. A file that is not what it
// should be is as one without symbols.

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/dump.h"

typedef struct image {
  const char *bytes;
  size_t size;
} image;

static bool within(const image *i, uint64_t offset, uint64_t bytes) {
  return offset <= i->size && bytes <= i->size - offset;
}

static image image_map(const char *path) {
  image i = {NULL, 0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat s;
  if (fd >= 0 && fstat(fd, &s) == 0 && s.st_size > 0) {
    void *at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    i = at != MAP_FAILED ? (image){at, (size_t)s.st_size} : i;
  }
  if (fd >= 0) {
    close(fd);
  }
  return i;
}

static const Elf64_Shdr *sections_of(const image *i, unsigned *count) {
  const Elf64_Ehdr *head = (const Elf64_Ehdr *)i->bytes;
  if (i->size < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64 ||
      head->e_shentsize != sizeof(Elf64_Shdr) || head->e_shoff % 8 != 0 ||
      !within(i, head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr))) {
    return NULL;
  }
  *count = head->e_shnum;
  return (const Elf64_Shdr *)(i->bytes + head->e_shoff);
}

// The symbol that covers `value`, in a table of the file. NULL: none does.
static const char *symbol_in(const image *i, const Elf64_Shdr *table, const Elf64_Shdr *names, uint64_t value,
                             uint64_t *offset) {
  if (table->sh_offset % 8 != 0 || !within(i, table->sh_offset, table->sh_size) ||
      !within(i, names->sh_offset, names->sh_size) || names->sh_size == 0 ||
      i->bytes[names->sh_offset + names->sh_size - 1] != 0) {
    return NULL;
  }
  const Elf64_Sym *symbols = (const Elf64_Sym *)(i->bytes + table->sh_offset);
  for (uint64_t n = 0; n < table->sh_size / sizeof *symbols; n++) {
    const Elf64_Sym *s = &symbols[n];
    unsigned type = ELF64_ST_TYPE(s->st_info);
    if ((type == STT_OBJECT || type == STT_FUNC) && s->st_shndx != SHN_UNDEF && value - s->st_value < s->st_size &&
        s->st_name < names->sh_size) {
      *offset = value - s->st_value;
      return i->bytes + names->sh_offset + s->st_name;
    }
  }
  return NULL;
}

static bool name_put(const image *i, uint64_t value, const char *file, char *to, size_t bytes) {
  unsigned count = 0;
  const Elf64_Shdr *sections = sections_of(i, &count);
  for (unsigned n = 0; sections != NULL && n < count; n++) {
    const Elf64_Shdr *s = &sections[n];
    uint64_t offset;
    const char *name = (s->sh_type == SHT_SYMTAB || s->sh_type == SHT_DYNSYM) && s->sh_link < count
                           ? symbol_in(i, s, &sections[s->sh_link], value, &offset)
                           : NULL;
    if (name != NULL) {
      if (offset != 0) {
        snprintf(to, bytes, "%s+%lu (%s)", name, (unsigned long)offset, file);
      } else {
        snprintf(to, bytes, "%s (%s)", name, file);
      }
      return true;
    }
  }
  return false;
}

bool rt_symbol_find(uint64_t address, char *to, size_t bytes) {
  Dl_info info;
  struct link_map *map = NULL;
  if (dladdr1((void *)address, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL) {
    return false;
  }
  char program[1024];
  const char *path = map->l_name;
  if (path == NULL || *path == 0) {
    ssize_t got = readlink("/proc/self/exe", program, sizeof program - 1);
    program[got > 0 ? got : 0] = 0;
    path = program;
  }
  const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
  uint64_t value = address - map->l_addr;
  image i = image_map(map->l_name != NULL && *map->l_name != 0 ? path : "/proc/self/exe");
  bool found = i.bytes != NULL && name_put(&i, value, file, to, bytes);
  if (i.bytes != NULL) {
    munmap((void *)i.bytes, i.size);
  }
  if (!found) {
    snprintf(to, bytes, "%s+0x%lx", file, (unsigned long)value);
  }
  return true;
}
