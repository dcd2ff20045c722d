/* `export --format tensorboard`: a folder that `tensorboard --logdir` shows, with one run for every trial: its series as scalars, and
 * what the HParams page wants to know. The trials are read twice, a page at a time: first for the names and kinds of their parameters,
 * which stand in the folder's own file, then to write them. Nothing but one page of each list and one record is held.
 *
 * The messages are those of tensorboard/plugins/hparams/{api,plugin_data}.proto; files are named after a trial's start, so that the
 * same trials give the same bytes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/rfc3339.h"
#include "event_file.h"
#include "place.h"
#include "proto/limits.h"
#include "sweeps.h"

#define PLUGIN "hparams"
#define VALUE_TAG "trial/value" /* what the sweep goes by: a best point or a mean is no point of a series */
#define CHOICES_MAX 100         /* listed for a filter; more, or a longer one, is a filter by text */
#define CHOICE_BYTES_MAX 256
#define DOTTED_BYTES_MAX 1024

enum { DATA_EXPERIMENT = 2, DATA_SESSION_START = 3, DATA_SESSION_END = 4 };
enum { EXPERIMENT_TIME = 3, EXPERIMENT_HPARAM = 4, EXPERIMENT_METRIC = 5, EXPERIMENT_NAME = 6 };
enum { HPARAM_NAME = 1, HPARAM_TYPE = 4, HPARAM_CHOICES = 5, HPARAM_INTERVAL = 6, HPARAM_DIFFERS = 7 };
enum { INTERVAL_MIN = 1, INTERVAL_MAX = 2, LIST_VALUE = 1 };
enum { METRIC_NAME = 1, METRIC_DISPLAY_NAME = 3, METRIC_NAME_TAG = 2 };
enum { START_HPARAM = 1, START_GROUP = 4, START_TIME = 5, HPARAM_KEY = 1, HPARAM_VALUE = 2 };
enum { END_STATUS = 1, END_TIME = 2, STATUS_SUCCESS = 1, STATUS_FAILURE = 2 };
enum { VALUE_NUMBER = 2, VALUE_TEXT = 3, VALUE_BOOL = 4 }; /* of google.protobuf.Value */

enum hparam_type { TYPE_NONE = 0, TYPE_TEXT = 1, TYPE_BOOL = 2, TYPE_NUMBER = 3 };

/* What all trials have of one parameter. */
struct hparam {
        char *name; /* dotted */
        enum hparam_type type;
        double min, max;  /* of numbers */
        json_t *choices;  /* an object whose keys they are, as JSON; NULL: too many */
        bool differs;
        char *first; /* as JSON */
};

struct board {
        struct ctl *ctl;
        const char *place, *metric;
        struct hparam hparams[LIMIT_PARAMETERS * 2]; /* an edit of the sweep may have brought others */
        size_t n_hparams, n_trials, n_points;
        struct error *err;
        double started_s; /* of the trial that is written */
        int64_t last_step;
        struct event_file file;
};

static int out_of_memory(struct board *board) {
        return error_set(board->err, -ENOMEM, "out of memory");
}

/* Calls visit for every leaf of a trial's params. */
static int each_param(struct board *board, const json_t *params, const char *prefix, int (*visit)(struct board *, const char *, const json_t *, void *),
                      void *data) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)params, key, value) {
                char name[DOTTED_BYTES_MAX];
                size_t len = (size_t)snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (len >= sizeof name)
                        return error_set(board->err, -EBADMSG, "the server tells of a parameter with a name that is too long");
                int r = json_is_object(value) && json_object_size(value) > 0 ? each_param(board, value, name, visit, data) : visit(board, name, value, data);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- the first pass: what parameters there are -------------------------------------------------------- */

static enum hparam_type type_of(const json_t *value) {
        return json_is_number(value) ? TYPE_NUMBER : json_is_boolean(value) ? TYPE_BOOL : TYPE_TEXT;
}

static struct hparam *find_hparam(struct board *board, const char *name) {
        for (size_t i = 0; i < board->n_hparams; i++)
                if (strcmp(board->hparams[i].name, name) == 0)
                        return &board->hparams[i];
        return NULL;
}

static void drop_choices(struct hparam *hparam) {
        json_decref(hparam->choices);
        hparam->choices = NULL;
}

static int learn_param(struct board *board, const char *name, const json_t *value, void *unused) {
        (void)unused;
        struct hparam *hparam = find_hparam(board, name);
        _cleanup_free_ char *text = json_text(value);
        if (!text)
                return out_of_memory(board);
        if (!hparam) {
                if (board->n_hparams == sizeof board->hparams / sizeof *board->hparams)
                        return error_set(board->err, -EFBIG, "the trials have more than %zu parameters", board->n_hparams);
                hparam = &board->hparams[board->n_hparams++];
                *hparam = (struct hparam){.name = strdup(name), .type = type_of(value), .min = INFINITY, .max = -INFINITY, .choices = json_object(),
                                          .first = strdup(text)};
                if (!hparam->name || !hparam->choices || !hparam->first)
                        return out_of_memory(board);
        }
        hparam->differs |= strcmp(text, hparam->first) != 0;
        if (hparam->type != type_of(value))
                hparam->type = TYPE_TEXT;
        hparam->min = fmin(hparam->min, json_number_value(value));
        hparam->max = fmax(hparam->max, json_number_value(value));
        if (hparam->choices && json_object_set_new(hparam->choices, text, json_null()) < 0)
                return out_of_memory(board);
        if (strlen(text) > CHOICE_BYTES_MAX || json_object_size(hparam->choices) > CHOICES_MAX)
                drop_choices(hparam);
        return 0;
}

/* Started at least once, or finished elsewhere. */
static bool has_begun(const json_t *trial) {
        return field_text(trial, "state") && (field_number(trial, "attempt") > 0 || json_is_number(json_object_get(trial, "value")));
}

static int learn_trial(void *data, const json_t *trial) {
        struct board *board = data;
        return has_begun(trial) ? each_param(board, json_object_get(trial, "params"), "", learn_param, NULL) : 0;
}

/* --- messages ---------------------------------------------------------------------------------------- */

/* As google.protobuf.Value. What is neither number nor flag, or stands beside other kinds, is text. */
static void set_value(struct message *out, const json_t *value, enum hparam_type type) {
        _cleanup_free_ char *text = NULL;
        if (type == TYPE_NUMBER)
                message_add_double(out, VALUE_NUMBER, json_number_value(value));
        else if (type == TYPE_BOOL)
                message_add_integer(out, VALUE_BOOL, json_is_true(value));
        else if (json_is_string(value))
                message_add_bytes(out, VALUE_TEXT, json_string_value(value), json_string_length(value));
        else if ((text = json_text(value)))
                message_add_text(out, VALUE_TEXT, text);
        else
                out->fault = -ENOMEM;
}

static void set_choices(struct message *out, const struct hparam *hparam) {
        const char *text;
        json_t *unused;
        json_object_foreach(hparam->choices, text, unused) {
                _cleanup_message_ struct message value = MESSAGE_INIT(EVENT_BYTES_MAX);
                _cleanup_json_ json_t *choice = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
                set_value(&value, choice, hparam->type);
                message_add_message(out, LIST_VALUE, &value);
        }
}

static void add_hparam(struct message *experiment, const struct hparam *hparam) {
        _cleanup_message_ struct message info = MESSAGE_INIT(EVENT_BYTES_MAX), domain = MESSAGE_INIT(EVENT_BYTES_MAX);
        message_add_text(&info, HPARAM_NAME, hparam->name);
        message_add_integer(&info, HPARAM_TYPE, hparam->type);
        if (hparam->type == TYPE_NUMBER) {
                message_add_double(&domain, INTERVAL_MIN, hparam->min);
                message_add_double(&domain, INTERVAL_MAX, hparam->max);
                message_add_message(&info, HPARAM_INTERVAL, &domain);
        } else if (hparam->choices) {
                set_choices(&domain, hparam);
                message_add_message(&info, HPARAM_CHOICES, &domain);
        }
        message_add_integer(&info, HPARAM_DIFFERS, hparam->differs);
        message_add_message(experiment, EXPERIMENT_HPARAM, &info);
}

static void add_metric(struct message *experiment, const char *tag, const char *display_name) {
        _cleanup_message_ struct message info = MESSAGE_INIT(EVENT_BYTES_MAX), name = MESSAGE_INIT(EVENT_BYTES_MAX);
        message_add_text(&name, METRIC_NAME_TAG, tag);
        message_add_message(&info, METRIC_NAME, &name);
        message_add_text(&info, METRIC_DISPLAY_NAME, display_name);
        message_add_message(experiment, EXPERIMENT_METRIC, &info);
}

static void write_plugin(struct event_file *file, double wall_s, const char *tag, unsigned field, const struct message *inner) {
        _cleanup_message_ struct message data = MESSAGE_INIT(EVENT_BYTES_MAX);
        message_add_message(&data, field, inner);
        event_file_add_plugin(file, wall_s, tag, PLUGIN, &data);
}

/* --- files ------------------------------------------------------------------------------------------- */

static double seconds_of(const json_t *object, const char *key, double otherwise) {
        const char *text = field_text(object, key);
        uint64_t ms;
        return text && rfc3339_parse(text, &ms) == 0 ? (double)ms / 1000 : otherwise;
}

/* PLACE/run/events.out.tfevents.SECONDS.sweepd, or right in PLACE. */
static int begin_file(struct board *board, const char *run, double wall_s) {
        _cleanup_free_ char *folder = fs_join(board->place, run), *path = NULL;
        if (!folder || asprintf(&path, "%s/events.out.tfevents.%.0f.sweepd", folder, floor(wall_s)) < 0)
                return out_of_memory(board);
        int r = *run ? fs_make_dirs(folder, 0755, board->err) : 0;
        return r < 0 ? r : event_file_open(&board->file, path, wall_s, board->err);
}

/* r: what came of it so far. */
static int end_file(struct board *board, int r) {
        if (r == 0)
                r = event_file_close(&board->file, board->err);
        event_file_fini(&board->file);
        return r;
}

static int write_experiment(struct board *board, const json_t *sweep) {
        _cleanup_message_ struct message experiment = MESSAGE_INIT(EVENT_BYTES_MAX);
        const char *name = field_text(sweep, "name"), *id = field_text(sweep, "id");
        double created_s = seconds_of(sweep, "created", 0);
        message_add_double(&experiment, EXPERIMENT_TIME, created_s);
        message_add_text(&experiment, EXPERIMENT_NAME, name ? name : id ? id : "");
        for (size_t i = 0; i < board->n_hparams; i++)
                add_hparam(&experiment, &board->hparams[i]);
        char display_name[LIMIT_NAME_BYTES + 32];
        snprintf(display_name, sizeof display_name, "value (%s)", board->metric);
        add_metric(&experiment, VALUE_TAG, display_name);
        add_metric(&experiment, board->metric, board->metric);
        int r = begin_file(board, "", created_s);
        if (r == 0)
                write_plugin(&board->file, created_s, "_hparams_/experiment", DATA_EXPERIMENT, &experiment);
        return end_file(board, r);
}

static int add_param(struct board *board, const char *name, const json_t *value, void *data) {
        struct message *start = data;
        _cleanup_message_ struct message entry = MESSAGE_INIT(EVENT_BYTES_MAX), inner = MESSAGE_INIT(EVENT_BYTES_MAX);
        const struct hparam *hparam = find_hparam(board, name);
        if (!hparam || (hparam->type != TYPE_TEXT && hparam->type != type_of(value)))
                return 0; /* of a trial that came after the first pass */
        set_value(&inner, value, hparam->type);
        message_add_text(&entry, HPARAM_KEY, name);
        message_add_message(&entry, HPARAM_VALUE, &inner);
        message_add_message(start, START_HPARAM, &entry);
        return 0;
}

static int write_start(struct board *board, const json_t *trial, const char *run) {
        _cleanup_message_ struct message start = MESSAGE_INIT(EVENT_BYTES_MAX);
        int r = each_param(board, json_object_get(trial, "params"), "", add_param, &start);
        message_add_text(&start, START_GROUP, run);
        message_add_double(&start, START_TIME, board->started_s);
        if (r == 0)
                write_plugin(&board->file, board->started_s, "_hparams_/session_start_info", DATA_SESSION_START, &start);
        return r;
}

static int write_point(void *data, const json_t *point) {
        struct board *board = data;
        const char *name = field_text(point, "name");
        json_int_t step = json_integer_value(json_object_get(point, "step"));
        if (!name)
                return error_set(board->err, -EBADMSG, "the server tells of a point without a name");
        event_file_add_scalar(&board->file, seconds_of(point, "time", board->started_s), step, name, field_number(point, "value"));
        board->last_step = step > board->last_step ? step : board->last_step;
        board->n_points++;
        return 0;
}

/* A trial that runs, or is to run again, has no end. */
static void write_end(struct board *board, const json_t *trial) {
        _cleanup_message_ struct message end = MESSAGE_INIT(EVENT_BYTES_MAX);
        const char *state = field_text(trial, "state");
        double finished_s = seconds_of(trial, "finished", board->started_s);
        if (json_is_number(json_object_get(trial, "value")))
                event_file_add_scalar(&board->file, finished_s, board->last_step, VALUE_TAG, field_number(trial, "value"));
        if (strcmp(state, "running") == 0 || strcmp(state, "queued") == 0)
                return;
        bool is_success = strcmp(state, "completed") == 0 || strcmp(state, "stopped") == 0;
        message_add_integer(&end, END_STATUS, is_success ? STATUS_SUCCESS : STATUS_FAILURE);
        message_add_double(&end, END_TIME, finished_s);
        write_plugin(&board->file, finished_s, "_hparams_/session_end_info", DATA_SESSION_END, &end);
}

static int write_trial(void *data, const json_t *trial) {
        struct board *board = data;
        const char *id = field_text(trial, "id");
        char run[48];
        if (!has_begun(trial))
                return 0;
        _cleanup_free_ char *points = ctl_path("trials", id ? id : "", "/metrics");
        if (!points)
                return error_set(board->err, -EBADMSG, "the server tells of a trial that none can be");
        snprintf(run, sizeof run, "trial-%04" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(trial, "number")));
        board->started_s = seconds_of(trial, "started", seconds_of(trial, "created", 0));
        board->last_step = 0;
        board->n_trials++;
        int r = begin_file(board, run, board->started_s);
        if (r == 0)
                r = write_start(board, trial, run);
        if (r == 0)
                r = ctl_each(board->ctl, points, write_point, board);
        if (r == 0)
                write_end(board, trial);
        return end_file(board, r);
}

/* --- the command ------------------------------------------------------------------------------------- */

static int fill(struct board *board, const json_t *sweep, const char *trials) {
        int r = ctl_each(board->ctl, trials, learn_trial, board);
        if (r == 0)
                r = write_experiment(board, sweep);
        return r == 0 ? ctl_each(board->ctl, trials, write_trial, board) : r;
}

static void board_fini(struct board *board) {
        for (size_t i = 0; i < board->n_hparams; i++) {
                free(board->hparams[i].name);
                free(board->hparams[i].first);
                drop_choices(&board->hparams[i]);
        }
}

int export_tensorboard(struct ctl *ctl, const char *sweep, const char *target) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        __attribute__((cleanup(board_fini))) struct board board = {.ctl = ctl};
        _cleanup_free_ char *place = NULL, *trials = NULL;
        struct error err = {0};
        int code = get_sweep(ctl, sweep, "", &answer);
        if (code != EXIT_FINE)
                return code;
        const char *metric = field_text(json_object_get(json_object_get(answer.body, "spec"), "metric"), "name");
        board.metric = metric ? metric : "value";
        board.err = &err;
        trials = ctl_path("sweeps", sweep, "/trials");
        if (!trials)
                return EXIT_FAILED;
        if (place_make(target, &place, &err) < 0)
                return ctl_fail(&err);
        board.place = place;
        int r = fill(&board, answer.body, trials);
        if (r == 0)
                r = place_commit(place, target, &err);
        if (r != 0)
                place_discard(place);
        if (r < 0)
                return ctl_fail(&err);
        if (r > 0)
                return EXIT_FAILED; /* which ctl_call has told */
        if (ctl->json)
                ctl_print_json(answer.body);
        else
                printf("%zu trial%s with %zu point%s; look at them with: tensorboard --logdir %s\n", board.n_trials, board.n_trials == 1 ? "" : "s", board.n_points,
                       board.n_points == 1 ? "" : "s", target);
        return EXIT_FINE;
}
