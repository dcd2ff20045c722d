"""The sweep spec as an independent client reads it: what a W&B file means, stages, seeds, and what is refused."""
import collections
import copy
import itertools
import math

import pytest
from daemon import Daemon
from study import Study, faults, fresh, problem

pytestmark = pytest.mark.coordinator
BASE = {"method": "random", "trainer": "external", "parameters": {"x": {"min": 0.0, "max": 1.0}}}

# The example of the contract, as it stands there.
STAGES = {
    "name": "mrpc three stages", "method": "staged", "trainer": "distilbert-mrpc",
    "metric": {"name": "eval/accuracy", "goal": "maximize"},
    "fixed": {"epochs": 3, "train_batch_size": 16},
    "baseline": {"learning_rate": 5e-5, "weight_decay": 0.0, "warmup_steps": 0, "adam_epsilon": 1e-8, "dropout": 0.1, "max_seq_length": 128,
                 "max_grad_norm": 1.0},
    "parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 5e-5},
                   "weight_decay": {"min": 0.0, "max": 0.1}, "warmup_steps": {"distribution": "int_uniform", "min": 0, "max": 500}},
    "stages": [{"method": "ofat", "levels": {"learning_rate": [2e-5, 2e-4], "weight_decay": [0.01, 0.1], "warmup_steps": [50, 100],
                                             "adam_epsilon": [1e-9, 1e-6], "dropout": [0.0, 0.2], "max_seq_length": [64, 256],
                                             "max_grad_norm": [0.5, 2.0]}},
               {"method": "grid", "select_top": 3, "values": {"learning_rate": [1e-5, 2e-5, 5e-5], "weight_decay": [0.0, 0.01, 0.05],
                                                              "warmup_steps": [100, 200], "dropout": [0.0, 0.1], "max_grad_norm": [0.5, 1.0]}},
               {"method": "bayes", "select_top": 3, "run_cap": 20, "warm_start": True}],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("spec")) as daemon:
        yield daemon


class Hand(Study):
    """A study of exactly this spec, by a worker that has its trainer."""

    def __init__(self, server, spec):
        self.server = server
        self.sweep = server.post("/v1/sweeps", spec, expect=201)
        self.id = self.sweep["id"]
        self.path = f"/v1/sweeps/{self.id}"
        program = spec.get("program", "train.py")
        self.worker = server.register(fresh("hand"), trainers=["external", "distilbert-mrpc", f"command:{program}"])["id"]

    def params(self, n):
        return [trial["params"] for trial in self.claim_many(n)]


def refused(server, spec):
    return faults(server.request("POST", "/v1/sweeps", spec))


# --- distributions ------------------------------------------------------------------------------------

def normal(z):
    return (1 + math.erf(z / math.sqrt(2))) / 2


LOG = math.log
CONTINUOUS = {  # distribution: (members, CDF)
    "uniform": ({"min": -2.0, "max": 3.0}, lambda x: (x + 2) / 5),
    "log_uniform": ({"min": -7.0, "max": -2.0}, lambda x: (LOG(x) + 7) / 5),
    "log_uniform_values": ({"min": 1e-5, "max": 1e-1}, lambda x: LOG(x / 1e-5) / LOG(1e4)),
    "inv_log_uniform": ({"min": 2.0, "max": 5.0}, lambda x: (LOG(x) + 5) / 3),
    "inv_log_uniform_values": ({"min": 1e-3, "max": 10.0}, lambda x: LOG(x / 1e-3) / LOG(1e4)),
    "normal": ({"mu": 5.0, "sigma": 2.0}, lambda x: normal((x - 5) / 2)),
    "log_normal": ({"mu": 1.0, "sigma": 0.5}, lambda x: normal((LOG(x) - 1) / 0.5)),
    "beta": ({"a": 2, "b": 1}, lambda x: x * x),
}
QUANTISED = {  # distribution: (members, smallest, largest)
    "q_uniform": ({"min": 0.05, "max": 0.99, "q": 0.1}, 0.1, 0.9),
    "q_log_uniform": ({"min": 0.0, "max": 5.0, "q": 2}, 2, 148),
    "q_log_uniform_values": ({"min": 3, "max": 99, "q": 10}, 10, 90),
    "q_normal": ({"mu": 5.0, "sigma": 2.0, "q": 0.5}, -math.inf, math.inf),
    "q_log_normal": ({"mu": 1.0, "sigma": 0.5, "q": 0.25}, 0, math.inf),
    "q_beta": ({"a": 2, "b": 3, "q": 0.05}, 0, 1),
}


def named(distributions):
    return {name: {"distribution": name, **members} for name, (members, *_) in distributions.items()}


@pytest.fixture(scope="module")
def drawn(server):
    """500 random draws of every distribution at once."""
    study = Hand(server, {**BASE, "seed": 11, "parameters": {**named(CONTINUOUS), **named(QUANTISED)}})
    return study.params(500)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_have_their_distribution(drawn, name):
    cdf = CONTINUOUS[name][1]
    uniform = sorted(cdf(params[name]) for params in drawn)
    assert -1e-9 <= uniform[0] and uniform[-1] <= 1 + 1e-9, "bounds"
    n = len(uniform)
    distance = max(max((i + 1) / n - u, u - i / n) for i, u in enumerate(uniform))  # Kolmogorov-Smirnov
    assert distance < 1.95 / math.sqrt(n)


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_draws_are_multiples_inside_the_bounds(drawn, name):
    members, smallest, largest = QUANTISED[name]
    values = {params[name] for params in drawn}
    for value in values:
        assert abs(value / members["q"] - round(value / members["q"])) < 1e-9 and smallest - 1e-12 <= value <= largest + 1e-12, value
        assert type(value) is type(members["q"]) or value != int(value) or type(members["q"]) is float
    assert len(values) > 3
    if name == "q_uniform":
        assert len(values) == 9


@pytest.mark.parametrize("method", ["sobol", "bayes", "random"])
def test_every_method_keeps_to_the_bounds(server, method):
    parameters = {**named(CONTINUOUS), **named(QUANTISED), "n": {"min": 3, "max": 5}, "c": {"values": ["a", [1], {"k": 2}]}, "k": {"value": 7}}
    study = Hand(server, {**BASE, "method": method, "metric": {"name": "loss"}, "parameters": parameters, "run_cap": 14})
    seen = []
    study.run(lambda params: seen.append(params) or params["uniform"] ** 2 + params["n"])
    assert len(seen) == 14 and study.state() == "finished"
    for params in seen:
        assert params.keys() == parameters.keys() and params["k"] == 7 and params["c"] in ["a", [1], {"k": 2}]
        assert params["n"] in (3, 4, 5) and type(params["n"]) is int
        for name, (members, cdf) in CONTINUOUS.items():
            assert -1e-9 <= cdf(params[name]) <= 1 + 1e-9, name
        for name, (members, smallest, largest) in QUANTISED.items():
            assert smallest - 1e-12 <= params[name] <= largest + 1e-12 and abs(params[name] / members["q"] - round(params[name] / members["q"])) < 1e-9, name


EXTREMES = [
    {"distribution": "normal", "mu": 1e308, "sigma": 1e308}, {"distribution": "log_normal", "mu": 700, "sigma": 10}, {"distribution": "q_normal", "q": 1e308},
    {"distribution": "q_normal", "mu": 1e10, "q": 1e-300}, {"distribution": "q_log_normal", "mu": 700, "q": 1e-300}, {"distribution": "q_beta", "q": 7.0},
    {"distribution": "log_uniform_values", "min": 5e-324, "max": 1.7e308}, {"distribution": "uniform", "min": 1.0, "max": 1.0000000000000002},
    {"distribution": "q_log_uniform_values", "min": 1e-300, "max": 1e300, "q": 1.0}, {"distribution": "q_uniform", "min": -8e307, "max": 8e307, "q": 1e-3},
    {"distribution": "beta", "a": 1e-9, "b": 1e-9}, {"distribution": "log_uniform", "min": -700, "max": 700},
]


@pytest.mark.parametrize("method", ["sobol", "bayes", "random"])
def test_extreme_distributions_are_refused_or_finite(server, method):
    parameters = {f"p{i}": parameter for i, parameter in enumerate(EXTREMES)}
    for pointer in refused(server, {**BASE, "method": method, "metric": {"name": "loss"}, "parameters": parameters, "run_cap": 12, "colour": 1}):
        parameters.pop(pointer.split("/")[2] if pointer.startswith("/parameters/") else "", None)
    study = Hand(server, {**BASE, "method": method, "metric": {"name": "loss"}, "parameters": parameters, "run_cap": 12})
    trials = study.run(lambda params: sum(math.atan(value) for value in params.values()))
    assert len(trials) == 12 and study.state() == "finished"
    values = [value for trial in trials for value in trial["params"].values()]
    assert all(math.isfinite(value) and repr(value) != "-0.0" for value in values)


def test_distributions_are_inferred_as_wandb_does(server):
    parameters = {"constant": {"value": 3.5}, "category": {"values": [1, "a", True, None, [1, 2], {"k": 1}]}, "integer": {"min": 1, "max": 3},
                  "real": {"min": 0, "max": 0.5}, "whole_real": {"min": 1, "max": 2.0}, "weighted": {"values": ["a", "b", "c"], "probabilities": [0.1, 0, 0.9]}}
    draws = Hand(server, {**BASE, "parameters": parameters, "seed": 2}).params(300)
    assert all(params.keys() == parameters.keys() for params in draws)
    assert {params["constant"] for params in draws} == {3.5}
    assert {repr(params["category"]) for params in draws} == {repr(value) for value in parameters["category"]["values"]}
    assert {params["integer"] for params in draws} == {1, 2, 3} and all(type(params["integer"]) is int for params in draws)
    assert all(0 <= params["real"] <= 0.5 for params in draws) and len({params["real"] for params in draws}) == 300
    assert all(1 <= params["whole_real"] <= 2 for params in draws) and len({params["whole_real"] for params in draws}) == 300
    weights = collections.Counter(params["weighted"] for params in draws)
    assert weights["b"] == 0 and 10 <= weights["a"] <= 55


@pytest.mark.parametrize("parameter, least, most, kind", [
    ({"distribution": "q_uniform", "min": 0, "max": 20, "q": 5}, 0, 20, int), ({"distribution": "q_uniform", "min": 0, "max": 3}, 0, 3, int),
    ({"distribution": "int_uniform", "min": -2, "max": 2}, -2, 2, int), ({"distribution": "uniform", "min": 1, "max": 2}, 1, 2, float),
    ({"distribution": "categorical", "values": [1, 2]}, 1, 2, int), ({"distribution": "categorical_w_probabilities", "values": [1, 2], "probabilities": [0.5, 0.5]}, 1, 2, int),
    ({"distribution": "constant", "value": 5}, 5, 5, int), ({"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 8}, 8, 64, int),
])
def test_kinds_and_extremes_of_named_distributions(server, parameter, least, most, kind):
    values = [params["p"] for params in Hand(server, {**BASE, "parameters": {"p": parameter}, "seed": 5}).params(200)]
    assert least <= min(values) and max(values) <= most and {type(value) for value in values} == {kind}
    if kind is int:
        assert (min(values), max(values)) == (least, most)


def test_defaults_of_the_unbounded_distributions(server):
    parameters = {name: {"distribution": name} for name in ("normal", "log_normal", "beta", "q_normal", "q_log_normal", "q_beta")}
    draws = Hand(server, {**BASE, "parameters": parameters, "seed": 3}).params(300)
    values = sorted(params["normal"] for params in draws)
    assert abs(values[150]) < 0.25 and 0.8 < (values[250] - values[50]) / 1.93 < 1.2
    assert all(params["log_normal"] > 0 and 0 <= params["beta"] <= 1 for params in draws)
    assert all(params["q_normal"] == round(params["q_normal"]) for params in draws)


# --- parameters in trials -----------------------------------------------------------------------------

def test_params_hold_constants_and_baseline_but_not_what_is_fixed(server):
    spec = {**BASE, "parameters": {"x": {"min": 0.0, "max": 1.0}, "c": {"value": "adamw"}}, "baseline": {"x": 0.5, "b": 3}, "fixed": {"epochs": 3}}
    trial = Hand(server, spec).claim()
    assert trial["params"].keys() == {"x", "c", "b"} and trial["params"]["c"] == "adamw" and trial["params"]["b"] == 3
    assert trial["fixed"] == {"epochs": 3}


def test_nested_parameters_are_nested_in_params(server):
    parameters = {"optimizer": {"parameters": {"name": {"values": ["sgd"]}, "inner": {"parameters": {"lr": {"min": 0.1, "max": 0.2}, "k": {"value": 4}}}}},
                  "x": {"min": 1, "max": 1000}}
    for params in Hand(server, {**BASE, "parameters": parameters}).params(20):
        assert params["optimizer"]["name"] == "sgd" and params["optimizer"]["inner"]["k"] == 4
        assert 0.1 <= params["optimizer"]["inner"]["lr"] <= 0.2 and params.keys() == {"optimizer", "x"}


def test_nested_parameters_are_dotted_elsewhere(server):
    parameters = {"opt": {"parameters": {"lr": {"min": 0.0, "max": 1.0}}}, "x": {"min": 0.0, "max": 1.0}}
    study = Hand(server, {**BASE, "method": "ofat", "metric": {"name": "loss"}, "parameters": parameters, "baseline": {"opt.lr": 0.5, "x": 0.25},
                          "levels": {"opt.lr": [0.1], "x": [0.2]}})
    assert study.params(9) == [{"opt": {"lr": 0.5}, "x": 0.25}, {"opt": {"lr": 0.1}, "x": 0.25}, {"opt": {"lr": 0.5}, "x": 0.2}]


# --- grid ---------------------------------------------------------------------------------------------

def test_a_grid_goes_by_name_with_the_last_fastest(server):
    parameters = {"c": {"values": ["u", "v"]}, "a": {"values": [3, 1, 2]}, "b": {"parameters": {"z": {"min": 1, "max": 2}, "k": {"values": [True, None]}}},
                  "q": {"value": 9}}
    study = Hand(server, {**BASE, "method": "grid", "parameters": parameters})
    expected = [{"a": a, "b": {"k": k, "z": z}, "c": c, "q": 9} for a, k, z, c in itertools.product([3, 1, 2], [True, None], [1, 2], ["u", "v"])]
    trials = study.claim_many(100)
    assert [trial["params"] for trial in trials] == expected
    assert [trial["number"] for trial in trials] == list(range(1, 25))
    for trial in trials:
        study.end(trial, value=1)
    assert study.state() == "finished" and study.claim() is None


def test_a_grid_of_quantised_steps(server):
    study = Hand(server, {**BASE, "method": "grid", "parameters": {"q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}}})
    values = [params["q"] for params in study.params(100)]
    assert values[:4] == [0, 0.25, 0.5, 0.75] and values[4:] in ([], [1])


@pytest.mark.parametrize("parameter", [{"min": 0.0, "max": 1.0}, {"distribution": "normal"}, {"distribution": "log_uniform_values", "min": 1, "max": 9}])
def test_a_grid_refuses_what_has_no_steps(server, parameter):
    assert any(pointer.startswith("/parameters/p") for pointer in refused(server, {**BASE, "method": "grid", "parameters": {"p": parameter}}))


def test_a_grid_ends_at_its_run_cap(server):
    study = Hand(server, {**BASE, "method": "grid", "run_cap": 2, "parameters": {"a": {"values": [1, 2, 3]}}})
    for trial in study.claim_many(9):
        study.end(trial, value=1)
    assert study.state() == "finished" and study.counts() == {"completed": 2}
    study.change(run_cap=5)
    assert study.params(9) == [{"a": 3}]


# --- one factor at a time -----------------------------------------------------------------------------

def ofat(levels, baseline, **members):
    return {"method": "ofat", "trainer": "external", "metric": {"name": "loss"}, "baseline": baseline, "levels": levels,
            "parameters": {name: {"min": 0.0, "max": 1.0} for name in baseline}, **members}


def test_ofat_runs_the_baseline_and_then_each_level_in_spec_order(server):
    study = Hand(server, ofat({"z": [0.9, 0.1], "a": [0.2]}, {"a": 0.5, "z": 0.6, "m": 0.7}))
    base = {"a": 0.5, "z": 0.6, "m": 0.7}
    trials = study.claim_many(100)
    assert [trial["params"] for trial in trials] == [base, {**base, "z": 0.9}, {**base, "z": 0.1}, {**base, "a": 0.2}]
    for trial in trials:
        study.end(trial, value=1)
    assert study.state() == "finished"


def test_a_level_that_is_the_baseline_is_not_run_twice(server):
    study = Hand(server, ofat({"a": [0.5, 0.2]}, {"a": 0.5}))
    assert study.params(100) == [{"a": 0.5}, {"a": 0.2}]


def test_ofat_needs_a_baseline_for_its_factors(server):
    spec = ofat({"a": [0.1], "b": [0.2]}, {"a": 0.5})
    spec["parameters"]["b"] = {"min": 0.0, "max": 1.0}
    assert refused(server, spec)


# --- stages -------------------------------------------------------------------------------------------

EFFECTS = {  # accuracy of a level; the baseline has 0.80
    "learning_rate": {2e-5: 0.83, 2e-4: 0.70}, "weight_decay": {0.01: 0.81, 0.1: 0.805}, "warmup_steps": {50: 0.80, 100: 0.84},
    "adam_epsilon": {1e-9: 0.60, 1e-6: 0.9}, "dropout": {0.0: 0.82, 0.2: 0.86}, "max_seq_length": {64: 0.5, 256: 0.95}, "max_grad_norm": {0.5: 0.80, 2.0: 0.80},
}


def accuracy(params):
    changed = [EFFECTS[name][value] for name, value in params.items() if value != STAGES["baseline"][name] and value in EFFECTS[name]]
    return changed[0] if len(changed) == 1 else 0.8 + params["learning_rate"] * 100 - params["weight_decay"]


def test_the_example_of_the_contract_runs_as_it_is_meant(server):
    study, base = Hand(server, STAGES), STAGES["baseline"]
    assert study.sweep["spec"] == STAGES and study.sweep["method"] == "staged" and study.sweep["stage"]["index"] == 0
    first = study.claim_many(100)
    levels = STAGES["stages"][0]["levels"]
    assert [trial["params"] for trial in first] == [base] + [{**base, name: value} for name in levels for value in levels[name]]
    assert first[0]["trainer"] == "distilbert-mrpc" and first[0]["fixed"] == STAGES["fixed"]
    for trial in first[:-1]:
        study.end(trial, value=accuracy(trial["params"]))
    assert study.claim() is None, "a stage starts when every trial of the one before has ended"
    study.end(first[-1], value=accuracy(first[-1]["params"]))

    # of the grid's own factors these have the highest impact: learning_rate .13, dropout .06, warmup_steps .04
    grid = study.claim_many(100)
    values = STAGES["stages"][1]["values"]
    product = itertools.product(values["dropout"], values["learning_rate"], values["warmup_steps"])
    expected = [{**base, "dropout": d, "learning_rate": lr, "warmup_steps": w} for d, lr, w in product]
    expected.remove({**base, "warmup_steps": 100})  # evaluated before
    assert [trial["params"] for trial in grid] == expected
    assert study.show()["stage"]["index"] == 1 and study.show()["stage"]["method"] == "grid"
    for trial in grid:
        study.end(trial, value=accuracy(trial["params"]))

    last = study.run(accuracy)
    assert len(last) == 20 and study.state() == "finished"
    varied = set()
    for trial in last:
        params = trial["params"]
        varied |= {name for name in base if params[name] != base[name]}
        assert 1e-5 <= params["learning_rate"] <= 5e-5 and 0 <= params["weight_decay"] <= 0.1 and 0 <= params["warmup_steps"] <= 500
        assert type(params["warmup_steps"]) is int
    assert varied == {"learning_rate", "weight_decay", "warmup_steps"}
    shown = study.trials()
    assert [trial["stage"] for trial in shown] == [0] * 15 + [1] * 11 + [2] * 20
    assert study.counts() == {"completed": 46} and study.show()["best"]["value"] == 0.95


def staged(order, select_top, values, goal="maximize", then=None):
    baseline = {name: 0.5 for name in order}
    return {"method": "staged", "trainer": "external", "metric": {"name": "m", "goal": goal}, "baseline": baseline,
            "parameters": {name: {"min": 0.0, "max": 1.0} for name in order},
            "stages": [{"method": "ofat", "levels": {name: [0.1, 0.9] for name in order}},
                       {"method": "grid", "select_top": select_top, "values": values}, *(then or [])]}


def first_stage(study, outcome):
    """Ends every trial of the first stage by outcome(changed factor or None, its value): a number, or a reason to fail."""
    for trial in study.claim_many(100):
        changed = [(name, value) for name, value in trial["params"].items() if value != 0.5]
        result = outcome(*(changed[0] if changed else (None, None)))
        study.end(trial, "failed", reason=result) if isinstance(result, str) else study.end(trial, value=result)


def varied(trials):
    return {name for params in trials for name, value in params.items() if value != 0.5}


def test_a_failed_trial_counts_as_the_worst_seen(server):
    study = Hand(server, staged("abc", 1, {name: [0.2, 0.3] for name in "abc"}))
    first_stage(study, lambda name, value: {("a", 0.1): 0.81, ("a", 0.9): "diverged", ("b", 0.1): 0.62, ("c", 0.1): 0.6}.get((name, value), 0.8))
    assert varied(study.params(100)) == {"a"}  # .81 - .6, against .8 - .6 of c


def test_a_failed_trial_counts_as_the_worst_of_a_minimised_metric_too(server):
    study = Hand(server, staged("abc", 1, {name: [0.2, 0.3] for name in "abc"}, goal="minimize"))
    first_stage(study, lambda name, value: {("a", 0.1): 0.79, ("a", 0.9): "diverged", ("b", 0.1): 0.9, ("c", 0.1): 1.0}.get((name, value), 0.8))
    assert varied(study.params(100)) == {"a"}  # 1.0 - .79


def test_ties_of_impact_go_by_spec_order(server):
    study = Hand(server, staged("zma", 2, {name: [0.2] for name in "zma"}))
    first_stage(study, lambda name, value: 0.75 if value == 0.9 else 0.8)
    assert varied(study.params(100)) == {"z", "m"}


def test_a_later_select_top_uses_the_same_ranking_among_its_own(server):
    then = [{"method": "grid", "select_top": 1, "values": {"c": [0.3], "b": [0.3]}}, {"method": "bayes", "select_top": 2, "run_cap": 4}]
    spec = staged("abcd", 1, {name: [0.2, 0.3] for name in "abcd"}, then=then)
    del spec["parameters"]["a"]
    study = Hand(server, spec)
    impact = {"a": 0.4, "b": 0.1, "c": 0.2, "d": 0.3}
    first_stage(study, lambda name, value: 0.8 - impact[name] if value == 0.9 else 0.8)
    grid = study.claim_many(100)
    assert varied(trial["params"] for trial in grid) == {"a"}
    for trial in grid:
        study.end(trial, value=1.8)  # what later stages see changes no ranking
    [trial] = study.claim_many(100)
    assert varied([trial["params"]]) == {"c"}
    study.end(trial, value=0.0)
    bayes = study.run(lambda params: params["b"])
    assert len(bayes) == 4 and varied(trial["params"] for trial in bayes) == {"d", "c"}


def test_select_top_of_more_than_there_is_takes_all(server):
    study = Hand(server, staged("ab", 9, {"a": [0.2], "b": [0.3, 0.4]}))
    first_stage(study, lambda name, value: 0.8)
    assert study.params(100) == [{"a": 0.2, "b": 0.3}, {"a": 0.2, "b": 0.4}]


def test_a_stage_may_pause_the_sweep_after_it(server):
    spec = staged("ab", 1, {"a": [0.2], "b": [0.3]})
    spec["stages"][0]["pause_after"] = True
    study = Hand(server, spec)
    first_stage(study, lambda name, value: 0.7 if (name, value) == ("b", 0.9) else 0.8)
    assert study.state() == "paused" and study.claim() is None
    study.change(state="running")
    assert study.params(100) == [{"a": 0.5, "b": 0.3}]


def test_imported_configurations_are_not_rerun(server):
    study = Hand(server, staged("ab", 1, {"a": [0.2], "b": [0.3]}))
    server.post(study.path + "/trials", {"trials": [{"params": {"a": 0.5, "b": 0.5}, "value": 0.8}, {"params": {"a": 0.1, "b": 0.5}, "value": 0.3},
                                                    {"params": {"a": 0.2, "b": 0.5}, "value": 0.3}]}, expect=201)
    first = study.claim_many(100)
    assert [trial["params"] for trial in first] == [{"a": 0.9, "b": 0.5}, {"a": 0.5, "b": 0.1}, {"a": 0.5, "b": 0.9}]
    for trial in first:
        study.end(trial, value=0.8)
    assert study.claim() is None and study.state() == "finished", "the only point of the grid was imported"


def test_stages_go_by_one_seed_and_history(tmp_path):
    spec = staged("ab", 1, {"a": [0.2], "b": [0.3]}, then=[{"method": "random", "run_cap": 3}, {"method": "sobol", "run_cap": 3}])
    runs = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with Daemon(tmp_path / folder) as server:
            study = Hand(server, {**spec, "seed": 7})
            runs.append([(trial["params"], trial["seed"]) for trial in study.run(lambda params: params["a"] + 2 * params["b"])])
    assert runs[0] == runs[1] and len(runs[0]) == 5 + 1 + 3 + 3


# --- seeds and determinism ----------------------------------------------------------------------------

MIXED = {"method": "bayes", "trainer": "external", "seed": 5, "run_cap": 18, "metric": {"name": "loss"},
         "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "n": {"min": 1, "max": 64},
                        "opt": {"values": ["sgd", "adam", "lamb"]}, "g": {"parameters": {"d": {"min": 0.0, "max": 0.5}}}}}


def loss(params):
    return (math.log10(params["lr"]) + 3) ** 2 + abs(params["n"] - 20) / 10 + {"sgd": 1, "adam": 0, "lamb": 0.5}[params["opt"]] + params["g"]["d"]


def walk(study, batch, crash_after=None):
    """Evaluates to the end, some trials at a time; what was proposed."""
    proposed = []
    while trials := study.claim_many(batch):
        proposed += [(trial["number"], trial["params"], trial["seed"]) for trial in trials]
        for trial in reversed(trials):
            study.end(trial, "failed", reason="diverged") if trial["number"] == 4 else study.end(trial, value=loss(trial["params"]))
        if crash_after and len(proposed) >= crash_after:
            study.server.restart(crash=True)
            crash_after = None
    return proposed


@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_spec_seed_and_history_propose_the_same_in_two_databases(tmp_path, batch):
    runs = []
    for folder, others, crash_after in (("one", 0, None), ("two", 3, 9)):
        (tmp_path / folder).mkdir()
        with Daemon(tmp_path / folder) as server:
            for i in range(others):
                Hand(server, {**BASE, "seed": i}).claim_many(2)
            runs.append(walk(Hand(server, MIXED), batch, crash_after))
    assert len(runs[0]) == 18 and runs[0] == runs[1]


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_proposals_follow_the_seed(server, method):
    def params(seed):
        return Hand(server, {**MIXED, "method": method, "seed": seed}).params(18)

    assert params(5) == params(5) != params(6)


def test_a_trials_seed_follows_the_sweeps_seed_and_its_number(server):
    def seeds(seed, **members):
        study = Hand(server, {**BASE, "seed": seed, **members})
        study.enqueue({"x": 0.5})
        return [trial["seed"] for trial in study.claim_many(5)]

    assert seeds(1) == seeds(1, name="other", method="sobol") != seeds(2)
    assert len(set(seeds(1))) == 5


def test_a_sweep_without_seed_draws_one_and_records_it(server):
    one, two = Hand(server, BASE), Hand(server, BASE)
    assert one.params(3) != two.params(3)
    assert isinstance(one.sweep["seed"], int) and one.sweep["seed"] != two.sweep["seed"] and one.sweep["spec"] == BASE
    assert Hand(server, {**BASE, "seed": one.sweep["seed"]}).params(3) == [trial["params"] for trial in one.trials()]


# --- what W&B files hold ------------------------------------------------------------------------------

def test_a_wandb_file_works_unchanged(server):
    spec = {
        "apiVersion": "v1", "kind": "sweep", "program": "train.py", "name": "wandb", "description": "as is", "project": "p", "entity": "e", "tags": ["x"],
        "command": ["${env}", "${interpreter}", "${program}", "${args}"], "method": "bayes", "run_cap": 20,
        "metric": {"name": "val/acc", "goal": "maximize", "target": 0.99, "impute": "worst", "impute_while_running": "false"},
        "parameters": {"lr": {"distribution": "log_uniform", "min": -9.2, "max": -2.3}, "batch": {"values": [16, 32]}, "epochs": {"value": 5},
                       "optimizer": {"parameters": {"momentum": {"min": 0.8, "max": 0.99}}}},
    }
    study = Hand(server, spec)
    assert study.sweep["spec"] == spec
    trial = study.claim()
    assert math.exp(-9.2) <= trial["params"]["lr"] <= math.exp(-2.3) and trial["params"]["epochs"] == 5
    assert trial["trainer"].startswith("command")


@pytest.mark.parametrize("key, value", [("controller", {"type": "local"}), ("job", "j"), ("image_uri", "i"), ("scheduler", {"engine": "optuna"}),
                                        ("metrics", [{"name": "a"}, {"name": "b"}])])
def test_wandb_keys_without_a_meaning_here_are_refused_by_name(server, key, value):
    assert key in refused(server, {**BASE, key: value})["/" + key]


def settled_params(server, spec, n):
    sweep = server.post("/v1/sweeps", spec, expect=201)["id"]
    worker = server.register("relations")["id"]
    params = []
    for number in range(n):
        for trial in server.claim(worker, f"{sweep}-{number}", sweep=sweep):
            params.append(trial["params"])
            server.report(trial, 1, outcome={"state": "completed", "value": number})
    return params


@pytest.mark.parametrize("method", ["random", "sobol", "bayes"])
def test_a_condition_leaves_out_what_its_parent_does_not_call_for(server, method):
    spec = {"method": method, "trainer": "external", "metric": {"name": "m"}, "seed": 3,
            "parameters": {"optimizer": {"values": ["sgd", "adam"]}, "momentum": {"min": 0.0, "max": 1.0}},
            "conditions": [{"parameter": "momentum", "when": {"optimizer": ["sgd"]}}]}
    params = settled_params(server, spec, 12)
    assert {p["optimizer"] for p in params} == {"sgd", "adam"} and len(params) == 12
    assert all(("momentum" in p) == (p["optimizer"] == "sgd") for p in params)


@pytest.mark.parametrize("method", ["random", "sobol", "bayes"])
def test_constraints_and_ties_hold_for_every_proposal(server, method):
    spec = {"method": method, "trainer": "external", "metric": {"name": "m"}, "seed": 3,
            "parameters": {name: {"min": 0.0, "max": 1.0} for name in ("a", "b", "c")},
            "constraints": [{"terms": {"a": 1, "b": 2}, "min": 0.5, "max": 1}], "tie": [["b", "c"]]}
    params = settled_params(server, spec, 12)
    assert len(params) == 12 and all(0.5 - 1e-9 <= p["a"] + 2 * p["b"] <= 1 + 1e-9 and p["b"] == p["c"] for p in params)


def test_parallelism_bounds_what_runs_at_once(server):
    study = Hand(server, {**BASE, "parallelism": 2})
    trials = study.claim_many(5)
    assert len(trials) == 2 and study.claim() is None
    study.end(trials[0], "failed", reason="diverged")
    assert len(study.claim_many(5)) == 1


# --- faults -------------------------------------------------------------------------------------------

PARAMETER_FAULTS = [
    {}, {"min": 1}, {"max": 1}, {"min": 1, "max": 1}, {"min": 2.0, "max": 1.0}, {"values": []}, {"values": 3}, {"values": [1], "probabilities": [0.5]},
    {"values": [1, 2], "probabilities": [1]}, {"values": [1, 2], "probabilities": [0.5, 0.6]}, {"values": [1, 2], "probabilities": [-0.5, 1.5]},
    {"distribution": "log_uniform_values", "min": 0, "max": 1}, {"distribution": "log_uniform_values", "min": -1, "max": 1},
    {"distribution": "inv_log_uniform_values", "min": 0.0, "max": 1}, {"distribution": "q_log_uniform_values", "min": 0, "max": 1},
    {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, {"distribution": "q_uniform", "min": 0, "max": 1, "q": -1},
    {"distribution": "int_uniform", "min": 0.5, "max": 3}, {"distribution": "int_uniform", "min": 3, "max": 1}, {"distribution": "normal", "sigma": -1},
    {"distribution": "gauss"}, {"distribution": "uniform"}, {"distribution": "constant"}, {"distribution": "categorical"},
    {"distribution": "uniform", "min": "a", "max": 1}, {"distribution": 3}, {"value": 1, "values": [1]}, {"value": 1, "min": 0, "max": 1},
    {"distribution": "uniform", "min": 0, "max": 1, "q": 1}, {"distribution": "normal", "min": 0, "max": 1}, {"parameters": {}}, {"parameters": {"x": {}}},
    {"parameters": {"x": {"value": 1}}, "value": 3}, {"min": True, "max": 3}, 3, None, "x", [],
]


@pytest.mark.parametrize("parameter", PARAMETER_FAULTS, ids=str)
def test_a_faulty_parameter_is_named(server, parameter):
    assert any(pointer.startswith("/parameters/bad") for pointer in refused(server, {**BASE, "parameters": {"good": {"value": 1}, "bad": parameter}}))


@pytest.mark.parametrize("name", ["9x", "a b", "", "-x", "a/b", "é"])
def test_names_of_parameters_are_identifiers(server, name):
    assert refused(server, {**BASE, "parameters": {name: {"value": 1}}})


@pytest.mark.parametrize("name", ["x", "_x", "X.y-z", "a9_"])
def test_names_that_wandb_accepts_are_accepted(server, name):
    assert Hand(server, {**BASE, "parameters": {name: {"value": 1}}}).sweep["id"]


@pytest.mark.parametrize("members, pointer", [
    ({"method": None}, "/method"), ({"method": "custom"}, "/method"), ({"method": 3}, "/method"), ({"parameters": None}, "/parameters"),
    ({"parameters": {}}, "/parameters"), ({"parameters": []}, "/parameters"), ({"trainer": None}, "/trainer"), ({"trainer": "magic"}, "/trainer"),
    ({"run_cap": 0}, "/run_cap"), ({"run_cap": -1}, "/run_cap"), ({"run_cap": 2.5}, "/run_cap"), ({"seed": "x"}, "/seed"), ({"seed": 1.5}, "/seed"),
    ({"metric": {}}, "/metric/name"), ({"metric": {"name": ""}}, "/metric/name"), ({"metric": {"name": "m", "target": "high"}}, "/metric/target"),
    ({"metric": "loss"}, "/metric"), ({"metric": {"name": "m", "summary": "first"}}, "/metric/summary"), ({"method": "bayes"}, "/metric"),
    ({"max_attempts": 0}, "/max_attempts"), ({"parallelism": 0}, "/parallelism"), ({"priority": "x"}, "/priority"), ({"fixed": []}, "/fixed"),
    ({"baseline": 3}, "/baseline"), ({"baseline": {"x": "high"}}, "/baseline/x"), ({"baseline": {"x": True}}, "/baseline/x"), ({"baseline": {"x": None}}, "/baseline/x"),
    ({"levels": {"x": [0.1]}}, "/levels"), ({"max_hours": -1}, "/max_hours"),
    ({"trial_timeout_s": 0}, "/trial_timeout_s"), ({"no_progress_timeout_s": "x"}, "/no_progress_timeout_s"), ({"stages": []}, "/stages"),
    ({"name": 3}, "/name"), ({"model_sha256": 3}, "/model_sha256"),
])
def test_faults_of_a_spec_are_named(server, members, pointer):
    spec = {key: value for key, value in {**BASE, **members}.items() if value is not None}
    named_faults = refused(server, spec)
    assert any(p == pointer or p.startswith(pointer + "/") for p in named_faults), named_faults


@pytest.mark.parametrize("change, pointer", [
    (lambda spec: spec.pop("stages"), "/stages"), (lambda spec: spec.update(stages=[]), "/stages"), (lambda spec: spec["stages"][0].update(colour=1), "/stages/0/colour"),
    (lambda spec: spec["stages"][0].update(method="staged"), "/stages/0/method"), (lambda spec: spec["stages"][0].pop("method"), "/stages/0/method"),
    (lambda spec: spec["stages"][1].update(select_top=0), "/stages/1/select_top"), (lambda spec: spec["stages"][1]["values"].update(nothing=[1]), "/stages/1/values/nothing"),
    (lambda spec: spec["stages"][0]["levels"].update(dropout=[]), "/stages/0/levels/dropout"), (lambda spec: spec["stages"][0].pop("levels"), "/stages/0/levels"),
    (lambda spec: spec["stages"][2].update(run_cap=0), "/stages/2/run_cap"), (lambda spec: spec["baseline"].pop("dropout"), "/stages/0/levels/dropout"),
    (lambda spec: spec.pop("metric"), "/metric"),
])
def test_faults_of_stages_are_named(server, change, pointer):
    spec = copy.deepcopy(STAGES)
    change(spec)
    named_faults = refused(server, spec)
    assert pointer in named_faults or any(p.startswith("/baseline") or p.startswith(pointer) for p in named_faults), named_faults


def test_every_fault_comes_at_once(server):
    spec = {"method": "bayes", "run_cap": -1, "colour": 1, "seed": "x", "metric": {"goal": "up"},
            "parameters": {"a": {"min": 2, "max": 1}, "b": {"distribution": "log_uniform_values", "min": 0, "max": 1}, "c": {"values": []}}}
    assert {"/run_cap", "/colour", "/seed", "/metric/name", "/trainer", "/parameters/a/min", "/parameters/b/min"} <= refused(server, spec).keys()
    problem(server.request("POST", "/v1/sweeps", spec), 422)
