#include "agent/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/launch.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json.h"

#define MAX_WORDS 4096
#define MAX_DEPTH 16
#define MAX_NAME_BYTES 4096

extern char **environ;

void words_fini(struct words *words) {
        for (size_t i = 0; i < words->n; i++)
                free(words->items[i]);
        free(words->items);
        *words = (struct words){0};
}

static int words_take(struct words *words, char *word) {
        char **items = word && words->n < MAX_WORDS ? realloc(words->items, (words->n + 2) * sizeof *items) : NULL;
        if (!items) {
                free(word);
                return words->n < MAX_WORDS ? -ENOMEM : -E2BIG;
        }
        words->items = items;
        items[words->n++] = word;
        items[words->n] = NULL;
        return 0;
}

int words_add(struct words *words, const char *format, ...) {
        char *word = NULL;
        va_list ap;
        va_start(ap, format);
        if (vasprintf(&word, format, ap) < 0)
                word = NULL;
        va_end(ap);
        return words_take(words, word);
}

int command_add_launcher(struct words *words, const char *launcher) {
        int r = words_add(words, "%s", launcher);
        if (r == 0)
                r = words_add(words, LAUNCH_WORD);
        return r == 0 ? words_add(words, "%ld", (long)getpid()) : r;
}

static int add_parameters(struct words *words, const char *prefix, const json_t *params, int depth) {
        const char *key;
        json_t *value;
        int r = depth < MAX_DEPTH ? 0 : -E2BIG;
        json_object_foreach((json_t *)params, key, value) {
                if (r < 0)
                        return r;
                _cleanup_buf_ struct buf name = BUF_INIT(MAX_NAME_BYTES);
                r = buf_printf(&name, "%s%s%s", prefix, *prefix ? "." : "", key);
                if (r < 0)
                        return r;
                if (json_is_object(value)) {
                        r = add_parameters(words, name.data, value, depth + 1);
                        continue;
                }
                _cleanup_free_ char *text = json_is_string(value) ? strdup(json_string_value(value)) : json_text(value);
                r = text ? words_add(words, "--%s=%s", name.data, text) : -ENOMEM;
        }
        return r;
}

int command_add_parameters(struct words *words, const json_t *params) {
        return add_parameters(words, "", params, 0);
}

/* Kept by name or by prefix (ending in '_'). */
static const char *const kept[] = {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
        "OPENBLAS_CORETYPE", "SWEEPD_KERNELS", "SWEEPD_F32", "SWEEPD_BF16", "SWEEPD_SHARE_DIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS",
};

static int is_kept(const char *variable) {
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
                size_t len = strlen(kept[i]);
                if (strncmp(variable, kept[i], len) == 0 && (variable[len] == '=' || kept[i][len - 1] == '_'))
                        return 1;
        }
        return 0;
}

int command_add_environment(struct words *words, unsigned threads) {
        int r = 0;
        for (char **variable = environ; r == 0 && *variable; variable++)
                if (is_kept(*variable))
                        r = words_add(words, "%s", *variable);
        if (r == 0)
                r = words_add(words, "OMP_NUM_THREADS=%u", threads);
        return r == 0 ? words_add(words, "OPENBLAS_NUM_THREADS=%u", threads) : r;
}
