#!/usr/bin/env python3
"""Evaluates trials of a sweep with "trainer": "external" until none is left: external_client.py http://127.0.0.1:8484 SWEEP"""
import json
import os
import sys
import urllib.request
import uuid

SERVER, SWEEP, TOKEN = sys.argv[1], sys.argv[2], os.environ.get("SWEEPD_TOKEN")
HEADERS = {"Content-Type": "application/json", **({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})}


def train(params):
    """Your own training goes here: yields (step, loss) now and then; the last loss is the trial's value."""
    for step in range(1, 6):
        yield step, sum((x - 0.3) ** 2 for x in params.values() if isinstance(x, float)) + 1 / step


def post(path, body):
    request = urllib.request.Request(SERVER + path, json.dumps(body).encode(), HEADERS)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.loads(answer.read() or "null")


def evaluate(trial):
    path, lease, state = f"/v1/trials/{trial['id']}/report", trial["lease"], "completed"
    for seq, (step, loss) in enumerate(train(trial["params"]), 1):  # each report also renews the lease
        command = post(path, {"lease": lease, "seq": seq, "metrics": [{"name": "loss", "step": step, "value": loss}]})["command"]
        if command == "abort":
            return  # cancelled meanwhile: nobody wants to hear of it
        if command == "stop":
            state = "stopped"  # it will not be the best
            break
    post(path, {"lease": lease, "seq": seq + 1, "outcome": {"state": state, "value": loss}})
    print(f"trial {trial['number']}: {loss:.4f} {trial['params']}")


worker = post("/v1/workers", {"name": f"example-{os.getpid()}", "slots": 1, "trainers": ["external"]})["id"]
while claimed := post("/v1/claims", {"worker": worker, "claim_id": uuid.uuid4().hex, "sweep": SWEEP, "wait_s": 5}):
    evaluate(claimed["trials"][0])
