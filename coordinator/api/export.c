/* GET /v1/sweeps/{id}/export: every trial, as JSON, JSON lines, or CSV (RFC 4180) with a column per parameter.
 * GET /v1/sweeps/{id}/report: what was found, for people. */
#include <string.h>

#include "api/core.h"
#include "study/report.h"

#define PAGE 500

/* Calls visit for every trial in order of number. */
static int each_trial(struct api *api, int64_t sweep, int (*visit)(void *data, const json_t *trial), void *data) {
        _cleanup_free_ struct trial_row *rows = calloc(PAGE, sizeof *rows);
        uint64_t after = 0;
        size_t n = PAGE;
        while (rows && n == PAGE) {
                int r = store_trial_list(api->store, sweep, -1, after, PAGE, rows, &n);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++) {
                        json_t *trial = NULL;
                        if (r == 0)
                                r = encode_trial(api, &rows[i], &trial);
                        if (r == 0)
                                r = visit(data, trial);
                        json_decref(trial);
                        after = rows[i].number;
                        trial_row_fini(&rows[i]);
                }
                if (r < 0)
                        return r;
        }
        return rows ? 0 : -ENOMEM;
}

static int append_item(void *data, const json_t *trial) {
        return json_array_append(data, (json_t *)trial) < 0 ? -ENOMEM : 0;
}

static int append_line(void *data, const json_t *trial) {
        int r = json_write(trial, data);
        return r < 0 ? r : buf_puts(data, "\n");
}

/* --- CSV ------------------------------------------------------------------------------------------------------- */

static const char *const columns[] = {"number", "id",     "state",  "value",    "attempt", "worker",  "stage",
                                      "reason", "detail", "source", "progress", "created", "started", "finished"};
#define N_COLUMNS (sizeof columns / sizeof columns[0])

/* The dotted names of all parameters, in the order in which they are first met. */
static int collect_names(json_t *names, const char *prefix, const json_t *params) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                struct buf name = BUF_INIT(0);
                int r = buf_printf(&name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (r == 0 && json_is_object(value) && json_object_size(value) > 0)
                        r = collect_names(names, name.data, value);
                else if (r == 0)
                        r = json_object_set_new(names, name.data, json_true()) < 0 ? -ENOMEM : 0;
                buf_fini(&name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int visit_names(void *data, const json_t *trial) {
        return collect_names(data, "", json_object_get(trial, "params"));
}

static int write_quoted(struct buf *out, const char *text) {
        if (!strpbrk(text, "\",\r\n"))
                return buf_puts(out, text);
        int r = buf_puts(out, "\"");
        for (; *text && r == 0; text++)
                r = *text == '"' ? buf_puts(out, "\"\"") : buf_append(out, text, 1);
        return r < 0 ? r : buf_puts(out, "\"");
}

static int write_cell(struct buf *out, const json_t *value, bool first) {
        int r = first ? 0 : buf_puts(out, ",");
        if (r < 0 || !value || json_is_null(value))
                return r;
        if (json_is_string(value))
                return write_quoted(out, json_string_value(value));
        _cleanup_free_ char *text = json_text(value);
        return text ? write_quoted(out, text) : -ENOMEM;
}

struct csv {
        struct buf out;
        json_t *names; /* object: its keys are the parameters */
};

static int write_header(struct csv *csv) {
        int r = 0;
        for (size_t i = 0; i < N_COLUMNS && r == 0; i++)
                r = buf_printf(&csv->out, "%s%s", i ? "," : "", columns[i]);
        const char *name;
        json_t *unused;
        json_object_foreach(csv->names, name, unused) {
                struct buf column = BUF_INIT(0);
                if (r == 0)
                        r = buf_printf(&column, "params.%s", name);
                if (r == 0)
                        r = buf_puts(&csv->out, ",");
                if (r == 0)
                        r = write_quoted(&csv->out, column.data);
                buf_fini(&column);
        }
        return r < 0 ? r : buf_puts(&csv->out, "\r\n");
}

static int write_row(void *data, const json_t *trial) {
        struct csv *csv = data;
        int r = 0;
        for (size_t i = 0; i < N_COLUMNS && r == 0; i++) {
                const json_t *from = strcmp(columns[i], "source") == 0 ? json_object_get(trial, "proposal") : trial;
                r = write_cell(&csv->out, json_object_get(from, columns[i]), i == 0);
        }
        const char *name;
        json_t *unused;
        json_object_foreach(csv->names, name, unused) if (r == 0) r =
                write_cell(&csv->out, json_get_dotted(json_object_get(trial, "params"), name), false);
        return r < 0 ? r : buf_puts(&csv->out, "\r\n");
}

static int export_csv(struct api *api, struct api_call *call, int64_t sweep) {
        struct csv csv = {.names = json_object()};
        int r = csv.names ? each_trial(api, sweep, visit_names, csv.names) : -ENOMEM;
        if (r == 0)
                r = write_header(&csv);
        if (r == 0)
                r = each_trial(api, sweep, write_row, &csv);
        if (r == 0)
                r = reply_text(call, 200, TAKE(csv.out.data), "text/csv; charset=utf-8");
        buf_fini(&csv.out);
        json_decref(csv.names);
        return r;
}

static int export_lines(struct api *api, struct api_call *call, int64_t sweep) {
        _cleanup_buf_ struct buf out = BUF_INIT(0);
        int r = buf_puts(&out, "");
        if (r == 0)
                r = each_trial(api, sweep, append_line, &out);
        return r < 0 ? r : reply_text(call, 200, out.data ? TAKE(out.data) : strdup(""), "application/x-ndjson");
}

static int export_json(struct api *api, struct api_call *call, const struct sweep_row *row) {
        _cleanup_json_ json_t *items = json_array(), *sweep = NULL;
        int r = items ? encode_sweep(api, row, &sweep) : -ENOMEM;
        if (r == 0)
                r = each_trial(api, row->id, append_item, items);
        return r < 0 ? r : reply_json(call, 200, json_pack("{s:O, s:O}", "sweep", sweep, "items", items));
}

int trials_export(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        int r = reply_query(call, LIST_EXPORT, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        if (r == 0)
                r = strcmp(query.format, "csv") == 0     ? export_csv(api, call, row.id)
                    : strcmp(query.format, "jsonl") == 0 ? export_lines(api, call, row.id)
                                                         : export_json(api, call, &row);
        sweep_row_fini(&row);
        return r;
}

/* --- report ---------------------------------------------------------------------------------------------------- */

#define REPORT_TRIALS_MAX 10000 /* a report is read by people, and made while the others wait */
#define REPORT_BYTES_MAX (64u << 20)

static int make_report(struct api *api, struct api_call *call, const struct sweep_row *row, bool is_html) {
        _cleanup_buf_ struct buf out = BUF_INIT(REPORT_BYTES_MAX);
        _cleanup_json_ json_t *trials = json_array(), *sweep = NULL, *now = encode_time(api_wall(api));
        int r = trials && now ? encode_sweep(api, row, &sweep) : -ENOMEM;
        if (r == 0)
                r = each_trial(api, row->id, append_item, trials);
        const struct study study = {.sweep = sweep, .trials = trials, .time = json_string_value(now), .is_html = is_html};
        if (r == 0)
                r = study_report(&study, &out);
        return r < 0 ? r : reply_text(call, 200, TAKE(out.data), is_html ? "text/html; charset=utf-8" : "text/markdown; charset=utf-8");
}

int trials_report(struct api *api, struct api_call *call) {
        struct list_query query;
        struct sweep_row row = {0};
        uint64_t counts[N_TRIAL_STATES], n = 0;
        int r = reply_query(call, LIST_REPORT, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        r = store_sweep_get(api->store, call->request.id, &row);
        if (r == STORE_NONE)
                return reply_problem(call, 404, "there is no sweep '%s'", call->request.id);
        if (r == 0)
                r = store_trial_counts(api->store, row.id, counts);
        for (size_t i = 0; r == 0 && i < N_TRIAL_STATES; i++)
                n += counts[i];
        if (r == 0)
                r = n > REPORT_TRIALS_MAX ? reply_problem(call, 409, "the sweep has %llu trials, and a report takes at most %d: export them instead",
                                                          (unsigned long long)n, REPORT_TRIALS_MAX)
                                          : make_report(api, call, &row, strcmp(query.format, "html") == 0);
        sweep_row_fini(&row);
        return r;
}
