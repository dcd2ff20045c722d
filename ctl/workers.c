/* Commands about workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rfc3339.h"
#include "common/world.h"
#include "ctl.h"
#include "screen.h"
#include "table.h"

static int get_workers(struct ctl *ctl, json_t **ret) {
        const char *state = config_text(ctl->config, "state");
        char query[64] = "";
        if (state && strspn(state, "abcdefghijklmnopqrstuvwxyz_") != strlen(state)) {
                fprintf(stderr, "sweepctl: '%s' is no state\n", state);
                return EXIT_USAGE;
        }
        if (state)
                snprintf(query, sizeof query, "state=%.40s", state);
        return ctl_list(ctl, "/v1/workers", query, ret);
}

/* What keeps a worker from trials: its quarantine, or the sweeps that it cannot serve. NULL when nothing does. */
static const char *why_not(const json_t *worker, char *ret, size_t size) {
        const char *quarantine = field_text(json_object_get(worker, "quarantine"), "why");
        const json_t *excluded = json_object_get(worker, "excluded"), *first = json_array_get(excluded, 0);
        const char *sweep = field_text(first, "sweep"), *why = field_text(first, "why");
        if (quarantine)
                snprintf(ret, size, "%s", quarantine);
        else if (json_is_string(json_object_get(worker, "name_shared_since")))
                snprintf(ret, size, "two processes have this name: give each host one of its own");
        else if (sweep && why && json_array_size(excluded) > 1)
                snprintf(ret, size, "sweep %s and %zu more: %s", sweep, json_array_size(excluded) - 1, why);
        else if (sweep && why)
                snprintf(ret, size, "sweep %s: %s", sweep, why);
        else
                return NULL;
        return ret;
}

/* "12s ago"; clocks that differ a little give no negative age. */
static const char *text_of_age(const char *time, char *ret, size_t size) {
        uint64_t then, now = world_wall_ms(world_real());
        char age[32];
        if (!time || rfc3339_parse(time, &then) < 0)
                snprintf(ret, size, "-");
        else
                snprintf(ret, size, "%s ago", text_of_seconds(now > then ? (double)(now - then) / 1000 : 0, age, sizeof age));
        return ret;
}

int command_workers(struct ctl *ctl) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        _cleanup_json_ json_t *list = NULL;
        int code = get_workers(ctl, &list);
        if (code != EXIT_FINE)
                return code;
        if (ctl->json) {
                ctl_print_json(list);
                return EXIT_FINE;
        }
        int r = table_init(&table, (const char *[]){"=WORKER", "NAME", "STATE", ">SLOTS", ">RUNNING", ">SEEN", NULL});
        size_t i;
        json_t *worker;
        json_array_foreach(json_object_get(list, "items"), i, worker) {
                char id[CELL_BYTES], name[CELL_BYTES], state[CELL_BYTES], slots[CELL_BYTES], running[32], seen[64];
                snprintf(running, sizeof running, "%zu", json_array_size(json_object_get(worker, "trials")));
                if (r == 0)
                        r = table_add(&table, (const char *[]){text_of(json_object_get(worker, "id"), id, sizeof id),
                                                               text_of(json_object_get(worker, "name"), name, sizeof name),
                                                               text_of(json_object_get(worker, "state"), state, sizeof state),
                                                               text_of(json_object_get(worker, "slots"), slots, sizeof slots), running,
                                                               text_of_age(field_text(worker, "last_seen"), seen, sizeof seen)});
        }
        table_print(&table, stdout);
        json_array_foreach(json_object_get(list, "items"), i, worker) {
                char why[1024], line[1200];
                const char *name = field_text(worker, "name");
                if (why_not(worker, why, sizeof why)) {
                        snprintf(line, sizeof line, "%.128s: %s", name ? name : "?", why);
                        screen_print_wrapped(stdout, screen_one_line(line), 2, screen_columns(stdout));
                }
        }
        return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

/* People know workers by name; the name of one worker may look like the id of another, then the id counts. */
static const char *find_worker(const json_t *list, const char *wanted) {
        const char *by_name = NULL;
        size_t i;
        json_t *worker;
        json_array_foreach(json_object_get(list, "items"), i, worker) {
                const char *id = field_text(worker, "id"), *name = field_text(worker, "name");
                if (id && strcmp(id, wanted) == 0)
                        return id;
                if (id && name && strcmp(name, wanted) == 0)
                        by_name = id;
        }
        return by_name;
}

static int tell_worker(struct ctl *ctl, const char *method, const char *action, struct answer *answer, const char **ret_id, json_t **ret_list) {
        int code = get_workers(ctl, ret_list);
        if (code != EXIT_FINE)
                return code;
        *ret_id = find_worker(*ret_list, ctl->args[0]);
        if (!*ret_id) {
                fprintf(stderr, "sweepctl: no worker is called '%s'\n", ctl->args[0]);
                return EXIT_FAILED;
        }
        _cleanup_free_ char *path = ctl_path("workers", *ret_id, action);
        return path ? ctl_call(ctl, method, path, NULL, false, NULL, answer) : EXIT_FAILED;
}

static int change_worker(struct ctl *ctl, const char *action) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_json_ json_t *list = NULL;
        const char *id;
        int code = tell_worker(ctl, "POST", action, &answer, &id, &list);
        if (code == EXIT_FINE && ctl->json)
                ctl_print_json(answer.body);
        else if (code == EXIT_FINE)
                screen_print(stdout, "%s  %s\n", id, field_text(answer.body, "state"));
        return code;
}

int command_drain(struct ctl *ctl) {
        return change_worker(ctl, "/drain");
}

int command_undrain(struct ctl *ctl) {
        return change_worker(ctl, "/undrain");
}

int command_forget(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_json_ json_t *list = NULL;
        const char *id;
        int code = tell_worker(ctl, "DELETE", "", &answer, &id, &list);
        if (code == EXIT_FINE)
                print_gone(ctl, id, "forgotten");
        return code;
}
