"""The README is executed: every command and every line of Python in it does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from support.pictures import scene

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


# What takes minutes as the README has it is run here on less.
SHORTER = {
    "python recipes/": "--smoke",
    "imgsearch eval drawings/": "--limit 10",
    "imgsearch train": "--steps 2",
}
COMMANDS = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home folder with photographs, as the README's reader has one."""
    home = tmp_path_factory.mktemp("home")
    photos = home / "Photos"
    (photos / "drafts").mkdir(parents=True)
    for number, name in enumerate(["cat.jpg", "lake.jpg", "a.png", "b.webp", "c.gif", "drafts/d.png"]):
        scene(number).save(photos / name)
    (home / "recipes").symlink_to(ROOT / "recipes")
    return home


def environment(home: Path, checkpoint: str) -> dict[str, str]:
    """Return the reader's environment: their own home, a model at hand, the program on the path, no network."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "IMGSEARCH_", "HF_"))
    }
    return {**kept, "HOME": str(home), "PATH": path, "IMGSEARCH_MODEL_DIR": checkpoint, "HF_HUB_OFFLINE": "1"}


def test_the_readme_begins_with_the_two_commands() -> None:
    """The first commands are `make demo` and `make test`, and the Makefile has both."""
    assert [command.split("#")[0].strip() for command in COMMANDS[:2]] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


def test_every_command_of_the_readme_works(home: Path, tiny_checkpoint: str) -> None:
    """The README's commands, run in order by a shell in a home with photographs, all end with exit code 0.

    Those that draw, train and evaluate get a flag that makes them short.
    """
    commands = [command for command in COMMANDS if not command.startswith(("make ", "pip "))]
    assert len(commands) > 12
    failed = []
    for command in commands:
        less = [flags for beginning, flags in SHORTER.items() if command.startswith(beginning)]
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", " ".join([command, *less])],
            cwd=home,
            env=environment(home, tiny_checkpoint),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or "Traceback" in done.stderr or "Warning" in done.stderr:
            failed.append((command, done.returncode, done.stderr))
    assert failed == []


def test_the_python_of_the_readme_runs(home: Path, tiny_checkpoint: str) -> None:
    """The README's Python, run as a script, indexes the photographs and finds the cat."""
    (script,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=home,
        env=environment(home, tiny_checkpoint),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "6 indexed, 0 skipped" in done.stdout
    assert f"1.000 {home}/Photos/cat.jpg" in done.stdout
    assert "(2, 128)" in done.stdout
