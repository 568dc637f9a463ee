"""The command that adds an extra fits how the program was installed; made-up environments, nothing is installed."""

from __future__ import annotations

import json
import shlex
import sys
import sysconfig
from pathlib import Path

import pytest

from imgsearch.errors import MissingExtra
from imgsearch.installation import how_to_add, own_distribution
from support import ROOT

WHEEL = "file:///home/me/Downloads/imgsearch_vl-0.1.0-py3-none-any.whl"


class Environment:
    """A virtual environment with nothing in it but what a package installer leaves behind of imgsearch."""

    def __init__(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = prefix
        self.info = prefix / "lib" / "imgsearch_vl-0.1.0.dist-info"
        self.info.mkdir(parents=True)
        (prefix / "bin").mkdir()
        self.write("METADATA", "Metadata-Version: 2.4\nName: imgsearch-vl\nVersion: 0.1.0\n")
        self.write("entry_points.txt", "[console_scripts]\nimgsearch = imgsearch.__main__:main\n")
        self.write("INSTALLER", "pip\n")
        monkeypatch.setattr(sys, "path", [str(prefix / "lib")])
        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        monkeypatch.delenv("VIRTUAL_ENV", raising=False)

    def write(self, name: str, text: str) -> None:
        """Write a file of the distribution's metadata."""
        (self.info / name).write_text(text)

    def comes_from(self, url: str, **more: object) -> None:
        """Record where it was installed from, as installers do (PEP 610)."""
        self.write("direct_url.json", json.dumps({"url": url, **(more or {"archive_info": {}})}))

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Do what ``source bin/activate`` does, in an environment with pip."""
        pip = self.prefix / "bin" / "pip"
        pip.touch(mode=0o755)
        monkeypatch.setenv("PATH", f"{self.prefix / 'bin'}:/usr/bin:/bin")
        monkeypatch.setenv("VIRTUAL_ENV", str(self.prefix))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Give an environment where pip installed imgsearch-vl from the package index."""
    return Environment(tmp_path / "env", monkeypatch)


def command(advice: str) -> list[str]:
    """Return the words of the command that a piece of advice ends with."""
    before, _, after = advice.partition("add them with: ")
    assert before == ""
    return shlex.split(after)


def test_in_an_active_environment_it_is_pip(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where typing pip reaches the environment, that is the whole command."""
    environment.activate(monkeypatch)
    assert how_to_add("serve") == "add them with: pip install 'imgsearch-vl[serve]'"


def test_elsewhere_pip_is_called_by_the_environments_python(environment: Environment) -> None:
    """An environment that is not active is reached by the path of its Python, not by some other pip."""
    python = str(environment.prefix / "bin" / "python")
    assert command(how_to_add("eval")) == [python, "-m", "pip", "install", "imgsearch-vl[eval]"]


def test_uv_made_the_environment(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of uv has no pip: uv installs into it, by its path where it is not active."""
    environment.write("INSTALLER", "uv")
    python = str(environment.prefix / "bin" / "python")
    assert command(how_to_add("serve")) == ["uv", "pip", "install", "--python", python, "imgsearch-vl[serve]"]
    environment.activate(monkeypatch)
    assert how_to_add("serve") == "add them with: uv pip install 'imgsearch-vl[serve]'"


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": WHEEL, "archive_info": {}}, f"imgsearch-vl[serve] @ {WHEEL}"),
        (
            {"url": "file:///home/me/imgsearch", "dir_info": {}},
            "imgsearch-vl[serve] @ file:///home/me/imgsearch",
        ),
        (
            {"url": "https://git.example/i.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "imgsearch-vl[serve] @ git+https://git.example/i.git@c0ffee",
        ),
    ],
)
def test_what_is_not_from_the_index_is_installed_from_where_it_came(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object], requirement: str
) -> None:
    """A wheel, a folder or a repository is named again: the index may not have it."""
    environment.activate(monkeypatch)
    environment.write("direct_url.json", json.dumps(origin))
    assert command(how_to_add("serve")) == ["pip", "install", requirement]


def test_a_source_checkout_is_installed_in_place(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable installation stays editable; the folder is named, so the command works from anywhere."""
    environment.activate(monkeypatch)
    environment.comes_from("file:///home/me/my%20code/imgsearch", dir_info={"editable": True})
    assert how_to_add("train") == "add them with: pip install -e '/home/me/my code/imgsearch[train]'"


def test_a_source_tree_that_was_never_installed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a distribution the folder of the source is what can be installed."""
    environment.activate(monkeypatch)
    monkeypatch.setattr(sys, "path", [])
    assert own_distribution() is None
    assert command(how_to_add("serve")) == ["pip", "install", "-e", f"{ROOT}[serve]"]


def test_uv_tool_keeps_the_extras_that_are_there(environment: Environment) -> None:
    """uv tool installs only what it is told, so the command repeats earlier extras and packages."""
    environment.write("INSTALLER", "uv")
    receipt = environment.prefix / "uv-receipt.toml"
    receipt.write_text('[tool]\nrequirements = [{ name = "imgsearch-vl" }]\n')
    assert how_to_add("serve") == "add them with: uv tool install 'imgsearch-vl[serve]'"
    receipt.write_text(
        '[tool]\nrequirements = [{ name = "imgsearch-vl", extras = ["eval"] }, { name = "pillow-jxl-plugin" }]\n'
    )
    assert command(how_to_add("serve")) == [
        *("uv", "tool", "install", "--with", "pillow-jxl-plugin", "imgsearch-vl[eval,serve]")
    ]


def test_pipx_keeps_the_extras_that_are_there(environment: Environment) -> None:
    """pipx begins with an empty environment, so the command repeats earlier extras and pip's arguments."""
    record = environment.prefix / "pipx_metadata.json"
    record.write_text('{"main_package": {"package_or_url": "imgsearch-vl", "pip_args": []}}')
    assert how_to_add("serve") == "add them with: pipx install --force 'imgsearch-vl[serve]'"
    package = {
        "package_or_url": f"imgsearch-vl[eval] @ {WHEEL}",
        "pip_args": ["--constraint", "/home/me/c.txt"],
    }
    record.write_text(json.dumps({"main_package": package}))
    environment.comes_from(WHEEL)
    assert command(how_to_add("serve")) == [
        *("pipx", "install", "--force", "--pip-args=--constraint /home/me/c.txt"),
        f"imgsearch-vl[eval,serve] @ {WHEEL}",
    ]


def test_a_systems_python_needs_an_environment_of_its_own(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pip refuses to install, the advice makes a virtual environment first."""
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert how_to_add("serve").startswith("this Python belongs to the system")
    assert how_to_add("serve").endswith(
        "python3 -m venv ~/.venvs/imgsearch && ~/.venvs/imgsearch/bin/pip install 'imgsearch-vl[serve]'"
    )


def test_the_error_of_a_missing_extra_ends_with_the_command(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what needs packages, and gives the command that fits this installation."""
    environment.activate(monkeypatch)
    error = MissingExtra("reading parquet files", "eval")
    assert str(error) == (
        "reading parquet files needs packages that are not installed; "
        "add them with: pip install 'imgsearch-vl[eval]'"
    )
    assert error.extra == "eval"


def test_the_own_distribution_is_known_by_its_command(environment: Environment) -> None:
    """Another program that happens to be called imgsearch is not taken for this one."""
    other = environment.prefix / "lib" / "imgsearch-9.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.4\nName: imgsearch\nVersion: 9.0\n")
    (other / "entry_points.txt").write_text("[console_scripts]\nimgsearch = other.cli:main\n")
    assert own_distribution().name == "imgsearch-vl"
