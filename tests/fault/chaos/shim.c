/* LD_PRELOAD for the chaos harness: makes the calls of our programs fail, or kills them there, as a shared page of memory says.
 *
 * The file named by CHAOS_CONTROL is an array of struct control, one per program (control.py writes it). Everything counts
 * down: a fault comes at the n-th call from now on, so that a seed gives the same instants as far as threads allow. The
 * programs themselves carry no test code. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Where a program can be killed. The disk's points are those on files whose path holds `match`. */
enum point {
        POINT_BEFORE_WRITE = 1,
        POINT_AFTER_WRITE,
        POINT_TORN_WRITE, /* half of it is written */
        POINT_BEFORE_SYNC,
        POINT_AFTER_SYNC,
        POINT_BEFORE_SEND,
        POINT_AFTER_SEND,
        POINT_TORN_SEND,
        POINT_RENAME,
};

enum disk_fault { DISK_FULL = 1, DISK_WRITE_EIO, DISK_SYNC_EIO, DISK_READ_EIO };

struct control {
        _Atomic int64_t kill_point, kill_after; /* at the kill_after-th of these, 1 = the next */
        _Atomic int64_t disk_fault, disk_after, disk_times; /* from the disk_after-th call on, so many times */
        _Atomic int64_t clock_ms;               /* added to CLOCK_REALTIME */
        _Atomic int64_t malloc_after, malloc_times;
        /* for the harness to read */
        _Atomic int64_t n_writes, n_syncs, n_sends, n_mallocs, n_faults;
        char match[32];
};

static const char *const programs[] = {"sweepd", "sweep-worker", "sweep-trainer"};
#define N_PROGRAMS (sizeof programs / sizeof programs[0])

static struct control nobody, *control = &nobody;

__attribute__((constructor)) static void start(void) {
        const char *path = getenv("CHAOS_CONTROL");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (fd < 0)
                return;
        struct control *all = mmap(NULL, N_PROGRAMS * sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        for (size_t i = 0; i < N_PROGRAMS && all != MAP_FAILED; i++)
                if (strcmp(program_invocation_short_name, programs[i]) == 0)
                        control = &all[i];
}

/* --- kills ------------------------------------------------------------------------------------------- */

static bool comes_due(enum point point) {
        if (atomic_load_explicit(&control->kill_point, memory_order_relaxed) != (int64_t)point)
                return false;
        return atomic_fetch_sub(&control->kill_after, 1) == 1;
}

static void pass(enum point point) {
        if (comes_due(point))
                kill(getpid(), SIGKILL);
}

/* --- the disk ---------------------------------------------------------------------------------------- */

static bool is_ours(int fd) {
        char link[64], path[512];
        if (!control->match[0])
                return false;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0)
                return false;
        path[n] = 0;
        size_t len = strlen(control->match);
        if (control->match[len - 1] == '$') /* the end of the path */
                return (size_t)n >= len - 1 && memcmp(path + n - (len - 1), control->match, len - 1) == 0;
        return strstr(path, control->match) && !strstr(path, "-shm");
}

/* The errno of a fault of this kind that is due, or 0. */
static int disk_error(int64_t kind) {
        if (atomic_load_explicit(&control->disk_fault, memory_order_relaxed) != kind || atomic_fetch_sub(&control->disk_after, 1) > 1)
                return 0;
        if (atomic_fetch_sub(&control->disk_times, 1) <= 0)
                return 0;
        atomic_fetch_add(&control->n_faults, 1);
        return kind == DISK_FULL ? ENOSPC : EIO;
}

static bool is_armed(void) {
        return control->match[0] && (control->disk_fault || control->kill_point);
}

#define REAL(name) \
        static __typeof__(&name) real; \
        if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static bool before_write(int fd, size_t *size, bool *ret_torn) {
        atomic_fetch_add_explicit(&control->n_writes, 1, memory_order_relaxed);
        if (!is_armed() || !is_ours(fd))
                return true;
        pass(POINT_BEFORE_WRITE);
        if ((*ret_torn = comes_due(POINT_TORN_WRITE)))
                *size /= 2;
        errno = disk_error(DISK_FULL);
        if (!errno)
                errno = disk_error(DISK_WRITE_EIO);
        return !errno;
}

static void after_write(int fd, bool torn) {
        if (torn)
                kill(getpid(), SIGKILL);
        if (is_armed() && is_ours(fd))
                pass(POINT_AFTER_WRITE);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
        REAL(pwrite64);
        bool torn = false;
        if (!before_write(fd, &size, &torn))
                return -1;
        ssize_t n = real(fd, data, size, at);
        after_write(fd, torn);
        return n;
}

ssize_t write(int fd, const void *data, size_t size) {
        REAL(write);
        bool torn = false;
        if (!before_write(fd, &size, &torn))
                return -1;
        ssize_t n = real(fd, data, size);
        after_write(fd, torn);
        return n;
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
        REAL(pread64);
        if (is_armed() && is_ours(fd) && (errno = disk_error(DISK_READ_EIO)))
                return -1;
        return real(fd, data, size, at);
}

static bool before_sync(int fd) {
        atomic_fetch_add_explicit(&control->n_syncs, 1, memory_order_relaxed);
        if (!is_armed() || !is_ours(fd))
                return true;
        pass(POINT_BEFORE_SYNC);
        errno = disk_error(DISK_SYNC_EIO);
        return !errno;
}

static void after_sync(int fd) {
        if (is_armed() && is_ours(fd))
                pass(POINT_AFTER_SYNC);
}

int fdatasync(int fd) {
        REAL(fdatasync);
        if (!before_sync(fd))
                return -1;
        int r = real(fd);
        after_sync(fd);
        return r;
}

int fsync(int fd) {
        REAL(fsync);
        if (!before_sync(fd))
                return -1;
        int r = real(fd);
        after_sync(fd);
        return r;
}

int rename(const char *from, const char *to) {
        REAL(rename);
        pass(POINT_RENAME);
        return real(from, to);
}

/* --- the network ------------------------------------------------------------------------------------- */

static bool before_send(size_t *size) {
        atomic_fetch_add_explicit(&control->n_sends, 1, memory_order_relaxed);
        pass(POINT_BEFORE_SEND);
        bool torn = comes_due(POINT_TORN_SEND);
        if (torn && size)
                *size /= 2;
        return torn;
}

static void after_send(bool torn) {
        if (torn)
                kill(getpid(), SIGKILL);
        pass(POINT_AFTER_SEND);
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
        REAL(send);
        bool torn = before_send(&size);
        ssize_t n = real(fd, data, size, flags);
        after_send(torn);
        return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        REAL(sendmsg);
        bool torn = before_send(NULL);
        struct msghdr first = *message; /* torn: its first part */
        if (torn && first.msg_iovlen > 1)
                first.msg_iovlen = 1;
        ssize_t n = real(fd, torn ? &first : message, flags);
        after_send(torn);
        return n;
}

/* --- time -------------------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *ret) {
        REAL(clock_gettime);
        int r = real(clock, ret);
        int64_t ms = control->clock_ms;
        if (r == 0 && clock == CLOCK_REALTIME && ms != 0) {
                int64_t ns = ret->tv_nsec + ms % 1000 * 1000000;
                ret->tv_sec += (time_t)(ms / 1000) + (ns < 0 ? -1 : ns >= 1000000000 ? 1 : 0);
                ret->tv_nsec = (long)((ns + 1000000000) % 1000000000);
        }
        return r;
}

/* --- memory ------------------------------------------------------------------------------------------ */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static bool is_refused(void) {
        if (control->malloc_after == 0 || atomic_fetch_sub(&control->malloc_after, 1) > 1)
                return false;
        atomic_fetch_add(&control->malloc_after, 1); /* stays at 1 while it refuses */
        if (atomic_fetch_sub(&control->malloc_times, 1) <= 0) {
                control->malloc_after = 0;
                return false;
        }
        atomic_fetch_add(&control->n_faults, 1);
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size) {
        return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        return is_refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
        return is_refused() ? NULL : __libc_realloc(old, size);
}
