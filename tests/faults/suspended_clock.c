/* Preloaded into a role: its monotonic clock stands still for as long as its machine was suspended, as Linux's does. How many
   nanoseconds that was in all, the first 8 bytes of FINETUNED_TEST_SUSPENDED_FILE say, at any time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t* suspended;

__attribute__((constructor)) static void open_file(void) {
  const char* name = getenv("FINETUNED_TEST_SUSPENDED_FILE");
  const int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* shared = mmap(NULL, sizeof *suspended, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (shared != MAP_FAILED) suspended = shared;
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = (__typeof__(&clock_gettime))dlsym(RTLD_NEXT, "clock_gettime");
  const int status = next(clock, now);
  if (status != 0 || clock != CLOCK_MONOTONIC || !suspended) return status;
  const int64_t nanoseconds = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec - atomic_load(suspended);
  now->tv_sec = nanoseconds / 1000000000;
  now->tv_nsec = nanoseconds % 1000000000;
  return status;
}
