"""Models of the best trials: offered and sent by workers, kept by the coordinator, fetched by sweepctl."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from daemon import PATIENCE_S, SANITIZED, Daemon, program

MIB = 1 << 20


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path, "--models-dir", tmp_path / "kept", "--models-max-mb", 4) as daemon:
        yield daemon


def listed(files):
    return [{"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]


def bytes_of(seed, n):
    return hashlib.shake_128(str(seed).encode()).digest(n)


class Hand:
    """A worker by hand: ends trials, offers and sends models."""

    def __init__(self, server, **sweep):
        self.server = server
        self.sweep = server.create_sweep(run_cap=None, **sweep)["id"]
        self.worker = server.register("hand")["id"]
        self.n = 0

    def end(self, value):
        self.n += 1
        trial = self.server.claim(self.worker, f"{self.sweep}-{self.n}", sweep=self.sweep)[0]
        self.server.report(trial, 1, outcome={"state": "completed", "value": value})
        return trial

    def offer(self, trial, files, expect=200, **members):
        return self.server.post(f"/v1/trials/{trial['id']}/model", {"lease": trial["lease"], "files": listed(files), **members}, expect=expect)

    def put(self, trial, name, data, offset=0, expect=200, lease=None, **headers):
        response = self.server.session.put(f"{self.server.url}/v1/trials/{trial['id']}/model/file", params={"name": name, "offset": offset}, data=data,
                                           headers={"Content-Type": "application/octet-stream", "Lease": lease or trial["lease"], **headers}, timeout=PATIENCE_S)
        assert response.status_code == expect, response.text
        return response.json()

    def send(self, trial, files, piece=MIB):
        for name, data in files.items():
            for offset in range(0, len(data), piece):
                assert self.put(trial, name, data[offset:offset + piece], offset)["received"] == min(offset + piece, len(data))

    def await_kept(self, trial, files):
        deadline = time.monotonic() + PATIENCE_S
        while (state := self.offer(trial, files)["state"]) == "storing":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert state == "kept"

    def keep(self, value, files):
        trial = self.end(value)
        assert self.offer(trial, files)["state"] == "wanted"
        self.send(trial, files)
        self.await_kept(trial, files)
        return trial

    def kept(self):
        return [(model["trial"], model["value"]) for model in self.server.get(f"/v1/sweeps/{self.sweep}/models")["items"]]

    def file(self, trial, name, offset=0, expect=200):
        response = self.server.request("GET", f"/v1/trials/{trial['id']}/model/file?name={name}&offset={offset}", expect=expect)
        return response.content


FILES = {"config.json": b'{"a":1}', "model.safetensors": bytes_of("weights", 300_001), "vocab.txt": b"[PAD]\n"}


def folders(server):
    return sorted(path.name for path in (server.folder / "kept").iterdir())


def wait_for_folders(server, expected):
    deadline = time.monotonic() + PATIENCE_S
    while folders(server) != sorted(expected):
        assert time.monotonic() < deadline, folders(server)
        time.sleep(0.02)


# --- the coordinator ------------------------------------------------------------------------------------

@pytest.mark.coordinator
def test_a_model_comes_in_pieces_and_goes_out_whole(server):
    hand = Hand(server)
    trial = hand.end(0.5)
    assert [file["received"] for file in hand.offer(trial, FILES)["files"]] == [0, 0, 0]
    assert server.request("GET", f"/v1/trials/{trial['id']}/model").status_code == 404
    hand.put(trial, "config.json", FILES["config.json"])
    hand.put(trial, "model.safetensors", FILES["model.safetensors"][:1000])
    assert [file["received"] for file in hand.offer(trial, FILES)["files"]] == [7, 1000, 0]
    assert hand.kept() == [] and server.get(f"/v1/trials/{trial['id']}")["state"] == "completed"
    hand.put(trial, "model.safetensors", FILES["model.safetensors"][1000:], 1000)
    hand.put(trial, "vocab.txt", FILES["vocab.txt"])
    hand.await_kept(trial, FILES)
    model = server.get(f"/v1/trials/{trial['id']}/model")
    assert (model["trial"], model["sweep"], model["value"], model["attempt"]) == (trial["id"], hand.sweep, 0.5, 1)
    assert model["files"] == listed(FILES) and model["bytes"] == sum(map(len, FILES.values()))
    for name, data in FILES.items():
        assert hand.file(trial, name) == data
    assert hand.file(trial, "model.safetensors", 299_000) == FILES["model.safetensors"][299_000:]
    assert hand.file(trial, "vocab.txt", 6) == b""
    hand.file(trial, "vocab.txt", 7, expect=422)
    hand.file(trial, "other", expect=404)
    assert server.request("HEAD", f"/v1/trials/{trial['id']}/model/file?name=vocab.txt").headers["Content-Length"] == "6"
    wait_for_folders(server, [trial["id"]])


@pytest.mark.coordinator
def test_pieces_out_of_place_change_nothing(server):
    hand = Hand(server)
    trial = hand.end(0.5)
    hand.put(trial, "config.json", b"early", expect=404)
    hand.offer(trial, FILES)
    hand.put(trial, "config.json", FILES["config.json"], lease="somebody", expect=404)
    hand.put(trial, "config.json", FILES["config.json"], lease="x" * 129, expect=422)
    without = server.session.put(f"{server.url}/v1/trials/{trial['id']}/model/file?name=config.json", data=b"x", headers={"Content-Type": "application/octet-stream"},
                                 timeout=PATIENCE_S)
    assert without.status_code == 422 and "Lease" in without.json()["detail"]
    hand.put(trial, "vocab.txt", FILES["vocab.txt"], expect=409)  # not its turn
    hand.put(trial, "config.json", FILES["config.json"][3:], 3, expect=409)
    hand.put(trial, "config.json", FILES["config.json"] + b"x", expect=422)
    hand.put(trial, "config.json", b"", expect=422)
    hand.put(trial, "nothing", b"x", expect=404)
    hand.put(trial, "config.json", b"{}", expect=415, **{"Content-Type": "application/json"})
    for name in ("..%2fx", ".hidden", "a/b", "", "x" * 65, "a%00b"):
        response = server.session.put(f"{server.url}/v1/trials/{trial['id']}/model/file?name={name}", data=b"x",
                                      headers={"Content-Type": "application/octet-stream", "Lease": trial["lease"]}, timeout=PATIENCE_S)
        assert response.status_code == 422, name
        assert server.request("GET", f"/v1/trials/{trial['id']}/model/file?name={name}").status_code == 422, name
    assert server.request("GET", f"/v1/trials/{trial['id']}/model/file?name=a&flavour=1").status_code == 422
    assert [file["received"] for file in hand.offer(trial, FILES)["files"]] == [0, 0, 0]
    hand.send(trial, FILES, 100_000)
    hand.await_kept(trial, FILES)


@pytest.mark.coordinator
def test_bytes_that_came_changed_are_refused_and_the_model_begins_anew(server):
    hand = Hand(server)
    trial = hand.end(0.5)
    hand.offer(trial, FILES)
    hand.put(trial, "config.json", FILES["config.json"])
    data = bytearray(FILES["model.safetensors"])
    data[1234] ^= 1
    hand.put(trial, "model.safetensors", bytes(data[:200_000]))
    assert "SHA-256" in hand.put(trial, "model.safetensors", bytes(data[200_000:]), 200_000, expect=422)["detail"]
    wait_for_folders(server, [])
    assert [file["received"] for file in hand.offer(trial, FILES)["files"]] == [0, 0, 0]
    hand.send(trial, FILES)
    hand.await_kept(trial, FILES)


@pytest.mark.coordinator
def test_offers_without_a_right_are_refused(server):
    hand = Hand(server)
    trial = server.claim(hand.worker, "running", sweep=hand.sweep)[0]
    hand.offer(trial, FILES, expect=409)  # it has not ended
    server.report(trial, 1, outcome={"state": "failed", "reason": "diverged"})
    hand.offer(trial, FILES, expect=409)  # without a value
    good = hand.end(0.5)
    hand.offer({**good, "lease": "somebody"}, FILES, expect=409)
    hand.offer({**good, "id": "nobody"}, FILES, expect=404)
    faults = [fault["pointer"] for fault in hand.offer(good, {"a/b": b"x", "": b"y", ".c": b"z", "d": b""}, expect=422, flavour=1)["errors"]]
    assert {"/flavour", "/files/0/name", "/files/1/name", "/files/2/name", "/files/3/bytes"} <= set(faults)
    server.post(f"/v1/trials/{good['id']}/model", {"lease": good["lease"], "files": []}, expect=422)
    twice = listed({"a": b"x"}) * 2
    server.post(f"/v1/trials/{good['id']}/model", {"lease": good["lease"], "files": twice}, expect=422)


@pytest.mark.coordinator
def test_the_best_of_a_sweep_stay(server):
    hand = Hand(server, metric={"name": "acc", "goal": "maximize"})
    hand.keep(0.5, FILES)
    worse = hand.end(0.4)
    declined = hand.offer(worse, FILES)
    assert declined["state"] == "declined" and "better" in declined["detail"]
    hand.put(worse, "config.json", FILES["config.json"], expect=404)
    equal = hand.end(0.5)
    assert hand.offer(equal, FILES)["state"] == "declined"
    best = hand.keep(0.6, FILES)
    assert hand.kept() == [(best["id"], 0.6)]
    wait_for_folders(server, [best["id"]])


@pytest.mark.coordinator
def test_several_of_a_sweep_can_stay(tmp_path):
    with Daemon(tmp_path, "--models-dir", tmp_path / "kept", "--models-per-sweep", 2) as server:
        hand = Hand(server)  # minimize
        trials = {value: hand.keep(value, FILES) for value in (0.5, 0.3, 0.4)}
        assert hand.kept() == [(trials[0.3]["id"], 0.3), (trials[0.4]["id"], 0.4)]


@pytest.mark.coordinator
def test_room_is_bounded_and_the_oldest_that_is_not_the_best_goes_first(tmp_path):
    with Daemon(tmp_path, "--models-dir", tmp_path / "kept", "--models-max-mb", 2, "--models-per-sweep", 2) as server:
        big = {"weights": bytes_of(1, 600_000)}
        first, second = Hand(server, name="a"), Hand(server, name="b")
        a_good = first.keep(0.2, big)
        a_best = first.keep(0.1, big)
        b_best = second.keep(0.7, big)
        assert len(first.kept()) == 2 and len(second.kept()) == 1
        b_more = second.keep(0.8, big)  # 2.4 MB: the first model of a is not its best
        assert first.kept() == [(a_best["id"], 0.1)] and a_good["id"] not in folders(server)
        assert [trial for trial, _ in second.kept()] == [b_best["id"], b_more["id"]]
        huge = second.end(0.6)
        assert "larger" in second.offer(huge, {"weights": bytes(2 * MIB + 1)})["detail"]
        total = sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*") if path.is_file())
        assert total < 2 * MIB + 64 * 1024
    with Daemon(tmp_path, "--models-dir", tmp_path / "kept", "--models-max-mb", 1) as server:  # less room than before: it is kept
        wait = time.monotonic() + PATIENCE_S
        while len(folders(server)) > 1:
            assert time.monotonic() < wait
            time.sleep(0.02)


@pytest.mark.coordinator
def test_a_kill_loses_no_kept_model_and_leaves_no_half_one(server):
    hand = Hand(server)
    kept = hand.keep(0.5, FILES)
    better = hand.end(0.4)
    hand.offer(better, FILES)
    hand.put(better, "config.json", FILES["config.json"])
    hand.put(better, "model.safetensors", FILES["model.safetensors"][:200_000])
    assert len(folders(server)) == 2
    server.restart(crash=True)
    assert folders(server) == [kept["id"]] and hand.kept() == [(kept["id"], 0.5)]
    assert hand.file(kept, "model.safetensors") == FILES["model.safetensors"]
    hand.put(better, "model.safetensors", FILES["model.safetensors"][200_000:], 200_000, expect=404)
    assert hand.offer(better, FILES)["state"] == "wanted"
    hand.send(better, FILES)
    hand.await_kept(better, FILES)
    server.restart(crash=True)
    assert hand.kept() == [(better["id"], 0.4)] and hand.file(better, "model.safetensors") == FILES["model.safetensors"]


@pytest.mark.coordinator
def test_models_go_with_their_sweep_and_with_a_retry(server):
    hand = Hand(server)
    trial = hand.keep(0.5, FILES)
    server.post(f"/v1/trials/{trial['id']}/retry")
    wait_for_folders(server, [])
    again = server.claim(hand.worker, "again", sweep=hand.sweep)[0]
    assert again["id"] == trial["id"]
    hand.offer(trial, FILES, expect=409)  # the lease of then
    server.report(again, 1, outcome={"state": "completed", "value": 0.6})
    hand.offer(again, FILES)
    hand.send(again, FILES)
    hand.await_kept(again, FILES)
    server.patch(f"/v1/sweeps/{hand.sweep}", {"state": "cancelled"})
    server.request("DELETE", f"/v1/sweeps/{hand.sweep}", expect=204)
    wait_for_folders(server, [])


@pytest.mark.coordinator
def test_an_offer_that_is_declined_for_room_costs_nothing(server):
    hand, coming, late = Hand(server, name="a"), Hand(server, name="b"), Hand(server, name="c")
    trial = hand.keep(0.5, {"weights": bytes_of(1, MIB)})
    assert coming.offer(coming.end(0.5), {"weights": bytes(3 * MIB - 1)})["state"] == "wanted"
    declined = late.offer(late.end(0.5), {"weights": bytes(2 * MIB)})
    assert declined["state"] == "declined" and "on their way" in declined["detail"]
    assert hand.kept() == [(trial["id"], 0.5)] and hand.file(trial, "weights") == bytes_of(1, MIB)


@pytest.mark.coordinator
def test_what_a_crash_left_of_trials_that_are_gone_goes_at_the_start(server):
    deleted, retried, good = (Hand(server, name=name) for name in "abc")
    trials = [hand.keep(0.5, FILES) for hand in (deleted, retried, good)]
    for folder in folders(server):
        shutil.copytree(server.folder / "kept" / folder, server.folder / "aside" / folder)
    server.patch(f"/v1/sweeps/{deleted.sweep}", {"state": "cancelled"})
    server.request("DELETE", f"/v1/sweeps/{deleted.sweep}", expect=204)
    server.post(f"/v1/trials/{trials[1]['id']}/retry")
    wait_for_folders(server, [trials[2]["id"]])
    server.stop()
    for trial in trials[:2]:  # as a kill between the commit and the deletion leaves it
        shutil.copytree(server.folder / "aside" / trial["id"], server.folder / "kept" / trial["id"])
    server.start()
    wait_for_folders(server, [trials[2]["id"]])
    for trial in trials[:2]:
        deleted.file(trial, "vocab.txt", expect=404)
    assert good.kept() == [(trials[2]["id"], 0.5)]


@pytest.mark.coordinator
def test_what_is_damaged_on_the_disk_is_not_offered_after_a_start(server):
    hand = Hand(server)
    trial = hand.keep(0.5, FILES)
    with open(server.folder / "kept" / trial["id"] / "files" / "model.safetensors", "ab") as file:
        file.write(b"x")
    (server.folder / "kept" / "someones").mkdir()
    server.restart()
    assert hand.kept() == [] and "left alone" in server.log()
    assert sorted(folders(server)) == sorted([trial["id"], "someones"])


@pytest.mark.coordinator
def test_without_a_folder_it_says_how_to_have_one(tmp_path):
    with Daemon(tmp_path) as server:
        hand = Hand(server)
        trial = hand.end(0.5)
        assert "--models-dir" in hand.offer(trial, FILES, expect=404)["detail"]
        for path in (f"/v1/sweeps/{hand.sweep}/models", f"/v1/trials/{trial['id']}/model", f"/v1/trials/{trial['id']}/model/file?name=a"):
            assert "--models-dir" in server.get(path, expect=404)["detail"]
        done = fetch_model(server, hand.sweep, tmp_path / "model", expect=1)
        assert "--models-dir" in done.stderr


@pytest.mark.coordinator
def test_roles_and_tokens_for_one_sweep(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("admin root sesame-admin\nworker w sesame-worker\nviewer v sesame-viewer\n")
    tokens.chmod(0o600)
    with Daemon(tmp_path, "--token-file", tokens, "--models-dir", tmp_path / "kept", auth=True, token="sesame-admin") as server:
        hand, other = Hand(server, name="a"), Hand(server, name="b")
        trial = hand.keep(0.5, FILES)
        secrets = {}
        for role in ("worker", "viewer"):
            done = subprocess.run([program("sweepd"), "token", "create", "--role", role, "--name", f"only-{role}", "--sweep", other.sweep, "--database",
                                   str(server.database)], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
            secrets[role] = done.stdout.strip()

        def status(method, path, token, **headers):
            return requests.request(method, server.url + path, headers={"Authorization": f"Bearer {token}", **headers}, timeout=PATIENCE_S, data=b"x").status_code

        file = f"/v1/trials/{trial['id']}/model/file?name=vocab.txt"
        octets = {"Content-Type": "application/octet-stream", "Lease": trial["lease"]}
        assert status("GET", file, "sesame-viewer") == 200 and status("GET", file, "sesame-worker") == 403
        assert status("PUT", file, "sesame-viewer", **octets) == 403 and status("GET", file, "wrong") == 401
        assert status("GET", file, secrets["viewer"]) == 403 and status("GET", f"/v1/sweeps/{hand.sweep}/models", secrets["viewer"]) == 403
        better = hand.end(0.4)
        hand.offer(better, FILES)
        octets["Lease"] = better["lease"]
        assert status("PUT", f"/v1/trials/{better['id']}/model/file?name=config.json", secrets["worker"], **octets) == 403


# --- sweepctl -------------------------------------------------------------------------------------------

def fetch_model(server, id, target, expect=0, url=None, args=()):
    done = subprocess.run([program("sweepctl"), "--server", url or server.url, *args, "fetch-model", id, target], capture_output=True, text=True,
                          timeout=60 + PATIENCE_S * 2)
    assert done.returncode == expect, (done.stdout, done.stderr)
    return done


def contents(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


@pytest.mark.coordinator
def test_sweepctl_brings_the_folder_of_a_sweep_or_of_a_trial(server, tmp_path):
    hand = Hand(server)
    assert "no model" in fetch_model(server, hand.sweep, tmp_path / "early", expect=1).stderr
    trial = hand.keep(0.5, FILES)
    out = fetch_model(server, hand.sweep, tmp_path / "model").stdout
    assert trial["id"] in out and contents(tmp_path / "model") == FILES
    (tmp_path / "empty").mkdir()
    told = json.loads(fetch_model(server, trial["id"], tmp_path / "empty", args=["--json"]).stdout)
    assert told["files"] == listed(FILES) and contents(tmp_path / "empty") == FILES
    assert "not empty" in fetch_model(server, trial["id"], tmp_path / "model", expect=1).stderr
    assert contents(tmp_path / "model") == FILES
    assert "nobody" in fetch_model(server, "nobody", tmp_path / "new", expect=1).stderr
    hand.end(0.1)  # better, and its model was never sent
    assert "best trial" in fetch_model(server, hand.sweep, tmp_path / "again").stderr
    assert not list(tmp_path.glob("*.part-*")) and not (tmp_path / "new").exists()


@pytest.mark.coordinator
def test_a_damaged_model_is_not_brought(server, tmp_path):
    hand = Hand(server)
    trial = hand.keep(0.5, FILES)
    path = server.folder / "kept" / trial["id"] / "files" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[77] ^= 8
    path.write_bytes(data)
    assert "SHA-256" in fetch_model(server, hand.sweep, tmp_path / "model", expect=1).stderr
    path.write_bytes(data[:1000])
    fetch_model(server, hand.sweep, tmp_path / "model", expect=1)
    assert not list(tmp_path.glob("model*"))


class CuttingProxy:
    """Passes bytes on, and cuts each connection after so many in either direction."""

    def __init__(self, url, bytes_each):
        host, port = url.split("//")[1].split(":")
        self.target, self.bytes_each, self.n_cut = (host, int(port)), bytes_each, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    def copy(self, source, sink):
        left = self.bytes_each
        try:
            while data := source.recv(min(65536, left)):
                sink.sendall(data)
                left -= len(data)
                if left == 0:
                    self.n_cut += 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.coordinator
def test_sweepctl_goes_on_where_it_was_cut(server, tmp_path):
    hand = Hand(server)
    files = {"weights": bytes_of("cut", 900_000)}
    hand.keep(0.5, files)
    with CuttingProxy(server.url, 100_000) as proxy:
        fetch_model(server, hand.sweep, tmp_path / "model", url=proxy.url)
        assert proxy.n_cut >= 9
    assert contents(tmp_path / "model") == files


# --- sweep-worker ---------------------------------------------------------------------------------------

def worker(url, folder, *args):
    with open(folder / "worker.log", "ab") as log:
        return subprocess.Popen([program("sweep-worker"), "--coordinator", url, "--name", "w", "--slots", "1", "--threads", "1", "--work-dir",
                                 str(folder / "work"), "--min-free-mb", "0", *map(str, args)], stderr=log, stdout=subprocess.DEVNULL)


def worker_log(folder):
    return (folder / "worker.log").read_text(errors="replace")


def test_a_trained_model_is_fetched_and_predicts(server, tmp_path):
    sweep = server.create_sweep(trainer="distilbert-mrpc", method="grid", run_cap=2, metric={"name": "eval/accuracy", "goal": "maximize"},
                                parameters={"learning_rate": {"values": [1e-6, 3e-3]}}, fixed={"epochs": 1, "limit_train": 160, "limit_eval": 64})["id"]
    process = worker(server.url, tmp_path, "--max-trials", 2)
    try:
        assert process.wait(PATIENCE_S * (20 if SANITIZED else 8)) == 0, worker_log(tmp_path)
    finally:
        process.kill()
    best = server.get(f"/v1/sweeps/{sweep}")["best"]
    (model,) = server.get(f"/v1/sweeps/{sweep}/models")["items"]
    assert model["value"] == best["value"]
    assert not list((tmp_path / "work").rglob(".upload"))
    fetch_model(server, sweep, tmp_path / "model")
    assert {"config.json", "model.safetensors", "vocab.txt", "trial.json"} <= set(contents(tmp_path / "model"))
    pairs = '{"a":"one two three","b":"one two three"}\n{"a":"one","b":"two"}\n'
    done = subprocess.run([program("sweep-trainer"), "predict", "--model", tmp_path / "model"], input=pairs, capture_output=True, text=True,
                          timeout=PATIENCE_S * 4)
    assert done.returncode == 0 and [set(json.loads(line)) >= {"label", "probability"} for line in done.stdout.splitlines()] == [True, True]


def writes_a_model(folder, n_bytes):
    path = folder / "program"
    path.write_text(f'#!/bin/sh\nhead -c {n_bytes} /dev/urandom > "$SWEEPD_OUTPUT_DIR/weights"; echo "$SWEEPD_TRIAL" > "$SWEEPD_OUTPUT_DIR/name"\n'
                    ': > "$SWEEPD_OUTPUT_DIR/empty"\n'
                    "echo '{\"event\":\"metric\",\"name\":\"loss\",\"step\":1,\"value\":0.5}'\n")
    path.chmod(0o755)
    return f"--allow-command=prog={path}"


def kept_models(work):
    return [path for path in work.glob("models/*/*") if path.is_dir()]


def test_a_worker_gets_its_model_through_a_line_that_is_cut_again_and_again(server, tmp_path):
    sweep = server.create_sweep(trainer="command", program="prog", run_cap=1)["id"]
    with CuttingProxy(server.url, 400_000) as proxy:
        process = worker(proxy.url, tmp_path, "--trainer", "command", writes_a_model(tmp_path, 1_500_000), "--max-trials", 1)
        try:
            assert process.wait(PATIENCE_S * 6) == 0, worker_log(tmp_path)
        finally:
            process.kill()
        assert proxy.n_cut >= 3
    fetch_model(server, sweep, tmp_path / "model")
    (local,) = kept_models(tmp_path / "work")
    assert contents(tmp_path / "model") == {name: data for name, data in contents(local).items() if data}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ended_sends_its_model_after_its_next_start(server, tmp_path, end):
    sweep = server.create_sweep(trainer="command", program="prog", run_cap=1)["id"]
    allow = writes_a_model(tmp_path, 1_500_000)
    with CuttingProxy(server.url, 40_000) as proxy:  # too narrow to finish quickly
        process = worker(proxy.url, tmp_path, "--trainer", "command", allow)
        try:
            server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", PATIENCE_S * 3)
            deadline = time.monotonic() + PATIENCE_S
            while not list((tmp_path / "work").rglob(".upload")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(end)
            assert process.wait(PATIENCE_S) == (0 if end == signal.SIGTERM else -end)
        finally:
            process.kill()
            process.wait()
    assert server.get(f"/v1/sweeps/{sweep}/models")["items"] == [] and list((tmp_path / "work").rglob(".upload"))
    process = worker(server.url, tmp_path, "--trainer", "command", allow, "--exit-when-idle", 1)
    try:
        assert process.wait(PATIENCE_S * 4) == 0, worker_log(tmp_path)
    finally:
        process.kill()
    (local,) = kept_models(tmp_path / "work")
    assert not (local / ".upload").exists()
    fetch_model(server, sweep, tmp_path / "model")
    assert contents(tmp_path / "model") == {name: data for name, data in contents(local).items() if data}


def test_a_model_waits_for_a_token_that_is_good(tmp_path):
    secrets, tokens = tmp_path / "worker.token", tmp_path / "tokens"
    tokens.write_text("admin root sesame-admin\n")
    tokens.chmod(0o600)
    allow = writes_a_model(tmp_path, 1_500_000)
    with Daemon(tmp_path, "--token-file", tokens, "--models-dir", tmp_path / "kept", auth=True, token="sesame-admin") as server:
        def token(verb, *args):
            return subprocess.run([program("sweepd"), "token", verb, *args, "--database", str(server.database)], capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=True).stdout

        secrets.write_text(token("create", "--role", "worker", "--name", "first"))
        secrets.chmod(0o600)
        sweep = server.create_sweep(trainer="command", program="prog", run_cap=1)["id"]
        with CuttingProxy(server.url, 40_000) as proxy:  # too narrow to finish quickly
            process = worker(proxy.url, tmp_path, "--trainer", "command", allow, "--token-file", secrets)
            try:
                server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", PATIENCE_S * 3)
                token("revoke", "first")
                deadline = time.monotonic() + PATIENCE_S
                while not re.search("cannot be sent yet.* status=4(01|29) why=.*token", worker_log(tmp_path)):
                    assert time.monotonic() < deadline, worker_log(tmp_path)
                    time.sleep(0.01)
            finally:
                process.kill()
                process.wait()
        assert list((tmp_path / "work").rglob(".upload"))
        server.restart()  # wrong tokens are forgotten
        secrets.write_text(token("create", "--role", "worker", "--name", "second"))
        process = worker(server.url, tmp_path, "--trainer", "command", allow, "--token-file", secrets, "--exit-when-idle", 1)
        try:
            assert process.wait(PATIENCE_S * 4) == 0, worker_log(tmp_path)
        finally:
            process.kill()
        assert len(server.get(f"/v1/sweeps/{sweep}/models")["items"]) == 1 and not list((tmp_path / "work").rglob(".upload"))


def test_folders_that_are_no_model_stay_where_they_are(server, tmp_path):
    path = tmp_path / "program"
    path.write_text('#!/bin/sh\nmkdir "$SWEEPD_OUTPUT_DIR/sub"; echo x > "$SWEEPD_OUTPUT_DIR/sub/x"\n'
                    "echo '{\"event\":\"metric\",\"name\":\"loss\",\"step\":1,\"value\":0.5}'\n")
    path.chmod(0o755)
    sweep = server.create_sweep(trainer="command", program="prog", run_cap=1)["id"]
    process = worker(server.url, tmp_path, "--trainer", "command", f"--allow-command=prog={path}", "--max-trials", 1)
    try:
        assert process.wait(PATIENCE_S * 3) == 0, worker_log(tmp_path)
    finally:
        process.kill()
    assert server.get(f"/v1/sweeps/{sweep}/models")["items"] == []
    assert "plainly named files" in worker_log(tmp_path) and len(kept_models(tmp_path / "work")) == 1
