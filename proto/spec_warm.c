/* `warm_start` of a sweep spec: {"sweep":ID,"top":K}, or a list of {"params","value","state"}. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/spec_parts.h"
#include "proto/state.h"

#define TRIALS_MAX 10000
#define DEFAULT_TOP 1000

static void item_check(const struct reader *list, const char *pointer, const json_t *item) {
        static const char *const keys[] = {"params", "value", "state", NULL};
        struct reader reader;
        double value;
        if (!reader_init(&reader, item, pointer, list->faults))
                return;
        reader_refuse_unknown(&reader, keys);
        if (reader_require(&reader, "params"))
                reader_object(&reader, "params");
        if (reader_require(&reader, "value"))
                reader_number(&reader, "value", -INFINITY, INFINITY, &value);
        const char *state = reader_text(&reader, "state", LIMIT_NAME_BYTES);
        if (state && strcmp(state, trial_state_name(TRIAL_COMPLETED)) != 0 && strcmp(state, trial_state_name(TRIAL_STOPPED)) != 0)
                reader_fault(&reader, "state", "must be completed or stopped");
}

static void list_parse(const struct reader *reader, struct warm_start *ret) {
        char base[POINTER_SIZE], pointer[POINTER_SIZE];
        json_t *list = reader_array(reader, "warm_start", 1, TRIALS_MAX);
        pointer_join(base, sizeof base, reader->pointer, "warm_start");
        for (size_t i = 0; i < json_array_size(list); i++)
                item_check(reader, pointer_join_index(pointer, sizeof pointer, base, i), json_array_get(list, i));
        ret->trials = json_incref(list);
}

static int sweep_parse(const struct reader *reader, const json_t *object, struct warm_start *ret) {
        static const char *const keys[] = {"sweep", "top", NULL};
        char pointer[POINTER_SIZE];
        struct reader inner;
        int64_t top = DEFAULT_TOP;
        reader_init(&inner, object, pointer_join(pointer, sizeof pointer, reader->pointer, "warm_start"), reader->faults);
        reader_refuse_unknown(&inner, keys);
        reader_require(&inner, "sweep");
        reader_integer(&inner, "top", 1, TRIALS_MAX, &top);
        ret->top = (size_t)top;
        const char *sweep = reader_text(&inner, "sweep", LIMIT_ID_CHARS);
        ret->sweep = sweep ? strdup(sweep) : NULL;
        return sweep && !ret->sweep ? -ENOMEM : 0;
}

int warm_start_parse(const struct reader *reader, struct warm_start *ret) {
        const json_t *value = reader_get(reader, "warm_start");
        if (!value)
                return 0;
        if (json_is_object(value))
                return sweep_parse(reader, value, ret);
        if (json_is_array(value))
                list_parse(reader, ret);
        else
                reader_fault(reader, "warm_start", "must be {\"sweep\",\"top\"} or a list of {\"params\",\"value\"}, not %s", json_type_word(value));
        return 0;
}
