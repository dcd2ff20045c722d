"""Studies that Optuna itself wrote: PYTHONS_WITH_OPTUNA lists interpreters ("a/bin/python:b/bin/python"), one a version."""
import json
import os
import subprocess
import textwrap

import pytest

from daemon import Daemon, program

PYTHONS = [python for python in os.environ.get("PYTHONS_WITH_OPTUNA", "").split(":") if python]

STUDY = textwrap.dedent("""
    import json, sys, optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    def objective(trial):
        x = trial.suggest_float("lr", 1e-5, 1e-1, log=True) + trial.suggest_float("dropout", 0, 0.5, step=0.1) + trial.suggest_float("momentum", 0, 1)
        x += trial.suggest_int("layers", 1, 8) + trial.suggest_int("batch", 8, 64, step=8) + trial.suggest_int("width", 1, 1024, log=True)
        trial.suggest_categorical("opt", ["adam", "sgd", None]), trial.suggest_categorical("flag", [True, False])
        for step in range(3):
            trial.report(x + step, step)
        if trial.number == 3:
            raise optuna.TrialPruned()
        if trial.number == 4:
            raise ValueError("as planned")
        return float("inf") if trial.number == 5 else x
    study = optuna.create_study(study_name="own", storage="sqlite:///" + sys.argv[1], direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=12, catch=(ValueError,))
    def told(trial):
        state = {"state": "stopped"} if trial.state.name == "PRUNED" else {}
        return {"params": trial.params, "value": trial.value, **state, "metrics": [{"name": "value", "step": k, "value": v} for k, v in trial.intermediate_values.items()]}
    print(json.dumps({"version": optuna.__version__, "trials": [told(t) for t in study.trials if t.state.name in ("COMPLETE", "PRUNED") and t.value < 1e300]}))
""")


@pytest.mark.skipif(not PYTHONS, reason="PYTHONS_WITH_OPTUNA names no interpreter")
@pytest.mark.parametrize("python", PYTHONS)
def test_what_optuna_wrote_is_read_with_equal_values(python, tmp_path):
    file = tmp_path / "study.db"
    told = json.loads(subprocess.run([python, "-c", STUDY, file], check=True, capture_output=True, text=True).stdout)
    spec = json.loads(subprocess.run([program("sweepd"), "import-optuna", file], check=True, capture_output=True, text=True).stdout)
    trials = json.loads(subprocess.run([program("sweepd"), "import-optuna", "--trials", file], check=True, capture_output=True, text=True).stdout)["trials"]
    assert len(told["trials"]) == 10 and trials == told["trials"], told["version"]
    assert spec["warm_start"] == [{key: value for key, value in trial.items() if key != "metrics"} for trial in trials]
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**spec, "run_cap": 1}, expect=201)
        assert sweep["counts"]["completed"] == 9 and sweep["counts"]["stopped"] == 1 and sweep["best"]["value"] == max(trial["value"] for trial in trials)
