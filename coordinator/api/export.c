/* GET /v1/sweeps/{id}/export: every trial, as JSON, JSON lines, or CSV (RFC 4180) with a column per parameter. The core thread
 * only answers what is to be exported (api/export.h).
 * GET /v1/sweeps/{id}/report: what was found, for people. */
#include "api/export.h"

#include <string.h>

#include "api/core.h"
#include "study/report.h"

#define PAGE 250        /* rows of one transaction */
#define NAMES_PAGE 2000 /* the same, of the pass that looks for the columns */

enum export_format { EXPORT_JSON, EXPORT_LINES, EXPORT_CSV };

struct api_export {
        enum export_format format;
        int64_t sweep;
        uint64_t last;  /* number of the last trial that belongs to it */
        uint64_t named; /* CSV: the parameters' names are known of trials up to this one */
        uint64_t after; /* written up to this one */
        char *head;     /* what comes before the first trial; NULL once written */
        json_t *names;  /* CSV: object whose keys are the columns of parameters */
};

void api_export_free(struct api_export *export) {
        if (!export)
                return;
        free(export->head);
        json_decref(export->names);
        free(export);
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

static int write_header(struct buf *out, const json_t *names) {
        int r = 0;
        for (size_t i = 0; i < N_COLUMNS && r == 0; i++)
                r = buf_printf(out, "%s%s", i ? "," : "", columns[i]);
        const char *name;
        json_t *unused;
        json_object_foreach((json_t *)names, name, unused) {
                struct buf column = BUF_INIT(0);
                if (r == 0)
                        r = buf_printf(&column, "params.%s", name);
                if (r == 0)
                        r = buf_puts(out, ",");
                if (r == 0)
                        r = write_quoted(out, column.data);
                buf_fini(&column);
        }
        return r < 0 ? r : buf_puts(out, "\r\n");
}

static int write_row(struct buf *out, const json_t *names, const json_t *trial) {
        int r = 0;
        for (size_t i = 0; i < N_COLUMNS && r == 0; i++) {
                const json_t *from = strcmp(columns[i], "source") == 0 ? json_object_get(trial, "proposal") : trial;
                r = write_cell(out, json_object_get(from, columns[i]), i == 0);
        }
        const char *name;
        json_t *unused;
        json_object_foreach((json_t *)names, name, unused) if (r == 0) r =
                write_cell(out, json_get_dotted(json_object_get(trial, "params"), name), false);
        return r < 0 ? r : buf_puts(out, "\r\n");
}

/* --- reading it, page by page ----------------------------------------------------------------------------------- */

static int take_names(void *data, uint64_t number, const char *params) {
        struct api_export *export = data;
        _cleanup_json_ json_t *object = encode_stored(params);
        int r = object ? collect_names(export->names, "", object) : -ENOMEM;
        export->named = number;
        return r;
}

/* The columns of CSV stand in its first line, so all trials are looked at before. */
static int read_names(struct api_export *export, struct store *store) {
        uint64_t before = export->named;
        int r = store_trial_each_params(store, export->sweep, before, export->last, NAMES_PAGE, take_names, export);
        return r == 0 && export->named == before ? -ENOENT : r; /* deleted */
}

static int write_trial(struct api_export *export, struct store *store, const struct trial_row *row, struct buf *out) {
        _cleanup_json_ json_t *trial = NULL;
        int r = encode_trial_row(store, row, &trial);
        if (r == 0 && export->format == EXPORT_CSV)
                return write_row(out, export->names, trial);
        if (r == 0 && export->format == EXPORT_JSON && export->after > 0)
                r = buf_puts(out, ",");
        if (r == 0)
                r = json_write(trial, out);
        return r == 0 && export->format == EXPORT_LINES ? buf_puts(out, "\n") : r;
}

static int read_page(struct api_export *export, struct store *store, size_t enough, struct buf *out) {
        _cleanup_free_ struct trial_row *rows = calloc(PAGE, sizeof *rows);
        size_t n = 0, begin = out->len;
        int r = rows ? store_begin_read(store) : -ENOMEM;
        if (r < 0)
                return r;
        r = store_trial_list(store, export->sweep, -1, export->after, PAGE, rows, &n);
        if (r == 0 && n == 0)
                r = -ENOENT; /* deleted */
        for (size_t i = 0; i < n; i++) {
                if (r == 0 && rows[i].number <= export->last && out->len - begin < enough) {
                        r = write_trial(export, store, &rows[i], out);
                        export->after = rows[i].number;
                }
                trial_row_fini(&rows[i]);
        }
        store_rollback(store);
        return r;
}

int api_export_read(struct api_export *export, struct store *store, size_t enough, struct buf *out) {
        if (export->format == EXPORT_CSV && export->named < export->last)
                return read_names(export, store);
        int r = 0;
        if (export->head)
                r = export->format == EXPORT_CSV ? write_header(out, export->names) : buf_puts(out, export->head);
        free(TAKE(export->head));
        if (r == 0 && export->after < export->last)
                r = read_page(export, store, enough, out);
        if (r < 0 || export->after < export->last)
                return r;
        r = export->format == EXPORT_JSON ? buf_puts(out, "]}") : 0;
        return r < 0 ? r : 1;
}

/* --- the handler ------------------------------------------------------------------------------------------------ */

/* {"sweep":…,"items":[ */
static int make_head(struct api *api, const struct sweep_row *row, char **ret) {
        _cleanup_json_ json_t *sweep = NULL;
        _cleanup_buf_ struct buf head = BUF_INIT(0);
        int r = encode_sweep(api, row, &sweep);
        if (r == 0)
                r = buf_puts(&head, "{\"sweep\":");
        if (r == 0)
                r = json_write(sweep, &head);
        if (r == 0)
                r = buf_puts(&head, ",\"items\":[");
        if (r == 0)
                *ret = TAKE(head.data);
        return r;
}

static int begin_export(struct api *api, struct api_call *call, const struct sweep_row *row, enum export_format format) {
        static const char *const types[] = {"application/json", "application/x-ndjson", "text/csv; charset=utf-8"};
        struct api_export *export = calloc(1, sizeof *export);
        if (!export)
                return -ENOMEM;
        export->format = format;
        export->sweep = row->id;
        int r = store_trial_last_number(api->store, row->id, &export->last);
        if (r == 0 && format == EXPORT_JSON)
                r = make_head(api, row, &export->head);
        else if (r == 0)
                r = (export->head = strdup("")) ? 0 : -ENOMEM;
        if (r == 0 && format == EXPORT_CSV)
                r = (export->names = json_object()) ? 0 : -ENOMEM;
        if (r < 0) {
                api_export_free(export);
                return r;
        }
        reply_clear(call);
        call->response.status = 200;
        call->response.export = export;
        call->response.content_type = types[format];
        return 0;
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
                r = begin_export(api, call, &row, strcmp(query.format, "csv") == 0     ? EXPORT_CSV
                                                  : strcmp(query.format, "jsonl") == 0 ? EXPORT_LINES
                                                                                       : EXPORT_JSON);
        sweep_row_fini(&row);
        return r;
}

/* --- report ---------------------------------------------------------------------------------------------------- */

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

#define REPORT_TRIALS_MAX 10000 /* a report is read by people, and made while the others wait */
#define REPORT_CHANGES_MAX 1000
#define REPORT_BYTES_MAX (64u << 20)
#define REPORT_POINTS_MAX 400 /* of one curve: more than a screen tells apart */

/* One more [step, value]. */
static int append_point(void *data, int64_t step, double value) {
        return json_array_append_new(data, json_pack("[I, f]", (json_int_t)step, value)) < 0 ? -ENOMEM : 0;
}

/* The curves of the best trials: the sweep's metric, and the loss that most trainers report. */
static int best_curves(struct api *api, int64_t sweep, const json_t *spec, json_t *curves) {
        const json_t *metric = json_object_get(spec, "metric");
        const char *goal = json_string_value(json_object_get(metric, "goal")), *name = json_string_value(json_object_get(metric, "name"));
        const char *const names[] = {name, name && strcmp(name, "train/loss") == 0 ? NULL : "train/loss"};
        struct trial_row rows[STUDY_CURVES_MAX];
        struct value_position last;
        int64_t position;
        size_t n = 0;
        int r = store_history_position(api->store, &position);
        if (r == 0)
                r = store_trial_list_by_value(api->store, sweep, -1, goal && strcmp(goal, "maximize") == 0, position, NULL, STUDY_CURVES_MAX, rows, &n, &last);
        for (size_t k = 0; k < 2; k++) {
                _cleanup_json_ json_t *list = json_array();
                for (size_t i = 0; i < n && names[k] && r == 0; i++) {
                        json_t *points = json_array();
                        if (rows[i].has_value && points)
                                r = store_metric_curve(api->store, rows[i].id, names[k], REPORT_POINTS_MAX, append_point, points);
                        if (json_array_append_new(list, json_pack("{s:I, s:o}", "trial", (json_int_t)rows[i].number, "points", points)) < 0 && r == 0)
                                r = -ENOMEM;
                }
                if (r == 0 && names[k] && json_object_set(curves, names[k], list) < 0)
                        r = -ENOMEM;
        }
        for (size_t i = 0; i < n; i++)
                trial_row_fini(&rows[i]);
        return r;
}

static int make_report(struct api *api, struct api_call *call, const struct sweep_row *row, bool is_html) {
        _cleanup_buf_ struct buf out = BUF_INIT(REPORT_BYTES_MAX);
        _cleanup_json_ json_t *trials = json_array(), *history = json_array(), *curves = json_object(), *sweep = NULL, *now = encode_time(api_wall(api));
        int r = trials && history && curves && now ? encode_sweep(api, row, &sweep) : -ENOMEM;
        if (r == 0)
                r = each_trial(api, row->id, append_item, trials);
        if (r == 0)
                r = change_recent(api, row->id, REPORT_CHANGES_MAX, history);
        if (r == 0)
                r = best_curves(api, row->id, json_object_get(sweep, "spec"), curves);
        const struct study study = {.sweep = sweep, .trials = trials, .history = history, .curves = curves, .time = json_string_value(now), .is_html = is_html};
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
