"""The wire contract as an independent client reads it: bodies, refusals, retries, lists, numbers, tokens.
Claims, reports and endings are in test_contract_trials.py, the sweep spec in test_contract_spec.py."""
import csv
import http.client
import json
import random
import re
import struct

import pytest
from daemon import Daemon
from study import Study, faults, fresh, pages, problem

pytestmark = pytest.mark.coordinator
SPEC = {"method": "random", "trainer": "external", "run_cap": 5, "seed": 1, "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
ID = re.compile(r"^[A-Za-z0-9._~-]{1,40}$")
STATES = {"queued", "running", "completed", "stopped", "failed", "cancelled"}
SWEEP_KEYS = {"id", "name", "method", "state", "spec", "counts", "best", "stage", "run_cap", "created", "eta_s"}
TRIAL_KEYS = {"id", "sweep", "number", "state", "params", "value", "attempt", "worker", "stage", "reason", "detail", "proposal", "created", "started",
              "finished"}
CLAIMED_KEYS = {"id", "sweep", "number", "attempt", "lease", "lease_s", "params", "trainer", "fixed", "seed", "resume"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("contract")) as daemon:
        yield daemon


# --- requests that are refused ------------------------------------------------------------------------

def test_unknown_keys_are_named_wherever_they_stand(server):
    study = Study(server)
    trial = study.claim()
    report = {"lease": trial["lease"], "seq": 1}
    point = {"name": "loss", "step": 1, "value": 1}
    for path, body, pointer in [
        ("/v1/sweeps", {**SPEC, "colour": 1}, "/colour"),
        ("/v1/sweeps", {**SPEC, "metric": {"name": "loss", "colour": 1}}, "/metric/colour"),
        ("/v1/sweeps", {**SPEC, "parameters": {"x": {"min": 0, "max": 1, "colour": 1}}}, "/parameters/x/colour"),
        (study.path + "/trials", {"params": {"x": 0.1, "n": 1}, "colour": 1}, "/colour"),
        (study.path + "/trials", {"params": {"x": 0.1, "n": 1, "colour": 1}}, "/params/colour"),
        (study.path + "/trials", {"trials": [{"params": {"x": 0.1, "n": 1}}, {"params": {"x": 0.1, "n": 1}, "colour": 1}]}, "/trials/1/colour"),
        (f"/v1/trials/{trial['id']}/report", {**report, "colour": 1}, "/colour"),
        (f"/v1/trials/{trial['id']}/report", {**report, "metrics": [point, {**point, "colour": 1}]}, "/metrics/1/colour"),
        (f"/v1/trials/{trial['id']}/report", {**report, "outcome": {"state": "completed", "value": 1, "colour": 1}}, "/outcome/colour"),
        (f"/v1/trials/{trial['id']}/cancel", {"colour": 1}, "/colour"),
        (f"/v1/trials/{trial['id']}/retry", {"colour": 1}, "/colour"),
        ("/v1/workers", {"name": "w", "slots": 1, "trainers": ["external"], "colour": 1}, "/colour"),
        (f"/v1/workers/{study.worker}/drain", {"colour": 1}, "/colour"),
        ("/v1/claims", {"worker": study.worker, "claim_id": fresh(), "colour": 1}, "/colour"),
    ]:
        named = faults(server.request("POST", path, body))
        assert pointer in named and "colour" in named[pointer], f"{path} {body}: {named}"
    assert faults(server.request("PATCH", study.path, {"colour": 1})).keys() == {"/colour"}
    assert study.counts() == {"running": 1}


@pytest.mark.parametrize("members, pointer", [
    ({"state": "sleeping"}, "/state"), ({"state": "finished"}, "/state"), ({"state": 1}, "/state"), ({"run_cap": 0}, "/run_cap"),
    ({"run_cap": 1.5}, "/run_cap"), ({"run_cap": "9"}, "/run_cap"), ({"run_cap": True}, "/run_cap"), ({"priority": "high"}, "/priority"),
])
def test_a_change_out_of_range_is_422(server, members, pointer):
    study = Study(server)
    assert pointer in faults(server.request("PATCH", study.path, members))
    assert study.state() == "running" and study.show()["run_cap"] == 10


def test_one_fault_in_a_change_leaves_all_of_it_undone(server):
    study = Study(server)
    problem(server.request("PATCH", study.path, {"run_cap": 99, "state": "sleeping"}), 422)
    assert study.show()["run_cap"] == 10


@pytest.mark.parametrize("path", ["/v1/claims", "/v1/workers", "/v1/sweeps/{sweep}/trials", "/v1/trials/{trial}/report", "/v1/trials/{trial}/cancel"])
def test_every_post_wants_json(server, path):
    study = Study(server)
    path = path.format(sweep=study.id, trial=study.claim()["id"])
    problem(server.request("POST", path, data=b"{", headers={"Content-Type": "application/json"}), 400)
    problem(server.request("POST", path, data=b'{"a":1,"a":2}', headers={"Content-Type": "application/json"}), 400)
    problem(server.request("POST", path, data=b'{"a":1e400}', headers={"Content-Type": "application/json"}), 400)
    problem(server.request("POST", path, data=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)
    problem(server.request("POST", path, data=b"x" * (8 * 1024 * 1024 + 1), headers={"Content-Type": "application/json"}), 413)


def test_a_duplicate_key_deep_inside_is_400(server):
    body = b'{"method":"random","trainer":"external","parameters":{"x":{"min":0.0,"max":1.0,"min":0.5}}}'
    problem(server.request("POST", "/v1/sweeps", data=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("body, headers", [(b"", {}), (b"", {"Content-Type": "application/json"}), (b"{}", {"Content-Type": "application/json"})])
def test_posts_without_fields_take_an_empty_body(server, body, headers):
    study = Study(server)
    trial = study.claim()
    server.request("POST", f"/v1/trials/{trial['id']}/cancel", data=body, headers=headers, expect=200)
    server.request("POST", f"/v1/trials/{trial['id']}/retry", data=body, headers=headers, expect=200)
    server.request("POST", f"/v1/workers/{study.worker}/drain", data=body, headers=headers, expect=200)


def test_what_nobody_has_is_404(server):
    for method, path, body in [
        ("GET", "/v1/sweeps/none", None), ("PATCH", "/v1/sweeps/none", {"priority": 1}), ("DELETE", "/v1/sweeps/none", None),
        ("POST", "/v1/sweeps/none/trials", {"params": {}}), ("GET", "/v1/sweeps/none/trials", None), ("GET", "/v1/sweeps/none/best", None),
        ("GET", "/v1/sweeps/none/export", None), ("GET", "/v1/trials/none", None), ("GET", "/v1/trials/none/metrics", None),
        ("POST", "/v1/trials/none/cancel", None), ("POST", "/v1/trials/none/retry", None), ("POST", "/v1/workers/none/drain", None),
        ("POST", "/v1/trials/none/report", {"lease": "l", "seq": 1}), ("GET", "/nowhere", None), ("GET", "/v1/nothing", None),
    ]:
        problem(server.request(method, path, body), 404)


def test_wrong_methods_are_405_with_allow(server):
    study = Study(server)
    for method, path, allowed in [("DELETE", "/v1/sweeps", {"GET", "POST"}), ("POST", study.path, {"GET", "PATCH", "DELETE"}),
                                  ("GET", "/v1/claims", {"POST"}), ("PUT", study.path + "/trials", {"GET", "POST"}), ("PATCH", "/v1/workers", {"GET", "POST"})]:
        response = server.request(method, path)
        problem(response, 405)
        assert allowed <= {one.strip() for one in response.headers["Allow"].split(",")}


# --- bodies that clients rely on ----------------------------------------------------------------------

def test_a_sweep_has_its_members(server):
    spec = {**SPEC, "name": "members", "description": "été", "tags": ["a"], "fixed": {"epochs": 3}, "priority": 2}
    sweep = server.post("/v1/sweeps", spec, expect=201)
    assert SWEEP_KEYS <= sweep.keys() and ID.match(sweep["id"]) and TIME.match(sweep["created"])
    assert (sweep["name"], sweep["method"], sweep["state"], sweep["spec"], sweep["run_cap"]) == ("members", "random", "running", spec, 5)
    assert sweep["counts"] == dict.fromkeys(STATES, 0) and sweep["best"] is None
    assert server.get(f"/v1/sweeps/{sweep['id']}") == sweep
    assert sweep in pages(server, "/v1/sweeps", 1000)


def test_a_spec_comes_back_as_it_was_given(server):
    body = b'{"parameters":{"z":{"min":0,"max":1.0},"a":{"values":[1,1.0,1e-05,"\xc3\xa9",null,{"k":[true]}]}},"trainer":"external","method":"random"}'
    sweep = server.request("POST", "/v1/sweeps", data=body, headers={"Content-Type": "application/json"}, expect=201).json()
    given = sweep["spec"]
    assert given == json.loads(body) and list(given["parameters"]) == ["z", "a"] and list(given) == ["parameters", "trainer", "method"]
    values = given["parameters"]["a"]["values"]
    assert [type(value) for value in values[:3]] == [int, float, float]
    assert type(given["parameters"]["z"]["min"]) is int and type(given["parameters"]["z"]["max"]) is float


def test_a_trial_has_its_members_through_its_life(server):
    study = Study(server, run_cap=3)
    [queued] = study.enqueue({"x": 0.25, "n": 3})
    assert TRIAL_KEYS <= queued.keys() and ID.match(queued["id"]) and TIME.match(queued["created"])
    assert (queued["sweep"], queued["number"], queued["state"], queued["params"]) == (study.id, 1, "queued", {"x": 0.25, "n": 3})
    assert [queued[key] for key in ("value", "attempt", "worker", "reason", "detail", "started", "finished")] == [None, 0, None, None, None, None, None]
    claimed = study.claim()
    assert CLAIMED_KEYS <= claimed.keys() and claimed["id"] == queued["id"]
    assert (claimed["attempt"], claimed["lease_s"], claimed["trainer"], claimed["fixed"], claimed["resume"]) == (1, 60, "external", {}, None)
    assert isinstance(claimed["lease"], str) and isinstance(claimed["seed"], int)
    running = study.trial(queued)
    assert (running["state"], running["attempt"], running["worker"], running["finished"]) == ("running", 1, study.worker, None)
    assert TIME.match(running["started"])
    study.end(claimed, value=0.85)
    done = study.trial(queued)
    assert (done["state"], done["value"], done["reason"]) == ("completed", 0.85, None) and TIME.match(done["finished"])
    assert done["created"] <= done["started"] <= done["finished"]
    proposed = study.claim()
    assert study.trial(proposed)["proposal"]["source"] and proposed["number"] == 2
    assert study.show()["counts"] == {**dict.fromkeys(STATES, 0), "running": 1, "completed": 1}


def test_a_claimed_trial_says_what_is_fixed(server):
    fixed = {"epochs": 3, "train_batch_size": 16, "limit_train": 100, "note": {"a": [1, 2.5]}}
    study = Study(server, fixed=fixed)
    trial = study.claim()
    assert trial["fixed"] == fixed and trial["params"].keys() == {"x", "n"}


def test_best_follows_the_goal(server):
    for goal, best in (("minimize", 0.25), ("maximize", 0.75)):
        study = Study(server, metric={"name": "loss", "goal": goal})
        assert server.get(study.path + "/best")["trial"] is None
        for value in (0.5, 0.25, 0.75):
            study.end(study.claim(), value=value)
        study.end(study.claim(), "failed", reason="diverged")
        trial = server.get(study.path + "/best")["trial"]
        assert trial["value"] == best and study.show()["best"] == trial and trial.items() <= study.trial(trial).items()


def test_a_stopped_trial_counts_for_best(server):
    study = Study(server)
    study.end(study.claim(), value=0.5)
    study.end(study.claim(), "stopped", value=0.25)
    assert server.get(study.path + "/best")["trial"]["state"] == "stopped"


def test_metric_points_come_in_step_order_and_a_later_one_overwrites(server):
    study = Study(server)
    trial = study.claim()
    at = "2024-05-06T07:08:09.123Z"
    study.report(trial, 1, metrics=[{"name": "loss", "step": 20, "value": 0.5, "epoch": 1, "time": at}, {"name": "other", "step": 15, "value": -3},
                                    {"name": "loss", "step": 10, "value": 2}])
    study.report(trial, 2, metrics=[{"name": "loss", "step": 20, "value": 0.25, "epoch": 1.5, "time": at}])
    points = server.get(f"/v1/trials/{trial['id']}/metrics?name=loss")["items"]
    assert [(p["step"], p["value"]) for p in points] == [(10, 2), (20, 0.25)]
    assert points[1] == {"name": "loss", "step": 20, "epoch": 1.5, "value": 0.25, "time": at}
    assert {"name", "step", "epoch", "value", "time"} <= points[0].keys() and points[0]["epoch"] is None
    steps = [p["step"] for p in server.get(f"/v1/trials/{trial['id']}/metrics")["items"]]
    assert steps == sorted(steps) == [10, 15, 20]
    assert server.get(f"/v1/trials/{trial['id']}/metrics?name=nothing") == {"items": [], "next": None}


def test_a_walk_over_points_of_a_long_name(server):
    study, name = Study(server), "n" * 128
    trial = study.claim()
    study.report(trial, 1, metrics=[{"name": name, "step": step, "value": step} for step in (3, 1, 2)] + [{"name": "b", "step": 2, "value": 0}])
    assert [p["step"] for p in pages(server, f"/v1/trials/{trial['id']}/metrics?name={name}", 1)] == [1, 2, 3]
    assert [p["step"] for p in pages(server, f"/v1/trials/{trial['id']}/metrics", 1)] == [1, 2, 2, 3]


def test_a_later_attempt_overwrites_points(server):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=[{"name": "loss", "step": step, "value": 1.0} for step in (1, 2, 3)])
    study.end(trial, "failed", reason="crashed")
    again = study.claim()
    assert again["id"] == trial["id"]
    study.report(again, 1, metrics=[{"name": "loss", "step": step, "value": 0.5} for step in (1, 2)])
    points = server.get(f"/v1/trials/{trial['id']}/metrics?name=loss")["items"]
    assert [(p["step"], p["value"]) for p in points][:2] == [(1, 0.5), (2, 0.5)]


def test_exports_hold_every_trial(server):
    study = Study(server, parameters={"x": {"min": 0.0, "max": 1.0}, "g": {"parameters": {"k": {"values": ["a,b", 'c"d']}}}})
    study.enqueue({"x": 0.1, "g": {"k": "a,b"}}, {"x": 0.2, "g": {"k": 'c"d'}})
    study.end(study.claim(), value=0.85)
    trials = study.trials()

    def export(form, kind):
        response = server.request("GET", study.path + f"/export?format={form}", expect=200)
        assert response.headers["Content-Type"].split(";")[0] == kind
        return response.text

    lines = export("jsonl", "application/x-ndjson").splitlines()
    assert [json.loads(line)["params"] for line in lines] == [trial["params"] for trial in trials]
    assert [json.loads(line)["value"] for line in lines] == [0.85, None]
    assert {trial["id"] for trial in trials} == {one["id"] for one in json.loads(export("json", "application/json"))["items"]}
    rows = list(csv.DictReader(export("csv", "text/csv").splitlines()))
    assert len(rows) == 2 and [row["state"] for row in rows] == ["completed", "queued"]
    nested = [column for column in rows[0] if column.endswith("g.k")]
    assert len(nested) == 1 and [row[nested[0]] for row in rows] == ["a,b", 'c"d'], "nested parameters are dotted"
    assert "0.85" in rows[0].values()
    problem(server.request("GET", study.path + "/export?format=xml"), 422)


def test_a_worker_has_its_members_and_keeps_its_id(server):
    name = fresh("named")
    facts = {"build": "x", "threads": 4}
    worker = server.register(name, slots=3, trainers=["external", "command:train.py"], facts=facts)
    assert ID.match(worker["id"]) and worker["lease_s"] == 60
    assert server.register(name, slots=5)["id"] == worker["id"]
    listed = [one for one in pages(server, "/v1/workers", 1000) if one["name"] == name]
    assert len(listed) == 1 and {"id", "name", "slots", "lease_s", "state", "trials", "last_seen"} <= listed[0].keys()
    assert (listed[0]["slots"], listed[0]["state"], listed[0]["trials"]) == (5, "active", []) and TIME.match(listed[0]["last_seen"])


@pytest.mark.parametrize("missing", ["name", "slots", "trainers"])
def test_a_registration_needs_name_slots_and_trainers(server, missing):
    body = {"name": "w", "slots": 1, "trainers": ["external"]}
    del body[missing]
    problem(server.request("POST", "/v1/workers", body), 422)


@pytest.mark.parametrize("missing", ["lease", "seq"])
def test_a_report_needs_lease_and_seq(server, missing):
    study = Study(server)
    trial = study.claim()
    body = {"lease": trial["lease"], "seq": 1}
    del body[missing]
    problem(server.request("POST", f"/v1/trials/{trial['id']}/report", body), 422)
    assert study.trial(trial)["state"] == "running"


@pytest.mark.parametrize("missing", ["name", "step", "value"])
def test_a_metric_point_needs_name_step_and_value(server, missing):
    study = Study(server)
    trial = study.claim()
    point = {"name": "loss", "step": 1, "value": 1.0}
    study.report(trial, 1, metrics=[point])
    del point[missing]
    body = {"lease": trial["lease"], "seq": 2, "metrics": [point]}
    assert any(pointer.startswith("/metrics/0") for pointer in faults(server.request("POST", f"/v1/trials/{trial['id']}/report", body)))


# --- numbers ------------------------------------------------------------------------------------------

def odd_doubles(n):
    rng = random.Random(4)
    doubles = [0.85, 0.1, 5e-5, 1e-5, 1e-8, 123456789.123, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1 / 3, 0.1 + 0.2, 100.0, -2.5]
    while len(doubles) < n:
        number = struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64)))[0]
        if number - number == 0:
            doubles.append(number)
    return doubles


def digits_of(token):
    mantissa = re.match(r"-?([0-9.]+)", token).group(1).replace(".", "")
    return mantissa.strip("0") or "0"


def test_numbers_are_the_shortest_decimals_that_read_back(server):
    study = Study(server)
    trial = study.claim()
    doubles = odd_doubles(300)
    study.report(trial, 1, metrics=[{"name": "loss", "step": step, "value": value} for step, value in enumerate(doubles)])
    text = server.request("GET", f"/v1/trials/{trial['id']}/metrics?limit=1000", expect=200).text
    tokens = re.findall(r'"value":\s*(-?[0-9.eE+-]+)', text)
    assert [float(token) for token in tokens] == doubles
    assert [digits_of(token) for token in tokens] == [digits_of(repr(value)) for value in doubles]


def test_numbers_are_shortest_in_trials_lists_and_exports(server):
    study = Study(server, parameters={"x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 1000}})
    study.enqueue({"x": 0.85, "n": 128})
    study.end(study.claim(), value=0.81)
    for path in (f"{study.path}/trials", f"/v1/trials/{study.trials()[0]['id']}", study.path, f"{study.path}/best", f"{study.path}/export?format=jsonl",
                 f"{study.path}/export?format=csv"):
        text = server.request("GET", path, expect=200).text
        assert "0.85" in text and "0.81" in text and "128" in text
        assert not re.search(r"0\.8[0-9]{3}", text) and "128.0" not in text, text


def test_integers_stay_integers(server):
    values = [0, 1, -1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]
    study = Study(server, method="grid", run_cap=None, parameters={"n": {"values": values}, "c": {"value": 3}}, fixed={"seed_like": 2**62})
    seen = [trial for trial in study.claim_many(len(values))]
    assert [trial["params"]["n"] for trial in seen] == values
    assert all(type(trial["params"]["n"]) is int and type(trial["params"]["c"]) is int and trial["fixed"]["seed_like"] == 2**62 for trial in seen)
    assert study.show()["spec"]["parameters"]["n"]["values"] == values


# --- lists --------------------------------------------------------------------------------------------

def test_lists_page_in_order_of_creation(server):
    study = Study(server, run_cap=100)
    ids = [trial["id"] for trial in study.enqueue(*[{"x": i / 40, "n": 1 + i % 9} for i in range(23)])]
    for limit in (1, 2, 7, 22, 23, 24, 1000):
        assert [trial["id"] for trial in pages(server, study.path + "/trials", limit)] == ids
    assert len(server.get(study.path + "/trials")["items"]) == 23
    assert [trial["number"] for trial in study.trials()] == list(range(1, 24))


def test_the_default_limit_is_100(server):
    study = Study(server, run_cap=1000)
    study.enqueue(*[{"x": 0.5, "n": 1}] * 101)
    page = server.get(study.path + "/trials")
    assert len(page["items"]) == 100 and page["next"]
    assert len(server.get(study.path + "/trials", params={"after": page["next"]})["items"]) == 1


def test_an_exactly_full_page_ends_the_list(server):
    study = Study(server)
    study.enqueue(*[{"x": 0.5, "n": 1}] * 4)
    assert [len(page) for page in [pages(server, study.path + "/trials", 2), pages(server, study.path + "/trials", 4)]] == [4, 4]


def test_new_items_never_disturb_a_walk(server):
    study = Study(server, run_cap=100)
    ids = [trial["id"] for trial in study.enqueue(*[{"x": 0.5, "n": 1}] * 6)]
    first = server.get(study.path + "/trials?limit=3")
    study.enqueue({"x": 0.5, "n": 2})
    rest = server.get(study.path + "/trials", params={"limit": 1000, "after": first["next"]})["items"]
    assert [trial["id"] for trial in first["items"] + rest][:6] == ids


def ended(server, values):
    """A study whose trials ended with these values; None is one that diverged."""
    study = Study(server, run_cap=len(values) + 50, metric={"name": "loss", "goal": "minimize"})
    for value in values:
        study.enqueue({"x": 0.5, "n": 1})
        trial = study.claim()
        study.end(trial, value=value) if value is not None else study.end(trial, "failed", reason="diverged")
    return study


@pytest.mark.parametrize("sort", ["value", "-value"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_null_values_sort_last_both_ways(server, sort, limit):
    study = ended(server, [0.5, None, -1, 0.25, None, 0.5, 3, None, -0.0, 0.5])
    values = [trial["value"] for trial in pages(server, f"{study.path}/trials?sort={sort}", limit)]
    numbers = [0.5, -1, 0.25, 0.5, 3, 0, 0.5]
    assert values == sorted(numbers, reverse=sort == "-value") + [None] * 3
    assert len({trial["id"] for trial in pages(server, f"{study.path}/trials?sort={sort}", limit)}) == 10


@pytest.mark.parametrize("sort", ["value", "-value"])
def test_a_walk_by_value_neither_skips_nor_repeats_what_changes_meanwhile(server, sort):
    study = ended(server, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    running = [study.claim() for _ in range(3)]
    before = {trial["id"] for trial in study.trials()}
    first = server.get(f"{study.path}/trials?sort={sort}&limit=4")
    for trial, value in zip(running, (0.05, 0.35, 0.95)):  # they move to before and after the cursor
        study.end(trial, value=value)
    server.post(f"/v1/trials/{first['items'][0]['id']}/retry")  # a shown one loses its value
    seen, after = [trial["id"] for trial in first["items"]], first["next"]
    while after:
        page = server.get(f"{study.path}/trials?sort={sort}&limit=2", params={"after": after})
        seen += [trial["id"] for trial in page["items"]]
        after = page["next"]
    assert len(seen) == len(set(seen)), "repeated"
    assert before <= set(seen), "skipped"


def test_a_cursor_outlives_the_item_it_stands_on(server):
    known = len(pages(server, "/v1/sweeps", 1000))
    studies = [Study(server) for _ in range(3)]
    first = server.get(f"/v1/sweeps?limit={known + 1}")
    assert first["items"][-1]["id"] == studies[0].id
    studies[0].change(state="cancelled")
    server.request("DELETE", studies[0].path, expect=204)
    rest = server.get("/v1/sweeps", params={"after": first["next"]})["items"]
    assert [sweep["id"] for sweep in rest] == [study.id for study in studies[1:]]


def test_trials_are_filtered_by_state(server):
    study = ended(server, [0.5, None, 0.25])
    study.enqueue({"x": 0.5, "n": 1})
    for state, n in (("completed", 2), ("failed", 1), ("queued", 1), ("running", 0)):
        assert [trial["state"] for trial in pages(server, f"{study.path}/trials?state={state}", 1)] == [state] * n


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1.5", "after=foreign", "after=AAAA", "sort=name", "state=asleep"])
@pytest.mark.parametrize("path", ["/v1/sweeps", "/v1/workers", "trials", "metrics"])
def test_queries_out_of_range_are_422(server, query, path):
    if path == "trials" or path == "metrics":
        study = Study(server)
        path = study.path + "/trials" if path == "trials" else f"/v1/trials/{study.claim()['id']}/metrics"
    problem(server.request("GET", f"{path}?{query}"), 422)


@pytest.mark.parametrize("name", ["", "%00", "a%00", "a%00b&limit=3", "%14%C2%998%7C%00&limit=122", "a%0Ab", "%7f", "n" * 129])
def test_points_of_a_name_that_no_metric_can_have_are_422(server, name):
    trial = Study(server).claim()
    errors = problem(server.request("GET", f"/v1/trials/{trial['id']}/metrics?name={name}"), 422)["errors"]
    assert [error["pointer"] for error in errors] == ["/name"]


def test_a_cursor_of_another_list_is_foreign(server):
    one, two = ended(server, [1, 2, 3]), ended(server, [1, 2, 3])
    after = server.get(one.path + "/trials?limit=1")["next"]
    assert re.match(r"^[A-Za-z0-9._~-]+$", after)
    problem(server.request("GET", "/v1/sweeps", params={"after": after}), 422)
    problem(server.request("GET", one.path + "/trials?sort=value", params={"after": after}), 422)
    assert server.request("GET", two.path + "/trials", params={"after": after}).status_code in (200, 422)


# --- creates that are retried -------------------------------------------------------------------------

def keyed(server, path, body, key, status=201):
    return server.request("POST", path, body, headers={"Idempotency-Key": key}, expect=status)


def test_a_retried_create_gets_the_first_answer_whatever_happened_since(server):
    key = fresh("key")
    first = keyed(server, "/v1/sweeps", SPEC, key)
    sweep = first.json()
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "paused"})
    again = keyed(server, "/v1/sweeps", SPEC, key)
    assert again.content == first.content and again.headers["Content-Type"] == first.headers["Content-Type"]
    assert server.get(f"/v1/sweeps/{sweep['id']}")["state"] == "paused"


def test_a_key_with_another_body_is_422_and_creates_nothing(server):
    study, key = Study(server), fresh("key")
    body = {"params": {"x": 0.5, "n": 1}}
    items = keyed(server, study.path + "/trials", body, key).json()["items"]
    problem(server.request("POST", study.path + "/trials", {"params": {"x": 0.5, "n": 2}}, headers={"Idempotency-Key": key}), 422)
    assert keyed(server, study.path + "/trials", body, key).json()["items"] == items
    assert len(study.trials()) == 1


def test_a_key_is_scoped_to_its_path(server):
    one, two, key = Study(server), Study(server), fresh("key")
    body = {"params": {"x": 0.5, "n": 1}}
    a, b = (keyed(server, study.path + "/trials", body, key).json()["items"][0] for study in (one, two))
    assert a["id"] != b["id"] and b["sweep"] == two.id
    keyed(server, "/v1/sweeps", SPEC, key)


def test_without_a_key_creates_are_two(server):
    assert server.post("/v1/sweeps", SPEC, expect=201)["id"] != server.post("/v1/sweeps", SPEC, expect=201)["id"]


def test_a_refused_create_does_not_use_up_its_key(server):
    key = fresh("key")
    problem(server.request("POST", "/v1/sweeps", {**SPEC, "run_cap": -1}, headers={"Idempotency-Key": key}), 422)
    problem(server.request("POST", "/v1/sweeps", {**SPEC, "run_cap": -1}, headers={"Idempotency-Key": key}), 422)


def test_changes_can_be_repeated(server):
    study = Study(server)
    trial = study.claim()
    for members in ({"state": "paused"}, {"run_cap": 20}, {"priority": 3}, {"state": "running"}):
        assert study.change(**members) == study.change(**members)
    for _ in range(2):
        assert server.post(f"/v1/trials/{trial['id']}/cancel")["state"] == "cancelled"
    for _ in range(2):
        assert server.post(f"/v1/trials/{trial['id']}/retry")["state"] == "queued"
    assert [study.change(state="cancelled")["state"] for _ in range(2)] == ["cancelled"] * 2
    assert [server.post(f"/v1/workers/{study.worker}/drain")["state"] for _ in range(2)] == ["draining"] * 2


# --- sweeps: states, deletion -------------------------------------------------------------------------

def test_cancelled_is_final(server):
    study = Study(server)
    study.change(state="cancelled")
    for members in ({"state": "running"}, {"state": "paused"}):
        problem(server.request("PATCH", study.path, members), 409)
    assert study.state() == "cancelled"


def test_only_a_sweep_that_does_not_run_is_deleted(server):
    study = Study(server, run_cap=1)
    trial = study.claim()
    problem(server.request("DELETE", study.path), 409)
    study.end(trial, value=1)
    assert study.state() == "finished"
    response = server.request("DELETE", study.path)
    assert response.status_code in (200, 204)
    problem(server.request("GET", study.path), 404)
    problem(server.request("GET", f"/v1/trials/{trial['id']}"), 404)
    assert study.id not in {sweep["id"] for sweep in pages(server, "/v1/sweeps", 1000)}


# --- tokens -------------------------------------------------------------------------------------------

def test_each_call_wants_its_role(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("admin a admin-token\nworker w worker-token\nviewer v viewer-token\n")
    tokens.chmod(0o600)
    with Daemon(tmp_path, "--token-file", tokens, auth=True, token="admin-token") as server:
        study = Study(server)
        trial = study.claim()
        calls = [
            ("admin", "POST", "/v1/sweeps"), ("viewer", "GET", "/v1/sweeps"), ("viewer", "GET", study.path), ("admin", "PATCH", study.path),
            ("admin", "DELETE", study.path), ("admin", "POST", study.path + "/trials"), ("viewer", "GET", study.path + "/trials"),
            ("viewer", "GET", study.path + "/best"), ("viewer", "GET", study.path + "/export"), ("viewer", "GET", f"/v1/trials/{trial['id']}"),
            ("viewer", "GET", f"/v1/trials/{trial['id']}/metrics"), ("admin", "POST", f"/v1/trials/{trial['id']}/cancel"),
            ("admin", "POST", f"/v1/trials/{trial['id']}/retry"), ("worker", "POST", "/v1/workers"), ("viewer", "GET", "/v1/workers"),
            ("admin", "POST", f"/v1/workers/{study.worker}/drain"), ("worker", "POST", "/v1/claims"), ("worker", "POST", f"/v1/trials/{trial['id']}/report"),
        ]
        for needed, method, path in calls:
            for role in ("admin", "worker", "viewer", "nobody", None):
                headers = {"Authorization": f"Bearer {role}-token" if role else None}
                response = server.request(method, path, {"unknown": 1} if method in ("POST", "PATCH") else None, headers=headers)
                said = f"{role} {method} {path}: {response.status_code} {response.text}"
                if role in ("nobody", None):
                    assert response.status_code == 401, said
                    problem(response, 401)
                elif role in ("admin", needed):
                    assert response.status_code in (200, 409, 422), said
                else:
                    assert response.status_code == 403, said
                    problem(response, 403)
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert server.request("GET", path, headers={"Authorization": None}).status_code == 200


def test_openapi_is_served(server):
    contract = server.get("/openapi.json")
    assert contract["openapi"].startswith("3.") and "/v1/claims" in contract["paths"]


def test_a_bare_http_client_is_served(server):
    connection = http.client.HTTPConnection(server.url.split("//")[1])
    connection.request("GET", "/v1/sweeps?limit=1")
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"].startswith("application/json")
    connection.close()
