/* What the columns of a task's files mean: the GLUE tasks that need nothing but another column, and files of one's own. */
#pragma once
#include <stdbool.h>

#define TASK_MAX_LABELS 64

struct task {
        const char *name;
        const char *text_a, *text_b, *label; /* of the header's columns; text_b NULL: single sentences */
        bool has_header;                     /* false: the three below say where */
        int text_a_column, label_column;
        bool skips_short_lines; /* some of QQP's lines are cut off; every reader of it leaves them out */
        const char *labels[TASK_MAX_LABELS]; /* a label's number is its place */
        int n_labels;
        bool reports_mcc; /* Matthews' correlation: what GLUE scores CoLA by */
};

/* mrpc, qqp, rte, sst2, cola, qnli; NULL: none of these. */
const struct task *task_find(const char *name);
