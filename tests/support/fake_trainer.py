#!/usr/bin/python3
"""Stands in for sweep-trainer in tests of the worker: what it does is said by the trial's params.

script: a list of steps, done in order. {"metric": [name, step, value]} · {"progress": 0.5} · {"line": "text as it is"} ·
{"sleep": seconds} (SIGTERM ends it: a checkpoint is written, then `released`) · {"ignore_sigterm": true} · {"stderr": "text"} ·
{"exit": code} · {"kill": signal} · {"outcome": {…}} · {"output": "text"} (a file in output_dir) · {"checkpoint": "text"} ·
{"flood": n} (n metric points) · {"bad_checkpoint": true} (an outcome, when there is a checkpoint)
"""
import json
import os
import pathlib
import signal
import sys
import time


class Terminated(Exception):
    pass


def on_sigterm(*_):
    raise Terminated


def say(**event):
    print(json.dumps(event), flush=True)


def real_trainer():
    """What it computes is not this program's to invent: its self-test is the real one's."""
    beside = os.path.join(os.path.dirname(os.readlink(f"/proc/{os.getppid()}/exe")), "sweep-trainer")
    os.execv(beside, [beside, *sys.argv[1:]])


def main():
    if sys.argv[1:2] == ["selftest"]:
        real_trainer()
    signal.signal(signal.SIGTERM, on_sigterm)
    request = json.load(sys.stdin)
    checkpoint = pathlib.Path(request["checkpoint_dir"]) / "state"
    script = request["params"].get("script", [])
    done = json.loads(checkpoint.read_text()) if checkpoint.exists() and request["params"].get("resumable") else 0
    if request["params"].get("echo"):
        pathlib.Path(request["params"]["echo"]).write_text(json.dumps({"request": request, "env": dict(os.environ), "had": checkpoint.exists()}))
    for number, step in enumerate(script):
        if number < done:
            continue
        (kind, value), = step.items()
        try:
            if kind == "metric":
                say(event="metric", name=value[0], step=value[1], epoch=value[1] / 10, value=value[2])
            elif kind == "flood":
                for i in range(value):
                    print(json.dumps({"event": "metric", "name": "train/loss", "step": i, "value": i / 2}))
                sys.stdout.flush()
            elif kind == "progress":
                say(event="progress", value=value)
            elif kind == "line":
                print(value, flush=True)
            elif kind == "stderr":
                print(value, file=sys.stderr, flush=True)
            elif kind == "sleep":
                time.sleep(value)
            elif kind == "ignore_sigterm":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            elif kind == "checkpoint":
                checkpoint.write_text(json.dumps(number + 1))
            elif kind == "bad_checkpoint":
                if checkpoint.exists():
                    say(event="outcome", state="failed", reason="bad_checkpoint", detail="another build")
                    sys.exit(1)
            elif kind == "output":
                (pathlib.Path(request["output_dir"]) / "model.safetensors").write_text(value)
            elif kind == "outcome":
                say(event="outcome", **value)
                sys.exit(1 if value["state"] == "failed" else 0)
            elif kind == "exit":
                sys.exit(value)
            elif kind == "kill":
                os.kill(os.getpid(), value)
        except Terminated:
            checkpoint.write_text(json.dumps(number + 1))
            say(event="outcome", state="released")
            sys.exit(0)
    say(event="outcome", state="completed", value=0.5)


main()
