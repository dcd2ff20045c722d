"""One round: a real coordinator and a real worker, clients, faults drawn from the seed, and what must hold afterwards."""
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "integration")]
from daemon import Daemon, PATIENCE_S, program  # noqa: E402

from clients import Book, Client, Creator, Worker, value_of  # noqa: E402
from control import Control  # noqa: E402
from proxy import Proxy  # noqa: E402

LEASE_S = 2
N_CLIENTS = 5
END_S = 90  # after the last fault everything has come to rest within so long
REAL = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
COMMAND = """#!/bin/sh
# Evaluates x: its value is x.
cat > /dev/null
for argument; do case $argument in --x=*) x=${argument#--x=} ;; esac; done
for step in 1 2 3; do
        echo "{\\"event\\":\\"metric\\",\\"name\\":\\"loss\\",\\"step\\":$step,\\"value\\":$x}"
        sleep 0.1
done
echo "{\\"event\\":\\"outcome\\",\\"state\\":\\"completed\\",\\"value\\":$x}"
"""


def specs(seed, size, demo):
    """All of a round's sweeps. Those whose proposals depend on the order of history run one trial at a time."""
    common = {"trainer": "external", "metric": {"name": "loss", "goal": "minimize"}, "max_attempts": 1000, "seed": seed}
    grid = {"x": {"values": [i / 10 for i in range(size)]}, "y": {"values": [0.0, 0.5, 1.0]}}
    result = [
        {**common, "name": "grid", "method": "grid", "parameters": grid},
        {**common, "name": "random", "method": "random", "parameters": REAL, "run_cap": 3 * size},
        {**common, "name": "sobol", "method": "sobol", "parameters": REAL, "run_cap": 2 * size},
        {**common, "name": "enqueued", "method": "random", "parameters": REAL, "run_cap": size},
        {**common, "name": "bayes", "method": "bayes", "parameters": REAL, "run_cap": size + 2, "parallelism": 1},
        {**common, "name": "staged", "method": "staged", "parameters": REAL, "baseline": {"x": 0.5, "y": 0.5}, "parallelism": 1,
         "stages": [{"method": "ofat", "levels": {"x": [0.1, 0.9], "y": [0.2, 0.8]}}, {"method": "grid", "select_top": 1, "values": {"x": [0.3, 0.4], "y": [0.3, 0.4]}},
                    {"method": "bayes", "select_top": 2, "run_cap": 3}]},
        {**common, "name": "command", "method": "grid", "trainer": "command", "program": "echo", "parameters": {"x": {"values": [i / 8 for i in range(size)]}}},
    ]
    if demo:
        result.append({**common, "name": "demo", "method": "grid", "trainer": "distilbert-mrpc", "metric": {"name": "eval/loss", "goal": "minimize"},
                       "fixed": {"epochs": 3, "train_batch_size": 16, "limit_train": 96, "limit_eval": 40, "checkpoint_s": 1},
                       "parameters": {"learning_rate": {"values": [5e-4, 1e-3, 2e-3]}}})
    return result


def free_port():
    """Below the range from which the kernel draws: while the coordinator is dead no other connection takes it."""
    drawn_from = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(drawn_from // 2, drawn_from)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class Server(Daemon):
    """A coordinator under the shim, always on the same port."""

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        return self._reap(END_S)  # a process that waits for a busy disk dies late

    def gave_up(self):
        """It ends where the database cannot be synced (EIO), as it must."""
        return self.process.returncode == 1 and "the database could not be synced" in self.log()[-2000:]

    def __init__(self, folder, shim, control_path):
        self.port = free_port()
        super().__init__(folder, "--listen", f"127.0.0.1:{self.port}", "--lease-s", LEASE_S, "--min-free-mb", "0", "--log-level", "warning",
                         env={"LD_PRELOAD": str(shim), "CHAOS_CONTROL": str(control_path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})


class RealWorker:
    def __init__(self, folder, url, shim, control_path):
        (folder / "echo").write_text(COMMAND)
        (folder / "echo").chmod(0o755)
        self.command = [program("sweep-worker"), "--coordinator", url, "--name", "real", "--slots", "2", "--threads", "1", "--work-dir",
                        str(folder / "work"), "--min-free-mb", "0", "--allow-command", f"echo={folder / 'echo'}", "--log-level", "warning"]
        self.log = folder / "worker.log"
        self.env = {**os.environ, "LD_PRELOAD": str(shim), "CHAOS_CONTROL": str(control_path)}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=subprocess.DEVNULL, env=self.env)

    def children(self):
        try:
            return [int(pid) for pid in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]
        except OSError:
            return []

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


class Storm:
    """Draws faults one after the other."""

    def __init__(self, server, worker, control, draw, tally, book):
        self.server, self.worker, self.control, self.draw, self.tally, self.book = server, worker, control, draw, tally, book
        self.faults = {
            self.kill_server: 30, self.kill_server_at: 40, self.kill_worker: 6, self.kill_worker_at: 6, self.kill_trainer: 6,
            self.stall_server: 3, self.stall_worker: 3, self.jump_clock: 6, self.break_disk: 10, self.lock_database: 3, self.refuse_memory: 6,
        }
        self.n_kills = 0

    def one(self):
        time.sleep(self.draw.uniform(0, 0.25))
        self.draw.choices(list(self.faults), list(self.faults.values()))[0]()
        if self.server.process.poll() == -signal.SIGKILL:  # an armed kill that came late
            self.server.kill()
            self.killed("coordinator, late")
            self.start_server()
        if self.server.process.poll() is not None:
            if self.server.gave_up():
                self.tally["coordinator, could not sync and ended"] += 1
            else:
                self.book.fault(f"the coordinator ended by itself with {self.server.process.returncode}")
            self.start_server()
        if self.worker.process.poll() == -signal.SIGKILL:
            self.killed("worker, late")
            self.worker.start()
        if self.worker.process.poll() is not None:
            self.book.fault(f"the worker ended by itself with {self.worker.process.returncode}")
            self.worker.start()

    def killed(self, what):
        self.n_kills += 1
        self.tally[what] += 1

    def start_server(self):
        """Now and then it is killed again while it starts."""
        if self.draw.random() < 0.15:
            self.control.arm_kill("sweepd", self.draw.choice(("before a write", "after a write", "in a write", "before a sync", "after a sync")), self.draw.randint(1, 6))
            try:
                self.server.start()
            except RuntimeError:
                self.killed("coordinator, while it starts")
        self.control.calm("sweepd")
        if self.server.process.poll() is not None:
            self.server.start()

    def kill_server(self):
        self.server.kill()
        self.killed("coordinator, anywhere")
        self.start_server()

    def kill_server_at(self):
        point = self.draw.choice(("before a write", "after a write", "in a write", "before a sync", "after a sync", "before a send", "after a send", "in a send"))
        self.control.arm_kill("sweepd", point, self.draw.randint(1, 40))
        if self.died(self.server.process, 2):
            self.server.kill()
            self.killed(f"coordinator, {point}")
            self.start_server()
        self.control.calm("sweepd")

    @staticmethod
    def died(process, seconds):
        try:
            process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill_worker(self):
        self.worker.kill()
        self.killed("worker, anywhere")
        self.worker.start()

    def kill_worker_at(self):
        point = self.draw.choice(("before a write", "after a write", "in a write", "before a sync", "after a sync", "before a send", "after a send", "at a rename"))
        self.control.arm_kill("sweep-worker", point, self.draw.randint(1, 6))
        if self.died(self.worker.process, 2):
            self.killed(f"worker, {point}")
            self.worker.start()
        self.control.calm("sweep-worker")

    def kill_trainer(self):
        for pid in self.worker.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed("trainer, anywhere")

    def stall(self, process, what):
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.draw.uniform(0.5, 1.6 * LEASE_S))
        process.send_signal(signal.SIGCONT)
        self.tally[what] += 1

    def stall_server(self):
        self.stall(self.server.process, "stalled coordinator")

    def stall_worker(self):
        self.stall(self.worker.process, "stalled worker")

    def jump_clock(self):
        self.control.set("sweepd", clock_ms=self.draw.choice((0, self.draw.randint(-21_600_000, 21_600_000), self.draw.randint(-3000, 3000))))
        self.tally["clock jump"] += 1

    def break_disk(self):
        fault = self.draw.choice(("disk full", "EIO on write", "EIO on sync", "EIO on read"))
        self.control.break_disk("sweepd", fault, self.draw.randint(1, 60), self.draw.choice((1, 1, 3, 20, 1_000_000)))
        time.sleep(self.draw.uniform(0.1, 0.6))
        self.tally[fault] += 1
        if self.draw.random() < 0.3:
            self.server.kill()
            self.killed("coordinator, with a broken disk")
            self.start_server()
        self.control.calm("sweepd")

    def lock_database(self):
        database = sqlite3.connect(self.server.database, isolation_level=None, timeout=5)
        with contextlib.suppress(sqlite3.OperationalError):
            database.execute("BEGIN IMMEDIATE")
            self.tally["database locked"] += 1
            time.sleep(self.draw.uniform(0.2, 3))
            database.execute("ROLLBACK")
        database.close()

    def refuse_memory(self):
        self.control.refuse_memory("sweepd", self.draw.randint(1, 20000), self.draw.choice((1, 1, 2, 10)))
        time.sleep(self.draw.uniform(0.1, 0.5))
        self.control.calm("sweepd")
        self.tally["out of memory"] += 1


# --- a round -----------------------------------------------------------------------------------------------------


def finished(client, ids):
    states = {}
    for sweep in ids:
        try:
            states[sweep] = client.once("GET", f"/v1/sweeps/{sweep}")
        except (OSError, ValueError, http_error()):
            return False
    return all(status == 200 and answer["state"] == "finished" for status, answer in states.values())


def http_error():
    import http.client
    return http.client.HTTPException


def history(server, book):
    """name → trials in order of number, from the server itself."""
    result = {}
    for name, sweep in book.sweeps.items():
        trials, path = [], f"/v1/sweeps/{sweep}/trials?limit=1000"
        after = ""
        while after is not None:
            page = server.get(path + after)
            trials += page["items"]
            after = f"&after={page['next']}" if page["next"] else None
        result[name] = sorted(trials, key=lambda trial: trial["number"])
    return result


def run_clients(url, book, seed, calm, pace_s=0.0, n=N_CLIENTS):
    threads = [threading.Thread(target=Worker(url, book, f"client{i}", seed, calm, pace_s).run, daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    return threads


def undisturbed(folder, shim, wanted, n_enqueued):
    """What the sweeps propose, and what their trials are worth, when nothing happens."""
    folder.mkdir()
    control = Control(folder / "control", {"sweepd": "sweepd.db", "sweep-worker": "work/", "sweep-trainer": "work/"})
    server = Server(folder, shim, control.path)
    book, worker = Book(), RealWorker(folder, server.url, shim, control.path)
    try:
        worker.start()
        creator = Creator(server.url, book)
        creator.create(wanted, "calm")
        threads = run_clients(server.url, book, 0, True)
        creator.enqueue("enqueued", n_enqueued, random.Random(0))
        if not wait_for_end(server, book, END_S):
            raise AssertionError(f"undisturbed: {open_trials(server, book)}")
        return history(server, book)
    finally:
        book.over.set()
        worker.stop()
        for thread in threads:
            thread.join()
        server.stop()
        control.close()


def wait_for_end(server, book, seconds):
    client, deadline = Client(server.url, book), time.monotonic() + seconds
    while not finished(client, book.sweeps.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def storm_round(folder, shim, seed, kills, seconds, demo, tally):
    """Faults until so many kills, or so long; sentences about what went wrong, and figures."""
    draw = random.Random(f"storm {seed}")
    size = 9
    wanted = specs(seed, size, demo)
    calm = undisturbed(folder / "calm", shim, wanted, size)
    place = folder / "storm"
    place.mkdir()
    control = Control(place / "control", {"sweepd": "sweepd.db", "sweep-worker": "work/", "sweep-trainer": "work/"})
    server, book = Server(place, shim, control.path), Book()
    proxy = Proxy(server.port, seed)
    worker = RealWorker(place, proxy.url, shim, control.path)
    storm, threads = Storm(server, worker, control, draw, tally, book), []
    try:
        creator = Creator(proxy.url, book)
        proxy.level = 0.2
        worker.start()
        creator.create(wanted, "storm")
        threads = run_clients(proxy.url, book, seed, False, 0.15)
        threads.append(threading.Thread(target=creator.enqueue, args=("enqueued", size, random.Random(seed)), daemon=True))
        threads[-1].start()
        end, look = time.monotonic() + seconds, Client(server.url, book)
        while time.monotonic() < end and storm.n_kills < kills and not (storm.n_kills % 5 == 0 and finished(look, book.sweeps.values())):
            storm.one()
        control.calm()
        control.set("sweepd", clock_ms=0)
        proxy.level = 0.0
        threads[-1].join(END_S)
        if threads[-1].is_alive() or not wait_for_end(server, book, END_S):
            book.fault(f"it does not come to rest: {open_trials(server, book)}")
        book.over.set()
        for thread in threads:
            thread.join(10)
        judge(server, book, calm)
    finally:
        book.over.set()
        worker.stop()
        proxy.close()
        tally.update({f"request {fate}": n for fate, n in proxy.tally.items()})
        code = server.stop()
    if code != 0:
        book.fault(f"the coordinator ended with {code}")
    judge_file(server, book)
    control.close()
    return book, {"kills": storm.n_kills, "acknowledged": book.n_acknowledged, "requests": proxy.passed, "statuses": dict(book.statuses)}


# --- what must hold ----------------------------------------------------------------------------------------------


def open_trials(server, book):
    result = []
    for name, trials in history(server, book).items():
        result += [(name, trial["number"], trial["state"], trial["attempt"]) for trial in trials if trial["state"] in ("queued", "running")]
    states = [(name, server.get(f"/v1/sweeps/{sweep}")["state"]) for name, sweep in book.sweeps.items()]
    return result[:10], [one for one in states if one[1] != "finished"]


def judge(server, book, calm):
    """The answers of the API against the book, and against the undisturbed run."""
    trials = history(server, book)
    if len(server.get("/v1/sweeps?limit=1000")["items"]) != len(book.sweeps):
        book.fault("there are more sweeps than were made")
    by_id = {trial["id"]: trial for one in trials.values() for trial in one}
    for name, mine in trials.items():
        if [trial["number"] for trial in mine] != list(range(1, len(mine) + 1)):
            book.fault(f"{name}: numbers {[trial['number'] for trial in mine]}")
        counts, table = server.get(f"/v1/sweeps/{book.sweeps[name]}")["counts"], collections.Counter(trial["state"] for trial in mine)
        if {state: n for state, n in counts.items() if n} != dict(table):
            book.fault(f"{name}: counts {counts}, but the list has {dict(table)}")
        if table["completed"] != len(mine):
            book.fault(f"{name}: {dict(table)}: {[(t['number'], t['reason'], t['detail']) for t in mine if t['state'] != 'completed'][:5]}")
        compare(book, name, mine, calm[name])
    for key, ends in book.ends.items():
        if len(ends) > 1:
            book.fault(f"trial {key} was ended more than once: {ends}")
        attempt, state, value = ends[0]
        trial = by_id.get(key)
        if not trial or (trial["attempt"], trial["state"], trial["value"]) != (attempt, state, value):
            book.fault(f"acknowledged end {key} {ends[0]}, but it is {trial and (trial['attempt'], trial['state'], trial['value'])}")
    for key, (sweep, number, params, seed) in book.trials.items():
        trial = by_id.get(key)
        if not trial or (trial["sweep"], trial["number"], json.dumps(trial["params"], sort_keys=True), trial["seed"]) != (sweep, number, params, seed):
            book.fault(f"handed out {key} {number} {params}, but it is {trial}")
    judge_enqueued(book, trials)


def judge_enqueued(book, trials):
    mine = {trial["id"]: trial["params"] for trial in trials["enqueued"] if trial["proposal"]["source"] == "user"}
    if mine != book.enqueued:
        book.fault(f"enqueued and acknowledged {book.enqueued}, but there are {mine}")


def compare(book, name, mine, calm):
    if name == "enqueued":  # when its trials come is nobody's promise: see judge_enqueued
        return
    key = lambda trial: (trial["number"], trial["stage"], trial["params"], trial["seed"], trial["value"])
    for left, right in zip(mine, calm):
        if key(left) != key(right):
            book.fault(f"{name}: another proposal or value than undisturbed: {key(left)} instead of {key(right)}")
            break
    if len(mine) != len(calm):
        book.fault(f"{name}: {len(mine)} trials instead of {len(calm)}")


def judge_file(server, book):
    """sweepd check, then the tables against the book."""
    try:
        server.check()
    except AssertionError as fault:
        book.fault(str(fault))
    database = sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)
    for trial, n in database.execute("SELECT trial, count(*) FROM attempts WHERE ended_as IN ('completed', 'stopped', 'failed') "
                                     "GROUP BY trial HAVING count(*) > 1 AND sum(ended_as = 'completed') > 1"):
        book.fault(f"trial {trial} completed in {n} attempts")
    stored = {}
    for key, name, step, value in database.execute("SELECT t.public_id, m.name, m.step, m.value FROM metrics m JOIN trials t ON t.id = m.trial"):
        if stored.setdefault((key, name, step), value) != value:
            book.fault(f"two values of {key} {name} {step}")
    for point, value in book.points.items():
        if stored.get(point) != value:
            book.fault(f"acknowledged point {point} {value}, but it is {stored.get(point)}")
    leases = {lease: (trial, attempt) for lease, trial, attempt in
              database.execute("SELECT a.lease, t.public_id, a.attempt FROM attempts a JOIN trials t ON t.id = a.trial")}
    for lease, (trial, attempt, _, _) in book.leases.items():
        if leases.get(lease) != (trial, attempt):
            book.fault(f"acknowledged lease {lease} of {trial}, attempt {attempt}, but it is {leases.get(lease)}")
    database.close()
