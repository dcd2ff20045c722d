/* `check`: what a spec means, or all its faults, without a server. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "ctl.h"
#include "proto/problem.h"
#include "proto/spec.h"
#include "table.h"

static void print_faults(const struct ctl *ctl, const struct document *document, const struct faults *faults) {
        if (ctl->json) {
                _cleanup_json_ json_t *problem = problem_encode(422, "the sweep spec has faults", faults);
                for (size_t i = 0; i < faults->n; i++) {
                        unsigned line = line_map_find(&document->notes.lines, faults->items[i].pointer);
                        if (line > 0)
                                json_object_set_new(json_array_get(json_object_get(problem, "errors"), i), "line", json_integer(line));
                }
                ctl_print_json(problem);
                return;
        }
        for (size_t i = 0; i < faults->n; i++)
                document_print_fault(document, faults->items[i].pointer, faults->items[i].detail, stdout);
        if (faults->n_total > faults->n)
                printf("  … and %zu more\n", faults->n_total - faults->n);
}

/* --- what it means --------------------------------------------------------------------------------- */

/* {"name","distribution", and what it takes} as the coordinator will draw it, defaults and inferred distribution filled in. */
static json_t *describe(const struct parameter *parameter) {
        json_t *object = json_pack("{s:s, s:s}", "name", parameter->name, "distribution", distribution_name(parameter->distribution));
        switch (parameter->distribution) {
        case DIST_CONSTANT:
                json_object_set(object, "value", parameter->value);
                break;
        case DIST_CATEGORICAL:
                json_object_set(object, "values", parameter->values);
                for (size_t i = 0; parameter->probabilities && i < json_array_size(parameter->values); i++) {
                        if (i == 0)
                                json_object_set_new(object, "probabilities", json_array());
                        json_array_append_new(json_object_get(object, "probabilities"), json_real(parameter->probabilities[i]));
                }
                break;
        case DIST_NORMAL:
        case DIST_Q_NORMAL:
        case DIST_LOG_NORMAL:
        case DIST_Q_LOG_NORMAL:
                json_object_set_new(object, "mu", json_real(parameter->mu));
                json_object_set_new(object, "sigma", json_real(parameter->sigma));
                break;
        case DIST_BETA:
        case DIST_Q_BETA:
                json_object_set_new(object, "a", json_real(parameter->a));
                json_object_set_new(object, "b", json_real(parameter->b));
                break;
        default:
                json_object_set_new(object, "min", json_number(parameter->min, parameter->integer));
                json_object_set_new(object, "max", json_number(parameter->max, parameter->integer));
        }
        if (distribution_is_quantised(parameter->distribution))
                json_object_set_new(object, "q", json_number(parameter->q, parameter->integer));
        return object;
}

static json_t *describe_all(const struct sweep_spec *spec) {
        json_t *list = json_array();
        for (size_t i = 0; i < spec->parameters.n; i++)
                json_array_append_new(list, describe(&spec->parameters.items[i]));
        return list;
}

static int print_parameters(const json_t *list) {
        __attribute__((cleanup(table_fini))) struct table table = {0};
        int r = table_init(&table, (const char *[]){"=PARAMETER", "DISTRIBUTION", "VALUES", NULL});
        size_t i;
        json_t *item;
        json_array_foreach(list, i, item) {
                char values[CELL_BYTES];
                _cleanup_json_ json_t *rest = json_copy(item);
                json_object_del(rest, "name");
                json_object_del(rest, "distribution");
                const json_t *value = json_object_get(rest, "value");
                const char *distribution = field_text(item, "distribution");
                bool is_exponent = strcmp(distribution, "log_uniform") == 0 || strcmp(distribution, "q_log_uniform") == 0;
                if (is_exponent) { /* as in W&B, and rarely meant */
                        char text[128];
                        snprintf(text, sizeof text, "%.4g to %.4g: min and max are exponents of e (log_uniform_values takes values)",
                                 exp(field_number(item, "min")), exp(field_number(item, "max")));
                        json_object_set_new(rest, "draws", json_string(text));
                }
                if (r == 0)
                        r = table_add(&table, (const char *[]){field_text(item, "name"), field_text(item, "distribution"),
                                                               value ? text_of(value, values, sizeof values)
                                                                     : text_of_params(rest, values, sizeof values)});
        }
        table_print(&table, stdout);
        return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

static int print_meaning(const struct ctl *ctl, const struct document *document, const struct sweep_spec *spec) {
        _cleanup_json_ json_t *parameters = describe_all(spec);
        if (ctl->json) {
                _cleanup_json_ json_t *meaning = json_pack("{s:O, s:O}", "spec", document->value, "parameters", parameters);
                ctl_print_json(meaning);
                return EXIT_FINE;
        }
        printf("%s: a %s sweep of %zu parameter%s that %s %s, no faults\n", document->name, method_name(spec->method), spec->parameters.n,
               spec->parameters.n == 1 ? "" : "s", spec->metric.maximize ? "maximizes" : "minimizes", *spec->metric.name ? spec->metric.name : "its value");
        return spec->parameters.n > 0 ? print_parameters(parameters) : EXIT_FINE;
}

int command_check(struct ctl *ctl) {
        __attribute__((cleanup(document_fini))) struct document document = {0};
        __attribute__((cleanup(faults_fini))) struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        struct error err;
        if (document_read(ctl->args[0], DOCUMENT_BYTES_MAX, &document, &err) < 0)
                return ctl_fail(&err);
        document_print_warnings(&document, stderr);
        int r = sweep_spec_parse(document.value, &faults, &spec), code = EXIT_FAILED;
        if (r == 0)
                code = print_meaning(ctl, &document, spec);
        else if (r == SPEC_FAULTY)
                print_faults(ctl, &document, &faults);
        else
                fprintf(stderr, "sweepctl: out of memory\n");
        sweep_spec_free(spec);
        return code;
}
