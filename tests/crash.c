/* Kill a Python process at its k-th call that changes or tells anything outside of it; or set its
 * clock wrong by CLOCK_OFFSET seconds.
 *
 * Loaded with LD_PRELOAD. CRASH_COUNT names a file in which the calls made so far are logged, a line
 * each; CRASH_AT is k, from 1; CRASH_HALF makes a write at k go out by half before the end;
 * CRASH_ERRNO makes the call fail with that error instead, once. The count is one for the whole
 * process with all its threads, which strace's own counters are not. Programs that are not Python
 * (the tor that verifies) pass unharmed: they are not what is to be proven.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;
static long crash_at;
static long long offset;
static int half, active, fail_with, record = -1;

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("CRASH_AT"), *count = getenv("CRASH_COUNT");
  if (strncmp(program_invocation_short_name, "python", 6) != 0) return;
  if (at) crash_at = atol(at);
  half = getenv("CRASH_HALF") != NULL;
  if (getenv("CRASH_ERRNO")) fail_with = atoi(getenv("CRASH_ERRNO"));
  if (getenv("CLOCK_OFFSET")) offset = atoll(getenv("CLOCK_OFFSET"));
  if (count) record = syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  active = at || count;
}

static int end(void) {
  if (!fail_with) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  errno = fail_with;
  return -1;
}

/* Count one call; whether it is the one. */
static int step(const char *name, const char *detail) {
  int saved = errno;
  if (!active) return 0;
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (record >= 0) {
    char line[300];
    int size = snprintf(line, sizeof line, "%ld %s %s\n", number, name, detail ? detail : "");
    if (size > (int)sizeof line - 1) size = sizeof line - 1;
    syscall(SYS_write, record, line, size);
  }
  errno = saved;
  return number == crash_at;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, parameters, arguments, detail) \
  type name parameters {                                \
    if (step(#name, detail)) return end();                     \
    return REAL(name) arguments;                        \
  }
#define TORN(type, name, parameters, arguments, shorter)  \
  type name parameters {                                  \
    if (step(#name, NULL)) {                              \
      if (half && size > 1) REAL(name) shorter;           \
      return end();                                       \
    }                                                     \
    return REAL(name) arguments;                          \
  }

TORN(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, size / 2))
TORN(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at),
     (fd, data, size / 2, at))
TORN(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at),
     (fd, data, size / 2, at))
TORN(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags),
     (fd, data, size / 2, flags))
TORN(ssize_t, sendto,
     (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length),
     (fd, data, size, flags, to, length), (fd, data, size / 2, flags, to, length))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), NULL)
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), NULL)
WRAP(int, rename, (const char *from, const char *to), (from, to), to)
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), to)
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags), to)
WRAP(int, link, (const char *from, const char *to), (from, to), to)
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags), to)
WRAP(int, symlink, (const char *from, const char *to), (from, to), to)
WRAP(int, unlink, (const char *path), (path), path)
WRAP(int, unlinkat, (int a, const char *path, int flags), (a, path, flags), path)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), path)
WRAP(int, mkdirat, (int a, const char *path, mode_t mode), (a, path, mode), path)
WRAP(int, rmdir, (const char *path), (path), path)
WRAP(int, fsync, (int fd), (fd), NULL)
WRAP(int, fdatasync, (int fd), (fd), NULL)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), NULL)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), NULL)
WRAP(int, truncate, (const char *path, off_t size), (path, size), path)
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode), path)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), NULL)
WRAP(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group), NULL)
WRAP(int, chown, (const char *path, uid_t user, gid_t group), (path, user, group), path)
WRAP(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
     (fd, name, value, size, flags), NULL)
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size), NULL)

/* Only opening that may create or empty a file counts. */
#define OPEN(name, at_type, at_argument)                              \
  int name(at_type const char *path, int flags, ...) {                \
    mode_t mode = 0;                                                  \
    if (flags & (O_CREAT | O_TMPFILE)) {                              \
      va_list rest;                                                   \
      va_start(rest, flags);                                          \
      mode = va_arg(rest, int);                                       \
      va_end(rest);                                                   \
    }                                                                 \
    if ((flags & (O_CREAT | O_TRUNC)) && step(#name, path)) return end();    \
    return REAL(name)(at_argument path, flags, mode);                 \
  }
#define COMMA ,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, int folder COMMA, folder COMMA)
OPEN(openat64, int folder COMMA, folder COMMA)

/* Only what a clock says that somebody set: the time since the start of the machine goes on. */
int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset;
  return result;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}
