/* Preloaded into a worker: the machine is called FINETUNED_TEST_HOST, and where FINETUNED_TEST_BASE is set, who opens a base's
   weights to read them gets that file: it trains on something else than it says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char* instead_of(const char* path, int flags) {
  const char* base = getenv("FINETUNED_TEST_BASE");
  const char* weights = "/model.safetensors";
  const size_t size = path ? strlen(path) : 0, end = strlen(weights);
  if (!base || (flags & O_ACCMODE) != O_RDONLY || size < end || strcmp(path + size - end, weights) != 0) return path;
  return base;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE(flags)                                             \
  mode_t mode = 0;                                              \
  if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list more;                                               \
    va_start(more, flags);                                      \
    mode = va_arg(more, mode_t);                                \
    va_end(more);                                               \
  }

int open(const char* path, int flags, ...) {
  MODE(flags)
  return NEXT(open)(instead_of(path, flags), flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE(flags)
  return NEXT(open64)(instead_of(path, flags), flags, mode);
}

int gethostname(char* name, size_t size) {
  const char* host = getenv("FINETUNED_TEST_HOST");
  if (!host) return NEXT(gethostname)(name, size);
  strncpy(name, host, size);
  return 0;
}
