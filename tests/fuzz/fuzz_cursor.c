/* A list's cursor: only what this program made is taken, and it comes back as it was. */
#include <stdlib.h>
#include <string.h>

#include "api/core.h"
#include "common/rfc3339.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        int64_t fields[CURSOR_FIELDS];
        char tail[129];
        if (cursor_decode(text, fields, tail)) {
                _cleanup_free_ char *again = cursor_encode(fields, tail);
                fuzz_assert(again);
        }
        if (size >= sizeof fields) {
                int64_t given[CURSOR_FIELDS];
                memcpy(given, data, sizeof given);
                _cleanup_free_ char *made = cursor_encode(given, text + sizeof given);
                fuzz_assert(made && cursor_decode(made, fields, tail));
                fuzz_assert(memcmp(given, fields, sizeof given) == 0);
                fuzz_assert(strncmp(tail, text + sizeof given, 128) == 0);
        }
        uint64_t ms;
        if (rfc3339_parse(text, &ms) == 0) {
                char written[RFC3339_SIZE];
                rfc3339_format(ms, written);
        }
        return 0;
}
