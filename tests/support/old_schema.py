"""Databases of earlier schema versions, for tests of migrations.

    tests/support/old_schema.py VERSION > tests/data/schema/vNNNN.sql

writes down a database of that version with a trial in every state, made by today's coordinator and carried back. A file that
stands in tests/data/schema is never written anew: it is what servers of then have left behind."""
import pathlib
import re
import sqlite3
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
DATA = ROOT / "tests" / "data" / "schema"
APPLICATION_ID = 0x73776570


def migrations():
    return sorted((ROOT / "schema").glob("[0-9]*.sql"))


def stored_versions():
    return {int(path.stem[1:]): path for path in DATA.glob("v*.sql")}


def placeholders(newest):
    """The {{lists}} of the migrations, as a database of the newest version has them."""
    schema = dict(newest.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall())

    def values(table, column):
        return re.search(column + r" IN \(([^)]*)\)", schema[table])[1]

    return {"trial_states": values("trials", "state"), "sweep_states": values("sweeps", "state"), "failure_reasons": values("trials", "reason")}


def apply(database, names, after, upto):
    for path in migrations()[after:upto]:
        text = path.read_text()
        for name, values in names.items():
            text = text.replace("{{" + name + "}}", values)
        database.executescript(text)


def build(path, version, newest):
    """A database of a version: the newest stored file before it, and the migrations from there on."""
    base = max(stored for stored in stored_versions() if stored <= version)
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(stored_versions()[base].read_text())
    apply(database, placeholders(newest), base, version)
    database.execute("PRAGMA journal_mode = WAL")
    database.close()


def carry_back(newest, version):
    """The rows of a database of today in the tables of then."""
    old = sqlite3.connect(":memory:", isolation_level=None)
    apply(old, placeholders(newest), 0, version)
    for (table,) in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'").fetchall():
        columns = [row[1] for row in old.execute(f"PRAGMA table_info({table})")]
        old.execute(f"DELETE FROM {table}")
        rows = newest.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
    return old


def main():
    from daemon import Daemon
    from test_upkeep import populate
    version = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        with Daemon(folder) as server:
            populate(server)
        newest = sqlite3.connect(pathlib.Path(folder) / "sweepd.db")
        old = carry_back(newest, version)
        print(f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};")
        for line in old.iterdump():
            print(line)


if __name__ == "__main__":
    main()
