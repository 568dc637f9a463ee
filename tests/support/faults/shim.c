/* A library to be preloaded (LD_PRELOAD) that stands between a process and its file system, on Linux.
 *
 * It sees what SQLite, numpy and Python alike ask of the C library for files below one folder, the root, and can
 *   - count these calls, by kind;
 *   - let the n-th one fail: EIO, ENOSPC, or a write of which only half is done, once or from then on;
 *   - kill the process (SIGKILL) in the place of the n-th one;
 *   - record every change with its data, in the order in which it happened, to a trace file;
 *   - skip the syncs, or lie about them (answer success, record nothing).
 *
 * The control functions at the end are called through ctypes, so that one process may import everything, fork, and
 * arm each child differently.
 *
 * Not seen: stores through a memory map, which SQLite makes only into its -shm file, a cache that a restart of the
 * machine empties; any other shared, writable map of a file below the root ends the process with a message. What
 * C's own buffered streams (fopen, fwrite) write stays inside the C library, where no preloaded library sees it:
 * fopen for writing below the root ends the process, too, and a test compares the replayed trace with the files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kinds of calls, as bits; the same numbers stand in shim.py. */
enum {
    WRITE = 1,
    SYNC = 2,
    RENAME = 4,
    UNLINK = 8,  /* also rmdir */
    TRUNCATE = 16,
    CREATE = 32, /* an open that makes the file, mkdir, link */
    OPEN = 64,   /* an open of an existing file for writing */
    CLOSE = 128, /* of a file that is open for writing */
    KINDS = 8
};

enum { OP_MARK, OP_CREATE, OP_MKDIR, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_RENAME, OP_UNLINK, OP_LINK };
enum { SYNC_REAL, SYNC_SKIP, SYNC_LIE };
enum { HALF = -1, KILL = -2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static int sync_mode;
static long calls[KINDS];
static unsigned armed_kinds;
static long armed_nth, armed_seen;
static int armed_verdict, armed_sticky;
static ino_t half_written;
static char fired[PATH_MAX + 64];

/* ---- which paths count ---------------------------------------------------------------------------------------- */

static int below_root(const char *path)
{
    return root_length && !strncmp(path, root, root_length) &&
           (path[root_length] == '/' || path[root_length] == 0);
}

/* The path of an open file; 1 if it lies below the root. */
static int of_descriptor(int fd, char *path)
{
    char link[64];
    if (!root_length || fd < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_MAX - 1);
    if (n <= 0)
        return 0;
    path[n] = 0;
    return below_root(path);
}

/* The absolute form of a name given to a call; 1 if it lies below the root. */
static int of_name(int folder, const char *name, char *path)
{
    char base[PATH_MAX];
    if (!root_length || !name)
        return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return below_root(path);
    }
    int saved = errno;
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0)
            return errno = saved, 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (n <= 0)
            return errno = saved, 0;
        base[n] = 0;
    }
    errno = saved;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
        return 0;
    return below_root(path);
}

static int writable(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static void unseen(const char *what, const char *path)
{
    fprintf(stderr, "shim: %s of %s: what it writes can't be seen from here\n", what, path);
    abort();
}

/* ---- verdicts: called with the lock held ----------------------------------------------------------------------- */

/* What a disk that has failed goes on to refuse. A full one still deletes, syncs and closes. */
static unsigned refused_from_then_on(void)
{
    return armed_verdict == EIO ? WRITE | SYNC | RENAME | UNLINK | TRUNCATE | CREATE | OPEN : WRITE | CREATE;
}

/* 0: let it through; HALF: write half; else the errno to fail with. */
static int judge(unsigned kind, const char *path, ino_t ino)
{
    calls[__builtin_ctz(kind)]++;
    if (fired[0]) {
        if (armed_sticky && (kind & refused_from_then_on()))
            return armed_verdict == HALF ? ENOSPC : armed_verdict;
        if (kind == WRITE && half_written && half_written == ino) {
            half_written = 0;
            return ENOSPC;
        }
        return 0;
    }
    if (!(kind & armed_kinds) || ++armed_seen != armed_nth)
        return 0;
    static const char *names[KINDS] = {"write", "sync", "rename", "unlink", "truncate", "create", "open", "close"};
    snprintf(fired, sizeof fired, "%s of %s", names[__builtin_ctz(kind)], path);
    if (armed_verdict == KILL)
        kill(getpid(), SIGKILL);
    if (armed_verdict == HALF)
        half_written = ino;
    return armed_verdict;
}

/* ---- the trace: called with the lock held ---------------------------------------------------------------------- */

struct record {
    uint32_t op, path_length, other_length, is_folder;
    uint64_t ino;
    int64_t offset;
    uint64_t length;
};

static void put(const void *data, size_t n)
{
    const char *at = data;
    while (n) {
        ssize_t done = syscall(SYS_write, trace, at, n);
        if (done <= 0) {
            fprintf(stderr, "shim: the trace could not be written\n");
            abort();
        }
        at += done;
        n -= (size_t)done;
    }
}

static void note(unsigned op, const char *path, const char *other, const struct stat *st, off_t offset,
                 const void *data, size_t length)
{
    if (trace < 0)
        return;
    int saved = errno;
    struct record r = {op, (uint32_t)strlen(path), other ? (uint32_t)strlen(other) : 0,
                       st && S_ISDIR(st->st_mode), st ? st->st_ino : 0, offset, data ? length : 0};
    put(&r, sizeof r);
    put(path, r.path_length);
    put(other ? other : "", r.other_length);
    if (data)
        put(data, length);
    errno = saved;
}

static int fail(int error)
{
    pthread_mutex_unlock(&lock);
    errno = error;
    return -1;
}

static ssize_t done(ssize_t result)
{
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

static int open_below(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    if (!(flags & O_CREAT || writable(flags)) || !of_name(folder, name, path))
        return (int)syscall(SYS_openat, folder, name, flags, mode);
    struct stat st;
    int saved = errno;
    pthread_mutex_lock(&lock);
    int there = !fstatat(AT_FDCWD, path, &st, 0);
    if (!there && !(flags & O_CREAT))
        return fail(ENOENT);
    errno = saved;
    int verdict = judge(there ? OPEN : CREATE, path, 0);
    if (verdict > 0)
        return fail(verdict);
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && !there && !fstat(fd, &st))
        note(OP_CREATE, path, NULL, &st, 0, NULL, 0);
    else if (fd >= 0 && flags & O_TRUNC)
        note(OP_TRUNCATE, path, NULL, &st, 0, NULL, 0);
    return (int)done(fd);
}

#define WITH_MODE(flags)                       \
    mode_t mode = 0;                           \
    if ((flags) & (O_CREAT | O_TMPFILE)) {     \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode = va_arg(rest, mode_t);           \
        va_end(rest);                          \
    }

int open(const char *name, int flags, ...)
{
    WITH_MODE(flags)
    return open_below(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
    WITH_MODE(flags)
    return open_below(AT_FDCWD, name, flags, mode);
}

int openat(int folder, const char *name, int flags, ...)
{
    WITH_MODE(flags)
    return open_below(folder, name, flags, mode);
}

int openat64(int folder, const char *name, int flags, ...)
{
    WITH_MODE(flags)
    return open_below(folder, name, flags, mode);
}

/* What programs compiled with _FORTIFY_SOURCE call. */
int __open_2(const char *name, int flags) { return open_below(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_below(AT_FDCWD, name, flags, 0); }
int __openat_2(int folder, const char *name, int flags) { return open_below(folder, name, flags, 0); }
int __openat64_2(int folder, const char *name, int flags) { return open_below(folder, name, flags, 0); }

int creat(const char *name, mode_t mode)
{
    return open_below(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *name, mode_t mode)
{
    return open_below(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
    char path[PATH_MAX];
    int saved = errno;
    int seen = of_descriptor(fd, path) && writable(fcntl(fd, F_GETFL));
    errno = saved;
    if (!seen)
        return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&lock);
    int verdict = judge(CLOSE, path, 0);
    /* As on Linux: closed, whatever it answers. */
    int result = (int)syscall(SYS_close, fd);
    if (verdict > 0)
        return fail(verdict);
    return (int)done(result);
}

/* ---- data ------------------------------------------------------------------------------------------------------ */

static ssize_t write_below(int fd, const void *data, size_t n, off_t offset, int positioned)
{
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;
    int seen = of_descriptor(fd, path) && !fstat(fd, &st) && S_ISREG(st.st_mode);
    errno = saved;
    if (!seen || !n)
        return positioned ? syscall(SYS_pwrite64, fd, data, n, offset) : syscall(SYS_write, fd, data, n);
    pthread_mutex_lock(&lock);
    int verdict = judge(WRITE, path, st.st_ino);
    if (verdict == HALF && n == 1)
        verdict = ENOSPC;
    if (verdict > 0)
        return fail(verdict);
    if (verdict == HALF)
        n /= 2;
    if (fcntl(fd, F_GETFL) & O_APPEND) {
        fstat(fd, &st);
        offset = st.st_size;
    } else if (!positioned)
        offset = lseek(fd, 0, SEEK_CUR);
    errno = saved;
    ssize_t wrote = positioned ? syscall(SYS_pwrite64, fd, data, n, offset) : syscall(SYS_write, fd, data, n);
    if (wrote > 0)
        note(OP_WRITE, path, NULL, &st, offset, data, (size_t)wrote);
    return done(wrote);
}

ssize_t write(int fd, const void *data, size_t n) { return write_below(fd, data, n, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return write_below(fd, data, n, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { return write_below(fd, data, n, at, 1); }

static ssize_t gather(int fd, const struct iovec *parts, int count, off_t offset, int positioned)
{
    char path[PATH_MAX];
    int saved = errno;
    int seen = of_descriptor(fd, path);
    errno = saved;
    if (!seen)
        return positioned ? syscall(SYS_pwritev, fd, parts, count, offset, (off_t)0)
                          : syscall(SYS_writev, fd, parts, count);
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += parts[i].iov_len;
    char *data = malloc(n + 1), *end = data;
    for (int i = 0; i < count; i++)
        end = mempcpy(end, parts[i].iov_base, parts[i].iov_len);
    ssize_t wrote = write_below(fd, data, n, offset, positioned);
    saved = errno;
    free(data);
    errno = saved;
    return wrote;
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return gather(fd, parts, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return gather(fd, parts, count, at, 1); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return gather(fd, parts, count, at, 1); }

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    (void)flags;
    return gather(fd, parts, count, at, at != -1);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags)
{
    (void)flags;
    return gather(fd, parts, count, at, at != -1);
}

/* Whoever copies in the kernel falls back to read and write. */
ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t n, unsigned flags)
{
    char path[PATH_MAX];
    if (of_descriptor(to, path)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_copy_file_range, from, in, to, out, n, flags);
}

ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
    char path[PATH_MAX];
    if (of_descriptor(to, path)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, at, n);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t n) { return sendfile(to, from, at, n); }

static int truncate_below(int fd, off_t size)
{
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;
    int seen = of_descriptor(fd, path) && !fstat(fd, &st);
    errno = saved;
    if (!seen)
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int verdict = judge(TRUNCATE, path, st.st_ino);
    if (verdict > 0)
        return fail(verdict);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (!result)
        note(OP_TRUNCATE, path, NULL, &st, size, NULL, 0);
    return (int)done(result);
}

int ftruncate(int fd, off_t size) { return truncate_below(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_below(fd, size); }

int truncate(const char *name, off_t size)
{
    int fd = open_below(AT_FDCWD, name, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int result = truncate_below(fd, size), saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
    return result;
}

int truncate64(const char *name, off64_t size) { return truncate(name, size); }

/* Only the size is recorded, as of a truncation that grows the file. */
int posix_fallocate(int fd, off_t offset, off_t length)
{
    struct stat st;
    if (fstat(fd, &st))
        return errno;
    if (offset + length <= st.st_size)
        return 0;
    return truncate_below(fd, offset + length) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    char path[PATH_MAX];
    if (!of_descriptor(fd, path))
        return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }

/* ---- durability ------------------------------------------------------------------------------------------------ */

static int sync_below(int fd, long number)
{
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;
    int seen = of_descriptor(fd, path) && !fstat(fd, &st);
    errno = saved;
    if (!seen)
        return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    int verdict = judge(SYNC, path, st.st_ino);
    if (verdict > 0)
        return fail(verdict);
    if (sync_mode == SYNC_LIE)
        return (int)done(0);
    int result = sync_mode == SYNC_SKIP ? 0 : (int)syscall(number, fd);
    if (!result)
        note(OP_SYNC, path, NULL, &st, 0, NULL, 0);
    return (int)done(result);
}

int fsync(int fd) { return sync_below(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_below(fd, SYS_fdatasync); }

/* ---- names ----------------------------------------------------------------------------------------------------- */

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    struct stat st;
    int seen = of_name(to, new, other);
    seen = of_name(from, old, path) || seen;
    if (!seen)
        return (int)syscall(SYS_renameat2, from, old, to, new, flags);
    pthread_mutex_lock(&lock);
    int verdict = judge(RENAME, other, 0);
    if (verdict > 0)
        return fail(verdict);
    int result = (int)syscall(SYS_renameat2, from, old, to, new, flags);
    if (!result && !fstatat(AT_FDCWD, other, &st, AT_SYMLINK_NOFOLLOW))
        note(OP_RENAME, path, other, &st, 0, NULL, 0);
    return (int)done(result);
}

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_MAX];
    struct stat st;
    if (!of_name(folder, name, path))
        return (int)syscall(SYS_unlinkat, folder, name, flags);
    pthread_mutex_lock(&lock);
    if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW))
        return fail(errno);
    int verdict = judge(UNLINK, path, 0);
    if (verdict > 0)
        return fail(verdict);
    int result = (int)syscall(SYS_unlinkat, folder, name, flags);
    if (!result)
        note(OP_UNLINK, path, NULL, &st, 0, NULL, 0);
    return (int)done(result);
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int remove(const char *name)
{
    struct stat st;
    int folder = !fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
    return unlinkat(AT_FDCWD, name, folder ? AT_REMOVEDIR : 0);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    struct stat st;
    if (!of_name(folder, name, path))
        return (int)syscall(SYS_mkdirat, folder, name, mode);
    pthread_mutex_lock(&lock);
    if (!fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW))
        return fail(EEXIST);
    int verdict = judge(CREATE, path, 0);
    if (verdict > 0)
        return fail(verdict);
    int result = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (!result && !fstatat(AT_FDCWD, path, &st, 0))
        note(OP_MKDIR, path, NULL, &st, 0, NULL, 0);
    return (int)done(result);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    struct stat st;
    int seen = of_name(to, new, other);
    seen = of_name(from, old, path) && seen;
    if (!seen)
        return (int)syscall(SYS_linkat, from, old, to, new, flags);
    pthread_mutex_lock(&lock);
    int verdict = judge(CREATE, other, 0);
    if (verdict > 0)
        return fail(verdict);
    int result = (int)syscall(SYS_linkat, from, old, to, new, flags);
    if (!result && !fstatat(AT_FDCWD, other, &st, AT_SYMLINK_NOFOLLOW))
        note(OP_LINK, path, other, &st, 0, NULL, 0);
    return (int)done(result);
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

/* ---- ways to write that stay unseen ---------------------------------------------------------------------------- */

static FILE *stream(const char *which, const char *name, const char *mode)
{
    char path[PATH_MAX];
    if (strpbrk(mode, "wa+") && of_name(AT_FDCWD, name, path))
        unseen("fopen", path);
    FILE *(*next)(const char *, const char *) = (FILE *(*)(const char *, const char *))dlsym(RTLD_NEXT, which);
    return next(name, mode);
}

FILE *fopen(const char *name, const char *mode) { return stream("fopen", name, mode); }
FILE *fopen64(const char *name, const char *mode) { return stream("fopen64", name, mode); }

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    char path[PATH_MAX];
    int saved = errno;
    if (fd >= 0 && protection & PROT_WRITE && flags & MAP_SHARED && of_descriptor(fd, path)) {
        size_t length = strlen(path);
        if (length < 4 || strcmp(path + length - 4, "-shm"))
            unseen("a shared map", path);
    }
    errno = saved;
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t n, int protection, int flags, int fd, off64_t offset)
{
    return mmap(address, n, protection, flags, fd, offset);
}

/* ---- control --------------------------------------------------------------------------------------------------- */

/* From now on calls for files below this absolute path count; the counters begin at 0. */
void shim_root(const char *path)
{
    pthread_mutex_lock(&lock);
    snprintf(root, sizeof root, "%s", path);
    root_length = strlen(root);
    memset(calls, 0, sizeof calls);
    pthread_mutex_unlock(&lock);
}

/* Let the nth of the calls of these kinds fail: with an errno, HALF, or KILL. */
void shim_arm(unsigned kinds, long nth, int verdict, int sticky)
{
    pthread_mutex_lock(&lock);
    armed_kinds = kinds;
    armed_nth = nth;
    armed_seen = 0;
    armed_verdict = verdict;
    armed_sticky = sticky;
    half_written = 0;
    fired[0] = 0;
    pthread_mutex_unlock(&lock);
}

/* What failed, or "". */
const char *shim_fired(void) { return fired; }

/* How many calls of these kinds there were. */
long shim_calls(unsigned kinds)
{
    long n = 0;
    for (int i = 0; i < KINDS; i++)
        n += kinds >> i & 1 ? calls[i] : 0;
    return n;
}

void shim_sync(int mode) { sync_mode = mode; }

/* Record from now on, at the end of a file; at its beginning the root must be empty. 0 if it can't be made. */
int shim_trace(const char *path)
{
    trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666);
    return trace >= 0;
}

/* Put a remark into the trace. */
void shim_mark(const char *text)
{
    pthread_mutex_lock(&lock);
    note(OP_MARK, text, NULL, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}
