/* A model-based proposal as a self-contained computation: a snapshot of space and evidence as plain numbers goes to any
 * thread, a point comes back and becomes params on the core thread.
 *
 * The model sees every evaluated configuration, also those in which a factor was varied that this stage holds at its
 * baseline (OFAT levels, an earlier grid): such factors are dimensions that the evidence varies and proposals hold. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/rng.h"
#include "plan/internal.h"
#include "proto/limits.h"

void plan_job_free(struct plan_job *job) {
        if (!job)
                return;
        for (size_t i = 0; i < job->space.n_dims; i++) {
                free(job->names[i].name);
                free(job->names[i].probabilities);
                json_decref(job->names[i].choices);
        }
        free(job->names);
        free(job->dims);
        relations_free(&job->relations);
        free(job->trials);
        free(job->numbers);
        question_free(job->question);
        opt_memory_free(job->memory);
        free(job->x);
        free(job->proposed);
        free(job);
}

void plan_job_set_tag(struct plan_job *job, int64_t tag) {
        job->tag = tag;
}

int64_t plan_job_tag(const struct plan_job *job) {
        return job->tag;
}

static int add_dim(struct plan_job *job, const char *name, const struct opt_dim *dim, json_t *choices, bool integer) {
        size_t i = job->space.n_dims;
        struct job_dim *names = realloc(job->names, (i + 1) * sizeof *names);
        if (names)
                job->names = names;
        struct opt_dim *dims = realloc(job->dims, (i + 1) * sizeof *dims);
        if (dims)
                job->dims = dims;
        char *copy = strdup(name);
        double *probabilities = dim->probabilities ? calloc(dim->n_choices, sizeof *probabilities) : NULL;
        if (!names || !dims || !copy || (dim->probabilities && !probabilities)) {
                free(copy);
                free(probabilities);
                json_decref(choices);
                return -ENOMEM;
        }
        if (probabilities)
                memcpy(probabilities, dim->probabilities, dim->n_choices * sizeof *probabilities);
        names[i] = (struct job_dim){copy, choices, probabilities, integer};
        dims[i] = *dim;
        dims[i].probabilities = probabilities;
        job->space = (struct opt_space){.dims = dims, .n_dims = i + 1};
        return 0;
}

static bool is_evidence(const struct plan *plan, unsigned stage, const struct plan_trial *trial) {
        if (trial->state == TRIAL_CANCELLED || (trial_state_ended(trial->state) && trial->state != TRIAL_FAILED && !trial->has_value))
                return false;
        return stage == ALL_STAGES || trial->stage == stage || plan->spec->n_stages == 1 || plan->spec->stages[stage].warm_start;
}

static bool has_choice(const json_t *choices, const json_t *value) {
        for (size_t i = 0; i < json_array_size(choices); i++)
                if (json_same(json_array_get(choices, i), value))
                        return true;
        return false;
}

/* Choices that trials had and that an edited spec has no more stay in the model, and are never drawn. */
static int add_categorical(const struct plan *plan, struct plan_job *job, const struct parameter *p, struct opt_dim *dim) {
        _cleanup_json_ json_t *choices = json_incref(p->values);
        for (size_t i = 0; plan->edit > 0 && i < plan->n_trials && json_array_size(choices) < LIMIT_CHOICES; i++) {
                json_t *value = json_get_dotted(plan->trials[i].params, p->name);
                if (!value || !is_evidence(plan, ALL_STAGES, &plan->trials[i]) || has_choice(choices, value))
                        continue;
                if (choices == p->values) {
                        json_decref(choices);
                        choices = json_copy(p->values);
                }
                if (!choices || json_array_append(choices, value) < 0)
                        return -ENOMEM;
        }
        size_t n = json_array_size(p->values);
        if (choices == p->values)
                return add_dim(job, p->name, dim, TAKE(choices), p->integer);
        dim->n_choices = json_array_size(choices);
        _cleanup_free_ double *probabilities = calloc(dim->n_choices, sizeof *probabilities);
        if (!probabilities)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                probabilities[i] = p->probabilities ? p->probabilities[i] : 1 / (double)n;
        dim->probabilities = probabilities;
        return add_dim(job, p->name, dim, TAKE(choices), p->integer); /* copies them */
}

int job_add_parameter(const struct plan *plan, struct plan_job *job, const struct parameter *p, const json_t *held) {
        struct opt_dim dim;
        domain_from_parameter(p, &dim);
        if (held && !domain_number(&dim, p->values, held, &dim.held_value))
                return 0;
        dim.held = held != NULL;
        if (p->distribution == DIST_CATEGORICAL)
                return add_categorical(plan, job, p, &dim);
        return add_dim(job, p->name, &dim, json_incref(p->values), p->integer || p->distribution == DIST_INT_UNIFORM);
}

bool job_has_dim(const struct plan_job *job, const char *name) {
        for (size_t i = 0; i < job->space.n_dims; i++)
                if (strcmp(job->names[i].name, name) == 0)
                        return true;
        return false;
}

static bool evidence_varies(const struct plan *plan, const struct plan_job *job, unsigned stage, const char *name, const json_t *held) {
        for (size_t i = 0; i < plan->n_trials; i++) {
                struct plan_trial trial;
                bool counts = confirm_recall(plan, job->before, i, &trial) && is_evidence(plan, stage, &trial);
                const json_t *value = counts ? json_get_dotted(trial.params, name) : NULL;
                if (value && !json_same(value, held))
                        return true;
        }
        return false;
}

/* A factor that has levels in some stage but is no parameter: its range is that of its levels and the baseline. */
static int add_factor(struct plan *plan, struct plan_job *job, const char *name, const json_t *held) {
        const json_t *values[1 + 4 * 64];
        size_t n = 0;
        values[n++] = held;
        for (size_t s = 0; s < plan->spec->n_stages; s++) {
                const struct stage_spec *stage = &plan->spec->stages[s];
                for (size_t i = 0; i < stage->n_levels; i++)
                        for (size_t k = 0; strcmp(stage->levels[i].name, name) == 0 && k < json_array_size(stage->levels[i].values) &&
                                           n < sizeof values / sizeof *values;
                             k++)
                                values[n++] = json_array_get(stage->levels[i].values, k);
        }
        struct opt_dim dim;
        json_t *choices;
        int r = domain_from_values(values, n, held, &dim, &choices);
        return r < 0 ? r : add_dim(job, name, &dim, choices, false);
}

static int add_held(struct plan *plan, struct plan_job *job, unsigned stage) {
        const struct sweep_spec *spec = plan->spec;
        for (size_t i = 0; i < spec->parameters.n; i++) {
                const struct parameter *p = &spec->parameters.items[i];
                const json_t *held = params_default(plan, p->name);
                if (p->distribution == DIST_CONSTANT || !held || relations_leader(&spec->relations, p->name) || job_has_dim(job, p->name) ||
                    (!relations_condition(&spec->relations, p->name) && !evidence_varies(plan, job, stage, p->name, held))) /* whether it counts depends on the point */
                        continue;
                int r = job_add_parameter(plan, job, p, held);
                if (r < 0)
                        return r;
        }
        return job_add_factors(plan, job, stage);
}

#define MAX_SEEN 257

/* A parameter that an edit made a constant: the model keeps what trials with other values say. */
static int add_constant(const struct plan *plan, struct plan_job *job, const struct parameter *p) {
        const json_t *values[MAX_SEEN];
        size_t n = 0;
        values[n++] = p->value;
        for (size_t i = 0; i < plan->n_trials && n < MAX_SEEN; i++) {
                const json_t *value = json_get_dotted(plan->trials[i].params, p->name);
                size_t k = 0;
                while (value && k < n && !json_same(values[k], value))
                        k++;
                if (value && k == n)
                        values[n++] = value;
        }
        struct opt_dim dim;
        json_t *choices;
        int r = domain_from_values(values, n, p->value, &dim, &choices);
        return r < 0 ? r : add_dim(job, p->name, &dim, choices, false);
}

int job_add_factors(struct plan *plan, struct plan_job *job, unsigned stage) {
        const struct sweep_spec *spec = plan->spec;
        for (size_t i = 0; plan->edit > 0 && i < spec->parameters.n; i++) {
                const struct parameter *p = &spec->parameters.items[i];
                if (p->distribution != DIST_CONSTANT || job_has_dim(job, p->name) || relations_leader(&spec->relations, p->name) ||
                    !evidence_varies(plan, job, stage, p->name, p->value))
                        continue;
                int r = add_constant(plan, job, p);
                if (r < 0)
                        return r;
        }
        const char *name;
        json_t *held;
        json_object_foreach(spec->baseline, name, held) {
                if (job_has_dim(job, name) || parameter_find(&spec->parameters, name) || relations_leader(&spec->relations, name) ||
                    (!relations_condition(&spec->relations, name) && !evidence_varies(plan, job, stage, name, held)))
                        continue;
                int r = add_factor(plan, job, name, held);
                if (r < 0)
                        return r;
        }
        return 0;
}

int job_add_relations(const struct plan *plan, struct plan_job *job) {
        size_t n = job->space.n_dims;
        _cleanup_json_ json_t *base = params_base(plan, job->stage);
        _cleanup_free_ const char **names = calloc(n + 1, sizeof *names);
        _cleanup_free_ json_t **choices = calloc(n + 1, sizeof *choices);
        if (!base || !names || !choices)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                names[i] = job->names[i].name;
                choices[i] = job->names[i].choices;
        }
        const struct relations_view view = {.names = names, .dims = job->dims, .choices = choices, .n_dims = n, .base = base};
        int r = relations_build(plan, &view, &job->relations);
        job->space = relations_space(&job->relations, job->dims, n);
        return r;
}

/* The trial as a point; false when a value is missing or none of its dimension's. */
static bool point_of(const struct plan *plan, const struct plan_job *job, const json_t *params, double *x) {
        for (size_t i = 0; i < job->space.n_dims; i++) {
                const struct opt_dim *dim = &job->dims[i];
                const json_t *value = json_get_dotted(params, job->names[i].name);
                if (!value && (dim->held || !relations_is_active(plan, params, job->names[i].name)))
                        x[i] = opt_dim_resting(dim);
                else if (!value || !domain_number(dim, job->names[i].choices, value, &x[i]))
                        return false;
        }
        return true;
}

static uint64_t mix_text(uint64_t key, const char *text) {
        for (const char *c = text; *c; c++)
                key = rng_mix(key + (unsigned char)*c);
        return key;
}

/* Conditions are those of the spec, which a plan keeps; after an edit the choices are not (add_categorical). 0 without memory. */
static uint64_t dims_key(const struct plan *plan, const struct plan_job *job) {
        uint64_t key = job->space.n_dims + 1;
        for (size_t i = 0; i < job->space.n_dims; i++) {
                const struct opt_dim *dim = &job->dims[i];
                const double members[] = {dim->kind, dim->low, dim->high, dim->mu, dim->sigma, dim->a, dim->b, dim->step, (double)dim->n_choices, dim->held};
                _cleanup_free_ char *choices = plan->edit > 0 && job->names[i].choices ? json_text(job->names[i].choices) : strdup("");
                if (!choices)
                        return 0;
                key = mix_text(mix_text(key, job->names[i].name), choices);
                for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
                        uint64_t bits;
                        memcpy(&bits, &members[k], sizeof bits);
                        key = rng_mix(key ^ bits) + k;
                }
        }
        return key ? key : 1;
}

static int points_need(struct plan *plan, const struct plan_job *job) {
        struct plan_points *points = &plan->points;
        size_t d = job->space.n_dims;
        uint64_t key = dims_key(plan, job);
        if (key == 0)
                return -ENOMEM;
        if (points->key != key || points->n_dims != d)
                points->n = 0;
        if (points->cap < plan->n_trials || points->n_dims != d) {
                size_t cap = plan->cap_trials;
                double *x = realloc(points->x, (cap * d + 1) * sizeof *x);
                if (x)
                        points->x = x;
                bool *fits = realloc(points->fits, cap + 1);
                if (fits)
                        points->fits = fits;
                if (!x || !fits) {
                        points->n = points->cap = 0;
                        return -ENOMEM;
                }
                points->cap = cap;
        }
        points->key = key;
        points->n_dims = d;
        for (; points->n < plan->n_trials; points->n++)
                points->fits[points->n] = point_of(plan, job, plan->trials[points->n].params, points->x + points->n * d);
        return 0;
}

int job_add_evidence(struct plan *plan, struct plan_job *job, unsigned stage) {
        size_t d = job->space.n_dims, n = 0;
        int r = job->question ? 0 : points_need(plan, job);
        if (r < 0)
                return r;
        job->trials = calloc(plan->n_trials + 1, sizeof *job->trials);
        job->numbers = calloc(plan->n_trials + 1, sizeof *job->numbers);
        job->x = calloc(plan->n_trials * d + 1, sizeof *job->x);
        job->proposed = calloc(2 * d + 1, sizeof *job->proposed);
        if (!job->trials || !job->numbers || !job->x || !job->proposed)
                return -ENOMEM;
        for (size_t i = 0; i < plan->n_trials; i++) {
                struct plan_trial trial;
                double *x = job->x + n * d;
                if (!confirm_recall(plan, job->before, i, &trial) || !is_evidence(plan, stage, &trial) ||
                    !(job->question ? point_of(plan, job, trial.params, x) : plan->points.fits[i]))
                        continue;
                if (!job->question)
                        memcpy(x, plan->points.x + i * d, d * sizeof *x);
                job->numbers[n] = trial.number;
                job->trials[n++] = (struct opt_trial){
                        .x = x,
                        .y = trial.value,
                        .ended = trial.changed,
                        .is_foreign = trial.is_foreign,
                        .status = trial.has_value ? OPT_OBSERVED : trial.state == TRIAL_FAILED ? OPT_FAILED : OPT_PENDING,
                };
        }
        job->history = (struct opt_history){job->trials, n};
        return 0;
}

/* What a job prepares serves the next result; after the one after that it is too old. Finalists are chosen by what was known once. */
void job_overtaken(struct plan *plan) {
        struct plan_job *job = plan->out;
        if (job && !job->question && (!job->is_preparation || plan->evidence > job->evidence + 1))
                atomic_store_explicit(&job->stop, true, memory_order_relaxed);
}

int job_new(struct plan *plan, unsigned stage, struct plan_job **ret) {
        int needed = history_need(plan);
        if (needed < 0)
                return needed;
        struct plan_job *job = calloc(1, sizeof *job);
        if (!job)
                return -ENOMEM;
        job->stage = stage;
        job->version = plan->version;
        job->evidence = plan->evidence;
        const struct parameter_list *parameters = stage_parameters(plan, stage);
        int r = 0;
        for (size_t i = 0; r == 0 && i < parameters->n; i++)
                if (stage_varies(plan, stage, parameters->items[i].name))
                        r = job_add_parameter(plan, job, &parameters->items[i], NULL);
        if (r == 0)
                r = add_held(plan, job, stage);
        if (r == 0)
                r = job_add_relations(plan, job);
        if (r == 0)
                r = job_add_evidence(plan, job, stage);
        if (r < 0) {
                plan_job_free(job);
                return r;
        }
        job->options = (struct opt_bayes_options){
                .maximize = plan->spec->metric.maximize, .seed = plan->seed, .number = plan->counts[stage].proposed / plan->spec->repeats + 1,
                .repeats = plan->spec->repeats, .stop = &job->stop};
        job->options.memory = job->memory = plan->memory ? TAKE(plan->memory) : opt_memory_new();
        *ret = job;
        return 0;
}

void plan_job_compute(struct plan_job *job) {
        if (job->question) {
                question_compute(job);
                return;
        }
        if (job->is_preparation) {
                job->result = opt_prepare(&job->space, &job->history, &job->options);
                return;
        }
        job->proposal = (struct opt_proposal){.x = job->proposed, .lengths = job->proposed + job->space.n_dims};
        job->result = opt_bayes(&job->space, &job->history, &job->options, &job->proposal);
}

/* What is not finite is left out. */
static int describe_number(json_t *proposal, const char *key, double value) {
        return isfinite(value) ? json_object_set_new(proposal, key, json_real(value)) : 0;
}

#define MAX_LENGTHS 8 /* shown with a proposal */

/* The varied parameters that the model holds for the most influential, shortest length scale first, to three digits. */
static json_t *lengths_json(const struct plan_job *job) {
        json_t *list = json_object();
        double last = -1;
        for (size_t shown = 0; list && shown < MAX_LENGTHS;) {
                double next = INFINITY;
                for (size_t k = 0; k < job->space.n_dims; k++)
                        if (!job->dims[k].held && job->proposal.lengths[k] > last)
                                next = fmin(next, job->proposal.lengths[k]);
                if (next == INFINITY)
                        break;
                for (size_t k = 0; k < job->space.n_dims && shown < MAX_LENGTHS; k++)
                        if (!job->dims[k].held && job->proposal.lengths[k] == next) {
                                double unit = pow(10, floor(log10(next)) - 2);
                                json_object_set_new(list, job->names[k].name, json_real(round(next / unit) * unit));
                                shown++;
                        }
                last = next;
        }
        return list;
}

/* NULL without memory. */
static json_t *describe(const struct plan_job *job) {
        const struct opt_proposal *p = &job->proposal;
        json_t *proposal = json_pack("{s:s, s:s*}", "source", opt_source_name(p->source), "why", p->why);
        if (!proposal || !p->has_prediction)
                return proposal;
        if (describe_number(proposal, "mean", p->mean) < 0 || describe_number(proposal, "sd", p->sd) < 0 ||
            describe_number(proposal, "log_ei", p->acquisition) < 0 ||
            json_object_set_new(proposal, "length_scales", lengths_json(job)) < 0) {
                json_decref(proposal);
                return NULL;
        }
        return proposal;
}

/* The proposed point as params, whole or not at all: NULL without memory. */
static json_t *params_of(const struct plan *plan, const struct plan_job *job) {
        json_t *params = params_base(plan, job->stage);
        int r = params ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < job->space.n_dims; i++) {
                const struct job_dim *name = &job->names[i];
                if (!job->dims[i].held)
                        r = json_set_dotted(params, name->name, domain_value(&job->dims[i], name->choices, name->integer, job->proposal.x[i]));
        }
        if (r == 0)
                r = relations_settle(plan, params);
        if (r < 0) {
                json_decref(params);
                return NULL;
        }
        return params;
}

static void take_memory(struct plan *plan, struct plan_job *job) {
        opt_memory_free(plan->memory);
        plan->memory = TAKE(job->memory);
        plan->memory_use = opt_memory_use(plan->memory);
}

void plan_job_finish(struct plan *plan, struct plan_job *job) {
        if (plan->out == job)
                plan->out = NULL;
        if (job->question || job->is_preparation) {
                if (job->question)
                        question_take_finalists(plan, job);
                else
                        take_memory(plan, job);
                plan_job_free(job);
                return;
        }
        plan->n_stale += job->version != plan->version && plan->is_awaited;
        json_decref(plan->ready_params);
        json_decref(plan->ready_proposal);
        plan->ready_params = plan->ready_proposal = NULL;
        size_t constraint;
        double sum;
        _cleanup_json_ json_t *params = job->result == 0 ? params_of(plan, job) : NULL, *proposal = params ? describe(job) : NULL;
        if (params && proposal) {
                plan->is_barren = !relations_allow(plan, params, &constraint, &sum) || job->proposal.source == OPT_SOURCE_EXPLOIT;
                plan->ready_params = TAKE(params);
                plan->ready_proposal = TAKE(proposal);
                plan->ready_version = job->version;
                plan->ready_stage = job->stage;
        }
        take_memory(plan, job);
        plan_job_free(job);
}
