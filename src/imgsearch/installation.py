"""How this program was installed, and so how to add an extra to it: by pip, uv, pipx, or in a source checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tomllib
from importlib import metadata
from typing import Any
from urllib.parse import unquote, urlsplit

_COMMAND = (
    "imgsearch.__main__:main"  # the distribution that brings this command is our own, whatever its name
)


def own_distribution() -> metadata.Distribution | None:
    """Return the distribution that this program came with; None in a source tree that was never installed."""
    points = metadata.entry_points(group="console_scripts", value=_COMMAND)
    return next((point.dist for point in points), None)


def how_to_add(extra: str) -> str:
    """Return how to add an extra and keep what is there: ``add them with: pip install 'imgsearch-vl[serve]'``."""
    own = own_distribution()
    origin = json.loads(own.read_text("direct_url.json") or "{}") if own else {}
    if own is None or origin.get("dir_info", {}).get("editable"):
        folder = _local_path(origin["url"]) if origin else _source_tree()
        return f"add them with: {_install(own)} -e {shlex.quote(f'{folder}[{extra}]')}"
    wanted = _requirement(own.name, [extra], origin)
    if receipt := _read(os.path.join(sys.prefix, "uv-receipt.toml")):
        return f"add them with: {_by_uv_tool(own.name, extra, origin, tomllib.loads(receipt))}"
    if record := _read(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"add them with: {_by_pipx(own.name, extra, origin, json.loads(record))}"
    if _is_the_systems():
        return (
            "this Python belongs to the system, so install imgsearch in an environment of its own: "
            f"python3 -m venv ~/.venvs/imgsearch && ~/.venvs/imgsearch/bin/pip install {shlex.quote(wanted)}"
        )
    return f"add them with: {_install(own)} {shlex.quote(wanted)}"


def _requirement(name: str, extras: list[str], origin: dict[str, Any]) -> str:
    """Return what to install: the name with extras, and where it comes from if that is not the index (PEP 610)."""
    spec = f"{name}[{','.join(sorted(set(extras)))}]"
    if not origin:
        return spec
    url, vcs = origin["url"], origin.get("vcs_info")
    if vcs:
        url = f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}"
    return f"{spec} @ {url}"


def _by_uv_tool(name: str, extra: str, origin: dict[str, Any], receipt: dict[str, Any]) -> str:
    """Install the tool again: uv keeps what fits, but only the extras and other packages that it is told."""
    extras, others = [extra], []
    for requirement in receipt["tool"]["requirements"]:
        if requirement["name"] == name:
            extras += requirement.get("extras", [])
        else:
            others += ["--with", requirement["name"]]
    return shlex.join(["uv", "tool", "install", *others, _requirement(name, extras, origin)])


def _by_pipx(name: str, extra: str, origin: dict[str, Any], record: dict[str, Any]) -> str:
    """Install it again: pipx begins with an empty environment, so it needs the same extras and arguments."""
    package = record["main_package"]
    known = re.match(r"[\w.-]+\[([\w.,\s-]+)\]", package["package_or_url"])
    extras = [extra, *(re.split(r"\s*,\s*", known[1].strip()) if known else [])]
    arguments = [f"--pip-args={shlex.join(package['pip_args'])}"] if package.get("pip_args") else []
    return shlex.join(["pipx", "install", "--force", *arguments, _requirement(name, extras, origin)])


def _install(own: metadata.Distribution | None) -> str:
    """Return the install command that reaches this environment: the short one where that does."""
    if own and (own.read_text("INSTALLER") or "").strip() == "uv":
        active = os.environ.get("VIRTUAL_ENV") == sys.prefix
        return "uv pip install" if active else f"uv pip install --python {shlex.quote(sys.executable)}"
    pip = shutil.which("pip")
    if pip and os.path.dirname(pip) == os.path.dirname(sys.executable):
        return "pip install"
    return f"{shlex.quote(sys.executable)} -m pip install"


def _is_the_systems() -> bool:
    """Tell whether pip refuses to install here: a system's Python, outside of any virtual environment (PEP 668)."""
    mark = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return sys.prefix == sys.base_prefix and os.path.exists(mark)


def _source_tree() -> str:
    """Return the folder with ``src/imgsearch``, where this module is."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _local_path(url: str) -> str:
    return unquote(urlsplit(url).path)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""
