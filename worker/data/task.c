/* Columns and labels are those of the files that gluebenchmark.com serves, in the order in which Hugging Face's `glue` data
 * sets number the labels (datasets, glue.py). */
#include "data/task.h"

#include <stddef.h>
#include <string.h>

static const struct task tasks[] = {
        {.name = "mrpc", .text_a = "#1 String", .text_b = "#2 String", .label = "Quality", .has_header = true, .labels = {"0", "1"}, .n_labels = 2},
        {.name = "qqp",
         .text_a = "question1",
         .text_b = "question2",
         .label = "is_duplicate",
         .has_header = true,
         .skips_short_lines = true,
         .labels = {"0", "1"},
         .n_labels = 2},
        {.name = "rte",
         .text_a = "sentence1",
         .text_b = "sentence2",
         .label = "label",
         .has_header = true,
         .labels = {"entailment", "not_entailment"},
         .n_labels = 2},
        {.name = "sst2", .text_a = "sentence", .label = "label", .has_header = true, .labels = {"0", "1"}, .n_labels = 2},
        {.name = "cola", .text_a = "sentence", .label = "label", .text_a_column = 3, .label_column = 1, .labels = {"0", "1"}, .n_labels = 2, .reports_mcc = true},
        {.name = "qnli",
         .text_a = "question",
         .text_b = "sentence",
         .label = "label",
         .has_header = true,
         .labels = {"entailment", "not_entailment"},
         .n_labels = 2},
};

const struct task *task_find(const char *name) {
        for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
                if (strcmp(tasks[i].name, name) == 0)
                        return &tasks[i];
        return NULL;
}
