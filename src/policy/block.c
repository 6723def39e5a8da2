/* Laying out a block: header, then the sections in the order of their numbers, aligned, gaps zeroed so that equal input gives equal bytes. */
#include "policy/block.h"

#include <errno.h>

void block_init(struct block *block, enum image_kind kind)
{
    block->kind = kind;
    for (unsigned id = 0; id < IMAGE_SECTION_COUNT; id++)
        buf_init(&block->sections[id], BLOCK_SIZE_MAX);
}

void block_deinit(struct block *block)
{
    for (unsigned id = 0; id < IMAGE_SECTION_COUNT; id++)
        buf_deinit(&block->sections[id]);
}

uint32_t block_count(const struct block *block, enum image_section_id id)
{
    return (uint32_t)(block->sections[id].len / image_section_stride(id));
}

uint32_t block_add(struct block *block, enum image_section_id id, const void *element)
{
    uint32_t index = block_count(block, id);
    buf_append(&block->sections[id], str_make(element, image_section_stride(id)));
    return index;
}

void *block_add_zeroed(struct block *block, enum image_section_id id, size_t n)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, image_section_stride(id), &bytes))
        bytes = SIZE_MAX;
    char *p = buf_reserve(&block->sections[id], bytes);
    if (!p)
        return NULL;
    memset(p, 0, bytes);
    block->sections[id].len += bytes;
    return p;
}

struct image_text block_text(struct block *block, struct str text)
{
    struct image_text ret = { (uint32_t)block->sections[IMAGE_STRINGS].len, (uint32_t)text.len };
    buf_append(&block->sections[IMAGE_STRINGS], text);
    return ret;
}

struct image_text block_printf(struct block *block, const char *format, ...)
{
    struct buf *strings = &block->sections[IMAGE_STRINGS];
    size_t start = strings->len;
    va_list args;
    va_start(args, format);
    buf_vprintf(strings, format, args);
    va_end(args);
    return (struct image_text){ (uint32_t)start, (uint32_t)(strings->len - start) };
}

struct str block_str(const struct block *block, struct image_text text)
{
    if (block->sections[IMAGE_STRINGS].error) /* what was to be there is not */
        return STR_NONE;
    return str_make(block->sections[IMAGE_STRINGS].ptr + text.offset, text.length);
}

static size_t align(size_t n)
{
    return (n + IMAGE_ALIGN - 1) & ~(size_t)(IMAGE_ALIGN - 1);
}

int block_finish(const struct block *block, uint64_t generation, struct str revision, struct compile_block *ret)
{
    struct image_header header = {
        .magic = IMAGE_MAGIC, .version = IMAGE_VERSION, .kind = block->kind, .generation = generation,
    };
    size_t size = sizeof header;
    str_copy(header.revision, sizeof header.revision, revision);
    for (unsigned id = 0; id < IMAGE_SECTION_COUNT; id++) {
        if (block->sections[id].error)
            return block->sections[id].error;
        if (!image_section_belongs(block->kind, id))
            continue;
        size = align(size);
        header.sections[id] = (struct image_section){ .offset = size, .count = block_count(block, id), .stride = image_section_stride(id) };
        size += block->sections[id].len;
    }
    size = align(size);
    if (size > BLOCK_SIZE_MAX)
        return -E2BIG;
    header.size = size;
    char *data = aligned_alloc(IMAGE_ALIGN, size);
    if (!data)
        return -ENOMEM;
    memset(data, 0, size);
    memcpy(data, &header, sizeof header);
    for (unsigned id = 0; id < IMAGE_SECTION_COUNT; id++)
        if (block->sections[id].len)
            memcpy(data + header.sections[id].offset, block->sections[id].ptr, block->sections[id].len);
    *ret = (struct compile_block){ data, size };
    return 0;
}
