#include "http/tokens.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/credential.h"
#include "common/digest.h"
#include "common/fs.h"

#define FILE_BYTES_MAX (1u << 20)
#define TOKENS_MAX 1000 /* of the file, and of the source */

struct token {
        enum role role;
        uint64_t expires_ms; /* 0 = never */
        char name[LIMIT_NAME_BYTES + 1];
        char sweep[LIMIT_ID_CHARS + 1];
        char hash[DIGEST_HEX_SIZE];
};

struct token_set {
        struct token items[TOKENS_MAX];
        size_t n;
};

struct tokens {
        char *path; /* NULL = no file */
        pthread_mutex_t lock;
        /* guarded by lock */
        struct token_set *file, *drawn; /* never NULL */
        struct token_source source;     /* changes NULL = none */
        int64_t changes;                /* of the source, as of drawn; -1 = not read yet */
        int64_t revision;               /* one more each time that file or drawn became another */
};

/* --- the file ---------------------------------------------------------------------------------------- */

static enum role role_from_name(const char *name) {
        static const char *const names[] = {[ROLE_VIEWER] = "viewer", [ROLE_WORKER] = "worker", [ROLE_ADMIN] = "admin"};
        for (int role = ROLE_VIEWER; role <= ROLE_ADMIN; role++)
                if (strcmp(names[role], name) == 0)
                        return (enum role)role;
        return ROLE_NONE;
}

static int add_line(struct token_set *tokens, char *line, const char *path, int number, struct error *err) {
        char *rest = line, *role = strtok_r(line, " \t\r", &rest);
        if (!role || *role == '#')
                return 0;
        char *name = strtok_r(NULL, " \t\r", &rest), *secret = strtok_r(NULL, " \t\r", &rest);
        if (!secret || strtok_r(NULL, " \t\r", &rest))
                return error_set(err, -EINVAL, "%s:%d: expected 'role name token'", path, number);
        if (tokens->n == TOKENS_MAX)
                return error_set(err, -E2BIG, "%s:%d: more than %d tokens", path, number, TOKENS_MAX);
        struct token *token = &tokens->items[tokens->n];
        token->role = role_from_name(role);
        if (token->role == ROLE_NONE)
                return error_set(err, -EINVAL, "%s:%d: the role must be admin, worker or viewer", path, number);
        if (strlen(name) > LIMIT_NAME_BYTES)
                return error_set(err, -EINVAL, "%s:%d: the name is longer than %d bytes", path, number, LIMIT_NAME_BYTES);
        memcpy(token->name, name, strlen(name) + 1);
        digest_bytes(secret, strlen(secret), token->hash);
        for (size_t i = 0; i < tokens->n; i++)
                if (strcmp(tokens->items[i].hash, token->hash) == 0 || strcmp(tokens->items[i].name, token->name) == 0)
                        return error_set(err, -EINVAL, "%s:%d: a name or token that an earlier line has", path, number);
        tokens->n++;
        return 0;
}

static int check_mode(const char *path, struct error *err) {
        struct stat info;
        if (stat(path, &info) < 0)
                return error_set(err, -errno, "%s: %s", path, strerror(errno));
        if (info.st_mode & credential_forbidden_bits(path))
                return error_set(err, -EPERM, "%s: others than its owner may read it: chmod 600 it", path);
        return 0;
}

static int read_set(const char *path, struct token_set **ret, struct error *err) {
        int r = check_mode(path, err);
        if (r < 0)
                return r;
        struct buf text = BUF_INIT(FILE_BYTES_MAX);
        r = fs_read(path, &text, err);
        struct token_set *set = r < 0 ? NULL : calloc(1, sizeof *set);
        if (r == 0 && !set)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0 && strlen(text.data) != text.len)
                r = error_set(err, -EINVAL, "%s: a NUL byte in a text file", path);
        char *rest = text.data, *line;
        for (int number = 1; r == 0 && (line = strsep(&rest, "\n")); number++)
                r = add_line(set, line, path, number, err);
        if (r == 0 && set->n == 0)
                r = error_set(err, -EINVAL, "%s: holds no token", path);
        if (text.data)
                explicit_bzero(text.data, text.len);
        buf_fini(&text);
        if (r < 0)
                free(set);
        else
                *ret = set;
        return r;
}

/* --- the source -------------------------------------------------------------------------------------- */

/* One that cannot be understood opens no door. */
static int take_info(void *visitor, const struct token_info *info) {
        struct token_set *set = visitor;
        enum role role = role_from_name(info->role);
        if (set->n == TOKENS_MAX || role == ROLE_NONE || strlen(info->hash) != DIGEST_HEX_SIZE - 1 || strlen(info->name) > LIMIT_NAME_BYTES ||
            (info->sweep && (!*info->sweep || strlen(info->sweep) > LIMIT_ID_CHARS)))
                return 0;
        struct token *token = &set->items[set->n++];
        *token = (struct token){.role = role, .expires_ms = info->expires_ms};
        memcpy(token->name, info->name, strlen(info->name) + 1);
        memcpy(token->hash, info->hash, DIGEST_HEX_SIZE);
        if (info->sweep)
                memcpy(token->sweep, info->sweep, strlen(info->sweep) + 1);
        return 0;
}

/* Under the lock. The number is read first: a change between the two reads is seen next time. */
static int refresh(struct tokens *tokens) {
        int64_t changes;
        if (!tokens->source.changes)
                return 0;
        int r = tokens->source.changes(tokens->source.data, &changes);
        if (r < 0 || changes == tokens->changes)
                return r;
        tokens->drawn->n = 0;
        tokens->changes = -1;
        tokens->revision++;
        r = tokens->source.each(tokens->source.data, take_info, tokens->drawn);
        if (r == 0)
                tokens->changes = changes;
        else
                tokens->drawn->n = 0;
        return r;
}

/* --- public ------------------------------------------------------------------------------------------ */

int tokens_new(const char *path, struct tokens **ret, struct error *err) {
        struct tokens *tokens = calloc(1, sizeof *tokens);
        if (!tokens)
                return error_set(err, -ENOMEM, "out of memory");
        pthread_mutex_init(&tokens->lock, NULL);
        tokens->changes = -1;
        tokens->drawn = calloc(1, sizeof *tokens->drawn);
        tokens->path = path ? strdup(path) : NULL;
        int r = !tokens->drawn || (path && !tokens->path) ? error_set(err, -ENOMEM, "out of memory") : 0;
        if (r == 0 && path)
                r = read_set(path, &tokens->file, err);
        else if (r == 0 && !(tokens->file = calloc(1, sizeof *tokens->file)))
                r = error_set(err, -ENOMEM, "out of memory");
        if (r < 0)
                tokens_free(tokens);
        else
                *ret = tokens;
        return r;
}

void tokens_free(struct tokens *tokens) {
        if (!tokens)
                return;
        pthread_mutex_destroy(&tokens->lock);
        free(tokens->file);
        free(tokens->drawn);
        free(tokens->path);
        free(tokens);
}

void tokens_set_source(struct tokens *tokens, const struct token_source *source) {
        pthread_mutex_lock(&tokens->lock);
        tokens->source = *source;
        tokens->changes = -1;
        pthread_mutex_unlock(&tokens->lock);
}

int tokens_reload(struct tokens *tokens, struct error *err) {
        struct token_set *set, *before;
        if (!tokens->path)
                return 0;
        int r = read_set(tokens->path, &set, err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&tokens->lock);
        before = tokens->file;
        tokens->file = set;
        tokens->revision++;
        pthread_mutex_unlock(&tokens->lock);
        free(before);
        return 0;
}

static bool has_expired(const struct token *token, uint64_t now_ms) {
        return token->expires_ms > 0 && token->expires_ms <= now_ms;
}

int tokens_count(struct tokens *tokens, uint64_t now_ms) {
        pthread_mutex_lock(&tokens->lock);
        int r = refresh(tokens);
        int n = (int)tokens->file->n;
        for (size_t i = 0; i < tokens->drawn->n; i++)
                n += !has_expired(&tokens->drawn->items[i], now_ms);
        pthread_mutex_unlock(&tokens->lock);
        return r < 0 ? r : n;
}

static int differs(const char *a, const char *b) {
        unsigned difference = 0;
        for (size_t i = 0; i < DIGEST_HEX_SIZE; i++)
                difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
        return difference != 0;
}

/* Goes through all of them, whatever it finds. */
static const struct token *find_in(const struct token_set *set, const char *hash) {
        const struct token *hit = NULL;
        for (size_t i = 0; i < set->n; i++)
                if (!differs(set->items[i].hash, hash))
                        hit = &set->items[i];
        return hit;
}

/* Under the lock. */
static int find_hash(struct tokens *tokens, const char *hash, uint64_t now_ms, struct token_holder *ret) {
        int r = refresh(tokens);
        const struct token *written = find_in(tokens->file, hash), *drawn = find_in(tokens->drawn, hash);
        const struct token *token = r == 0 && drawn && !has_expired(drawn, now_ms) ? drawn : written; /* of what cannot be read, none is known */
        if (!token)
                return r == 0 ? TOKENS_UNKNOWN : r;
        *ret = (struct token_holder){.role = token->role, .is_drawn = token == drawn, .expires_ms = token->expires_ms};
        memcpy(ret->name, token->name, sizeof ret->name);
        memcpy(ret->sweep, token->sweep, sizeof ret->sweep);
        memcpy(ret->hash, token->hash, sizeof ret->hash);
        return TOKENS_KNOWN;
}

int tokens_find(struct tokens *tokens, const char *text, uint64_t now_ms, struct token_holder *ret) {
        char hash[DIGEST_HEX_SIZE];
        digest_bytes(text, strlen(text), hash);
        pthread_mutex_lock(&tokens->lock);
        int r = find_hash(tokens, hash, now_ms, ret);
        pthread_mutex_unlock(&tokens->lock);
        return r;
}

int64_t tokens_revision(struct tokens *tokens) {
        pthread_mutex_lock(&tokens->lock);
        int r = refresh(tokens);
        int64_t revision = r < 0 ? r : tokens->revision;
        pthread_mutex_unlock(&tokens->lock);
        return revision;
}

int tokens_holds(struct tokens *tokens, const struct token_holder *holder, uint64_t now_ms) {
        struct token_holder now;
        pthread_mutex_lock(&tokens->lock);
        int r = find_hash(tokens, holder->hash, now_ms, &now);
        pthread_mutex_unlock(&tokens->lock);
        bool same = r == TOKENS_KNOWN && now.role == holder->role && strcmp(now.sweep, holder->sweep) == 0;
        return r == TOKENS_KNOWN && !same ? TOKENS_UNKNOWN : r;
}
