/* Stands between a program and its files, by LD_PRELOAD.

   RECORD_ROOT, RECORD_LOG   what changes or flushes a file under the root is written to the log,
                             in the order in which it happened: tests/faults/powercut.py reads it.
   FAULT_CONTROL             a file of lines "KIND ERRNO TEXT"; a call of that kind on a path that
                             has the text in it fails with that errno. KIND: read write flush change.
                             Each call looks, so faults come and go while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, FLUSH, FLUSH_FOLDER, RENAME, LINK, UNLINK, MKDIR };

struct head { uint32_t op, path_len, data_len, unused; uint64_t inode, offset; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX];
static const char *control;

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("RECORD_ROOT"), *log = getenv("RECORD_LOG");
    control = getenv("FAULT_CONTROL");
    if (where) snprintf(root, sizeof root, "%s/", where);
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

#define REAL(name) ((__typeof__(&name))next_symbol(#name))
static void *next_symbol(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static void absolute(const char *given, char *path) {
    char here[PATH_MAX];
    if (given[0] == '/' || !getcwd(here, sizeof here)) snprintf(path, PATH_MAX, "%s", given);
    else snprintf(path, PATH_MAX, "%.2000s/%.2000s", here, given);
}

/* The path below the root, NULL for one that is elsewhere. */
static const char *below(const char *path) {
    size_t length = strlen(root);
    return log_fd >= 0 && length && !strncmp(path, root, length) ? path + length : NULL;
}

/* Where a wanted fault is found errno is set, and the call must fail. */
static int fails(const char *kind, const char *path) {
    if (!control || !path[0]) return 0;
    int kept = errno, fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { errno = kept; return 0; }
    char text[4096];
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    text[length < 0 ? 0 : length] = 0;
    char *rest = text, *line, name[16], part[1024];
    int number;
    while ((line = strsep(&rest, "\n")))
        if (sscanf(line, "%15s %d %1023s", name, &number, part) == 3 && !strcmp(name, kind) &&
            strstr(path, part)) {
            errno = number;
            return 1;
        }
    errno = kept;
    return 0;
}

static int fails_fd(const char *kind, int fd) {
    char path[PATH_MAX];
    return control && path_of(fd, path) && fails(kind, path);
}

static void record(uint32_t op, uint64_t inode, uint64_t offset, const char *path, const void *data,
                   size_t size) {
    struct head head = {op, path ? strlen(path) : 0, size, 0, inode, offset};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_len}, {(void *)data, size}};
    ssize_t written = syscall(SYS_writev, log_fd, parts, 3);
    if (written != (ssize_t)(sizeof head + head.path_len + size)) abort();
}

static void record_fd(uint32_t op, int fd, uint64_t offset, const void *data, size_t size) {
    char path[PATH_MAX];
    struct stat about;
    int kept = errno;
    const char *name = path_of(fd, path) ? below(path) : NULL;
    if (!name && log_fd >= 0 && op == FLUSH && strlen(path) + 1 == strlen(root) &&
        !strncmp(path, root, strlen(path)))
        name = "";
    if (name && !fstat(fd, &about)) {
        if (op == FLUSH && S_ISDIR(about.st_mode)) op = FLUSH_FOLDER;
        else if (!S_ISREG(about.st_mode)) op = 0;
        if (op) record(op, about.st_ino, offset, name, data, size);
    }
    errno = kept;
}

static int do_open(int folder, const char *given, int flags, mode_t mode) {
    char path[PATH_MAX];
    absolute(given, path);
    int changes = flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR);
    if (fails(changes ? "change" : "read", path)) return -1;
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, folder, given, flags | O_LARGEFILE, mode);
    if (fd >= 0 && flags & O_CREAT) record_fd(CREATE, fd, 0, NULL, 0);
    if (fd >= 0 && flags & O_TRUNC) record_fd(TRUNCATE, fd, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { \
    va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }

static ssize_t do_pwrite(int fd, const void *data, size_t size, off64_t offset) {
    if (fails_fd("write", fd)) return -1;
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0) record_fd(WRITE, fd, offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return do_pwrite(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return do_pwrite(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    if (fails_fd("write", fd)) return -1;
    if (log_fd < 0) return syscall(SYS_write, fd, data, size);
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0) record_fd(WRITE, fd, syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Nothing here is known to call these on a file that counts: a test must hear if that changes. */
static ssize_t unknown(int fd) {
    char path[PATH_MAX];
    if (path_of(fd, path) && below(path)) abort();
    return 0;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return unknown(fd) + REAL(pwritev)(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return unknown(fd) + REAL(pwritev64)(fd, parts, count, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return unknown(fd) + REAL(writev)(fd, parts, count);
}

ssize_t read(int fd, void *data, size_t size) {
    return fails_fd("read", fd) ? -1 : syscall(SYS_read, fd, data, size);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return fails_fd("read", fd) ? -1 : syscall(SYS_pread64, fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails_fd("read", fd) ? -1 : syscall(SYS_pread64, fd, data, size, at);
}

static int do_flush(int fd, int call) {
    if (fails_fd("flush", fd)) return -1;
    pthread_mutex_lock(&lock);
    int done = log_fd < 0 ? syscall(call, fd) : 0; /* what is replayed needs no real flush */
    if (!done) record_fd(FLUSH, fd, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return do_flush(fd, SYS_fsync); }
int fdatasync(int fd) { return do_flush(fd, SYS_fdatasync); }

static int do_truncate(int fd, off64_t size) {
    if (fails_fd("change", fd)) return -1;
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_ftruncate, fd, size);
    if (!done) record_fd(TRUNCATE, fd, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t size) { return do_truncate(fd, size); }
int ftruncate64(int fd, off64_t size) { return do_truncate(fd, size); }

/* Record a change of names that was made: the second path is the record's data. */
static int named(int done, uint32_t op, const char *path, const char *to) {
    int kept = errno;
    const char *first = below(path), *second = below(to);
    if (!done && first && second) record(op, 0, 0, first, second, strlen(second));
    errno = kept;
    return done;
}

#define CHANGE(call, op, given, to) \
    char path[PATH_MAX], second[PATH_MAX]; \
    absolute(given, path); \
    absolute(to, second); \
    if (fails("change", path)) return -1; \
    pthread_mutex_lock(&lock); \
    int done = named(call, op, path, second); \
    pthread_mutex_unlock(&lock); \
    return done;
int rename(const char *from, const char *to) {
    CHANGE(syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), RENAME, from, to)
}
int link(const char *from, const char *to) {
    CHANGE(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0), LINK, from, to)
}
int unlink(const char *given) {
    CHANGE(syscall(SYS_unlinkat, AT_FDCWD, given, 0), UNLINK, given, given)
}
int mkdir(const char *given, mode_t mode) {
    CHANGE(syscall(SYS_mkdirat, AT_FDCWD, given, mode), MKDIR, given, given)
}
