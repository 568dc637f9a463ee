"""What imgsearch and exiftool read of the same files, field by field.

    python benchmarks/metadata.py FOLDER [--all]

Theory: exiftool knows every writer; where imgsearch reads another value there is a mistake, or a rule of ours that can
be named. Needs exiftool (Debian: libimage-exiftool-perl). Every file below FOLDER that imgsearch reads as an image is
compared, together with its XMP sidecar. Prints the differences with both values (with --all every field), then for
each field how often either program knows it, how often both know the same, and how often not; exit code 1 if any
differs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from imgsearch.errors import PictureError
from imgsearch.media import formats
from support.exiftool import EXIFTOOL, compare


def is_image(path: str) -> bool:
    """Return whether imgsearch indexes a file, by its name and its first bytes."""
    if os.path.splitext(path)[1].lower() not in formats.EXTENSIONS:
        return False
    try:
        with open(path, "rb") as file:
            formats.recognise(file, path)
    except (OSError, PictureError):
        return False
    return True


def main() -> int:
    """Compare all files of a folder; 1 if any field differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--all", action="store_true", help="print equal fields too")
    args = parser.parse_args()
    if EXIFTOOL is None:
        parser.error("exiftool is not installed")
    known, equal, files, left_out = Counter[str](), Counter[str](), 0, 0
    for folder, _, names in sorted(os.walk(args.folder)):
        for path in (os.path.join(folder, name) for name in sorted(names)):
            if not is_image(path):
                left_out += 1
                continue
            files += 1
            for field in compare(path):
                known[field.name] += 1
                equal[field.name] += field.equal
                if args.all or not field.equal:
                    sign = "=" if field.equal else "≠"
                    print(
                        f"{os.path.relpath(path, args.folder)}: {field.name} {field.ours!r} {sign} {field.theirs!r}"
                    )
    print("field         known  equal  differ")
    for name, count in known.items():
        print(f"{name:13} {count:5}  {equal[name]:5}  {count - equal[name]:6}")
    total, same = known.total(), equal.total()
    print(
        f"{files} images ({left_out} other files left out): {total} fields, {same} equal, {total - same} differ"
    )
    return 1 if same < total else 0


if __name__ == "__main__":
    sys.exit(main())
