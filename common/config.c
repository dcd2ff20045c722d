#include "common/config.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/nearest.h"

#define MAX_FILE_BYTES (1 << 20)
#define MAX_VALUES 1024 /* of one list, and positional arguments */

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct setting {
        const struct config_option *option;
        char **values; /* owned; lists have many, others at most one */
        size_t n;
        enum source source;
};

struct config {
        const struct config_program *program;
        struct setting *settings;
        size_t n_settings;
        struct setting positional;
};

static void setting_clear(struct setting *setting) {
        for (size_t i = 0; i < setting->n; i++)
                free(setting->values[i]);
        free(setting->values);
        setting->values = NULL;
        setting->n = 0;
}

static int setting_append(struct setting *setting, const char *value) {
        if (setting->n >= MAX_VALUES)
                return -E2BIG;
        char **values = realloc(setting->values, (setting->n + 1) * sizeof *values);
        if (!values)
                return -ENOMEM;
        setting->values = values;
        values[setting->n] = strdup(value);
        return values[setting->n] ? (setting->n++, 0) : -ENOMEM;
}

static int check_value(const struct config_option *option, const char *value, const char *where, struct error *err) {
        if (option->type == CONFIG_FLAG && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
                return error_set(err, -EINVAL, "%s%s: expected true or false, got '%s'", where, option->name, value);
        if (option->type == CONFIG_INTEGER) {
                char *end;
                errno = 0;
                long long n = strtoll(value, &end, 10);
                if (errno || end == value || *end || n < option->low || n > option->high)
                        return error_set(err, -EINVAL, "%s%s: expected a whole number from %lld to %lld, got '%s'", where,
                                         option->name, (long long)option->low, (long long)option->high, value);
        }
        return 0;
}

static int store(struct setting *setting, enum source source, const char *value, const char *where, struct error *err) {
        int r = check_value(setting->option, value, where, err);
        if (r < 0)
                return r;
        if (setting->option->type != CONFIG_LIST || setting->source != source)
                setting_clear(setting);
        setting->source = source;
        r = setting_append(setting, value);
        return r < 0 ? error_set(err, r, "%s%s: too many values", where, setting->option->name) : 0;
}

static struct setting *find(const struct config *config, const char *name, size_t len) {
        for (size_t i = 0; i < config->n_settings; i++) {
                struct setting *setting = &config->settings[i];
                if (strlen(setting->option->name) == len && strncmp(setting->option->name, name, len) == 0)
                        return setting;
        }
        return NULL;
}

static struct setting *find_letter(const struct config *config, char letter) {
        for (size_t i = 0; i < config->n_settings; i++)
                if (config->settings[i].option->letter == letter)
                        return &config->settings[i];
        return NULL;
}

/* "unknown WHAT 'name': did you mean 'other'?" */
static int refuse_name(const struct config *config, const char *where, const char *what, const char *dashes, const char *name, int len, struct error *err) {
        char word[128];
        snprintf(word, sizeof word, "%.*s", len, name);
        struct nearest nearest = {.word = word};
        for (size_t i = 0; i < config->n_settings; i++)
                if (*dashes || !config->settings[i].option->command_line_only)
                        nearest_offer(&nearest, config->settings[i].option->name);
        return error_set(err, -EINVAL, "%sunknown %s '%s%.*s'%s%s%s%s", where, what, dashes, len, name, nearest.name ? ": did you mean '" : "",
                         nearest.name ? dashes : "", nearest.name ? nearest.name : "", nearest.name ? "'?" : "");
}

static char *trim(char *text) {
        text += strspn(text, " \t\r");
        size_t len = strlen(text);
        while (len > 0 && strchr(" \t\r", text[len - 1]))
                text[--len] = 0;
        return text;
}

static int read_line(struct config *config, const char *path, int number, char *line, struct error *err) {
        line = trim(line);
        if (!*line || *line == '#')
                return 0;
        char *equals = strchr(line, '=');
        if (!equals)
                return error_set(err, -EINVAL, "%s:%d: expected 'key = value'", path, number);
        *equals = 0;
        char *key = trim(line), *value = trim(equals + 1);
        struct setting *setting = find(config, key, strlen(key));
        char where[PATH_MAX + 32];
        snprintf(where, sizeof where, "%s:%d: ", path, number);
        if (!setting || setting->option->command_line_only)
                return refuse_name(config, where, "key", "", key, (int)strlen(key), err);
        return store(setting, FROM_FILE, value, where, err);
}

static int read_file(struct config *config, const char *path, struct error *err) {
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_FILE_BYTES);
        int r = fs_read(path, &text, err);
        if (r < 0)
                return r;
        char *rest = text.data, *line;
        for (int number = 1; r == 0 && (line = strsep(&rest, "\n")); number++)
                r = read_line(config, path, number, line, err);
        return r;
}

static int read_environment(struct config *config, struct error *err) {
        const char *prefix = config->program->environment;
        for (size_t i = 0; prefix && i < config->n_settings; i++) {
                const struct config_option *option = config->settings[i].option;
                char name[128];
                size_t n = (size_t)snprintf(name, sizeof name, "%s%s", prefix, option->name);
                for (char *c = name; *c && n < sizeof name; c++)
                        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
                const char *value = option->command_line_only ? NULL : getenv(name);
                int r = value && *value ? store(&config->settings[i], FROM_ENVIRONMENT, value, "environment: ", err) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_command_line(struct config *config, int argc, char **argv, struct error *err) {
        bool only_positional = false;
        for (int i = 1; i < argc; i++) {
                const char *word = argv[i];
                int r;
                if (!only_positional && strcmp(word, "--") == 0) {
                        only_positional = true;
                        continue;
                }
                if (only_positional || word[0] != '-' || !word[1]) {
                        if ((int)config->positional.n >= config->program->max_positional)
                                return error_set(err, -EINVAL, "unexpected argument '%s'", word);
                        r = setting_append(&config->positional, word);
                        if (r < 0)
                                return error_set(err, r, "too many arguments");
                        continue;
                }
                size_t len = strcspn(word, "=");
                bool is_long = len > 2 && word[1] == '-';
                struct setting *setting = is_long ? find(config, word + 2, len - 2) : len == 2 ? find_letter(config, word[1]) : NULL;
                if (!setting && is_long)
                        return refuse_name(config, "", "option", "--", word + 2, (int)len - 2, err);
                if (!setting)
                        return error_set(err, -EINVAL, "unknown option '%.*s'", (int)len, word);
                const char *value = word[len] ? word + len + 1 : NULL;
                if (setting->option->type == CONFIG_FLAG)
                        value = value ? value : "true";
                else if (!value && ++i < argc)
                        value = argv[i];
                if (!value)
                        return error_set(err, -EINVAL, "option '--%s' needs a value", setting->option->name);
                r = store(setting, FROM_COMMAND_LINE, value, "--", err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void print_help(const struct config_program *program) {
        printf("usage: %s %s\n%s\n\noptions:\n", program->name, program->usage, program->summary);
        for (const struct config_option *o = program->options; o->name; o++) {
                char left[96];
                snprintf(left, sizeof left, "--%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
                printf("  %-28s %s%s%s%s\n", left, o->help, o->fallback ? " (default " : "", o->fallback ? o->fallback : "",
                       o->fallback ? ")" : "");
        }
        printf("  %-28s %s\n  %-28s %s\n", "--help", "show this text", "--version", "show the version");
}

static const char *config_path(int argc, char **argv) {
        const char *path = NULL;
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
                if (strncmp(argv[i], "--config=", 9) == 0)
                        path = argv[i] + 9;
                else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
                        path = argv[i + 1];
        }
        return path;
}

int config_parse(const struct config_program *program, int argc, char **argv, struct config **ret, struct error *err) {
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
                if (strcmp(argv[i], "--help") == 0) {
                        print_help(program);
                        return CONFIG_DONE;
                }
                if (strcmp(argv[i], "--version") == 0) {
                        printf("%s %s\n", program->name, SWEEPD_VERSION);
                        return CONFIG_DONE;
                }
        }
        size_t n = 0;
        while (program->options[n].name)
                n++;
        struct config *config = calloc(1, sizeof *config);
        if (!config)
                return error_set(err, -ENOMEM, "out of memory");
        config->program = program;
        config->settings = calloc(n + 1, sizeof *config->settings);
        config->n_settings = config->settings ? n : 0;
        int r = config->settings ? 0 : error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < config->n_settings; i++) {
                config->settings[i].option = &program->options[i];
                if (program->options[i].fallback && setting_append(&config->settings[i], program->options[i].fallback) < 0)
                        r = error_set(err, -ENOMEM, "out of memory");
        }
        const char *path = config_path(argc, argv);
        if (r == 0 && path && find(config, "config", 6))
                r = read_file(config, path, err);
        if (r == 0)
                r = read_environment(config, err);
        if (r == 0)
                r = read_command_line(config, argc, argv, err);
        if (r < 0) {
                config_free(config);
                return r;
        }
        *ret = config;
        return 0;
}

void config_free(struct config *config) {
        if (!config)
                return;
        for (size_t i = 0; i < config->n_settings; i++)
                setting_clear(&config->settings[i]);
        setting_clear(&config->positional);
        free(config->settings);
        free(config);
}

static const struct setting *must_find(const struct config *config, const char *name) {
        const struct setting *setting = find(config, name, strlen(name));
        if (!setting)
                abort();
        return setting;
}

const char *config_text(const struct config *config, const char *name) {
        const struct setting *setting = must_find(config, name);
        return setting->n ? setting->values[0] : NULL;
}

int64_t config_integer(const struct config *config, const char *name) {
        const char *text = config_text(config, name);
        return text ? strtoll(text, NULL, 10) : 0;
}

bool config_flag(const struct config *config, const char *name) {
        const char *text = config_text(config, name);
        return text && strcmp(text, "true") == 0;
}

bool config_is_set(const struct config *config, const char *name) {
        return must_find(config, name)->source != FROM_DEFAULT;
}

const char *const *config_list(const struct config *config, const char *name, size_t *ret_n) {
        const struct setting *setting = must_find(config, name);
        *ret_n = setting->n;
        return (const char *const *)setting->values;
}

const char *const *config_positional(const struct config *config, size_t *ret_n) {
        *ret_n = config->positional.n;
        return (const char *const *)config->positional.values;
}

void config_dump(const struct config *config, FILE *out) {
        for (size_t i = 0; i < config->n_settings; i++) {
                const struct setting *setting = &config->settings[i];
                if (setting->option->command_line_only)
                        continue;
                if (setting->n == 0)
                        fprintf(out, "# %s =%s\n", setting->option->name, setting->option->type == CONFIG_FLAG ? " false" : "");
                for (size_t k = 0; k < setting->n; k++)
                        fprintf(out, "%s = %s\n", setting->option->name, setting->values[k]);
        }
}
