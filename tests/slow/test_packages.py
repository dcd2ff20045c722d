"""The Debian packages in a clean root: built, installed by apt, started as their units would, the demo sweep run to its end, purged; nothing
is left.

    python3 -m pytest -s tests/slow/test_packages.py        # as root, on Debian 12 with debootstrap, ip and the build dependencies

The daemons run in namespaces of their own (files, processes, network) and end with them. See debian_root.py for what the root is and takes.
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
from debian_root import ENV, PACKAGES

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
