"""The wire contract under stress: requests that a machine mangled, crashes at any moment, clients that race each other."""
import copy
import http.client
import json
import random
import re
import threading
import time

import pytest
import requests
from daemon import SANITIZED, Daemon
from study import Study, fresh, pages

pytestmark = pytest.mark.coordinator
ODDITIES = [None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324, "", "x", "x" * 5000, "a\u0000b", "\ud83d\ude00",
            "../../etc/passwd", "' OR 1=1 --", [], {}, [[]], [None], {"": None}, {"a": {"b": {"c": [1, {"d": []}]}}}, [1] * 300]
RAW = [b"", b"{", b"null", b"[]", b'"x"', b"{\"a\":1,\"a\":2}", b"{\"a\":NaN}", b"\xff\xfe{}", b"{}{}", b"[" * 5000, b"{\"x\":1e999}", b"{\"a\":\"\xc3\"}"]


# --- mangled requests ---------------------------------------------------------------------------------

SPECS = [
    {"name": "f", "method": "bayes", "trainer": "external", "run_cap": 5, "seed": 1, "metric": {"name": "loss", "goal": "minimize", "target": -1},
     "parameters": {"x": {"min": 0.0, "max": 1.0}, "c": {"values": ["a", "b"], "probabilities": [0.5, 0.5]}, "g": {"parameters": {"n": {"min": 1, "max": 9}}}}},
    {"method": "grid", "program": "t.py", "command": ["${args}"], "parameters": {"a": {"values": [1, 2]}, "q": {"distribution": "q_uniform", "min": 0, "max": 9, "q": 3}}},
    {"method": "staged", "trainer": "external", "metric": {"name": "loss"}, "baseline": {"a": 0.5, "b": 0.5}, "max_attempts": 2, "parallelism": 3,
     "parameters": {"a": {"min": 0.0, "max": 1.0}, "b": {"distribution": "log_uniform_values", "min": 0.1, "max": 1}}, "fixed": {"epochs": 3},
     "stages": [{"method": "ofat", "levels": {"a": [0.1, 0.9], "b": [0.2]}}, {"method": "grid", "select_top": 1, "values": {"a": [0.2]}, "pause_after": True},
                {"method": "bayes", "select_top": 2, "run_cap": 3, "warm_start": True}]},
]


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


def mangled(rng, body):
    """A copy with one to three random changes: a value replaced, a member dropped, added, renamed or doubled."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice((1, 1, 2, 3))):
        paths = [path for path in places(body) if path]
        if not paths:
            return body
        path = rng.choice(paths)
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        what = rng.randrange(6)
        if what == 0:
            del parent[path[-1]]
        elif what == 1 and isinstance(parent, dict):
            parent[rng.choice(["colour", "", "min", "value", "x" * 300, "parameters", "state"])] = copy.deepcopy(rng.choice(ODDITIES))
        elif what == 2 and isinstance(parent, dict):
            parent[str(path[-1]) + rng.choice(["", "x", ".", "/", "~0"])] = parent.pop(path[-1])
        elif what == 3 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        elif what == 4 and isinstance(parent[path[-1]], (int, float)):
            parent[path[-1]] = rng.choice([parent[path[-1]] * 10, -parent[path[-1]], parent[path[-1]] + 0.5, rng.uniform(-2, 2), rng.randrange(-5, 5)])
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(ODDITIES))
    return body


class Fuzzer:
    """Sends mangled requests of every route over one connection and holds each answer to the contract."""

    def __init__(self, server, seed):
        self.server, self.rng = server, random.Random(seed)
        self.statuses = {}
        self.connect()
        self.renew()

    def connect(self):
        self.connection = http.client.HTTPConnection(self.server.url.split("//")[1], timeout=30)

    def renew(self):
        """Things to aim at."""
        self.study = Study(self.server, run_cap=None, baseline={"x": 0.5, "n": 3})
        self.study.enqueue({"x": 0.5, "n": 2})
        self.trial, self.other = self.study.claim_many(2)

    def templates(self):
        study, trial = self.study, self.trial
        point = {"name": "loss", "step": 3, "epoch": 0.5, "value": 0.5, "time": "2024-01-02T03:04:05.678Z"}
        return [
            *(("POST", "/v1/sweeps", spec) for spec in SPECS), ("PATCH", study.path, {"state": "running", "run_cap": 99, "priority": 1}),
            ("POST", study.path + "/trials", {"params": {"x": 0.25, "n": 2}, "value": 0.5}),
            ("POST", study.path + "/trials", {"trials": [{"params": {"x": 0.25}}, {"params": {"n": 2}, "value": 1}]}),
            ("POST", f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": self.rng.randrange(1, 10**6), "metrics": [point], "progress": 0.5,
                                                          "outcome": None}),
            ("POST", f"/v1/trials/{self.other['id']}/report", {"lease": self.other["lease"], "seq": self.rng.randrange(1, 10**6),
                                                               "outcome": {"state": "failed", "reason": "crashed", "detail": "d"}}),
            ("POST", f"/v1/trials/{self.other['id']}/report", {"lease": self.other["lease"], "seq": 9, "outcome": {"state": "released", "resume": {"a": 1}}}),
            ("POST", f"/v1/trials/{trial['id']}/cancel", {}), ("POST", f"/v1/trials/{trial['id']}/retry", {}),
            ("POST", "/v1/workers", {"name": "fuzz", "instance": "i", "slots": 2, "trainers": ["external", "command:x"], "model": {"name": "m", "sha256": "a" * 64},
                                     "data": {"sha256": "b" * 64}, "facts": {"build": "b", "threads": 2}}),
            ("POST", f"/v1/workers/{study.worker}/drain", {}),
            ("POST", "/v1/claims", {"worker": study.worker, "claim_id": fresh(), "slots": 2, "wait_s": 0, "sweep": study.id}),
            ("GET", self.rng.choice(["/v1/sweeps", study.path + "/trials", f"/v1/trials/{trial['id']}/metrics", "/v1/workers", study.path + "/export", study.path,
                                     study.path + "/best", f"/v1/trials/{trial['id']}"]), None),
        ]

    def request(self):
        rng = self.rng
        method, path, body = rng.choice(self.templates())
        if method == "GET":
            names = ["limit", "after", "state", "sort", "name", "format", "colour"]
            values = ["1", "0", "x", "", "%00", "%ff", "value", "-value", "queued", "csv", "999999999999999999999", "a" * 3000, "..", "%2e%2e", "loss", "1.5"]
            query = "&".join(f"{rng.choice(names)}={rng.choice(values)}" for _ in range(rng.randrange(3)))
            return method, path + ("?" + query if query else ""), None
        if rng.random() < 0.03:
            path = path.replace("/v1", rng.choice(["/v1/", "/V1", "/v1/v1", "", "/%76%31", "/v1/%2e%2e"]))
        if rng.random() < 0.02:
            method = rng.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
            return method, path, None
        if rng.random() < 0.03:
            return method, path, rng.choice(RAW)
        return method, path, json.dumps(mangled(rng, body), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")

    def once(self):
        method, path, body = self.request()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.rng.random() < 0.1:
            headers["Idempotency-Key"] = self.rng.choice(["k", "", "k" * 300, "\u00e9", "a b"]).encode("latin-1")
        said = f"{method} {path} {body!r}"
        if waits(body):
            return
        try:
            self.connection.request(method, path, body=body, headers=headers)
            response = self.connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, ConnectionError) as failure:
            assert self.server.process.poll() is None, f"the daemon died of {said}"
            raise AssertionError(f"{said}: {failure!r}")
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        assert response.status < 500, f"{said}: {response.status} {content!r}"
        kind = response.headers["Content-Type"]
        if response.status >= 400:
            assert kind == "application/problem+json", said
            problem = json.loads(content)
            assert problem["status"] == response.status and problem["title"] and problem["detail"], said
        elif kind == "application/json":
            assert isinstance(json.loads(content), dict), said
        if response.headers.get("Connection") == "close":
            self.connect()


def waits(body):
    """Whether a claim would rightly take its time."""
    found = re.search(rb'"wait_s": ([0-9.e+-]+)', body or b"")
    return bool(found) and 0 < float(found.group(1)) <= 60


def test_no_mangled_request_is_the_servers_fault(tmp_path):
    with Daemon(tmp_path, "--log-level", "error") as server:
        fuzzer = Fuzzer(server, 20240607)
        deadline = time.monotonic() + (60 if SANITIZED else 15)
        for i in range(3000):
            if i % 100 == 99:
                fuzzer.renew()
            fuzzer.once()
            if time.monotonic() > deadline:
                break
        assert i > 300 and fuzzer.statuses.get(422, 0) > i / 4 and any(fuzzer.statuses.get(status) for status in (200, 201))
        fuzzer.connection.close()
        for _ in range(2):  # what it left is whole, also when read from disk
            for sweep in pages(server, "/v1/sweeps", 100):
                trials = pages(server, f"/v1/sweeps/{sweep['id']}/trials", 1000)
                assert sum(sweep["counts"].values()) == len(trials)
            assert server.request("GET", "/v1/workers?limit=1000").status_code == 200
            server.restart()


def test_every_accepted_spec_can_be_worked_on(tmp_path):
    """Specs that a machine mangled and the server accepted all the same: their trials can be claimed and ended."""
    rng = random.Random(7)
    with Daemon(tmp_path, "--log-level", "error") as server:
        worker = server.register(trainers=["external", "command:t.py", "command", "distilbert-mrpc"])["id"]
        accepted = 0
        deadline = time.monotonic() + (30 if SANITIZED else 6)
        while time.monotonic() < deadline and accepted < 60:
            response = server.request("POST", "/v1/sweeps", mangled(rng, rng.choice(SPECS)))
            assert response.status_code in (201, 422), response.text
            if response.status_code == 422:
                continue
            accepted += 1
            sweep = response.json()
            for seq in range(1, 4):
                trials = server.claim(worker, fresh(), sweep=sweep["id"], slots=5)
                for trial in trials:
                    server.report(trial, 1, outcome={"state": "completed", "value": rng.uniform(-1, 1)})
            assert server.get(f"/v1/sweeps/{sweep['id']}")["state"] in ("running", "finished", "paused"), sweep["spec"]
            server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})
        assert accepted > 5


# --- crashes ------------------------------------------------------------------------------------------

class Writer(threading.Thread):
    """A client that writes as fast as it can and remembers what was acknowledged."""

    def __init__(self, server, sweep, number, numbers):
        super().__init__()
        self.url, self.sweep, self.number, self.numbers = server.url, sweep, number, numbers
        self.session = requests.Session()
        self.session.trust_env = False
        self.created, self.enqueued, self.claimed, self.reported, self.workers = [], [], [], [], []

    def post(self, path, body, **headers):
        response = self.session.post(self.url + path, json=body, headers=headers, timeout=30)
        assert response.status_code < 500, response.text
        return response

    def run(self):
        try:
            while True:
                self.round(f"{self.number}-{next(self.numbers)}")
        except requests.RequestException:
            pass  # the crash that the test is about

    def round(self, key):
        registration = {"name": f"w{key}", "slots": 1, "trainers": ["external"], "instance": key}
        worker = self.post("/v1/workers", registration).json()["id"]
        self.workers.append((registration, worker))
        spec = {"method": "random", "trainer": "external", "seed": 1, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
        self.created.append((key, spec, self.post("/v1/sweeps", spec, **{"Idempotency-Key": key}).content))
        body = {"params": {"x": 0.5, "n": 1}}
        self.enqueued.append((key, body, self.post(f"/v1/sweeps/{self.sweep}/trials", body, **{"Idempotency-Key": key}).content))
        claim = {"worker": worker, "claim_id": key, "wait_s": 0, "sweep": self.sweep}
        answer = self.post("/v1/claims", claim)
        self.claimed.append((claim, answer.json()))
        trial = answer.json()["trials"][0]
        report = {"lease": trial["lease"], "seq": 1, "metrics": [{"name": "loss", "step": 1, "value": 0.1 * self.number}]}
        self.reported.append((trial, report, self.post(f"/v1/trials/{trial['id']}/report", report).json()))
        report = {"lease": trial["lease"], "seq": 2, "outcome": {"state": "completed", "value": 0.1 * self.number}}
        self.reported.append((trial, report, self.post(f"/v1/trials/{trial['id']}/report", report).json()))


def check(server, writer):
    """All that was acknowledged is there, and every retry gets its first answer."""
    for registration, id in writer.workers[-3:]:
        assert server.register(**registration)["id"] == id
    for path, kept in (("/v1/sweeps", writer.created), (f"/v1/sweeps/{writer.sweep}/trials", writer.enqueued)):
        for key, body, content in kept[-3:]:
            assert server.request("POST", path, body, headers={"Idempotency-Key": key}, expect=201).content == content
    for claim, answer in writer.claimed[-3:]:
        assert server.request("POST", "/v1/claims", claim, expect=200).json() == answer
    for trial, report, answer in writer.reported[-4:]:
        response = server.request("POST", f"/v1/trials/{trial['id']}/report", report, expect=200)
        assert response.json() == answer
    for trial, report, _ in writer.reported:
        if report.get("outcome"):
            shown = server.get(f"/v1/trials/{trial['id']}")
            assert (shown["state"], shown["value"], shown["attempt"]) == ("completed", 0.1 * writer.number, 1)
            assert len(server.get(f"/v1/trials/{trial['id']}/metrics")["items"]) == 1


def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path):
    rng, counter = random.Random(3), iter(range(10**9))
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(run_cap=None)["id"]
        for _ in range(4):
            writers = [Writer(server, sweep, number, counter) for number in (1, 2, 3)]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.3, 1) * (4 if SANITIZED else 1))
            server.kill()
            for writer in writers:
                writer.join()
            server.start()
            assert any(writer.reported for writer in writers)
            for writer in writers:
                check(server, writer)
            sweeps = {one["id"] for one in pages(server, "/v1/sweeps", 1000)}
            assert all(json.loads(content)["id"] in sweeps for writer in writers for _, _, content in writer.created)
            trials = {one["id"] for one in pages(server, f"/v1/sweeps/{sweep}/trials", 1000)}
            assert all(json.loads(content)["items"][0]["id"] in trials for writer in writers for _, _, content in writer.enqueued)


def test_states_and_leases_survive_a_kill(tmp_path):
    with Daemon(tmp_path) as server:
        paused, cancelled, finished = Study(server), Study(server), Study(server, run_cap=1)
        running, released = paused.claim(), paused.claim()
        paused.report(running, 3, metrics=[{"name": "loss", "step": 1, "value": 0.85}])
        paused.end(released, "released", resume={"step": 41})
        paused.change(state="paused", run_cap=7, priority=3)
        aborted = cancelled.claim()
        cancelled.change(state="cancelled")
        finished.end(finished.claim(), value=0.5)
        drained = server.register("drained")["id"]
        server.post(f"/v1/workers/{drained}/drain")
        before = [study.show() for study in (paused, cancelled, finished)]
        after = server.get("/v1/sweeps?limit=1")["next"]
        server.restart(crash=True)
        assert [study.show() for study in (paused, cancelled, finished)] == before
        assert server.get("/v1/sweeps", params={"after": after})["items"] == before[1:], "a cursor outlives the process"
        assert paused.report(running, 3) == {"command": "continue", "lease_s": 60}
        assert paused.report(running, 4)["command"] == "continue"
        assert cancelled.report(aborted, 1)["command"] == "abort"
        paused.change(state="running")
        again = paused.claim()
        assert (again["id"], again["resume"]) == (released["id"], {"step": 41})
        states = {worker["name"]: worker["state"] for worker in server.get("/v1/workers")["items"]}
        assert states["drained"] == "draining"


def test_leases_of_dead_workers_end_after_a_crash_of_the_server(tmp_path):
    with Daemon(tmp_path, "--lease-s", 1) as server:
        study = Study(server)
        trial = study.claim()
        server.restart(crash=True)
        server.wait_until(f"/v1/trials/{trial['id']}", lambda shown: shown["state"] == "queued")
        assert study.claim()["attempt"] == 2


# --- races --------------------------------------------------------------------------------------------

def together(n, act):
    """What n threads got that did the same at once."""
    results, barrier = [], threading.Barrier(n)

    def one(i):
        with requests.Session() as session:
            session.trust_env = False
            barrier.wait()
            results.append(act(session, i))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("races")) as daemon:
        yield daemon


def test_one_key_sent_by_many_creates_once(server):
    study = Study(server)
    body = {"params": {"x": 0.5, "n": 1}}
    answers = together(8, lambda session, i: session.post(f"{server.url}{study.path}/trials", json=body, headers={"Idempotency-Key": "race"}, timeout=30))
    assert {answer.status_code for answer in answers} == {201} and len({answer.content for answer in answers}) == 1
    assert len(study.trials()) == 1


def test_one_claim_id_sent_by_many_claims_once(server):
    study = Study(server)
    body = {"worker": study.worker, "claim_id": fresh(), "wait_s": 0, "slots": 2, "sweep": study.id}
    answers = together(8, lambda session, i: session.post(f"{server.url}/v1/claims", json=body, timeout=30))
    assert {answer.status_code for answer in answers} == {200} and len({answer.content for answer in answers}) == 1
    assert study.counts() == {"running": 2}


def test_a_claim_repeated_while_the_first_still_waits_claims_once(server):
    study = Study(server)
    study.change(state="paused")
    body = {"worker": study.worker, "claim_id": fresh(), "wait_s": 20, "sweep": study.id}

    def act(session, i):
        if i == 2:
            time.sleep(0.4)
            return study.change(state="running")
        return session.post(f"{server.url}/v1/claims", json=body, timeout=60)

    answers = [answer for answer in together(3, act) if not isinstance(answer, dict)]
    assert [answer.status_code for answer in answers] == [200, 200] and answers[0].json() == answers[1].json()
    assert study.counts() == {"running": 1}


def test_many_workers_never_share_a_trial(server):
    study = Study(server, run_cap=40)
    workers = [server.register(fresh("racer"))["id"] for _ in range(8)]

    def act(session, i):
        seen = []
        while True:
            body = {"worker": workers[i], "claim_id": fresh(), "wait_s": 0, "slots": 2, "sweep": study.id}
            response = session.post(f"{server.url}/v1/claims", json=body, timeout=30)
            if response.status_code == 204:
                return seen
            seen += [trial["id"] for trial in response.json()["trials"]]

    claimed = [id for seen in together(8, act) for id in seen]
    assert len(claimed) == len(set(claimed)) == 40 and study.counts() == {"running": 40}


def test_one_report_sent_by_many_counts_once(server):
    study = Study(server, max_attempts=5)
    trial = study.claim()
    body = {"lease": trial["lease"], "seq": 1, "outcome": {"state": "failed", "reason": "crashed"}}
    answers = together(8, lambda session, i: session.post(f"{server.url}/v1/trials/{trial['id']}/report", json=body, timeout=30))
    assert {answer.status_code for answer in answers} == {200} and len({answer.content for answer in answers}) == 1
    assert study.trial(trial)["state"] == "queued" and study.claim()["attempt"] == 2
