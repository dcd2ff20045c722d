"""The web page: how its files are served, and what a real browser makes of it, with a sweep that external trainers ran."""
import contextlib
import gzip
import json
import math
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from daemon import PATIENCE_S, SANITIZED, Daemon, program

TOKEN = "secret-admin"
STAGED = {
    "name": "three stages", "method": "staged", "trainer": "external", "seed": 5, "metric": {"name": "eval/accuracy", "goal": "maximize"},
    "baseline": {"lr": 5e-5, "decay": 0.0, "optimizer": "adam"},
    "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 5e-4}, "decay": {"min": 0.0, "max": 0.1},
                   "optimizer": {"values": ["adam", "sgd"]}},
    "stages": [{"method": "ofat", "levels": {"lr": [2e-5, 2e-4], "decay": [0.05], "optimizer": ["sgd"]}},
               {"method": "grid", "values": {"lr": [2e-5, 5e-5, 1e-4], "optimizer": ["adam", "sgd"]}},
               {"method": "bayes", "run_cap": 4, "warm_start": True}],
}


def value(params):
    return round(0.85 - 0.05 * abs(math.log10(params["lr"] / 4e-5)) - 0.2 * params["decay"] - 0.03 * (params["optimizer"] == "sgd"), 6)


def evaluate(server, sweep, worker, n=1000, fail=()):
    """Claims and reports up to n trials; the `fail` ones diverge."""
    for count in range(n):
        claimed = server.claim(worker["id"], f"{sweep['id']}-{worker['name']}-{count}", sweep=sweep["id"], wait_s=2)
        if not claimed:
            return
        trial, end = claimed[0], value(claimed[0]["params"])
        points = [{"name": name, "step": 10 * step, "epoch": step / 2, "value": v} for step in range(1, 7)
                  for name, v in (("eval/accuracy", end - 0.2 / step if step < 6 else end), ("train/loss", 1 / step))]
        if count in fail:
            server.report(trial, 1, metrics=points[:4], outcome={"state": "failed", "reason": "diverged", "detail": "Traceback\nloss is NaN at step 41"})
        else:
            server.report(trial, 1, metrics=points, outcome={"state": "completed", "value": end})


# --- the files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("files")) as daemon:
        yield daemon


def fetch(server, path, **headers):
    return server.request("GET", path, headers={"Accept-Encoding": None, **headers}, expect=200, stream=True)


def names(server):
    """The page's files: what it and its modules name."""
    found, todo = set(), ["/"]
    while todo:
        text = fetch(server, todo.pop()).text
        for name in re.findall(r'"(?:/assets/|\./)([\w.-]+\.(?:js|css|svg))"', text):
            if name not in found:
                found.add(name)
                if not name.startswith("echarts"):
                    todo.append(f"/assets/{name}")
    return sorted(found)


@pytest.mark.coordinator
def test_every_file_that_the_page_names_is_served(files):
    kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    listed = names(files)
    assert {"app.js", "style.css", "icon.svg", "echarts-6.1.0.js", "hover.js"} <= set(listed)
    for name in listed:
        assert fetch(files, f"/assets/{name}").headers["Content-Type"] == kinds[name.rsplit(".")[-1]]
    assert files.request("GET", "/assets/nobody.js").status_code == 404
    assert files.request("POST", "/").status_code == 405


@pytest.mark.coordinator
def test_the_page_is_small_when_compressed(files):
    total = 0
    for path in ["/"] + [f"/assets/{name}" for name in names(files)]:
        packed = fetch(files, path, **{"Accept-Encoding": "br, gzip;q=0.8"})
        assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Vary"] == "Accept-Encoding"
        raw = packed.raw.read(decode_content=False)
        assert gzip.decompress(raw) == fetch(files, path).content
        total += len(raw)
    assert total < 600_000
    for refusal in ("identity", "gzip;q=0", "gzip; q=0.0", "xgzip"):
        assert "Content-Encoding" not in fetch(files, "/", **{"Accept-Encoding": refusal}).headers


@pytest.mark.coordinator
def test_what_the_browser_has_is_not_sent_again(files):
    for path, lasting in (("/", "no-cache"), ("/assets/app.js", "no-cache"), ("/assets/echarts-6.1.0.js", "public, max-age=31536000, immutable")):
        first = fetch(files, path)
        assert first.headers["Cache-Control"] == lasting
        for tag in (first.headers["ETag"], f'"x", W/{first.headers["ETag"]}', "*"):
            again = files.request("GET", path, headers={"If-None-Match": tag}, expect=304)
            assert not again.content and again.headers["ETag"] == first.headers["ETag"]
        assert fetch(files, path, **{"If-None-Match": '"other"'}).content


@pytest.mark.coordinator
def test_the_policy_lets_nothing_from_outside_in(files):
    for path in ("/", "/assets/app.js"):
        headers = fetch(files, path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    own = [fetch(files, path).text for path in ["/"] + [f"/assets/{name}" for name in names(files) if not name.startswith("echarts")]]
    assert not [address for text in own for address in re.findall(r'https?://[^\s"\'`)]+', text) if "www.w3.org" not in address]


# --- in a browser ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium(width=1300, height=1000, phone=False):
    """Debian's Chromium without a window, driven through chromedriver."""
    if SANITIZED:
        pytest.skip("the browser's tests run against the plain build")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("chromium and chromium-driver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                     f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    try:
        driver.set_script_timeout(60)
        if phone:
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    def __init__(self, driver):
        self.driver = driver

    def open(self, server, address):
        self.driver.get("about:blank")
        self.driver.get(f"{server.url}/#{address}")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments, timeout=4 * PATIENCE_S):
        """Until the expression is true; its value."""
        from selenium.webdriver.support.ui import WebDriverWait
        return WebDriverWait(self.driver, timeout, 0.05).until(lambda driver: driver.execute_script(f"return {script}", *arguments), message=f"never true: {script}\n{self.text()}")

    def text(self):
        return self.run("return document.body.innerText")

    def click(self, selector, containing=""):
        """Clicks the first that matches and holds the text."""
        self.wait("[...document.querySelectorAll(arguments[0])].some((one) => one.textContent.includes(arguments[1]))", selector, containing)
        self.run("[...document.querySelectorAll(arguments[0])].find((one) => one.textContent.includes(arguments[1])).click()", selector, containing)

    def wait_drawn(self, name):
        """The plot of that name, in view and drawn."""
        self.wait("document.querySelector(`[data-plot='${arguments[0]}']`)", name)
        self.run("document.querySelector(`[data-plot='${arguments[0]}']`).scrollIntoView({block: 'center'})", name)
        self.wait("document.querySelector(`[data-plot='${arguments[0]}'][data-drawn=yes] canvas`)", name)
        # something is on it: not every pixel is like the first
        self.wait("""(() => { const canvas = document.querySelector(`[data-plot='${arguments[0]}'] canvas`), data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let n = 0; for (let i = 3; i < data.length; i += 4) if (data[i]) n++; return n > 200; })()""", name)

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A server with the finished staged sweep, one failed trial in it."""
    with Daemon(tmp_path_factory.mktemp("web")) as daemon:
        daemon.worker = daemon.register("alpha")
        daemon.sweep = daemon.post("/v1/sweeps", STAGED, expect=201)
        evaluate(daemon, daemon.sweep, daemon.worker, fail=(3,))
        assert daemon.get(f"/v1/sweeps/{daemon.sweep['id']}")["state"] == "finished"
        yield daemon


@pytest.mark.parametrize("tab, plots", [
    ("overview", ["parallel", "history"]), ("analysis", ["ofat", "importance", "slice", "heat"]), ("curves", ["curves"]), ("timeline", ["stages", "workers"])])
def test_every_plot_is_drawn_from_a_sweep(study, tab, plots):
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}/{tab}")
        for name in plots:
            browser.wait_drawn(name)
        assert not browser.complaints()


def test_plots_are_saved_as_png_and_svg(study):
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}")
        browser.wait_drawn("parallel")
        browser.run("""window.saved = []; HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href.slice(0, 22)]); };
            const make = URL.createObjectURL; URL.createObjectURL = (blob) => { blob.text().then((text) => { window.svg = text; }); return make.call(URL, blob); };""")
        for kind in ("PNG", "SVG"):
            browser.click("[data-plot=parallel] button", kind)
        assert browser.wait("window.svg && svg.startsWith('<svg') && svg.includes('optimizer') && svg.split('<path').length > 15")
        # every line stays inside of the plot, on the axis of choices too
        lines = [[float(number) for number in re.findall(r"-?\d+\.?\d*", path)] for path in re.findall(r'<path d="(M[^"]*)"[^>]*fill="none"', browser.run("return svg"))]
        height = float(browser.run("return svg.match(/height=\"([0-9.]+)\"/)[1]"))
        assert lines and all(0 <= y <= height for line in lines for y in line[1::2])
        saved = browser.run("return saved")
        assert [name for name, _ in saved] == ["three-stages-parallel.png", "three-stages-parallel.svg"] and saved[0][1].startswith("data:image/png")
        assert not browser.complaints()


def test_trials_are_filtered_sorted_and_compared(study):
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}/trials")
        browser.wait("document.querySelectorAll('.vrow').length > 5")
        browser.click(".vhead button", "eval/accuracy")
        best = study.get(f"/v1/sweeps/{study.sweep['id']}/best")["trial"]["number"]
        browser.wait("document.querySelector('.vrow').dataset.number === arguments[0]", str(best))
        for place in (0, 1, 2):
            browser.run("document.querySelectorAll('.vrow input')[arguments[0]].click()", place)
        browser.wait("document.querySelectorAll('.compare thead th').length === 4")
        assert f"t={best}" in browser.run("return location.hash")
        browser.run("const box = document.querySelector('input.filter'); box.value = 'state:failed lr>1e-6'; box.dispatchEvent(new Event('input'))")
        browser.wait("document.querySelectorAll('.vrow').length === 1")
        browser.run("document.querySelector('.virtual').focus(); document.querySelector('.virtual').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))")
        browser.wait("document.querySelector('pre.detail')?.textContent.includes('loss is NaN at step 41')")
        assert "diverged" in browser.text() and browser.run("return document.querySelector('.why').textContent.includes('One factor at a time')")
        browser.wait_drawn("curve-eval/accuracy")
        assert not browser.complaints()


def test_what_happens_is_seen_without_a_reload(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("beta"), server.post("/v1/sweeps", {**STAGED, "name": "live"}, expect=201)
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        browser.wait("document.querySelector('[data-card=best]')?.textContent.includes('No trial has a value yet')")
        evaluate(server, sweep, worker, n=4)
        browser.wait("document.querySelector('[data-card=progress]').textContent.includes('4 of')")
        browser.wait_drawn("parallel")
        browser.click("button", "Pause")
        browser.wait("document.querySelector('h1 + .pill').textContent === 'paused'")
        assert server.get(f"/v1/sweeps/{sweep['id']}")["state"] == "paused"
        browser.click("button", "Resume")
        browser.wait("document.querySelector('h1 + .pill').textContent === 'running'")
        browser.click("button", "Enqueue")
        browser.run("document.querySelector('dialog textarea').value = '{\"lr\": 3e-5}'")
        browser.click("dialog button", "Enqueue")
        browser.wait("document.querySelector('[data-card=progress]').textContent.includes('queued')")
        assert server.get(f"/v1/sweeps/{sweep['id']}/trials?state=queued")["items"][0]["params"]["lr"] == 3e-5
        browser.open(server, "/workers")
        browser.click("button", "Drain")
        browser.click("dialog button", "Drain")
        browser.wait("document.querySelector('.workers .pill').textContent === 'draining'")
        browser.click("button", "Undrain")
        browser.click("dialog button", "Undrain")
        browser.wait("document.querySelector('.workers .pill').textContent === 'active'")
        server.register("broken", unfit="self-test: the loss is 0.7")
        browser.wait("document.querySelector('.workers').textContent.includes('self-test: the loss is 0.7')")
        assert not browser.complaints()


def test_faults_of_a_pasted_spec_are_marked_where_they_are(study):
    spec = '{\n  "method": "random",\n  "trainer": "external",\n  "parameters": {\n    "x": {"distribution": "log_uniform_values", "min": 0, "max": 1}\n  },\n  "colour": 1\n}'
    with chromium() as browser:
        browser.open(study, "/sweeps")
        browser.click("button", "New sweep")
        browser.wait("document.querySelector('dialog .editor textarea')")
        fill = "const area = document.querySelector('dialog .editor textarea'); area.value = arguments[0]; area.dispatchEvent(new Event('input'))"
        browser.run(fill, spec)
        browser.click("dialog button", "Create")
        browser.wait("document.querySelectorAll('.faults li').length >= 2")
        lines = browser.run("return [...document.querySelectorAll('.editor pre b')].map((one) => one.textContent)")
        assert lines == ["5", "7"]
        browser.click(".faults button", "/colour")
        assert browser.run("const area = document.querySelector('dialog textarea'); return area.value.slice(area.selectionStart, area.selectionEnd)") == '"colour": 1'
        browser.run(fill, spec.replace('"min": 0,', '"min": 0.001,').replace(',\n  "colour": 1', ',\n  "name": "pasted"'))
        browser.driver.get_log("browser")  # the 422 was one on purpose
        browser.click("dialog button", "Create")
        browser.wait("document.querySelector('h1')?.textContent === 'pasted'")
        assert not browser.complaints()


YAML = """\
# a study in YAML
name: from yaml
method: random
trainer: external
metric: {name: loss, goal: minimize}
parameters:
  lr:
    distribution: log_uniform_values
    min: 1e-5   # a number
    max: -1.0
  opt:
    values:
    - sgd
    - 'ad am'
colour: 1
"""
FILL = "const area = document.querySelector('dialog .editor textarea'); area.value = arguments[0]; area.dispatchEvent(new Event('input'))"


def test_yaml_is_pasted_and_its_faults_are_marked_in_it(study):
    with chromium() as browser:
        browser.open(study, "/sweeps")
        browser.click("button", "New sweep")
        browser.wait("document.querySelector('dialog .editor textarea')")
        browser.run(FILL, "method: random\nparameters:\n  a: {min: 0,\n")
        browser.click("dialog button", "Create")
        browser.wait("document.querySelector('dialog .summary').textContent.includes('is missing')")
        browser.run(FILL, YAML)
        browser.click("dialog button", "Create")
        browser.wait("document.querySelectorAll('.faults li').length >= 2")
        assert browser.run("return [...document.querySelectorAll('.editor pre b')].map((one) => one.textContent)") == ["10", "15"]
        browser.run(FILL, YAML.replace("-1.0", "1.0").replace("colour: 1\n", ""))
        browser.driver.get_log("browser")
        browser.click("dialog button", "Create")
        browser.wait("document.querySelector('h1')?.textContent === 'from yaml'")
        sweep = study.get("/v1/sweeps?limit=1000")["items"][-1]
        assert sweep["spec"]["parameters"] == {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0}, "opt": {"values": ["sgd", "ad am"]}}
        study.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})
        assert not browser.complaints()


def test_the_page_reads_yaml_as_sweepctl_does(study):
    corpus = pathlib.Path(__file__).resolve().parents[1] / "data" / "wandb"
    with chromium() as browser:
        browser.open(study, "/sweeps")
        read = 0

        def read_yaml(text):
            return browser.driver.execute_async_script("const done = arguments[1]; import('/assets/yaml.js').then(({readYaml}) => done(readYaml(arguments[0]).json)).catch((error) => done(`! ${error.message}`))", text)

        assert read_yaml("---\r\na: 1 # one\r\nb: two # 2\r\n") == '{"a":1,"b":"two"}'
        assert read_yaml("a: 1\n---\nb: 2\n").startswith("! a second document")
        for path in sorted(corpus.glob("[0-3]*.yaml")):
            text = path.read_text()
            told = read_yaml(text)
            if told.startswith("!"):
                assert "sweepctl" in told and re.search(r"[&*]|!!|<<", text), f"{path.name}: {told}"
                continue
            made = subprocess.run([program("sweepctl"), "--server", study.url, "--json", "create", str(path)], capture_output=True, text=True, timeout=PATIENCE_S)
            assert made.returncode == 0, made.stderr
            sweep = json.loads(made.stdout)
            assert repr(json.loads(told)) == repr(sweep["spec"]), path.name  # integers and reals, order of keys
            study.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})
            read += 1
        assert read > 20


def test_a_sweep_is_cloned_edited_and_its_history_shown(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("gamma"), server.post("/v1/sweeps", {**STAGED, "name": "first", "description": "to go"}, expect=201)
        evaluate(server, sweep, worker, n=2)
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.click("button", "Clone")
        browser.wait("document.querySelector('dialog .editor textarea')?.value.includes('first again')")
        prefilled = json.loads(browser.run("return document.querySelector('dialog .editor textarea').value"))
        assert prefilled == {**STAGED, "name": "first again", "description": "to go"}
        browser.click("dialog button", "Create")
        browser.wait("document.querySelector('h1')?.textContent === 'first again'")
        clone = server.get("/v1/sweeps")["items"][-1]
        assert repr(clone["spec"]) == repr(prefilled)
        browser.open(server, f"/sweep/{sweep['id']}/history")
        browser.wait("document.querySelectorAll('.history tbody tr').length === 1")
        browser.click("button", "Edit")
        browser.wait("document.querySelector('dialog .editor textarea')")
        text = browser.run("return document.querySelector('dialog .editor textarea').value")
        browser.run(FILL, text.replace('"min": 1e-5', '"min": 9.0'))
        browser.click("dialog button", "Change")
        browser.wait("document.querySelectorAll('.faults li').length >= 1")
        wrong = browser.run("return [...document.querySelectorAll('.editor pre b')].map((one) => Number(one.textContent))")
        assert len(wrong) >= 1 and '"min": 9.0' in browser.run("return document.querySelector('dialog textarea').value").split("\n")[wrong[-1] - 1]
        browser.driver.get_log("browser")
        browser.run(FILL, "just words")
        browser.click("dialog button", "Change")
        browser.wait("document.querySelector('dialog .faults').textContent.includes('must be an object')")
        browser.driver.get_log("browser")
        server.patch(f"/v1/sweeps/{sweep['id']}", {"spec": {"name": "by somebody else"}})  # meanwhile: it stays
        browser.run(FILL, re.sub(r',\n *"description": "to go"', "", text).replace('"run_cap": 4', '"run_cap": 6'))
        browser.click("dialog button", "Change")
        browser.wait("document.querySelectorAll('.history tbody tr').length === 3")
        assert "stages.2.run_cap 4 → 6" in browser.run("return document.querySelector('.history').innerText.replace(/\\s+/g, ' ')")
        now = server.get(f"/v1/sweeps/{sweep['id']}")["spec"]
        assert now["stages"][2]["run_cap"] == 6 and "description" not in now and now["parameters"] == STAGED["parameters"] and now["name"] == "by somebody else"
        server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "paused"})
        browser.wait("document.querySelectorAll('.history tbody tr').length === 4")
        server.request("DELETE", f"/v1/sweeps/{sweep['id']}", expect=204)
        browser.wait("document.body.innerText.includes('This sweep was deleted')")
        browser.open(server, "/sweeps")
        browser.wait("document.querySelector('#live').dataset.state === 'live' && document.querySelectorAll('.sweeps tbody tr').length === 1")
        server.patch(f"/v1/sweeps/{clone['id']}", {"state": "cancelled"})
        server.request("DELETE", f"/v1/sweeps/{clone['id']}", expect=204)
        browser.wait("document.body.innerText.includes('No sweep yet')")
        assert not browser.complaints()


def test_what_the_stages_found_is_told_in_words(tmp_path):
    stages = [STAGED["stages"][0], {"method": "grid", "select_top": 1, "values": {"lr": [2e-5, 5e-5, 1e-4], "optimizer": ["adam", "sgd"]}},
              {"method": "bayes", "run_cap": 2, "warm_start": True}, {"method": "confirm", "top_k": 2, "repeats": 2}]
    with Daemon(tmp_path) as server, chromium() as browser:
        sweep = server.post("/v1/sweeps", {**STAGED, "stages": stages}, expect=201)
        evaluate(server, sweep, server.register("delta"))
        browser.open(server, f"/sweep/{sweep['id']}")
        card = "document.querySelector('[data-card=stages]').textContent"
        browser.wait(f"{card}.includes('The winner is the configuration of trial')")
        told = browser.run(f"return {card}")
        assert "moved eval/accuracy most: by" in told and "It varies" in told and "had the largest impact in stage 1" in told and "at the baseline" in told
        assert "better than anything before it" in told or "stays the best" in told
        assert "over 2 fresh trials" in told
        assert not browser.complaints()


def test_a_best_trial_that_did_not_run_here_says_so(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        old = server.create_sweep(method="random")["id"]
        server.post(f"/v1/sweeps/{old}/trials", {"params": server.claim(server.register("w")["id"], "1", sweep=old)[0]["params"], "value": 0.25}, expect=201)
        guided = server.create_sweep(method="random", warm_start={"sweep": old, "top": 1})["id"]
        for id, words in ((old, "it was evaluated elsewhere and imported"), (guided, f"the warm start brought trial 2 of sweep {old}")):
            browser.open(server, f"/sweep/{id}")
            browser.wait("document.querySelector('[data-card=best]')?.textContent.includes(arguments[0])", "It was not run here: " + words)
            browser.open(server, f"/trial/{server.get(f'/v1/sweeps/{id}')['best']['id']}")
            browser.wait("document.body.textContent.includes(arguments[0])", "It was not run here: " + words)


def test_workers_are_seen_as_they_come(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        server.register("one")
        browser.open(server, "/workers")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        worker, sweep = server.register("two"), server.create_sweep(run_cap=None)
        browser.wait("document.querySelector('.workers')?.textContent.includes('two')")
        server.register("three")
        began = time.monotonic()
        browser.wait("document.querySelector('.workers').textContent.includes('three')")
        assert SANITIZED or time.monotonic() - began < 8  # without an event it is seen when the page looks again, after ten seconds
        trial, = server.claim(worker["id"], "c", sweep=sweep["id"])
        for part in range(3):  # more than one page of points
            server.report(trial, part + 1, metrics=[{"name": "perf/tokens_per_s", "step": 1000 * part + step, "value": 1000 * part + step} for step in range(1, 801)])
        browser.wait("document.querySelector('.workers').textContent.includes('2800 tokens/s')")
        for instance in ("first", "second"):
            shared = server.register("shared", instance=instance)
        assert "Two processes" not in browser.text()
        for claim in ("d", "e"):  # the older one goes on, which is no claim that was long on its way
            time.sleep(1.1)
            server.request("POST", "/v1/claims", {"worker": shared["id"], "claim_id": claim}, headers={"Worker-Instance": "first"})
        browser.wait("document.querySelector('.workers').textContent.includes('Two processes have this name, since ')")
        assert not browser.complaints()


def test_why_nothing_of_a_sweep_runs_is_told(tmp_path):
    waits = "document.querySelector('[data-waits]')?.textContent.includes(arguments[0])"
    with Daemon(tmp_path) as server, chromium() as browser:
        sweep, other = server.create_sweep(run_cap=None), server.create_sweep(run_cap=None)
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait(waits, "waits for the first worker")
        worker = server.register("one")
        server.claim(worker["id"], "a", sweep=other["id"])
        browser.wait(waits, "busy with other sweeps")
        server.post(f"/v1/workers/{worker['id']}/drain")
        browser.wait(waits, "none of the workers is active")
        server.register("two", trainers=["builtin"])
        browser.wait(waits, "No worker takes it; two:")
        server.claim(server.register("three")["id"], "b", sweep=sweep["id"])
        browser.wait("!document.querySelector('[data-waits]')")
        assert not browser.complaints()


def test_a_server_with_tokens_asks_for_one(tmp_path):
    token_file = tmp_path / "tokens"
    token_file.write_text(f"admin a {TOKEN}\n")
    token_file.chmod(0o600)
    with Daemon(tmp_path, "--token-file", token_file, auth=True, token=TOKEN) as server, chromium() as browser:
        server.create_sweep(name="secret sweep")
        browser.open(server, "/sweeps")
        browser.wait("document.querySelector('dialog input[type=password]')")
        assert "secret sweep" not in browser.text()
        for token in ("wrong", TOKEN):
            browser.wait("document.querySelectorAll('dialog[open] form.login').length === 1")
            browser.run("document.querySelector('dialog input').value = arguments[0]; document.querySelector('dialog form').requestSubmit()", token)
            browser.wait("!document.querySelector('dialog[open]') || document.body.innerText.includes('does not know')")
        browser.wait("document.body.innerText.includes('secret sweep')")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        assert browser.run("return sessionStorage.getItem('sweepd-token')") == TOKEN
        assert TOKEN not in browser.run("return location.href + document.cookie")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone(study, theme):
    with chromium(phone=True) as browser:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        for address, sign in (("/sweeps", ".sweeps td"), (f"/sweep/{study.sweep['id']}", "[data-plot=parallel][data-drawn=yes]"), (f"/sweep/{study.sweep['id']}/trials", ".vrow"), ("/workers", ".workers td")):
            browser.open(study, address)
            browser.wait("document.querySelector(arguments[0])", sign)
            assert browser.run("return document.documentElement.dataset.theme") == theme
            assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0, address
        assert not browser.complaints()


def test_an_unreachable_server_and_a_wrong_address_are_told(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        browser.open(server, "/sweep/nobody")
        browser.wait("document.body.innerText.includes('There is nothing at this address')")
        browser.open(server, "/sweeps")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        server.kill()
        browser.wait("document.querySelector('#live').dataset.state === 'off'")


def test_ten_thousand_trials_are_no_burden(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        sweep = server.create_sweep(name="large", run_cap=None, parameters={"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}, "x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 9}})
        for part in range(10):
            trials = [{"params": {"lr": 10 ** (-5 + 3 * ((k * 7919) % 10007) / 10007), "x": (k * 104729 % 9973) / 9973, "n": 1 + k % 9}, "value": 1 + (k * 31 % 1000) / 1000} for k in range(1000 * part, 1000 * part + 1000)]
            server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": trials}, expect=201)
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait_drawn("parallel")
        browser.open(server, f"/sweep/{sweep['id']}/trials")
        browser.wait("document.body.innerText.includes('10000 of 10000 trials')")
        assert browser.run("return document.querySelectorAll('.vrow').length") < 100
        browser.run("document.querySelector('.virtual').scrollTop = 1e9")
        browser.wait("[...document.querySelectorAll('.vrow')].some((one) => one.dataset.number === '1')")
        assert not browser.complaints()
        print("first plot after", json.dumps(browser.run("return document.querySelector('main > div').dataset")))
