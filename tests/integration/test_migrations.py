"""Databases of every earlier version: migrated with all they hold, after a copy, and whole or not at all when the server is
killed meanwhile. Stored files of former versions are in tests/data/schema (see tests/support/old_schema.py)."""
import contextlib
import json
import pathlib
import random
import sqlite3
import subprocess
import sys
import time

import pytest
from daemon import ROOT, SANITIZED, Daemon, program

sys.path.insert(0, str(ROOT / "tests" / "support"))
import old_schema  # noqa: E402

NEWEST = len(old_schema.migrations())


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """An empty database of this version."""
    folder = tmp_path_factory.mktemp("newest")
    with Daemon(folder):
        pass
    with sqlite3.connect(folder / "sweepd.db") as database:
        yield database
    database.close()


def rows(path, tables):
    """What the tables of the first version hold, by their columns of then."""
    database = sqlite3.connect(path)
    try:
        return {table: sorted(database.execute(f"SELECT {', '.join(columns)} FROM {table}"), key=repr) for table, columns in tables.items()}
    finally:
        database.close()


def tables_of(path):
    database = sqlite3.connect(path)
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'")]
    tables = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in names}
    database.close()
    return tables


def version_of(path):
    database = sqlite3.connect(path)
    version, = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return version


def check(path):
    result = subprocess.run([program("sweepd"), "check", str(path)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_a_database_of_an_earlier_version_goes_on(tmp_path, newest, version):
    path = tmp_path / "sweepd.db"
    old_schema.build(path, version, newest)
    assert version_of(path) == version
    assert f"version {version}," in check(path)
    tables = tables_of(path)
    before = rows(path, tables)
    dumped = [json.loads(line)["table"] for line in subprocess.check_output([program("sweepd"), "dump", str(path)], text=True, timeout=300).splitlines()]
    assert {table: dumped.count(table) for table in dumped} == {
        table: len(before[table]) for table in ("sweeps", "workers", "trials", "attempts", "history", "changes", "webhooks") if before.get(table)}
    with Daemon(tmp_path) as server:
        copy = tmp_path / f"sweepd.db.v{version}.bak"
        assert version_of(copy) == version and rows(copy, tables) == before
        assert f"version {version}," in check(copy)
        sweep, = server.get("/v1/sweeps")["items"]
        assert sweep["state"] == "running"
        states = [row[tables["trials"].index("state")] for row in before["trials"]]
        assert {state: n for state, n in sweep["counts"].items() if n} == {state: states.count(state) for state in set(states)}
        trials = server.get(f"/v1/sweeps/{sweep['id']}/trials?sort=value")["items"]
        assert len(trials) == len(states) and trials[0]["value"] == sweep["best"]["value"] == 0.125
        running, = (trial for trial in trials if trial["state"] == "running")
        attempts = [dict(zip(tables["attempts"], row)) for row in before["attempts"]]
        lease, = (attempt["lease"] for attempt in attempts if attempt["ended_ms"] is None)
        running["lease"] = lease
        server.report(running, 2, outcome={"state": "completed", "value": 0.0625})
        worker, = server.get("/v1/workers")["items"]
        assert server.claim(worker["id"], "after", sweep=sweep["id"])
        assert server.get(f"/v1/sweeps/{sweep['id']}")["best"]["value"] == 0.0625
    assert version_of(path) == NEWEST
    copy.unlink()
    with Daemon(tmp_path):
        assert not copy.exists()  # nothing to migrate any more


def test_every_version_that_was_is_stored():
    """The stored files are what servers of then have left."""
    stored = old_schema.stored_versions()
    assert sorted(stored) == list(range(1, NEWEST))
    for version, path in stored.items():
        assert f"PRAGMA user_version = {version};" in path.read_text()


def grow(path, n):
    """More trials, so that a migration takes a while."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN")
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO trials (public_id, sweep, number, state, "
        "origin, stage, params, proposal, value, created_ms, finished_ms) SELECT 'g' || i, 1, i, 'completed', 'imported', 0, "
        "'{\"x\":0.5,\"n\":1}', '{\"source\":\"import\"}', i, 1, 1 FROM n", (n + 99,))
    database.execute("INSERT INTO history (sweep, trial, added, state, value) SELECT sweep, id, 1, state, value FROM trials WHERE number >= 100")
    database.execute("UPDATE sweeps SET next_number = ?", (n + 100,))
    database.execute("COMMIT")
    database.close()


def test_a_server_that_is_killed_while_it_migrates_leaves_the_old_or_the_new_version(tmp_path, newest):
    path = tmp_path / "sweepd.db"
    old_schema.build(path, 1, newest)
    grow(path, 5_000 if SANITIZED else 20_000)
    with contextlib.closing(sqlite3.connect(path)) as db, db:  # a server that gets as far as to serve forgets these, as they are old
        db.execute("UPDATE attempts SET claim = NULL")
        db.execute("DELETE FROM claims")
    tables = tables_of(path)
    before = rows(path, tables)
    saved = path.read_bytes()
    assert not pathlib.Path(f"{path}-wal").exists()
    command = [program("sweepd"), "--no-auth", "--listen", "127.0.0.1:0", "--database", str(path), "--log-level", "warning"]
    rng = random.Random(6)
    seen, span = set(), None
    for kill in range(9):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        path.write_bytes(saved)
        begin = time.monotonic()
        with open(tmp_path / "log", "wb") as log:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        if span is None:  # the first is let through, to see how long it takes
            assert b"listening" in server.stdout.readline()
            span = time.monotonic() - begin
        else:
            try:
                server.wait(rng.uniform(0, span))
            except subprocess.TimeoutExpired:
                pass
        server.kill()
        server.wait()
        server.stdout.close()
        assert (tmp_path / "log").read_bytes() == b""
        version = version_of(path)
        seen.add(version)
        assert version in (1, NEWEST)
        assert rows(path, tables) == before
        check(path)
        copy = pathlib.Path(f"{path}.v1.bak")
        if version == NEWEST:
            assert copy.exists()
        if copy.exists():
            assert version_of(copy) == 1 and rows(copy, tables) == before
    assert NEWEST in seen and 1 in seen, seen
    with Daemon(tmp_path) as server:
        assert server.get("/v1/sweeps")["items"][0]["counts"]["completed"] > 4_000
    check(path)
