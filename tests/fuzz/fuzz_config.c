/* A configuration file: key = value lines. */
#include <stdio.h>

#include "common/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const struct config_option options[] = {
                {"config", CONFIG_TEXT, "FILE", NULL, 0, 0, "", true}, {"text", CONFIG_TEXT, "T", "x", 0, 0, "", false},
                {"number", CONFIG_INTEGER, "N", "5", 1, 9, "", false}, {"flag", CONFIG_FLAG, NULL, NULL, 0, 0, "", false},
                {"list", CONFIG_LIST, "L", NULL, 0, 0, "", false},     {0},
        };
        static const struct config_program program = {.name = "fuzz", .usage = "", .summary = "", .options = options};
        char *argv[] = {(char *)"fuzz", (char *)"--config", (char *)fuzz_file(data, size), NULL};
        struct config *config;
        struct error err;
        if (config_parse(&program, 3, argv, &config, &err) != 0)
                return 0;
        fuzz_assert(config_integer(config, "number") >= 1 && config_integer(config, "number") <= 9);
        static FILE *out;
        if (!out)
                out = fopen("/dev/null", "w");
        config_dump(config, out);
        config_free(config);
        return 0;
}
