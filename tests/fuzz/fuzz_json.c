/* The JSON reader: whatever it accepts is written, read again, and is the same. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *value = NULL, *again = NULL;
        struct error err;
        if (json_read((const char *)data, size, &value, &err) < 0)
                return 0;
        _cleanup_free_ char *text = json_text(value), *canonical = json_canonical(value);
        fuzz_assert(text && canonical);
        fuzz_assert(json_read(text, strlen(text), &again, &err) == 0);
        fuzz_assert(json_equal(value, again));
        if (json_is_object(value)) {
                json_get_dotted(value, "a.b.c");
                json_set_dotted(value, "a.b.c", json_true());
        }
        return 0;
}
