"""`sweepctl export --format tensorboard`, read by a small reader of our own: TFRecords with their sums, and protobuf by field numbers.
tests/slow/test_tensorboard.py asks TensorBoard itself."""
import http.server
import json
import os
import resource
import struct
import subprocess
import threading

import pytest

from daemon import PATIENCE_S, Daemon, program
from study import Study

pytestmark = pytest.mark.coordinator


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,), (length_crc,) = struct.unpack_from("<Q", data, at), struct.unpack_from("<I", data, at + 8)
        assert length_crc == masked(data[at:at + 8])
        record = data[at + 12:at + 12 + length]
        assert len(record) == length and struct.unpack_from("<I", data, at + 12 + length) == (masked(record),)
        yield record
        at += length + 16


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """{field number: [value, …]}: ints, floats and bytes."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            form, size = {1: ("<d", 8), 5: ("<f", 4)}[key & 7]
            (value,), at = struct.unpack_from(form, data, at), at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def one(message, *path, default=None):
    for number in path:
        if number not in message:
            return default
        assert len(message[number]) == 1
        message = message[number][0] if number == path[-1] else fields(message[number][0])
    return message


def read_run(folder):
    """Scalars as {tag: [(step, wall time, value), …]} and what plugins get as {tag: message} of a run's one file."""
    (path,) = folder.glob("events.out.tfevents.*")
    first, *events = (fields(record) for record in records(path))
    assert first[3] == [b"brain.Event:2"]
    scalars, plugins = {}, {}
    for event in events:
        value = fields(fields(event[5][0])[1][0])
        tag = value[1][0].decode()
        if 9 in value:
            data = fields(fields(value[9][0])[1][0])
            assert data[1] == [b"hparams"] and value[8]
            plugins[tag.removeprefix("_hparams_/")] = fields(data[2][0])
        else:
            scalars.setdefault(tag, []).append((event[2][0], event[1][0], value[2][0]))
    return scalars, plugins


def value_of(message):
    """A google.protobuf.Value."""
    ((number, (value,)),) = fields(message).items()
    return {2: float, 3: bytes.decode, 4: bool}[number](value)


def params_of(plugins):
    entries = map(fields, fields(plugins["session_start_info"][3][0]).get(1, []))
    return {entry[1][0].decode(): value_of(entry[2][0]) for entry in entries}


def status_of(plugins):
    return fields(plugins["session_end_info"][4][0])[1][0] if "session_end_info" in plugins else None


def hparams_of(plugins):
    """{name: (type, choices, interval, differs)} of the experiment."""
    found = {}
    for info in map(fields, fields(plugins["experiment"][2][0])[4]):
        choices = [value_of(value) for value in fields(info[5][0])[1]] if 5 in info else None
        interval = fields(info[6][0]) if 6 in info else None
        found[info[1][0].decode()] = (info[4][0], choices, interval and (interval[1][0], interval[2][0]), bool(info[7][0]))
    return found


def ctl(server, *args, expect=0, env=None):
    done = subprocess.run([program("sweepctl"), *map(str, args), "--server", server.url], capture_output=True, text=True, timeout=60 + PATIENCE_S,
                          env={**os.environ, **(env or {})})
    assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
    return done


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path) as daemon:
        yield daemon


PARAMETERS = {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "optimizer": {"values": ["sgd", "adam"]},
              "mixed": {"values": ["auto", 3, None]}, "frozen": {"values": [True, False]}, "net": {"parameters": {"layers": {"value": 2}}}}


@pytest.fixture
def study(server):
    """Four trials of every fate, and one that waits."""
    study = Study(server, parameters=PARAMETERS, metric={"name": "loss"}, name="board", run_cap=20)
    base = {"net": {"layers": 2}}
    study.enqueue({**base, "lr": 1e-3, "optimizer": "sgd", "mixed": "auto", "frozen": True}, {**base, "lr": 1e-2, "optimizer": "adam", "mixed": 3, "frozen": False},
                  {**base, "lr": 1e-4, "optimizer": "sgd", "mixed": None, "frozen": False}, {**base, "lr": 5e-4, "optimizer": "sgd", "mixed": 3, "frozen": True},
                  {**base, "lr": 6e-4, "optimizer": "sgd", "mixed": 3, "frozen": True})
    first, second, third, fourth = (study.claim() for _ in range(4))
    points = [{"name": "loss", "step": step, "value": 1 / step, "time": f"2026-11-27T01:02:0{step}.250Z"} for step in range(1, 6)]
    study.report(first, 1, metrics=points + [{"name": "eval/accuracy", "step": 5, "value": 0.1}])
    study.end(first)
    study.end(second, value=0.75)
    study.end(third, "failed", reason="diverged", detail="NaN")
    study.report(fourth, 1, metrics=points[:2])
    return study


def test_a_run_for_every_trial_with_its_series_and_what_the_hparams_page_wants(server, study, tmp_path):
    board = tmp_path / "board"
    said = ctl(server, "export", study.id, "--format", "tensorboard", "--output", board).stdout
    assert said.startswith("4 trials with 8 points") and str(board) in said
    assert sorted(path.name for path in board.iterdir() if path.is_dir()) == ["trial-0001", "trial-0002", "trial-0003", "trial-0004"]
    scalars, plugins = read_run(board / "trial-0001")
    assert [(step, value) for step, _, value in scalars["loss"]] == [(step, pytest.approx(1 / step)) for step in range(1, 6)]
    assert scalars["loss"][1][1] - scalars["loss"][0][1] == 1.0 and scalars["loss"][0][1] % 1 == 0.25
    assert [point[2] for point in scalars["eval/accuracy"]] == [pytest.approx(0.1)]
    assert [(step, value) for step, _, value in scalars["trial/value"]] == [(5, pytest.approx(0.2))]
    assert params_of(plugins) == {"lr": 1e-3, "optimizer": "sgd", "mixed": "auto", "frozen": True, "net.layers": 2.0}
    assert [value[2] for value in read_run(board / "trial-0002")[0]["trial/value"]] == [0.75]
    assert params_of(read_run(board / "trial-0003")[1])["mixed"] == "null" and read_run(board / "trial-0003")[0] == {}
    assert [status_of(read_run(board / f"trial-000{number}")[1]) for number in (1, 2, 3, 4)] == [1, 1, 2, None]


def test_the_sweep_is_an_experiment(server, study, tmp_path):
    ctl(server, "export", study.id, "--format", "tensorboard", "--output", tmp_path / "board")
    scalars, plugins = read_run(tmp_path / "board")
    experiment = fields(plugins["experiment"][2][0])
    assert not scalars and experiment[6] == [b"board"]
    assert hparams_of(plugins) == {"lr": (3, None, (1e-4, 1e-2), True), "optimizer": (1, ["sgd", "adam"], None, True), "mixed": (1, ["auto", "3", "null"], None, True),
                                   "frozen": (2, [True, False], None, True), "net.layers": (3, None, (2.0, 2.0), False)}
    metrics = [(one(fields(info[1][0]), 2), info[3][0]) for info in map(fields, experiment[5])]
    assert metrics == [(b"trial/value", b"value (loss)"), (b"loss", b"loss")]


def test_trials_that_never_ran_have_no_run(server, tmp_path):
    study = Study(server, run_cap=None)
    waiting, again = study.enqueue({"x": 0.5, "n": 1}, {"x": 0.25, "n": 1})
    server.post(f"/v1/trials/{waiting['id']}/cancel")
    trial = study.claim()
    study.report(trial, 1, metrics=[{"name": "loss", "step": 1, "value": 0.5}])
    study.end(trial, "released")
    said = ctl(server, "export", study.id, "--format", "tensorboard", "--output", tmp_path / "board").stdout
    assert trial["id"] == again["id"] and said.startswith("1 trial with 1 point;")
    scalars, plugins = read_run(tmp_path / "board" / "trial-0002")
    assert [point[2] for point in scalars["loss"]] == [0.5] and status_of(plugins) is None and not (tmp_path / "board" / "trial-0001").exists()


def test_the_same_trials_give_the_same_bytes(server, study, tmp_path):
    for name in ("a", "b"):
        ctl(server, "export", study.id, "--format", "tensorboard", "--output", tmp_path / name)
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert files[0] == files[1] and all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files[0])


def test_more_trials_and_points_than_a_page_holds(server, tmp_path):
    study = Study(server, run_cap=None)
    trial = study.claim()
    for seq in (1, 2, 3):
        study.report(trial, seq, metrics=[{"name": "loss", "step": 900 * seq + i, "value": i} for i in range(900)])
    study.end(trial)
    server.post(f"{study.path}/trials", {"trials": [{"params": {"x": i / 1100, "n": 1}, "value": i} for i in range(1100)]}, expect=201)
    said = ctl(server, "export", study.id, "--format", "tensorboard", "--output", tmp_path / "board").stdout
    assert said.startswith("1101 trials with 2700 points")
    assert [step for step, _, _ in read_run(tmp_path / "board" / "trial-0001")[0]["loss"]] == list(range(900, 3600))
    assert [point[2] for point in read_run(tmp_path / "board" / "trial-1101")[0]["trial/value"]] == [1099]
    assert hparams_of(read_run(tmp_path / "board")[1])["x"] == (3, None, pytest.approx((0, 1099 / 1100), abs=1), True)


def test_json_prints_the_sweep(server, study, tmp_path):
    said = ctl(server, "export", study.id, "--format", "tensorboard", "--output", tmp_path / "board", "--json").stdout
    assert json.loads(said)["id"] == study.id and (tmp_path / "board" / "trial-0001").is_dir()


def test_what_is_there_stays_and_failures_leave_nothing(server, study, tmp_path):
    def export(target, expect=1, sweep=study.id):
        return ctl(server, "export", sweep, "--format", "tensorboard", "--output", target, expect=expect).stderr

    def names():
        return sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("sweepd."))

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    assert "full is there already, and is not empty" in export(tmp_path / "full")
    assert "file is there already, and is no folder" in export(tmp_path / "file")
    assert "no sweep" in export(tmp_path / "none", sweep="unknown")
    assert "cannot make a folder beside" in export(tmp_path / "no" / "parent")
    assert "needs --output DIR" in ctl(server, "export", study.id, "--format", "tensorboard", expect=2).stderr
    assert "--format is csv, json, jsonl or tensorboard" in ctl(server, "export", study.id, "--format", "parquet", expect=2).stderr
    assert names() == ["file", "full"] and (tmp_path / "full" / "mine").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    export(tmp_path / "empty", expect=0)
    assert (tmp_path / "empty" / "trial-0001").is_dir()


def test_a_trial_whose_points_cannot_be_had_leaves_nothing(tmp_path):
    answers = {"/v1/sweeps/s1": {"id": "s1"}, "/v1/trials/t2/metrics": {"items": [], "next": None},
               "/v1/sweeps/s1/trials": {"items": [{"id": f"t{n}", "number": n, "state": "completed", "attempt": 1, "value": 1} for n in (1, 2)], "next": None}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.split("?")[0])
            body = json.dumps(answer or {"title": "not found", "status": 404}).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *ignored):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as source:
        thread = threading.Thread(target=source.serve_forever, daemon=True)
        thread.start()
        command = [program("sweepctl"), "export", "s1", "--format", "tensorboard", "--output", "board", "--server", f"http://127.0.0.1:{source.server_port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + PATIENCE_S, cwd=tmp_path)
        source.shutdown()
        thread.join()
    assert done.returncode == 1 and "not found" in done.stderr and done.stdout == "" and list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing(server, tmp_path):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=[{"name": "loss", "step": step, "value": step} for step in range(1000)])
    study.end(trial)
    folder = tmp_path / "small"
    folder.mkdir()
    few = Study(server, run_cap=1)  # its files are written when they are closed
    few.end(few.claim(), value=0.5)
    for what, form, most in ((study.id, "tensorboard", 8192), (few.id, "tensorboard", 64), (study.id, "json", 64)):  # as for a disk that is full, but EFBIG
        command = [program("sweepctl"), "export", what, "--format", form, "--output", "out", "--server", server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + PATIENCE_S, cwd=folder, restore_signals=False,  # Python ignores SIGXFSZ
                              preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        assert done.returncode == 1 and "cannot write" in done.stderr, (form, most, done.stderr)
        assert list(folder.iterdir()) == []


def test_tables_go_to_a_file_whole_or_not_at_all(server, study, tmp_path):
    for form in ("csv", "json", "jsonl"):
        path = tmp_path / f"trials.{form}"
        path.write_text("old")
        assert ctl(server, "export", study.id, "--format", form, "--output", path).stdout == ""
        assert path.read_text() == ctl(server, "export", study.id, "--format", form).stdout
    ctl(server, "export", "unknown", "--format", "csv", "--output", tmp_path / "trials.csv", expect=1)
    assert (tmp_path / "trials.csv").read_text().startswith("number,id") and not list(tmp_path.glob("*.part-*"))
