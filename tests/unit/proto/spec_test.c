/* Sweep specs: what is accepted, and which fault at which pointer answers each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "proto/limits.h"
#include "proto/spec.h"

CLEANUP_DEFINE(struct sweep_spec *, cleanup_spec, sweep_spec_free)
#define _cleanup_spec_ _cleanup_(cleanup_spec)
#define _cleanup_faults_ _cleanup_(faults_fini)

static const char three_stages[] =
        "{'name':'mrpc three stages','method':'staged','trainer':'distilbert-mrpc','metric':{'name':'eval/accuracy','goal':'maximize'},"
        "'fixed':{'epochs':3,'train_batch_size':16},'baseline':{'learning_rate':5e-5,'weight_decay':0.0,'warmup_steps':0,"
        "'adam_epsilon':1e-8,'dropout':0.1,'max_seq_length':128,'max_grad_norm':1.0},"
        "'parameters':{'learning_rate':{'distribution':'log_uniform_values','min':1e-5,'max':5e-5},"
        "'weight_decay':{'min':0.0,'max':0.1},'warmup_steps':{'distribution':'int_uniform','min':0,'max':500}},"
        "'stages':[{'method':'ofat','levels':{'learning_rate':[2e-5,2e-4],'weight_decay':[0.01,0.1],'warmup_steps':[50,100],"
        "'adam_epsilon':[1e-9,1e-6],'dropout':[0.0,0.2],'max_seq_length':[64,256],'max_grad_norm':[0.5,2.0]}},"
        "{'method':'grid','select_top':3,'values':{'learning_rate':[1e-5,2e-5,5e-5],'weight_decay':[0.0,0.01,0.05],"
        "'warmup_steps':[100,200],'dropout':[0.0,0.1],'max_grad_norm':[0.5,1.0]}},"
        "{'method':'bayes','select_top':3,'run_cap':20,'warm_start':true}]}";

/* Single quotes stand for double ones. */
static json_t *read_quoted(const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        json_t *document = NULL;
        struct error err;
        if (json_read(copy, strlen(copy), &document, &err) < 0)
                fail_msg("%s in %s", err.text, text);
        return document;
}

static struct sweep_spec *parse(const char *text) {
        _cleanup_json_ json_t *document = read_quoted(text);
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        int r = sweep_spec_parse(document, &faults, &spec);
        if (r != 0)
                fail_msg("%s: %s in %s", faults.n ? faults.items[0].pointer : "-", faults.n ? faults.items[0].detail : "-", text);
        return spec;
}

/* Wraps one parameter's object into a random sweep. */
static struct sweep_spec *parse_parameter(const char *parameter) {
        char text[2048];
        snprintf(text, sizeof text, "{'method':'random','trainer':'external','parameters':{'x':%s}}", parameter);
        return parse(text);
}

static void assert_faulty(const char *text, const char *pointer, const char *words) {
        _cleanup_json_ json_t *document = read_quoted(text);
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        assert_int_equal(sweep_spec_parse(document, &faults, &spec), SPEC_FAULTY);
        assert_null(spec);
        for (size_t i = 0; i < faults.n; i++)
                if (strcmp(faults.items[i].pointer, pointer) == 0 && strstr(faults.items[i].detail, words))
                        return;
        for (size_t i = 0; i < faults.n; i++)
                print_message("got %s: %s\n", faults.items[i].pointer, faults.items[i].detail);
        fail_msg("no fault '%s' at %s in %s", words, pointer, text);
}

static void the_three_stage_example_is_accepted(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *spec = parse(three_stages);
        assert_int_equal(spec->method, METHOD_STAGED);
        assert_string_equal(spec->metric.name, "eval/accuracy");
        assert_true(spec->metric.maximize);
        assert_int_equal(spec->n_stages, 3);
        assert_int_equal(spec->stages[0].method, METHOD_OFAT);
        assert_int_equal(spec->stages[0].n_levels, 7);
        assert_string_equal(spec->stages[0].levels[3].name, "adam_epsilon");
        assert_int_equal(spec->stages[1].method, METHOD_GRID);
        assert_int_equal(spec->stages[1].select_top, 3);
        assert_int_equal(spec->stages[1].n_levels, 5);
        assert_int_equal(spec->stages[2].run_cap, 20);
        assert_true(spec->stages[2].warm_start);
        assert_int_equal(spec->parameters.items[0].distribution, DIST_LOG_UNIFORM_VALUES);
        assert_int_equal(spec->parameters.items[1].distribution, DIST_UNIFORM);
        assert_int_equal(spec->parameters.items[2].distribution, DIST_INT_UNIFORM);
        assert_int_equal(spec->max_attempts, DEFAULT_MAX_ATTEMPTS);
        assert_false(spec->has_seed);
}

static void a_wandb_file_works_unchanged(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *spec = parse(
                "{'program':'train.py','project':'p','entity':'e','method':'bayes','name':'s','description':'d','apiVersion':'v1',"
                "'kind':'sweep','tags':['a'],'command':['${env}','${interpreter}','${program}','${args}'],'run_cap':20,"
                "'metric':{'name':'val_loss','impute':'worst','impute_while_running':'false','target':0.1},"
                "'parameters':{'lr':{'distribution':'log_uniform_values','min':1e-5,'max':0.1},'opt':{'values':['adam','sgd']},"
                "'layers':{'parameters':{'n':{'min':1,'max':4},'kind':{'value':'dense'}}}}}");
        assert_string_equal(spec->trainer, "command");
        assert_string_equal(spec->program, "train.py");
        assert_false(spec->metric.maximize);
        assert_true(spec->metric.has_target);
        assert_int_equal(spec->run_cap, 20);
        assert_int_equal(spec->n_stages, 1);
        assert_int_equal(spec->stages[0].method, METHOD_BAYES);
        assert_int_equal(spec->parameters.n, 4);
        assert_string_equal(spec->parameters.items[2].name, "layers.n");
        assert_int_equal(spec->parameters.items[2].distribution, DIST_INT_UNIFORM);
        assert_string_equal(spec->parameters.items[3].name, "layers.kind");
}

static void distributions_are_inferred_as_wandb_does(void **state) {
        (void)state;
        static const struct {
                const char *parameter;
                enum distribution distribution;
                bool integer;
        } cases[] = {
                {"{'value':null}", DIST_CONSTANT, false},
                {"{'value':3}", DIST_CONSTANT, false},
                {"{'values':[1,0]}", DIST_CATEGORICAL, false},
                {"{'values':[1,2],'probabilities':[0.25,0.75]}", DIST_CATEGORICAL, false},
                {"{'min':1,'max':9}", DIST_INT_UNIFORM, true},
                {"{'min':1,'max':9.0}", DIST_UNIFORM, false},
                {"{'min':0.0,'max':1.0}", DIST_UNIFORM, false},
                {"{'distribution':'constant','value':[1,2]}", DIST_CONSTANT, false},
                {"{'distribution':'categorical','values':[{'a':1}]}", DIST_CATEGORICAL, false},
                {"{'distribution':'categorical_w_probabilities','values':[1,2],'probabilities':[0,1]}", DIST_CATEGORICAL, false},
                {"{'distribution':'int_uniform','min':-3,'max':3}", DIST_INT_UNIFORM, true},
                {"{'distribution':'uniform','min':1,'max':9}", DIST_UNIFORM, false},
                {"{'distribution':'q_uniform','min':0,'max':9}", DIST_Q_UNIFORM, true},
                {"{'distribution':'q_uniform','min':0,'max':9,'q':0.5}", DIST_Q_UNIFORM, false},
                {"{'distribution':'q_uniform','min':0,'max':9,'q':2}", DIST_Q_UNIFORM, true},
                {"{'distribution':'log_uniform','min':-9,'max':0}", DIST_LOG_UNIFORM, false},
                {"{'distribution':'log_uniform_values','min':1e-9,'max':1}", DIST_LOG_UNIFORM_VALUES, false},
                {"{'distribution':'q_log_uniform','min':0,'max':5}", DIST_Q_LOG_UNIFORM, true},
                {"{'distribution':'q_log_uniform_values','min':1,'max':512,'q':8}", DIST_Q_LOG_UNIFORM_VALUES, true},
                {"{'distribution':'inv_log_uniform','min':0,'max':5}", DIST_INV_LOG_UNIFORM, false},
                {"{'distribution':'inv_log_uniform_values','min':0.1,'max':5}", DIST_INV_LOG_UNIFORM_VALUES, false},
                {"{'distribution':'normal'}", DIST_NORMAL, false},
                {"{'distribution':'normal','mu':3,'sigma':0.5}", DIST_NORMAL, false},
                {"{'distribution':'q_normal','mu':3,'sigma':0.5,'q':0.1}", DIST_Q_NORMAL, false},
                {"{'distribution':'log_normal','mu':-3}", DIST_LOG_NORMAL, false},
                {"{'distribution':'q_log_normal'}", DIST_Q_LOG_NORMAL, true},
                {"{'distribution':'beta','a':2,'b':5}", DIST_BETA, false},
                {"{'distribution':'q_beta','q':0.1}", DIST_Q_BETA, false},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_spec_ struct sweep_spec *spec = parse_parameter(cases[i].parameter);
                if (spec->parameters.items[0].distribution != cases[i].distribution)
                        fail_msg("%s is %s", cases[i].parameter, distribution_name(spec->parameters.items[0].distribution));
                if (spec->parameters.items[0].integer != cases[i].integer)
                        fail_msg("%s integer: %d", cases[i].parameter, spec->parameters.items[0].integer);
        }
}

static void defaults_of_distributions_are_wandbs(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *normal = parse_parameter("{'distribution':'q_normal'}");
        assert_true(normal->parameters.items[0].mu == 0 && normal->parameters.items[0].sigma == 1 && normal->parameters.items[0].q == 1);
        _cleanup_spec_ struct sweep_spec *beta = parse_parameter("{'distribution':'beta'}");
        assert_true(beta->parameters.items[0].a == 1 && beta->parameters.items[0].b == 1);
}

static void wrong_parameters_are_named(void **state) {
        (void)state;
        static const struct {
                const char *parameter, *pointer, *words;
        } cases[] = {
                {"3", "/parameters/x", "must be an object"},
                {"{}", "/parameters/x", "empty"},
                {"{'min':1}", "/parameters/x", "both min and max"},
                {"{'min':0,'max':1,'q':0.1}", "/parameters/x", "q_uniform"},
                {"{'mu':0}", "/parameters/x", "needs a distribution"},
                {"{'min':1,'max':1}", "/parameters/x/min", "less than max"},
                {"{'min':2.5,'max':1}", "/parameters/x/min", "less than max"},
                {"{'min':'1','max':2}", "/parameters/x/min", "must be a number, not a string"},
                {"{'min':-1.7e308,'max':1.7e308}", "/parameters/x/max", "too far"},
                {"{'values':[]}", "/parameters/x/values", "at least 1 item"},
                {"{'values':3}", "/parameters/x/values", "must be an array"},
                {"{'values':[1,2],'probabilities':[1]}", "/parameters/x/probabilities", "as many items"},
                {"{'values':[1,2],'probabilities':[0.5,0.6]}", "/parameters/x/probabilities", "add up to 1"},
                {"{'values':[1,2],'probabilities':[1.5,-0.5]}", "/parameters/x/probabilities/1", ">= 0"},
                {"{'values':[1,2],'probabilities':[1,'0']}", "/parameters/x/probabilities/1", "must be a number"},
                {"{'distribution':'categorical_w_probabilities','values':[1]}", "/parameters/x/probabilities", "required"},
                {"{'distribution':'categorical'}", "/parameters/x/values", "required"},
                {"{'distribution':'constant'}", "/parameters/x/value", "required"},
                {"{'distribution':'lognormal'}", "/parameters/x/distribution", "unknown distribution 'lognormal'"},
                {"{'distribution':7}", "/parameters/x/distribution", "must be a string"},
                {"{'distribution':'uniform','min':0}", "/parameters/x/max", "required"},
                {"{'distribution':'uniform','min':0,'max':1,'q':1}", "/parameters/x/q", "no meaning for uniform"},
                {"{'distribution':'int_uniform','min':0.5,'max':3}", "/parameters/x/min", "whole number"},
                {"{'distribution':'log_uniform_values','min':0,'max':3}", "/parameters/x/min", "must be > 0 for log_uniform_values"},
                {"{'distribution':'log_uniform_values','min':-2,'max':-1}", "/parameters/x/max", "must be > 0"},
                {"{'distribution':'inv_log_uniform_values','min':0,'max':3}", "/parameters/x/min", "must be > 0"},
                {"{'distribution':'q_log_uniform_values','min':0,'max':3}", "/parameters/x/min", "must be > 0"},
                {"{'distribution':'log_uniform','min':0,'max':2000}", "/parameters/x/max", "exponent"},
                {"{'distribution':'q_uniform','min':0,'max':1,'q':0}", "/parameters/x/q", "> 0"},
                {"{'distribution':'q_uniform','min':0,'max':1,'q':-1}", "/parameters/x/q", "> 0"},
                {"{'distribution':'q_uniform','min':0.1,'max':0.9,'q':1}", "/parameters/x/q", "no multiple"},
                {"{'distribution':'normal','sigma':-1}", "/parameters/x/sigma", "> 0"},
                {"{'distribution':'beta','a':0}", "/parameters/x/a", "> 0"},
                {"{'min':0,'max':1,'mn':3}", "/parameters/x/mn", "unknown key 'mn'"},
                {"{'parameters':{}}", "/parameters/x/parameters", "at least one"},
                {"{'parameters':{'y':{'min':2,'max':1}}}", "/parameters/x/parameters/y/min", "less than max"},
                {"{'parameters':{'y':{'value':1}},'value':2}", "/parameters/x/value", "unknown key"},
                {"{'parameters':{'a/b':{'value':1}}}", "/parameters/x/parameters/a~1b", "name"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[2048];
                snprintf(text, sizeof text, "{'method':'random','trainer':'external','parameters':{'x':%s}}", cases[i].parameter);
                assert_faulty(text, cases[i].pointer, cases[i].words);
        }
}

/* `%s` is put into a sweep that is right otherwise. */
static void wrong_keys_are_named(void **state) {
        (void)state;
        static const struct {
                const char *members, *pointer, *words;
        } cases[] = {
                {"'colour':1", "/colour", "unknown key 'colour'"},
                {"'controller':{'type':'local'}", "/controller", "no meaning here"},
                {"'job':'j'", "/job", "no meaning here"},
                {"'image_uri':'i'", "/image_uri", "no meaning here"},
                {"'scheduler':{'engine':'ax'}", "/scheduler", "no meaning here"},
                {"'metrics':[]", "/metrics", "no meaning here"},
                {"'early_terminate':{'type':'hyperband','min_iter':3}", "/metric", "early_terminate judges"},
                {"'early_terminate':'hyperband'", "/early_terminate", "object"},
                {"'early_terminate':{'min_iter':3}", "/early_terminate/type", "required"},
                {"'early_terminate':{'type':'envelope'}", "/early_terminate/type", "hyperband, asha, median or curve"},
                {"'early_terminate':{'type':'hyperband'}", "/early_terminate/min_iter", "required"},
                {"'early_terminate':{'type':'hyperband','max_iter':9}", "/early_terminate/s", "required"},
                {"'early_terminate':{'type':'hyperband','min_iter':9,'s':2}", "/early_terminate/s", "max_iter"},
                {"'early_terminate':{'type':'hyperband','max_iter':2,'s':2}", "/early_terminate/max_iter", "no band"},
                {"'early_terminate':{'type':'hyperband','min_iter':0}", "/early_terminate/min_iter", "from 1"},
                {"'early_terminate':{'type':'hyperband','min_iter':3,'eta':1}", "/early_terminate/eta", "> 1"},
                {"'early_terminate':{'type':'hyperband','min_iter':3,'threshold':0.1}", "/early_terminate/threshold", "unknown"},
                {"'early_terminate':{'type':'asha','min_iter':3,'max_iter':3}", "/early_terminate/max_iter", "above min_iter"},
                {"'early_terminate':{'type':'median','strict':true}", "/early_terminate/strict", "unknown"},
                {"'early_terminate':{'type':'curve','threshold':2}", "/early_terminate/threshold", "1"},
                {"'repeats':0", "/repeats", "from 1"},
                {"'notify':'finished'", "/notify", "array"},
                {"'notify':['finished','won']", "/notify", "not 'won'"},
                {"'warm_start':true", "/warm_start", "list of"},
                {"'warm_start':{'top':3}", "/warm_start/sweep", "required"},
                {"'warm_start':{'sweep':'s','top':0}", "/warm_start/top", "from 1"},
                {"'warm_start':{'sweep':'s','best':1}", "/warm_start/best", "unknown"},
                {"'warm_start':[]", "/warm_start", "1"},
                {"'warm_start':[{'params':{'x':1}}]", "/warm_start/0/value", "required"},
                {"'warm_start':[{'params':{'x':1},'value':'good'}]", "/warm_start/0/value", "number"},
                {"'warm_start':[{'params':{'x':1},'value':1,'state':'running'}]", "/warm_start/0/state", "completed or stopped"},
                {"'name':''", "/name", "empty"},
                {"'name':7", "/name", "must be a string"},
                {"'run_cap':0", "/run_cap", "from 1"},
                {"'run_cap':2.5", "/run_cap", "integer"},
                {"'run_cap':'20'", "/run_cap", "integer, not a string"},
                {"'max_attempts':0", "/max_attempts", "from 1"},
                {"'seed':-1", "/seed", "at least 0"},
                {"'seed':1.5", "/seed", "integer"},
                {"'parallelism':0", "/parallelism", "from 1"},
                {"'priority':1001", "/priority", "from -1000 to 1000"},
                {"'trial_timeout_s':0", "/trial_timeout_s", "> 0"},
                {"'max_hours':-2", "/max_hours", "> 0"},
                {"'tags':'a'", "/tags", "array"},
                {"'tags':['a',1]", "/tags/1", "string"},
                {"'kind':'launch'", "/kind", "sweep"},
                {"'metric':'loss'", "/metric", "object"},
                {"'metric':{}", "/metric/name", "required"},
                {"'metric':{'name':'m','goal':'maximise'}", "/metric/goal", "minimize or maximize"},
                {"'metric':{'name':'m','target':'x'}", "/metric/target", "number"},
                {"'metric':{'name':'m','impute':'mean'}", "/metric/impute", "unknown word"},
                {"'metric':{'name':'m','summary':'first'}", "/metric/summary", "best or last"},
                {"'metric':{'name':'m','aim':'first'}", "/metric/aim", "unknown key"},
                {"'fixed':[1]", "/fixed", "object"},
                {"'fixed':{'x':1}", "/fixed/x", "cannot be fixed"},
                {"'fixed':{'b':1},'baseline':{'b':2}", "/fixed/b", "cannot be fixed"},
                {"'baseline':{'x':null}", "/baseline/x", "null"},
                {"'baseline':{'a b':1}", "/baseline/a b", "name"},
                {"'baseline':{'x.y':1}", "", "group"},
                {"'levels':{'x':[1]}", "/levels", "no meaning for method random"},
                {"'stages':[]", "/stages", "no meaning for method random"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[2048];
                snprintf(text, sizeof text, "{'method':'random','trainer':'external','parameters':{'x':{'min':0,'max':1.0}},%s}",
                         cases[i].members);
                assert_faulty(text, cases[i].pointer, cases[i].words);
        }
}

static void methods_and_trainers_are_checked(void **state) {
        (void)state;
        static const struct {
                const char *text, *pointer, *words;
        } cases[] = {
                {"{'trainer':'external','parameters':{'x':{'value':1}}}", "/method", "required"},
                {"{'method':'custom','trainer':'external','parameters':{'x':{'value':1}}}", "/method", "no meaning"},
                {"{'method':'Bayes','trainer':'external','parameters':{'x':{'value':1}}}", "/method", "must be bayes"},
                {"{'method':'random','parameters':{'x':{'value':1}}}", "/trainer", "required"},
                {"{'method':'random','trainer':'pytorch','parameters':{'x':{'value':1}}}", "/trainer", "must be"},
                {"{'method':'random','trainer':'command','parameters':{'x':{'value':1}}}", "/program", "required"},
                {"{'method':'random','trainer':'external'}", "/parameters", "required"},
                {"{'method':'random','trainer':'external','parameters':{}}", "/parameters", "at least one"},
                {"{'method':'bayes','trainer':'external','parameters':{'x':{'min':0,'max':3}}}", "/metric", "required"},
                {"{'method':'grid','trainer':'external','parameters':{'x':{'min':0,'max':3.0}}}", "/parameters/x", "continuous"},
                {"{'method':'grid','trainer':'external','parameters':{'g':{'parameters':{'x':{'min':0,'max':3.0}}}}}",
                 "/parameters/g/parameters/x", "continuous"},
                {"{'method':'grid','trainer':'external','parameters':{'x':{'values':[1,2],'probabilities':[0.5,0.5]}}}", "/parameters/x",
                 "probabilities"},
                {"{'method':'ofat','trainer':'external','metric':{'name':'m'}}", "/levels", "required"},
                {"{'method':'ofat','trainer':'external','metric':{'name':'m'},'levels':{'x':[1,2]}}", "/baseline/x", "required"},
                {"{'method':'ofat','trainer':'external','metric':{'name':'m'},'levels':{'x':[]},'baseline':{'x':1}}", "/levels/x",
                 "at least 1"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'}}", "/stages", "required"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'stages':[]}", "/stages", "at least 1"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'stages':[{'method':'confirm'}]}", "/stages/0/method",
                 "needs a stage before"},
                {"{'method':'confirm','trainer':'external','metric':{'name':'m'}}", "/method", "staged"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0,'max':3}},'stages':"
                 "[{'method':'sobol','run_cap':2},{'method':'confirm','repeats':1}]}",
                 "/stages/1/repeats", "from 2"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0,'max':3}},'stages':"
                 "[{'method':'sobol','run_cap':2,'top_k':3}]}",
                 "/stages/0/top_k", "has no meaning"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'stages':[{'method':'staged'}]}", "/stages/0/method",
                 "must be"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'stages':[{'method':'grid','values':{'x':[1]},"
                 "'select_top':1}]}",
                 "/stages/0/select_top", "needs an ofat stage"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0,'max':3}},'stages':"
                 "[{'method':'sobol'},{'method':'bayes'}]}",
                 "/stages/0/run_cap", "required"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0,'max':3}},'stages':"
                 "[{'method':'bayes','warm_start':{'sweep':'s'}}]}",
                 "/stages/0/warm_start", "true or false"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0.0,'max':3}},'stages':"
                 "[{'method':'grid'}]}",
                 "/stages/0/values", "required"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'parameters':{'x':{'min':0.0,'max':3}},'stages':"
                 "[{'method':'grid','values':{'y':[1]}}]}",
                 "/baseline/x", "required"},
                {"{'method':'staged','trainer':'external','metric':{'name':'m'},'stages':[{'method':'ofat','levels':{'x':[1]},"
                 "'run_cap':3}],'baseline':{'x':1}}",
                 "/stages/0/run_cap", "no meaning"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_faulty(cases[i].text, cases[i].pointer, cases[i].words);
}

static void all_faults_come_at_once(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'method':'bayes','run_cap':0,'colour':1,'job':'x','metric':{'goal':'up'},"
                                                      "'parameters':{'a':{'min':3,'max':1},'b':{'distribution':'nope'}}}");
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        assert_int_equal(sweep_spec_parse(document, &faults, &spec), SPEC_FAULTY);
        assert_int_equal(faults.n, 8); /* colour, job, run_cap, metric/name, metric/goal, trainer, a/min, b/distribution */
}

static void faults_past_the_cap_are_counted(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'method':'random','trainer':'external'}");
        for (int i = 0; i < 3 * LIMIT_FAULTS; i++) {
                char key[32];
                snprintf(key, sizeof key, "unknown%d", i);
                json_object_set_new(document, key, json_integer(i));
        }
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        assert_int_equal(sweep_spec_parse(document, &faults, &spec), SPEC_FAULTY);
        assert_int_equal(faults.n, LIMIT_FAULTS);
        assert_int_equal(faults.n_total, 3 * LIMIT_FAULTS + 1);
}

static void a_document_that_is_no_object_is_a_fault(void **state) {
        (void)state;
        assert_faulty("[1]", "", "must be an object, not an array");
}

static void a_command_without_program_names_its_first_word(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *spec =
                parse("{'method':'random','command':['${env}','train','${args}'],'parameters':{'x':{'value':1}}}");
        assert_string_equal(spec->trainer, "command");
        assert_string_equal(spec->program, "train");
}

static void a_spec_without_metric_has_an_empty_name(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *spec = parse_parameter("{'min':0,'max':1}");
        assert_string_equal(spec->metric.name, "");
        assert_string_equal(spec->name, "random sweep");
        assert_null(spec->program);
}

static void ofat_is_one_stage_with_its_levels(void **state) {
        (void)state;
        _cleanup_spec_ struct sweep_spec *spec = parse("{'method':'ofat','trainer':'external','metric':{'name':'m'},"
                                                       "'levels':{'x':[1,2]},'baseline':{'x':0,'y':'k'}}");
        assert_int_equal(spec->n_stages, 1);
        assert_int_equal(spec->stages[0].n_levels, 1);
        assert_string_equal(spec->stages[0].levels[0].name, "x");
}

static void too_many_parameters_are_refused(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = read_quoted("{'method':'random','trainer':'external','parameters':{}}");
        for (int i = 0; i <= LIMIT_PARAMETERS; i++) {
                char key[32];
                snprintf(key, sizeof key, "p%d", i);
                json_object_set_new(json_object_get(document, "parameters"), key, json_pack("{s:i}", "value", i));
        }
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec = NULL;
        assert_int_equal(sweep_spec_parse(document, &faults, &spec), SPEC_FAULTY);
        assert_int_equal(faults.n, 1);
        assert_string_equal(faults.items[0].pointer, "/parameters/p256");
}

static void values_are_accepted_by_their_domain(void **state) {
        (void)state;
        static const struct {
                const char *parameter, *value;
                bool accepted;
        } cases[] = {
                {"{'min':0,'max':9}", "9", true},
                {"{'min':0,'max':9}", "3.0", true},
                {"{'min':0,'max':9}", "3.5", false},
                {"{'min':0,'max':9}", "10", false},
                {"{'min':0,'max':9}", "'3'", false},
                {"{'min':0,'max':9.0}", "3.5", true},
                {"{'min':0,'max':9.0}", "-0.001", false},
                {"{'distribution':'log_uniform','min':-1,'max':0}", "0.5", true},
                {"{'distribution':'log_uniform','min':-1,'max':0}", "0.36", false},
                {"{'distribution':'inv_log_uniform','min':0,'max':1}", "0.5", true},
                {"{'distribution':'inv_log_uniform','min':0,'max':1}", "2", false},
                {"{'distribution':'normal'}", "-1e9", true},
                {"{'distribution':'log_normal'}", "0", false},
                {"{'distribution':'beta'}", "1.1", false},
                {"{'values':['a',1,{'k':[1]}]}", "'a'", true},
                {"{'values':['a',1,{'k':[1]}]}", "1.0", true},
                {"{'values':['a',1,{'k':[1]}]}", "{'k':[1]}", true},
                {"{'values':['a',1,{'k':[1]}]}", "'b'", false},
                {"{'value':'k'}", "'k'", true},
                {"{'value':'k'}", "'l'", false},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_spec_ struct sweep_spec *spec = parse_parameter(cases[i].parameter);
                _cleanup_json_ json_t *value = read_quoted(cases[i].value);
                char detail[256] = "";
                if (parameter_accepts(&spec->parameters.items[0], value, detail) != cases[i].accepted)
                        fail_msg("%s and %s: %s", cases[i].parameter, cases[i].value, detail);
                assert_true(cases[i].accepted == !*detail);
        }
}

/* Each fault of `conditions`, `constraints` and `tie`, over three ranges and a choice. */
static void relations_are_checked(void **state) {
        (void)state;
        static const struct {
                const char *members, *pointer, *words;
        } cases[] = {
                {"'conditions':[{'parameter':'a'}]", "/conditions/0/when", "required"},
                {"'conditions':[{'parameter':'nope','when':{'o':['x']}}]", "/conditions/0/parameter", "no parameter"},
                {"'conditions':[{'parameter':'a','when':{'nope':['x']}}]", "/conditions/0/when/nope", "no parameter"},
                {"'conditions':[{'parameter':'a','when':{'o':['z']}}]", "/conditions/0/when/o", "none of the parameter's values"},
                {"'conditions':[{'parameter':'a','when':{}}]", "/conditions/0/when", "at least one"},
                {"'conditions':[{'parameter':'a','when':{'a':[1.0]}}]", "/conditions/0/when/a", "itself"},
                {"'conditions':[{'parameter':'a','when':{'b':[1.0]}},{'parameter':'b','when':{'a':[1.0]}}]", "/conditions", "depends on itself"},
                {"'conditions':[{'parameter':'a','when':{'o':['x']}},{'parameter':'a','when':{'b':[1.0]}}]", "/conditions/1/parameter", "already"},
                {"'constraints':[{'terms':{'a':1},'min':9}]", "/constraints/0/min", "cannot be met: the sum is at most 2"},
                {"'constraints':[{'terms':{'a':1,'b':-1},'max':-3}]", "/constraints/0/max", "cannot be met: the sum is at least -2"},
                {"'constraints':[{'terms':{'a':1}}]", "/constraints/0/min", "required"},
                {"'constraints':[{'terms':{'a':1},'min':1,'max':0.5}]", "/constraints/0/max", "at least min"},
                {"'constraints':[{'terms':{'a':0},'min':1}]", "/constraints/0/terms/a", "must not be 0"},
                {"'constraints':[{'terms':{'o':1},'min':1}]", "/constraints/0/terms/o", "choices"},
                {"'constraints':[{'terms':{},'min':1}]", "/constraints/0/terms", "at least one"},
                {"'constraints':[{'terms':{'a':1},'min':1,'ratio':2}]", "/constraints/0/ratio", "unknown"},
                {"'constraints':[{'terms':{'a':1},'min':0.5}],'baseline':{'a':0.1}", "/baseline", "breaks constraint 0"},
                {"'tie':[['a']]", "/tie/0", "two names"},
                {"'tie':[['a','nope']]", "/tie/0", "no parameter"},
                {"'tie':[['a','c']]", "/tie/0", "defined alike"},
                {"'tie':[['a','b'],['b','a']]", "/tie/1", "tied already"},
                {"'tie':[['a','b']],'baseline':{'a':1.0}", "/tie/0", "same baseline"},
                {"'tie':[['a','b']],'conditions':[{'parameter':'b','when':{'o':['x']}}]", "/tie/0", "has a condition"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[1024];
                snprintf(text, sizeof text,
                         "{'method':'random','trainer':'external','parameters':{'a':{'min':0.0,'max':2},'b':{'min':0.0,'max':2},"
                         "'c':{'min':0.0,'max':3},'o':{'values':['x','y']}},%s}",
                         cases[i].members);
                assert_faulty(text, cases[i].pointer, cases[i].words);
        }
}

/* Near names are looked for only where they are told: the thread that reads a body is the one that all wait for. */
static void a_body_full_of_unknown_keys_is_refused_soon(void **state) {
        (void)state;
        _cleanup_json_ json_t *document = json_object();
        const size_t n = 100000;
        for (size_t i = 0; i < n; i++) {
                char key[65];
                snprintf(key, sizeof key, "%064zu", i);
                json_object_set_new(document, key, json_null());
        }
        _cleanup_faults_ struct faults faults = {0};
        struct sweep_spec *spec;
        clock_t begun = clock();
        assert_int_equal(sweep_spec_parse(document, &faults, &spec), SPEC_FAULTY);
        assert_true(faults.n_total > n);
        assert_true((double)(clock() - begun) / CLOCKS_PER_SEC < 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_three_stage_example_is_accepted),
                cmocka_unit_test(a_wandb_file_works_unchanged),
                cmocka_unit_test(distributions_are_inferred_as_wandb_does),
                cmocka_unit_test(defaults_of_distributions_are_wandbs),
                cmocka_unit_test(wrong_parameters_are_named),
                cmocka_unit_test(wrong_keys_are_named),
                cmocka_unit_test(methods_and_trainers_are_checked),
                cmocka_unit_test(all_faults_come_at_once),
                cmocka_unit_test(faults_past_the_cap_are_counted),
                cmocka_unit_test(a_body_full_of_unknown_keys_is_refused_soon),
                cmocka_unit_test(a_document_that_is_no_object_is_a_fault),
                cmocka_unit_test(a_command_without_program_names_its_first_word),
                cmocka_unit_test(a_spec_without_metric_has_an_empty_name),
                cmocka_unit_test(ofat_is_one_stage_with_its_levels),
                cmocka_unit_test(too_many_parameters_are_refused),
                cmocka_unit_test(values_are_accepted_by_their_domain),
                cmocka_unit_test(relations_are_checked),
        };
        return cmocka_run_group_tests_name("proto/spec", tests, NULL, NULL);
}
