"""What becomes of files that readers often get wrong, kind by kind: right, skipped honestly, refused, wrong.

    python benchmarks/kinds.py FOLDER [--all] [--json]

FOLDER holds files and a manifest.json: a list of {file, kind, right, debatable?, or_skipped?}. ``right`` is one of
{"outcome": "picture", "size", "regions": [{"box", "rgb"}], "tolerance"}, {"outcome": "drawing-seen", "drawing",
"ground", "least_difference"}, {"outcome": "skipped", "reason"} and {"outcome": "pages", "pages": [picture, …]}; rows
with another outcome are about folders and are left out. A file is *right* if it decodes to that, or is skipped for the
reason in ``right`` or ``or_skipped``, which is then *skipped*; *refused* if it is skipped for another reason, and
*wrong* if another picture comes out. Prints the table, and with --all each file that is refused or wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
from typing import Any

import numpy as np

from imgsearch.errors import PictureError
from imgsearch.media.formats import load_pictures
from imgsearch.types import Picture, PixelBudget

BUDGET = PixelBudget(1024, 57_600)
OUTCOMES = ("right", "skipped", "refused", "wrong")


def fits(picture: Picture, right: dict[str, Any]) -> str:
    """Return "" if a picture is what the manifest says, else the first difference."""
    if [picture.width, picture.height] != right["size"]:
        return f"{picture.width} × {picture.height}, not {right['size']}"
    scale = picture.pixels.shape[1] / picture.width
    for region in right["regions"]:
        found = mean(picture, [int(edge * scale) for edge in region["box"]])
        if np.abs(found - region["rgb"]).max() > right["tolerance"]:
            return f"{found.round().astype(int).tolist()} for {region['rgb']} at {region['box'][:2]}"
    return ""


def mean(picture: Picture, box: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the mean colour of a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    return picture.pixels[top:bottom, left:right].reshape(-1, 3).mean(axis=0, dtype=np.float64)


def difference(pictures: list[Picture], right: dict[str, Any]) -> str:
    """Return "" if a file's pictures are what the manifest says, else the first difference."""
    match right["outcome"]:
        case "pages":
            if len(pictures) != len(right["pages"]):
                return f"{len(pictures)} pages, not {len(right['pages'])}"
            return "".join(map(fits, pictures, right["pages"]))
        case "drawing-seen":
            drawn, ground = (
                np.mean([mean(pictures[0], box) for box in right[name]], axis=0)
                for name in ("drawing", "ground")
            )
            apart = np.abs(drawn - ground).max()
            return "" if apart >= right["least_difference"] else f"drawing and ground differ by {apart:.0f}"
        case "picture":
            return f"{len(pictures)} pages" if len(pictures) != 1 else fits(pictures[0], right)
    return "decoded"


def judge(path: str, row: dict[str, Any]) -> tuple[str, str]:
    """Return the outcome of one file and what there is to say about it."""
    right = row["right"]
    try:
        with open(path, "rb") as stream:
            pictures = list(load_pictures(stream, path, BUDGET))
    except PictureError as error:
        honest = error.reason in (right.get("reason"), row.get("or_skipped"))
        return "skipped" if honest else "refused", str(error)
    wrong = difference(pictures, right)
    notes = "; ".join(filter(None, (getattr(picture, "note", "") for picture in pictures)))
    return ("wrong", wrong) if wrong else ("right", notes)


def main() -> None:
    """Judge every file of the manifest; print the table of kinds and the totals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--all", action="store_true", help="name each file that is refused or wrong")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open(os.path.join(options.folder, "manifest.json"), encoding="utf-8") as file:
        rows = json.load(file)
    table: dict[str, collections.Counter[str]] = {}
    debated: collections.Counter[str] = collections.Counter()
    lines = []
    for row in rows:
        if row["right"]["outcome"] not in ("picture", "drawing-seen", "skipped", "pages"):
            continue
        outcome, said = judge(os.path.join(options.folder, row["file"]), row)
        if row.get("debatable") and outcome in ("refused", "wrong"):
            debated[outcome] += 1
        table.setdefault(row["kind"], collections.Counter())[outcome] += 1
        if outcome in ("refused", "wrong"):
            lines.append(f"{outcome:8}{'debatable ' if row.get('debatable') else ''}{row['file']}: {said}")
    total = sum(table.values(), collections.Counter())
    print(f"{'':40}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES))
    for kind, counts in [*table.items(), ("all", total), ("of these debatable", debated)]:
        print(f"{kind:40}" + "".join(f"{counts[outcome]:9}" for outcome in OUTCOMES))
    if options.all:
        print("\n".join(lines))
    if options.json:
        print(json.dumps({"benchmark": "kinds", "kinds": table, "total": total, "debatable": debated}))


if __name__ == "__main__":
    main()
