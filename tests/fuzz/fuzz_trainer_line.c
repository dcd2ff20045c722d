/* A line of a trainer's output: what it becomes must be a report that the coordinator takes. */
#include <stdlib.h>
#include <string.h>

#include "agent/command.h"
#include "agent/trainer_line.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "fuzz.h"
#include "proto/message.h"

static void report(const char *member, json_t *value, bool as_array) {
        _cleanup_json_ json_t *body = json_pack("{s:s, s:i, s:o}", "lease", "l", "seq", 1, member, as_array ? json_pack("[O]", value) : json_incref(value));
        struct faults faults = {0};
        struct report message = {0};
        fuzz_assert(body);
        fuzz_assert(report_decode(body, &faults, &message) == 0);
        report_fini(&message);
        faults_fini(&faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct trainer_line line = {0};
        struct error err;
        int kind = trainer_line_decode((const char *)data, size, 1000, &line, &err);
        _cleanup_json_ json_t *owned = line.json;
        if (kind == LINE_METRIC)
                report("metrics", owned, true);
        else if (kind == LINE_OUTCOME)
                report("outcome", owned, false);
        _cleanup_free_ char *text = fuzz_text(data, size);
        json_decref(text_for_report(text, 64, 1));
        json_decref(text_for_report(text, 64, 0));

        _cleanup_json_ json_t *params = NULL;
        if (json_read((const char *)data, size, &params, NULL) == 0 && json_is_object(params)) {
                _cleanup_words_ struct words words = {0};
                command_add_parameters(&words, params);
                for (size_t i = 0; i < words.n; i++)
                        fuzz_assert(strncmp(words.items[i], "--", 2) == 0); /* no parameter becomes a word of its own */
        }
        return 0;
}
