/* Walks the stages. Nothing here remembers what it proposed: the history does, so a plan made anew from the same events
 * goes on exactly where the old one stood. */
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/rng.h"
#include "plan/internal.h"

/* A proposal that new evidence overtook while it was computed is computed again; after this many times in a row it is
 * computed on the spot, so that a busy sweep neither starves nor ever gets a proposal that depends on timing. */
#define MAX_STALE 3

int plan_new(const struct sweep_spec *spec, uint64_t seed, uint64_t run_cap, struct plan **ret, struct error *err) {
        struct plan *plan = calloc(1, sizeof *plan);
        if (!plan)
                return error_set(err, -ENOMEM, "out of memory");
        plan->spec = spec;
        plan->seed = seed;
        plan->run_cap = run_cap;
        plan->by_key = json_object();
        plan->stages = calloc(spec->n_stages, sizeof *plan->stages);
        plan->counts = calloc(spec->n_stages, sizeof *plan->counts);
        int r = plan->by_key && plan->stages && plan->counts ? stage_begin(plan, 0) : -ENOMEM;
        if (r < 0) {
                plan_free(plan);
                return error_set(err, r, "out of memory");
        }
        *ret = plan;
        return 0;
}

static void stage_reset(struct stage_state *state) {
        free(state->selected);
        free(state->axes);
        free(state->impacts);
        free(state->finalists);
        free(state->then);
        *state = (struct stage_state){0};
}

void plan_free(struct plan *plan) {
        if (!plan)
                return;
        for (size_t i = 0; plan->stages && i < plan->spec->n_stages; i++)
                stage_reset(&plan->stages[i]);
        for (size_t i = 0; i < plan->n_trials; i++)
                json_decref(plan->trials[i].params);
        free(plan->trials);
        free(plan->stages);
        free(plan->counts);
        free(plan->points.x);
        free(plan->points.fits);
        opt_memory_free(plan->memory);
        json_decref(plan->by_key);
        json_decref(plan->ready_params);
        json_decref(plan->ready_proposal);
        free(plan);
}

void plan_set_run_cap(struct plan *plan, uint64_t run_cap) {
        plan->run_cap = run_cap;
}

void plan_set_edit(struct plan *plan, unsigned edit) {
        plan->edit = edit;
        plan->version += (uint64_t)edit << 40;
        plan->evidence += (uint64_t)edit << 40;
}

void plan_set_closed(struct plan *plan, bool closed) {
        plan->closed = closed;
}

void plan_allow_stage(struct plan *plan, unsigned stage) {
        if (stage > plan->allowed_stage)
                plan->allowed_stage = stage;
}

uint64_t plan_trial_seed(uint64_t sweep_seed, uint64_t number) {
        return rng_mix(rng_mix(sweep_seed) ^ (number * 0xD1342543DE82EF95u)) >> 11;
}

/* --- stages ---------------------------------------------------------------------------------------- */

const struct parameter_list *stage_parameters(const struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        return spec->parameters.n > 0 ? &spec->parameters : &plan->spec->parameters;
}

static int begin_grid(struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        const struct parameter_list *parameters = stage_parameters(plan, stage);
        struct stage_state *state = &plan->stages[stage];
        state->axes = calloc(spec->n_levels + parameters->n + 1, sizeof *state->axes);
        if (!state->axes)
                return -ENOMEM;
        for (size_t i = 0; i < spec->n_levels; i++)
                if (stage_varies(plan, stage, spec->levels[i].name))
                        axis_from_levels(&spec->levels[i], &state->axes[state->n_axes++]);
        for (size_t i = 0; spec->n_levels == 0 && i < parameters->n; i++)
                if (stage_varies(plan, stage, parameters->items[i].name))
                        axis_from_parameter(&parameters->items[i], &state->axes[state->n_axes++]);
        axes_sort(state->axes, state->n_axes);
        return 0;
}

/* What a stage takes from those before it (selected factors, finalists) is what the history said just before its first trial:
 * a plan that is made anew learns from that trial that the stage has begun. So a stage that has begun without a trial yet begins
 * anew when the history goes on, or waits again when a retry has opened a stage before it: otherwise proposals would depend on
 * the moment at which somebody asked for them first. */
void stage_unwind(struct plan *plan) {
        if (plan->begun_version == plan->version)
                return;
        while (plan->stage > 0 && plan->counts[plan->stage].added == 0)
                plan->stage--;
}

unsigned plan_stage(struct plan *plan) {
        stage_unwind(plan);
        return plan->stage;
}

int stage_begin(struct plan *plan, unsigned stage) {
        int r = 0;
        stage_reset(&plan->stages[stage]);
        if (stage > 0 && plan->spec->stages[stage - 1].method == METHOD_OFAT)
                r = conclude_ofat(plan, stage - 1);
        if (r == 0)
                r = conclude_select(plan, stage);
        if (r == 0 && plan->spec->stages[stage].method == METHOD_GRID)
                r = begin_grid(plan, stage);
        if (r == 0 && plan->spec->stages[stage].method == METHOD_CONFIRM)
                r = confirm_freeze(plan, stage);
        if (r == 0) {
                plan->stage = stage;
                plan->begun_version = plan->version;
                plan_allow_stage(plan, stage);
        }
        return r;
}

/* --- what each method proposes next ------------------------------------------------------------------ */

uint64_t ofat_count(const struct plan *plan, unsigned stage) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        uint64_t n = 1;
        for (size_t f = 0; f < spec->n_levels; f++)
                n += json_array_size(spec->levels[f].values);
        return n;
}

static json_t *ofat_config_unsettled(const struct plan *plan, unsigned stage, uint64_t index, json_t **ret_proposal) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        json_t *params = params_base(plan, stage);
        if (!params)
                return NULL;
        if (index == 0) {
                if (ret_proposal)
                        *ret_proposal = json_pack("{s:s}", "source", "baseline");
                return params;
        }
        index--;
        for (size_t f = 0; f < spec->n_levels; f++) {
                size_t n = json_array_size(spec->levels[f].values);
                if (index >= n) {
                        index -= n;
                        continue;
                }
                json_t *level = json_array_get(spec->levels[f].values, (size_t)index);
                if (json_set_dotted(params, spec->levels[f].name, json_incref(level)) == 0) {
                        if (ret_proposal)
                                *ret_proposal = json_pack("{s:s, s:s, s:O}", "source", "ofat", "factor", spec->levels[f].name, "level", level);
                        return params;
                }
                break;
        }
        json_decref(params);
        return NULL;
}

json_t *ofat_config(const struct plan *plan, unsigned stage, uint64_t index, json_t **ret_proposal) {
        json_t *params = ofat_config_unsettled(plan, stage, index, ret_proposal);
        if (params && relations_settle(plan, params) < 0) {
                json_decref(params);
                return NULL;
        }
        return params;
}

static json_t *grid_config(const struct plan *plan, unsigned stage, uint64_t index, json_t **ret_proposal) {
        const struct stage_state *state = &plan->stages[stage];
        json_t *params = params_base(plan, stage);
        if (!params || axes_apply(state->axes, state->n_axes, index, params) < 0 || relations_settle(plan, params) < 0) {
                json_decref(params);
                return NULL;
        }
        *ret_proposal = json_pack("{s:s, s:I}", "source", "grid", "index", (json_int_t)index);
        return params;
}

#define STAGE_DONE 1 /* the stage proposes nothing more */

/* The first position of an enumerated stage (OFAT, grid) whose configuration has no trial yet: what was evaluated
 * already, in any stage or elsewhere, is reused; what breaks a constraint is passed over. */
static int next_enumerated(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        struct stage_state *state = &plan->stages[plan->stage];
        bool is_grid = plan->spec->stages[plan->stage].method == METHOD_GRID;
        uint64_t count = is_grid ? axes_count(state->axes, state->n_axes) : ofat_count(plan, plan->stage);
        for (; state->next_index < count; state->next_index++) {
                json_t *proposal = NULL;
                json_t *params = is_grid ? grid_config(plan, plan->stage, state->next_index, &proposal)
                                         : ofat_config(plan, plan->stage, state->next_index, &proposal);
                if (!params || !proposal) {
                        json_decref(params);
                        json_decref(proposal);
                        return -ENOMEM;
                }
                size_t constraint;
                double sum;
                bool allowed = relations_allow(plan, params, &constraint, &sum);
                const struct plan_trial *known = NULL;
                int r = allowed ? history_lookup(plan, params, &known) : 0;
                if (r == 0 && allowed && !known) {
                        *ret_params = params;
                        *ret_proposal = proposal;
                        return 0;
                }
                json_decref(params);
                json_decref(proposal);
                if (r < 0)
                        return r;
        }
        return STAGE_DONE;
}

/* What a stage draws from. */
struct drawn {
        const struct parameter **parameters;
        const char **names;
        json_t **choices; /* borrowed */
        struct opt_dim *dims;
        size_t n_dims;
        struct relations relations;
};

static void drawn_fini(struct drawn *drawn) {
        free(drawn->parameters);
        free(drawn->names);
        free(drawn->choices);
        free(drawn->dims);
        relations_free(&drawn->relations);
}

/* A parameter with a condition that the stage holds: whether it counts, and so its term of a constraint, depends on the point. */
static void add_held(const struct plan *plan, unsigned stage, struct drawn *drawn) {
        const struct relations_spec *relations = &plan->spec->relations;
        for (size_t i = 0; i < plan->spec->parameters.n; i++) {
                const struct parameter *p = &plan->spec->parameters.items[i];
                const json_t *held = params_default(plan, p->name);
                if (!held || p->distribution == DIST_CONSTANT || stage_varies(plan, stage, p->name) || relations_leader(relations, p->name) ||
                    !relations_condition(relations, p->name))
                        continue;
                size_t k = drawn->n_dims;
                domain_from_parameter(p, &drawn->dims[k]);
                if (!domain_number(&drawn->dims[k], p->values, held, &drawn->dims[k].held_value))
                        continue;
                drawn->dims[k].held = true;
                drawn->parameters[k] = p;
                drawn->names[k] = p->name;
                drawn->choices[k] = p->values;
                drawn->n_dims++;
        }
}

static int drawn_init(const struct plan *plan, unsigned stage, const json_t *base, struct drawn *drawn) {
        const struct parameter_list *list = stage_parameters(plan, stage);
        size_t most = list->n + plan->spec->parameters.n + 1;
        *drawn = (struct drawn){
                .parameters = calloc(most, sizeof *drawn->parameters),
                .names = calloc(most, sizeof *drawn->names),
                .choices = calloc(most, sizeof *drawn->choices),
                .dims = calloc(most, sizeof *drawn->dims),
        };
        if (!drawn->parameters || !drawn->names || !drawn->choices || !drawn->dims)
                return -ENOMEM;
        for (size_t i = 0; i < list->n; i++) {
                if (!stage_varies(plan, stage, list->items[i].name))
                        continue;
                size_t k = drawn->n_dims++;
                drawn->parameters[k] = &list->items[i];
                drawn->names[k] = list->items[i].name;
                drawn->choices[k] = list->items[i].values;
                domain_from_parameter(&list->items[i], &drawn->dims[k]);
        }
        add_held(plan, stage, drawn);
        const struct relations_view view = {
                .names = drawn->names, .dims = drawn->dims, .choices = drawn->choices, .n_dims = drawn->n_dims, .base = base};
        return relations_build(plan, &view, &drawn->relations);
}

/* Random and Sobol points: a function of the seed and how many this stage has proposed. */
static int next_drawn(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        bool is_sobol = plan->spec->stages[plan->stage].method == METHOD_SOBOL;
        __attribute__((cleanup(drawn_fini))) struct drawn drawn = {0};
        _cleanup_json_ json_t *params = params_base(plan, plan->stage);
        int r = params ? drawn_init(plan, plan->stage, params, &drawn) : -ENOMEM;
        _cleanup_free_ double *x = calloc(drawn.n_dims + 1, sizeof *x);
        if (r < 0 || !x)
                return r < 0 ? r : -ENOMEM;
        struct opt_space space = relations_space(&drawn.relations, drawn.dims, drawn.n_dims);
        uint64_t seed = rng_mix(plan->seed + plan->stage), index = plan->counts[plan->stage].proposed / plan->spec->repeats;
        (is_sobol ? opt_sobol : opt_random)(&space, seed, index, x);
        if (!opt_space_allows(&space, x))
                return STAGE_DONE; /* no configuration was found that keeps the constraints */
        for (size_t i = 0; i < space.n_dims && r == 0; i++) {
                bool integer = drawn.parameters[i]->integer || drawn.parameters[i]->distribution == DIST_INT_UNIFORM;
                r = json_set_dotted(params, drawn.names[i], domain_value(&drawn.dims[i], drawn.choices[i], integer, x[i]));
        }
        if (r == 0)
                r = relations_settle(plan, params);
        if (r < 0)
                return r;
        *ret_proposal = json_pack("{s:s}", "source", is_sobol ? "sobol" : "random");
        if (!*ret_proposal)
                return -ENOMEM;
        *ret_params = TAKE(params);
        return 0;
}

/* Where relations let a grid pass points over, it walks over all of them between two answers. */
#define WALKED_MAX 100000

static int by_count(const void *a, const void *b) {
        uint64_t x = ((const struct axis *)a)->count, y = ((const struct axis *)b)->count;
        return x < y ? 1 : x > y ? -1 : 0;
}

/* Points of a grid stage at most: of the longest axes where it selects some. */
static int grid_points(const struct plan *plan, unsigned stage, uint64_t *ret) {
        const struct stage_spec *spec = &plan->spec->stages[stage];
        const struct parameter_list *parameters = stage_parameters(plan, stage);
        size_t n = 0, n_all = spec->n_levels > 0 ? spec->n_levels : parameters->n;
        _cleanup_free_ struct axis *axes = calloc(n_all + 1, sizeof *axes);
        if (!axes)
                return -ENOMEM;
        for (size_t i = 0; i < n_all; i++)
                if (spec->n_levels > 0)
                        axis_from_levels(&spec->levels[i], &axes[n++]);
                else if (parameters->items[i].distribution != DIST_CONSTANT)
                        axis_from_parameter(&parameters->items[i], &axes[n++]);
        qsort(axes, n, sizeof *axes, by_count);
        *ret = axes_count(axes, spec->select_top > 0 && spec->select_top < n ? spec->select_top : n);
        return 0;
}

static int check_grids(const struct plan *plan, const char *pointer, struct faults *faults) {
        const struct relations_spec *relations = &plan->spec->relations;
        for (unsigned s = 0; s < plan->spec->n_stages && relations->n_constraints + relations->n_conditions > 0; s++) {
                uint64_t points;
                int r = plan->spec->stages[s].method == METHOD_GRID ? grid_points(plan, s, &points) : 1;
                if (r < 0)
                        return r;
                if (r == 0 && points > WALKED_MAX)
                        faults_add(faults, pointer, "a grid with conditions or constraints has at most %d points, not %llu", WALKED_MAX,
                                   (unsigned long long)points);
        }
        return 0;
}

/* Configurations are looked for as the stages will: a sweep whose constraints leave none is a mistake. */
int plan_check(struct plan *plan, const char *pointer, struct faults *faults) {
        size_t before = faults->n_total;
        int checked = check_grids(plan, plan->spec->relations.n_constraints > 0 ? pointer : "/conditions", faults);
        if (checked < 0)
                return checked;
        for (unsigned s = 0; s < plan->spec->n_stages && plan->spec->relations.n_constraints > 0; s++) {
                enum method method = plan->spec->stages[s].method;
                if (method == METHOD_GRID || method == METHOD_OFAT || method == METHOD_CONFIRM || plan->spec->stages[s].select_top > 0)
                        continue;
                __attribute__((cleanup(drawn_fini))) struct drawn drawn = {0};
                _cleanup_json_ json_t *base = params_base(plan, s);
                int r = base ? drawn_init(plan, s, base, &drawn) : -ENOMEM;
                _cleanup_free_ double *x = calloc(drawn.n_dims + 1, sizeof *x);
                if (r < 0 || !x)
                        return r < 0 ? r : -ENOMEM;
                struct opt_space space = relations_space(&drawn.relations, drawn.dims, drawn.n_dims);
                opt_random(&space, plan->seed, 0, x);
                if (!opt_space_allows(&space, x))
                        faults_add(faults, pointer, "no configuration within the bounds was found that satisfies all of them");
        }
        return faults->n_total > before ? SPEC_FAULTY : 0;
}

#define NEEDS_JOB 2

static bool is_ready(const struct plan *plan) {
        return plan->ready_params && plan->ready_version == plan->version && plan->ready_stage == plan->stage;
}

static int next_modelled(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        if (plan->n_stale >= MAX_STALE && !plan->out && !is_ready(plan)) {
                struct plan_job *job;
                int r = job_new(plan, plan->stage, &job);
                if (r < 0)
                        return r;
                plan->modelled_evidence = plan->evidence;
                plan_job_compute(job);
                plan_job_finish(plan, job);
        }
        if (!is_ready(plan))
                return NEEDS_JOB;
        if (plan->is_barren)
                return STAGE_DONE;
        *ret_params = json_incref(plan->ready_params);
        *ret_proposal = json_incref(plan->ready_proposal);
        plan->n_stale = 0;
        return 0;
}

static bool is_stage_full(const struct plan *plan) {
        const struct stage_spec *spec = &plan->spec->stages[plan->stage];
        const struct stage_counts *counts = &plan->counts[plan->stage];
        return plan->spec->method == METHOD_STAGED && spec->run_cap > 0 && counts->proposed + counts->enqueued >= spec->run_cap;
}

static bool is_sweep_full(const struct plan *plan) {
        return plan->closed || (plan->run_cap > 0 && plan->n_counted >= plan->run_cap);
}

static int next_of_stage(struct plan *plan, json_t **ret_params, json_t **ret_proposal) {
        const struct stage_spec *spec = &plan->spec->stages[plan->stage];
        if (is_stage_full(plan))
                return STAGE_DONE;
        int r = next_repeat(plan, ret_params, ret_proposal);
        if (r != CONFIRM_NOTHING)
                return r;
        switch (spec->method) {
        case METHOD_CONFIRM:
                r = next_confirm(plan, ret_params, ret_proposal);
                return r == CONFIRM_NOTHING ? STAGE_DONE : r == CONFIRM_UNKNOWN ? NEEDS_JOB : r;
        case METHOD_OFAT:
        case METHOD_GRID:
                return next_enumerated(plan, ret_params, ret_proposal);
        case METHOD_RANDOM:
        case METHOD_SOBOL:
                return next_drawn(plan, ret_params, ret_proposal);
        default:
                return next_modelled(plan, ret_params, ret_proposal);
        }
}

static bool is_stage_open(const struct plan *plan) {
        for (unsigned s = 0; s <= plan->stage; s++)
                if (plan->counts[s].unended > 0)
                        return true;
        return false;
}

int plan_next(struct plan *plan, enum plan_answer *ret, json_t **ret_params, json_t **ret_proposal, unsigned *ret_stage,
              struct plan_job **ret_job, struct error *err) {
        if (is_sweep_full(plan)) {
                *ret = PLAN_EXHAUSTED;
                return 0;
        }
        plan->is_awaited = true;
        if (plan->out && !plan->out->is_preparation) {
                *ret = PLAN_WAIT;
                return 0;
        }
        stage_unwind(plan);
        enum method method = plan->spec->stages[plan->stage].method;
        int needed = method == METHOD_RANDOM || method == METHOD_SOBOL ? 0 : history_need(plan);
        if (needed < 0)
                return error_set(err, needed, "cannot read the history: %s", strerror(-needed));
        for (;;) {
                int r = next_of_stage(plan, ret_params, ret_proposal);
                if (r == 0) {
                        *ret = PLAN_TRIAL;
                        *ret_stage = plan->stage;
                        return 0;
                }
                if (r == NEEDS_JOB && plan->out) {
                        *ret = PLAN_WAIT;
                        return 0;
                }
                if (r == NEEDS_JOB) {
                        plan->modelled_evidence = plan->evidence;
                        r = plan->spec->stages[plan->stage].method == METHOD_CONFIRM ? question_finalists(plan, plan->stage, ret_job)
                                                                                     : job_new(plan, plan->stage, ret_job);
                        plan->out = r == 0 ? *ret_job : NULL;
                        *ret = PLAN_JOB;
                        return r < 0 ? error_set(err, r, "cannot prepare a proposal: %s", strerror(-r)) : 0;
                }
                if (r < 0)
                        return error_set(err, r, "cannot make a proposal: %s", strerror(-r));
                if (plan->stage + 1 == plan->spec->n_stages) {
                        *ret = PLAN_EXHAUSTED;
                        return 0;
                }
                if (is_stage_open(plan)) {
                        *ret = PLAN_WAIT;
                        return 0;
                }
                if (plan->spec->stages[plan->stage].pause_after && plan->allowed_stage <= plan->stage) {
                        *ret = PLAN_PAUSE;
                        return 0;
                }
                r = stage_begin(plan, plan->stage + 1);
                if (r < 0)
                        return error_set(err, r, "cannot begin stage %u: %s", plan->stage + 1, strerror(-r));
        }
}

/* Whether something can be computed before anybody asks: a computation is at hand, and the model will be asked again. */
static bool may_go_ahead(const struct plan *plan) {
        return !plan->load && !plan->out && plan->spec->stages[plan->stage].method == METHOD_BAYES && !is_sweep_full(plan) && !is_stage_full(plan);
}

/* Only after a result: the next one makes it worthless, so what could be prepared after a claim seldom lives to be used. */
int plan_ahead(struct plan *plan, struct plan_job **ret_job) {
        stage_unwind(plan);
        *ret_job = NULL;
        if (!may_go_ahead(plan) || plan->modelled_evidence == plan->evidence || is_ready(plan))
                return 0;
        _cleanup_json_ json_t *params = NULL, *proposal = NULL;
        int r = next_repeat(plan, &params, &proposal);
        if (r != CONFIRM_NOTHING) /* a repeat is due, which needs no model */
                return r < 0 ? r : 0;
        r = job_new(plan, plan->stage, ret_job);
        plan->out = r == 0 ? *ret_job : NULL;
        plan->modelled_evidence = plan->evidence;
        plan->is_awaited = false;
        return r;
}

int plan_prepare(struct plan *plan, struct plan_job **ret_job) {
        stage_unwind(plan);
        *ret_job = NULL;
        if (!may_go_ahead(plan) || plan->prepared_evidence == plan->evidence || plan->n_trials < OPT_PREPARED_FROM ||
            plan->n_trials > OPT_PREPARED_MAX)
                return 0;
        int r = job_new(plan, plan->stage, ret_job);
        if (r < 0)
                return r;
        (*ret_job)->is_preparation = true;
        plan->out = *ret_job;
        plan->prepared_evidence = plan->evidence;
        return 0;
}
