/* Sealed blocks of memory from another process: checked to be unchangeable and of the right size, then mapped. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "roles/role.h"

int role_map_block(int fd, uint64_t size, const void **ret_data)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return -errno;
    if ((seals & wanted) != wanted)
        return -EPERM;
    /* lseek, not fstat: glibc's fstat is newfstatat, which takes a path and so has no place in a worker's filter. */
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return -errno;
    if (size == 0 || (uint64_t)end != size)
        return -EINVAL;
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return -errno;
    *ret_data = data;
    return 0;
}

void role_unmap_block(const void *data, uint64_t size)
{
    if (data)
        munmap((void *)(uintptr_t)data, size);
}

int role_attach_image(int fd, uint64_t size, enum image_kind kind, struct image *ret, struct error *err)
{
    const void *data = NULL;
    int r = role_map_block(fd, size, &data);
    if (r < 0) {
        error_set(err, "mapping the image: %s", r == -EPERM ? "it isn't sealed" : strerror(-r));
        return r;
    }
    r = image_attach(data, size, kind, ret, err);
    if (r < 0)
        role_unmap_block(data, size);
    return r;
}

void role_detach_image(struct image image)
{
    if (image.header)
        role_unmap_block(image.header, image.header->size);
}

int role_map_metrics(int fd, struct metrics_page **ret)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return -errno;
    if (!(seals & F_SEAL_SHRINK))
        return -EPERM;
    void *page = mmap(NULL, METRICS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    *ret = page;
    return 0;
}
