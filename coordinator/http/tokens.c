#include "http/tokens.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fs.h"
#include "proto/limits.h"

#define FILE_BYTES_MAX (1u << 20)
#define TOKENS_MAX 1000

struct token {
        enum role role;
        char name[LIMIT_NAME_BYTES + 1];
        char hash[DIGEST_HEX_SIZE];
};

struct tokens {
        struct token items[TOKENS_MAX];
        size_t n;
};

static enum role role_from_name(const char *name) {
        static const char *const names[] = {[ROLE_VIEWER] = "viewer", [ROLE_WORKER] = "worker", [ROLE_ADMIN] = "admin"};
        for (int role = ROLE_VIEWER; role <= ROLE_ADMIN; role++)
                if (strcmp(names[role], name) == 0)
                        return (enum role)role;
        return ROLE_NONE;
}

static int add_line(struct tokens *tokens, char *line, const char *path, int number, struct error *err) {
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
        if (info.st_mode & (S_IRWXG | S_IRWXO))
                return error_set(err, -EPERM, "%s: others than its owner may read it: chmod 600 it", path);
        return 0;
}

int tokens_load(const char *path, struct tokens **ret, struct error *err) {
        int r = check_mode(path, err);
        if (r < 0)
                return r;
        struct buf text = BUF_INIT(FILE_BYTES_MAX);
        r = fs_read(path, &text, err);
        struct tokens *tokens = r < 0 ? NULL : calloc(1, sizeof *tokens);
        if (r == 0 && !tokens)
                r = error_set(err, -ENOMEM, "out of memory");
        char *rest = text.data, *line;
        for (int number = 1; r == 0 && (line = strsep(&rest, "\n")); number++)
                r = add_line(tokens, line, path, number, err);
        if (r == 0 && tokens->n == 0)
                r = error_set(err, -EINVAL, "%s: holds no token", path);
        if (text.data)
                explicit_bzero(text.data, text.len);
        buf_fini(&text);
        if (r < 0)
                tokens_free(tokens);
        else
                *ret = tokens;
        return r;
}

void tokens_free(struct tokens *tokens) {
        free(tokens);
}

static int differs(const char *a, const char *b) {
        unsigned difference = 0;
        for (size_t i = 0; i < DIGEST_HEX_SIZE; i++)
                difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
        return difference != 0;
}

enum role tokens_find(const struct tokens *tokens, const char *token, const char **ret_name) {
        char hash[DIGEST_HEX_SIZE];
        digest_bytes(token, strlen(token), hash);
        const struct token *hit = NULL;
        for (size_t i = 0; i < tokens->n; i++)
                if (!differs(tokens->items[i].hash, hash))
                        hit = &tokens->items[i];
        if (!hit)
                return ROLE_NONE;
        *ret_name = hit->name;
        return hit->role;
}
