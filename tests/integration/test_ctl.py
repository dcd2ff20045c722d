"""sweepctl against the real coordinator."""
import contextlib
import http.server
import json
import os
import re
import select
import socket
import subprocess
import threading

import pytest
import requests

from daemon import PATIENCE_S, Daemon, program

pytestmark = pytest.mark.coordinator

SPEC = """\
# a W&B file, with what is ours beside it
method: random
trainer: external
name: "from yaml"
metric: {name: eval/accuracy, goal: maximize}
run_cap: 3
seed: 7
fixed: {epochs: 3}
parameters:
  learning_rate:
    distribution: log_uniform_values
    min: 1e-5
    max: 5e-5
  dropout: {values: [0.0, 0.1]}
"""


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def ctl(tmp_path):
    """Runs sweepctl; the server's URL comes as SWEEPD_URL."""

    def run(*args, url="http://127.0.0.1:9", stdin=None, expect=0):
        done = subprocess.run([program("sweepctl"), *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60 + PATIENCE_S,
                              env={**os.environ, "SWEEPD_URL": url}, cwd=tmp_path)
        assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
        return done

    return run


def claim(server, sweep, number):
    body = {"worker": worker(server), "claim_id": f"c{number}", "sweep": sweep}
    return server.post("/v1/claims", body)["trials"][0]


def worker(server):
    return server.post("/v1/workers", {"name": "hand", "slots": 1, "trainers": ["external"]}, expect=None)["id"]


def complete(server, trial, value):
    outcome = {"state": "completed", "value": value}
    server.post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": 1, "outcome": outcome})


def test_a_sweep_from_yaml_to_its_end(server, ctl, tmp_path):
    (tmp_path / "sweep.yaml").write_text(SPEC)
    sweep = json.loads(ctl("create", "sweep.yaml", "--json", url=server.url).stdout)
    assert sweep["spec"]["parameters"]["learning_rate"] == {"distribution": "log_uniform_values", "min": 1e-5, "max": 5e-5}
    assert sweep["state"] == "running"
    id = sweep["id"]

    assert "from yaml" in ctl("list", url=server.url).stdout
    ctl("best", id, url=server.url, expect=1)  # nothing yet
    watch = [program("sweepctl"), "watch", id, "--interval", "1", "--server", server.url]
    watching = subprocess.Popen(watch, stdout=subprocess.PIPE, text=True)
    for number, value in enumerate([0.81, 0.86, 0.84]):
        complete(server, claim(server, id, number), value)
    output, _ = watching.communicate(timeout=30 + PATIENCE_S)
    assert watching.returncode == 0
    assert "finished" in output.splitlines()[-1] and "best 0.86 (trial 2)" in output and "\033" not in output

    lines = ctl("trials", id, "--sort", "-value", url=server.url).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["2", "3", "1"]
    assert len(json.loads(ctl("trials", id, "--state", "completed", "--limit", 2, "--json", url=server.url).stdout)["items"]) == 2
    best = json.loads(ctl("best", id, "--json", url=server.url).stdout)["trial"]
    assert best["value"] == 0.86
    assert "0.86" in ctl("trial", best["id"], url=server.url).stdout
    assert "trial 2" in ctl("show", id, url=server.url).stdout

    assert len(ctl("export", id, "--format", "csv", url=server.url).stdout.splitlines()) == 4
    assert [json.loads(line)["number"] for line in ctl("export", id, "--format", "jsonl", url=server.url).stdout.splitlines()] == [1, 2, 3]

    ctl("extend", id, "--run-cap", 5, url=server.url)
    assert server.get(f"/v1/sweeps/{id}")["run_cap"] == 5
    assert server.get(f"/v1/sweeps/{id}")["state"] == "running"
    ctl("pause", id, url=server.url)
    assert server.get(f"/v1/sweeps/{id}")["state"] == "paused"
    ctl("resume", id, url=server.url)
    ctl("cancel", id, url=server.url)
    assert server.get(f"/v1/sweeps/{id}")["state"] == "cancelled"
    ctl("watch", id, url=server.url, expect=1)


def test_faults_come_with_their_lines(server, ctl, tmp_path):
    bad = SPEC.replace("min: 1e-5", "min: 0").replace("goal: maximize", "goal: best").replace("[0.0, 0.1]", "[]")
    (tmp_path / "bad.yaml").write_text(bad)
    offline = ctl("check", "bad.yaml", expect=1).stdout
    online = ctl("create", "bad.yaml", url=server.url, expect=1).stderr
    for text in (offline, online):
        assert "bad.yaml:5: /metric/goal" in text
        assert "bad.yaml:12: /parameters/learning_rate/min" in text
        assert "bad.yaml:14: /parameters/dropout" in text
    problem = json.loads(ctl("create", "bad.yaml", "--json", url=server.url, expect=1).stdout)
    assert problem["status"] == 422
    assert {fault["line"] for fault in json.loads(ctl("check", "bad.yaml", "--json", expect=1).stdout)["errors"]} == {5, 12, 14}
    assert ctl("check", "-", stdin=SPEC).stdout
    ctl("check", "nowhere.yaml", expect=1)
    assert "line 2" in ctl("check", "-", stdin="a: 1\na: 2\n", expect=1).stderr
    assert server.get("/v1/sweeps")["items"] == []


def test_a_json_spec_on_stdin(server, ctl):
    spec = {"method": "grid", "trainer": "external", "metric": {"name": "m"}, "parameters": {"a": {"values": [1, 2]}}}
    sweep = json.loads(ctl("create", "-", "--json", url=server.url, stdin=json.dumps(spec)).stdout)
    assert sweep["spec"] == spec


def test_enqueued_configurations_and_how_to_reproduce_them(server, ctl, tmp_path):
    id = json.loads(ctl("create", "-", "--json", url=server.url, stdin=SPEC).stdout)["id"]
    queued, finished = "- params: {learning_rate: 2e-5, dropout: 0.1}\n", "- params: {learning_rate: 3e-5, dropout: 0.0}\n  value: 0.8\n"
    (tmp_path / "more.yaml").write_text(queued + finished)
    items = json.loads(ctl("enqueue", id, "more.yaml", "--json", url=server.url).stdout)["items"]
    assert [item["state"] for item in items] == ["queued", "completed"]
    (tmp_path / "wrong.yaml").write_text(queued + "- params:\n    learning_rate: 1.0\n    dropout: 0.1\n")
    assert "wrong.yaml:3: " in ctl("enqueue", id, "wrong.yaml", url=server.url, expect=1).stderr

    trial = claim(server, id, 1)
    assert trial["id"] == items[0]["id"]
    again = json.loads(ctl("reproduce", trial["id"], "--model", "m", "--data", "d", url=server.url).stdout)
    assert again["seed"] == trial["seed"] and again["params"] == trial["params"] and again["fixed"] == {"epochs": 3}
    assert (again["model"], again["data"]) == ("m", "d")
    assert again["metric"] == {"name": "eval/accuracy", "goal": "maximize"}


IMPORT_SPEC = """\
method: bayes
trainer: external
metric: {name: eval/accuracy, goal: maximize}
baseline: {epochs: 3}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}
  layers: {min: 1, max: 8}
  optimizer: {values: [adam, "sgd, nesterov", 8]}
  amsgrad: {values: [true, false]}
"""


STAGED = {
    "method": "staged", "trainer": "external", "seed": 3, "metric": {"name": "acc", "goal": "maximize"}, "baseline": {"lr": 0.01, "drop": 0.1},
    "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}},
    "stages": [{"method": "ofat", "levels": {"drop": [0.5], "lr": [0.06]}}, {"method": "grid", "select_top": 1, "pause_after": True, "values": {"lr": [0.02, 0.05]}},
               {"method": "confirm", "top_k": 2, "repeats": 2}],
}


def run_all(server, sweep, first):
    for number in range(first, first + 30):
        trials = server.claim(worker(server), f"s{number}", sweep=sweep)
        if not trials:
            return
        params = trials[0]["params"]
        complete(server, trials[0], 0.9 - 2 * abs(params["lr"] - 0.05) - 0.01 * abs(params["drop"] - 0.1) + 1e-4 * (number // 2 % 2))
    raise AssertionError("it has no end")


def test_show_and_best_tell_what_each_stage_concluded(server, ctl, tmp_path):
    id = server.post("/v1/sweeps", STAGED, expect=201)["id"]
    run_all(server, id, 0)
    shown = ctl("show", id, url=server.url).stdout
    assert re.search(r"^stage        1, ofat, 3 of 3 proposed\n             impacts: lr 0\.06\d*, drop 0\.00\d+$", shown, re.M), shown
    assert "stage        2, grid, 2 of 2 proposed, varies lr\n" in shown and f"paused       sweepctl resume {id} goes on" in shown, shown
    ctl("resume", id, url=server.url)
    run_all(server, id, 100)
    for text in (ctl("show", id, url=server.url).stdout, ctl("best", id, url=server.url).stdout):
        assert "over 2 fresh seeds" in text and "winner: as trial 5, with a confidence of 100 %" in text, text
    best = ctl("best", id, url=server.url).stdout
    assert "\nrecommended  trial " in best and "(95 %: " in best and "\nstage        3\n" in best, best
    ctl("report", id, "-o", "out.md", url=server.url)
    report = (tmp_path / "out.md").read_text()
    assert "Noise: " in report and "The winner is the configuration of trial 5, with a confidence of 100 %" in report
    assert "data:image/svg+xml" in report and "data:image/svg+xml" in ctl("report", id, url=server.url).stdout


def test_a_sweep_that_does_not_get_on_says_why(server, ctl):
    id = server.create_sweep(trainer="command", program="mine", run_cap=2)["id"]

    def show():
        return ctl("show", id, url=server.url).stdout

    assert "\nwaiting      for the first worker (sweep-worker --coordinator" in show()
    server.register("other", trainers=["external"])
    assert "\nwaiting      no worker takes it; other: the worker has no trainer 'command:mine': its option --allow-command mine=PATH" in show()
    assert f"sweep {id}: the worker has no trainer 'command:mine'" in ctl("workers", url=server.url).stdout
    mine = server.register("mine", trainers=["command:mine", "external"])["id"]
    assert "waiting" not in show()
    busy = server.create_sweep(name="busy")["id"]
    trial, = server.claim(mine, "b", sweep=busy)
    assert "\nwaiting      for a free slot" in show()
    server.report(trial, 1, outcome={"state": "completed", "value": 1})
    trial, = server.claim(mine, "c", sweep=id)
    server.report(trial, 1, outcome={"state": "failed", "reason": "diverged", "detail": "loss is\nNaN"})
    assert re.search(rf"\nfailed       trial 1 \({trial['id']}\), diverged: loss is NaN\n", show())
    for worker in server.get("/v1/workers")["items"]:
        ctl("drain", worker["name"], url=server.url)
    assert "\nwaiting      none of the workers is active" in show()
    server.patch(f"/v1/sweeps/{id}", {"state": "paused"})
    assert f"\npaused       sweepctl resume {id} goes on" in show()


def test_a_trial_is_retried_and_a_sweep_deleted(server, ctl):
    id = server.create_sweep(run_cap=1)["id"]
    trial, = server.claim(worker(server), "r1", sweep=id)
    server.report(trial, 1, outcome={"state": "failed", "reason": "diverged"})
    assert ctl("retry", trial["id"], url=server.url).stdout == f"{trial['id']}  queued\n"
    assert "409" in ctl("delete", id, url=server.url, expect=1).stderr  # it runs
    ctl("cancel", id, url=server.url)
    assert ctl("delete", id, url=server.url).stdout == f"{id}  deleted\n"
    assert "404" in ctl("show", id, url=server.url, expect=1).stderr


def test_a_wandb_export_becomes_evidence(server, ctl, tmp_path):
    id = json.loads(ctl("create", "-", "--json", url=server.url, stdin=IMPORT_SPEC).stdout)["id"]
    (tmp_path / "runs.csv").write_text(
        '\ufeff"Name","State","Runtime","learning_rate","layers","optimizer","amsgrad","eval/accuracy"\r\n'
        '"sweet-1","finished","31","1e-4","2.0","sgd, nesterov","True","0.81"\r\n'
        '"sweet-2","crashed","3","1e-2","2","adam","False",""\r\n'
        '"sweet-3","finished","33","0.001","4","8","false","0.84"\r\n'
        '"sweet-4","finished","33","0.001","4","adam","false","NaN"\r\n')
    done = ctl("import", id, "runs.csv", url=server.url)
    assert "2 trials imported, 1 row not completed, 1 without eval/accuracy" in done.stdout and "Runtime" in done.stderr
    trials = server.get(f"/v1/sweeps/{id}/trials?sort=-value")["items"]
    assert [t["value"] for t in trials] == [0.84, 0.81] and {t["state"] for t in trials} == {"completed"}
    assert trials[0]["params"] == {"learning_rate": 0.001, "layers": 4, "optimizer": 8, "amsgrad": False, "epochs": 3}
    assert trials[1]["params"]["optimizer"] == "sgd, nesterov" and trials[1]["params"]["layers"] == 2


def test_importance_is_told_in_words(server, ctl):
    id = json.loads(ctl("create", "-", "--json", url=server.url, stdin=SPEC.replace("run_cap: 3", "run_cap: 12")).stdout)["id"]
    for number in range(12):
        trial = claim(server, id, number)
        complete(server, trial, 0.8 + 1000 * trial["params"]["learning_rate"])
    text = ctl("importance", id, url=server.url).stdout
    assert text.splitlines()[0].startswith("PARAMETER") and text.splitlines()[1].startswith("learning_rate")
    assert json.loads(ctl("importance", id, "--json", url=server.url).stdout)["n"] == 12


def test_our_own_export_can_be_imported_elsewhere(server, ctl, tmp_path):
    id = json.loads(ctl("create", "-", "--json", url=server.url, stdin=SPEC).stdout)["id"]
    for number, value in enumerate([0.81, 0.86]):
        complete(server, claim(server, id, number), value)
    last = claim(server, id, 2)
    server.post(f"/v1/trials/{last['id']}/report", {"lease": last["lease"], "seq": 1, "outcome": {"state": "stopped", "value": 0.7}})
    (tmp_path / "old.csv").write_text(ctl("export", id, url=server.url).stdout)
    other = json.loads(ctl("create", "-", "--json", url=server.url, stdin=SPEC).stdout)["id"]
    done = ctl("import", other, "old.csv", url=server.url)
    assert "3 trials imported" in done.stdout and not done.stderr  # its other columns are no misspelt parameters
    old, new = (sorted(json.dumps([t["params"], t["value"], t["state"]]) for t in server.get(f"/v1/sweeps/{sweep}/trials")["items"]) for sweep in (id, other))
    assert old == new


def test_a_wrong_row_is_told_by_its_line_and_nothing_is_imported(server, ctl, tmp_path):
    id = json.loads(ctl("create", "-", "--json", url=server.url, stdin=IMPORT_SPEC).stdout)["id"]
    head = "learning_rate,layers,optimizer,amsgrad,score\n"
    (tmp_path / "bad.csv").write_text(head + "1e-3,2,adam,true,0.5\nfast,2,adam,true,0.5\n")
    assert "--value-column" in ctl("import", id, "bad.csv", url=server.url, expect=1).stderr
    assert "bad.csv:3: /params/learning_rate: must be a number" in ctl("import", id, "bad.csv", "--value-column", "score", url=server.url, expect=1).stderr
    assert "no column 'scroe'" in ctl("import", id, "bad.csv", "--value-column", "scroe", url=server.url, expect=1).stderr
    (tmp_path / "torn.csv").write_text(head + '1e-3,2,"adam')
    assert "torn.csv:2" in ctl("import", id, "torn.csv", "--value-column", "score", url=server.url, expect=1).stderr
    assert server.get(f"/v1/sweeps/{id}/trials")["items"] == []


def test_workers_are_drained_by_name(server, ctl):
    worker(server)
    assert "hand" in ctl("workers", url=server.url).stdout
    ctl("drain", "hand", url=server.url)
    assert server.get("/v1/workers")["items"][0]["state"] == "draining"
    ctl("drain", "nobody", url=server.url, expect=1)
    assert "active" in ctl("undrain", "hand", url=server.url).stdout
    assert "409" in ctl("forget", "hand", url=server.url, expect=1).stderr
    server.register("broken", unfit="self-test: the loss is 0.7")
    assert "self-test: the loss is 0.7" in ctl("workers", "--state", "quarantined", url=server.url).stdout
    assert "not fit" in ctl("undrain", "broken", url=server.url, expect=1).stderr


def test_what_does_not_exist_is_named(server, ctl):
    assert "404" in ctl("show", "nothing", url=server.url, expect=1).stderr
    assert "not an id" in ctl("show", "../x", url=server.url, expect=1).stderr
    assert json.loads(ctl("trial", "nothing", "--json", url=server.url, expect=1).stdout)["status"] == 404


def test_mistyped_words_find_their_names(ctl, tmp_path):
    assert "unknown command 'shwo': did you mean 'show'?" in ctl("shwo", expect=2).stderr
    assert "unknown option '--sevrer': did you mean '--server'?" in ctl("list", "--sevrer", "x", expect=2).stderr
    (tmp_path / "typo.yaml").write_text(SPEC.replace("parameters:", "paramters:").replace("    min: 1e-5", "    mn: 1e-5"))
    assert "/paramters: unknown key 'paramters': did you mean 'parameters'?" in ctl("check", "typo.yaml", expect=1).stdout


def test_check_says_which_way_it_goes_and_what_exponents_draw(ctl, tmp_path):
    (tmp_path / "w.yaml").write_text("method: random\ntrainer: external\nmetric: {name: accuracy}\nparameters: {lr: {distribution: log_uniform, min: -10, max: -2}}\n")
    told = ctl("check", "w.yaml").stdout
    assert "a random sweep of 1 parameter that minimizes accuracy, no faults" in told
    assert "draws=4.54e-05 to 0.1353: min and max are exponents of e (log_uniform_values takes values)" in told


def test_wrong_usage_is_told_apart(ctl):
    assert "'teleport'" in ctl("teleport", expect=2).stderr
    ctl(expect=2)
    ctl("show", expect=2)
    ctl("list", "extra", expect=2)
    assert "--colour" in ctl("list", "--colour", expect=2).stderr
    ctl("show", "x", "--sort", "value", expect=2)
    ctl("extend", "x", expect=2)
    assert "sweepctl" in ctl("--version").stdout
    assert "create" in ctl("--help").stdout
    told = ctl("list", expect=1).stderr
    assert "no answer" in told and "→ is sweepd running there? --server URL or SWEEPD_URL says where" in told


def test_a_token_is_sent_from_its_file(ctl, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("admin root secret-of-root-0123456789\nviewer eye secret-of-eye-0123456789\n")
    tokens.chmod(0o600)
    mine, eye = tmp_path / "mine", tmp_path / "eye"
    mine.write_text("secret-of-root-0123456789\n")
    eye.write_text("secret-of-eye-0123456789\n")
    mine.chmod(0o600)
    eye.chmod(0o600)
    with Daemon(tmp_path, "--token-file", tokens, auth=True) as server:
        assert "401" in ctl("list", url=server.url, expect=1).stderr
        ctl("create", "-", "--token-file", mine, url=server.url, stdin=SPEC)
        assert "from yaml" in ctl("list", "--token-file", eye, url=server.url).stdout
        assert "403" in ctl("create", "-", "--token-file", eye, url=server.url, stdin=SPEC, expect=1).stderr
        mine.chmod(0o644)
        assert "chmod" in ctl("list", "--token-file", mine, url=server.url, expect=1).stderr


@contextlib.contextmanager
def bad_line(server, carries, answers):
    """A proxy that carries the numbers of requests (from 1) that `carries` accepts to the server and hangs up instead of giving an answer that `answers`
    does not accept. Its URL, and the idempotency keys that came."""
    keys = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: self.headers[name] for name in ("Content-Type", "Idempotency-Key")}
            keys.append(headers["Idempotency-Key"])
            n = len(keys)
            answer = requests.post(server.url + self.path, data=body, headers=headers, timeout=PATIENCE_S) if carries(n) else None
            if answer is None or not answers(n):
                self.connection.close()
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *ignored):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_port}", keys
        proxy.shutdown()
        thread.join()


def test_a_lost_answer_creates_no_second_sweep(server, ctl):
    """The first create is carried out, but its answer is lost; the client asks again."""
    with bad_line(server, lambda n: True, lambda n: n > 1) as (url, keys):
        ctl("create", "-", url=url, stdin=SPEC)
    assert len(keys) == 2 and keys[0] == keys[1]
    assert len(server.get("/v1/sweeps")["items"]) == 1


def test_an_export_is_written_as_it_comes_and_one_that_is_cut_off_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = subprocess.Popen([program("sweepctl"), "export", "s1", "--server", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        connection, _ = listener.accept()
        connection.recv(65536)
        line = b"x" * 99 + b"\n"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 20000\r\n\r\n" + 100 * line)
        assert select.select([told.stdout], [], [], PATIENCE_S)[0] and told.stdout.read(len(line)) == line  # the other half was not sent yet
        connection.close()
        rest, why = told.communicate(timeout=PATIENCE_S)
        assert told.returncode == 1 and rest == 99 * line and b"cut off after 10000 bytes" in why


MANY_SPEC = {"method": "random", "trainer": "external", "metric": {"name": "m"}, "parameters": {"a": {"min": 0.0, "max": 1.0}}}
MANY = 1100


def many(server):
    return server.post("/v1/sweeps", MANY_SPEC, expect=201)["id"]


def enqueued(server, id):
    items, after = [], ""
    while after is not None:
        page = server.get(f"/v1/sweeps/{id}/trials?limit=1000" + (f"&after={after}" if after else ""))
        items, after = items + page["items"], page["next"]
    return [trial["params"]["a"] for trial in items]


def test_many_trials_go_in_several_requests_and_keep_their_order(server, ctl, tmp_path):
    values = [number / 2000 for number in range(MANY)]
    for document in ([{"params": {"a": value}} for value in values], {"trials": [{"params": {"a": value}} for value in values]}):
        id = many(server)
        (tmp_path / "many.json").write_text(json.dumps(document))
        items = json.loads(ctl("enqueue", id, "many.json", "--json", url=server.url).stdout)["items"]
        assert [item["number"] for item in items] == list(range(1, MANY + 1))
        assert enqueued(server, id) == values
        assert [change["text"] for change in server.get(f"/v1/sweeps/{id}/history")["items"]][1:] == [f"enqueued {MANY} trials (numbers 1 to {MANY})"]
    id = many(server)
    (tmp_path / "many.csv").write_text("a,m\n" + "".join(f"{value},{-value}\n" for value in values))
    assert ctl("import", id, "many.csv", url=server.url).stdout == f"{MANY} trials imported\n"
    assert enqueued(server, id) == values and server.get(f"/v1/sweeps/{id}")["counts"]["completed"] == MANY


@pytest.mark.parametrize("command", ["enqueue", "import"])
def test_a_fault_among_many_trials_says_where_to_go_on(server, ctl, tmp_path, command):
    def write(values):
        if command == "enqueue":
            (tmp_path / "many").write_text("".join(f"- params:\n    a: {value}\n" for value in values))
        else:
            (tmp_path / "many").write_text("a,m\n" + "".join(f"{value},1\n" for value in values))

    id, values = many(server), [number / 2000 for number in range(MANY)]
    write(values[:700] + ["none"] + values[701:])
    told = ctl(command, id, "many", url=server.url, expect=1).stderr
    assert ("many:1402: /700/params/a: " if command == "enqueue" else "many:702: /params/a: ") in told
    assert f"700 of {MANY} trials were taken, and none from there on" in told
    assert enqueued(server, id) == values[:700]
    key = re.search(r"--key (\S+)", told).group(1)
    write(values)
    ctl(command, id, "many", "--key", key, url=server.url)
    assert enqueued(server, id) == values
    ctl(command, id, "many", "--key", key, url=server.url)  # once more
    assert enqueued(server, id) == values
    last = f"trials {MANY - 99} to {MANY}"
    for others, told_of in (([0.9] + values[1:], "trials 1 to 100"), (values[:-1] + [0.9], last), (values[:-1], f"{last[:-len(str(MANY))]}{MANY - 1}")):
        write(others)  # not how to go on
        told = ctl(command, id, "many", "--key", key, url=server.url, expect=1).stderr
        assert "came with another body before, so nothing was done now" in told
        assert f"{told_of} are not quite those that came in their place with --key {key} before: nothing was done with them now" in told
        assert "those among them that came then were taken" in told and "goes on there" not in told
    assert "--key is up to" in ctl(command, id, "many", "--key", "a b", url=server.url, expect=2).stderr
    assert enqueued(server, id) == values


def test_a_file_without_trials_is_refused(server, ctl, tmp_path):
    id = many(server)
    for text in ("[]", "trials: []"):
        (tmp_path / "none").write_text(text + "\n")
        assert "must have at least 1 item" in ctl("enqueue", id, "none", url=server.url, expect=1).stderr
    (tmp_path / "none").write_text("three\n")
    assert "must be an object" in ctl("enqueue", id, "none", url=server.url, expect=1).stderr


def test_a_long_list_of_trials_is_sent_in_parts_and_one_that_is_too_long_says_what_to_do(server, ctl, tmp_path):
    id = many(server)
    text = "[" + ",".join(json.dumps({"params": {"a": number / 1000}, "value": 1}) for number in range(300)) + "]"
    (tmp_path / "long").write_text(text[:-1] + " " * (9 << 20) + "]")  # more than a request may have
    assert len(ctl("enqueue", id, "long", url=server.url).stdout.splitlines()) == 300
    (tmp_path / "longer.json").write_text(text + " " * (64 << 20))
    told = ctl("enqueue", id, "longer.json", url=server.url, expect=1).stderr
    assert "longer.json is larger than 67108864 bytes" in told and "several files" in told
    (tmp_path / "many.yaml").write_text("- params: {a: 0.5}\n" * 34000)
    assert "JSON may have more" in ctl("enqueue", id, "many.yaml", url=server.url, expect=1).stderr
    (tmp_path / "cut").write_text('[' + '{"params": {"a": 0.5}},' * 34000 + '{"params": {"a": 0.5}')
    assert "(and as JSON: " in ctl("enqueue", id, "cut", url=server.url, expect=1).stderr
    (tmp_path / "spec.json").write_text(" " * (9 << 20))
    assert "spec.json is larger than 8388608 bytes" in ctl("create", "spec.json", url=server.url, expect=1).stderr
    assert server.get(f"/v1/sweeps/{id}")["counts"]["completed"] == 300


def test_a_line_that_is_cut_among_many_trials_says_how_to_go_on(server, ctl, tmp_path):
    """The second request is carried out, but neither its answer nor any later try comes through."""
    id, values = many(server), [number / 2000 for number in range(250)]
    (tmp_path / "many.json").write_text(json.dumps([{"params": {"a": value}} for value in values]))
    with bad_line(server, lambda n: n <= 2, lambda n: n == 1) as (url, _):
        told = ctl("enqueue", id, "many.json", url=url, expect=1).stderr
    assert "100 of 250 trials were taken; what became of the next ones is not known" in told
    assert len(enqueued(server, id)) == 200
    ctl("enqueue", id, "many.json", "--key", re.search(r"--key (\S+)", told).group(1), url=server.url)
    assert enqueued(server, id) == values
    assert "--key" not in ctl("enqueue", id, "many.json", url="http://127.0.0.1:1", expect=1).stderr  # nothing can have come there


def test_a_best_trial_that_did_not_run_here_says_so(server, ctl):
    spec = {"method": "random", "trainer": "external", "run_cap": 5, "metric": {"name": "m"}, "parameters": {"a": {"min": 0.0, "max": 1.0}}}
    old = server.post("/v1/sweeps", spec, expect=201)["id"]
    server.post(f"/v1/sweeps/{old}/trials", {"params": {"a": 0.5}, "value": 0.25}, expect=201)
    listed = server.post("/v1/sweeps", {**spec, "warm_start": [{"params": {"a": 0.5}, "value": 0.25}]}, expect=201)["id"]
    guided = server.post("/v1/sweeps", {**spec, "warm_start": {"sweep": old, "top": 1}}, expect=201)["id"]
    for id, words in ((old, "not run here: evaluated elsewhere and imported"), (listed, "not run here: the sweep's warm start told its value"),
                      (guided, f"not run here: trial 1 of sweep {old}, brought by the warm start")):
        assert words in ctl("show", id, url=server.url).stdout and words in ctl("best", id, url=server.url).stdout
    complete(server, claim(server, guided, 1), 0.1)
    assert "not run here" not in ctl("show", guided, url=server.url).stdout
