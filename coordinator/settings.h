/* The options of the server, and what they mean once the files that they name are read. For main and `sweepd doctor`. */
#pragma once
#include "common/buf.h"
#include "common/config.h"
#include "common/error.h"
#include "api/api.h"
#include "http/http.h"
#include "notify/notify.h"

struct store;
struct tokens;

extern const struct config_program settings_program;

/* A file that is not named is looked for among the credentials that the service manager gave: `tokens`, `tls-cert`, `tls-key`. */
struct settings {
        struct tokens *tokens;
        char *token_path, *cert_path, *key_path; /* NULL = none */
        struct buf cert, key;                    /* PEM */
        struct http_config http;
        struct store *token_store;  /* the HTTP thread's own */
        struct store *export_store; /* the exporter's */
        struct api_webhooks webhooks;
        char *webhook_secret; /* NULL = none */
};

void pem_fini(struct buf *pem); /* clears it first */
int pem_read(const char *path, struct buf *ret, struct error *err); /* path NULL: nothing */

/* All that can be known without opening anything. To be freed in either case. */
int settings_load(const struct config *config, struct settings *settings, struct error *err);
void settings_fini(struct settings *settings);

/* Parts of it, for one who wants to hear of each. */
void settings_find_files(const struct config *config, struct settings *settings);
int settings_load_certificate(struct settings *settings, struct error *err);
int settings_load_webhooks(const struct config *config, struct settings *settings, struct error *err);
int settings_load_tokens(const struct config *config, struct settings *settings, struct error *err); /* of the file and the database */
void settings_describe_http(const struct config *config, int listen_fd, struct settings *settings);

/* Once the server's own store has made or migrated the database. */
int settings_open_token_store(const struct config *config, struct settings *settings, struct error *err);
