/* Commands about workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "ctl.h"
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
        int r = table_init(&table, (const char *[]){"WORKER", "NAME", "STATE", ">SLOTS", ">RUNNING", "LAST SEEN", NULL});
        size_t i;
        json_t *worker;
        json_array_foreach(json_object_get(list, "items"), i, worker) {
                char id[CELL_BYTES], name[CELL_BYTES], state[CELL_BYTES], slots[CELL_BYTES], running[32], seen[CELL_BYTES];
                snprintf(running, sizeof running, "%zu", json_array_size(json_object_get(worker, "trials")));
                if (r == 0)
                        r = table_add(&table, (const char *[]){text_of(json_object_get(worker, "id"), id, sizeof id),
                                                               text_of(json_object_get(worker, "name"), name, sizeof name),
                                                               text_of(json_object_get(worker, "state"), state, sizeof state),
                                                               text_of(json_object_get(worker, "slots"), slots, sizeof slots), running,
                                                               text_of(json_object_get(worker, "last_seen"), seen, sizeof seen)});
        }
        table_print(&table, stdout);
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

int command_drain(struct ctl *ctl) {
        __attribute__((cleanup(answer_fini))) struct answer answer = {0};
        _cleanup_json_ json_t *list = NULL;
        int code = get_workers(ctl, &list);
        if (code != EXIT_FINE)
                return code;
        const char *id = find_worker(list, ctl->args[0]);
        if (!id) {
                fprintf(stderr, "sweepctl: no worker is called '%s'\n", ctl->args[0]);
                return EXIT_FAILED;
        }
        _cleanup_free_ char *path = ctl_path("workers", id, "/drain");
        code = path ? ctl_call(ctl, "POST", path, NULL, false, NULL, &answer) : EXIT_FAILED;
        if (code != EXIT_FINE)
                return code;
        if (ctl->json)
                ctl_print_json(answer.body);
        else
                printf("%s  %s\n", id, field_text(answer.body, "state"));
        return EXIT_FINE;
}
