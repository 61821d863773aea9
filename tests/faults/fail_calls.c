/* Preloaded into a role: while the file FINETUNED_TEST_FAIL_FILE is there, calls that write below FINETUNED_TEST_FAIL_BELOW fail
   by the errno that it names: EIO (reads, too) or ENOSPC; SLOW lets each of them sleep for a second; HANG holds them, what closes a
   file and what looks whether a folder can be written to, until the file says something else, or nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_file_below(int descriptor) {
  const char* root = getenv("FINETUNED_TEST_FAIL_BELOW");
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (!root || size < 0) return 0;
  path[size] = 0;
  return strncmp(path, root, strlen(root)) == 0;
}

/* What the control file says. Empty where it is not there. */
static void read_word(char word[16]) {
  const char* file = getenv("FINETUNED_TEST_FAIL_FILE");
  memset(word, 0, 16);
  const int control = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
  if (control < 0) return;
  if (NEXT(read)(control, word, 15) < 0) word[0] = 0;
  NEXT(close)(control);
}

/* Returns once the file does not say HANG (any more). */
static void wait_while_hung(char word[16]) {
  while (strncmp(word, "HANG", 4) == 0) {
    usleep(20000);
    read_word(word);
  }
}

/* The errno that the call shall fail by; 0: it shall not. */
static int fault_of(int descriptor, int reads) {
  char word[16];
  read_word(word);
  if (!word[0] || !is_file_below(descriptor)) return 0;
  wait_while_hung(word);
  if (strncmp(word, "SLOW", 4) == 0) sleep(1);
  if (strncmp(word, "ENOSPC", 6) == 0) return reads ? 0 : ENOSPC;
  return strncmp(word, "EIO", 3) == 0 ? EIO : 0;
}

#define FAIL_OR(call, descriptor, reads)           \
  do {                                             \
    const int fault = fault_of(descriptor, reads); \
    if (fault) {                                   \
      errno = fault;                               \
      return -1;                                   \
    }                                              \
    return call;                                   \
  } while (0)

ssize_t write(int descriptor, const void* data, size_t size) { FAIL_OR(NEXT(write)(descriptor, data, size), descriptor, 0); }
ssize_t read(int descriptor, void* data, size_t size) { FAIL_OR(NEXT(read)(descriptor, data, size), descriptor, 1); }
ssize_t pread(int descriptor, void* data, size_t size, off_t at) { FAIL_OR(NEXT(pread)(descriptor, data, size, at), descriptor, 1); }
ssize_t pread64(int descriptor, void* data, size_t size, off64_t at) { FAIL_OR(NEXT(pread64)(descriptor, data, size, at), descriptor, 1); }
int faccessat(int descriptor, const char* path, int mode, int flags) { FAIL_OR(NEXT(faccessat)(descriptor, path, mode, flags), descriptor, 1); }
int close(int descriptor) {
  const int before = errno; /* which a close that succeeds leaves alone */
  char word[16];
  read_word(word);
  if (word[0] && is_file_below(descriptor)) wait_while_hung(word);
  errno = before;
  return NEXT(close)(descriptor);
}
int fsync(int descriptor) { FAIL_OR(NEXT(fsync)(descriptor), descriptor, 0); }
