/* A disk that fails: loaded before libc, it stands in front of the calls that read, write and sync.
 *
 * The file that DISK_FAULTS names holds lines "CALL ERRNO NAME": while it does, calls of that kind
 * ("read", "write" or "sync") on files whose path contains NAME fail with ERRNO. With ERRNO 0 they wait until
 * the line is gone, and a file "FAULTS.held" says that one waits. Without the file nothing changes.
 *
 * To the file that DISK_CALLS names, when it is set, a line is added for each "cut PATH" and "sync PATH". */
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

static void path_of(int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

/* Adds a call that was made to the list of calls. */
static int noted(const char *call, int fd, int result)
{
    const char *calls = getenv("DISK_CALLS");
    char path[PATH_MAX];
    int before = errno;
    FILE *file = calls ? fopen(calls, "ae") : NULL;
    if (file) {
        path_of(fd, path);
        fprintf(file, "%s %s\n", call, path);
        fclose(file);
    }
    errno = before;
    return result;
}

/* What to do with this call: -1 lets it through, 0 holds it, anything else is its errno. */
static int fault(const char *call, int fd)
{
    const char *faults = getenv("DISK_FAULTS");
    FILE *file = faults ? fopen(faults, "re") : NULL;
    char path[PATH_MAX], kind[16], name[256];
    int number, found = -1;
    if (!file)
        return -1;
    path_of(fd, path);
    while (found < 0 && fscanf(file, "%15s %d %255s", kind, &number, name) == 3)
        if (!strcmp(kind, call) && strstr(path, name))
            found = number;
    fclose(file);
    return found;
}

static int fails(const char *call, int fd)
{
    int found, before = errno;
    while ((found = fault(call, fd)) == 0) {
        char held[PATH_MAX];
        snprintf(held, sizeof held, "%s.held", getenv("DISK_FAULTS"));
        close(open(held, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        usleep(1000);
    }
    errno = found < 0 ? before : found;
    return found > 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int fd, void *bytes, size_t count, off_t at)
{
    return fails("read", fd) ? -1 : REAL(pread)(fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at)
{
    return fails("read", fd) ? -1 : REAL(pread64)(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    return fails("write", fd) ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}

int ftruncate(int fd, off_t length)
{
    return fails("write", fd) ? -1 : noted("cut", fd, REAL(ftruncate)(fd, length));
}

int ftruncate64(int fd, off64_t length)
{
    return fails("write", fd) ? -1 : noted("cut", fd, REAL(ftruncate64)(fd, length));
}

int fsync(int fd)
{
    return fails("sync", fd) ? -1 : noted("sync", fd, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : noted("sync", fd, REAL(fdatasync)(fd));
}
