/* A watcher of the event stream: it loads everything when it is told `reset` or the coordinator starts, and believes what it is told
 * otherwise. After every healthy turn it must know of each trial what the database does. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "sim.h"
#include "store/statement.h"

struct watcher {
        json_t *sweeps; /* sweep → {trial → state} */
        bool must_load;
};

struct watcher *watcher_new(void) {
        struct watcher *watcher = calloc(1, sizeof *watcher);
        watcher->sweeps = json_object();
        watcher->must_load = true;
        return watcher;
}

void watcher_free(struct watcher *watcher) {
        json_decref(watcher->sweeps);
        free(watcher);
}

void watcher_lost(struct watcher *watcher) {
        watcher->must_load = true;
}

static json_t *trials_of(struct watcher *watcher, const char *sweep) {
        json_t *trials = json_object_get(watcher->sweeps, sweep);
        if (!trials)
                json_object_set_new(watcher->sweeps, sweep, trials = json_object());
        return trials;
}

void watcher_told(void *data, const char *name, const char *sweep, const char *text) {
        struct sim *sim = data;
        struct watcher *watcher = sim->watcher;
        if (sim->disk.is_down)
                return;
        memory_pause(true);
        json_t *body = NULL;
        json_read(text, strlen(text), &body, NULL);
        if (strcmp(name, "reset") == 0)
                watcher->must_load = true;
        else if (strcmp(name, "trial") == 0)
                json_object_set(trials_of(watcher, sweep), json_string_value(json_object_get(body, "id")), json_object_get(body, "state"));
        else if (strcmp(name, "deleted") == 0 && json_object_get(body, "sweep"))
                json_object_del(watcher->sweeps, json_string_value(json_object_get(body, "sweep")));
        json_decref(body);
        memory_pause(false);
}

/* Between turns: the database is read as it is. */
void watcher_compare(struct sim *sim) {
        struct watcher *watcher = sim->watcher;
        sqlite3_stmt *s = NULL;
        size_t n = 0, n_known = 0;
        if (sqlite3_prepare_v2(sim->store->db, "SELECT s.public_id, t.public_id, t.state FROM trials t JOIN sweeps s ON s.id = t.sweep", -1, &s, NULL) !=
            SQLITE_OK)
                sim_complain(sim, "the watcher's own query: %s", sqlite3_errmsg(sim->store->db));
        if (watcher->must_load)
                json_object_clear(watcher->sweeps);
        for (; s && sqlite3_step(s) == SQLITE_ROW; n++) {
                const char *sweep = (const char *)sqlite3_column_text(s, 0), *trial = (const char *)sqlite3_column_text(s, 1),
                           *state = (const char *)sqlite3_column_text(s, 2);
                json_t *trials = trials_of(watcher, sweep);
                if (watcher->must_load)
                        json_object_set_new(trials, trial, json_string(state));
                const char *told = json_string_value(json_object_get(trials, trial));
                if (!told || strcmp(told, state) != 0)
                        sim_complain(sim, "trial %s is %s, and who watches the events was told %s", trial, state, told ? told : "nothing");
        }
        sqlite3_finalize(s);
        const char *sweep;
        json_t *trials;
        json_object_foreach(watcher->sweeps, sweep, trials)
                n_known += json_object_size(trials);
        (void)sweep;
        if (n_known != n)
                sim_complain(sim, "there are %zu trials, and who watches the events knows of %zu", n, n_known);
        watcher->must_load = false;
}
