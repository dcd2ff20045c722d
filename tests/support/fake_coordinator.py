"""A coordinator for tests of workers, written from the wire contract alone: hands out the trials that a test adds, holds
workers to the rules, records everything, and can drop, delay, refuse or double what passes through it.

    with FakeCoordinator() as server:
        trial = server.add_trial({"lr": 0.1})
        ...
        server.fault("claim", "drop_answer")
        server.wait_for(lambda: trial.state == "completed")

A broken rule of the contract is kept in `violations`; leaving the `with` block raises it.
"""
import http.server
import json
import re
import secrets
import socket
import ssl
import threading
import time

PATIENCE_S = 30
REGISTRATION_KEYS = {"name", "instance", "slots", "trainers", "model", "data", "facts", "unfit"}
CLAIM_KEYS = {"worker", "claim_id", "slots", "wait_s", "sweep"}
REPORT_KEYS = {"lease", "seq", "metrics", "progress", "outcome"}
POINT_KEYS = {"name", "step", "epoch", "value", "time"}
OUTCOME_KEYS = {"completed": {"value"}, "stopped": {"value"}, "failed": {"reason", "detail"}, "released": {"resume"}}
REASONS = {"crashed", "out_of_memory", "io", "timeout", "bad_checkpoint", "diverged", "bad_config", "bad_model", "bad_data", "no_metric"}


class Trial:
    def __init__(self, number, params, members):
        self.id = f"t_{secrets.token_hex(4)}"
        self.number = number
        self.params = params
        self.members = {"sweep": "s_fake", "trainer": "distilbert-mrpc", "fixed": {}, "seed": 7, **members}
        self.state = "queued"
        self.attempt = 0
        self.lease = None
        self.lease_s = 60
        self.worker = None
        self.resume = None
        self.command = "continue"
        self.last_seq = 0
        self.last_answer = None
        self.outcome = None
        self.reports = []  # accepted bodies, in order
        self.points = {}  # (name, step): value

    def claimed(self):
        return {"id": self.id, "number": self.number, "attempt": self.attempt, "lease": self.lease, "lease_s": self.lease_s,
                "params": self.params, "resume": self.resume, **self.members}

    def seqs(self):
        return [body["seq"] for body in self.reports]


class FakeCoordinator:
    def __init__(self, token=None, port=0, certificate=None):
        self.token = token
        self.certificate = certificate  # (certificate, key): speaks https
        self.lock = threading.Condition()
        self.trials = []
        self.workers = {}  # name: {"id", "instance", "body"}
        self.claims = {}  # (worker, claim_id): answer
        self.calls = []  # (route, body), as they arrived
        self.moments = []  # (route, when), as they arrived
        self.statuses = []  # (route, status)
        self.faults = {}  # route: [fault, …]
        self.violations = []
        self.quarantine = None  # why no worker gets trials
        self.closing = False
        self.port = port
        self.server = None
        self.start()

    # --- life ----------------------------------------------------------------------------------------

    def start(self):
        handler = type("Handler", (_Handler,), {"coordinator": self})
        self.server = _Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.closing = False
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        """Goes away as a killed process does: open connections are cut. start() comes back on the same port."""
        with self.lock:
            self.closing = True
            self.lock.notify_all()
        self.server.shutdown()
        self.server.cut()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if not self.closing:
            self.stop()
        if self.violations and kind is None:
            raise AssertionError(self.violations)

    # --- what a test does ----------------------------------------------------------------------------

    def add_trial(self, params=None, **members):
        """Queues a trial; members: trainer, fixed, metric, program, seed, sweep, lease_s."""
        lease_s = members.pop("lease_s", 60)
        with self.lock:
            trial = Trial(len(self.trials) + 1, params or {}, members)
            trial.lease_s = lease_s
            self.trials.append(trial)
            self.lock.notify_all()
        return trial

    def fault(self, route, kind, times=1, **options):
        """kind: drop_request, drop_answer, twice, delay (seconds=), status (status=, retry_after=). route: register, claim, report."""
        with self.lock:
            self.faults.setdefault(route, []).extend([(kind, options)] * times)

    def take_lease(self, trial):
        """The lease expires: the trial waits again."""
        with self.lock:
            trial.state, trial.lease = "queued", None
            self.lock.notify_all()

    def wait_for(self, condition, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        with self.lock:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    states = [(t.id, t.state, t.outcome) for t in self.trials]
                    raise AssertionError(f"never happened; trials {states}, last calls {self.calls[-5:]}")
                self.lock.wait(min(left, 0.1))

    def count(self, route):
        return sum(1 for name, _ in self.calls if name == route)

    # --- the rules -----------------------------------------------------------------------------------

    def check(self, good, text):
        if not good:
            self.violations.append(text)
        return good

    def check_keys(self, body, allowed, where):
        return self.check(set(body) <= allowed, f"{where}: unknown keys {sorted(set(body) - allowed)}")

    def register(self, body):
        good = self.check_keys(body, REGISTRATION_KEYS, "registration") and self.check({"name", "slots", "trainers"} <= set(body), "registration: keys missing")
        if not good:
            return 422, None
        worker = self.workers.setdefault(body["name"], {"id": f"w_{secrets.token_hex(4)}", "instance": None})
        if worker["instance"] not in (None, body.get("instance")):
            for trial in self.trials:
                if trial.worker == worker["id"] and trial.state == "running":
                    trial.state, trial.lease = "queued", None
        worker.update(instance=body.get("instance"), body=body)
        return 200, {"id": worker["id"], "lease_s": 60, "quarantine": {"why": self.quarantine} if self.quarantine else None}

    def claim(self, body):
        self.check_keys(body, CLAIM_KEYS, "claim")
        if body["worker"] not in [w["id"] for w in self.workers.values()]:
            return 404, None
        key = (body["worker"], body["claim_id"])
        deadline = time.monotonic() + body.get("wait_s", 0)
        while key not in self.claims:
            queued = [t for t in self.trials if t.state == "queued" and not self.quarantine][: body.get("slots", 1)]
            if queued:
                for trial in queued:
                    trial.attempt += 1
                    trial.state, trial.worker, trial.lease = "running", body["worker"], secrets.token_hex(8)
                    trial.last_seq, trial.command = 0, "continue"
                self.claims[key] = {"trials": [t.claimed() for t in queued]}
                break
            left = deadline - time.monotonic()
            if left <= 0 or self.quarantine:
                return 204, None
            if self.closing:
                return None, None
            self.lock.wait(min(left, 0.1))
        return 200, self.claims[key]

    def report(self, trial_id, body):
        trial = next((t for t in self.trials if t.id == trial_id), None)
        if not trial:
            return 404, None
        if not self.check_keys(body, REPORT_KEYS, "report") or not self.check(isinstance(body.get("seq"), int) and body["seq"] >= 1, "report: bad seq"):
            return 422, None
        self.check(len(body.get("metrics", [])) <= 1000, "report: too many points")
        if body["lease"] != trial.lease:
            return 409, {"detail": "another one has the trial by now"}
        if body["seq"] <= trial.last_seq:
            return 200, trial.last_answer
        if trial.state != "running":
            return 409, None
        for point in body.get("metrics", []):
            self.check_keys(point, POINT_KEYS, "point")
            trial.points[point["name"], point["step"]] = point["value"]
        answer = {"command": trial.command, "lease_s": trial.lease_s}
        trial.reports.append(body)
        trial.last_seq, trial.last_answer = body["seq"], answer
        self.take_outcome(trial, body.get("outcome"))
        return 200, answer

    def take_outcome(self, trial, outcome):
        if not outcome:
            return
        allowed = OUTCOME_KEYS.get(outcome.get("state"))
        if self.check(allowed is not None, f"outcome: {outcome}"):
            self.check_keys(outcome, allowed | {"state"}, "outcome")
            self.check(outcome["state"] != "failed" or outcome.get("reason") in REASONS, f"outcome: {outcome}")
            self.check(len(outcome.get("detail", "").encode()) <= 16384, "outcome: detail too long")
            trial.outcome = outcome
            trial.resume = outcome.get("resume")
            trial.state = "released" if outcome["state"] == "released" else outcome["state"]

    # --- the transport -------------------------------------------------------------------------------

    def take_fault(self, route):
        waiting = self.faults.get(route)
        return waiting.pop(0) if waiting else (None, {})

    def handle(self, handler, route, trial_id, body):
        with self.lock:
            self.calls.append((route, body))
            self.moments.append((route, time.monotonic()))
            kind, options = self.take_fault(route)
            self.lock.notify_all()
        if kind == "delay":
            time.sleep(options["seconds"])
        if kind == "drop_request":
            return handler.cut()
        if kind == "status":
            return handler.answer(options["status"], {"type": "about:blank", "title": "no", "status": options["status"], "detail": "a test says so"},
                                  options.get("retry_after"))
        with self.lock:
            call = {"register": self.register, "claim": self.claim}.get(route) or (lambda b: self.report(trial_id, b))
            status, answer = call(body)
            if kind == "twice":
                status, answer = call(body)
            self.statuses.append((route, status))
            self.lock.notify_all()
        if kind == "drop_answer" or status is None:
            return handler.cut()
        return handler.answer(status, answer, worker_state="quarantined" if route == "claim" and status == 204 and self.quarantine else None)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def get_request(self):
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def cut(self):
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that went away


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    coordinator = None
    ROUTES = ((re.compile(r"^/v1/workers$"), "register"), (re.compile(r"^/v1/claims$"), "claim"),
              (re.compile(r"^/v1/trials/([^/]+)/report$"), "report"))

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        coordinator = self.coordinator
        if coordinator.token and self.headers.get("Authorization") != f"Bearer {coordinator.token}":
            return self.answer(401, {"status": 401, "detail": "no or bad token"})
        coordinator.check(self.headers.get("Content-Type") == "application/json", "content type is not JSON")
        for pattern, route in self.ROUTES:
            match = pattern.match(self.path)
            if match:
                return coordinator.handle(self, route, match.group(1) if match.groups() else None, json.loads(raw))
        return self.answer(404, {"status": 404, "detail": "no such path"})

    def answer(self, status, body, retry_after=None, worker_state=None):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if text:
            self.send_header("Content-Type", "application/json")
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        if worker_state is not None:
            self.send_header("Worker-State", worker_state)
        self.end_headers()
        self.wfile.write(text)

    def cut(self):
        """No answer: the connection just ends."""
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def log_message(self, *args):
        pass
