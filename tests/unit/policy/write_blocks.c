/* Writes real blocks of a small declaration into a folder, as seeds for fuzzing: write_blocks tests/corpus/image */
#include <stdio.h>

#include "world.h"

static bool write_block(const char *folder, const char *name, struct compile_block block)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/valid-%s", folder, name);
    FILE *f = fopen(path, "wbe");
    bool ok = f && fwrite(block.data, 1, block.size, f) == block.size;
    if (f && fclose(f) != 0)
        ok = false;
    if (!ok)
        perror(path);
    return ok;
}

int main(int argc, char **argv)
{
    struct world w;
    struct compile_output out;
    if (argc != 2) {
        fputs("usage: write_blocks FOLDER\n", stderr);
        return 2;
    }
    world_homelab(&w);
    w.model.segments[2].addresses = world_prefixes(&w, "100.64.8.0/24,fd7a:115c:a1e0:8::/64");
    w.model.services[1].names = world_texts(&w, "images.example.org");
    world_compile(&w, "roc", &out);
    bool ok = write_block(argv[1], "main-view", out.views[0]) && write_block(argv[1], "agents-view", out.views[1]) &&
              write_block(argv[1], "dial", out.dial) && write_block(argv[1], "plan", out.plan) && write_block(argv[1], "keys", out.keys) &&
              write_block(argv[1], "docker", out.docker);
    compile_output_deinit(&out);
    struct error err = { "" };
    struct compile_input lab = { .model = &w.model, .gateway = 0, .generation = 1, .revision = STR("feed"), .container_directory = STR("/run/lab") };
    if (!ok || compile_model(&lab, &out, &err) != 0)
        return 1;
    ok = write_block(argv[1], "dial-of-namespaces", out.dial);
    compile_output_deinit(&out);
    world_deinit(&w);
    return ok ? 0 : 1;
}
