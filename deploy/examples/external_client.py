#!/usr/bin/env python3
"""Evaluates trials of a sweep with "trainer": "external": claims one, computes, reports, until nothing is left.

    external_client.py http://127.0.0.1:8484 SWEEP        put your own training into evaluate()
"""
import json
import os
import sys
import urllib.request
import uuid

SERVER, SWEEP = sys.argv[1], sys.argv[2]
TOKEN = os.environ.get("SWEEPD_TOKEN")  # read it from a file of yours, if the coordinator wants one


def post(path, body):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})}
    request = urllib.request.Request(SERVER + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.loads(answer.read() or "null")


def evaluate(params, report):
    """The value of a configuration. report(step, value) tells how it goes, and is true when it should end early."""
    loss = 1.0
    for step in range(1, 6):
        loss = sum((x - 0.3) ** 2 for x in params.values() if isinstance(x, float)) + 1 / step
        if report(step, loss):
            break
    return loss


worker = post("/v1/workers", {"name": f"example-{os.getpid()}", "slots": 1, "trainers": ["external"]})["id"]
while True:
    claimed = post("/v1/claims", {"worker": worker, "claim_id": uuid.uuid4().hex, "sweep": SWEEP, "wait_s": 5})
    if not claimed:
        break  # finished, or nothing to do for five seconds
    trial, seq, command = claimed["trials"][0], 0, None

    def report(step, value, outcome=None):
        global seq, command
        seq += 1
        metrics = [{"name": "loss", "step": step, "value": value}] if outcome is None else []
        body = {"lease": trial["lease"], "seq": seq, "metrics": metrics, "outcome": outcome}
        command = post(f"/v1/trials/{trial['id']}/report", body)["command"]
        return command != "continue"

    value = evaluate(trial["params"], report)
    if command == "abort":
        continue  # cancelled meanwhile: nobody wants to hear of it
    report(0, value, {"state": "completed", "value": value})
    print(f"trial {trial['number']}: {value:.4f} {trial['params']}")
