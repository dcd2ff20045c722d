"""sweep-worker fetch against a server that cuts, lies and redirects."""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import threading

import pytest

from daemon import PATIENCE_S, program

BODY = bytes(range(256)) * 4000  # a megabyte


class Source(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` are popped one a request: "cut", "503", "lie", "slice", or a redirect's target."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.asked, self.has_etag = {}, [], [], True
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        source = self.server
        fault = source.faults.pop(0) if source.faults else None
        source.asked.append((self.path, self.headers["Range"], self.headers["If-Range"]))
        if fault and "://" in fault:
            self.send_response(302)
            self.send_header("Location", fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "503" or self.path not in source.files:
            self.send_response(503 if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = source.files[self.path]
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
        if self.headers["If-Range"] and self.headers["If-Range"] != etag or start >= len(body):
            start = 0
        shown = start + 7 if fault == "slice" else start
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        if source.has_etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if fault == "cut":
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(b"x" * len(rest) if fault == "lie" else rest)

    def log_message(self, *ignored):
        pass


@pytest.fixture
def source():
    with Source() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(tmp_path, source):
    """Runs it on a catalogue of one entry, "m", with the file "w.bin"; sha256 as given."""

    def run(*args, sha256=None, expect=0, to="models", **entry):
        item = {"name": "w.bin", **({"sha256": sha256} if sha256 else {}), **entry}
        (tmp_path / "catalogue.json").write_text(json.dumps({"m": {"what": "a model", "base": source.url + "/", "files": [item]}}))
        done = subprocess.run([program("sweep-worker"), "fetch", "m", "--to", to, "--catalogue", "catalogue.json", *map(str, args)], cwd=tmp_path,
                              capture_output=True, text=True, timeout=60 + PATIENCE_S, env={**os.environ, "no_proxy": "127.0.0.1"})
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    source.files["/w.bin"] = BODY
    run.file = tmp_path / "models" / "m" / "w.bin"
    return run


SHA256 = hashlib.sha256(BODY).hexdigest()


def whole(fetch):
    assert fetch.file.read_bytes() == BODY
    assert sorted(path.name for path in fetch.file.parent.iterdir()) == ["SHA256SUMS", "w.bin"]
    assert fetch.file.with_name("SHA256SUMS").read_text() == f"{SHA256}  w.bin\n"


def test_a_file_arrives_and_is_not_asked_for_again(fetch, source):
    assert SHA256 in fetch(sha256=SHA256).stdout
    whole(fetch)
    assert "there already" in fetch(sha256=SHA256).stdout
    assert len(source.asked) == 1


def test_what_was_cut_goes_on_where_it_was(fetch, source):
    source.faults = ["cut", "503", "cut"]
    fetch(sha256=SHA256)
    whole(fetch)
    half, three_quarters = len(BODY) // 2, len(BODY) // 2 + len(BODY) // 4
    assert [asked[1] for asked in source.asked] == [None, f"bytes={half}-", f"bytes={half}-", f"bytes={three_quarters}-"]


def test_a_file_of_unknown_digest_is_trusted_once_and_held_to_it(fetch, source):
    assert "trusted now" in fetch().stdout
    whole(fetch)
    fetch.file.unlink()
    source.files["/w.bin"] = b"another"
    assert "as when it was fetched first" in fetch(expect=1).stderr
    assert not fetch.file.exists()
    source.files["/w.bin"] = BODY
    fetch()
    whole(fetch)


def test_an_unknown_file_that_changed_between_two_parts_is_no_mixture(fetch, source, monkeypatch):
    other = bytes(reversed(BODY))
    serve = Handler.do_GET

    def serve_and_change(handler):
        serve(handler)
        source.files["/w.bin"] = other

    monkeypatch.setattr(Handler, "do_GET", serve_and_change)
    source.faults = ["cut"]
    fetch()
    assert fetch.file.read_bytes() == other
    assert source.asked[1][1] and source.asked[1][2]  # it went on, if its part still held


def test_without_a_mark_an_unknown_file_starts_again(fetch, source):
    source.has_etag, source.faults = False, ["cut"]
    fetch()
    whole(fetch)
    assert [asked[1] for asked in source.asked] == [None, None]


def test_a_lie_is_refused_and_leaves_nothing(fetch, source):
    source.faults = ["lie"]
    assert "SHA-256 is" in fetch(sha256=SHA256, expect=1).stderr
    assert list(fetch.file.parent.iterdir()) == []
    source.faults = ["cut", "lie"]  # its second half: once more from the start
    fetch(sha256=SHA256)
    whole(fetch)


def test_a_part_that_was_not_asked_for_is_refused(fetch, source):
    source.faults = ["cut", "slice"]
    assert "another part" in fetch(sha256=SHA256, expect=1).stderr
    assert not fetch.file.exists()


def test_redirects_are_followed_but_not_for_ever_nor_to_files(fetch, source):
    source.faults = [source.url + "/w.bin"]
    fetch(sha256=SHA256)
    whole(fetch)
    fetch.file.unlink()
    source.faults = [source.url + "/w.bin"] * 20
    fetch(sha256=SHA256, expect=1)
    assert len(source.asked) < 12
    source.faults = ["file:///etc/passwd"]
    fetch(sha256=SHA256, expect=1)
    assert not fetch.file.exists()


def test_a_missing_file_fails_at_once(fetch, source):
    source.files.clear()
    assert "404" in fetch(expect=1).stderr
    assert len(source.asked) == 1


def test_a_mirror_takes_the_catalogues_place(fetch, source):
    source.files = {"/mirror/m/w.bin": BODY}
    fetch("--mirror", source.url + "/mirror/", sha256=SHA256)
    whole(fetch)


def test_offline_from_a_folder(fetch, source, tmp_path):
    (tmp_path / "disk" / "m").mkdir(parents=True)
    (tmp_path / "disk" / "m" / "w.bin").write_bytes(BODY)
    fetch("--from", tmp_path / "disk", sha256=SHA256)
    whole(fetch)
    fetch.file.unlink()
    (tmp_path / "disk" / "m" / "w.bin").write_bytes(BODY[:-1])
    assert "SHA-256 is" in fetch("--from", tmp_path / "disk", sha256=SHA256, expect=1).stderr
    assert not source.asked


@pytest.mark.parametrize("name", ["../w.bin", "/etc/passwd", ".ssh", "a/b", ""])
def test_a_hostile_catalogue_cannot_leave_its_folder(fetch, name, tmp_path):
    fetch(name=name, expect=1)
    assert not any(path.is_file() for path in (tmp_path / "models").rglob("*")) if (tmp_path / "models").exists() else True


def test_wrong_usage_and_the_installed_catalogue():
    def run(*args):
        return subprocess.run([program("sweep-worker"), "fetch", *args], capture_output=True, text=True, timeout=PATIENCE_S)

    assert run().returncode == 2
    assert run("distilbert-base-uncased").returncode == 2
    assert run("nothing-like-it", "--to", "x").returncode == 2
    assert run("--help").returncode == 0
    catalogue = pathlib.Path(program("sweep-worker")).resolve().parents[1] / "share" / "sweepd" / "catalogue.json"
    if catalogue.exists():
        listed = run("--list").stdout
        assert "distilbert-base-uncased" in listed and "mrpc" in listed
