#include "agent/slot.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/launch.h"
#include "agent/process.h"
#include "agent/reporter.h"
#include "agent/trainer_line.h"
#include "agent/verdict.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/utf8.h"

#define DETAIL_LOGGED 400 /* bytes of what a failed trial said */
#define STOP_PATIENCE_MS 30000    /* after a stopping rule */
#define RELEASE_PATIENCE_MS 12000 /* when the worker goes: it has 20 s in all */
#define OUTCOME_PATIENCE_MS 30000 /* for a trainer that has told its outcome to end */
#define SUSPECT_MS 10000          /* a trial that fails sooner may never have had a chance here */
#define BAD_LINES_MAX 1000
#define BAD_LINES_LOGGED 5

struct slot {
        struct slot_shared *shared;
        enum slot_state state;
        json_t *trial;
        const char *id, *sweep, *lease; /* into trial */
        const struct agent_command *command; /* NULL: the built-in trainer */
        struct reporter *reporter;
        struct process *process; /* NULL when none runs */
        json_t *outcome; /* what the trainer said last about its end */
        const char *metric; /* the sweep's, into trial; NULL when the claim does not say */
        bool maximize;
        bool has_value;
        double value, best_value; /* last and best point of that metric */
        bool had_checkpoint;
        bool keeps_folder; /* of a lost lease: the trial may come back here and go on from its checkpoint */
        unsigned n_bad_lines;
        char complaint[128]; /* why the worker killed the trainer; empty = it did not */
        uint64_t taken_ms;   /* mono */
        uint64_t kill_at_ms; /* mono; 0 = not planned */
        int64_t oom_kills_before;
};

/* How many processes the kernel has killed for memory since boot; -1 where it does not say. */
static int64_t count_oom_kills(void) {
        _cleanup_file_ FILE *file = fopen("/proc/vmstat", "re");
        char line[128];
        while (file && fgets(line, sizeof line, file))
                if (strncmp(line, "oom_kill ", 9) == 0)
                        return strtoll(line + 9, NULL, 10);
        return -1;
}

static void move_to(struct slot *slot, enum slot_state state) {
        assert(slot_may_move(slot->state, state));
        log_debug("slot", log_s("trial", slot->id), log_s("from", slot_state_name(slot->state)), log_s("to", slot_state_name(state)));
        slot->state = state;
}

int slot_new(struct slot_shared *shared, struct slot **ret) {
        struct slot *slot = calloc(1, sizeof *slot);
        if (!slot)
                return -ENOMEM;
        slot->shared = shared;
        *ret = slot;
        return 0;
}

static void clear(struct slot *slot) {
        reporter_free(slot->reporter);
        json_decref(slot->outcome);
        json_decref(slot->trial);
        *slot = (struct slot){.shared = slot->shared, .state = slot->state};
}

void slot_free(struct slot *slot) {
        if (!slot)
                return;
        clear(slot);
        free(slot);
}

static void become_idle(struct slot *slot) {
        struct slot_shared *shared = slot->shared;
        move_to(slot, SLOT_IDLE);
        clear(slot);
        shared->freed(shared->data);
}

/* --- the end of a trial ----------------------------------------------------------------------------- */

static const char *outcome_state(const json_t *outcome) {
        return json_string_value(json_object_get(outcome, "state"));
}

static bool is_released(const json_t *outcome) {
        return strcmp(outcome_state(outcome), "released") == 0;
}

static void keep_model(struct slot *slot, const json_t *outcome) {
        json_t *value = json_object_get(outcome, "value");
        if (strcmp(outcome_state(outcome), "failed") == 0 || (!json_is_number(value) && !slot->has_value))
                return;
        double number = json_is_number(value) ? json_number_value(value) : slot->best_value;
        _cleanup_json_ json_t *description = json_pack(
                "{s:s, s:s, s:O?, s:O?, s:f, s:b, s:O?}", "trial", slot->id, "sweep", slot->sweep, "number", json_object_get(slot->trial, "number"),
                "params", json_object_get(slot->trial, "params"), "value", number, "maximize", slot->maximize, "metric",
                json_object_get(slot->trial, "metric"));
        if (!description || !slot->sweep)
                return;
        workdir_keep_output(slot->shared->workdir, slot->sweep, slot->id, description, slot->maximize);
        uploads_add(slot->shared->uploads, slot->sweep, slot->id, slot->lease);
}

/* Did it fail at once, in a way that a missing library, a full disk or a wrong file would explain, or give its trial back
 * unasked, to get it again at once? */
static bool is_suspect(const struct slot *slot, const json_t *outcome) {
        static const char *const reasons[] = {"crashed", "io", "out_of_memory", "bad_model", "bad_data", "released"};
        const char *reason = is_released(outcome) ? "released" : json_string_value(json_object_get(outcome, "reason"));
        if (!reason || world_mono_ms(slot->shared->world) - slot->taken_ms > SUSPECT_MS)
                return false;
        for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
                if (strcmp(reason, reasons[i]) == 0)
                        return true;
        return false;
}

/* A trainer that was killed may be started again here, by the trial's next attempt, and go on from its checkpoint. */
static bool may_go_on(const struct slot *slot, const json_t *outcome) {
        const char *reason = json_string_value(json_object_get(outcome, "reason"));
        return reason && (strcmp(reason, "crashed") == 0 || strcmp(reason, "out_of_memory") == 0) &&
               workdir_has_checkpoint(slot->shared->workdir, slot->id);
}

/* The trial has ended with this outcome (reference taken): into the outbox, the disk is tidied, the slot is free. */
static void conclude(struct slot *slot, json_t *given) {
        _cleanup_json_ json_t *outcome = given;
        struct workdir *workdir = slot->shared->workdir;
        json_t *parcel = outcome ? reporter_seal(slot->reporter, outcome) : NULL;
        if (parcel) {
                char detail[DETAIL_LOGGED] = ""; /* all of it goes to the coordinator */
                const char *said = json_string_value(json_object_get(outcome, "detail"));
                utf8_copy(detail, sizeof detail, said ? said : "");
                log_info("trial ended", log_s("trial", slot->id), log_s("sweep", slot->sweep), log_s("outcome", outcome_state(outcome)),
                         log_s("reason", json_string_value(json_object_get(outcome, "reason"))), log_s("detail", detail));
                delivery_add(slot->shared->delivery, parcel);
        } else
                log_error("out of memory: the end of a trial is not reported", log_s("trial", slot->id));
        if (outcome && !is_released(outcome)) {
                keep_model(slot, outcome);
                if (!may_go_on(slot, outcome))
                        workdir_drop_trial(workdir, slot->id);
        }
        if (outcome && slot->state != SLOT_RELEASING)
                slot->shared->ended(slot->shared->data, is_suspect(slot, outcome));
        become_idle(slot);
}

static void discard(struct slot *slot) {
        log_info("trial discarded", log_s("trial", slot->id), log_s("sweep", slot->sweep));
        if (!slot->keeps_folder)
                workdir_drop_trial(slot->shared->workdir, slot->id);
        become_idle(slot);
}

static void restart(struct slot *slot) {
        log_warning("the checkpoint cannot be continued: starting again from step 0", log_s("trial", slot->id),
                    log_s("why", json_string_value(json_object_get(slot->outcome, "detail"))));
        workdir_drop_checkpoint(slot->shared->workdir, slot->id);
        json_decref(TAKE(slot->outcome));
        slot->has_value = false;
        move_to(slot, SLOT_WAITING);
        slot_pump(slot);
}

static void on_end(void *data, const struct process_end *process_end) {
        struct slot *slot = data;
        slot->process = NULL;
        slot->kill_at_ms = 0;
        struct trainer_end end = {
                .state = slot->state,
                .is_command = slot->command != NULL,
                .had_checkpoint = slot->had_checkpoint,
                .has_checkpoint = workdir_has_checkpoint(slot->shared->workdir, slot->id),
                .is_shared = workdir_is_shared(slot->shared->workdir),
                .outcome = slot->outcome,
                .complaint = slot->complaint[0] ? slot->complaint : NULL,
                .exit_status = process_end->exit_status,
                .signal = process_end->signal,
                .memory_was_short = count_oom_kills() > slot->oom_kills_before,
                .stderr_tail = process_end->stderr_tail,
                .has_value = slot->has_value,
                .value = slot->value,
                .worker_name = slot->shared->options->name,
        };
        json_t *outcome = NULL;
        switch (verdict_find(&end, &outcome)) {
        case VERDICT_RESTART:
                restart(slot);
                break;
        case VERDICT_DISCARD:
                discard(slot);
                break;
        default:
                conclude(slot, outcome);
        }
}

/* --- while it runs ---------------------------------------------------------------------------------- */

static void complain(struct slot *slot, const char *text) {
        if (!slot->process || slot->complaint[0])
                return;
        snprintf(slot->complaint, sizeof slot->complaint, "%s", text);
        process_signal(slot->process, SIGKILL);
}

static void on_bad_line(struct slot *slot, const char *why) {
        if (++slot->n_bad_lines <= BAD_LINES_LOGGED)
                log_warning("a line of the trainer is ignored", log_s("trial", slot->id), log_s("why", why));
        if (slot->n_bad_lines >= BAD_LINES_MAX && !slot->command) /* a program may print {'loss': 0.5} as often as it likes */
                complain(slot, "the trainer wrote too many malformed lines");
}

static void note_value(struct slot *slot, const json_t *point) {
        if (!slot->metric || strcmp(slot->metric, json_string_value(json_object_get(point, "name"))) != 0)
                return;
        slot->value = json_number_value(json_object_get(point, "value"));
        if (!slot->has_value || (slot->maximize ? slot->value > slot->best_value : slot->value < slot->best_value))
                slot->best_value = slot->value;
        slot->has_value = true;
}

static void on_line(void *data, const char *text, size_t len) {
        struct slot *slot = data;
        struct trainer_line line = {0};
        struct error err = {.text = "not a JSON object"};
        int kind = text ? trainer_line_decode(text, len, world_wall_ms(slot->shared->world), &line, &err) : LINE_MALFORMED;
        if (!text)
                error_set(&err, -EFBIG, "longer than %u bytes", PROCESS_LINE_BYTES_MAX);
        switch (kind) {
        case LINE_METRIC:
                note_value(slot, line.json);
                reporter_add_point(slot->reporter, line.json);
                break;
        case LINE_PROGRESS:
                reporter_set_progress(slot->reporter, line.progress);
                break;
        case LINE_OUTCOME:
                json_decref(slot->outcome);
                slot->outcome = line.json;
                if (!slot->kill_at_ms)
                        slot->kill_at_ms = world_mono_ms(slot->shared->world) + OUTCOME_PATIENCE_MS;
                break;
        default:
                if (kind != LINE_CHATTER || !slot->command)
                        on_bad_line(slot, err.text);
        }
}

static void ask_to_end(struct slot *slot, enum slot_state state, uint64_t patience_ms) {
        move_to(slot, state);
        slot->kill_at_ms = world_mono_ms(slot->shared->world) + patience_ms;
        process_signal(slot->process, SIGTERM);
}

static void throw_away(struct slot *slot) {
        if (slot->state == SLOT_WAITING) {
                become_idle(slot);
        } else if (slot->state != SLOT_DISCARDING) {
                move_to(slot, SLOT_DISCARDING);
                process_signal(slot->process, SIGKILL);
        }
}

static void on_command(void *data, enum report_command command, const char *why) {
        struct slot *slot = data;
        if (command == REPORT_STOP && slot->state == SLOT_RUNNING) {
                log_info("a stopping rule ends the trial", log_s("trial", slot->id));
                ask_to_end(slot, SLOT_STOPPING, STOP_PATIENCE_MS);
        } else if (command == REPORT_ABORT || command == REPORT_LOST) {
                log_warning(command == REPORT_LOST ? "the lease is lost" : "the trial is no longer wanted", log_s("trial", slot->id), log_s("why", why));
                slot->keeps_folder = command == REPORT_LOST;
                throw_away(slot);
        }
}

/* --- its start -------------------------------------------------------------------------------------- */

static const struct agent_command *find_command(const struct agent_options *options, const char *name) {
        for (size_t i = 0; name && i < options->n_commands; i++)
                if (strcmp(options->commands[i].name, name) == 0)
                        return &options->commands[i];
        return NULL;
}

/* "distilbert-mrpc", "command:NAME", or "command" with the name in "program". -ENOENT when not served here. */
static int choose_trainer(struct slot *slot) {
        const struct agent_options *options = slot->shared->options;
        const char *trainer = json_string_value(json_object_get(slot->trial, "trainer"));
        const char *program = json_string_value(json_object_get(slot->trial, "program"));
        slot->command = NULL;
        if (!trainer || strcmp(trainer, "distilbert-mrpc") == 0)
                return options->serves_distilbert ? 0 : -ENOENT;
        if (strncmp(trainer, "command", 7) == 0)
                slot->command = find_command(options, trainer[7] == ':' ? trainer + 8 : program);
        return slot->command ? 0 : -ENOENT;
}

/* The object on sweep-trainer's stdin (cli.md). */
static char *trainer_input(struct slot *slot, const char *checkpoint, const char *output) {
        const struct slot_shared *shared = slot->shared;
        json_t *metric = json_object_get(slot->trial, "metric"), *fixed = json_object_get(slot->trial, "fixed");
        _cleanup_json_ json_t *input = json_pack(
                "{s:s, s:s, s:O*, s:O?, s:O*, s:O?, s:i, s:s, s:s}", "model", shared->options->model_dir, "data", shared->options->data_dir, "metric",
                metric, "params", json_object_get(slot->trial, "params"), "fixed", fixed, "seed", json_object_get(slot->trial, "seed"), "threads",
                (int)shared->threads, "checkpoint_dir", checkpoint, "output_dir", output);
        return input ? json_text(input) : NULL;
}

static int command_line(struct slot *slot, struct words *argv) {
        const struct agent_options *options = slot->shared->options;
        int r = command_add_launcher(argv, options->launcher);
        if (r == 0 && slot->command)
                r = words_add(argv, LAUNCH_LIMITS "%llu,%llu", (unsigned long long)options->command_memory_mb,
                              (unsigned long long)options->command_file_mb);
        if (r == 0)
                r = words_add(argv, "%s", slot->command ? slot->command->path : options->trainer_program);
        if (r == 0 && slot->command)
                r = command_add_parameters(argv, json_object_get(slot->trial, "params"));
        if (r == 0 && slot->command && json_is_object(json_object_get(slot->trial, "fixed")))
                r = command_add_parameters(argv, json_object_get(slot->trial, "fixed"));
        return r;
}

static int environment(struct slot *slot, const char *checkpoint, const char *output, struct words *ret) {
        int r = command_add_environment(ret, slot->shared->threads);
        if (!slot->command)
                return r;
        _cleanup_free_ char *seed = json_text(json_object_get(slot->trial, "seed"));
        if (r == 0)
                r = words_add(ret, "SWEEPD_TRIAL=%s", slot->id);
        if (r == 0)
                r = words_add(ret, "SWEEPD_SWEEP=%s", slot->sweep ? slot->sweep : "");
        if (r == 0)
                r = words_add(ret, "SWEEPD_SEED=%s", seed ? seed : "");
        if (r == 0)
                r = words_add(ret, "SWEEPD_CHECKPOINT_DIR=%s", checkpoint);
        return r == 0 ? words_add(ret, "SWEEPD_OUTPUT_DIR=%s", output) : r;
}

static int start(struct slot *slot, struct error *err) {
        struct workdir *workdir = slot->shared->workdir;
        _cleanup_words_ struct words argv = {0}, variables = {0};
        int r = choose_trainer(slot);
        if (r < 0)
                return error_set(err, r, "this worker does not serve the trainer of the trial");
        r = workdir_prepare(workdir, slot->id, err);
        if (r < 0)
                return r;
        _cleanup_free_ char *folder = workdir_trial(workdir, slot->id, NULL), *checkpoint = workdir_trial(workdir, slot->id, "checkpoint"),
                            *output = workdir_trial(workdir, slot->id, "output"), *journal = workdir_trial(workdir, slot->id, "points.jsonl");
        if (!folder || !checkpoint || !output)
                return error_set(err, -ENOMEM, "out of memory");
        slot->had_checkpoint = workdir_has_checkpoint(workdir, slot->id);
        if (journal)
                reporter_keep_journal(slot->reporter, journal, slot->had_checkpoint);
        r = command_line(slot, &argv);
        if (r == 0)
                r = environment(slot, checkpoint, output, &variables);
        if (r < 0)
                return error_set(err, r, "the trainer's arguments are too many");
        char *input = slot->command ? json_text(json_object_get(slot->trial, "params")) : trainer_input(slot, checkpoint, output);
        if (!input)
                return error_set(err, -ENOMEM, "out of memory");
        slot->oom_kills_before = count_oom_kills();
        struct process_events events = {.data = slot, .line = on_line, .end = on_end};
        return process_start(slot->shared->loop, &argv, &variables, folder, input, &events, &slot->process, err);
}

static bool folder_is_free(const struct slot *slot) {
        for (size_t i = 0; i < slot->shared->n_slots; i++)
                if (slot->shared->slots[i] != slot && slot_uses(slot->shared->slots[i], slot->id))
                        return false;
        return true;
}

/* Why a trial could not be started, in the contract's words. */
static const char *start_failure(int code) {
        switch (code) {
        case -E2BIG:
                return "bad_config";
        case -ENOSPC:
        case -EDQUOT:
        case -EROFS:
        case -EIO:
                return "io";
        default:
                return "crashed";
        }
}

static void start_if_possible(struct slot *slot) {
        struct error err;
        if (!folder_is_free(slot))
                return;
        int r = start(slot, &err);
        if (r < 0) {
                log_error("a trial cannot be started", log_s("trial", slot->id), log_s("why", err.text));
                json_t *detail = text_for_report(err.text, sizeof err.text, 0);
                conclude(slot, json_pack("{s:s, s:s, s:o}", "state", "failed", "reason", start_failure(r), "detail", detail));
                return;
        }
        log_info("trial started", log_s("trial", slot->id), log_s("sweep", slot->sweep), log_i("resumes", slot->had_checkpoint));
        move_to(slot, SLOT_RUNNING);
}

void slot_take(struct slot *slot, json_t *trial) {
        slot->trial = json_incref(trial);
        slot->taken_ms = world_mono_ms(slot->shared->world);
        slot->id = json_string_value(json_object_get(trial, "id"));
        slot->sweep = json_string_value(json_object_get(trial, "sweep"));
        slot->lease = json_string_value(json_object_get(trial, "lease"));
        slot->sweep = workdir_accepts_id(slot->sweep) ? slot->sweep : NULL;
        json_t *metric = json_object_get(trial, "metric");
        const char *goal = json_string_value(json_object_get(metric, "goal"));
        slot->metric = json_string_value(json_object_get(metric, "name"));
        slot->maximize = goal && strcmp(goal, "maximize") == 0;
        move_to(slot, SLOT_WAITING);
        if (reporter_new(slot->shared->net, slot->shared->world, trial, on_command, slot, &slot->reporter) < 0) {
                log_error("out of memory: a claimed trial is not started", log_s("trial", slot->id));
                become_idle(slot);
                return;
        }
        slot_pump(slot);
}

void slot_pump(struct slot *slot) {
        if (slot->state == SLOT_WAITING)
                start_if_possible(slot);
        if (slot->state == SLOT_IDLE)
                return;
        if (slot->state != SLOT_DISCARDING)
                reporter_pump(slot->reporter);
        if (slot->kill_at_ms && world_mono_ms(slot->shared->world) >= slot->kill_at_ms) {
                log_warning("the trainer does not end: killing it", log_s("trial", slot->id));
                process_signal(slot->process, SIGKILL);
                slot->kill_at_ms = 0;
        }
}

void slot_release(struct slot *slot) {
        uint64_t kill_at_ms = world_mono_ms(slot->shared->world) + RELEASE_PATIENCE_MS;
        if (slot->state == SLOT_RUNNING)
                ask_to_end(slot, SLOT_RELEASING, RELEASE_PATIENCE_MS);
        else if (slot->state == SLOT_STOPPING && kill_at_ms < slot->kill_at_ms)
                slot->kill_at_ms = kill_at_ms;
        else if (slot->state == SLOT_WAITING)
                conclude(slot, verdict_released(workdir_has_checkpoint(slot->shared->workdir, slot->id), workdir_is_shared(slot->shared->workdir),
                                                slot->shared->options->name));
}

void slot_abandon(struct slot *slot) {
        if (slot->process)
                process_signal(slot->process, SIGKILL);
        if (slot->state == SLOT_IDLE || slot->state == SLOT_DISCARDING)
                return;
        bool has_checkpoint = workdir_has_checkpoint(slot->shared->workdir, slot->id);
        _cleanup_json_ json_t *outcome = verdict_released(has_checkpoint, workdir_is_shared(slot->shared->workdir), slot->shared->options->name);
        json_t *parcel = outcome ? reporter_seal(slot->reporter, outcome) : NULL;
        if (parcel)
                delivery_add(slot->shared->delivery, parcel);
}

enum slot_state slot_state(const struct slot *slot) {
        return slot->state;
}

bool slot_uses(const struct slot *slot, const char *trial) {
        return slot->state != SLOT_IDLE && slot->state != SLOT_WAITING && strcmp(slot->id, trial) == 0;
}

const char *slot_lease(const struct slot *slot) {
        return slot->lease;
}
