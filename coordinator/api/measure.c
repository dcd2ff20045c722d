/* GET /metrics: what the coordinator itself counts. The transport adds what it counts, and the end.
 *
 * Counters are the core thread's own and start at 0 with the process; gauges are read from the store and from memory when
 * somebody asks. A move that was counted and then undone by a failure stays counted. */
#include <string.h>

#include "api/core.h"

#define TEXT_BYTES_MAX (1u << 20)

static void write_states(struct buf *buf, const char *name, const char *suffix, const char *(*name_of)(int state), int n, const uint64_t *counts) {
        for (int i = 0; i < n; i++) {
                char labels[64];
                snprintf(labels, sizeof labels, "state=\"%s\"", name_of(i));
                metrics_sample(buf, name, suffix, labels, (double)counts[i]);
        }
}

static const char *name_of_trial(int state) {
        return trial_state_name((enum trial_state)state);
}

static const char *name_of_sweep(int state) {
        return sweep_state_name((enum sweep_state)state);
}

static const char *name_of_worker(int state) {
        return worker_state_name((enum worker_state)state);
}

static void write_gauge(struct buf *buf, const char *name, const char *help, double value) {
        metrics_family(buf, name, "gauge", NULL, help);
        metrics_sample(buf, name, "", "", value);
}

static int write_stored(struct api *api, struct buf *buf) {
        uint64_t trials[N_TRIAL_STATES] = {0}, sweeps[N_SWEEP_STATES] = {0}, n_webhooks = 0;
        int r = store_count_all(api->store, trials, sweeps);
        if (r == 0)
                r = store_webhook_count(api->store, &n_webhooks);
        if (r < 0)
                return r;
        metrics_family(buf, "sweepd_trials", "gauge", NULL, "Trials of all sweeps by state.");
        write_states(buf, "sweepd_trials", "", name_of_trial, N_TRIAL_STATES, trials);
        metrics_family(buf, "sweepd_sweeps", "gauge", NULL, "Sweeps by state.");
        write_states(buf, "sweepd_sweeps", "", name_of_sweep, N_SWEEP_STATES, sweeps);
        write_gauge(buf, "sweepd_webhooks_waiting", "Webhook messages that are still to be delivered.", (double)n_webhooks);
        return 0;
}

static void write_workers(const struct api *api, struct buf *buf) {
        uint64_t workers[N_WORKER_STATES] = {0};
        for (size_t i = 0; i < api->n_peers; i++)
                workers[peer_state(api, &api->peers[i])]++;
        metrics_family(buf, "sweepd_workers", "gauge", NULL, "Registered workers by state.");
        write_states(buf, "sweepd_workers", "", name_of_worker, N_WORKER_STATES, workers);
}

static void write_counter(struct buf *buf, const char *name, const char *help, uint64_t value) {
        metrics_family(buf, name, "counter", NULL, help);
        metrics_sample(buf, name, "_total", "", (double)value);
}

static void write_counted(const struct api *api, struct buf *buf) {
        const struct counts *counts = &api->counts;
        write_gauge(buf, "sweepd_leases", "Leases that are good.", (double)api->leases.n);
        write_gauge(buf, "sweepd_parked_claims", "Claims that wait for a trial.", (double)api->n_parked);
        write_gauge(buf, "sweepd_parked_claims_limit", "Claims that may wait at once; one more is answered 503.", (double)api->config.max_parked);
        write_gauge(buf, "sweepd_healthy", "1 while the last transaction could be committed.", api->is_healthy);
        metrics_family(buf, "sweepd_trial_moves", "counter", NULL, "Trials that came into a state.");
        write_states(buf, "sweepd_trial_moves", "_total", name_of_trial, N_TRIAL_STATES, counts->moves);
        metrics_family(buf, "sweepd_lease_ends", "counter", NULL, "Leases that ended without a report.");
        metrics_sample(buf, "sweepd_lease_ends", "_total", "reason=\"expired\"", (double)counts->leases_expired);
        metrics_sample(buf, "sweepd_lease_ends", "_total", "reason=\"timeout\"", (double)counts->leases_timed_out);
        write_counter(buf, "sweepd_quarantines", "Workers that were given no more trials since theirs failed.", counts->quarantines);
        write_counter(buf, "sweepd_metric_points", "Points of metrics that were accepted.", counts->points);
        write_counter(buf, "sweepd_commit_failures", "Transactions that could not be committed.", counts->commit_failures);
        write_counter(buf, "sweepd_webhooks_refused", "Webhook messages that were never kept, as too many waited.", counts->webhooks_refused);
        metrics_family(buf, "sweepd_commit_seconds", "histogram", "seconds", "Commits, with their fsync, of turns that wrote for somebody.");
        metrics_histogram(buf, "sweepd_commit_seconds", "", &histogram_seconds, &counts->commit_s);
        metrics_family(buf, "sweepd_turn_seconds", "histogram", "seconds", "Turns of the core thread that wrote for somebody, commit included.");
        metrics_histogram(buf, "sweepd_turn_seconds", "", &histogram_seconds, &counts->turn_s);
        metrics_family(buf, "sweepd_commit_writes", "histogram", NULL, "Writes that shared one commit.");
        metrics_histogram(buf, "sweepd_commit_writes", "", &histogram_sizes, &counts->writes);
}

int measure_get(struct api *api, struct api_call *call) {
        struct list_query query;
        int r = reply_query(call, LIST_NOTHING, &query);
        if (r != 0)
                return r < 0 ? r : 0;
        _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
        r = write_stored(api, &text);
        if (r < 0)
                return r;
        write_workers(api, &text);
        write_counted(api, &text);
        return reply_text(call, 200, TAKE(text.data), "application/openmetrics-text; version=1.0.0; charset=utf-8");
}
