"""One short round of tests/fault/chaos/run.py, which does it for hours, and a database that cannot be synced."""
import json
import pathlib
import sqlite3
import sys
import time

import pytest
import requests

from daemon import PATIENCE_S, SANITIZED, Daemon

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "chaos"))
import run as chaos  # noqa: E402
from control import Control  # noqa: E402

POINTS = 1000  # of a report: the log of commits grows by some 40 pages


@pytest.mark.skipif(SANITIZED, reason="the shim takes the sanitizer's place in front of libc")
def test_nothing_acknowledged_is_lost_or_doubled_whatever_fails(tmp_path):
    if not chaos.shim_path().exists():
        pytest.skip("the shim is not built")
    lines = []
    faults, figures = chaos.run(tmp_path, seed=7, minutes=0.25, kills=12, round_kills=12, demo=False, say=lines.append)
    assert not faults, "\n".join([*faults[:20], *map(json.dumps, lines)])
    assert figures["acknowledged"] > 100


@pytest.mark.skipif(SANITIZED, reason="the shim takes the sanitizer's place in front of libc")
def test_a_database_that_cannot_be_synced_ends_the_server_and_the_next_one_has_everything(tmp_path):
    """Its thread copies the log into the database, which then cannot be synced; the log itself, with every commit, can."""
    if not chaos.shim_path().exists():
        pytest.skip("the shim is not built")
    control = Control(tmp_path / "control", {"sweepd": "sweepd.db$", "sweep-worker": "-", "sweep-trainer": "-"})
    server, told = Daemon(tmp_path, env={"LD_PRELOAD": str(chaos.shim_path()), "CHAOS_CONTROL": str(control.path)}), 0
    trial = server.claim(server.register("w")["id"], "first", sweep=server.create_sweep(run_cap=None)["id"])[0]
    control.break_disk("sweepd", "EIO on sync", 1, 10**9)
    deadline = time.monotonic() + 8 * PATIENCE_S  # some 200 reports until the log is copied
    while server.process.poll() is None and time.monotonic() < deadline:
        points = [{"name": "loss", "step": told * POINTS + i, "value": 0.5} for i in range(POINTS)]
        try:
            server.report(trial, told + 1, metrics=points)
        except requests.ConnectionError:
            break
        told += 1
    assert server.process.wait(PATIENCE_S) == 1 and "the database could not be synced" in server.log()
    assert control.get("sweepd", "n_faults") >= 1 and told * 40 > 4000, told
    control.close()
    with Daemon(tmp_path):
        database = sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)
        stored = database.execute("SELECT count(*) FROM metrics").fetchone()[0]
        database.close()
    assert stored in (told * POINTS, (told + 1) * POINTS)  # the last one was not acknowledged
    server.check()
