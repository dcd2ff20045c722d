"""A sweep and a worker in hand, for tests that play trainer and client themselves."""
import itertools
import threading
import time

import requests
from daemon import PATIENCE_S

_numbers = itertools.count(1)


def fresh(prefix="id"):
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


def problem(response, status):
    """The problem object of a refusal, held to RFC 9457 and to the status asked for."""
    assert response.status_code == status, f"{response.request.method} {response.url}: {response.status_code} instead of {status}: {response.text}"
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == "about:blank" and body["status"] == status
    assert isinstance(body["title"], str) and body["title"] and isinstance(body["detail"], str) and body["detail"]
    for fault in body.get("errors", []):
        assert isinstance(fault["pointer"], str) and (fault["pointer"] == "" or fault["pointer"].startswith("/")) and fault["detail"]
    return body


def faults(response, status=422):
    """{pointer: detail} of a refusal."""
    return {fault["pointer"]: fault["detail"] for fault in problem(response, status)["errors"]}


def pages(server, path, limit):
    """Every item of a list, page by page."""
    items, after = [], None
    while True:
        query = {"limit": limit, **({"after": after} if after else {})}
        page = server.get(path, params=query)
        assert len(page["items"]) <= limit
        items += page["items"]
        after = page["next"]
        if after is None:
            return items


class Study:
    """One sweep (of Daemon.create_sweep's defaults and the members given) and one worker that evaluates it by hand."""

    def __init__(self, server, **members):
        self.server = server
        self.sweep = server.create_sweep(**members)
        self.id = self.sweep["id"]
        self.path = f"/v1/sweeps/{self.id}"
        self.worker = server.register(fresh("hand"))["id"]

    def show(self):
        return self.server.get(self.path)

    def state(self):
        return self.show()["state"]

    def counts(self):
        return {state: n for state, n in self.show()["counts"].items() if n}

    def trial(self, trial):
        return self.server.get(f"/v1/trials/{trial['id']}")

    def trials(self, query=""):
        return self.server.get(f"{self.path}/trials{query}")["items"]

    def change(self, expect=200, **members):
        return self.server.patch(self.path, members, expect=expect)

    def enqueue(self, *params, **options):
        body = {"trials": [{"params": one} for one in params]}
        return self.server.post(f"{self.path}/trials", body, expect=201, **options)["items"]

    def claim(self, worker=None, wait_s=0, **members):
        """One claimed trial, or None for a 204."""
        trials = self.server.claim(worker or self.worker, fresh("claim"), wait_s=wait_s, sweep=self.id, **members)
        return trials[0] if trials else None

    def claim_many(self, slots, **members):
        return self.server.claim(self.worker, fresh("claim"), sweep=self.id, slots=slots, **members)

    def report(self, trial, seq, expect=200, **members):
        return self.server.report(trial, seq, expect=expect, **members)

    def end(self, trial, state="completed", seq=1000, **outcome):
        return self.report(trial, seq, outcome={"state": state, **outcome})

    def run(self, evaluate, most=1000):
        """Claims and completes one trial after the other until there is none; the claimed trials."""
        done = []
        while len(done) < most:
            trial = self.claim()
            if not trial:
                break
            self.end(trial, value=evaluate(trial["params"]))
            done.append(trial)
        return done


class Waiting:
    """A claim that waits in a thread of its own."""

    def __init__(self, server, body, asleep_s=0.3):
        self.response, self.took_s = None, None
        self.thread = threading.Thread(target=self._ask, args=(server.url + "/v1/claims", body))
        self.thread.start()
        time.sleep(asleep_s)  # nothing tells from outside that the request has arrived and waits

    def _ask(self, url, body):
        with requests.Session() as session:
            session.trust_env = False
            begin = time.monotonic()
            self.response = session.post(url, json=body, timeout=60 + PATIENCE_S)
            self.took_s = time.monotonic() - begin

    def answer(self, within_s):
        """The response, which must come within so many seconds from now."""
        self.thread.join(within_s)
        assert not self.thread.is_alive(), f"the claim still waits after {within_s} s"
        return self.response
