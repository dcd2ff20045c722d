/* make_demo OUTDIR: writes the demo's model and data (OUTDIR/model, OUTDIR/data). Runs once, while the project is built.
 * Everything is drawn from fixed seeds: the same bytes on every machine, so that fingerprints agree between workers. */
#include <stdio.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "demo/corpus.h"
#include "demo/encoder.h"

enum { N_TRAIN = 640, N_DEV = 200 };
#define SEED 20240531

static int make_model(const char *out, struct error *err) {
        _cleanup_free_ char *folder = fs_join(out, "model");
        int r = folder ? fs_make_dirs(folder, 0755, err) : -ENOMEM;
        return r ? r : encoder_write(folder, SEED, err);
}

static int make_data(const char *out, struct error *err) {
        _cleanup_free_ char *folder = fs_join(out, "data"), *train = NULL, *dev = NULL;
        int r = folder ? fs_make_dirs(folder, 0755, err) : -ENOMEM;
        if (r)
                return r;
        train = fs_join(folder, "train.tsv");
        dev = fs_join(folder, "dev.tsv");
        if (!train || !dev)
                return -ENOMEM;
        r = corpus_write(train, N_TRAIN, SEED, 1, err);
        return r ? r : corpus_write(dev, N_DEV, SEED, 2, err);
}

int main(int argc, char **argv) {
        if (argc != 2) {
                fprintf(stderr, "usage: make_demo OUTDIR\n");
                return 2;
        }
        struct error err = {.text = "out of memory"};
        int r = make_model(argv[1], &err);
        r = r ? r : make_data(argv[1], &err);
        if (r)
                fprintf(stderr, "make_demo: %s\n", err.text);
        return r ? 1 : 0;
}
