import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("integration", "support")]

from debian_root import bookworm, packages, root  # noqa: E402, F401 (fixtures)
