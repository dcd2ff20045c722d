"""Who may use which library, and who may include whom: what the compiler cannot forbid is read off the sources."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

ONLY_USERS = {
    "microhttpd.h": ["coordinator/http"],
    "gnutls/gnutls.h": ["coordinator/http"],
    "sqlite3.h": ["coordinator/store"],
    "curl/curl.h": ["worker/net", "ctl", "coordinator/notify"],
    "uv.h": ["worker/agent", "worker/net"],
    "cblas.h": ["worker/kernels", "coordinator/opt"],
    "nlopt.h": ["coordinator/opt"],
    "yaml.h": ["ctl"],
}

INNER = {"plan/internal.h": "coordinator/plan/", "store/statement.h": "coordinator/store/", "opt/gp_internal.h": "coordinator/opt/gp"}

PURE = ["coordinator/opt", "coordinator/sweep"]
IMPURE_HEADERS = re.compile(r"^(jansson|time|sys/|fcntl|unistd|sqlite3|common/(fs|json|world|log|cleanup_fd))")


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def includes(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)


def test_each_library_is_used_by_its_box_alone():
    wrong = []
    for name, text in sources("common", "proto", "coordinator", "worker", "ctl"):
        for header in includes(text):
            users = ONLY_USERS.get(header)
            if users and not any(name.startswith(user + "/") for user in users):
                wrong.append(f"{name} includes <{header}>")
    assert not wrong


def test_inner_headers_are_included_by_those_whose_inside_they_are():
    wrong = [f"{name} includes {header}" for name, text in sources("common", "proto", "coordinator", "worker", "ctl") for header in includes(text)
             if header in INNER and not name.startswith(INNER[header])]
    assert not wrong


def test_the_pure_boxes_see_no_clock_network_disk_json_or_sql():
    wrong = [f"{name}: {header}" for name, text in sources(*PURE) for header in includes(text) if IMPURE_HEADERS.match(header)]
    assert not wrong


def test_coordinator_and_worker_never_include_each_other():
    boxes = {side: {p.name for p in (ROOT / side).iterdir() if p.is_dir()} for side in ("coordinator", "worker")}
    wrong = []
    for side, other in (("coordinator", "worker"), ("worker", "coordinator")):
        for name, text in sources(side):
            wrong += [f"{name}: {h}" for h in includes(text) if h.split("/")[0] in boxes[other] - boxes[side] and "/" in h]
    assert not wrong


def test_every_header_guards_itself():
    assert not [name for name, text in sources("common", "proto", "coordinator", "worker", "ctl")
                if name.endswith(".h") and "#pragma once" not in text]
