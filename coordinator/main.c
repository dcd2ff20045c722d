/* sweepd, the coordinator. `sweepd NAME …` runs a subcommand (command.h) and no server. From here on:
 *
 *   main        reads the configuration, opens the database and the listening socket, then waits for a signal
 *   http/       one thread of libmicrohttpd: requests become api_calls
 *   http/core   the core thread: runs them through api/ in turns, each turn one transaction of store/
 *   http/proposer  computes proposals meanwhile
 *   notify/     its thread tells webhooks what the store's outbox holds
 *   http/exporter  reads exports while they are sent
 *
 * While it runs, main takes signals: SIGHUP reads the token file and the certificate again. Between them it cuts connections
 * that dawdle, and tells the service manager's watchdog that the core thread is alive.
 *
 * Ending, on SIGTERM or SIGINT, within five seconds: no more connections; what is in hand is answered, parked claims
 * with 503; the database is closed last. */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "command.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/world.h"
#include "http/core.h"
#include "http/exporter.h"
#include "http/feed.h"
#include "http/http.h"
#include "http/tokens.h"
#include "models/models.h"
#include "notify/notify.h"
#include "outbox.h"
#include "settings.h"
#include "store/store.h"

#define PROPOSER_TIMEOUT_MS 2000
#define SEND_TIMEOUT_MS 1500
#define CALLS_MAX 8192
#define PARKED_MAX 10000
#define TEND_MS 5000

#define SMALL_MAX (32 << 20) /* bytes: the most that glibc takes, and where it comes to by itself once something that large was freed */
#define SPARE_MAX (64 << 20)

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)
CLEANUP_DEFINE(struct feed *, cleanup_feed, feed_free)
CLEANUP_DEFINE(struct exporter *, cleanup_exporter, exporter_free)
CLEANUP_DEFINE(struct models *, cleanup_models, models_close)
#define _cleanup_pem_ _cleanup_(pem_fini)

/* SIGHUP: the token file and the certificate are read again, each taken only when it is whole. */
static void reload(struct settings *settings, struct http *http) {
        struct error err;
        _cleanup_pem_ struct buf cert = BUF_INIT(0), key = BUF_INIT(0);
        notify_reloading();
        int r = tokens_reload(settings->tokens, &err);
        if (r < 0)
                log_error("the token file stays as it was read before", log_s("error", err.text));
        bool tokens_taken = r == 0;
        if (settings->cert_path) {
                r = pem_read(settings->cert_path, &cert, &err);
                if (r == 0)
                        r = pem_read(settings->key_path, &key, &err);
                if (r == 0)
                        r = http_set_certificate(http, cert.data, key.data, &err);
                if (r < 0)
                        log_error("the certificate stays as it was", log_s("error", err.text));
        }
        if (tokens_taken && r == 0)
                log_info("reloaded");
        notify_service_manager("READY=1");
}

/* Each connection is a descriptor; the usual soft limit of 1024 is for programs that use select(2). */
static void raise_descriptor_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int announce(const struct config *config, const char *url, struct error *err) {
        const char *path = config_text(config, "address-file");
        _cleanup_free_ char *line = NULL;
        if (asprintf(&line, "%s\n", url) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        int r = path ? fs_write_atomic(path, line, strlen(line), 0644, err) : 0;
        if (r < 0)
                return r;
        printf("listening on %s\n", url);
        fflush(stdout);
        log_info("listening", log_s("url", url), log_s("version", SWEEPD_VERSION));
        notify_service_manager("READY=1");
        return 0;
}

/* Signals are taken by sigwait in main; every other thread is started with them blocked. */
static void block_signals(sigset_t *ret) {
        sigemptyset(ret);
        sigaddset(ret, SIGTERM);
        sigaddset(ret, SIGINT);
        sigaddset(ret, SIGHUP);
        pthread_sigmask(SIG_BLOCK, ret, NULL);
        signal(SIGPIPE, SIG_IGN);
}

/* Until a signal says that it is time to end. */
static void run_until_signal(const sigset_t *set, struct settings *settings, struct http *http, struct core *core) {
        uint64_t watchdog_ms = notify_watchdog_us() / 1000;
        uint64_t period_ms = watchdog_ms > 0 && watchdog_ms / 3 < TEND_MS ? watchdog_ms / 3 + 1 : TEND_MS;
        const struct timespec period = {.tv_sec = (time_t)(period_ms / 1000), .tv_nsec = (long)(period_ms % 1000) * 1000000};
        for (;;) {
                int number = sigtimedwait(set, NULL, &period);
                if (number == SIGTERM || number == SIGINT) {
                        log_info("stopping", log_s("signal", number == SIGTERM ? "TERM" : "INT"));
                        notify_service_manager("STOPPING=1");
                        return;
                }
                if (number == SIGHUP)
                        reload(settings, http);
                http_tend(http);
                if (watchdog_ms > 0 && core_has_turned(core))
                        notify_service_manager("WATCHDOG=1");
        }
}

/* Answers what is in hand and stops the threads. False when a thread had to be left behind. */
static bool shut_down(struct http *http, struct core *core) {
        http_drain(http);
        bool clean = core_free(core, PROPOSER_TIMEOUT_MS) == 0;
        http_wait_idle(http, SEND_TIMEOUT_MS);
        http_close(http);
        return clean;
}

/* On the core thread. */
static int free_bytes(void *data, uint64_t *ret) {
        return fs_free_bytes(data, ret, NULL);
}

/* *ret NULL = none are kept. */
static int open_models(const struct config *config, struct models **ret, struct error *err) {
        const struct models_config models_config = {
                .folder = config_text(config, "models-dir"),
                .max_bytes = (uint64_t)config_integer(config, "models-max-mb") << 20,
                .per_sweep = (unsigned)config_integer(config, "models-per-sweep"),
                .min_free_bytes = (uint64_t)config_integer(config, "min-free-mb") << 20,
        };
        return models_config.folder ? models_open(&models_config, ret, err) : 0;
}

/* What an earlier process left is told even where no webhook is asked for any more. */
static int start_notifier(const struct config *config, const struct settings *settings, struct outbox *outbox, struct notifier **ret, struct error *err) {
        int r = store_open_beside(config_text(config, "database"), &outbox->store, err);
        if (r < 0)
                return r;
        struct notify_outbox lent = outbox_for_notifier(outbox);
        return notify_new(&lent, settings->webhook_secret, ret, err);
}

static int serve(const struct config *config, struct settings *settings, struct store *store, const sigset_t *signals, struct error *err) {
        raise_descriptor_limit();
        _cleanup_(cleanup_feed) struct feed *feed = NULL;
        struct feed_config feed_config = {.tokens = settings->tokens};
        _cleanup_(cleanup_exporter) struct exporter *exporter = NULL;
        int r = feed_new(&feed_config, &feed, err);
        if (r == 0)
                r = exporter_new(settings->export_store, &exporter, err);
        if (r < 0)
                return r;
        _cleanup_(cleanup_models) struct models *models = NULL;
        r = open_models(config, &models, err);
        if (r < 0)
                return r;
        struct core_config core_config = {
                .lease_s = (double)config_integer(config, "lease-s"),
                .max_parked = PARKED_MAX,
                .max_calls = CALLS_MAX,
                .feed = feed,
                .min_free_bytes = (uint64_t)config_integer(config, "min-free-mb") << 20,
                .free_bytes = free_bytes,
                .free_data = (void *)config_text(config, "database"),
                .models = models,
                .webhooks = settings->webhooks,
        };
        struct http *http = NULL;
        struct core *core = NULL;
        r = core_new(&core_config, store, world_real(), &core, err);
        if (r < 0)
                return r;
        settings->http.core = core;
        settings->http.feed = feed;
        settings->http.exporter = exporter;
        settings->http.models = models;
        struct outbox outbox = {0}; /* its store is the notifier's own */
        settings->http.measure = outbox_measure;
        settings->http.measure_data = &outbox;
        r = http_open(&settings->http, &http, err);
        if (r < 0) {
                core_free(core, PROPOSER_TIMEOUT_MS);
                return r;
        }
        struct notifier *notifier = NULL;
        r = start_notifier(config, settings, &outbox, &notifier, err);
        if (r == 0)
                r = announce(config, http_url(http), err);
        if (r == 0)
                run_until_signal(signals, settings, http, core);
        notify_free(notifier);
        store_close(outbox.store);
        if (!shut_down(http, core)) {
                store_close(store);
                store_close(settings->token_store);
                fflush(stdout);
                _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* a thread still computes: end without its destructors */
        }
        return r;
}

static int fail(const struct error *err, int code) {
        fprintf(stderr, "sweepd: %s\n", err->text);
        return code;
}

/* Matrices of proposals come and go with each: the memory stays with the process. Else the kernel clears it anew for each proposal, in a
 * quarter of its time where several trials are in flight, as these need a second matrix: glibc by itself keeps one. */
static void keep_freed_memory(void) {
        mallopt(M_MMAP_THRESHOLD, SMALL_MAX);
        mallopt(M_TRIM_THRESHOLD, SPARE_MAX);
}

int main(int argc, char **argv) {
        struct error err = {0};
        _cleanup_(cleanup_config) struct config *config = NULL;
        const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;
        if (command)
                return command->run(argc - 1, argv + 1);
        int r = config_parse(&settings_program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r < 0)
                return fail(&err, EXIT_USAGE);
        if (config_flag(config, "dump-config")) {
                config_dump(config, stdout);
                return EXIT_SUCCESS;
        }
        _cleanup_(settings_fini) struct settings settings = {0};
        if (settings_load(config, &settings, &err) < 0)
                return fail(&err, EXIT_USAGE);
        if (config_flag(config, "check-config"))
                return EXIT_SUCCESS;
        keep_freed_memory();
        umask(0077); /* the database holds everything that people send */
        struct store *store = NULL;
        if (store_open(config_text(config, "database"), &store, &err) < 0)
                return fail(&err, EXIT_FAILURE);
        r = settings_open_token_store(config, &settings, &err);
        if (r == 0)
                r = store_open_beside(config_text(config, "database"), &settings.export_store, &err);
        sigset_t signals;
        block_signals(&signals); /* before the first thread, and not before: until here a signal just ends it */
        if (r == 0)
                r = store_checkpoint_aside(store, &err);
        if (r == 0)
                r = serve(config, &settings, store, &signals, &err);
        store_close(store);
        return r < 0 ? fail(&err, EXIT_FAILURE) : EXIT_SUCCESS;
}
