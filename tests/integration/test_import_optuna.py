"""`sweepd import-optuna` on small storages written here; tests/slow/test_optuna.py does the same with Optuna's own."""
import json
import sqlite3
import subprocess

import pytest

from daemon import Daemon, program

TABLES = """
CREATE TABLE version_info (schema_version INTEGER, library_version TEXT);
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT);
CREATE TABLE study_directions (study_id INTEGER, objective INTEGER, direction TEXT);
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER, state TEXT);
CREATE TABLE trial_values (trial_id INTEGER, objective INTEGER, value FLOAT, value_type TEXT);
CREATE TABLE trial_intermediate_values (trial_id INTEGER, step INTEGER, intermediate_value FLOAT, intermediate_value_type TEXT);
CREATE TABLE trial_params (param_id INTEGER PRIMARY KEY, trial_id INTEGER, param_name TEXT, param_value FLOAT, distribution_json TEXT);
"""


def floating(low, high, log=False, step=None):
    return {"name": "FloatDistribution", "attributes": {"low": low, "high": high, "log": log, "step": step}}


def integer(low, high, log=False, step=1):
    return {"name": "IntDistribution", "attributes": {"low": low, "high": high, "log": log, "step": step}}


def choice(*choices):
    return {"name": "CategoricalDistribution", "attributes": {"choices": list(choices)}}


SPACE = {"lr": floating(1e-5, 0.1, log=True), "dropout": floating(0.0, 0.5, step=0.1), "momentum": floating(0.0, 1.0), "layers": integer(1, 8),
         "batch": integer(8, 64, step=8), "odd": integer(1, 9, step=2), "width": integer(1, 1024, log=True), "opt": choice("adam", "sgd", None), "flag": choice(True, False)}
ROW = {"lr": 0.001, "dropout": 0.4, "momentum": 0.25, "layers": 3, "batch": 16, "odd": 5, "width": 12, "opt": 2, "flag": 1}


class Storage:
    def __init__(self, path, schema=12, tables="v3.2.0.a"):
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.executescript(TABLES)
        self.db.execute("INSERT INTO version_info VALUES (?, '5.0.0')", [schema])
        if tables:
            self.db.execute("INSERT INTO alembic_version VALUES (?)", [tables])
        else:
            self.db.execute("DROP TABLE alembic_version")
        self.n = 0

    def study(self, name="demo", directions=("MAXIMIZE",)):
        id = self.db.execute("INSERT INTO studies (study_name) VALUES (?)", [name]).lastrowid
        for objective, direction in enumerate(directions):
            self.db.execute("INSERT INTO study_directions VALUES (?, ?, ?)", [id, objective, direction])
        return id

    def trial(self, study, value=None, params=None, space=None, state="COMPLETE", kind="FINITE", series=()):
        id = self.db.execute("INSERT INTO trials (number, study_id, state) VALUES (?, ?, ?)", [self.n, study, state]).lastrowid
        self.n += 1
        for step, point in series:
            told = (None, point) if isinstance(point, str) else (point, "FINITE")
            self.db.execute("INSERT INTO trial_intermediate_values VALUES (?, ?, ?, ?)", [id, step, *told])
        if value is not None or kind != "FINITE":
            self.db.execute("INSERT INTO trial_values VALUES (?, 0, ?, ?)", [id, value, kind])
        for name, number in (ROW if params is None else params).items():
            self.db.execute("INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
                            [id, name, number, json.dumps((space or SPACE)[name])])
        return self


def run(*args, expect=0):
    done = subprocess.run([program("sweepd"), "import-optuna", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == expect, (args, done.stdout, done.stderr)
    return done


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "optuna.db")


@pytest.mark.coordinator
def test_a_study_becomes_a_sweep_that_begins_with_its_trials(storage, tmp_path):
    study = storage.study()
    storage.trial(study, 0.75).trial(study, 0.5, {**ROW, "opt": 0, "lr": 0.01}).trial(study, state="FAIL").trial(study, state="RUNNING")
    storage.trial(study, kind="INF_POS").trial(study, 0.9, {"lr": 0.001})
    done = run(storage.path, "--metric", "accuracy")
    assert done.stderr == "2 trials taken; left out: 1 failed, 1 still running or waiting, 1 without a finite value, 1 without some of the parameters\n"
    spec = json.loads(done.stdout)
    assert spec["name"] == "demo" and spec["metric"] == {"name": "accuracy", "goal": "maximize"}
    assert spec["parameters"] == {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, "dropout": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
        "momentum": {"distribution": "uniform", "min": 0.0, "max": 1.0}, "layers": {"distribution": "int_uniform", "min": 1, "max": 8},
        "batch": {"distribution": "q_uniform", "min": 8, "max": 64, "q": 8}, "odd": {"values": [1, 3, 5, 7, 9]},
        "width": {"distribution": "q_log_uniform_values", "min": 1, "max": 1024, "q": 1}, "opt": {"values": ["adam", "sgd", None]}, "flag": {"values": [True, False]}}
    assert spec["warm_start"][0] == {"params": {**ROW, "opt": None, "flag": False}, "value": 0.75}
    assert spec["warm_start"][1]["params"]["opt"] == "adam"
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**spec, "run_cap": 2}, expect=201)
        assert sweep["counts"]["completed"] == 2 and sweep["best"]["value"] == 0.75 and sweep["best"]["params"] == spec["warm_start"][0]["params"]
        server.register()
        # and the other way: evidence for a sweep that is there
        other = server.create_sweep(parameters={**spec["parameters"]}, metric={"name": "accuracy", "goal": "maximize"})
        file = tmp_path / "trials.json"
        file.write_text(run(storage.path, "--trials").stdout)
        subprocess.run([program("sweepctl"), "enqueue", other["id"], file, "--server", server.url], check=True, capture_output=True)
        assert server.get(f"/v1/sweeps/{other['id']}")["counts"]["completed"] == 2


def test_pruned_trials_are_evidence_that_ended_early(storage, tmp_path):
    study = storage.study()
    storage.trial(study, 0.75).trial(study, 0.25, {**ROW, "lr": 0.02}, state="PRUNED", series=[(0, 0.125), (1, 0.25)])
    storage.trial(study, state="PRUNED")  # before its first step
    done = run(storage.path, "--metric", "accuracy")
    assert done.stderr == "2 trials taken, 1 of them pruned ones; left out: 1 without a finite value\n"
    spec = json.loads(done.stdout)
    assert [trial.get("state") for trial in spec["warm_start"]] == [None, "stopped"] and "metrics" not in spec["warm_start"][1]
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**spec, "run_cap": 2}, expect=201)
        assert sweep["counts"]["completed"] == 1 and sweep["counts"]["stopped"] == 1 and sweep["best"]["value"] == 0.75


def test_intermediate_values_become_series(storage, tmp_path):
    study = storage.study()
    storage.trial(study, 0.75, series=[(0, 0.5), (1, "NAN"), (2, "INF_POS"), (3, 0.75)]).trial(study, 0.25, state="PRUNED", series=[(0, 0.25), (-1, 9.0)])
    space = run(storage.path, "--metric", "accuracy", "--space")
    assert "warm_start" not in json.loads(space.stdout) and space.stderr == ""
    done = run(storage.path, "--metric", "accuracy", "--trials")
    assert done.stderr == "2 trials taken, 1 of them pruned ones, with 3 points of their series\n"
    (tmp_path / "trials.json").write_text(done.stdout)
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**json.loads(space.stdout), "run_cap": 2, "early_terminate": {"type": "median"}}, expect=201)["id"]
        subprocess.run([program("sweepctl"), "enqueue", sweep, tmp_path / "trials.json", "--server", server.url], check=True, capture_output=True)
        first, second = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
        assert (first["state"], first["value"], second["state"], second["value"]) == ("completed", 0.75, "stopped", 0.25)
        points = [(point["name"], point["step"], point["value"]) for trial in (first, second) for point in server.get(f"/v1/trials/{trial['id']}/metrics")["items"]]
        assert points == [("accuracy", 0, 0.5), ("accuracy", 3, 0.75), ("accuracy", 0, 0.25)]
    run(storage.path, "--trials", "--space", expect=2)


def test_long_series_keep_the_same_steps_of_every_trial(storage):
    study = storage.study()
    for n in (2500, 1000, 3):
        storage.trial(study, 0.5, {"lr": 0.001}, series=[(step, step / 10000) for step in range(n)])
    done = run(storage.path, "--trials")
    assert "(one of 3)" in done.stderr
    steps = [[point["step"] for point in trial["metrics"]] for trial in json.loads(done.stdout)["trials"]]
    assert steps == [[*range(2, 2499, 3), 2499], [*range(2, 999, 3), 999], [2]]


def test_many_series_together_stay_within_what_one_request_takes(storage, tmp_path):
    study = storage.study()
    storage.db.execute("BEGIN")
    for trial in range(150):
        storage.trial(study, 0.5, {"lr": 0.001}, series=[(step, 0.5) for step in range(300 if trial else 7)])
    storage.db.execute("COMMIT")
    space, done = run(storage.path, "--space"), run(storage.path, "--trials")
    trials = json.loads(done.stdout)["trials"]
    assert "(one of 3)" in done.stderr and all(trial["metrics"][-1]["step"] == 299 for trial in trials[1:])
    assert 10000 < sum(len(trial["metrics"]) for trial in trials) <= 20000
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**json.loads(space.stdout), "run_cap": 2}, expect=201)["id"]
        server.post(f"/v1/sweeps/{sweep}/trials", {"trials": trials}, expect=201)
        fault = server.request("POST", f"/v1/sweeps/{sweep}/trials", {"trials": 2 * trials}, expect=422).json()["errors"]
        assert fault == [{"pointer": "/trials", "detail": "must have at most 20000 points of metrics in all: import them in several requests"}]


def test_ranges_that_differ_between_trials_are_joined(storage):
    study = storage.study(directions=("MINIMIZE",))
    for low, high, value in ((0.1, 0.2, 0.15), (0.05, 0.1, 0.07), (0.3, 0.3, 0.3)):
        storage.trial(study, 1.0, {"x": value, "y": 4}, {"x": floating(low, high), "y": integer(4, 4)})
    spec = json.loads(run(storage.path).stdout)
    assert spec["parameters"] == {"x": {"distribution": "uniform", "min": 0.05, "max": 0.3}, "y": {"value": 4}}
    assert spec["metric"] == {"name": "value", "goal": "minimize"}


def test_steps_that_do_not_meet_are_no_steps(storage, tmp_path):
    study = storage.study()
    storage.trial(study, 1.0, {"x": 3}, {"x": integer(1, 9, step=2)}).trial(study, 0.5, {"x": 4}, {"x": integer(2, 10, step=2)})
    spec = json.loads(run(storage.path).stdout)
    assert spec["parameters"] == {"x": {"distribution": "int_uniform", "min": 1, "max": 10}}
    with Daemon(tmp_path) as server:
        assert server.post("/v1/sweeps", {**spec, "run_cap": 2}, expect=201)["counts"]["completed"] == 2


def test_distributions_under_their_old_names(storage):
    study = storage.study()
    old = {"a": {"name": "UniformDistribution", "attributes": {"low": 0, "high": 1}}, "b": {"name": "LogUniformDistribution", "attributes": {"low": 1e-3, "high": 1}},
           "c": {"name": "DiscreteUniformDistribution", "attributes": {"low": 0, "high": 1, "q": 0.25}},
           "d": {"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 8, "step": 1}}}
    storage.trial(study, 1.0, {"a": 0.5, "b": 0.01, "c": 0.25, "d": 2}, old)
    parameters = json.loads(run(storage.path).stdout)["parameters"]
    assert [parameters[name]["distribution"] for name in "abcd"] == ["uniform", "log_uniform_values", "q_uniform", "q_log_uniform_values"]


def test_a_study_is_named_where_there_are_several(storage):
    for name in ("one", "two"):
        storage.trial(storage.study(name), 1.0)
    assert "one, two" in run(storage.path, expect=1).stderr
    assert "one, two" in run(storage.path, "--study", "three", expect=1).stderr
    assert json.loads(run(storage.path, "--study", "two").stdout)["name"] == "two"


@pytest.mark.parametrize("schema, tables, text", [
    (11, "v3.2.0.a", "its schema is Optuna's 11"), (12, "v2.6.0.a", "optuna storage upgrade"), (12, None, "before 3"), (12, "v9.0.0.a", "v9.0.0.a")])
def test_versions_that_are_not_known_are_refused_with_what_to_do(tmp_path, schema, tables, text):
    storage = Storage(tmp_path / "old.db", schema, tables)
    storage.trial(storage.study(), 1.0)
    assert text in run(storage.path, expect=1).stderr


def test_what_makes_no_sense_is_refused_by_name(tmp_path):
    def refused(text, trial, directions=("MAXIMIZE",)):
        storage = Storage(tmp_path / f"{len(list(tmp_path.iterdir()))}.db")
        trial(storage, storage.study(directions=directions))
        assert text in run(storage.path, expect=1).stderr

    refused("several objectives", lambda storage, study: storage.trial(study, 1.0), ("MAXIMIZE", "MINIMIZE"))
    refused("no completed or pruned trial", lambda storage, study: storage.trial(study, state="FAIL"))
    refused("does not know", lambda storage, study: storage.trial(study, 1.0, {"x": 0.5}, {"x": {"name": "Novel", "attributes": {}}}))
    refused("trial 0: parameter x", lambda storage, study: storage.trial(study, 1.0, {"x": 7}, {"x": choice("a", "b")}))
    refused("trial 0: parameter y", lambda storage, study: storage.trial(study, 1.0, {"y": 1.8446744073709552e19}, {"y": choice("a", "b")}))
    refused("one kind in some", lambda storage, study: storage.trial(study, 1.0, {"x": 0.5}, {"x": floating(0, 1)}).trial(study, 1.0, {"x": 1}, {"x": integer(0, 1)}))


def test_files_that_are_no_storage(tmp_path):
    (tmp_path / "text.db").write_text("nothing of the kind " * 100)
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x (y)")
    for name in ("text.db", "empty.db", "absent.db"):
        run(tmp_path / name, expect=1)
    assert not (tmp_path / "absent.db").exists()
    run(expect=2)
