"""Prints the table of what people type and what they get, made with a given program.

    python docs/front_door.py
    python docs/front_door.py --program "python3 -m imgsearch"

Each line of tests/support/front_door.py runs as a process of its own, in a folder of three photos.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.front_door import INDEX, TYPED, Typed, answers, make_home  # noqa: E402


def run(program: list[str], home: Path, typed: Typed) -> tuple[int, str]:
    """Return the exit code of one line and all that it printed, with the folder's own path as "~"."""
    done = subprocess.run(
        [*program, *typed.words],
        cwd=home,
        env={**os.environ, "IMGSEARCH_INDEX": str(home / ".index"), "COLUMNS": "100", "NO_COLOR": "1"},
        input=typed.given(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace").replace(str(home), "~")


def shown(output: str) -> str:
    """Return the line of an output that tells most: the first, or the first in a box."""
    lines = [line.strip("│ ") for line in output.splitlines() if line.strip("│╭╮╰╯─ ")]
    boxed = [number for number, line in enumerate(lines) if line.startswith("╭─ Error")]
    line = lines[boxed[0] + 1] if boxed else lines[0] if lines else ""
    return line.replace("|", "\\|")


def main() -> int:
    """Print the table; exit code 1 if a line got another answer than the table wants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--program", default=f"{sys.executable} -m imgsearch", help="what stands for imgsearch"
    )
    program, wrong = shlex.split(parser.parse_args().program), 0
    print("| typed | exit code | first line | as wanted |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(os.path.realpath(folder))
        make_home(home)
        run(program, home, Typed(INDEX, 0))
        kept = home.with_name(home.name + "-index")
        shutil.copytree(home / ".index", kept)
        for typed in TYPED:
            code, output = run(program, home, typed)
            problems = list(answers(code, output, typed))
            wrong += bool(problems)
            line = typed.line + (f" < {typed.stdin[1:]}" if typed.stdin.startswith("@") else "")
            print(f"| `imgsearch {line}` | {code} | {shown(output)} | {'; '.join(problems) or 'yes'} |")
            if typed.changes:
                shutil.rmtree(home / ".index")
                shutil.copytree(kept, home / ".index")
        shutil.rmtree(kept)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
