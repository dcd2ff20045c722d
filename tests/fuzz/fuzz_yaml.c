/* YAML of a sweep file. */
#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz.h"
#include "yaml_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *value = NULL;
        struct yaml_notes notes = {0};
        struct error err;
        int r = yaml_read((const char *)data, size, &value, &notes, &err);
        if (r == 0) {
                char *text = json_text(value);
                fuzz_assert(text);
                free(text);
        }
        yaml_notes_fini(&notes);
        return 0;
}
