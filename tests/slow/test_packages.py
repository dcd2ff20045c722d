"""The Debian packages in a clean root: built, installed by apt, started as their units would, the demo sweep run to its end, purged; nothing
is left.

    python3 -m pytest -s tests/slow/test_packages.py        # as root, on Debian 12 with debootstrap, ip and the build dependencies

The root is made by debootstrap (minbase, bookworm) from the first Debian archive that this machine's apt knows, or from SWEEPD_TEST_MIRROR. Packages
that were built before are taken from SWEEPD_PACKAGES. The daemons run in namespaces of their own (files, processes, network) and end
with them. Takes minutes and 1 GB below pytest's folder.
"""
import hashlib
import os
import pathlib
import re
import shutil
import stat
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("sweepd", "sweep-worker", "sweepctl")
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root",
       **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}}


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**ENV, **options.pop("env", {})}, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def mirror():
    if os.environ.get("SWEEPD_TEST_MIRROR"):
        return os.environ["SWEEPD_TEST_MIRROR"]
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages").split("\n")
    urls = [line.split()[0] for line in listed if line.endswith(" bookworm")]
    return urls[0] if urls else pytest.skip("apt knows no archive of bookworm: set SWEEPD_TEST_MIRROR")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    if os.environ.get("SWEEPD_PACKAGES"):
        folder = pathlib.Path(os.environ["SWEEPD_PACKAGES"])
    else:
        if not shutil.which("dpkg-buildpackage"):
            pytest.skip("dpkg-buildpackage is not installed")
        folder = tmp_path_factory.mktemp("packages")
        begun = time.monotonic()
        run(ROOT / "deploy" / "build-packages.sh", folder)
        print(f"\nbuilt in {time.monotonic() - begun:.0f} s")
    found = {name: next(folder.glob(f"{name}_*.deb")) for name in PACKAGES}
    for name, path in found.items():
        print(f"{name}: {path.stat().st_size / 1e6:.2f} MB")
    return found


class Root:
    """A Debian root; commands run in it."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *command, network=True, timeout=1800):
        """In namespaces of its own, so that nothing that it starts outlives it; without a network but loopback, if told so."""
        inner = 'mount -t proc proc "$1/proc"; [ "$2" = yes ] || ip link set lo up; root=$1; shift 2; exec chroot "$root" "$@"'
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]), "sh", "-ec", inner, "sh", self.folder,
                   "yes" if network else "no", *command, timeout=timeout)

    def write(self, path, text, mode=0o644):
        place = self.folder / path.lstrip("/")
        place.write_text(text)
        place.chmod(mode)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    for tool in ("debootstrap", "unshare", "chroot", "ip"):
        if not shutil.which(tool, path=ENV["PATH"]):
            pytest.skip(f"{tool} is not installed")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True).returncode != 0:
        pytest.skip("a clean root needs root's privileges")
    source = mirror()
    folder = tmp_path_factory.mktemp("bookworm") / "root"
    run("debootstrap", "--variant=minbase", "bookworm", folder, source, timeout=1800)
    (folder / "etc/apt/sources.list").write_text(f"deb {source} bookworm main\n")
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # Debian's way to say: start nothing here
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    root = Root(folder)
    root("apt-get", "update")
    yield root
    shutil.rmtree(folder, ignore_errors=True)


# What apt, dpkg and ld.so write about their own work.
OWN_BOOKS = re.compile(r"^(var/log|var/cache|var/lib/apt|var/lib/dpkg/(status|available|lock|triggers|info$|updates)|var/lib/systemd/catalog|etc/ld\.so\.cache|tmp/?|run/?|proc|root/)")
# Debian leaves the users that a package made: files that somebody else's backup may still hold belong to them.
ACCOUNTS = re.compile(r"^etc/(passwd|group|shadow|gshadow)-?$|^etc/\.pwd\.lock$|^etc/su[bg][iug]*id-?$")


def inventory(root):
    """Everything in it: kind, mode, owner, and what a file holds."""
    found = {}
    for folder, names, files in os.walk(root.folder):
        for name in names + files:
            path = pathlib.Path(folder) / name
            relative = str(path.relative_to(root.folder))
            if OWN_BOOKS.match(relative):
                continue
            state = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(state.st_mode) else os.readlink(path) if path.is_symlink() else ""
            found[relative] = (stat.filemode(state.st_mode), state.st_uid, state.st_gid, content)
    return found


def exec_start(root, unit, instance=""):
    text = (root.folder / "lib/systemd/system" / unit).read_text()
    command = re.search(r"^ExecStart=(.*)$", text, re.M)[1]
    return command.replace("%H", "host").replace("%i", instance)


# What people look for, beside the programs.
FILES = [*(f"usr/share/man/man{page[-1]}/{page}.gz" for page in ("sweepd.8", "sweepd.conf.5", "sweep-worker.8", "sweep-trainer.1", "sweepctl.1")),
         *(f"usr/lib/systemd/system/{unit}" for unit in ("sweepd.service", "sweepd.socket", "sweep-worker@.service", "sweepd-backup.service", "sweepd-backup.timer")),
         *(f"usr/share/doc/{name}/{file}" for name in PACKAGES for file in ("copyright", "changelog.gz")), "etc/sweepd/sweepd.conf", "etc/sweepd/sweep-worker.conf"]

USE = """
set -eu
cd /
# what the README says
secret=$(setpriv --reuid sweepd --regid sweepd --clear-groups sweepd token create --role admin --name root --database /var/lib/sweepd/sweepd.db)
worker=$(setpriv --reuid sweepd --regid sweepd --clear-groups sweepd token create --role worker --name host --database /var/lib/sweepd/sweepd.db)
(umask 077; echo "$secret" > /root/token; echo "$worker" > /etc/sweepd/worker-credentials/token)

# what the service manager does: a state folder, copies of the secrets, the user
given=/run/credentials/sweep-worker@1.service
install -d -m 0700 -o sweep-worker "$given"
install -m 0400 -o sweep-worker /etc/sweepd/worker-credentials/token "$given/sweep-worker_token"
install -d -m 0750 -o sweepd -g sweepd /var/lib/sweepd
install -d -m 0750 -o sweep-worker -g sweep-worker /var/lib/sweep-worker/1
(cd /var/lib/sweepd; exec setpriv --reuid sweepd --regid sweepd --clear-groups --no-new-privs --bounding-set -all SWEEPD) & coordinator=$!
for i in $(seq 300); do sweepctl --token-file /root/token list >/dev/null 2>&1 && break; sleep 0.2; done
(cd /var/lib/sweep-worker/1; export CREDENTIALS_DIRECTORY="$given"
 exec setpriv --reuid sweep-worker --regid sweep-worker --clear-groups --no-new-privs --bounding-set -all WORKER) & worker=$!

created=$(sweepctl --token-file /root/token --json create /usr/share/sweepd/demo/study.yaml)
sweep=$(printf '%s' "$created" | sed -n 's/.*"id": *"\\([^"]*\\)".*/\\1/p' | head -1)
sweepctl --token-file /root/token watch "$sweep" | tail -1
sweepctl --token-file /root/token show "$sweep"
sweepctl --token-file /root/token best "$sweep"
sweepctl --token-file /root/token fetch-model "$sweep" /root/winner
echo '{"a":"one","b":"two"}' | sweep-trainer predict --model /root/winner
rm -r /root/winner
kill -TERM $worker; wait $worker
kill -TERM $coordinator; wait $coordinator
sweepd check /var/lib/sweepd/sweepd.db
setpriv --reuid sweepd --regid sweepd --clear-groups sweepd backup --database /var/lib/sweepd/sweepd.db /var/lib/sweepd/copy.db
rm /root/token
echo "all of it was used"
"""


def test_the_packages_in_a_clean_root(packages, root):
    for path in packages.values():
        shutil.copy(path, root.folder / "tmp")
    ours = [f"/tmp/{path.name}" for path in packages.values()]
    install = ["apt-get", "install", "-y", "--no-install-recommends"]

    # what they depend on comes first, so that what they leave can be told from what that leaves
    needed = [name for name in re.findall(r"^Inst (\S+)", root(*install, "-s", *ours), re.M) if name not in PACKAGES]
    root(*install, *needed)
    before = inventory(root)

    begun = time.monotonic()
    root(*install, *ours, network=False)
    print(f"\n{len(needed)} packages that they need, then ours in {time.monotonic() - begun:.0f} s")
    installed = inventory(root)
    assert installed["var/lib/sweepd"][0] == "drwxr-x---" and installed["etc/sweepd/credentials"][0] == "drwx------"
    for name in PACKAGES:
        assert name in root(name, "--version", network=False)
    missing = [path for path in FILES if path not in installed]
    assert not missing, missing

    use = USE.replace("SWEEPD)", exec_start(root, "sweepd.service") + ")").replace("WORKER)", exec_start(root, "sweep-worker@.service", "1") + ")")
    begun = time.monotonic()
    said = root("bash", "-c", use, network=False, timeout=1500)
    print(said)
    assert "all of it was used" in said and re.search(r"finished", said) and '"probability"' in said
    print(f"demo study in {time.monotonic() - begun:.0f} s")

    # conffiles stay after a removal, as Debian has it, and the database, too
    root("apt-get", "remove", "-y", *PACKAGES, network=False)
    assert (root.folder / "etc/sweepd/sweepd.conf").exists() and (root.folder / "var/lib/sweepd/sweepd.db").exists()
    assert not (root.folder / "usr/bin/sweepd").exists()
    root("apt-get", "purge", "-y", *PACKAGES, network=False)
    after = inventory(root)
    left = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
            if before.get(path) != after.get(path) and not ACCOUNTS.match(path)}
    assert not left, left
    assert not [path for path in after if "sweep" in path]
    accounts = (root.folder / "etc/passwd").read_text()
    print("left: the users", " ".join(re.findall(r"^(sweep[^:]*):", accounts, re.M)))
    print(f"{len(before)} paths compared")


def test_lintian_finds_no_error(packages):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--fail-on", "error", "--allow-root", *map(str, packages.values())], capture_output=True, text=True, env=ENV)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
