/* Logs in logfmt on stderr, one line an event: level, message, then ids as fields (sweep= trial= worker= req=).
 * Values are quoted and escaped, so nothing that a client sends can forge a line. Safe from any thread. */
#pragma once
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_field {
        const char *key; /* NULL ends the list */
        enum { LOG_FIELD_TEXT, LOG_FIELD_INTEGER, LOG_FIELD_REAL } kind;
        const char *text;
        int64_t integer;
        double real;
};

#define log_s(name, value) ((struct log_field){.key = (name), .kind = LOG_FIELD_TEXT, .text = (value)})
#define log_i(name, value) ((struct log_field){.key = (name), .kind = LOG_FIELD_INTEGER, .integer = (int64_t)(value)})
#define log_f(name, value) ((struct log_field){.key = (name), .kind = LOG_FIELD_REAL, .real = (value)})

/* log_info("lease expired", log_s("trial", id), log_i("attempt", n)) */
#define log_debug(message, ...) log_write(LOG_DEBUG, message, (struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define log_info(message, ...) log_write(LOG_INFO, message, (struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define log_warning(message, ...) log_write(LOG_WARNING, message, (struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define log_error(message, ...) log_write(LOG_ERROR, message, (struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})

void log_write(enum log_level level, const char *message, const struct log_field *fields);

/* Messages below this level are dropped. Default LOG_INFO. Set once, before threads start. */
void log_set_level(enum log_level level);

/* "debug", "info", "warning", "error" → level; -EINVAL otherwise. */
int log_level_parse(const char *text, enum log_level *ret);
