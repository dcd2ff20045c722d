/* The pieces of the spec parser, shared by its files only. Each parses one part into a struct that the caller owns
 * (half-filled ones too), adds faults, and returns 0 or -ENOMEM. */
#pragma once
#include "proto/reader.h"
#include "proto/spec.h"

/* `parameters`: flattens nested ones into dotted names. */
int parameters_parse(const struct reader *reader, const char *key, struct parameter_list *list);
void parameters_fini(struct parameter_list *list);

/* An object of name → array of values: `levels` of ofat, `values` of a grid stage. */
int level_sets_parse(const struct reader *reader, const char *key, struct level_set **ret, size_t *ret_n);
void level_sets_fini(struct level_set *sets, size_t n);
const struct level_set *level_set_find(const struct level_set *sets, size_t n, const char *name);

/* A fault when name is no parameter name: ^[A-Za-z_][A-Za-z0-9_.-]*$, at most LIMIT_NAME_BYTES. */
bool parameter_name_check(const struct reader *reader, const char *name, const char *full_name);

/* -1 for a name that is no method. */
int method_from_name(const char *name);

/* `early_terminate`: *ret stays as it is when it is left out. metric is parsed already. */
void early_terminate_parse(const struct reader *reader, const struct metric_spec *metric, struct stop_rule *ret);

/* spec->stages from the top level of any method; spec's parameters and baseline are parsed already. */
int stages_parse(const struct reader *reader, struct sweep_spec *spec);
void stage_fini(struct stage_spec *stage);

/* `warm_start` of the top level. */
int warm_start_parse(const struct reader *reader, struct warm_start *ret);

/* `conditions`, `constraints`, `tie`: all else is parsed already. */
int relations_parse(const struct reader *reader, struct sweep_spec *spec);
void relations_fini(struct relations_spec *relations);

/* Faults that show only when all parts are there: baselines that are missing, names that clash. */
int spec_check_names(const struct reader *reader, const struct sweep_spec *spec);

/* Smallest and largest value that the distribution can give (infinite for normals). */
void distribution_support(const struct parameter *parameter, double *ret_low, double *ret_high);
