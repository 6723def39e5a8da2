/* The compiled declaration as the parent holds it: sealed blocks that it hands on, of which it reads the plan alone. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/parent.h"
#include "roles/role.h"

enum { SOURCE_SIZE_MAX = (16 << 20) + 1 }; /* one byte more than is accepted, so that the compiler can say that it is too much */

static const struct parent_block no_block = { -1, 0 };

struct generation *generation_new(uint64_t number)
{
    struct generation *generation = calloc(1, sizeof *generation);
    if (!generation)
        return NULL;
    generation->number = number;
    generation->plan = generation->dial = generation->keys = generation->docker = generation->source = no_block;
    for (size_t i = 0; i < IMAGE_VIEWS_MAX; i++)
        generation->views[i] = no_block;
    return generation;
}

static void close_block(struct parent_block *block)
{
    if (block->fd >= 0)
        close(TAKE_FD(block->fd));
}

struct generation *generation_free(struct generation *generation)
{
    if (!generation)
        return NULL;
    role_detach_image(generation->plan_image);
    close_block(&generation->plan);
    close_block(&generation->dial);
    close_block(&generation->keys);
    close_block(&generation->docker);
    close_block(&generation->source);
    for (size_t i = 0; i < IMAGE_VIEWS_MAX; i++)
        close_block(&generation->views[i]);
    free(generation);
    return NULL;
}

int generation_add_block(struct generation *generation, const struct ipc_block *block, int fd)
{
    struct parent_block *place = NULL;
    switch ((enum image_kind)block->kind) {
    case IMAGE_PLAN:
        place = &generation->plan;
        break;
    case IMAGE_DIAL:
        place = &generation->dial;
        break;
    case IMAGE_KEYS:
        place = &generation->keys;
        break;
    case IMAGE_DOCKER:
        place = &generation->docker;
        break;
    case IMAGE_VIEW:
        place = block->surface < IMAGE_VIEWS_MAX ? &generation->views[block->surface] : NULL;
        break;
    }
    if (!place || place->fd >= 0) {
        close(fd);
        return -EBADMSG;
    }
    *place = (struct parent_block){ fd, block->size };
    return 0;
}

/* Who enforces a block must be the only judge of it: nobody may be able to change it under their eyes. */
static bool is_sealed(const struct parent_block *block)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    return block->fd >= 0 && (fcntl(block->fd, F_GET_SEALS) & wanted) == wanted;
}

int generation_complete(struct generation *generation, struct error *err)
{
    if (!is_sealed(&generation->plan) || !is_sealed(&generation->dial) || !is_sealed(&generation->keys) ||
        (generation->docker.fd >= 0 && !is_sealed(&generation->docker))) {
        error_set(err, "the compiler left a block out");
        return -EINVAL;
    }
    struct image plan;
    int r = role_attach_image(generation->plan.fd, generation->plan.size, IMAGE_PLAN, &plan, err);
    if (r < 0) {
        error_wrap(err, "the compiler's plan");
        return r;
    }
    for (uint32_t i = 0; i < image_count(plan, IMAGE_LISTENERS); i++) {
        uint32_t surface = image_listener(plan, i)->surface;
        if (surface >= IMAGE_VIEWS_MAX || !is_sealed(&generation->views[surface])) {
            role_detach_image(plan);
            error_set(err, "the compiler left a surface's view out");
            return -EINVAL;
        }
    }
    generation->plan_image = plan;
    memcpy(generation->revision, plan.header->revision, sizeof generation->revision);
    return 0;
}

const struct image_surface *generation_surface(const struct generation *generation, uint32_t surface)
{
    if (surface >= IMAGE_SURFACES_MAX || generation->views[surface].fd < 0)
        return NULL;
    for (uint32_t i = 0; i < image_count(generation->plan_image, IMAGE_SURFACES); i++)
        if (image_surface(generation->plan_image, i)->index == surface)
            return image_surface(generation->plan_image, i);
    return NULL;
}

static int copy_sealed(int from, struct parent_block *ret)
{
    cleanup_close int fd = memfd_create("postern-source", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    uint64_t size = 0;
    while (size < SOURCE_SIZE_MAX) {
        ssize_t n = sendfile(fd, from, NULL, SOURCE_SIZE_MAX - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += (uint64_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    *ret = (struct parent_block){ TAKE_FD(fd), size };
    return 0;
}

int generation_read_source(const char *path, struct parent_block *ret, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO of that name must not hold up the parent. */
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0 && !S_ISREG(st.st_mode)) {
        error_set(err, "%s: not a regular file", path);
        return -EINVAL;
    }
    if (r == 0)
        r = copy_sealed(fd, ret);
    if (r < 0)
        error_set(err, "%s: %s", path, strerror(-r));
    return r;
}

/* In pieces: sendfile gives up to 2 GB at once, and may give less. */
static int copy_source(const struct parent_block *source, int to)
{
    off_t at = 0;
    while ((uint64_t)at < source->size) {
        ssize_t n = sendfile(to, source->fd, &at, source->size - (uint64_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
    }
    return 0;
}

static int replace_source(const struct parent_block *source, const char *state_directory)
{
    cleanup_close int directory = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    cleanup_close int fd = openat(directory, "applied.yml.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : copy_source(source, fd);
    if (r == 0 && renameat(directory, "applied.yml.new", directory, "applied.yml") < 0)
        r = -errno;
    return r;
}

void generation_keep_source(const struct generation *generation, const char *state_directory)
{
    int r = generation->source.fd >= 0 ? replace_source(&generation->source, state_directory) : 0;
    if (r < 0)
        log_warning("%s/applied.yml, which 'postern plan' compares with, could not be written: %s", state_directory, strerror(-r));
}
