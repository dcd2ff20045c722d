#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/credential.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/notify.h"
#include "http/tokens.h"
#include "store/store.h"
#include "token_source.h"

#define SECRET_BYTES_MIN 16
#define SECRET_BYTES_MAX 4096
#define WEBHOOKS_MAX 16
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
        {"min-free-mb", CONFIG_INTEGER, "N", "64", 0, INT64_MAX >> 20, "take no new work with less free space on the database's disk; 0: do not watch", false},
        {"models-dir", CONFIG_TEXT, "DIR", NULL, 0, 0, "keep the best models of each sweep there, for sweepctl fetch-model; without it none are kept", false},
        {"models-max-mb", CONFIG_INTEGER, "N", "4096", 1, INT64_MAX >> 20, "of all kept models together", false},
        {"models-per-sweep", CONFIG_INTEGER, "N", "1", 1, 100, "the best models kept of each sweep", false},
        {"webhook", CONFIG_LIST, "URL", NULL, 0, 0, "tell this address when sweeps end and trials fail; may be repeated", false},
        {"webhook-event", CONFIG_LIST, "EVENT", NULL, 0, 0, "only of these, where a spec has no notify: finished, cancelled, paused, trial_failed; may be repeated (default: all but paused)", false},
        {"webhook-secret-file", CONFIG_TEXT, "FILE", NULL, 0, 0, "sign what webhooks are told with this file's one line, mode 0600", false},
        {"lease-s", CONFIG_INTEGER, "SECONDS", "60", 1, 86400, "a trial whose worker is silent for so long is lost", false},
        {"max-body-bytes", CONFIG_INTEGER, "N", "8388608", 1024, 1 << 30, "larger request bodies are refused", false},
        {"max-connections", CONFIG_INTEGER, "N", "4096", 8, 60000, "open connections, waiting claims included", false},
        {"max-connections-per-address", CONFIG_INTEGER, "N", "2048", 0, 60000, "of them from one address, unless --listen is loopback; 0: all",
         false},
        {"log-level", CONFIG_TEXT, "LEVEL", "info", 0, 0, "debug, info, warning or error", false},
        {"dump-config", CONFIG_FLAG, NULL, NULL, 0, 0, "print the effective configuration and end", true},
        {"check-config", CONFIG_FLAG, NULL, NULL, 0, 0, "check the configuration and the files it names, and end", true},
        {0},
};

const struct config_program settings_program = {
        .name = "sweepd",
        .usage = "[OPTION…]\n       sweepd backup|check|doctor|dump|import-optuna|token …  (each has its own --help)",
        .summary = "The coordinator of hyperparameter sweeps: serves HTTP/JSON, keeps every trial in one SQLite database.",
        .environment = "SWEEPD_",
        .options = options,
};

void pem_fini(struct buf *pem) {
        if (pem->data)
                explicit_bzero(pem->data, pem->len);
        buf_fini(pem);
}

int pem_read(const char *path, struct buf *ret, struct error *err) {
        *ret = BUF_INIT(PEM_BYTES_MAX);
        return path ? fs_read(path, ret, err) : 0;
}

void settings_fini(struct settings *settings) {
        tokens_free(settings->tokens);
        store_close(settings->token_store);
        store_close(settings->export_store);
        pem_fini(&settings->cert);
        pem_fini(&settings->key);
        if (settings->webhook_secret)
                explicit_bzero(settings->webhook_secret, strlen(settings->webhook_secret));
        free(settings->webhook_secret);
        free(settings->token_path);
        free(settings->cert_path);
        free(settings->key_path);
        *settings = (struct settings){0};
}

static char *path_of(const struct config *config, const char *option, const char *credential) {
        const char *path = config_text(config, option);
        return path ? strdup(path) : credential_path("sweepd", credential);
}

void settings_find_files(const struct config *config, struct settings *settings) {
        settings->token_path = path_of(config, "token-file", "tokens");
        settings->cert_path = path_of(config, "tls-cert", "tls-cert");
        settings->key_path = path_of(config, "tls-key", "tls-key");
}

int settings_load_certificate(struct settings *settings, struct error *err) {
        int r = pem_read(settings->cert_path, &settings->cert, err);
        return r < 0 ? r : pem_read(settings->key_path, &settings->key, err);
}

static int use_token_store(const char *database, struct settings *settings, struct error *err) {
        int r = store_open_beside(database, &settings->token_store, err);
        if (r < 0)
                return r;
        struct token_source source = token_source_of(settings->token_store);
        tokens_set_source(settings->tokens, &source);
        return 0;
}

/* Only what is there is opened; what must be migrated first may hold tokens, which http_open will see. */
int settings_load_tokens(const struct config *config, struct settings *settings, struct error *err) {
        struct error ignored;
        settings->http.tokens = settings->tokens;
        return use_token_store(config_text(config, "database"), settings, &ignored) == -EPROTO ? 0 : http_check_callers(&settings->http, err);
}

void settings_describe_http(const struct config *config, int listen_fd, struct settings *settings) {
        settings->http = (struct http_config){
                .listen = config_text(config, "listen"),
                .listen_fd = listen_fd,
                .tokens = settings->tokens,
                .no_auth = config_flag(config, "no-auth"),
                .tls_cert = settings->cert.data,
                .tls_key = settings->key.data,
                .max_body_bytes = (size_t)config_integer(config, "max-body-bytes"),
                .max_connections = (unsigned)config_integer(config, "max-connections"),
                .max_connections_per_address = (unsigned)config_integer(config, "max-connections-per-address"),
        };
}

/* One line of at least 16 printable characters, which nobody else may read. */
static int read_secret(const char *path, char **ret, struct error *err) {
        _cleanup_(pem_fini) struct buf text = BUF_INIT(SECRET_BYTES_MAX);
        struct stat status;
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        if (stat(path, &status) < 0 || (status.st_mode & credential_forbidden_bits(path)))
                return error_set(err, -EPERM, "webhook-secret-file: %s may be read by others: chmod 600 it", path);
        size_t len = text.data ? strcspn(text.data, "\r\n") : 0, n = 0;
        while (n < len && text.data[n] > ' ' && text.data[n] <= '~')
                n++;
        if (n < len || len < SECRET_BYTES_MIN || strspn(text.data + len, "\r\n") != text.len - len)
                return error_set(err, -EINVAL, "webhook-secret-file: %s: expected one line of at least %d printable characters without spaces", path, SECRET_BYTES_MIN);
        *ret = strndup(text.data, len);
        return *ret ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int settings_load_webhooks(const struct config *config, struct settings *settings, struct error *err) {
        size_t n_events;
        const char *const *events = config_list(config, "webhook-event", &n_events);
        struct api_webhooks *webhooks = &settings->webhooks;
        webhooks->urls = config_list(config, "webhook", &webhooks->n_urls);
        if (webhooks->n_urls > WEBHOOKS_MAX)
                return error_set(err, -E2BIG, "webhook: at most %d", WEBHOOKS_MAX);
        for (size_t i = 0; i < webhooks->n_urls; i++)
                if (notify_check_url(webhooks->urls[i], err) < 0)
                        return -EINVAL;
        if (n_events == 0)
                webhooks->events = 1u << WEBHOOK_FINISHED | 1u << WEBHOOK_CANCELLED | 1u << WEBHOOK_TRIAL_FAILED;
        for (size_t i = 0; i < n_events; i++) {
                int event = webhook_event_from_name(events[i]);
                if (event < 0)
                        return error_set(err, -EINVAL, "webhook-event: expected finished, cancelled, paused or trial_failed, got '%s'", events[i]);
                webhooks->events |= 1u << event;
        }
        const char *given = config_text(config, "webhook-secret-file");
        _cleanup_free_ char *path = given ? strdup(given) : credential_path("sweepd", "webhook-secret");
        return path ? read_secret(path, &settings->webhook_secret, err) : 0;
}

int settings_load(const struct config *config, struct settings *settings, struct error *err) {
        enum log_level level;
        if (log_level_parse(config_text(config, "log-level"), &level) < 0)
                return error_set(err, -EINVAL, "log-level: expected debug, info, warning or error");
        log_set_level(level);
        settings_find_files(config, settings);
        int listen_fd;
        int r = notify_take_socket(&listen_fd, err);
        if (r == 0)
                r = tokens_new(settings->token_path, &settings->tokens, err);
        if (r == 0)
                r = settings_load_certificate(settings, err);
        if (r == 0)
                r = settings_load_webhooks(config, settings, err);
        if (r < 0)
                return r;
        settings_describe_http(config, listen_fd, settings);
        r = http_check(&settings->http, err);
        return r < 0 ? r : settings_load_tokens(config, settings, err);
}

int settings_open_token_store(const struct config *config, struct settings *settings, struct error *err) {
        return settings->token_store ? 0 : use_token_store(config_text(config, "database"), settings, err);
}
