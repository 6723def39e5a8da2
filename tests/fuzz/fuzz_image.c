/* Bytes as a compiled block: whatever attaches must be safe to read and to look things up in.
 * The seeds are real blocks; tests/unit/policy/write_blocks.c makes them anew when the layout changes. */
#include <stdint.h>
#include <stdlib.h>

#include "../unit/policy/exercise_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_header header;
    if (size >= sizeof header) {
        memcpy(&header, data, sizeof header);
        if (header.kind >= IMAGE_VIEW && header.kind <= IMAGE_DOCKER)
            exercise_block(data, size, header.kind);
    }
    return 0;
}
