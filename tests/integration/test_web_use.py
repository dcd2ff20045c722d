"""The web page in use: brushing and pointing, the keyboard, saving and printing, what plots say of odd parameters, and every action."""
import json
import re

import pytest
from daemon import Daemon
from test_web import FILL, STAGED, chromium, evaluate, study  # noqa: F401 (study is a fixture)

CHART = "const done = arguments[arguments.length - 1]; import('/assets/echarts-6.1.0.js').then((echarts) => { const chart = echarts.getInstanceByDom(document.querySelector(`[data-plot='${arguments[0]}'] .canvas`)); done(%s); }).catch((error) => done(`! ${error}`));"
AXES = "(() => { const system = chart.getModel().getComponent('parallel').coordinateSystem, box = chart.getDom().getBoundingClientRect(); return system.dimensions.map((one) => { const [low, high] = system.getAxis(one).getExtent(); return [box.x + system.getAxisLayout(one).position[0], box.y + system.getAxisLayout(one).position[1] - Math.abs(high - low), box.y + system.getAxisLayout(one).position[1]]; }); })()"


def ask(browser, plot, expression):
    """What the chart of a plot answers."""
    value = browser.driver.execute_async_script(CHART % expression, plot)
    assert not (isinstance(value, str) and value.startswith("!")), value
    return value


def mouse(browser, *steps):
    for kind, x, y in steps:
        pressed = {"mousePressed": 1, "mouseReleased": 1}.get(kind, 0)
        browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left" if pressed else "none", "clickCount": pressed, "buttons": 1 if kind != "mouseReleased" else 0})


def press(browser, *keys):
    from selenium.webdriver import ActionChains
    for key in keys:
        ActionChains(browser.driver).send_keys(key).perform()


def choose(browser, plot, place, value):
    browser.run("const one = document.querySelectorAll(`[data-plot='${arguments[0]}'] select`)[arguments[1]]; one.value = arguments[2]; one.dispatchEvent(new Event('change'))", plot, place, value)


def test_lines_are_brushed_pointed_at_coloured_and_told_apart_by_stage(study):  # noqa: F811
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}")
        browser.wait_drawn("parallel")
        browser.wait("document.querySelector('[data-card=best]').textContent.includes('Without the noise')")  # nothing moves any more
        browser.run("document.querySelector('[data-plot=parallel]').scrollIntoView({block: 'center'})")
        axes = ask(browser, "parallel", AXES)
        (x, top, bottom), last = axes[0], axes[-1]
        best = study.get(f"/v1/sweeps/{study.sweep['id']}/best")["trial"]
        mouse(browser, ("mouseMoved", last[0] - 3, last[1] + 1))
        tip = browser.wait("(() => { const tip = document.querySelector('.tip'); return !tip.hidden && tip.textContent; })()")
        assert re.match(r"Trial \d+ · completed", tip) and str(best["value"])[:5] in tip
        words = "return document.querySelector('[data-plot=parallel] .canvas').getAttribute('aria-label')"
        assert "coloured by eval/accuracy" in browser.run(words)
        choose(browser, "parallel", 0, "lr")
        assert "coloured by lr" in browser.run(words)
        choose(browser, "parallel", 1, "0")
        shown = sum(one["stage"] == 0 and one["value"] is not None for one in study.get(f"/v1/sweeps/{study.sweep['id']}/trials?limit=1000")["items"])
        assert f"{shown} trials over" in browser.run(words)
        choose(browser, "parallel", 1, "")
        # the upper half of the learning rates
        middle = (top + bottom) / 2
        mouse(browser, ("mouseMoved", x, top + 2), ("mousePressed", x, top + 2), ("mouseMoved", x, top + 30), ("mouseMoved", x, middle), ("mouseReleased", x, middle))
        told = browser.wait("(() => { const text = document.querySelector('[data-plot=parallel]').textContent.match(/(\\d+) of (\\d+) trials lie in/); return text && [text[1], text[2]]; })()")
        assert 0 < int(told[0]) < int(told[1])
        browser.click("[data-plot=parallel] button", "List them")
        browser.wait("document.body.innerText.includes(arguments[0])", f"{told[0]} of ")
        assert browser.run("return document.querySelectorAll('.vrow').length") == int(told[0])
        browser.click("button", "Show all")
        browser.wait("document.querySelectorAll('.vrow').length > Number(arguments[0])", told[0])
        assert not browser.complaints()


def test_every_plot_is_saved(study):  # noqa: F811
    tabs = {"overview": ["parallel", "history"], "analysis": ["ofat", "importance", "slice", "heat"], "curves": ["curves"], "timeline": ["stages", "workers"]}
    with chromium() as browser:
        for tab, plots in tabs.items():
            browser.open(study, f"/sweep/{study.sweep['id']}/{tab}")
            browser.wait("document.querySelector('.tabs')")
            browser.run("""window.saved = []; HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href.slice(0, 22)]); }; window.svg = [];
                const make = URL.createObjectURL; URL.createObjectURL = (blob) => { blob.text().then((text) => svg.push(text)); return make.call(URL, blob); };""")
            for plot in plots:
                browser.wait_drawn(plot)
                for kind in ("PNG", "SVG"):
                    browser.click(f"[data-plot={plot}] button", kind)
            browser.wait("svg.length === arguments[0]", len(plots))
            assert all(text.startswith("<svg") and text.count("<path") >= 3 for text in browser.run("return svg"))
            saved = browser.run("return saved")
            assert [name.split(".")[-1] for name, _ in saved] == ["png", "svg"] * len(plots)
            assert all(start.startswith("data:image/png") for name, start in saved if name.endswith("png"))
        assert not browser.complaints()


def test_it_prints_without_its_controls(study):  # noqa: F811
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}/analysis")
        browser.wait_drawn("ofat")
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.run("return [...document.querySelectorAll('.top, .tabs, .actions, .plot-head button, .plot-head select')].every((one) => one.getClientRects().length === 0)")
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        assert len(browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 30_000
        browser.wait("['ofat', 'importance', 'slice', 'heat'].every((name) => document.querySelector(`[data-plot=${name}] canvas`))")  # those out of sight, too
        assert not browser.complaints()


def test_the_keyboard_reaches_everything_and_keeps_its_place(tmp_path):
    from selenium.webdriver.common.keys import Keys
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("epsilon"), server.post("/v1/sweeps", {**STAGED, "name": "keys"}, expect=201)
        evaluate(server, sweep, worker, n=2)
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait_drawn("history")
        active, outline = "return document.activeElement.textContent", "return getComputedStyle(document.activeElement).outlineStyle"
        browser.run("scrollTo(0, 0); document.activeElement.blur()")
        press(browser, Keys.TAB)
        assert browser.run(active) == "Skip to the content"
        press(browser, Keys.ENTER)
        assert browser.run("return document.activeElement.id") == "main"
        reached = []
        for _ in range(60):
            press(browser, Keys.TAB)
            text = browser.run(active)
            if browser.run("return document.activeElement === document.body || document.activeElement.closest('.top') !== null"):
                break
            reached.append(text)
            assert browser.run(outline) != "none", text
        wanted = [text for text in browser.run("return [...document.querySelectorAll('main button, main a[href], main select, main input')].filter((one) => one.getClientRects().length && !one.disabled && one.tabIndex >= 0).map((one) => one.textContent)")]
        assert not [text for text in wanted if text not in reached] and {"Pause", "Edit", "Extend", "Enqueue", "Clone", "Report", "Cancel"} <= set(reached)
        # the head is drawn anew with the news; the focus stays
        browser.run("[...document.querySelectorAll('main button')].find((one) => one.textContent === 'Extend').focus(); window.before = document.activeElement")
        evaluate(server, sweep, {**worker, "name": "again"}, n=1)
        browser.wait("document.querySelector('[data-card=progress]').textContent.includes('3 of') && !before.isConnected")
        assert browser.run(active) == "Extend"
        press(browser, Keys.ENTER)
        browser.wait("document.querySelector('dialog[open] input')")
        press(browser, Keys.ESCAPE)
        browser.wait("!document.querySelector('dialog')")
        press(browser, "5")
        browser.wait("location.hash.includes('/trials') && document.querySelector('.vrow')")
        press(browser, "/")
        assert browser.run("return document.activeElement.className") == "filter"
        browser.run("document.querySelector('.vhead button[title*=accuracy]').focus()")
        press(browser, Keys.ENTER)
        browser.wait("document.querySelector('.vhead [aria-sort=descending]').textContent.includes('accuracy')")
        assert "accuracy" in browser.run(active)
        browser.run("const box = document.querySelector('input.filter'); box.value = 'state:completed'; box.dispatchEvent(new Event('input'))")
        assert "filter=state%3Acompleted" in browser.run("return location.hash")  # a link that shows the same
        browser.run("location.reload()")
        browser.wait("document.querySelector('input.filter')?.value === 'state:completed' && document.body.innerText.includes('3 of ')")
        browser.run("document.querySelector('.virtual').focus()")
        press(browser, " ", Keys.ARROW_DOWN, " ")
        browser.wait("document.querySelectorAll('.compare thead th').length === 3 && document.querySelectorAll('.vrow[aria-selected=true]').length === 2")
        press(browser, Keys.ENTER)
        browser.wait("location.hash.includes('/trial/')")
        press(browser, "?")
        browser.wait("document.querySelector('dialog[open]')?.textContent.includes('Keys')")
        press(browser, Keys.ESCAPE, "w")
        browser.wait("location.hash === '#/workers'")
        assert not browser.complaints()


def test_plots_show_conditions_slots_and_scales_as_they_are(tmp_path):
    spec = {"name": "odd", "method": "random", "trainer": "external", "seed": 3, "metric": {"name": "loss", "goal": "minimize"}, "run_cap": 30,
            "parameters": {"opt": {"values": ["adam", "sgd"]}, "momentum": {"min": 0.0, "max": 0.99}, "rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "model": {"parameters": {"share": {"min": 0.0, "max": 1.0}}}},
            "conditions": [{"parameter": "momentum", "when": {"opt": ["sgd"]}}]}
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("two at once", slots=2), server.post("/v1/sweeps", spec, expect=201)
        server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": [{"params": {"opt": "sgd", "momentum": 1e-4 * 900 ** (k / 19), "rate": 1e-5 * 9000 ** (k / 19), "model": {"share": 1e-3 + k / 20}}, "value": 1 + k} for k in range(20)]}, expect=201)
        server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": [{"params": {"opt": "adam", "rate": 1e-3, "model": {"share": 0.5}}, "value": 2.5}]}, expect=201)
        both = [server.claim(worker["id"], f"c{k}", sweep=sweep["id"])[0] for k in range(2)]
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait_drawn("parallel")
        browser.wait("document.querySelector('[data-card=progress]').textContent.includes('running')")
        axes = {name: (kind, labels) for name, kind, labels in ask(browser, "parallel", "chart.getOption().parallelAxis.map((one) => [one.name, one.type, chart.getModel().getComponent('parallel').coordinateSystem.getAxis(`dim${one.dim}`).getViewLabels().map((label) => label.formattedLabel)])")}
        assert axes["momentum"][0] == axes["model.share"][0] == "value" and axes["rate"][0] == "log"  # however wide the range of what was tried
        assert "not set" in axes["momentum"][1] and "not set" not in axes["rate"][1]
        browser.open(server, f"/sweep/{sweep['id']}/timeline")
        browser.wait_drawn("workers")
        assert ask(browser, "workers", "chart.getOption().yAxis[0].data") == ["two at once", ""]  # a line a slot
        assert ask(browser, "workers", "chart.getOption().series.map((one) => one.name)") == ["running"]
        assert not browser.run("return document.querySelector('[data-plot=stages]')")
        # a trial's page is live, and what nests in a proposal is told flat
        browser.open(server, f"/trial/{both[0]['id']}")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        server.report(both[0], 1, metrics=[{"name": "loss", "step": step, "value": 1 / step} for step in (1, 2, 3)])
        browser.wait_drawn("curve-loss")
        server.report(both[0], 2, outcome={"state": "completed", "value": 0.25})
        browser.wait("document.querySelector('h1 + .pill').textContent === 'completed' && document.body.innerText.includes('0.25')")
        assert not browser.complaints()


def test_the_interval_is_said_to_be_that_of_the_recommended_trial(study):  # noqa: F811
    best = study.get(f"/v1/sweeps/{study.sweep['id']}/best")
    with chromium() as browser:
        browser.open(study, f"/sweep/{study.sweep['id']}")
        text = browser.wait("(() => { const text = document.querySelector('[data-card=best]')?.textContent; return text?.includes('Without the noise of a single trial') && text; })()")
        if best["recommended"]["id"] == best["trial"]["id"]:
            assert "recommends" not in text
        else:
            assert f"recommends trial {best['recommended']['number']}" in text
        # the baseline stands where its value is, not where a rounded one would be
        browser.open(study, f"/sweep/{study.sweep['id']}/analysis")
        browser.wait_drawn("ofat")
        base = next(one["value"] for one in study.get(f"/v1/sweeps/{study.sweep['id']}/trials?limit=1000")["items"] if one["proposal"]["source"] == "baseline")
        where = ask(browser, "ofat", "(() => { const model = chart.getModel().getSeriesByIndex(1), lines = []; chart.getZr().storage.getDisplayList().forEach((one) => { if (one.type === 'line' || one.type === 'ec-line') lines.push(one.shape.x1); }); return [chart.convertToPixel({xAxisIndex: 0}, %r), lines]; })()" % base)
        assert any(abs(where[0] - x) < 1 for x in where[1])
        browser.wait("document.querySelectorAll('[data-plot=slice] select')[1].options.length > 2")
        choose(browser, "slice", 0, "lr")
        choose(browser, "slice", 1, "optimizer")
        browser.wait("document.querySelector('[data-plot=slice] .canvas').getAttribute('aria-label').includes('over lr and optimizer')")
        browser.wait_drawn("slice")
        assert not browser.complaints()


def test_where_json_breaks_off_is_found(study):  # noqa: F811
    check = """const done = arguments[0]; import('/assets/sweeps.js').then(({jsonFault}) => {
        const text = '{"a": [1, -2.5e-3, true, null], "b\\\\u00e9\\\\n": {"c": {}, "d": []}, "e": "x"}', wrong = []; let seed = 7, n = 0;
        const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 2147483648 * below); };
        for (let round = 0; round < 3000; round++) {
            const at = random(text.length + 1), with_ = ['', ',', '}', ']', '"', '1', ':', 'x', '0', '\\n', '-'][random(11)], one = text.slice(0, at) + with_ + text.slice(at + random(3));
            let good = true; try { JSON.parse(one); } catch { good = false; }
            if (!good) n++;
            const found = jsonFault(one);
            if (good !== (found === -1) || found > one.length) wrong.push([one, found]);
        }
        done([wrong, n, jsonFault('{"a": 1,\\n "b": external}'), jsonFault('{"a": 1'), jsonFault('[1,]'), jsonFault(' ')]);
    }).catch((error) => done([String(error)]));"""
    with chromium() as browser:
        browser.open(study, "/sweeps")
        wrong, n, *places = browser.driver.execute_async_script(check)
        assert wrong == [] and n > 500 and places == [15, 7, 3, 1]
        browser.click("button", "New sweep")
        browser.wait("document.querySelector('dialog .editor textarea')")
        browser.run(FILL, '{\n  "method": "random",\n  "trainer": external\n}')
        browser.click("dialog button", "Create")
        browser.wait("document.querySelector('dialog .summary').textContent.includes('Line 3')")
        assert browser.run("return [...document.querySelectorAll('.editor pre b')].map((one) => one.textContent)") == ["3"]
        assert not browser.complaints()


def test_what_a_request_failed_to_tell_is_asked_again(tmp_path):
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("zeta"), server.post("/v1/sweeps", {**STAGED, "stages": [{**STAGED["stages"][0], "pause_after": True}, STAGED["stages"][1]]}, expect=201)
        evaluate(server, sweep, worker)
        browser.open(server, "/sweeps")
        browser.wait("document.querySelector('tr[data-id]')")
        browser.run("const real = window.fetch; window.refused = 0; window.fetch = (address, ...rest) => String(address).includes('/history') && !window.refused++ ? Promise.reject(new TypeError('away')) : real(address, ...rest); location.hash = arguments[0]", f"#/sweep/{sweep['id']}")
        browser.wait("document.querySelector('[data-card=progress]')?.textContent.includes('stage 1 has ended')")
        assert browser.run("return window.refused") == 2


def test_every_action_is_there(tmp_path):
    stages = [{**STAGED["stages"][0], "pause_after": True}, STAGED["stages"][1]]
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("zeta"), server.post("/v1/sweeps", {**STAGED, "name": "acts", "description": "a description", "stages": stages, "max_attempts": 1}, expect=201)
        evaluate(server, sweep, worker, fail=(1,))
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait("document.querySelector('[data-card=progress]')?.textContent.includes('stage 1 has ended')")  # why it is paused
        assert "a description" in browser.text()
        browser.click("button", "Extend")
        browser.run("document.querySelector('dialog input').value = '77'")
        browser.click("dialog button", "Extend")
        browser.wait("!document.querySelector('dialog')")
        assert server.get(f"/v1/sweeps/{sweep['id']}")["run_cap"] == 77
        failed = server.get(f"/v1/sweeps/{sweep['id']}/trials?state=failed")["items"][0]
        browser.open(server, f"/trial/{failed['id']}")
        browser.click("button", "Retry")
        browser.click("dialog button", "Retry")
        browser.wait("document.querySelector('h1 + .pill').textContent !== 'failed'")
        browser.click("button", "Run again")
        browser.wait("document.querySelector('#toasts').textContent.includes('queued with the same parameters')")
        browser.click("button", "Cancel")
        assert browser.wait("document.querySelector('dialog[open]')") and browser.run("return document.activeElement.textContent") == "Back"
        browser.click("dialog button", "Cancel the trial")
        browser.wait("document.querySelector('h1 + .pill').textContent === 'cancelled'")
        # five crashes of one worker at trials that another one does well
        ill, well, again = server.register("ill"), server.register("well"), server.create_sweep(name="health", run_cap=8)["id"]
        for k in range(5):
            trial, = server.claim(ill["id"], f"i{k}", sweep=again)
            server.report(trial, 1, outcome={"state": "failed", "reason": "crashed", "detail": "no libtorch"})
            for one in server.claim(well["id"], f"w{k}", sweep=again):
                server.report(one, 1, outcome={"state": "completed", "value": 1.0})
        browser.open(server, "/workers")
        browser.click("button", "Lift the quarantine")
        browser.click("dialog button", "Undrain")
        browser.wait("![...document.querySelectorAll('.workers .pill')].some((one) => one.textContent === 'quarantined')")
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.click("button", "Cancel")
        browser.click("dialog button", "Cancel the sweep")
        browser.wait("document.querySelector('h1 + .pill').textContent === 'cancelled'")
        browser.open(server, f"/sweep/{sweep['id']}/spec")
        browser.wait("document.querySelector('pre.whole')?.textContent.includes('\"decay\": 0.0')")  # as typed
        assert json.loads(browser.run("return document.querySelector('pre.whole').textContent"))["name"] == "acts"
        assert not browser.complaints()


def test_a_study_whose_trials_fail_says_so(tmp_path):
    stages = [STAGED["stages"][0], {**STAGED["stages"][1], "select_top": 1}]
    with Daemon(tmp_path) as server, chromium() as browser:
        worker, sweep = server.register("eta"), server.post("/v1/sweeps", {**STAGED, "name": "nothing works", "stages": stages, "max_attempts": 1}, expect=201)
        evaluate(server, sweep, worker, fail=range(1000))
        browser.open(server, f"/sweep/{sweep['id']}")
        told = browser.wait("(() => { const text = document.querySelector('[data-card=stages]')?.textContent; return text?.includes('failed') && text; })()")
        n = server.get(f"/v1/sweeps/{sweep['id']}")["counts"]["failed"]
        assert "All its 5 trials so far failed." in told and "no trial of stage 1 has a value that could rank them" in told and "largest impact" not in told
        browser.wait("document.querySelector('[data-card=best]').textContent.includes(arguments[0])", f"No trial has a value: {n} failed.")
        browser.wait("document.querySelector('[data-plot=parallel]').textContent.includes(arguments[0])", f"No trial has a value: {n} failed.")
        assert not browser.complaints()


def test_a_viewer_is_told_what_is_missing(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("admin a secret-admin\nviewer v secret-viewer\n")
    tokens.chmod(0o600)
    with Daemon(tmp_path, "--token-file", tokens, auth=True, token="secret-admin") as server, chromium(phone=True) as browser:
        sweep = server.create_sweep(name="seen")
        browser.open(server, f"/sweep/{sweep['id']}")
        browser.wait("document.querySelector('dialog input[type=password]')")
        browser.run("document.querySelector('dialog input').value = 'secret-viewer'; document.querySelector('dialog form').requestSubmit()")
        browser.wait("document.querySelector('#live').dataset.state === 'live'")
        assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0  # with the button to log out in the head
        browser.click("button", "Pause")
        browser.wait("document.querySelector('#toasts').textContent.includes(\"in with an admin's\")")
        browser.driver.get_log("browser")
        browser.click("button", "Log out")
        browser.wait("document.querySelector('dialog input[type=password]')")
        assert browser.run("return sessionStorage.getItem('sweepd-token')") is None


@pytest.mark.parametrize("address", ["/%E0%A4%A", "/constructor", "/sweep/nobody/constructor"])
def test_odd_addresses_are_answered(study, address):  # noqa: F811
    with chromium() as browser:
        browser.open(study, address)
        browser.wait("document.querySelector('h2.error')")
        assert browser.run("return document.querySelector('#live').textContent") == ""
        browser.open(study, "/sweeps")
        browser.wait("document.querySelector('.sweeps')")
