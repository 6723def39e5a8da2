/* Replays every file of the folders it is given through a fuzz target: crashes found once are tested for ever. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1); /* exact, so that a sanitizer sees one byte too far */
    size_t n = data ? fread(data, 1, (size_t)size, f) : 0;
    fclose(f);
    if (data)
        LLVMFuzzerTestOneInput(data, n);
    free(data);
    return data ? 0 : 1;
}

int main(int argc, char **argv)
{
    unsigned n_files = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(folder));) {
            if (e->d_name[0] == '.')
                continue;
            failed |= replay_file(argv[i], e->d_name);
            n_files++;
        }
        closedir(folder);
    }
    printf("%u inputs\n", n_files);
    return failed || n_files == 0;
}
