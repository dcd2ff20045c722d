"""HTTPS: what it speaks, certificates replaced while requests are in hand, and clients that refuse a wrong one."""
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests
from daemon import PATIENCE_S, Daemon, program

pytestmark = pytest.mark.coordinator
SPEC = {"method": "random", "trainer": "external", "run_cap": 3, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


def openssl(*args, **options):
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, text=True, timeout=60, **options).stdout


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name):
        self.folder = folder
        self.cert, self.key = folder / f"{name}-ca.pem", folder / f"{name}-ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj", f"/CN={name}", "-keyout",
                self.key, "-out", self.cert)

    def issue(self, name, alternative="IP:127.0.0.1,DNS:localhost", days=("-days", 30)):
        """Certificate and key of a server."""
        cert, key, request, extension = (self.folder / f"{name}{suffix}" for suffix in (".pem", ".key", ".csr", ".ext"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extension.write_text(f"subjectAltName={alternative}\n")
        serial = str(int.from_bytes(name.encode()[-8:], "big"))
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-set_serial", serial, "-extfile", extension, "-out", cert, *days)
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "good")


def daemon(folder, pair, **options):
    return Daemon(folder, "--tls-cert", pair[0], "--tls-key", pair[1], **options)


def address(server):
    host, port = server.url.split("//")[1].rsplit(":", 1)
    return host, int(port)


def peer_serial(server, context):
    with socket.create_connection(address(server), timeout=PATIENCE_S) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        return tls.version(), tls.getpeercert()["serialNumber"]


def install(pair, place):
    for source, name in zip(pair, ("cert.pem", "key.pem")):
        (place / name).write_bytes(source.read_bytes())
    return place / "cert.pem", place / "key.pem"


def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(tmp_path, authority):
    with daemon(tmp_path, authority.issue("versions")) as server:
        assert server.url.startswith("https://")
        server.session.verify = str(authority.cert)
        assert server.get("/healthz") == {"status": "ok"}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=authority.cert)
            context.minimum_version = context.maximum_version = version
            assert peer_serial(server, context)[0] == version.name.replace("_", ".").replace("TLSv1.", "TLSv1.")
        for version in ("-tls1", "-tls1_1"):
            host, port = address(server)
            done = subprocess.run(["openssl", "s_client", version, "-cipher", "DEFAULT@SECLEVEL=0", "-connect", f"{host}:{port}"], input="",
                                  capture_output=True, text=True, timeout=60)
            assert "Cipher is (NONE)" in done.stdout or done.returncode != 0
        with socket.create_connection(address(server), timeout=PATIENCE_S) as plain:  # no HTTP in the clear
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" not in plain.recv(4096)


def test_a_certificate_is_replaced_without_dropping_a_request(tmp_path, authority):
    first, second = authority.issue("one"), authority.issue("two")
    with daemon(tmp_path, install(first, tmp_path)) as server:
        context = ssl.create_default_context(cafile=authority.cert)
        server.session.verify = str(authority.cert)
        before = peer_serial(server, context)[1]
        worker = server.register("waits")["id"]
        claims, stop, failures = [], threading.Event(), []

        def wait_for_a_trial():
            claims.append(server.claim(worker, "c", wait_s=60))

        def ask_all_the_time():
            with requests.Session() as session:
                session.trust_env, session.verify = False, str(authority.cert)
                while not stop.is_set():
                    try:
                        session.get(server.url + "/v1/sweeps", timeout=PATIENCE_S, headers={"Connection": "close"}).raise_for_status()
                    except Exception as failure:
                        failures.append(failure)

        with requests.Session() as old:  # a connection from before
            old.trust_env, old.verify = False, str(authority.cert)
            assert old.get(server.url + "/healthz", timeout=PATIENCE_S).status_code == 200
            threads = [threading.Thread(target=wait_for_a_trial), threading.Thread(target=ask_all_the_time)]
            for thread in threads:
                thread.start()
            install(second, tmp_path)
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + PATIENCE_S
            while peer_serial(server, context)[1] == before:
                assert time.monotonic() < deadline
            assert old.get(server.url + "/healthz", timeout=PATIENCE_S).status_code == 200
            stop.set()
            assert requests.post(server.url + "/v1/sweeps", json=SPEC, verify=str(authority.cert), timeout=PATIENCE_S).status_code == 201
            for thread in threads:
                thread.join()
        assert not failures
        assert len(claims[0]) == 1  # the parked request lived through it


def test_a_wrong_certificate_is_not_taken(tmp_path, authority):
    pair = authority.issue("right")
    with daemon(tmp_path, install(pair, tmp_path)) as server:
        context = ssl.create_default_context(cafile=authority.cert)
        before = peer_serial(server, context)[1]
        for cert, key in [(b"nonsense", pair[1].read_bytes()), (authority.issue("stranger")[0].read_bytes(), pair[1].read_bytes())]:
            log_before = server.log().count("the certificate stays as it was")
            (tmp_path / "cert.pem").write_bytes(cert)
            (tmp_path / "key.pem").write_bytes(key)
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + PATIENCE_S
            while server.log().count("the certificate stays as it was") == log_before:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert peer_serial(server, context)[1] == before
        assert "PRIVATE KEY" not in server.log()


def test_a_token_file_is_read_again(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("viewer a first\n")
    path.chmod(0o600)
    with Daemon(tmp_path, "--token-file", path, auth=True) as server:
        def status(token):
            return requests.get(server.url + "/v1/sweeps", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S).status_code

        assert status("first") == 200
        path.write_text("viewer a second\n")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE_S
        while status("second") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert status("first") == 401


@pytest.mark.parametrize("cert, key", [("cert.pem", "other.key"), ("key.pem", "key.pem"), ("cert.pem", "none.pem")])
def test_a_server_with_a_wrong_pair_does_not_start(tmp_path, authority, cert, key):
    install(authority.issue("pair"), tmp_path)
    (tmp_path / "other.key").write_bytes(authority.issue("other")[1].read_bytes())
    done = subprocess.run([program("sweepd"), "--no-auth", "--listen", "127.0.0.1:0", "--database", tmp_path / "d.db", "--tls-cert",
                           tmp_path / cert, "--tls-key", tmp_path / key], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and ("tls" in done.stderr or "none.pem" in done.stderr) and "PRIVATE" not in done.stderr


# --- clients ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def servers(tmp_path_factory, authority):
    """One server a fault of its certificate."""
    pairs = {
        "good": authority.issue("fine"),
        "wrong host": authority.issue("elsewhere", "DNS:elsewhere.example"),
        "expired": authority.issue("stale", days=("-not_before", "20200101000000Z", "-not_after", "20200201000000Z"))
        if "-not_before" in subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True).stderr
        else authority.issue("stale", days=("-days", "-1")),
        "wrong ca": Authority(authority.folder, "evil").issue("evilserver"),
    }
    running = {name: daemon(tmp_path_factory.mktemp("tls"), pair) for name, pair in pairs.items()}
    yield running
    for server in running.values():
        server.session.close()
        assert server.stop() == 0


REFUSALS = [("wrong host", "no alternative certificate subject name matches|does not match|subject name"), ("expired", "expired"),
            ("wrong ca", "unable to get local issuer|self-signed|self signed|unknown ca|not trusted")]


def run_worker(server, folder, *args):
    return subprocess.run([program("sweep-worker"), "--coordinator", server.url, "--name", "tls", "--slots", "1", "--threads", "1", "--work-dir",
                           str(folder / "work"), "--exit-when-idle", "0", "--max-trials", "1", "--allow-command", "nothing=/bin/true", "--trainer",
                           "command", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE_S * 2)


def test_a_worker_trusts_the_authority_it_was_given(tmp_path, servers, authority):
    done = run_worker(servers["good"], tmp_path, "--ca", authority.cert)
    assert done.returncode == 0, done.stderr
    servers["good"].session.verify = str(authority.cert)
    assert "tls" in [worker["name"] for worker in servers["good"].get("/v1/workers")["items"]]


@pytest.mark.parametrize("fault, words", REFUSALS)
def test_a_worker_refuses_and_says_why(tmp_path, servers, authority, fault, words):
    import re
    process = subprocess.Popen([program("sweep-worker"), "--coordinator", servers[fault].url, "--name", "tls", "--slots", "1", "--threads", "1",
                                "--work-dir", str(tmp_path / "work"), "--allow-command", "nothing=/bin/true", "--trainer", "command", "--ca",
                                str(authority.cert)], stderr=subprocess.PIPE, text=True)
    said = ""
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(words, said, re.I):
            assert time.monotonic() < deadline, said
            said += process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("fault, words", REFUSALS)
def test_sweepctl_refuses_and_says_why(servers, authority, fault, words):
    import re
    done = subprocess.run([program("sweepctl"), "--server", servers[fault].url, "--ca", str(authority.cert), "list"], capture_output=True, text=True,
                          timeout=PATIENCE_S * 2)
    assert done.returncode == 1 and re.search(words, done.stderr, re.I), done.stderr
