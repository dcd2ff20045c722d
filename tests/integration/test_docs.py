"""Every shell block of docs/*.md runs: those of one page in order, as one script, in an empty folder. A block that cannot run here says why
in a comment before it: <!-- not run: reason -->. Of README.md run those that need no root and nothing from outside; what every command line
there gives to our programs they know."""
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from daemon import PATIENCE_S, ROOT, program
from test_import_optuna import Storage, floating

PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """[(script, reason not to run or None)]; a fence of another language is no shell."""
    found = [(text, reason) for _, reason, language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in ("", "sh", "bash", "shell", "console")]
    assert page.read_text().count("```") == 2 * len(BLOCK.findall(page.read_text())), f"{page.name}: a fence is left open"
    return [(text, reason or None) for text, reason in found]


def test_there_are_pages_with_blocks_that_run():
    run = [block for page in PAGES for block in blocks(page) if not block[1]]
    skipped = [block for page in PAGES for block in blocks(page) if block[1]]
    assert len(PAGES) >= 3 and len(run) >= 10 and len(skipped) <= len(run) // 4


def run(script, folder, **environment):
    """In an empty folder, to its end; what it has started ends with it."""
    programs = pathlib.Path(program("sweepd")).parent
    if not (programs / "sweepctl").exists():
        pytest.skip("needs an installed copy (SWEEPD_PREFIX)")
    environment = {**os.environ, "SWEEPD_URL": "", "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), **environment}
    shell = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f"trap 'code=$?; kill $(jobs -p) 2>/dev/null || true; wait; exit $code' EXIT\n{script}"], cwd=folder, env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = shell.communicate(timeout=8 * PATIENCE_S + 60)
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert shell.returncode == 0, output[-4000:]
    return output


def give_warm_start(folder):
    """What its reader has: a table exported from W&B, an Optuna storage."""
    (folder / "runs.csv").write_text("Name,State,Created,learning_rate,dropout,eval/accuracy,Runtime\n"
                                     "fluffy-1,finished,2026-01-02,0.0001,0.1,0.83,61\nkeen-2,crashed,2026-01-02,0.01,0.1,,7\n")
    storage = Storage(folder / "optuna.db")
    study, space = storage.study(), {"learning_rate": floating(1e-5, 1e-3, log=True), "dropout": floating(0.0, 0.3)}
    for n in range(1, 4):
        storage.trial(study, 0.8 + n / 100, {"learning_rate": n * 1e-4, "dropout": n / 10}, space)
    storage.db.close()


GIVEN = {"warm-start": give_warm_start}
SAID = {"warm-start": ["1 trial imported, 1 row not completed", "created with 2 trials", "imported 3 trials"],
        "staged-study": ["varies learning_rate, dropout", "paused       sweepctl resume", "/spec/stages/0: has ended", "winner: as trial"],
        "security": ["403", "certificate"]}


@pytest.mark.parametrize("page", [page for page in PAGES if not all(reason for _, reason in blocks(page))], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path):
    GIVEN.get(page.stem, lambda folder: None)(tmp_path)
    output = run("\n".join(text for text, reason in blocks(page) if not reason), tmp_path)
    for words in SAID.get(page.stem, []):
        assert words in output, output


def test_links_of_the_pages_lead_somewhere():
    for page in [*PAGES, *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert not target or (page.parent / target).exists(), f"{page.name}: {target}"


# --- README.md ----------------------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = r"^```\w*\n(.*?)^```$"


def indented(text):
    """The lines of its indented blocks."""
    return [line[4:] for line in re.sub(FENCED, "", text, flags=re.M | re.S).splitlines() if line.startswith("    ")]


def of_section(title):
    """The blocks of a section as a script, but for what builds and installs."""
    section = re.split(r"^##+ ", README.split(f"## {title}\n")[1], maxsplit=1, flags=re.M)[0]
    return "\n".join(line for line in indented(section) if not line.startswith("meson"))


def test_the_readme_can_be_tried_by_hand(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "sweepd").symlink_to(pathlib.Path(program("sweepd")).parents[1])  # what --prefix=$HOME/sweepd gives
    study, dependent = re.findall(FENCED, README, re.M | re.S)
    (tmp_path / "study.yaml").write_text(study)
    (tmp_path / "dependent.yaml").write_text(dependent)
    first = of_section("Try it by hand").replace("127.0.0.1:8484", address)
    for found, instead in (("id=$(", "until sweepctl list; do sleep 0.1; done\nid=$("),  # people type more slowly
                           ("sweepctl watch $id", "until sweepctl best $id; do sleep 0.5; done; sweepctl cancel $id; true")):  # the demo need not end for this
        assert found in first
        first = first.replace(found, instead, 1)
    edits = re.sub(r"\bID\b", "$id", of_section("A study in one file"))
    cookbook = of_section("Curl cookbook").replace("127.0.0.1:8484", address)
    create = "sweepctl create dependent.yaml; id=$(sweepctl create study.yaml --json | jq -r .id)"
    output = run("\n".join([first, cookbook, create, edits, of_section("Keeping it well")]), tmp_path, SWEEPD_LISTEN=address, SWEEPD_URL=f"http://{address}")
    assert "version 4 of its spec" in output and "sound" in output, output


def table_of_errors(page):
    """The code spans of the first column of a page's table of error texts."""
    rows = re.search(r"^\| text \| then \|\n\|---\|---\|\n((?:\|.*\|\n)+)", page.read_text(encoding="utf-8") + "\n", re.M).group(1)
    return [span for row in rows.splitlines() for span in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "operations.md"], ids=lambda page: page.stem)
def test_the_errors_that_are_explained_are_those_that_programs_say(page):
    sources = [path.read_text(encoding="utf-8") for folder in ("common", "proto", "coordinator", "worker", "ctl") for path in (ROOT / folder).rglob("*.[ch]")]
    theirs = "\n".join(sources).replace('"\n', "").replace("%.90s", "NAME").replace("%s", "NAME")
    theirs = re.sub(r'" *\n? *"', "", theirs)  # texts that go on on another line
    spans = table_of_errors(page)
    assert len(spans) > 8
    for span in spans:
        if span.isdigit() or span in ("Address already in use", "ulimit -v", "LimitAS=", "sweepd", "sweep-trainer"):
            continue  # a status, of the system, no text
        for part in re.split(r"…| [NM]\b|http://|, ", span):
            part = part.strip().replace("command:NAME", "NAME").replace("Permission denied", "").strip()
            assert not part or part in theirs, f"nobody says {part!r} of {span!r}"


def command_lines():
    """(program, words after it) of every line of README.md's blocks that calls one of ours."""
    for line in "\n".join(indented(README)).replace("\\\n", " ").splitlines():
        for part in re.split(r"[|&;]|\$\(", re.sub(r"\s#.*", "", line)):
            words = part.rstrip(") ").split()
            if words[:2] == ["sudo", "-u"]:
                words = words[3:]
            if words and words[0] in ("sweepd", "sweep-worker", "sweep-trainer", "sweepctl"):
                yield words[0], words[1:]


def test_what_the_readme_gives_to_programs_they_know():
    seen = set()
    for name, words in command_lines():
        command = words[0] if not words[0].startswith("-") else ""
        told = subprocess.run([program(name), *([command] if command and name != "sweepctl" else []), "--help"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert told.returncode == 0, f"{name} {command}: {told.stderr}"
        for word in [command] * (name == "sweepctl") + [word for word in words if word.startswith("--")]:
            assert re.search(rf"^  {word}\b", told.stdout, re.M), f"{name} {' '.join(words)}: {word}"
        seen.add(f"{name} {command}")
    assert seen >= {"sweepd ", "sweepd token", "sweepd dump", "sweep-worker fetch", "sweep-trainer predict", "sweepctl fetch-model", "sweepctl edit"}, seen
