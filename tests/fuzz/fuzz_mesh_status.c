/* What a mesh's client says, from anywhere: it reads or is refused with a sentence, this machine first, and each machine has an address. */
#include <errno.h>
#include <stdlib.h>

#include "base/address.h"
#include "observe/mesh.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct observe_mesh mesh;
    struct error err = { "" };
    int r = observe_mesh_read(str_make((const char *)data, size), &mesh, &err);
    if (r == -EINVAL && !err.text[0])
        abort();
    for (uint32_t i = 0; r == 0 && i < mesh.n_nodes; i++) {
        struct address address;
        if (mesh.nodes[i].n_addresses == 0 || !address_parse(mesh.nodes[i].addresses[0], &address) || (i > 0 && mesh.nodes[i].is_self))
            abort();
    }
    observe_mesh_deinit(&mesh);
    return 0;
}
