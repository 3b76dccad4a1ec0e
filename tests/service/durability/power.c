/* A disk that loses its power: loaded before libc, it keeps beside the directory POWER_DIR what of it would survive a
 * cut, in POWER_DISK:
 *
 *   N       what the file with inode N holds on the disk: what was written before its last fsync or fdatasync
 *   names   lines "N NAME": what the directory held when it was synced last, itself and not a file in it
 *
 * Files that are there at the start are on the disk. What survives of the rest is for the test to choose, which kills
 * the process and still has the files. Writes through mmap are not seen: SQLite makes them to its -shm files alone,
 * which it makes again after a crash. An image is never newer than its file, so a process that is killed amid a sync
 * leaves a mixture of old and new pages, as a disk does. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A file of the directory, or one that is known not to be in it. */
struct file {
    ino_t inode;
    int is_ours;
    int is_whole; /* all of it is dirty */
    size_t pages; /* how many the map holds */
    unsigned char *dirty;
    struct file *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files[1024];
static char directory[PATH_MAX], disk[PATH_MAX];
static dev_t device;

static void die(const char *what)
{
    perror(what);
    abort();
}

/* Where the image of a file is, open. */
static int image_of(ino_t inode)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%llu", disk, (unsigned long long)inode);
    int image = REAL(open)(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (image < 0)
        die(path);
    return image;
}

static void copy_range(int from, int image, off_t at, size_t length)
{
    char bytes[PAGE];
    while (length > 0) {
        ssize_t got = pread(from, bytes, length < PAGE ? length : PAGE, at);
        if (got <= 0)
            return;
        if (REAL(pwrite)(image, bytes, got, at) != got)
            die("image");
        at += got;
        length -= got;
    }
}

/* The file behind a descriptor; nothing when it is no regular file of the directory. Called with the lock. */
static struct file *file_of(int fd)
{
    struct stat about;
    if (!directory[0] || fstat(fd, &about) || !S_ISREG(about.st_mode) || about.st_dev != device)
        return NULL;
    struct file **slot = &files[about.st_ino % 1024];
    for (struct file *file = *slot; file; file = file->next)
        if (file->inode == about.st_ino)
            return file->is_ours ? file : NULL;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    size_t prefix = strlen(directory);
    struct file *file = calloc(1, sizeof *file);
    if (!file)
        die("memory");
    file->inode = about.st_ino;
    file->is_ours = !strncmp(path, directory, prefix) && path[prefix] == '/';
    file->next = *slot;
    *slot = file;
    return file->is_ours ? file : NULL;
}

/* Notes that a range was written. After the write: a sync that comes between has nothing to keep yet. */
static void written(int fd, off_t at, size_t length)
{
    int before = errno;
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file && length > 0 && !file->is_whole) {
        size_t last = (at + length - 1) / PAGE;
        if (last >= file->pages) {
            size_t pages = (last + 1) * 2;
            file->dirty = realloc(file->dirty, pages);
            if (!file->dirty)
                die("memory");
            memset(file->dirty + file->pages, 0, pages - file->pages);
            file->pages = pages;
        }
        memset(file->dirty + at / PAGE, 1, last - at / PAGE + 1);
    }
    pthread_mutex_unlock(&lock);
    errno = before;
}

static void cut(int fd)
{
    int before = errno;
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file)
        file->is_whole = 1;
    pthread_mutex_unlock(&lock);
    errno = before;
}

/* Writes down which names the directory has. */
static void keep_names(void)
{
    char fresh[PATH_MAX + 32], path[PATH_MAX + 32];
    snprintf(fresh, sizeof fresh, "%s/names.new", disk);
    snprintf(path, sizeof path, "%s/names", disk);
    int out = REAL(open)(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    DIR *listing = opendir(directory);
    if (out < 0 || !listing)
        die(fresh);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_type == DT_REG) {
            char line[512];
            int length = snprintf(line, sizeof line, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
            if (REAL(write)(out, line, length) != length)
                die(fresh);
        }
    closedir(listing);
    close(out);
    if (rename(fresh, path))
        die(path);
}

/* Brings the image of a file, or the names of the directory, up to date. */
static void keep(int fd)
{
    struct stat about;
    int before = errno;
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file && !fstat(fd, &about)) {
        /* One of its own: that of the caller may be for writing alone. */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int from = REAL(open)(link, O_RDONLY | O_CLOEXEC), image = image_of(file->inode);
        if (from < 0)
            die(link);
        if (file->is_whole)
            copy_range(from, image, 0, about.st_size);
        for (size_t page = 0; page < file->pages && !file->is_whole; page++)
            if (file->dirty[page])
                copy_range(from, image, (off_t)page * PAGE, PAGE);
        if (REAL(ftruncate)(image, about.st_size))
            die("image");
        memset(file->dirty, 0, file->pages);
        file->is_whole = 0;
        close(from);
        close(image);
    } else if (directory[0] && !fstat(fd, &about) && S_ISDIR(about.st_mode)) {
        struct stat ours;
        if (!stat(directory, &ours) && ours.st_ino == about.st_ino && ours.st_dev == about.st_dev)
            keep_names();
    }
    pthread_mutex_unlock(&lock);
    errno = before;
}

__attribute__((constructor)) static void begin(void)
{
    struct stat about;
    const char *of = getenv("POWER_DIR"), *on = getenv("POWER_DISK");
    if (!of || !on || !realpath(on, disk) || !realpath(of, directory) || stat(directory, &about)) {
        directory[0] = 0;
        return;
    }
    device = about.st_dev;
    DIR *listing = opendir(directory);
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (entry->d_type == DT_REG) {
            char path[PATH_MAX + 300];
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
            int from = REAL(open)(path, O_RDONLY | O_CLOEXEC), image = image_of(entry->d_ino);
            if (from < 0)
                die(path);
            copy_range(from, image, 0, SIZE_MAX);
            close(from);
            close(image);
        }
    if (listing)
        closedir(listing);
    keep_names();
}

static ssize_t wrote(int fd, off_t end, ssize_t count)
{
    if (count > 0)
        written(fd, end - count, count);
    return count;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    ssize_t done = REAL(write)(fd, bytes, count);
    return done > 0 ? wrote(fd, lseek(fd, 0, SEEK_CUR), done) : done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t done = REAL(writev)(fd, parts, count);
    return done > 0 ? wrote(fd, lseek(fd, 0, SEEK_CUR), done) : done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    ssize_t done = REAL(pwrite)(fd, bytes, count, at);
    return wrote(fd, at + done, done);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    ssize_t done = REAL(pwrite64)(fd, bytes, count, at);
    return wrote(fd, at + done, done);
}

int ftruncate(int fd, off_t length)
{
    int done = REAL(ftruncate)(fd, length);
    if (!done && directory[0])
        cut(fd);
    return done;
}

int ftruncate64(int fd, off64_t length)
{
    int done = REAL(ftruncate64)(fd, length);
    if (!done && directory[0])
        cut(fd);
    return done;
}

int fsync(int fd)
{
    int done = REAL(fsync)(fd);
    if (!done)
        keep(fd);
    return done;
}

int fdatasync(int fd)
{
    int done = REAL(fdatasync)(fd);
    if (!done)
        keep(fd);
    return done;
}

/* A file that is opened empty was cut. */
#define OPEN(name, call, ...)                                                                                          \
    va_list more;                                                                                                      \
    va_start(more, flags);                                                                                             \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                          \
    va_end(more);                                                                                                      \
    int fd = REAL(name) call;                                                                                          \
    if (fd >= 0 && (flags & O_TRUNC) && directory[0])                                                                  \
        cut(fd);                                                                                                       \
    return fd;

int open(const char *path, int flags, ...) { OPEN(open, (path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN(open64, (path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { OPEN(openat, (at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { OPEN(openat64, (at, path, flags, mode)) }
