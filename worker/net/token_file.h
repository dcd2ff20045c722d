/* A worker's token file: the token alone, readable by its owner only. */
#pragma once
#include "common/error.h"

#define TOKEN_BYTES_MAX 512

/* A new string, cleared and freed with token_free. -EPERM when others may read the file, -EINVAL when it holds anything
 * but one printable token. */
int token_file_read(const char *path, char **ret, struct error *err);
void token_free(char *token);
