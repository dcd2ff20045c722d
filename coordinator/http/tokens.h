/* Who may call: the token file, one `role name token` a line, and tokens that are kept elsewhere (the database) and may come
 * and go while the server runs. Tokens are hashed when they are read and never kept as text.
 *
 * One lock guards everything: tokens_find is called by the server's thread, tokens_reload by main. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/error.h"
#include "proto/limits.h"
#include "proto/route.h"

struct tokens;

/* A token as its source knows it. */
struct token_info {
        const char *name, *role, *hash; /* hash: SHA-256 in hex */
        const char *sweep;              /* NULL = no limit */
        uint64_t expires_ms;            /* 0 = never */
};

/* Tokens that may change at any time. Called under the lock, from one thread at a time. Negative errno on failure. */
struct token_source {
        int (*changes)(void *data, int64_t *ret); /* another number after every change; must be cheap: asked for every request */
        int (*each)(void *data, int (*visit)(void *visitor, const struct token_info *info), void *visitor);
        void *data; /* outlives the tokens */
};

/* Who a token belongs to. */
struct token_holder {
        enum role role;
        char name[LIMIT_NAME_BYTES + 1];
        char sweep[LIMIT_ID_CHARS + 1]; /* good for this sweep only; empty = for all */
        bool is_drawn;                  /* we drew it: nobody guesses it. Those of the token file are what people think of */
        uint64_t expires_ms;            /* 0 = never */
        char hash[DIGEST_HEX_SIZE];     /* empty = without a token */
};

/* path NULL = no file. The file must be readable by its owner only; blank lines and # comments are skipped. Negative errno
 * with file and line in err; never a token's text. */
int tokens_new(const char *path, struct tokens **ret, struct error *err);
void tokens_free(struct tokens *tokens);

/* From now on the source's tokens count too. */
void tokens_set_source(struct tokens *tokens, const struct token_source *source);

/* Reads the file again; on failure all stays as it was. */
int tokens_reload(struct tokens *tokens, struct error *err);

/* How many there are that have not expired. Negative when the source cannot be read. */
int tokens_count(struct tokens *tokens, uint64_t now_ms);

/* TOKENS_KNOWN with its holder · TOKENS_UNKNOWN (revoked and expired ones too) · negative when the source cannot be read.
 * Takes the same time for every token of one length, right or wrong. */
#define TOKENS_KNOWN 0
#define TOKENS_UNKNOWN 1
int tokens_find(struct tokens *tokens, const char *token, uint64_t now_ms, struct token_holder *ret);

/* A number that changes with the tokens, for those who let a caller stay for long: another one means that tokens_holds must be
 * asked again. Negative when the source cannot be read. */
int64_t tokens_revision(struct tokens *tokens);

/* Does the holder's token still count, with the same rights? TOKENS_KNOWN, TOKENS_UNKNOWN or negative, as tokens_find. */
int tokens_holds(struct tokens *tokens, const struct token_holder *holder, uint64_t now_ms);
