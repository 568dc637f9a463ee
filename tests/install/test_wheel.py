"""The wheel and the sdist: what is in them, and that the installed wheel works outside of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgsearch
from support import ROOT

# A first download of torch takes longer than other tests may.
pytestmark = [pytest.mark.slow("builds and installs the distribution"), pytest.mark.timeout(1200)]

VERSION = imgsearch.__version__
SHARED = (
    "share/man/man1/imgsearch.1",
    "share/applications/imgsearch.desktop",
    "share/icons/hicolor/scalable/apps/imgsearch.svg",
)


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would who knows nothing of this checkout; fail with all that it printed."""
    ours = ("PYTHON", "PYTEST", "VIRTUAL_ENV", "IMGSEARCH_", "HF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Give the wheel."""
    return dist / f"imgsearch_vl-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make an environment that holds the wheel and what it depends on; by uv where there is one: it takes seconds."""
    folder = tmp_path_factory.mktemp("home") / "env"
    run(sys.executable, "-m", "venv", *(["--without-pip"] if _uv() else []), folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    install = [_uv(), "pip", "install", "--python", python] if _uv() else [python, "-m", "pip", "install"]
    # Links to the files that uv keeps, into folders of its own: to memory, gigabytes would be copied.
    settings = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_LINK_MODE": "symlink"}
    constraints = ROOT / "constraints.txt"
    run(*install, "--quiet", "--constraint", constraints, wheel, cwd=folder.parent, **settings)
    yield folder
    shutil.rmtree(folder)  # gigabytes, which pytest would keep for three runs


def _uv() -> str | None:
    return shutil.which("uv", path=os.pathsep.join([os.environ["PATH"], os.path.dirname(sys.executable)]))


def source_files() -> set[str]:
    """Name the files of the package in this checkout."""
    files = (path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT / "src").as_posix() for path in files}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The package with its demo model, gallery and types, man page, desktop entry and icon; no tests; under 20 MB."""
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"imgsearch_vl-{VERSION}.dist-info/"
    shared = {f"imgsearch_vl-{VERSION}.data/data/{name}" for name in SHARED}
    assert {name for name in names if not name.startswith(info)} == source_files() | shared
    demo = {f"imgsearch/tools/demo/{name}" for name in ("checkpoint/model.safetensors", "gallery.zip")}
    assert {"imgsearch/py.typed", *demo} <= names
    assert info + "licenses/LICENSE" in names
    assert wheel.stat().st_size < 20e6


def test_the_sdist_holds_all_that_its_tests_read(dist: Path) -> None:
    """Every file that the checkout tracks is in the sdist, but for git's own."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    with tarfile.open(dist / f"imgsearch_vl-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    missing = {name for name in tracked.stdout.split("\0") if name} - names
    assert {name for name in missing if os.path.basename(name) not in (".gitignore", ".gitkeep")} == set()


def test_the_installed_program_says_its_version_and_helps(environment: Path, tmp_path: Path) -> None:
    """The command is called imgsearch, whatever the distribution's name, and so are man page and desktop entry."""
    program = environment / "bin" / "imgsearch"
    assert run(program, "--version", cwd=tmp_path).stdout == f"imgsearch {VERSION}\n"
    assert "query" in run(program, "--help", cwd=tmp_path).stdout
    assert [name for name in SHARED if not (environment / name).is_file()] == []


def test_the_demo_runs_from_the_wheel_without_a_download(environment: Path, tmp_path: Path) -> None:
    """In an empty home folder, without network, the demo unpacks, indexes, searches and shows what is next."""
    program = environment / "bin" / "imgsearch"
    done = run(program, "demo", cwd=tmp_path, HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "6 of 6 first results" in done.stderr
    assert "imgsearch index ~/Pictures" in done.stderr
    assert len(list((tmp_path / "demo-gallery" / "sheets").iterdir())) == 6


def test_a_missing_extra_is_installed_from_where_the_wheel_came(
    environment: Path, wheel: Path, tmp_path: Path
) -> None:
    """The advice names the own distribution and the wheel: another imgsearch on the index is never installed."""
    code = "from imgsearch.installation import how_to_add; print(how_to_add('serve'))"
    advice = run(environment / "bin" / "python", "-c", code, cwd=tmp_path).stdout
    assert advice.endswith(f"'imgsearch-vl[serve] @ {wheel.as_uri()}'\n")
