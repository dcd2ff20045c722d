/* Who may call: the token file, one `role name token` a line. Tokens are hashed when the file is loaded; the file must
 * be readable by its owner only. Immutable after loading, so any thread may ask. */
#pragma once
#include <stddef.h>

#include "common/error.h"
#include "proto/route.h"

struct tokens;

/* Blank lines and # comments are skipped. Negative errno with file and line in err; never a token's text. */
int tokens_load(const char *path, struct tokens **ret, struct error *err);
void tokens_free(struct tokens *tokens);

/* The role of a token, ROLE_NONE when it is unknown. *ret_name lives as long as tokens. Takes the same time for every
 * token of one length, right or wrong. */
enum role tokens_find(const struct tokens *tokens, const char *token, const char **ret_name);
