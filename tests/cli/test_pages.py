"""The pages are executed: every command in a ``sh`` block and every line of Python does what it says.

What needs a network, hours, or another system is in ``text`` blocks, as output is; its options are checked.
"""

from __future__ import annotations

import atexit
import configparser
import io
import json
import os
import plistlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import typer.main
from PIL import ExifTags, Image

from imgsearch.cli import app
from support import ROOT
from support.cli import imgsearch
from support.pictures import scene
from support.serving import running

PAGES = [
    path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
]
# What takes minutes as a page has it is run here on less.
SHORTER = {
    "python recipes/": "--smoke",
    "imgsearch eval drawings/": "--limit 3",
    "imgsearch train": "--steps 2 --batch-size 8",
}
# What a reader may not have; the command is left out where it is missing.
OPTIONAL = {"jq"}
# What starts a program of the reader's desktop; tests/cli/test_numbers.py runs it.
DESKTOP = "imgsearch open"
# There is no network; tests/cli/test_addresses.py has a server of its own.
ADDRESS = "https://"
SHELL = re.compile(r"[|<>&;$`]")


def blocks(page: str, *languages: str) -> list[str]:
    """Return a page's code blocks in these languages, or all of them."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages or not languages]


def commands(page: str) -> list[str]:
    """Return the lines of a page's ``sh`` blocks that are commands."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def home(tmp_path: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a reader's home: photos, an index of them, a model on the disk, no network, recipes as in a clone."""
    for name in list(os.environ):
        if name.startswith(("XDG_", "IMGSEARCH_", "HF_")) and name != "IMGSEARCH_RUNTIME_DIR":
            monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "IMGSEARCH_MODEL_DIR": tiny_checkpoint,
        "HF_HUB_OFFLINE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    names = ["cat.jpg", "lake.jpg", "a.png", "b.webp", "c.gif", "drafts/d.png", "2024/boat.jpg"]
    for number, name in enumerate(names):
        path = tmp_path / "Pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if name == "cat.jpg":
            exif[ExifTags.Base.Model] = "X-T5"
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:07:14 09:30:00"
        scene(number).save(path, **({"exif": exif} if len(exif) else {}))
    (tmp_path / "Downloads").mkdir()
    shutil.copy(tmp_path / "Pictures" / "lake.jpg", tmp_path / "Downloads" / "lake.jpg")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    return tmp_path


@cache
def _drawn(command: str) -> tuple[int, str, Path]:
    """Run a recipe that draws, once for all pages that do; return its exit code, what it said, and the folder.

    In this process, which has loaded torch and transformers.
    """
    place = Path(tempfile.mkdtemp(prefix="drawn-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "recipes").symlink_to(ROOT / "recipes")
    said = io.StringIO()
    with (
        chdir(place),
        redirect_stdout(io.StringIO()),
        redirect_stderr(said),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", shlex.split(command)[1:])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(sys.argv[0], run_name="__main__")
    return int(end.value.code or 0), said.getvalue(), place / "drawings"


def failure(command: str) -> str | None:
    """Run a command as a reader's shell would; return what went wrong, or None.

    A plain call of imgsearch runs in this process, which has loaded torch.
    """
    command = " ".join([command, *(flags for start, flags in SHORTER.items() if command.startswith(start))])
    words = shlex.split(command, comments=True)
    if (
        command.startswith(DESKTOP)
        or ADDRESS in command
        or any(name in OPTIONAL and shutil.which(name) is None for name in words)
    ):
        return None
    if words[0] == "imgsearch" and not SHELL.search(command.partition(" #")[0]):
        done = imgsearch(*(os.path.expanduser(word) for word in words[1:]))
        code, err = done.code, done.err
    elif words[:2] == ["python", "recipes/second_domain.py"]:
        code, err, drawings = _drawn(command)
        shutil.copytree(drawings, "drawings")
    else:
        process = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
        )
        code, err = process.returncode, process.stderr
    return f"exit code {code}: {err}" if code or "Traceback" in err or "Warning" in err else None


@pytest.mark.slow("indexes, evaluates and trains as the pages do")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_of_a_page_works(page: str, home: Path) -> None:
    """A page's commands, run in order in the home of a reader with an index, all end with exit code 0."""
    if page != "README.md":  # which indexes the photos itself
        imgsearch("index", home / "Pictures", home / "Downloads")
    assert {command: told for command in commands(page) if (told := failure(command))} == {}


@pytest.mark.slow("loads a model and indexes")
def test_the_python_of_the_pages_runs(home: Path) -> None:
    """The only Python on the pages, run as a script, indexes the photos and finds the cat."""
    (script,) = [block for page in PAGES for block in blocks(page, "python")]
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(script, "docs/python.md", "exec"), {})
    assert "7 indexed, 0 skipped" in out.getvalue()
    assert f"1.000 {home}/Pictures/cat.jpg" in out.getvalue()
    assert "(2, 128)" in out.getvalue()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_requests_of_the_server_page_are_answered(home: Path) -> None:
    """Every curl line of the page, sent to a running server, finds an indexed photo."""
    imgsearch("index", home / "Pictures")
    requests = [
        line
        for block in blocks("docs/server.md", "text")
        for line in block.splitlines()
        if line.startswith("curl")
    ]
    answers = []
    with (
        tempfile.TemporaryDirectory(prefix="is-") as short,  # a socket's path has to be
        running(Path(short, "imgsearch"), "--http", "--port", "0") as server,
    ):
        port = re.search(r"127\.0\.0\.1:(\d+)", server.text())
        assert port
        for request in requests:
            command = request.replace(":7788/", f":{port[1]}/").replace("/home/me", str(home))
            environment = {**os.environ, "XDG_RUNTIME_DIR": short}
            done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, check=True)
            answers.append(json.loads(done.stdout))
    assert len(answers) == 3
    assert all(Path(answer["hits"][0]["path"]).exists() for answer in answers)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_executed_can_be_parsed(page: str) -> None:
    """A call of imgsearch that only stands in a text block has a command, options and arguments that exist."""
    program = typer.main.get_command(app)
    for block in blocks(page, "text"):
        for line in block.splitlines():
            call = re.split(" [|<>] ", line)[0]
            words = shlex.split(call) if call.startswith("imgsearch ") else []
            if len(words) > 1 and not words[1].startswith("-"):
                command = program.get_command(None, words[1])  # type: ignore[attr-defined]
                assert command, line
                command.make_context(words[1], words[2:])


def test_the_timers_are_well_formed() -> None:
    """The systemd units and the launchd file of the indexing page are what their readers parse."""
    units = configparser.ConfigParser(interpolation=None)
    (text,) = blocks("docs/indexing.md", "ini")
    units.read_string(text)
    assert units["Service"]["ExecStart"].endswith("imgsearch index")
    (text,) = blocks("docs/indexing.md", "xml")
    assert plistlib.loads(text.encode())["ProgramArguments"][1:] == ["index"]


@pytest.mark.parametrize("page", PAGES)
def test_a_block_can_be_copied(page: str) -> None:
    """No command has a prompt before it or a comment behind it (zsh takes that for words), and make has its targets."""
    lines = [line for block in blocks(page) for line in block.splitlines()]
    assert [line for line in lines if line.startswith("$ ")] == []
    assert [line for line in lines if re.match("(imgsearch|make|uv) .* # ", line)] == []
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for line in lines for name in re.findall(r"^make (\w+)", line)} <= targets


def test_the_sections_that_the_readme_links_to_are_there() -> None:
    """Each link of README.md to a section leads to a heading; those between other pages are checked with the site."""
    links = re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 3
    for page, section in links:
        headings = re.findall(r"^#+ (.*)", (ROOT / (page or "README.md")).read_text(), re.MULTILINE)
        slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert section in slugs, (page, section)


def test_the_readme_is_short_and_its_pictures_are_small() -> None:
    """README.md has at most 200 lines, and each picture of the pages has at most 300 KB."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs" / "img").iterdir()}
    assert pictures
    assert {name: size for name, size in pictures.items() if size > 300_000} == {}


def test_every_page_is_on_the_site() -> None:
    """The site's navigation lists each page in docs/."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert [page for page in PAGES[1:] if f": {Path(page).name}\n" not in navigation] == []
