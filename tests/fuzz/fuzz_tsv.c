/* Files of labelled rows, as every task reads them. */
#include <string.h>

#include "data/data.h"
#include "data/task.h"
#include "data/tsv.h"
#include "fuzz.h"

static void read_lines(const char *path) {
        struct tsv tsv;
        struct error err;
        if (tsv_open(&tsv, path, &err) < 0)
                return;
        int r;
        while ((r = tsv_next(&tsv, &err)) > 0) {
                fuzz_assert(tsv.n_columns <= TSV_MAX_COLUMNS);
                for (size_t i = 0; i < tsv.n_columns; i++)
                        fuzz_assert(tsv.columns[i].text >= tsv.text.data && tsv.columns[i].text + tsv.columns[i].len <= tsv.text.data + tsv.text.len);
                tsv_find(&tsv, "label");
                tsv_require(&tsv, 3, &err);
                if (tsv.n_columns > 0)
                        tsv_shown(&tsv.columns[0]);
        }
        tsv_close(&tsv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const names[] = {"mrpc", "qqp", "rte", "sst2", "cola", "qnli"};
        const char *path = fuzz_file(data, size);
        struct error err;
        read_lines(path);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct pairs pairs = {0};
                const struct task *task = task_find(names[i]);
                if (pairs_read(path, task, &pairs, &err) < 0)
                        continue;
                for (size_t k = 0; k < pairs.n; k++)
                        fuzz_assert(pairs.items[k].label >= 0 && pairs.items[k].label < task->n_labels);
                pairs_fini(&pairs);
        }
        return 0;
}
