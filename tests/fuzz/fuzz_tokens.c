/* The server's token file, and a client's. No message may quote a secret: what is refused is only named by its line. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "fuzz.h"
#include "http/tokens.h"
#include "net/token_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct tokens *tokens = NULL;
        struct error err = {0};
        char *token = NULL;
        const char *path = fuzz_file(data, size);
        if (tokens_new(path, &tokens, &err) == 0) {
                _cleanup_free_ char *text = fuzz_text(data, size);
                struct token_holder holder;
                fuzz_assert(tokens_count(tokens, 0) > 0);
                tokens_find(tokens, text, 0, &holder);
                tokens_free(tokens);
        } else
                fuzz_assert(strstr(err.text, path));
        if (token_file_read(path, &token, &err) == 0)
                fuzz_assert(strlen(token) > 0 && strlen(token) <= TOKEN_BYTES_MAX);
        token_free(token);
        return 0;
}
