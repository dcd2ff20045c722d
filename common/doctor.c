#include "common/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"

static const char *const verdicts[] = {"ok", "warning", "wrong"};

void doctor_init(struct doctor *doctor) {
        doctor->checks = json_array();
}

void doctor_fini(struct doctor *doctor) {
        json_decref(doctor->checks);
        doctor->checks = NULL;
}

void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check, const char *remedy, const char *format, ...) {
        char detail[1024];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof detail, format, ap);
        va_end(ap);
        json_t *text = json_string(detail);
        if (!text)
                text = json_string("(not UTF-8)");
        json_t *item = json_pack("{s:s, s:s, s:o, s:s*}", "check", check, "verdict", verdicts[verdict], "detail", text, "remedy",
                                 verdict == DOCTOR_OK ? NULL : remedy);
        if (!item || json_array_append_new(doctor->checks, item) < 0)
                doctor_fini(doctor);
}

bool doctor_take(struct doctor *doctor, const json_t *answer) {
        const json_t *checks = json_object_get(answer, "checks");
        if (!json_is_array(checks))
                return false;
        if (json_array_extend(doctor->checks, (json_t *)checks) < 0)
                doctor_fini(doctor);
        return true;
}

static const char *text_of(const json_t *item, const char *key) {
        const char *text = json_string_value(json_object_get(item, key));
        return text ? text : "";
}

/* Terminals obey what they are shown. */
static void put_plain(const char *text) {
        for (; *text; text++)
                putchar((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
}

int doctor_finish(const struct doctor *doctor, bool as_json) {
        size_t i, n_wrong = 0;
        json_t *item;
        if (!doctor->checks) {
                fprintf(stderr, "out of memory\n");
                return EXIT_FAILURE;
        }
        json_array_foreach(doctor->checks, i, item)
                n_wrong += strcmp(text_of(item, "verdict"), verdicts[DOCTOR_WRONG]) == 0;
        if (as_json) {
                _cleanup_json_ json_t *all = json_pack("{s:b, s:O}", "ok", n_wrong == 0, "checks", doctor->checks);
                _cleanup_free_ char *text = all ? json_text(all) : NULL;
                puts(text ? text : "{\"ok\":false,\"checks\":[]}");
                return n_wrong > 0 || !text ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        json_array_foreach(doctor->checks, i, item) {
                printf("%-8s %-12s ", text_of(item, "verdict"), text_of(item, "check"));
                put_plain(text_of(item, "detail"));
                putchar('\n');
                if (*text_of(item, "remedy")) {
                        printf("%22s→ ", "");
                        put_plain(text_of(item, "remedy"));
                        putchar('\n');
                }
        }
        return n_wrong > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
