/* Preloaded into a run: ends it, as SIGKILL does, at the FINETUNED_TEST_DIE_AT-th call that changes a file below
   FINETUNED_TEST_DIE_BELOW: open for writing, write, fsync, rename, unlink. Counted from 1, before the call is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

static int below(const char* path) {
  const char* root = getenv("FINETUNED_TEST_DIE_BELOW");
  return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int is_file_below(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return below(path);
}

static void count(int ours) {
  const char* at = getenv("FINETUNED_TEST_DIE_AT");
  if (!ours || !at) return;
  if (atomic_fetch_add(&calls, 1) + 1 == atol(at)) kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int descriptor, const void* data, size_t size) {
  count(is_file_below(descriptor));
  return NEXT(write)(descriptor, data, size);
}
int fsync(int descriptor) {
  count(is_file_below(descriptor));
  return NEXT(fsync)(descriptor);
}
int fdatasync(int descriptor) {
  count(is_file_below(descriptor));
  return NEXT(fdatasync)(descriptor);
}
int rename(const char* from, const char* to) {
  count(below(to));
  return NEXT(rename)(from, to);
}
int unlink(const char* path) {
  count(below(path));
  return NEXT(unlink)(path);
}
int unlinkat(int directory, const char* path, int flags) {
  count(path[0] == '/' ? below(path) : is_file_below(directory));
  return NEXT(unlinkat)(directory, path, flags);
}
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(more, int) : 0;
  va_end(more);
  count((flags & (O_CREAT | O_WRONLY | O_RDWR)) && below(path));
  return NEXT(open)(path, flags, mode);
}
