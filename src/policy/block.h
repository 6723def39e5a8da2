/* Building one block of image.h: sections grow in any order, then are laid out in one allocation. */
#pragma once

#include "base/buf.h"
#include "policy/compile.h"
#include "policy/image.h"

struct block {
    enum image_kind kind;
    struct buf sections[IMAGE_SECTION_COUNT]; /* the first error of any sticks in it, and block_finish reports it */
};

enum { BLOCK_SIZE_MAX = 1 << 30 };

void block_init(struct block *block, enum image_kind kind);
void block_deinit(struct block *block);
#define cleanup_block cleanup(block_deinit)

/* Appends one element (of the section's stride) and returns its index. */
uint32_t block_add(struct block *block, enum image_section_id id, const void *element);
/* Appends n zeroed elements; NULL when out of memory. The pointer is good until the section grows again. */
void *block_add_zeroed(struct block *block, enum image_section_id id, size_t n) must_check;
uint32_t block_count(const struct block *block, enum image_section_id id);
/* Copies the text into the strings. */
struct image_text block_text(struct block *block, struct str text);
struct image_text block_printf(struct block *block, const char *format, ...) printf_like(2, 3);
/* What a text of this block says, until the strings grow again. */
struct str block_str(const struct block *block, struct image_text text);
/* 0, -ENOMEM, or -E2BIG past BLOCK_SIZE_MAX. *ret is the caller's. */
int block_finish(const struct block *block, uint64_t generation, struct str revision, struct compile_block *ret) must_check;
