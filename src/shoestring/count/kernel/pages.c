/* Memory in large pages, so that reads all over it miss the TLB less often. */
#define _DEFAULT_SOURCE /* madvise */
#include "kernel.h"

#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

void use_huge_pages(void *memory, size_t bytes) {
#if defined(__linux__)
    uintptr_t first = ((uintptr_t)memory + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uintptr_t last = ((uintptr_t)memory + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (first < last)
        madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

void *calloc_huge(size_t count, size_t size) {
    void *memory = calloc(count, size); /* what is as large as a page comes from the system, untouched */
    if (memory)
        use_huge_pages(memory, count * size);
    return memory;
}
