"""Clients of the HTTP API that retry until they are answered, and the book of everything that was acknowledged."""
import collections
import http.client
import json
import random
import threading
import time

CALL_TIMEOUT_S = 4


class Over(Exception):
    """The round has ended before an answer came."""


def value_of(params):
    """What a configuration is worth: the same for everybody and every time."""
    total = 0.0
    for name in sorted(params):
        total += (params[name] - 0.3) ** 2 * (1 + len(name) % 3)
    return round(total, 12)


class Book:
    """What the server has acknowledged. Faults are sentences."""

    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []
        self.sweeps = {}                # name → id
        self.in_order = set()           # ids of sweeps in which no trial may be overtaken by another
        self.enqueued = {}              # trial id → params
        self.leases = {}                # lease → (trial id, attempt, worker, claim id)
        self.attempts = {}              # (trial id, attempt) → lease
        self.trials = {}                # trial id → (sweep, number, params, seed)
        self.points = {}                # (trial id, name, step) → value
        self.ends = collections.defaultdict(list)  # trial id → [(attempt, state, value)]
        self.n_acknowledged = 0
        self.statuses = collections.Counter()
        self.over = threading.Event()

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def claimed(self, worker, claim_id, trial):
        key = trial["id"], trial["attempt"]
        mine = (*key, worker, claim_id)
        fixed = trial["sweep"], trial["number"], json.dumps(trial["params"], sort_keys=True), trial["seed"]
        with self.lock:
            if self.leases.setdefault(trial["lease"], mine) != mine or self.attempts.setdefault(key, trial["lease"]) != trial["lease"]:
                self.faults.append(f"handed out twice: {mine} and {self.leases[trial['lease']]}, lease {self.attempts[key]}")
            if self.trials.setdefault(trial["id"], fixed) != fixed:
                self.faults.append(f"trial {trial['id']} was {self.trials[trial['id']]} and is {fixed}")

    def reported(self, trial, metrics, outcome):
        with self.lock:
            for point in metrics:
                self.points[trial["id"], point["name"], point["step"]] = point["value"]
            if outcome and outcome["state"] != "released":
                self.ends[trial["id"]].append((trial["attempt"], outcome["state"], outcome.get("value")))


class Client:
    """One connection at a time, retries for ever."""

    def __init__(self, url, book):
        self.host, self.book = url.split("//")[1], book

    def once(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=CALL_TIMEOUT_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})} if text else headers or {})
            response = connection.getresponse()
            data = response.read()
            if response.status != 204 and not data:
                raise ValueError("the answer was cut in its head")
            return response.status, json.loads(data) if data else None
        finally:
            connection.close()

    def call(self, method, path, body=None, headers=None):
        """Status and answer; what was not answered, or with 429 or 503, is sent again."""
        while not self.book.over.is_set():
            try:
                status, answer = self.once(method, path, body, headers)
            except (OSError, http.client.HTTPException, ValueError):
                self.book.over.wait(0.03)
                continue
            with self.book.lock:
                self.book.statuses[status] += 1
                self.book.n_acknowledged += method != "GET" and status < 300
            if status in (429, 503):
                self.book.over.wait(0.05)
                continue
            if status >= 500:
                self.book.fault(f"{method} {path}: {status} {answer}")
            return status, answer
        raise Over


class Creator(Client):
    """Makes the sweeps, and puts trials into one of them."""

    def create(self, specs, key):
        for spec in specs:
            status, sweep = self.call("POST", "/v1/sweeps", spec, {"Idempotency-Key": f"{key} {spec['name']}"})
            if status != 201:
                raise AssertionError(f"{spec['name']}: {status} {sweep}")
            self.book.sweeps[spec["name"]] = sweep["id"]
            if "parallelism" in spec:
                self.book.in_order.add(sweep["id"])

    def enqueue(self, name, n, draw):
        try:
            for i in range(n):
                params = {"x": round(0.001 * (i + 1), 3), "y": 0.5}
                status, answer = self.call("POST", f"/v1/sweeps/{self.book.sweeps[name]}/trials", {"params": params}, {"Idempotency-Key": f"q{i}"})
                if status != 201:
                    self.book.fault(f"enqueueing: {status} {answer}")
                    return
                for trial in answer["items"]:
                    self.book.enqueued[trial["id"]] = params
                self.book.over.wait(draw.uniform(0, 0.3))
        except Over:
            pass


class Worker(Client):
    """Claims, reports, ends; now and then gives back, forgets a trial, or says everything twice."""

    def __init__(self, url, book, name, seed, calm=False, pace_s=0.0):
        super().__init__(url, book)
        self.name, self.draw, self.calm, self.pace_s, self.n_claims = name, random.Random(f"{seed} {name}"), calm, pace_s, 0

    def run(self):
        try:
            status, answer = self.call("POST", "/v1/workers", {"name": self.name, "instance": self.name, "slots": 2, "trainers": ["external"]})
            if status not in (200, 201):
                self.book.fault(f"registering {self.name}: {status} {answer}")
                return
            while not self.book.over.is_set():
                self.claim(answer["id"])
        except Over:
            pass
        except Exception as fault:
            self.book.fault(f"{self.name}: {fault!r}")
            raise

    def claim(self, worker):
        self.n_claims += 1
        claim_id = f"{self.name}-{self.n_claims}"
        status, answer = self.call("POST", "/v1/claims", {"worker": worker, "claim_id": claim_id, "slots": 1 if self.calm else self.draw.randint(1, 2),
                                                         "wait_s": 0.5})
        if status == 204:
            self.book.over.wait(0.02)
            return
        if status != 200:
            self.book.fault(f"claim {claim_id}: {status} {answer}")
            return
        for trial in answer["trials"]:
            self.book.claimed(worker, claim_id, trial)
        for trial in answer["trials"]:
            self.evaluate(trial)

    def evaluate(self, trial):
        mood = None if self.calm else self.draw.choices((None, "forgets", "gives back", "twice"), (80, 4, 6, 10))[0]
        if mood == "gives back" and trial["sweep"] in self.book.in_order:  # while it waits for us others get the next proposal
            mood = None
        value, seq = value_of(trial["params"]), 0
        for step in range(3):
            seq += 1
            if not self.report(trial, seq, [{"name": "loss", "step": step, "value": value + 3 - step}], None, mood == "twice"):
                return
            if mood == "forgets":
                return
            self.book.over.wait(self.pace_s * self.draw.random())
        outcome = {"state": "released", "resume": {"from": 3}} if mood == "gives back" else {"state": "completed", "value": value}
        self.report(trial, seq + 1, [], outcome, mood == "twice")

    def report(self, trial, seq, metrics, outcome, twice):
        """False when the lease is over."""
        path, body = f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": seq, "metrics": metrics, "outcome": outcome}
        status, answer = self.call("POST", path, body)
        if status == 409:
            return False
        if status != 200:
            self.book.fault(f"report {path} {body}: {status} {answer}")
            return False
        self.book.reported(trial, metrics, outcome)
        if twice:
            again, answer_again = self.call("POST", path, body)
            if (again, answer_again) != (200, answer) and again != 409:
                self.book.fault(f"report {path} {body} said again: {again} {answer_again}, first {answer}")
        return True
