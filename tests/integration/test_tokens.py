"""Tokens kept in the database: `sweepd token`, beside a running server; what wrong ones meet; tokens for one sweep."""
import re
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
import requests
from daemon import PATIENCE_S, Daemon, program

pytestmark = pytest.mark.coordinator
BURST = 100  # FAILURES_BURST of coordinator/http/failures.h


def token_command(folder, *args, code=0):
    done = subprocess.run([program("sweepd"), "token", *map(str, args), "--database", str(folder / "sweepd.db")], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    assert done.returncode == code, done.stderr
    return done


def create(folder, role, name, *args):
    return token_command(folder, "create", "--role", role, "--name", name, *args).stdout.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server that knows an admin's token, and its folder."""
    folder = tmp_path_factory.mktemp("tokens")
    secret = create(folder, "admin", "root")
    with Daemon(folder, auth=True, token=secret) as server:
        yield server, folder


def ask(server, token, method="GET", path="/v1/sweeps", body=None):
    headers = {"Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, server.url + path, json=body, headers=headers, timeout=PATIENCE_S)


def test_a_token_opens_at_once_and_closes_at_once(place):
    server, folder = place
    secret = create(folder, "viewer", "eve")
    assert re.fullmatch(r"swd_[0-9a-z]{52}", secret)
    assert ask(server, secret).status_code == 200
    assert ask(server, secret, "POST", body={}).status_code == 403
    token_command(folder, "revoke", "eve")
    assert ask(server, secret).status_code == 401
    again = create(folder, "viewer", "eve")
    assert again != secret and ask(server, again).status_code == 200
    token_command(folder, "revoke", "eve")


def test_a_revoked_token_ends_on_an_open_connection(place):
    server, folder = place
    secret = create(folder, "viewer", "keepalive")
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {secret}"
        assert session.get(server.url + "/v1/sweeps", timeout=PATIENCE_S).status_code == 200
        token_command(folder, "revoke", "keepalive")
        assert session.get(server.url + "/v1/sweeps", timeout=PATIENCE_S).status_code == 401


def open_stream(server, secret):
    """What comes in a stream of events that has begun, and its session."""
    session = requests.Session()
    session.trust_env = False
    response = session.get(server.url + "/v1/events", headers={"Authorization": f"Bearer {secret}"}, stream=True, timeout=PATIENCE_S)
    assert response.status_code == 200
    pieces = response.iter_content(None)
    assert next(pieces)
    return pieces, session


def read_until_its_end(pieces):
    """Sooner than a stream ends by itself, after two minutes with signs of life."""
    deadline = time.monotonic() + PATIENCE_S + 20
    for _ in pieces:
        assert time.monotonic() < deadline
    assert time.monotonic() < deadline


def test_an_open_stream_of_events_ends_with_its_token(place):
    server, folder = place
    secret, other = create(folder, "viewer", "watcher"), create(folder, "viewer", "bystander")
    (watching, first), (bystanding, second) = open_stream(server, secret), open_stream(server, other)
    with first, second:
        token_command(folder, "revoke", "watcher")
        read_until_its_end(watching)
        server.create_sweep(name="unseen by the watcher")
        seen = b""
        while b"unseen by the watcher" not in seen:
            seen += next(bystanding)
    assert ask(server, secret).status_code == 401 and ask(server, other).status_code == 200
    token_command(folder, "revoke", "bystander")


def test_an_open_stream_of_events_ends_when_its_token_expires(place):
    server, folder = place
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
    secret = create(folder, "viewer", "brief", "--expires", soon)
    pieces, session = open_stream(server, secret)
    with session:
        read_until_its_end(pieces)
    assert ask(server, secret).status_code == 401


def test_an_open_stream_of_events_ends_with_its_line_in_the_token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("admin root secret-of-root\nviewer eve secret-of-eve\n")
    path.chmod(0o600)
    with Daemon(tmp_path, "--token-file", path, auth=True, token="secret-of-root") as server:
        pieces, session = open_stream(server, "secret-of-eve")
        with session:
            path.write_text("admin root secret-of-root\n")
            server.process.send_signal(signal.SIGHUP)
            read_until_its_end(pieces)


def test_only_hashes_are_stored_and_secrets_are_nowhere(place):
    server, folder = place
    secret = create(folder, "worker", "hidden")
    assert ask(server, secret, "POST", "/v1/workers", {"name": "w", "slots": 1, "trainers": ["external"]}).status_code in (200, 201)
    listed = token_command(folder, "list").stdout
    assert "hidden" in listed and "worker" in listed and secret not in listed and secret[4:] not in listed
    for file in folder.iterdir():
        assert secret.encode() not in file.read_bytes(), file.name
    with sqlite3.connect(folder / "sweepd.db") as database:
        assert database.execute("SELECT length(hash) FROM tokens WHERE name = 'hidden'").fetchone() == (64,)
    dump = subprocess.run([program("sweepd"), "--database", folder / "sweepd.db", "--dump-config"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert secret not in dump.stdout + dump.stderr
    assert secret not in open(f"/proc/{server.process.pid}/cmdline").read()


def test_an_expired_token_is_none(place):
    server, folder = place
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    secret = create(folder, "viewer", "short", "--expires", soon)
    later = create(folder, "viewer", "long", "--expires", "90d")
    deadline = time.monotonic() + PATIENCE_S
    while ask(server, secret).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(server, secret).status_code == 401
    assert ask(server, later).status_code == 200
    assert re.search(r"short .*\(over\)", token_command(folder, "list").stdout)


@pytest.mark.parametrize("args, code, word", [
    (["create", "--role", "root", "--name", "x"], 2, "--role"),
    (["create", "--role", "viewer"], 2, "--name"),
    (["create", "--role", "viewer", "--name", "two words"], 2, "--name"),
    (["create", "--role", "viewer", "--name", "x", "--expires", "yesterday"], 2, "--expires"),
    (["create", "--role", "viewer", "--name", "x", "--expires", "2001-01-01T00:00:00Z"], 2, "--expires"),
    (["create", "--role", "viewer", "--name", "x", "--sweep", "nobody"], 1, "nobody"),
    (["create", "--role", "viewer", "--name", "root"], 1, "root"),
    (["revoke", "nobody"], 1, "nobody"),
    (["revoke"], 2, "revoke"),
    (["create", "--secret", "x"], 2, "--secret"),
    ([], 2, "create"),
])
def test_wrong_usage_is_told(place, args, code, word):
    assert word in token_command(place[1], *args, code=code).stderr


def test_many_tokens_can_be_made_while_the_server_writes(place):
    """The command and the server share the database: neither makes the other fail."""
    server, folder = place
    for i in range(8):
        process = subprocess.Popen([program("sweepd"), "token", "create", "--role", "viewer", "--name", f"busy{i}", "--database",
                                    str(folder / "sweepd.db")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None:
            server.create_sweep()
        assert process.returncode == 0, process.stderr.read()
        process.stderr.close()


def test_a_server_without_any_token_does_not_start(tmp_path):
    command = [program("sweepd"), "--listen", "127.0.0.1:0", "--database", str(tmp_path / "sweepd.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and "sweepd token create" in done.stderr
    assert not (tmp_path / "sweepd.db").exists()
    create(tmp_path, "admin", "root")
    token_command(tmp_path, "revoke", "root")
    done = subprocess.run([*command[:2], "0.0.0.0:0", *command[3:]], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and "listening" not in done.stdout


def test_both_kinds_of_token_work_together(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("viewer written secret-of-the-file\n")
    path.chmod(0o600)
    secret = create(tmp_path, "admin", "drawn")
    with Daemon(tmp_path, "--token-file", path, auth=True) as server:
        assert ask(server, "secret-of-the-file").status_code == 200
        assert ask(server, "secret-of-the-file", "POST", body={}).status_code == 403
        assert ask(server, secret, "POST", body={}).status_code == 422


# --- wrong ones ---------------------------------------------------------------------------------------

def test_guessing_is_slowed_down_and_hurts_nobody_else(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("viewer human letmein\n")
    path.chmod(0o600)
    drawn = create(tmp_path, "admin", "drawn")
    with Daemon(tmp_path, "--token-file", path, auth=True) as server:
        codes = [ask(server, f"guess{i}").status_code for i in range(BURST // 2)]
        assert set(codes) == {401}
        deadline = time.monotonic() + PATIENCE_S
        while (response := ask(server, "guess")).status_code == 401:
            assert time.monotonic() < deadline
        assert response.status_code == 429 and int(response.headers["Retry-After"]) >= 1
        assert response.headers["Content-Type"] == "application/problem+json"
        # a token that people think of is not looked at now, even if it is right; one that was drawn is
        codes = [ask(server, token).status_code for _ in range(5) for token in ("guess", "letmein")]
        assert codes.count(429) >= 5
        assert ask(server, drawn).status_code == 200
        host, port = server.url.split("//")[1].split(":")
        with socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0)) as other:
            other.sendall(b"GET /v1/sweeps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer letmein\r\nConnection: close\r\n\r\n")
            assert other.recv(64).startswith(b"HTTP/1.1 200")
        assert requests.get(server.url + "/healthz", timeout=PATIENCE_S).status_code == 200
        assert "guess" not in server.log() and "letmein" not in server.log()


# --- one sweep ----------------------------------------------------------------------------------------

def test_a_token_for_one_sweep_reaches_that_one_only(place):
    server, folder = place
    mine, other = server.create_sweep(name="mine"), server.create_sweep(name="other")
    admin = create(folder, "admin", "limited-admin", "--sweep", mine["id"])
    worker = create(folder, "worker", "limited-worker", "--sweep", mine["id"])
    assert mine["id"] in token_command(folder, "list").stdout

    for path in ("", "/best", "/trials", "/export?format=csv"):
        assert ask(server, admin, path=f"/v1/sweeps/{mine['id']}{path}").status_code == 200
        assert ask(server, admin, path=f"/v1/sweeps/{other['id']}{path}").status_code == 403
    assert ask(server, admin, "PATCH", f"/v1/sweeps/{mine['id']}", {"priority": 3}).status_code == 200
    assert ask(server, admin, "PATCH", f"/v1/sweeps/{other['id']}", {"priority": 3}).status_code == 403
    assert ask(server, admin, "DELETE", f"/v1/sweeps/{other['id']}").status_code == 403
    assert ask(server, admin).status_code == 403
    assert ask(server, admin, "POST", body={"method": "random"}).status_code == 403
    assert ask(server, admin, path="/v1/workers").status_code == 403
    assert ask(server, admin, path="/v1/events").status_code == 403
    assert ask(server, admin, path=f"/v1/events?sweep={other['id']}").status_code == 403
    with requests.get(f"{server.url}/v1/events?sweep={mine['id']}", headers={"Authorization": f"Bearer {admin}"}, stream=True, timeout=PATIENCE_S) as events:
        assert events.status_code == 200

    registered = ask(server, worker, "POST", "/v1/workers", {"name": "limited", "slots": 1, "trainers": ["external"]}).json()
    claim = {"worker": registered["id"], "claim_id": "c1", "wait_s": 0}
    assert ask(server, worker, "POST", "/v1/claims", {**claim, "sweep": other["id"]}).status_code == 403
    trial = ask(server, worker, "POST", "/v1/claims", claim).json()["trials"][0]  # narrowed to its own
    assert trial["sweep"] == mine["id"]
    report = {"lease": trial["lease"], "seq": 1, "outcome": {"state": "completed", "value": 1.0}}
    assert ask(server, worker, "POST", f"/v1/trials/{trial['id']}/report", report).status_code == 200
    assert ask(server, admin, path=f"/v1/trials/{trial['id']}").status_code == 200

    foreign = server.claim(server.register("free")["id"], "c2", sweep=other["id"])[0]
    report = {"lease": foreign["lease"], "seq": 1}
    assert ask(server, worker, "POST", f"/v1/trials/{foreign['id']}/report", report).status_code == 403
    assert ask(server, admin, path=f"/v1/trials/{foreign['id']}").status_code == 403
    assert ask(server, admin, path=f"/v1/trials/{foreign['id']}/metrics").status_code == 403
    assert ask(server, admin, path="/v1/trials/nobody").status_code == 404
    server.report(foreign, 1)


def test_a_refused_worker_says_what_it_needs(tmp_path):
    (tmp_path / "viewer").touch(0o600)
    (tmp_path / "viewer").write_text(create(tmp_path, "viewer", "wall") + "\n")
    with Daemon(tmp_path, auth=True) as server:
        for more, words in (([], "(401): a valid token is needed: Authorization: Bearer …; --token-file FILE holds one"),
                            (["--token-file", tmp_path / "viewer"], "(403): this token's role may not do this; it needs a token of role worker")):
            done = subprocess.run([program("sweep-worker"), "--coordinator", server.url, "--slots", "1", "--threads", "1", "--trainer", "command", "--allow-command", "x=/bin/true",
                                   "--work-dir", tmp_path / "work", *more], capture_output=True, text=True, timeout=PATIENCE_S + 30)
            assert done.returncode == 1 and words in done.stderr, done.stderr
    log = tmp_path / "gone.log"
    with open(log, "wb") as stderr:
        gone = subprocess.Popen([program("sweep-worker"), "--coordinator", "http://127.0.0.1:9", "--slots", "1", "--threads", "1", "--trainer", "command", "--allow-command", "x=/bin/true",
                                 "--work-dir", tmp_path / "work"], stderr=stderr)
    deadline = time.monotonic() + PATIENCE_S + 30
    while "'sweep-worker doctor' with the same options" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    gone.terminate()
    assert gone.wait(PATIENCE_S + 15) == 0 and "'sweep-worker doctor' with the same options" in log.read_text()
