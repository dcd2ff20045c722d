"""sweepctl on a terminal: what fits, what has colours, and the live view."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest

from daemon import PATIENCE_S, Daemon, program
from study import Study

pytestmark = pytest.mark.coordinator


class Terminal:
    """A program on a pseudo terminal of a given size; `screen` is all that it wrote."""

    def __init__(self, command, columns=80, rows=24, **env):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm-256color", **env})
        os.close(slave)
        self.screen = ""

    def read(self, condition=None):
        """Until condition(last picture) holds, or to the end."""
        deadline = time.monotonic() + PATIENCE_S + 30
        pending = b""
        while time.monotonic() < deadline:
            if not select.select([self.master], [], [], 0.2)[0]:
                if condition and condition(self.picture()):
                    return self.picture()
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other side has ended
                data = b""
            if not data:
                self.process.wait(PATIENCE_S)
                os.close(self.master)
                return self.picture()
            pending += data
            self.screen = pending.decode(errors="replace")
            if condition and condition(self.picture()):
                return self.picture()
        raise AssertionError(f"never seen: {self.screen[-3000:]!r}")

    def picture(self):
        """The last whole picture, or (without one) everything, without colours."""
        whole = [part.split("\033[J")[0] for part in self.screen.split("\033[H") if "\033[J" in part]
        return re.sub(r"\033\[[0-9;]*[A-Za-z]", "", whole[-1] if whole else self.screen).replace("\r\n", "\n")


def ctl(server, *args):
    return [program("sweepctl"), *args, "--server", server.url]


def test_tables_fit_the_terminal_and_states_have_colours(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, name="größe " * 8, run_cap=5)
        study.end(study.claim(), value=0.5)
        for columns in (80, 90):
            shown = Terminal(ctl(server, "list"), columns=columns)
            text = shown.read()
            assert all(len(line) <= columns for line in text.splitlines()) and study.path.rsplit("/", 1)[1] in text and "…" in text
            assert "\033[" in shown.screen
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            shown = Terminal(ctl(server, "list"), **environment)
            shown.read()
            assert "\033" not in shown.screen
        piped = subprocess.run(ctl(server, "list"), capture_output=True, text=True, check=True).stdout
        assert "\033" not in piped and "größe größe größe größe" in piped  # whole where nobody looks


def test_what_is_told_of_a_sweep_and_of_workers_is_broken_at_words(tmp_path):
    with Daemon(tmp_path) as server:
        levels = {f"parameter_{k}": [1.0] for k in range(9)}
        study = Study(server, method="staged", run_cap=None, baseline={name: 0.0 for name in levels}, stages=[{"method": "ofat", "levels": levels}], parameters=None)
        study.run(lambda params: sum(params.values()))
        server.create_sweep(trainer="command", program="mine")
        for command, words in ((["show", study.id], [f"parameter_{k} 1" for k in range(9)]), (["best", study.id], ["recommended", "noise"]), (["workers"], ["--allow-command mine=PATH"])):
            shown = Terminal(ctl(server, *command), columns=60).read()
            lines = shown.splitlines()
            assert all(len(line) <= 60 for line in lines if " " in line.strip()), shown
            for text in words:
                assert text in re.sub(r"\s+", " ", shown), shown
        assert "s ago" in shown


def test_a_report_on_a_terminal_has_no_pictures_as_text(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, run_cap=3)
        study.run(lambda params: params["x"])
        shown = Terminal(ctl(server, "report", study.id), columns=100).read()
        assert "sweep best" in shown and "How it was made" in shown and "base64" not in shown and "Every trial in order" not in shown
        assert "--output report.html" in shown


def test_watch_shows_progress_the_best_so_far_and_running_curves(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, run_cap=5, name="looked at")
        for value in (0.9, 0.5, 0.7):
            study.end(study.claim(), value=value)
        running = study.claim()
        study.report(running, 1, metrics=[{"name": "loss", "step": step, "value": 1 / step} for step in range(1, 9)], progress=0.5)
        watch = Terminal(ctl(server, "watch", study.path.rsplit("/", 1)[1], "--interval", "1"), columns=100, rows=20)
        picture = watch.read(lambda picture: re.search(r"0\.125.*█▄", picture))
        assert "looked at" in picture and "60%" in picture and "ended 3 of 5" in picture
        assert "0.9 → 0.5" in picture and re.search("so far +█▁▁ ", picture)
        assert re.search(r"█████░░░░░ +50%.*0\.125.*█▄", picture), picture
        assert all(len(line) <= 100 for line in picture.splitlines())
        assert "\033[2J" in watch.screen[:20] and "\033[36m" in watch.screen

        study.end(running, value=0.25, seq=2)
        watch.read(lambda picture: "0.9 → 0.25" in picture)
        study.end(study.claim(), value=0.75)
        watch.read()
        assert watch.process.returncode == 0 and "finished" in watch.picture()
        assert f"next:  sweepctl best {study.id}" in watch.screen.split("\033[J")[-1]


def test_the_best_of_more_trials_than_the_picture_asks_for_ends_its_line(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(run_cap=2000)
        for first in range(0, 1200, 400):
            server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": [{"params": {"x": 0.5, "n": 3}, "value": 2000 - first - k} for k in range(400)]}, expect=201)
        watch = Terminal(ctl(server, "watch", sweep["id"]), columns=100, rows=20)
        watch.read(lambda picture: "2000 → 801" in picture)
        watch.process.kill()
        watch.read()


def test_watch_on_a_small_terminal_and_of_an_empty_sweep(tmp_path):
    with Daemon(tmp_path) as server:
        id = server.create_sweep(run_cap=1)["id"]
        watch = Terminal(ctl(server, "watch", id), columns=30, rows=5, NO_COLOR="1")
        picture = watch.read(lambda picture: "queued" in picture and "waiting  for the first worker…" in picture)
        assert all(len(line) <= 30 for line in picture.splitlines())
        server.patch(f"/v1/sweeps/{id}", {"state": "cancelled"})
        watch.read()
        assert watch.process.returncode == 1


def test_a_report_on_a_terminal_does_not_move_it(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, name="a\x9b2J\u202eb", run_cap=1)
        study.end(study.claim(), value=0.5)
        shown = Terminal(ctl(server, "report", study.path.rsplit("/", 1)[1]))
        shown.read()
        assert "2J" in shown.screen and not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", shown.screen)
