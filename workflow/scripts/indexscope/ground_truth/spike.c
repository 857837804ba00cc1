/* Memory of known size: map it, touch every page, hold it, give it back, all within one call. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

enum kind { ANONYMOUS, UNTOUCHED, SHARED, OF_FILE };

static pthread_barrier_t together;

static void hold(double seconds)
{
    struct timespec left;
    left.tv_sec = (time_t)seconds;
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        ;
}

/* How many calls of spike_together must have touched their pages before any of them goes on; 0, or an error. */
int gather(unsigned threads)
{
    return pthread_barrier_init(&together, NULL, threads);
}

static int make(size_t bytes, double seconds, int huge_pages, int kind, int file, int wait)
{
    size_t page = 4096, offset;
    int flags = kind == OF_FILE ? MAP_SHARED : kind == SHARED ? MAP_SHARED | MAP_ANONYMOUS
                                                              : MAP_PRIVATE | MAP_ANONYMOUS;
    int access = kind == OF_FILE ? PROT_READ : PROT_READ | PROT_WRITE;
    volatile char *memory = mmap(NULL, bytes, access, flags, kind == OF_FILE ? file : -1, 0);
    if (memory == MAP_FAILED)
        return errno;
    /* Refused where the kernel has no huge pages: then all pages are small, which is what one of the two asks. */
    madvise((void *)memory, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    if (kind == OF_FILE)
        for (offset = 0; offset < bytes; offset += page)
            (void)memory[offset];
    else if (kind != UNTOUCHED)
        for (offset = 0; offset < bytes; offset += page)
            memory[offset] = 1;
    if (wait)
        pthread_barrier_wait(&together);
    hold(seconds);
    munmap((void *)memory, bytes);
    return 0;
}

/* 0, or the error that mmap gave. */
int spike(size_t bytes, double seconds, int huge_pages, int kind, int file)
{
    return make(bytes, seconds, huge_pages, kind, file, 0);
}

int spike_together(size_t bytes, double seconds)
{
    return make(bytes, seconds, 0, ANONYMOUS, -1, 1);
}
