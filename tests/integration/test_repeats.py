"""`repeats` of a sweep and the confirm stage, over HTTP."""
import pytest
from daemon import Daemon
from schema import Validator
from study import Study

pytestmark = pytest.mark.coordinator
SPACE = {"x": {"min": 0.0, "max": 1.0}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("repeats")) as daemon:
        yield daemon


def test_repeats_have_the_same_parameters_and_other_seeds(server):
    study = Study(server, method="bayes", parameters=SPACE, repeats=3, run_cap=30, metric={"name": "loss"})
    trials = study.run(lambda params: (params["x"] - 0.3) ** 2)
    assert len(trials) == 30 and len({trial["seed"] for trial in trials}) == 30
    for first in range(0, 30, 3):
        assert len({trial["params"]["x"] for trial in trials[first:first + 3]}) == 1
    assert len({trial["params"]["x"] for trial in trials}) == 10
    shown = study.trials("?limit=100")
    assert [trial["proposal"]["source"] for trial in shown[1:3]] == ["repeat", "repeat"] and shown[2]["proposal"]["of"] == 1
    assert study.state() == "finished"


def staged(server):
    return Study(server, method="staged", parameters=SPACE, metric={"name": "acc", "goal": "maximize"}, run_cap=None,
                 stages=[{"method": "sobol", "run_cap": 10}, {"method": "bayes", "run_cap": 6, "warm_start": True},
                         {"method": "confirm", "top_k": 2, "repeats": 4}])


def value(trial):
    return 0.9 - (trial["params"]["x"] - 0.6) ** 2 + 0.01 * (trial["seed"] % 1000) / 1000


@pytest.mark.parametrize("crash", [False, True])
def test_a_confirm_stage_names_a_winner_with_a_confidence(server, crash):
    study, n = staged(server), 0
    while trial := study.claim(wait_s=20):
        study.end(trial, value=value(trial))
        n += 1
        if crash and n in (16, 19):
            server.restart(crash=True)
    assert n == 10 + 6 + 8 and study.state() == "finished"
    confirmation = study.show()["stage"]["confirmation"]
    assert [one["n"] for one in confirmation["finalists"]] == [4, 4]
    assert confirmation["winner"] in [one["trial"] for one in confirmation["finalists"]] and 0.5 <= confirmation["confidence"] <= 1
    contract = server.get("/openapi.json")
    best = server.get(study.path + "/best")
    Validator(contract).assert_valid(best, contract["paths"]["/v1/sweeps/{id}/best"]["get"]["responses"]["200"]["content"]["application/json"]["schema"])
    assert best["confirmation"] == confirmation and best["recommended"]["number"] == confirmation["winner"] and "confirmation" in best["detail"]
    winner = next(one for one in confirmation["finalists"] if one["trial"] == confirmation["winner"])
    assert best["recommended"]["params"] == winner["params"] and abs(best["posterior"]["mean"] - winner["mean"]) < 0.05
    confirmed = study.trials("?limit=100")[16:]
    assert {trial["proposal"]["source"] for trial in confirmed} == {"confirm"} and len({trial["seed"] for trial in confirmed}) == 8
