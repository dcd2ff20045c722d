/* Runs a fuzz target over files and folders of them: replay PATH…. A finding ends the process. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_BYTES_MAX (16u << 20)

static unsigned n_inputs;

static void run_file(const char *path) {
        FILE *file = fopen(path, "rb");
        uint8_t *data = malloc(INPUT_BYTES_MAX);
        fuzz_assert(file && data);
        size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
        fclose(file);
        uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees reading past the end */
        fuzz_assert(exact);
        memcpy(exact, data, size);
        free(data);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        n_inputs++;
}

static void run_path(const char *path) {
        struct stat st;
        if (stat(path, &st) < 0) {
                fprintf(stderr, "no such file: %s\n", path);
                exit(2);
        }
        if (!S_ISDIR(st.st_mode)) {
                run_file(path);
                return;
        }
        DIR *folder = opendir(path);
        fuzz_assert(folder);
        for (struct dirent *entry; (entry = readdir(folder));) {
                char below[4096];
                if (entry->d_name[0] == '.')
                        continue;
                snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
                run_path(below);
        }
        closedir(folder);
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++)
                run_path(argv[i]);
        LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
        printf("%u inputs\n", n_inputs);
        return n_inputs > 0 ? 0 : 1;
}
