/* Preloaded into a run: ends it, as SIGKILL does, at the FINETUNED_TEST_DIE_AT-th call that changes a file below
   FINETUNED_TEST_DIE_BELOW: open for writing, write, fsync, rename, unlink. Counted from 1, before the call is made.
   FINETUNED_TEST_DIE_IN: calls of this kind alone are counted; of a half-write, half of the bytes are written before the end.
   FINETUNED_TEST_DIE_NAMED: those alone whose path has this in it. FINETUNED_TEST_DIE_TALLY: a file that gets a line each
   call below, with its kind and its path, whatever else is asked for. */
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

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long calls;

/* The path of what a descriptor is open on, with `more` behind it; empty where it cannot be told. */
static const char* path_of(int descriptor, const char* more, char* path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, PATH_MAX - 1);
  path[size < 0 ? 0 : size] = 0;
  if (more && size > 0) snprintf(path + size, (size_t)(PATH_MAX - size), "/%s", more);
  return path;
}

static void tell(const char* kind, const char* path) {
  const char* tally = getenv("FINETUNED_TEST_DIE_TALLY");
  char line[PATH_MAX + 32];
  if (!tally) return;
  const int file = NEXT(open)(tally, O_WRONLY | O_APPEND | O_CLOEXEC);
  const int size = snprintf(line, sizeof line, "%s %s\n", kind, path);
  if (file < 0 || NEXT(write)(file, line, (size_t)size) != size) abort();
  close(file);
}

/* Whether this call is the one to die at. */
static int is_last(const char* kind, const char* path) {
  const char* root = getenv("FINETUNED_TEST_DIE_BELOW");
  const char* at = getenv("FINETUNED_TEST_DIE_AT");
  const char* in = getenv("FINETUNED_TEST_DIE_IN");
  const char* named = getenv("FINETUNED_TEST_DIE_NAMED");
  if (!root || !path || strncmp(path, root, strlen(root)) != 0) return 0;
  tell(kind, path);
  if (in && strcmp(in, "half-write") == 0) in = "write";
  if (!at || (in && strcmp(in, kind) != 0) || (named && !strstr(path, named))) return 0;
  return atomic_fetch_add(&calls, 1) + 1 == atol(at);
}

static void count(const char* kind, const char* path) {
  if (is_last(kind, path)) kill(getpid(), SIGKILL);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  char path[PATH_MAX];
  if (is_last("write", path_of(descriptor, NULL, path))) {
    const char* in = getenv("FINETUNED_TEST_DIE_IN");
    if (in && strcmp(in, "half-write") == 0 && NEXT(write)(descriptor, data, size / 2) < 0) abort();
    kill(getpid(), SIGKILL);
  }
  return NEXT(write)(descriptor, data, size);
}
int fsync(int descriptor) {
  char path[PATH_MAX];
  count("fsync", path_of(descriptor, NULL, path));
  return NEXT(fsync)(descriptor);
}
int fdatasync(int descriptor) {
  char path[PATH_MAX];
  count("fsync", path_of(descriptor, NULL, path));
  return NEXT(fdatasync)(descriptor);
}
int rename(const char* from, const char* to) {
  count("rename", to);
  return NEXT(rename)(from, to);
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  char path[PATH_MAX];
  count("rename", to[0] == '/' ? to : path_of(to_directory, to, path));
  return NEXT(renameat)(from_directory, from, to_directory, to);
}
int unlink(const char* path) {
  count("unlink", path);
  return NEXT(unlink)(path);
}
int unlinkat(int directory, const char* path, int flags) {
  char whole[PATH_MAX];
  count("unlink", path[0] == '/' ? path : path_of(directory, path, whole));
  return NEXT(unlinkat)(directory, path, flags);
}
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(more, int) : 0;
  va_end(more);
  if (flags & (O_CREAT | O_WRONLY | O_RDWR)) count("open", path);
  return NEXT(open)(path, flags, mode);
}
