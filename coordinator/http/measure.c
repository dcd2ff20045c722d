#include "http/measure.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "http/exporter.h"
#include "http/feed.h"
#include "http/server.h"

#define TEXT_BYTES_MAX (4u << 20)

/* The last stands for all others. */
static const int codes[N_CODES] = {200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 304, 0};

void measure_answer(struct measures *measures, enum route route, int status, double seconds) {
        size_t i = 0;
        while (i < N_CODES - 1 && codes[i] != status)
                i++;
        measures->codes[route][i]++;
        histogram_add(&measures->seconds[route], &histogram_seconds, seconds);
}

static void label_route(int route, char ret[static 96]) {
        const struct route_info *info = route < N_ROUTES ? route_info((enum route)route) : NULL;
        snprintf(ret, 96, "method=\"%s\",route=\"%s\"", info ? info->method : "", info ? info->path : "");
}

static void write_requests(const struct measures *measures, struct buf *buf) {
        char route[96], labels[128];
        metrics_family(buf, "sweepd_http_requests", "counter", NULL, "Answers by route and status; an empty route is a path or method that is none.");
        for (int i = 0; i <= N_ROUTES; i++)
                for (int c = 0; c < N_CODES; c++)
                        if (measures->codes[i][c] > 0) {
                                label_route(i, route);
                                snprintf(labels, sizeof labels, "%s,code=\"%d\"", route, codes[c]);
                                metrics_sample(buf, "sweepd_http_requests", "_total", labels, (double)measures->codes[i][c]);
                        }
        metrics_family(buf, "sweepd_http_request_seconds", "histogram", "seconds", "From the first header to the answer; claims wait for trials.");
        for (int i = 0; i <= N_ROUTES; i++)
                if (measures->seconds[i].n > 0) {
                        label_route(i, route);
                        metrics_histogram(buf, "sweepd_http_request_seconds", route, &histogram_seconds, &measures->seconds[i]);
                }
}

static void write_gauge(struct buf *buf, const char *name, const char *unit, const char *help, double value) {
        metrics_family(buf, name, "gauge", unit, help);
        metrics_sample(buf, name, "", "", value);
}

static void write_counter(struct buf *buf, const char *name, const char *unit, const char *help, double value) {
        metrics_family(buf, name, "counter", unit, help);
        metrics_sample(buf, name, "_total", "", value);
}

static void write_server(struct http *http, struct buf *buf) {
        struct core_counts core;
        struct feed_counts feed;
        core_count(http->config.core, &core);
        feed_count(http->config.feed, &feed);
        pthread_mutex_lock(&http->lock);
        struct MHD_Daemon *daemon = http->daemon; /* NULL while http_open has not got it yet */
        pthread_mutex_unlock(&http->lock);
        const union MHD_DaemonInfo *info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS) : NULL;
        write_gauge(buf, "sweepd_http_connections", NULL, "Open connections.", info ? info->num_connections : 0);
        write_gauge(buf, "sweepd_http_connections_limit", NULL, "Connections that may be open at once.", http->config.max_connections);
        write_gauge(buf, "sweepd_queue_calls", NULL, "Requests that wait for the core thread's next turn.", (double)core.n_calls);
        write_gauge(buf, "sweepd_queue_calls_limit", NULL, "Requests that may wait; one more is answered 429.", (double)core.max_calls);
        write_gauge(buf, "sweepd_disk_nearly_full", NULL, "1 while no new work is taken for want of disk space.", core_is_room_short(http->config.core));
        write_gauge(buf, "sweepd_proposer_jobs", NULL, "Proposals that wait to be computed.", (double)core.n_jobs);
        metrics_family(buf, "sweepd_proposal_seconds", "histogram", "seconds", "One computation for proposals: of a proposal, or ahead of a result what the next one needs of the model.");
        metrics_histogram(buf, "sweepd_proposal_seconds", "", &histogram_seconds, &core.proposal_s);
        metrics_family(buf, "sweepd_explanation_seconds", "histogram", "seconds", "Computing one answer about the model for a person.");
        metrics_histogram(buf, "sweepd_explanation_seconds", "", &histogram_seconds, &core.explanation_s);
        write_gauge(buf, "sweepd_exports", NULL, "Exports on their way.", (double)exporter_count(http->config.exporter));
        write_gauge(buf, "sweepd_events_readers", NULL, "Open streams of events.", (double)feed.n_readers);
        write_gauge(buf, "sweepd_events_journal_bytes", "bytes", "Held for readers of events that come back.", (double)feed.n_bytes);
        write_counter(buf, "sweepd_events_published", NULL, "Events told to readers.", (double)feed.n_published);
        write_counter(buf, "sweepd_events_readers_dropped", NULL, "Readers that were too slow.", (double)feed.n_dropped);
}

static double resident_bytes(void) {
        _cleanup_file_ FILE *file = fopen("/proc/self/statm", "re");
        long pages = 0;
        return file && fscanf(file, "%*s %ld", &pages) == 1 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : 0;
}

static double open_files(void) {
        DIR *folder = opendir("/proc/self/fd");
        double n = -3; /* ".", ".." and the folder's own */
        while (folder && readdir(folder))
                n++;
        if (folder)
                closedir(folder);
        return n > 0 ? n : 0;
}

static double seconds_of(struct timeval time) {
        return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static void write_process(const struct http *http, struct buf *buf) {
        struct rusage usage = {0};
        getrusage(RUSAGE_SELF, &usage);
        write_gauge(buf, "process_resident_memory_bytes", "bytes", "Memory in use.", resident_bytes());
        write_gauge(buf, "process_open_fds", NULL, "Open files and sockets.", open_files());
        write_counter(buf, "process_cpu_seconds", "seconds", "Processor time.", seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
        write_gauge(buf, "process_start_time_seconds", "seconds", "Since 1970.", http->begun_s);
        metrics_family(buf, "sweepd_build", "info", NULL, "The program.");
        metrics_sample(buf, "sweepd_build", "_info", "version=\"" SWEEPD_VERSION "\"", 1);
}

char *measure_text(struct http *http, const char *of_api) {
        _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
        buf_puts(&text, of_api);
        write_requests(&http->measures, &text);
        write_server(http, &text);
        if (http->config.measure)
                http->config.measure(http->config.measure_data, &text);
        write_process(http, &text);
        return buf_puts(&text, "# EOF\n") < 0 ? NULL : TAKE(text.data);
}
