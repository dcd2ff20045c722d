/* How parameters of a sweep depend on each other: `conditions`, `constraints` and `tie` of a spec. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The parameter is there only while each parent is there and has one of the listed values. At most one per parameter. */
struct condition {
        char *parameter;
        json_t *when; /* object: parent → array of values */
};

/* low ≤ Σ factor · value ≤ high, over what is there. */
struct constraint {
        json_t *terms; /* object: parameter → factor, a number ≠ 0 */
        double low, high; /* infinite where left out */
};

/* All names have one value, that of the first. */
struct tie {
        json_t *names; /* array of at least two */
};

struct relations_spec {
        struct condition *conditions;
        size_t n_conditions;
        struct constraint *constraints;
        size_t n_constraints;
        struct tie *ties;
        size_t n_ties;
};

/* The name whose value `name` takes: the first of its tie; NULL when it is tied to nothing, or is itself the first. */
const char *relations_leader(const struct relations_spec *relations, const char *name);

/* Is a sum within the bounds? Sums of decimals may miss them by a rounding error. */
bool constraint_holds(const struct constraint *constraint, double sum);

const struct condition *relations_condition(const struct relations_spec *relations, const char *name); /* NULL = always there */
