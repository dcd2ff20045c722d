/* What the commands of sweepctl share. A command gets its arguments checked for number, prints results on stdout and
 * everything else on stderr, and returns the exit code. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "client.h"
#include "common/config.h"
#include "document.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct ctl {
        const struct config *config;
        struct client *client;   /* NULL for commands that need no server */
        bool json;               /* --json: print what the server answered */
        const char *const *args; /* after the command's name */
        size_t n_args;
};

/* One row of the table of commands in main.c. */
struct ctl_command {
        const char *name;
        const char *arguments; /* those that may be left out in brackets, at the end */
        const char *options; /* " sort state ": beside the common ones */
        bool offline;
        int (*run)(struct ctl *ctl);
        const char *help;
};
bool ctl_takes_option(const struct ctl_command *command, const char *name);
int print_completion(const char *shell, const struct ctl_command *commands, size_t n, const struct config_option *options);

/* One request. EXIT_FINE for a 2xx answer. Everything else is told on stderr, every fault with its line of `document` (may
 * be NULL), and with --json the answer itself on stdout; then the exit code. The answer is to be freed in either case. */
int ctl_call(struct ctl *ctl, const char *method, const char *path, const json_t *body, bool idempotent, const struct document *document,
             struct answer *ret);

/* A problem object of RFC 9457 with all its faults, on stderr. */
void ctl_print_problem(const struct answer *answer, const struct document *document);

/* A GET whose 200 goes to out as it comes. */
int ctl_copy(struct ctl *ctl, const char *path, FILE *out);

/* "/v1/sweeps/ID/rest" in a new string. Ids with other characters than ids have are told and give NULL. */
char *ctl_path(const char *collection, const char *id, const char *rest);

/* All items of a list, page after page, up to --limit: {"items":[…],"next":…}. query: "state=running" or "". */
int ctl_list(struct ctl *ctl, const char *path, const char *query, json_t **ret);

/* Calls visit for every item of a list, page after page. 0, what visit returned where it is not 0, or the exit code of a call that failed. */
int ctl_each(struct ctl *ctl, const char *path, int (*visit)(void *data, const json_t *item), void *data);

/* One line of JSON on stdout. */
void ctl_print_json(const json_t *value);

/* Tells of something that a request without an answer has removed: "ID  deleted", with --json {"id":ID,"deleted":true}. */
void print_gone(const struct ctl *ctl, const char *id, const char *how);

/* Says an error of ours. Returns EXIT_FAILED. */
int ctl_fail(const struct error *err);

/* Field access for answers, which may lack anything: NULL and 0 instead of trouble. */
const char *field_text(const json_t *object, const char *key);
double field_number(const json_t *object, const char *key);

/* --- commands, one file a resource ----------------------------------------------------------------- */

int command_create(struct ctl *ctl);
int command_check(struct ctl *ctl);
int command_list(struct ctl *ctl);
int command_show(struct ctl *ctl);
int command_best(struct ctl *ctl);
int command_pause(struct ctl *ctl);
int command_resume(struct ctl *ctl);
int command_cancel(struct ctl *ctl);
int command_delete(struct ctl *ctl);
int command_extend(struct ctl *ctl);
int command_export(struct ctl *ctl);
int command_importance(struct ctl *ctl);
int command_report(struct ctl *ctl);
int command_fetch_model(struct ctl *ctl);
int command_watch(struct ctl *ctl);
int command_edit(struct ctl *ctl);
int command_history(struct ctl *ctl);

int command_trials(struct ctl *ctl);
int command_trial(struct ctl *ctl);
int command_import(struct ctl *ctl);
int command_enqueue(struct ctl *ctl);
int command_reproduce(struct ctl *ctl);
int command_retry(struct ctl *ctl);

int command_workers(struct ctl *ctl);
int command_drain(struct ctl *ctl);
int command_undrain(struct ctl *ctl);
int command_forget(struct ctl *ctl);

/* Of a trial that its sweep did not run: where its value is from. "" of others. */
const char *trial_origin(const json_t *trial, char *text, size_t size);

/* Shared by commands: the lines that describe one trial. */
void print_trial(const json_t *trial, FILE *out);
