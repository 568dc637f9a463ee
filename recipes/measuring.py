"""Runs commands of imgsearch for the recipes: any of them, and ``imgsearch eval`` with its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run(*arguments: str) -> None:
    """Run one imgsearch command, shown first; CalledProcessError if it fails."""
    print("+ imgsearch", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "imgsearch", *arguments], check=True)


def measure(dataset: str, models: list[str], out: str, *more: str) -> list[dict[str, Any]]:
    """Run ``imgsearch eval`` on the models, with ``more`` flags; return a row of results for each."""
    flags = [flag for model in models for flag in ("--model", model)]
    run("eval", dataset, *flags, "--force-model", *more, "--batch-size", "64", "--out", out)
    with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)["rows"]
    return rows
