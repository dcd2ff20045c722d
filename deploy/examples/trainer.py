#!/usr/bin/env python3
"""A program for sweeps with "trainer": "command": sweep-worker --allow-command demo=/path/to/trainer.py, and "program": "demo".

The configuration comes as --name=value arguments and as JSON on stdin; JSON lines on stdout tell how it goes.
"""
import json
import signal
import sys

params = json.load(sys.stdin)
signal.signal(signal.SIGTERM, lambda *ignored: sys.exit(0))  # the sweep does not want this trial any more


def tell(**event):
    print(json.dumps(event), flush=True)


for epoch in range(1, 4):
    loss = sum((x - 0.3) ** 2 for x in params.values() if isinstance(x, float)) + 1 / epoch
    tell(event="metric", name="loss", step=epoch, epoch=epoch, value=loss)
    tell(event="progress", value=epoch / 3)
tell(event="outcome", state="completed", value=loss)
