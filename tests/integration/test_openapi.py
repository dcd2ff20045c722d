"""The server does what /openapi.json says: every operation of it, against the running server."""
import hashlib
import re
import time

import pytest
from daemon import PATIENCE_S, ROOT, Daemon
from schema import Validator

pytestmark = pytest.mark.coordinator
METHODS = ("get", "post", "patch", "delete", "put")
TOKENS = {"admin": "secret-admin", "worker": "secret-worker", "viewer": "secret-viewer"}
ALLOWED = {"admin": {"none", "viewer", "worker", "admin"}, "worker": {"none", "worker"}, "viewer": {"none", "viewer"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    token_file = folder / "tokens"
    token_file.write_text("".join(f"{role} {role} {token}\n" for role, token in TOKENS.items()))
    token_file.chmod(0o600)
    with Daemon(folder, "--token-file", token_file, "--models-dir", folder / "models", auth=True, token=TOKENS["admin"]) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def contract(server):
    return server.get("/openapi.json")


def operations(contract):
    for path, item in contract["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def ask(server, method, path, token=None, headers=None, **options):
    headers = {"Authorization": f"Bearer {token}" if token else None, **(headers or {})}
    response = server.request(method.upper(), path.replace("{id}", "nobody"), headers=headers, stream=True, **options)
    if response.headers.get("Content-Type") == "text/event-stream":
        response.close()  # it has no end
    else:
        response.content
    return response


def check_problem(contract, response):
    assert response.headers["Content-Type"] == "application/problem+json"
    Validator(contract).assert_valid(response.json(), {"$ref": "#/components/schemas/Problem"})
    assert response.json()["status"] == response.status_code


def test_every_reference_leads_somewhere(contract):
    validator = Validator(contract)
    for reference in references(contract):
        validator.resolve(reference)


def test_no_text_was_cut_at_a_comma(contract):
    """An unquoted comma in YAML's braces makes a key without value of the rest."""
    def walk(node, where):
        assert node is not None, where
        for key, value in (node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()):
            walk(value, f"{where}/{key}")
    walk({key: value for key, value in contract.items()}, "")


def test_operation_ids_are_unique(contract):
    ids = [operation["operationId"] for _, _, operation in operations(contract)]
    assert len(set(ids)) == len(ids)


def test_the_description_and_the_route_table_are_one(contract):
    """The server's own table and the description name the same operations with the same roles."""
    source = (ROOT / "proto/route.h").read_text()
    table = re.findall(r'X\(ROUTE_\w+, "(\w+)", "([^"]+)", ROLE_(\w+)\)', source)
    assert {(path, method.lower(), role.lower()) for method, path, role in table} == \
        {(path, method, operation["x-role"]) for path, method, operation in operations(contract)}


def test_operations_that_need_a_token_refuse_without_one(server, contract):
    for path, method, operation in operations(contract):
        response = ask(server, method, path)
        if operation["x-role"] == "none":
            assert response.status_code == (404 if "{id}" in path else 200), path
        else:
            assert response.status_code == 401, path
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            check_problem(contract, response)
            assert ask(server, method, path, token="wrong").status_code == 401


def test_roles_open_what_they_should_and_nothing_else(server, contract):
    for role, token in TOKENS.items():
        for path, method, operation in operations(contract):
            response = ask(server, method, path, token=token)
            refused = operation["x-role"] not in ALLOWED[role]
            assert (response.status_code == 403) == refused, f"{role} {method} {path}: {response.status_code}"
            if refused:
                check_problem(contract, response)


def test_methods_that_are_not_described_get_405_with_those_that_are(server, contract):
    for path, item in contract["paths"].items():
        described = {method.upper() for method in METHODS if method in item}
        expected = described | ({"HEAD"} if "GET" in described else set())
        for method in {"PUT", "DELETE", "PATCH", "POST", "GET", "OPTIONS"} - expected:
            response = ask(server, method, path, token=TOKENS["admin"])
            assert response.status_code == 405, f"{method} {path}"
            assert {one.strip() for one in response.headers["Allow"].split(",")} == expected
            check_problem(contract, response)


def test_ids_that_nobody_has_get_404(server, contract):
    bodies = {
        "changeSweep": {"priority": 1},
        "createTrials": {"params": {}},
        "reportTrial": {"lease": "l", "seq": 1},
        "offerModel": {"lease": "l", "files": [{"name": "f", "bytes": 1, "sha256": "0" * 64}]},
    }
    queries = {"getModelFile": "?name=f", "putModelPiece": "?name=f"}
    for path, method, operation in operations(contract):
        if "{id}" in path:
            headers = {"Lease": "l"} if operation["operationId"] == "putModelPiece" else None
            response = ask(server, method, path + queries.get(operation["operationId"], ""), token=TOKENS["admin"], headers=headers, json=bodies.get(operation["operationId"]))
            assert response.status_code == 404, f"{method} {path}: {response.status_code} {response.text}"
            check_problem(contract, response)


def test_unknown_keys_are_named_everywhere(server, contract):
    for path, method, operation in operations(contract):
        if "requestBody" not in operation or "{id}" in path:
            continue
        response = ask(server, method, path, token=TOKENS["admin"], json={"flavour": 1})
        assert response.status_code == 422, f"{method} {path}"
        check_problem(contract, response)
        assert any(fault["pointer"] == "/flavour" and "flavour" in fault["detail"] for fault in response.json()["errors"])


def test_unknown_queries_are_refused(server, contract):
    for path, method, operation in operations(contract):
        if method == "get" and operation["x-role"] != "none" and "{id}" not in path:
            response = ask(server, method, path + "?flavour=1", token=TOKENS["admin"])
            assert response.status_code == 422, path
            check_problem(contract, response)


# --- a whole life, each answer held to its schema -----------------------------------------------------


class Checked:
    """Requests whose answers must fit the description."""

    def __init__(self, server, contract):
        self.server, self.contract, self.seen = server, contract, set()
        self.validator = Validator(contract)
        self.by_id = {operation["operationId"]: (path, method, operation) for path, method, operation in operations(contract)}

    def call(self, operation_id, id=None, query="", body=None, expect=200):
        path, method, operation = self.by_id[operation_id]
        if body is not None:
            schema = self.validator.resolve(operation["requestBody"]["$ref"]) if "$ref" in operation["requestBody"] else operation["requestBody"]
            self.validator.assert_valid(body, schema["content"]["application/json"]["schema"])
        response = self.server.request(method.upper(), path.replace("{id}", id or "") + query, body, stream=True)
        assert response.status_code == expect, f"{operation_id}: {response.status_code} {response.text}"
        described = operation["responses"][str(expect)]
        self.seen.add(operation_id)
        if "content" not in described:
            assert not response.content
            return None
        kind = response.headers["Content-Type"].split(";")[0]
        if kind != "application/json":
            assert kind in described["content"]
            if kind == "text/event-stream":
                return response.close()  # it has no end
            return response.text
        self.validator.assert_valid(response.json(), described["content"]["application/json"]["schema"])
        return response.json()


def walk_a_model(api, server, trial, sweep):
    data = b"weights"
    offer = {"lease": trial["lease"], "files": [{"name": "f", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]}
    assert api.call("offerModel", trial["id"], body=offer)["files"] == [{"name": "f", "received": 0}]
    response = server.request("PUT", f"/v1/trials/{trial['id']}/model/file?name=f", data=data, expect=200,
                              headers={"Content-Type": "application/octet-stream", "Lease": trial["lease"]})
    api.validator.assert_valid(response.json(), api.by_id["putModelPiece"][2]["responses"]["200"]["content"]["application/json"]["schema"])
    api.seen.add("putModelPiece")
    deadline = time.monotonic() + PATIENCE_S
    while api.call("offerModel", trial["id"], body=offer)["state"] != "kept":
        assert time.monotonic() < deadline
    assert api.call("getModel", trial["id"])["files"] == offer["files"]
    assert len(api.call("listModels", sweep)["items"]) == 1
    assert api.call("getModelFile", trial["id"], "?name=f") == data.decode()


def test_answers_fit_their_schemas(server, contract):
    api = Checked(server, contract)
    spec = {"name": "life", "method": "random", "trainer": "external", "seed": 3, "run_cap": 4,
            "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"min": 0.0, "max": 1.0}, "g": {"parameters": {"n": {"min": 1, "max": 9}}}}}
    sweep = api.call("createSweep", body=spec, expect=201)
    assert sweep["spec"] == spec
    worker = server.register("schema-worker", slots=2)
    api.call("listWorkers")
    items = api.call("createTrials", sweep["id"], body={"trials": [{"params": {"x": 0.5, "g": {"n": 3}}},
                                                                    {"params": {"x": 0.25, "g": {"n": 2}}, "value": 0.85}]}, expect=201)["items"]
    assert [trial["state"] for trial in items] == ["queued", "completed"]
    claimed = api.call("claim", body={"worker": worker["id"], "claim_id": "c1", "slots": 1, "wait_s": 0, "sweep": sweep["id"]})["trials"][0]
    assert claimed["id"] == items[0]["id"] and claimed["params"] == {"x": 0.5, "g": {"n": 3}}
    points = [{"name": "loss", "step": step, "value": 1 / step, "epoch": 0.5} for step in (1, 2, 4)]
    api.call("reportTrial", claimed["id"], body={"lease": claimed["lease"], "seq": 1, "metrics": points, "progress": 0.5})
    assert [p["value"] for p in api.call("listMetrics", claimed["id"], "?name=loss&limit=2")["items"]] == [1, 0.5]
    api.call("reportTrial", claimed["id"], body={"lease": claimed["lease"], "seq": 2, "outcome": {"state": "completed"}})
    assert api.call("getTrial", claimed["id"])["value"] == 0.25
    walk_a_model(api, server, claimed, sweep["id"])
    assert api.call("getBest", sweep["id"])["trial"]["id"] == claimed["id"]
    assert api.call("getBest", sweep["id"])["posterior"] is None  # no model of so few
    api.call("getImportance", sweep["id"])
    assert api.call("getSlice", sweep["id"], "?parameter=x&parameter2=g.n")["points"] == []
    second = api.call("claim", body={"worker": worker["id"], "claim_id": "c2", "wait_s": 5, "sweep": sweep["id"]})["trials"][0]
    assert second["resume"] is None and 0 <= second["params"]["x"] <= 1
    assert api.call("cancelTrial", second["id"])["state"] == "cancelled"
    assert api.call("retryTrial", second["id"])["state"] == "queued"
    assert len(api.call("listTrials", sweep["id"], "?sort=value&limit=10")["items"]) == 3
    api.call("listSweeps", query="?limit=1")
    api.call("getSweep", sweep["id"])
    api.call("exportSweep", sweep["id"])
    assert "0.85" in api.call("exportSweep", sweep["id"], "?format=csv")
    api.call("exportSweep", sweep["id"], "?format=jsonl")
    api.call("getMetrics")
    assert [lease["trial"] for lease in api.call("getState")["leases"]] == []
    assert len(api.call("getSnapshot", sweep["id"])["plan"]["trials"]) in (0, 3)
    third = api.call("claim", body={"worker": worker["id"], "claim_id": "c-expire", "wait_s": 5, "sweep": sweep["id"]})["trials"][0]
    assert [lease["trial"] for lease in api.call("getState")["leases"]] == [third["id"]]
    assert api.call("expireLease", third["id"])["state"] == "queued"
    api.call("followEvents", query="?sweep=" + sweep["id"])
    assert "<h2>Result</h2>" in api.call("reportSweep", sweep["id"])
    assert "## Result" in api.call("reportSweep", sweep["id"], "?format=md")
    assert api.call("changeSweep", sweep["id"], body={"state": "paused"})["state"] == "paused"
    assert api.call("changeSweep", sweep["id"], body={"spec": {"description": "edited"}})["spec_version"] == 2
    assert [item["what"] for item in api.call("listHistory", sweep["id"], "?limit=1000")["items"]][-1] == "edited"
    api.call("changeSweep", sweep["id"], body={"state": "cancelled"})
    api.call("claim", body={"worker": worker["id"], "claim_id": "c3", "wait_s": 0, "sweep": sweep["id"]}, expect=204)
    api.call("drainWorker", worker["id"])
    assert api.call("undrainWorker", worker["id"])["state"] == "active"
    api.call("deleteSweep", sweep["id"], expect=204)
    api.call("getAsset", "app.js")
    for operation in ("getHealth", "getReadiness", "getContract", "getPage"):
        api.call(operation)
    assert api.seen | {"registerWorker", "forgetWorker"} == set(api.by_id), "every operation was walked"


# --- the spec's schema and the server's parser agree --------------------------------------------------

METRIC = {"name": "m", "goal": "maximize"}
BASE = {"method": "random", "trainer": "external", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
GOOD = [
    BASE,
    {**BASE, "method": "bayes", "metric": METRIC, "run_cap": 3, "seed": 0, "priority": -5, "tags": ["a"], "kind": "sweep"},
    {"method": "grid", "program": "train.py", "parameters": {"x": {"values": [1, "a", None]}, "c": {"value": {"k": 1}}}},
    {"method": "ofat", "trainer": "external", "metric": METRIC, "levels": {"x": [1, 2]}, "baseline": {"x": 0}},
    {"method": "staged", "trainer": "external", "metric": METRIC, "baseline": {"x": 0},
     "parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 9}},
     "stages": [{"method": "ofat", "levels": {"x": [1]}}, {"method": "grid", "values": {"x": [1]}, "select_top": 1, "pause_after": True},
                {"method": "bayes", "run_cap": 3, "warm_start": True}, {"method": "confirm", "top_k": 2, "repeats": 3}]},
    {**BASE, "repeats": 3},
    {**BASE, "parameters": {"a": {"distribution": "log_uniform", "min": -3, "max": 0}, "b": {"distribution": "q_beta", "q": 0.1},
                            "c": {"distribution": "log_normal"}, "d": {"distribution": "inv_log_uniform_values", "min": 0.1, "max": 1},
                            "e": {"distribution": "q_normal", "mu": 3}, "f": {"parameters": {"g": {"min": 1, "max": 2}}}}},
    *({**BASE, "metric": METRIC, "early_terminate": rule} for rule in (
        {"type": "hyperband", "min_iter": 3}, {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 2.5, "strict": False}, {"type": "asha"},
        {"type": "hyperband", "min_iter": 3, "max_iter": 27, "s": 2}, {"type": "asha", "min_iter": 2, "max_iter": 20, "eta": 4},
        {"type": "median", "min_iter": 3, "min_trials": 1}, {"type": "curve", "min_iter": 1, "min_trials": 9, "threshold": 0.1})),
    {**BASE, "parameters": {"a": {"min": 0.0, "max": 1}, "b": {"min": 0.0, "max": 1}, "o": {"values": [1, 2]}}, "tie": [["a", "b"]],
     "conditions": [{"parameter": "o", "when": {"a": [0.5]}}], "constraints": [{"terms": {"a": 1, "b": -2}, "max": 1.5}],
     "warm_start": [{"params": {"a": 0.5, "o": 1}, "value": 3}]},
]
BAD = [
    {**BASE, "method": "custom"}, {**BASE, "colour": 1}, {**BASE, "run_cap": 0}, {**BASE, "run_cap": 1.5}, {**BASE, "seed": -1},
    {**BASE, "parameters": {}}, {**BASE, "parameters": {"x": {}}}, {**BASE, "parameters": {"x": 3}}, {**BASE, "parameters": {"9x": {"value": 1}}},
    {**BASE, "parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}},
    {**BASE, "parameters": {"x": {"distribution": "beta", "a": 0}}}, {**BASE, "parameters": {"x": {"values": []}}},
    {**BASE, "method": "bayes"}, {**BASE, "metric": {"goal": "minimize"}}, {**BASE, "metric": {"name": "m", "goal": "up"}},
    {"method": "random", "parameters": {"x": {"value": 1}}}, {"method": "staged", "trainer": "external", "metric": METRIC},
    {**BASE, "levels": {"x": [1]}}, {**BASE, "early_terminate": {"type": "hyperband", "min_iter": 3}}, {**BASE, "repeats": 0}, {**BASE, "method": "confirm"},
    *({**BASE, "metric": METRIC, "early_terminate": rule} for rule in (
        {}, {"type": "envelope"}, {"type": "hyperband"}, {"type": "hyperband", "max_iter": 9}, {"type": "hyperband", "min_iter": 1, "s": 2},
        {"type": "hyperband", "min_iter": 1, "eta": 1}, {"type": "asha", "s": 2}, {"type": "median", "min_trials": 0},
        {"type": "curve", "threshold": 1.5})),
    {**BASE, "tie": [["x"]]}, {**BASE, "conditions": [{"parameter": "x"}]}, {**BASE, "constraints": [{"terms": {"x": 1}}]},
    {**BASE, "warm_start": True}, {**BASE, "warm_start": {"top": 3}},
    {**BASE, "kind": "job"}, {**BASE, "max_hours": 0}, {**BASE, "priority": 1001},
]


@pytest.mark.parametrize("spec", GOOD)
def test_specs_that_the_schema_accepts_are_created(server, contract, spec):
    Validator(contract).assert_valid(spec, {"$ref": "#/components/schemas/SweepSpec"})
    sweep = server.post("/v1/sweeps", spec, expect=201)
    assert sweep["spec"] == spec
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


@pytest.mark.parametrize("spec", BAD)
def test_specs_that_the_schema_refuses_are_422(server, contract, spec):
    assert Validator(contract).errors(spec, {"$ref": "#/components/schemas/SweepSpec"})
    response = server.request("POST", "/v1/sweeps", spec)
    assert response.status_code == 422
    check_problem(contract, response)
    assert response.json()["errors"]
