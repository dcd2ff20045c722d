"""The manual pages: installed, without a fault, and with every option that --help tells, no more and no less."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from daemon import program

PAGES = {"sweepd": "8", "sweep-worker": "8", "sweep-trainer": "1", "sweepctl": "1"}


def folder():
    place = pathlib.Path(os.environ.get("SWEEPD_PREFIX", "")) / "share/man"
    if not os.environ.get("SWEEPD_PREFIX") or not place.exists():
        pytest.skip("needs an installed copy (SWEEPD_PREFIX)")
    return place


def page(name, section):
    return folder() / f"man{section}" / f"{name}.{section}"


def pages():
    return [page(name, section) for name, section in PAGES.items()] + [page("sweepd.conf", "5")]


def text_of(command):
    return subprocess.run([program(command.split()[0]), *command.split()[1:], "--help"], capture_output=True, text=True, check=True).stdout


def options_of_help(command):
    return set(re.findall(r"^  (--[a-z-]+)", text_of(command), re.M))


def subcommands(name):
    """Words between | in the usage of a program: 'sweepd backup|check|dump …'."""
    usage = text_of(name).split("\noptions:")[0]
    return [word for group in re.findall(r"[a-z-]+(?:\|[a-z-]+)+(?= …|\] \[)", usage) for word in group.split("|")]


def sections(path):
    """{"" or the subcommand: its options} of a page."""
    found, current = {"": set()}, ""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(".Ss "):
            current = line[4:]
            found[current] = set()
        elif line.startswith(".It Fl Fl "):
            found[current].add("--" + line.split()[3])
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_option_of_help_stands_in_the_page_and_the_other_way_round(name):
    found = sections(page(name, PAGES[name]))
    assert set(found) - {""} == set(subcommands(name)), "a subcommand without a section, or a section without one"
    for subcommand, options in found.items():
        assert options == options_of_help(f"{name} {subcommand}"), subcommand


def test_every_command_of_sweepctl_stands_in_its_page():
    told = set(re.findall(r"^  ([a-z-]+) ", text_of("sweepctl").split("\noptions:")[0], re.M))
    assert told == set(re.findall(r"^\.It Cm (\S+)", page("sweepctl", "1").read_text(), re.M)) and "create" in told


def test_every_key_of_the_configuration_files_stands_in_their_page():
    text = page("sweepd.conf", "5").read_text()
    for name in ("sweepd", "sweep-worker"):
        dumped = subprocess.run([program(name), "--dump-config"], capture_output=True, text=True, check=True).stdout
        part = text.split(f".Ss {name}.conf")[1].split(".Ss ")[0]
        assert re.findall(r"^\.It Ic (\S+) ", part, re.M) == re.findall(r"^#? ?([a-z-]+) =", dumped, re.M)


def test_mandoc_and_groff_find_nothing_to_say():
    for path in pages():
        lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True)
        assert lint.returncode == 0 and not lint.stdout, lint.stdout
        if shutil.which("man"):
            shown = subprocess.run(["man", "-Tutf8", "--warnings", "-l", path], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
            assert shown.returncode == 0 and not shown.stderr and "NAME" in re.sub(".\b", "", shown.stdout), shown.stderr
