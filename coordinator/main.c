/* sweepd, the coordinator. From here on:
 *
 *   main        reads the configuration, opens the database and the listening socket, then waits for a signal
 *   http/       one thread of libmicrohttpd: requests become api_calls
 *   http/core   the core thread: runs them through api/ in turns, each turn one transaction of store/
 *   http/proposer  computes proposals meanwhile
 *
 * Ending, on SIGTERM or SIGINT, within five seconds: no more connections; what is in hand is answered, parked claims
 * with 503; the database is closed last. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/world.h"
#include "http/core.h"
#include "http/http.h"
#include "http/tokens.h"
#include "notify.h"
#include "store/store.h"

#define EXIT_USAGE 2
#define PROPOSER_TIMEOUT_MS 2000
#define SEND_TIMEOUT_MS 1500
#define CALLS_MAX 8192
#define PARKED_MAX 10000
#define PEM_BYTES_MAX (1u << 20)

static const struct config_option options[] = {
        {"config", CONFIG_TEXT, "FILE", NULL, 0, 0, "read options from FILE: 'key = value' lines", true},
        {"listen", CONFIG_TEXT, "ADDR:PORT", "127.0.0.1:8484", 0, 0, "where to listen; port 0 is any free one", false},
        {"address-file", CONFIG_TEXT, "FILE", NULL, 0, 0, "write the URL to FILE once ready", false},
        {"database", CONFIG_TEXT, "FILE", "./sweepd.db", 0, 0, "the SQLite database", false},
        {"token-file", CONFIG_TEXT, "FILE", NULL, 0, 0, "who may call: 'role name token' lines, mode 0600", false},
        {"no-auth", CONFIG_FLAG, NULL, NULL, 0, 0, "serve requests without a token; loopback addresses only", false},
        {"tls-cert", CONFIG_TEXT, "FILE", NULL, 0, 0, "PEM certificate chain; with --tls-key: HTTPS", false},
        {"tls-key", CONFIG_TEXT, "FILE", NULL, 0, 0, "PEM private key", false},
        {"lease-s", CONFIG_INTEGER, "SECONDS", "60", 1, 86400, "a trial whose worker is silent for so long is lost", false},
        {"max-body-bytes", CONFIG_INTEGER, "N", "8388608", 1024, 1 << 30, "larger request bodies are refused", false},
        {"max-connections", CONFIG_INTEGER, "N", "4096", 8, 60000, "open connections, waiting claims included", false},
        {"log-level", CONFIG_TEXT, "LEVEL", "info", 0, 0, "debug, info, warning or error", false},
        {"dump-config", CONFIG_FLAG, NULL, NULL, 0, 0, "print the effective configuration and end", true},
        {"check-config", CONFIG_FLAG, NULL, NULL, 0, 0, "check the configuration and the files it names, and end", true},
        {0},
};

static const struct config_program program = {
        .name = "sweepd",
        .usage = "[OPTION…]",
        .summary = "The coordinator of hyperparameter sweeps: serves HTTP/JSON, keeps every trial in one SQLite database.",
        .environment = "SWEEPD_",
        .options = options,
};

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)

/* What the options mean, loaded from the files they name. */
struct settings {
        struct tokens *tokens;
        struct buf cert, key; /* PEM */
        struct http_config http;
};

static void settings_fini(struct settings *settings) {
        tokens_free(settings->tokens);
        buf_fini(&settings->cert);
        if (settings->key.data)
                explicit_bzero(settings->key.data, settings->key.len);
        buf_fini(&settings->key);
}

static int read_pem(const struct config *config, const char *option, struct buf *buf, struct error *err) {
        const char *path = config_text(config, option);
        *buf = BUF_INIT(PEM_BYTES_MAX);
        return path ? fs_read(path, buf, err) : 0;
}

static int settings_load(const struct config *config, struct settings *settings, struct error *err) {
        const char *tokens = config_text(config, "token-file");
        enum log_level level;
        if (log_level_parse(config_text(config, "log-level"), &level) < 0)
                return error_set(err, -EINVAL, "log-level: expected debug, info, warning or error");
        log_set_level(level);
        int r = tokens ? tokens_load(tokens, &settings->tokens, err) : 0;
        if (r == 0)
                r = read_pem(config, "tls-cert", &settings->cert, err);
        if (r == 0)
                r = read_pem(config, "tls-key", &settings->key, err);
        if (r < 0)
                return r;
        settings->http = (struct http_config){
                .listen = config_text(config, "listen"),
                .tokens = settings->tokens,
                .no_auth = config_flag(config, "no-auth"),
                .tls_cert = settings->cert.data,
                .tls_key = settings->key.data,
                .max_body_bytes = (size_t)config_integer(config, "max-body-bytes"),
                .max_connections = (unsigned)config_integer(config, "max-connections"),
        };
        return http_check(&settings->http, err);
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
        pthread_sigmask(SIG_BLOCK, ret, NULL);
        signal(SIGPIPE, SIG_IGN);
}

static void wait_for_signal(const sigset_t *set) {
        int number = 0;
        while (sigwait(set, &number) != 0)
                continue;
        log_info("stopping", log_s("signal", number == SIGTERM ? "TERM" : "INT"));
        notify_service_manager("STOPPING=1");
}

/* Answers what is in hand and stops the threads. False when a thread had to be left behind. */
static bool shut_down(struct http *http, struct core *core) {
        http_drain(http);
        bool clean = core_free(core, PROPOSER_TIMEOUT_MS) == 0;
        http_wait_idle(http, SEND_TIMEOUT_MS);
        http_close(http);
        return clean;
}

static int serve(const struct config *config, struct settings *settings, struct store *store, struct error *err) {
        sigset_t signals;
        block_signals(&signals);
        raise_descriptor_limit();
        struct core_config core_config = {
                .lease_s = (double)config_integer(config, "lease-s"),
                .max_parked = PARKED_MAX,
                .max_calls = CALLS_MAX,
        };
        struct http *http = NULL;
        struct core *core = NULL;
        int r = core_new(&core_config, store, world_real(), &core, err);
        if (r < 0)
                return r;
        settings->http.core = core;
        r = http_open(&settings->http, &http, err);
        if (r < 0) {
                core_free(core, PROPOSER_TIMEOUT_MS);
                return r;
        }
        r = announce(config, http_url(http), err);
        if (r == 0)
                wait_for_signal(&signals);
        if (!shut_down(http, core)) {
                store_close(store);
                fflush(stdout);
                _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* a thread still computes: end without its destructors */
        }
        return r;
}

static int fail(const struct error *err, int code) {
        fprintf(stderr, "sweepd: %s\n", err->text);
        return code;
}

int main(int argc, char **argv) {
        struct error err = {0};
        _cleanup_(cleanup_config) struct config *config = NULL;
        int r = config_parse(&program, argc, argv, &config, &err);
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
        umask(0077); /* the database holds everything that people send */
        struct store *store = NULL;
        if (store_open(config_text(config, "database"), &store, &err) < 0)
                return fail(&err, EXIT_FAILURE);
        r = serve(config, &settings, store, &err);
        store_close(store);
        return r < 0 ? fail(&err, EXIT_FAILURE) : EXIT_SUCCESS;
}
