/* Questions to the model about the whole sweep. The snapshot and the computation know no JSON but names and choices; the
 * answer is written afterwards, on the thread of the plan. */
#include "opt/explain.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "plan/internal.h"

#define LINE_POINTS 51 /* of a slice along one parameter */
#define SIDE_POINTS 21 /* along two */
#define MAX_SLICE (SIDE_POINTS * SIDE_POINTS)
#define MAX_SHOWN_PAIRS 5

#define ASKS_FINALISTS ((enum plan_question)3) /* the plan's own: which configurations a confirm stage repeats */
#define MAX_FINALISTS 100

struct question {
        enum plan_question kind;
        size_t n_wanted, finalists[MAX_FINALISTS]; /* positions in the history; all distinct configurations */
        size_t n_finalists;
        uint64_t confirmed; /* trial whose configuration won a confirm stage that ended; 0 = none */
        json_t *ofat;      /* the effects of a one-factor-at-a-time stage, or NULL */
        size_t sliced[2];  /* dimensions */
        size_t n_sliced;
        /* the computed answer */
        bool is_too_long; /* more than TRIALS_MODELLED_MAX */
        bool has_model;
        size_t n; /* trials behind it */
        double noise;
        struct opt_incumbent incumbent;
        struct opt_effect *effects; /* n_dims */
        struct opt_pair pairs[MAX_SHOWN_PAIRS];
        size_t n_pairs;
        double *at; /* of a slice: n_points × n_sliced */
        struct opt_prediction *predicted; /* n_points */
        size_t n_points;
};

void question_free(struct question *question) {
        if (!question)
                return;
        json_decref(question->ofat);
        free(question->effects);
        free(question->at);
        free(question->predicted);
        free(question);
}

uint64_t plan_evidence(const struct plan *plan) {
        return plan->evidence;
}

bool plan_job_is_question(const struct plan_job *job) {
        return job->question && job->question->kind != ASKS_FINALISTS; /* those go the way of proposals */
}

/* --- the snapshot ---------------------------------------------------------------------------------- */

static json_t *level_json(const struct plan *plan, unsigned stage, uint64_t index, const json_t *value) {
        _cleanup_json_ json_t *params = ofat_config(plan, stage, index, NULL);
        const struct plan_trial *trial = NULL;
        if (!params || history_lookup(plan, params, &trial) < 0)
                return NULL;
        return json_pack("{s:O, s:o}", "value", value, "metric", trial && trial->has_value ? json_real(trial->value) : json_null());
}

static json_t *effect_json(const struct plan *plan, unsigned stage, const struct impact *impact) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        json_t *levels = json_array();
        uint64_t index = 1;
        for (size_t f = 0; levels && f < spec->n_levels; f++) {
                size_t n = json_array_size(spec->levels[f].values);
                if (strcmp(spec->levels[f].name, impact->name) == 0) {
                        const json_t *baseline = params_default(plan, impact->name);
                        if (baseline)
                                json_push(&levels, level_json(plan, stage, 0, baseline));
                        for (size_t k = 0; k < n; k++)
                                json_push(&levels, level_json(plan, stage, index + k, json_array_get(spec->levels[f].values, k)));
                }
                index += n;
        }
        return json_pack("{s:s, s:f, s:o}", "parameter", impact->name, "impact", impact->impact, "levels", levels);
}

/* Of the latest stage of that kind that has begun; null without one. NULL without memory. */
static json_t *ofat_json(struct plan *plan) {
        for (unsigned s = plan->stage + 1; s-- > 0;) {
                if (plan->spec->stages[s].method != METHOD_OFAT)
                        continue;
                /* an ended stage was concluded when the next one began, which selected by it: a question changes nothing */
                if (s == plan->stage && conclude_ofat(plan, s) < 0)
                        return NULL;
                json_t *list = json_array();
                for (size_t i = 0; list && i < plan->stages[s].n_impacts; i++)
                        json_push(&list, effect_json(plan, s, &plan->stages[s].impacts[i]));
                return list;
        }
        return json_null();
}

/* A default makes a point of trials that were made before the parameter varied. */
static int add_parameters(const struct plan *plan, struct plan_job *job, const struct parameter_list *list) {
        for (size_t i = 0; i < list->n; i++) {
                const struct parameter *p = &list->items[i];
                if (p->distribution == DIST_CONSTANT || relations_leader(&plan->spec->relations, p->name) || job_has_dim(job, p->name))
                        continue;
                int r = job_add_parameter(plan, job, p, params_default(plan, p->name));
                if (r == 0 && !job_has_dim(job, p->name))
                        r = job_add_parameter(plan, job, p, NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int find_sliced(const struct plan_job *job, struct question *question, const char *name) {
        for (size_t i = 0; i < job->space.n_dims; i++)
                if (strcmp(job->names[i].name, name) == 0) {
                        question->sliced[question->n_sliced++] = i;
                        return 0;
                }
        return PLAN_NO_PARAMETER;
}

CLEANUP_DEFINE(struct plan_job *, cleanup_job, plan_job_free)

/* About the trials of the stages before this one (0: of all). */
static int plan_ask_about(struct plan *plan, enum plan_question kind, unsigned before, const char *parameter, const char *parameter2,
                          struct plan_job **ret) {
        _cleanup_(cleanup_job) struct plan_job *job = calloc(1, sizeof *job);
        struct question *question = calloc(1, sizeof *question);
        if (!job || !question) {
                free(question);
                return -ENOMEM;
        }
        job->question = question;
        question->kind = kind;
        job->before = before;
        job->options = (struct opt_bayes_options){.maximize = plan->spec->metric.maximize, .seed = plan->seed};
        question->is_too_long = kind != ASKS_FINALISTS && plan->n_all > TRIALS_MODELLED_MAX; /* finalists: the model keeps to its own cap */
        int r = question->is_too_long ? 0 : history_need(plan);
        if (r == 0 && !question->is_too_long)
                question->confirmed = confirm_winner(plan);
        if (r == 0)
                r = add_parameters(plan, job, &plan->spec->parameters);
        for (size_t s = 0; r == 0 && s < plan->spec->n_stages; s++)
                r = add_parameters(plan, job, &plan->spec->stages[s].parameters);
        if (r == 0)
                r = question->is_too_long ? 0 : job_add_factors(plan, job, ALL_STAGES);
        if (r == 0 && parameter)
                r = find_sliced(job, question, parameter);
        if (r == 0 && parameter2)
                r = find_sliced(job, question, parameter2) == 0 ? 0 : PLAN_NO_PARAMETER_2;
        if (r == 0)
                r = job_add_relations(plan, job);
        if (r == 0)
                r = question->is_too_long ? 0 : job_add_evidence(plan, job, ALL_STAGES);
        if (r != 0)
                return r;
        if (kind == PLAN_ASKS_IMPORTANCE && !question->is_too_long && !(question->ofat = ofat_json(plan)))
                return -ENOMEM;
        *ret = TAKE(job);
        return 0;
}

int plan_ask(struct plan *plan, enum plan_question kind, const char *parameter, const char *parameter2, struct plan_job **ret) {
        return plan_ask_about(plan, kind, 0, parameter, parameter2, ret);
}

/* --- finalists ------------------------------------------------------------------------------------- */

int question_finalists(struct plan *plan, unsigned stage, struct plan_job **ret) {
        struct plan_job *job;
        int r = plan_ask_about(plan, ASKS_FINALISTS, stage, NULL, NULL, &job);
        if (r != 0)
                return r;
        job->stage = stage;
        job->version = plan->begun_version;
        job->question->n_wanted = plan->spec->stages[stage].top_k;
        *ret = job;
        return 0;
}

/* Too few values for a model: the best ones seen. */
static void rank_by_value(struct plan_job *job) {
        struct question *q = job->question;
        size_t d = job->space.n_dims;
        while (q->n_finalists < q->n_wanted) {
                size_t best = SIZE_MAX;
                for (size_t i = 0; i < job->history.n; i++) {
                        const struct opt_trial *trial = &job->trials[i];
                        bool is_taken = trial->status != OPT_OBSERVED;
                        for (size_t k = 0; k < q->n_finalists && !is_taken; k++)
                                is_taken = memcmp(trial->x, job->trials[q->finalists[k]].x, d * sizeof *trial->x) == 0;
                        double lead = best == SIZE_MAX ? 1 : (trial->y - job->trials[best].y) * (job->options.maximize ? 1 : -1);
                        if (!is_taken && lead > 0)
                                best = i;
                }
                if (best == SIZE_MAX)
                        return;
                q->finalists[q->n_finalists++] = best;
        }
}

void question_take_finalists(struct plan *plan, const struct plan_job *job) {
        const struct question *q = job->question;
        struct stage_state *state = &plan->stages[job->stage];
        uint64_t *finalists = calloc(q->n_finalists + 1, sizeof *finalists);
        if (!finalists || job->result < 0 || job->version != plan->begun_version || plan->stage != job->stage) { /* asked again */
                free(finalists);
                return;
        }
        for (size_t i = 0; i < q->n_finalists; i++)
                finalists[i] = job->numbers[q->finalists[i]];
        free(state->finalists);
        state->finalists = finalists;
        state->n_finalists = q->n_finalists;
}

/* --- the computation ------------------------------------------------------------------------------- */

static int compute_slice(struct plan_job *job, const struct opt_model *model) {
        struct question *q = job->question;
        size_t d = job->space.n_dims, max = q->n_sliced == 1 ? LINE_POINTS : SIDE_POINTS, n = 0;
        double grid[2][LINE_POINTS];
        size_t n_first = opt_dim_grid(&job->dims[q->sliced[0]], max, grid[0]);
        size_t n_second = q->n_sliced == 2 ? opt_dim_grid(&job->dims[q->sliced[1]], max, grid[1]) : 1;
        _cleanup_free_ double *x = calloc(n_first * n_second * d + 1, sizeof *x);
        q->at = calloc(MAX_SLICE * 2, sizeof *q->at);
        q->predicted = calloc(MAX_SLICE, sizeof *q->predicted);
        if (!x || !q->at || !q->predicted)
                return -ENOMEM;
        for (size_t i = 0; i < n_first; i++)
                for (size_t k = 0; k < n_second; k++, n++) {
                        memcpy(x + n * d, job->trials[q->incumbent.index].x, d * sizeof *x);
                        x[n * d + q->sliced[0]] = q->at[n * q->n_sliced] = grid[0][i];
                        if (q->n_sliced == 2)
                                x[n * d + q->sliced[1]] = q->at[n * q->n_sliced + 1] = grid[1][k];
                }
        q->n_points = n;
        return opt_model_predict(model, n, x, q->predicted);
}

static const double *confirmed_point(const struct plan_job *job) {
        for (size_t i = 0; i < job->history.n; i++)
                if (job->numbers[i] == job->question->confirmed)
                        return job->trials[i].x;
        return NULL;
}

static int ask_model(struct plan_job *job, const struct opt_model *model) {
        struct question *q = job->question;
        if (q->kind == ASKS_FINALISTS)
                return opt_model_rank(model, q->n_wanted, q->finalists, &q->n_finalists);
        q->n = opt_model_n(model);
        q->noise = opt_model_noise(model);
        const double *confirmed = confirmed_point(job);
        int r = opt_model_incumbent(model, confirmed, &q->incumbent);
        if (r < 0)
                return r;
        if (!confirmed || memcmp(job->trials[q->incumbent.index].x, confirmed, job->space.n_dims * sizeof *confirmed) != 0)
                q->confirmed = 0; /* no evidence of this model */
        if (q->kind == PLAN_ASKS_SLICE)
                return compute_slice(job, model);
        if (q->kind == PLAN_ASKS_BEST)
                return 0;
        q->effects = calloc(job->space.n_dims + 1, sizeof *q->effects);
        return q->effects ? opt_model_importance(model, q->effects, MAX_SHOWN_PAIRS, q->pairs, &q->n_pairs) : -ENOMEM;
}

void question_compute(struct plan_job *job) {
        struct opt_model *model;
        job->result = job->space.n_dims ? opt_model_new(&job->space, &job->history, job->options.maximize, job->options.seed, &model)
                                        : OPT_NO_MODEL;
        if (job->result == 0) {
                job->result = ask_model(job, model);
                opt_model_free(model);
                job->question->has_model = job->result == 0;
        } else if (job->result > 0) {
                job->result = 0;
                if (job->question->kind == ASKS_FINALISTS)
                        rank_by_value(job);
        }
}

/* --- the answer ------------------------------------------------------------------------------------ */

static const char *why_no_model(const struct question *q) {
        return q->is_too_long ? "too many trials for a model: it is made of 20000 at most" : "too few trials with a value for a model";
}

static const char *best_detail(const struct question *q) {
        if (!q->has_model && !q->confirmed)
                return why_no_model(q);
        if (q->confirmed)
                return "it won the confirmation, which trials with fresh seeds alone decide";
        if (q->incumbent.recommends_repeats)
                return "noise hides which of the best configurations is the best: repeats of them would tell";
        if (q->incumbent.n_within_noise > 0)
                return "other configurations may be as good: what the model expects them to differ by is small beside the noise";
        return "no other configuration tried is within noise of it";
}

static json_t *latest_confirmation(const struct plan *plan) {
        for (unsigned s = plan->stage + 1; s-- > 0;)
                if (plan->stages[s].finalists)
                        return confirm_json(plan, s);
        return json_null();
}

static json_t *best_json(const struct plan_job *job, const struct plan *plan) {
        const struct question *q = job->question;
        const struct opt_incumbent *best = &q->incumbent;
        json_t *posterior = q->has_model ? json_pack("{s:o, s:o, s:o, s:o, s:f}", "mean", json_real_or_null(best->mean), "sd",
                                                     json_real_or_null(best->sd), "low", json_real_or_null(best->low), "high",
                                                     json_real_or_null(best->high), "chance_of_best", best->chance_of_best)
                                         : json_null();
        uint64_t recommended = q->confirmed ? q->confirmed : q->has_model ? job->numbers[best->index] : 0;
        return json_pack("{s:o, s:o, s:I, s:b, s:o, s:s}", "recommended", recommended ? json_integer((json_int_t)recommended) : json_null(), "posterior", posterior,
                         "within_noise", (json_int_t)best->n_within_noise, "recommend_repeats", best->recommends_repeats, "confirmation",
                         latest_confirmation(plan), "detail",
                         best_detail(q));
}

static const char *importance_detail(const struct plan_job *job) {
        const struct question *q = job->question;
        if (!q->has_model)
                return why_no_model(q);
        for (size_t k = 0; k < job->space.n_dims; k++)
                if (q->effects[k].is_distinguishable)
                        return "shares of the variance of the modelled metric over the search space, with 90 % intervals; the metric's worse half "
                               "is pulled in by rank";
        return "no parameter's effect is distinguishable from noise";
}

/* By falling share; what cannot be told from noise comes last. */
static int compare_effects(const void *a, const void *b) {
        const struct opt_effect *x = *(const struct opt_effect *const *)a, *y = *(const struct opt_effect *const *)b;
        if (x->is_distinguishable != y->is_distinguishable)
                return x->is_distinguishable ? -1 : 1;
        if (x->share != y->share)
                return x->share > y->share ? -1 : 1;
        return (x > y) - (x < y);
}

static json_t *effects_json(const struct plan_job *job) {
        const struct question *q = job->question;
        size_t d = job->space.n_dims;
        json_t *list = json_array();
        _cleanup_free_ const struct opt_effect **sorted = calloc(d + 1, sizeof *sorted);
        for (size_t k = 0; sorted && k < d; k++)
                sorted[k] = &q->effects[k];
        if (!sorted) {
                json_decref(list);
                return NULL;
        }
        qsort(sorted, d, sizeof *sorted, compare_effects);
        for (size_t k = 0; k < d; k++)
                json_push(&list, json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:s}", "parameter", job->names[sorted[k] - q->effects].name,
                                                      "share", sorted[k]->share, "low", sorted[k]->low, "high", sorted[k]->high, "total",
                                                      sorted[k]->total, "distinguishable", sorted[k]->is_distinguishable, "verdict",
                                                      sorted[k]->is_distinguishable ? "matters" : "not distinguishable from noise"));
        return list;
}

static json_t *importance_json(const struct plan_job *job) {
        const struct question *q = job->question;
        json_t *pairs = json_array(), *parameters = q->has_model ? effects_json(job) : json_array();
        for (size_t i = 0; pairs && i < q->n_pairs; i++)
                json_push(&pairs, json_pack("{s:[s, s], s:f, s:f, s:f}", "parameters", job->names[q->pairs[i].a].name,
                                                       job->names[q->pairs[i].b].name, "share", q->pairs[i].share, "low", q->pairs[i].low,
                                                       "high", q->pairs[i].high));
        return json_pack("{s:I, s:{s:o}, s:o, s:o, s:o, s:s}", "n", (json_int_t)q->n, "noise", "sd",
                         q->has_model ? json_real_or_null(q->noise) : json_null(), "ofat", q->ofat ? json_incref(q->ofat) : json_null(),
                         "parameters", parameters, "pairs", pairs, "detail", importance_detail(job));
}

static json_t *point_json(const struct plan_job *job, size_t i) {
        const struct question *q = job->question;
        json_t *params = json_object();
        for (size_t s = 0; params && s < q->n_sliced; s++) {
                size_t k = q->sliced[s];
                json_put(&params, job->names[k].name,
                                    domain_value(&job->dims[k], job->names[k].choices, job->names[k].integer, q->at[i * q->n_sliced + s]));
        }
        const struct opt_prediction *at = &q->predicted[i];
        return json_pack("{s:o, s:o, s:o, s:o, s:o}", "params", params, "mean", json_real_or_null(at->mean), "sd", json_real_or_null(at->sd), "low",
                         json_real_or_null(at->low), "high", json_real_or_null(at->high));
}

static json_t *slice_json(const struct plan_job *job, struct plan *plan) {
        const struct question *q = job->question;
        json_t *names = json_array(), *points = json_array();
        for (size_t s = 0; names && s < q->n_sliced; s++)
                json_push(&names, json_string(job->names[q->sliced[s]].name));
        for (size_t i = 0; points && i < q->n_points; i++)
                json_push(&points, point_json(job, i));
        const struct plan_trial *trial = q->has_model && history_need(plan) == 0 ? history_find(plan, job->numbers[q->incumbent.index]) : NULL;
        return json_pack("{s:o, s:o, s:o, s:s}", "parameters", names, "at", trial ? json_incref(trial->params) : json_null(), "points", points,
                         "detail", q->has_model ? "posterior mean and deviation of the metric without its noise" : why_no_model(q));
}

json_t *plan_job_answer(const struct plan_job *job, struct plan *plan) {
        if (job->result < 0)
                return NULL;
        switch (job->question->kind) {
        case PLAN_ASKS_BEST:
                return best_json(job, plan);
        case PLAN_ASKS_IMPORTANCE:
                return importance_json(job);
        default:
                return slice_json(job, plan);
        }
}
