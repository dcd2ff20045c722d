/* config.json of a model folder: a shape that is accepted can be written and is read as itself. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz.h"
#include "model/hfconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct model_shape shape, again;
        struct error err;
        if (hfconfig_read(fuzz_file(data, size), &shape, &err) < 0)
                return 0;
        _cleanup_json_ json_t *config = hfconfig_make(&shape);
        _cleanup_free_ char *text = config ? json_text(config) : NULL;
        fuzz_assert(text);
        fuzz_assert(hfconfig_read(fuzz_file((const uint8_t *)text, strlen(text)), &again, &err) == 0);
        return 0;
}
