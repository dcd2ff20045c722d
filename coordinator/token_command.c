#include "token_command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/config.h"
#include "common/digest.h"
#include "common/rfc3339.h"
#include "common/world.h"
#include "proto/limits.h"
#include "store/store.h"

#define EXIT_USAGE 2
#define SECRET_PREFIX "swd_"
#define SECRET_CHARS 52 /* of base 32: 260 bits */
#define DAY_MS UINT64_C(86400000)

static const struct config_option options[] = {
        {"database", CONFIG_TEXT, "FILE", "./sweepd.db", 0, 0, "the server's database", false},
        {"role", CONFIG_TEXT, "ROLE", NULL, 0, 0, "create: admin, worker or viewer", true},
        {"name", CONFIG_TEXT, "NAME", NULL, 0, 0, "create: what the token is called in logs and lists; unique", true},
        {"expires", CONFIG_TEXT, "WHEN", NULL, 0, 0, "create: 90d, 12h, 30m, or a time as 2027-01-31T00:00:00Z", true},
        {"sweep", CONFIG_TEXT, "ID", NULL, 0, 0, "create: good for this sweep only", true},
        {0},
};

static const struct config_program program = {
        .name = "sweepd token",
        .usage = "create --role ROLE --name NAME [--expires WHEN] [--sweep ID] | list | revoke NAME",
        .summary = "Makes, lists and revokes tokens. A new one's secret is printed once and stored as a hash only; a running server\n"
                   "knows of every change at once.",
        .environment = "SWEEPD_",
        .options = options,
        .max_positional = 2,
};

CLEANUP_DEFINE(struct config *, cleanup_config, config_free)
CLEANUP_DEFINE(struct store *, cleanup_store, store_close)

static int fail(const struct error *err, int code) {
        fprintf(stderr, "sweepd token: %s\n", err->text);
        return code;
}

/* The running server's database as it is; else it is opened as the server would, which creates or migrates it. */
static int open_store(const char *path, struct store **ret, struct error *err) {
        int r = store_open_beside(path, ret, err);
        return r == -ENOENT || r == -EPROTO ? store_open(path, ret, err) : r;
}

/* "90d", "12h", "30m", or RFC 3339 */
static int read_expiry(const char *text, uint64_t now_ms, uint64_t *ret, struct error *err) {
        size_t digits = strspn(text, "0123456789");
        uint64_t unit = text[digits] == 'd' ? DAY_MS : text[digits] == 'h' ? 3600000 : text[digits] == 'm' ? 60000 : 0;
        if (digits > 0 && digits <= 6 && unit > 0 && !text[digits + 1])
                *ret = now_ms + strtoull(text, NULL, 10) * unit;
        else if (rfc3339_parse(text, ret) < 0)
                return error_set(err, -EINVAL, "--expires: expected 90d, 12h, 30m or a time as 2027-01-31T00:00:00Z, got '%s'", text);
        return *ret > now_ms ? 0 : error_set(err, -EINVAL, "--expires: '%s' is over already", text);
}

static bool is_word(const char *text) {
        for (const char *c = text; *c; c++)
                if (!isgraph((unsigned char)*c))
                        return false;
        return *text;
}

static int read_row(const struct config *config, uint64_t now_ms, struct token_row *ret, struct error *err) {
        const char *role = config_text(config, "role"), *name = config_text(config, "name"), *expires = config_text(config, "expires");
        if (!role || !name)
                return error_set(err, -EINVAL, "create needs --role and --name");
        if (strcmp(role, "admin") != 0 && strcmp(role, "worker") != 0 && strcmp(role, "viewer") != 0)
                return error_set(err, -EINVAL, "--role: expected admin, worker or viewer, got '%s'", role);
        if (!is_word(name) || strlen(name) > LIMIT_NAME_BYTES)
                return error_set(err, -EINVAL, "--name: expected 1 to %d printable characters without spaces", LIMIT_NAME_BYTES);
        const char *sweep = config_text(config, "sweep");
        if (sweep && (!is_word(sweep) || strlen(sweep) > LIMIT_ID_CHARS))
                return error_set(err, -EINVAL, "--sweep: expected the id of a sweep");
        *ret = (struct token_row){.name = name, .role = role, .sweep = sweep, .created_ms = now_ms};
        return expires ? read_expiry(expires, now_ms, &ret->expires_ms, err) : 0;
}

static int check_sweep(struct store *store, const char *id, struct error *err) {
        struct sweep_row row = {0};
        int r = id ? store_sweep_get(store, id, &row) : 0;
        if (r == 0 && id)
                sweep_row_fini(&row);
        if (r == STORE_NONE)
                return error_set(err, -ENOENT, "--sweep: there is no sweep '%s'", id);
        return r < 0 ? error_set(err, r, "cannot read: %s", store_error(store)) : 0;
}

static int create(const struct config *config, struct store *store, struct error *err) {
        char secret[sizeof SECRET_PREFIX + SECRET_CHARS], hash[DIGEST_HEX_SIZE];
        struct token_row row;
        int r = read_row(config, world_wall_ms(world_real()), &row, err);
        if (r == 0)
                r = check_sweep(store, row.sweep, err);
        if (r < 0)
                return r;
        world_make_id(world_real(), SECRET_PREFIX, SECRET_CHARS, secret);
        digest_bytes(secret, strlen(secret), hash);
        row.hash = hash;
        r = store_token_insert(store, &row);
        if (r == -EEXIST)
                r = error_set(err, r, "there is a token '%s' already: revoke it first, or take another name", row.name);
        else if (r == -E2BIG)
                r = error_set(err, r, "there are %d tokens already: revoke some", STORE_TOKENS_MAX);
        else if (r < 0)
                r = error_set(err, r, "cannot write: %s", store_error(store));
        else {
                printf("%s\n", secret);
                fprintf(stderr, "keep it: it is shown this once only\n");
        }
        explicit_bzero(secret, sizeof secret);
        return r;
}

static int print_row(void *data, const struct token_row *row) {
        uint64_t now_ms = *(const uint64_t *)data;
        char created[RFC3339_SIZE], expires[RFC3339_SIZE] = "never";
        rfc3339_format(row->created_ms, created);
        if (row->expires_ms > 0)
                rfc3339_format(row->expires_ms, expires);
        printf("%-24s %-7s %-18s %-24s %s%s\n", row->name, row->role, row->sweep ? row->sweep : "-", created, expires,
               row->expires_ms > 0 && row->expires_ms <= now_ms ? " (over)" : "");
        return 0;
}

static int list(struct store *store, struct error *err) {
        uint64_t now_ms = world_wall_ms(world_real());
        printf("%-24s %-7s %-18s %-24s %s\n", "NAME", "ROLE", "SWEEP", "CREATED", "EXPIRES");
        int r = store_token_each(store, print_row, &now_ms);
        return r < 0 ? error_set(err, r, "cannot read: %s", store_error(store)) : 0;
}

static int revoke_token(struct store *store, const char *name, struct error *err) {
        int r = store_token_delete(store, name);
        if (r == STORE_NONE)
                return error_set(err, -ENOENT, "there is no token '%s'", name);
        return r < 0 ? error_set(err, r, "cannot write: %s", store_error(store)) : 0;
}

int token_command(int argc, char **argv) {
        struct error err = {0};
        _cleanup_(cleanup_config) struct config *config = NULL;
        _cleanup_(cleanup_store) struct store *store = NULL;
        int r = config_parse(&program, argc, argv, &config, &err);
        if (r == CONFIG_DONE)
                return EXIT_SUCCESS;
        if (r < 0)
                return fail(&err, EXIT_USAGE);
        size_t n;
        const char *const *words = config_positional(config, &n);
        const char *what = n > 0 ? words[0] : "";
        bool is_create = strcmp(what, "create") == 0 && n == 1, is_list = strcmp(what, "list") == 0 && n == 1;
        if (!is_create && !is_list && (strcmp(what, "revoke") != 0 || n != 2)) {
                error_set(&err, -EINVAL, "expected create --role ROLE --name NAME, list, or revoke NAME");
                return fail(&err, EXIT_USAGE);
        }
        struct token_row row;
        if (is_create && read_row(config, world_wall_ms(world_real()), &row, &err) < 0)
                return fail(&err, EXIT_USAGE);
        umask(0077);
        r = open_store(config_text(config, "database"), &store, &err);
        if (r == 0)
                r = is_create ? create(config, store, &err) : is_list ? list(store, &err) : revoke_token(store, words[1], &err);
        return r < 0 ? fail(&err, EXIT_FAILURE) : EXIT_SUCCESS;
}
