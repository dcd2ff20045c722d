"""`sweepd backup`, `check` and `dump`: beside a running server, on copies, and on databases that were damaged in every way."""
import json
import os
import pathlib
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest
from daemon import SANITIZED, Daemon, program
from study import Study, problem

PATIENCE_S = 300 if SANITIZED else 60


def run(*arguments, expect=0, **options):
    """sweepd with these arguments; its result, held to an exit code."""
    result = subprocess.run([program("sweepd"), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, **options)
    assert result.returncode == expect, f"{arguments}: {result.returncode}: {result.stdout}{result.stderr}"
    return result


def populate(server):
    """A sweep with trials in every state, and what they leave behind."""
    study = Study(server, run_cap=None)
    completed, failed, running, again = (study.claim() for _ in range(4))
    study.report(completed, 1, metrics=[{"name": "loss", "step": 1, "value": 0.25}])
    study.end(completed, value=0.5)
    study.end(failed, "failed", reason="diverged", detail="NaN")
    study.report(running, 1, progress=0.5)
    study.end(again, "stopped", value=0.75)
    server.post(f"/v1/trials/{again['id']}/retry")
    study.end(study.claim(), "stopped", seq=2, value=0.125)
    queued = study.enqueue({"x": 0.5, "n": 3}, {"x": 0.25, "n": 4})
    server.post(f"/v1/trials/{queued[1]['id']}/cancel")
    server.post(f"{study.path}/trials", {"params": {"x": 0.75, "n": 5}, "value": 2.5}, expect=201)
    study.names = {"completed": completed["id"], "failed": failed["id"], "running": running["id"], "queued": queued[0]["id"]}
    return study


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A database with a trial in every state, closed; its path and the ids of its trials."""
    folder = tmp_path_factory.mktemp("sound")
    with Daemon(folder) as server:
        study = populate(server)
        finished = server.create_sweep(run_cap=1, name="finished")
        only = server.claim(study.worker, "only", sweep=finished["id"])[0]
        server.report(only, 1, outcome={"state": "completed", "value": 1})
    return folder / "sweepd.db", study


# --- backup ----------------------------------------------------------------------------------------------------


@pytest.mark.coordinator
def test_a_backup_beside_a_busy_server_holds_all_that_was_acknowledged_before_it(tmp_path):
    copy = tmp_path / "copy.db"
    with Daemon(tmp_path) as server:
        study = populate(server)
        stop = threading.Event()
        imported = []

        def write():
            with_own = Daemon(tmp_path, start=False)
            with_own.url = server.url
            while not stop.is_set():
                answer = with_own.post(f"{study.path}/trials", {"params": {"x": 0.5, "n": 1}, "value": 1.0}, expect=201)
                imported.append(answer["items"][0]["id"])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                before = list(imported)
                result = run("backup", "--database", server.database, copy)
                assert str(copy) in result.stdout
                assert copy.stat().st_mode & 0o777 == 0o600
                with sqlite3.connect(copy) as database:
                    held = {row[0] for row in database.execute("SELECT public_id FROM trials")}
                database.close()
                assert set(before) <= held
                assert "sound" in run("check", copy).stdout
        finally:
            stop.set()
            writer.join()
        assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name or p.name.startswith("copy.db-")] == []
        assert "sound" in run("check", server.database).stdout


def test_a_server_goes_on_from_a_backup(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    with Daemon(old) as server:
        study = populate(server)
        run("backup", "--database", server.database, new / "sweepd.db")
        shown = study.show()
    with Daemon(new) as server:
        assert server.get(study.path) == shown
        running = server.get(f"/v1/trials/{study.names['running']}")
        assert running["state"] == "running"


def test_a_backup_replaces_only_backups(tmp_path, sound):
    database, _ = sound
    other = tmp_path / "notes.txt"
    other.write_text("do not touch")
    link = tmp_path / "link.db"
    os.link(database, link)
    copy = tmp_path / "copy.db"
    assert "database itself" in run("backup", "--database", database, database, expect=1).stderr
    assert "database itself" in run("backup", "--database", database, link, expect=1).stderr
    assert "refusing" in run("backup", "--database", database, other, expect=1).stderr
    assert other.read_text() == "do not touch"
    assert "No such file" in run("backup", "--database", tmp_path / "none.db", copy, expect=1).stderr
    run("backup", "--database", database, copy)
    before = copy.stat().st_ino
    run("backup", "--database", database, copy)
    assert copy.stat().st_ino != before
    (tmp_path / "copy.db-wal").write_text("")
    assert "in use" in run("backup", "--database", database, copy, expect=1).stderr
    assert "COPY" in run("backup", expect=2).stderr


def test_a_backup_that_fails_leaves_the_one_before(tmp_path, sound):
    database, _ = sound
    copy = tmp_path / "copy.db"
    run("backup", "--database", database, copy)
    before = copy.read_bytes()

    def no_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))

    run("backup", "--database", database, copy, expect=1, preexec_fn=no_room, restore_signals=False)
    assert copy.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["copy.db"]


def test_a_copy_that_a_killed_backup_left_is_written_anew(tmp_path, sound):
    database, _ = sound
    copy = tmp_path / "copy.db"
    (tmp_path / "copy.db.tmp").write_text("half a page")
    (tmp_path / "copy.db.tmp-journal").write_text("of one that was killed")
    run("backup", "--database", database, copy)
    assert "sound" in run("check", copy).stdout
    assert [p.name for p in tmp_path.iterdir()] == ["copy.db"]


# --- check -----------------------------------------------------------------------------------------------------

COMPLETED = "(SELECT id FROM trials WHERE state = 'completed' AND attempt > 0 LIMIT 1)"
RUNNING = "(SELECT id FROM trials WHERE state = 'running' LIMIT 1)"
QUEUED = "(SELECT id FROM trials WHERE state = 'queued' LIMIT 1)"

DAMAGE = {
    "a number that comes again": ("UPDATE sweeps SET next_number = 2", "next trial number"),
    "an open trial in a finished sweep": (
        "UPDATE trials SET state = 'queued', finished_ms = NULL, value = NULL, worker = NULL "
        "WHERE sweep = (SELECT id FROM sweeps WHERE state = 'finished')", "it is finished, but trial"),
    "a running trial without a lease": (
        f"UPDATE attempts SET ended_ms = 1, ended_as = 'lost' WHERE trial = {RUNNING} AND ended_ms IS NULL", "has no lease"),
    "a lease without a running trial": (
        f"UPDATE attempts SET ended_ms = NULL, ended_as = NULL WHERE trial = {COMPLETED}", "a lease that nothing will end"),
    "a lease of an earlier attempt": (
        f"INSERT INTO attempts (trial, attempt, worker, lease, evaluator, started_ms) SELECT {RUNNING}, 7, 1, 'x', '{{}}', 1",
        "a lease that nothing will end"),
    "a lease of another worker": (
        "INSERT INTO workers (public_id, name, slots, trainers, registered_ms, last_seen_ms) VALUES ('w9', 'w9', 1, '[]', 1, 1);"
        f"UPDATE trials SET worker = (SELECT id FROM workers WHERE name = 'w9') WHERE id = {RUNNING}", "its lease is held by worker"),
    "attempts that are missing": (f"DELETE FROM attempts WHERE trial = {COMPLETED}", "but has attempts up to 0"),
    "a running trial that never began": (f"UPDATE trials SET started_ms = NULL WHERE id = {RUNNING}", "never began"),
    "a queued trial with a worker": (f"UPDATE trials SET worker = 1 WHERE id = {QUEUED}", "it is queued, but has a worker"),
    "a completed trial without a value": (f"UPDATE trials SET value = NULL WHERE id = {COMPLETED}", "completed without a value"),
    "an attempt that ended otherwise": (
        f"UPDATE attempts SET ended_as = 'lost' WHERE trial = {COMPLETED}", "its last attempt ended as lost"),
    "a trial that history does not know": (f"DELETE FROM history WHERE trial = {QUEUED}", "written 0 times in the history"),
    "a trial that history has twice": (
        f"INSERT INTO history (sweep, trial, added, state) SELECT sweep, id, 1, 'queued' FROM trials WHERE id = {QUEUED}",
        "written 2 times in the history"),
    "another value in the history": (
        f"UPDATE history SET value = 99 WHERE trial = {COMPLETED} AND added = 0", "its history ends with completed with 99"),
    "an open trial that history saw end": (
        f"INSERT INTO history (sweep, trial, added, state) SELECT sweep, id, 0, 'failed' FROM trials WHERE id = {QUEUED}",
        "it is queued, but its history ends with failed"),
    "history in another sweep": (
        f"UPDATE history SET sweep = (SELECT max(id) FROM sweeps) WHERE trial = {COMPLETED}", "in another sweep"),
    "params that cannot be read": (f"UPDATE trials SET params = '[1' WHERE id = {COMPLETED}", "its params are not JSON"),
    "an answer that is missing": (
        f"UPDATE attempts SET last_answer = NULL WHERE trial = {COMPLETED}", "the answer to its last report is missing"),
    "a registration that cannot be read": ("UPDATE workers SET trainers = '{'", "what it registered is not JSON"),
    "a claim that cannot be read": ("UPDATE claims SET answer = '' WHERE id = 1", "its answer is not JSON"),
    "a spec that is not JSON": ("UPDATE sweeps SET spec = '{' WHERE id = 1", "its spec is not JSON"),
    "a spec that is not valid": ("UPDATE sweeps SET spec = '{\"method\":\"grind\"}' WHERE id = 1", "its spec is not valid: /method"),
    "a stage that is not there": (f"UPDATE trials SET stage = 3 WHERE id = {COMPLETED}", "a trial of stage 3, and 1 stages"),
    "row ids that come again": ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'trials'", "row ids of trials: the next would be 2"),
    "token changes that nobody counts": ("DELETE FROM token_changes", "0 rows count the changes of tokens"),
    "a counter that is wrong": ("UPDATE trial_counts SET n = n + 1 WHERE state = 'failed'", "2 proposed trials of stage 0 are counted as failed, 1 are"),
    "a change that cannot be read": ("UPDATE changes SET detail = '{' WHERE id = 1", "change 1 in its history is not JSON"),
    "a message that cannot be read": (
        "INSERT INTO webhooks (sweep, event, url, body, created_ms, due_ms) VALUES (1, 'finished', 'http://x', '{', 1, 1)", "message 1 to a webhook is not JSON"),
    "a worker that is unfit without a reason": ("UPDATE workers SET unfit = 1", "it is unfit, but not said why"),
    "a forgotten worker with a lease": ("UPDATE workers SET forgotten = 1", "it is forgotten, but holds a lease"),
    "attempts of a worker that never served": ("UPDATE workers SET served = 0", "attempts were its own, but it never served"),
    "a state that there is not": (f"UPDATE trials SET state = 'asleep' WHERE id = {COMPLETED}", "CHECK constraint failed in trials"),
    "a trial of no sweep": (f"UPDATE trials SET sweep = 77 WHERE id = {COMPLETED}", "refers to a row of sweeps that is not there"),
    "points of no trial": (
        "INSERT INTO metrics (trial, step, name, value, time_ms) VALUES (7777, 1, 'loss', 1, 1)",
        "refers to a row of trials that is not there"),
}


def test_a_sound_database_is_called_sound(sound):
    database, _ = sound
    before = database.read_bytes()
    output = run("check", database).stdout
    assert "sound" in output and "2 sweeps" in output and "8 trials" in output, output
    assert run("check", "--database", database).stdout == output
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_found_and_named(tmp_path, sound, name):
    statement, expected = DAMAGE[name]
    copy = tmp_path / "damaged.db"
    shutil.copy(sound[0], copy)
    database = sqlite3.connect(copy, isolation_level=None)
    database.executescript(f"PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; {statement}")
    database.close()
    output = run("check", copy, expect=1).stdout
    assert expected in output, output
    assert "repair: " in output and "fault" in output.splitlines()[-1], output


def test_broken_pages_are_found(tmp_path, sound):
    copy = tmp_path / "damaged.db"
    data = bytearray(pathlib.Path(sound[0]).read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 2048] = bytes([0xA5]) * 2048
    copy.write_bytes(data)
    result = run("check", copy, expect=1)
    assert "fault" in result.stdout or result.stderr
    run("backup", "--database", copy, tmp_path / "copy.db", expect=1)
    assert not (tmp_path / "copy.db").exists()


def test_many_faults_of_a_kind_are_counted_and_not_all_printed(tmp_path, sound):
    copy = tmp_path / "damaged.db"
    shutil.copy(sound[0], copy)
    database = sqlite3.connect(copy, isolation_level=None)
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) INSERT INTO trials "
        "(public_id, sweep, number, state, origin, stage, params, proposal, created_ms) "
        "SELECT 'x' || i, 1, 100 + i, 'queued', 'enqueued', 0, '{}', '{}', 1 FROM n")
    database.execute("UPDATE sweeps SET next_number = 1000")
    database.close()
    output = run("check", copy, expect=1).stdout
    assert output.count("written 0 times") == 20 and "and 10 more of these kinds" in output and ": 30 faults" in output
    assert run("check", "--all", copy, expect=1).stdout.count("written 0 times") == 30


def test_what_is_no_database_of_ours_is_refused(tmp_path):
    nothing, text, foreign, newer = (tmp_path / name for name in ("none.db", "text", "foreign.db", "newer.db"))
    text.write_text("hello" * 1000)
    for path, statement in ((foreign, "CREATE TABLE t (x)"), (newer, "PRAGMA application_id = 0x73776570; PRAGMA user_version = 999")):
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(statement)
        database.close()
    for command in (("check",), ("dump",), ("backup", "--database")):
        target = [tmp_path / "copy"] if command[0] == "backup" else []
        assert "No such file" in run(*command, nothing, *target, expect=1).stderr
        assert "not a database" in run(*command, text, *target, expect=1).stderr
        assert "not a database of this program" in run(*command, foreign, *target, expect=1).stderr
        assert "version 999" in run(*command, newer, *target, expect=1).stderr
    assert "unknown option '--databse'" in run("check", "--databse", "x", expect=2).stderr
    assert "unexpected argument" in run("check", "a", "b", expect=2).stderr


# --- dump ------------------------------------------------------------------------------------------------------


def test_a_dump_has_every_row_in_words_and_no_secrets(tmp_path):
    with Daemon(tmp_path, "--webhook", "http://127.0.0.1:9/secret-path") as server:
        study = populate(server)
        other = server.create_sweep(name="other")
        lines = run("dump", server.database).stdout
        rows = [json.loads(line) for line in lines.splitlines()]
        tables = {}
        for row in rows:
            tables.setdefault(row["table"], []).append(row)
        assert {row["id"] for row in tables["sweeps"]} == {study.id, other["id"]}
        assert {row["state"] for row in tables["trials"]} == {"completed", "failed", "running", "queued", "stopped", "cancelled"}
        assert all(isinstance(row["params"], dict) and row["sweep"] == study.id for row in tables["trials"])
        assert [row["seq"] for row in tables["history"]] == sorted(row["seq"] for row in tables["history"])
        assert "metrics" not in tables
        assert tables["sweeps"][0]["spec_version"] == 1 and tables["workers"][0]["served"] == 1 and tables["workers"][0]["quarantine"] is None
        assert [row["what"] for row in tables["changes"] if row["sweep"] == study.id][:2] == ["created", "retried trial"]
        assert [(row["event"], row["body"]["event"]) for row in tables["webhooks"]] == [("trial_failed", "trial_failed")] and "secret-path" not in lines
        assert not any(word in row for row in rows for word in ("lease", "hash", "answer"))
        running = server.claim(study.worker, "one more", sweep=study.id)[0]
        assert running["lease"] not in run("dump", server.database, "--metrics").stdout
        mine = [json.loads(line) for line in run("dump", "--sweep", study.id, "--metrics", server.database).stdout.splitlines()]
        assert [row["name"] for row in mine if row["table"] == "metrics"] == ["loss"]
        assert other["id"] not in {row.get("id") for row in mine}
        assert "no sweep 'sx'" in run("dump", "--sweep", "sx", server.database, expect=1).stderr


def test_the_commands_explain_themselves():
    assert "sweepd backup|check|doctor|dump|import-optuna|token" in run("--help").stdout
    for name in ("backup", "check", "dump"):
        assert f"usage: sweepd {name}" in run(name, "--help").stdout
        assert run(name, "--version").stdout.startswith("sweepd")


# --- room on the disk --------------------------------------------------------------------------------------------


@pytest.mark.coordinator
def test_new_work_is_refused_before_the_disk_is_full(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, run_cap=None)
        running = study.claim()
        assert server.get("/readyz") == {"status": "ready"}
    with Daemon(tmp_path, "--min-free-mb", 10**9) as server:  # no disk has so much
        ready = server.wait_until("/readyz", lambda answer: "detail" in answer)  # the first look at the disk follows the start
        assert ready["detail"] == "the disk is nearly full: new work is refused"
        for path, body in (("/v1/sweeps", {"method": "random", "trainer": "external", "parameters": {"x": {"min": 0.0, "max": 1.0}}}),
                           (f"{study.path}/trials", {"params": {"x": 0.5, "n": 1}})):
            response = server.request("POST", path, body)
            problem(response, 503)
            assert response.headers["Retry-After"] == "30" and "nearly full" in response.json()["detail"]
        assert server.claim(study.worker, "none", sweep=study.id) == []
        assert server.report(running, 1, outcome={"state": "completed", "value": 1})["command"] == "continue"
        assert "the disk is nearly full" in server.log()
    with Daemon(tmp_path, "--min-free-mb", 0) as server:
        assert server.claim(study.worker, "one", sweep=study.id)
