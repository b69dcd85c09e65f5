"""The scripts of benchmarks/ run as the documentation says, from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# Each as a script would begin: with its own folder on the path and nothing of another one loaded.
RUN = """
import runpy, sys
path = list(sys.path)
for script in sys.argv[1:]:
    sys.path[:] = [str(__import__("pathlib").Path(script).parent), *path[1:]]
    for name in [n for n in sys.modules if n == "common" or n.split(".")[0] == "benchmarks"]:
        del sys.modules[name]
    runpy.run_path(script, run_name="script")
    import benchmarks.paper_realnet
"""


def test_every_script_finds_what_it_imports(tmp_path: Path):
    scripts = sorted(p for p in BENCHMARKS.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))
    assert len(scripts) > 10
    command = [sys.executable, "-c", RUN, *map(str, scripts)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
