"""How much of a JPEG may be missing at its end before its embedding is another picture's.

Theory: what is missing looks like the last row that is there. A few rows hardly move an embedding; half of them make
another picture. The share from which on a file is decoded (`media/decoders/raster.py:LEAST_ROWS`) should keep the
embedding nearer to that of the complete file than any other file's is.

    python benchmarks/ends.py FOLDER [--model demo]

Cuts every JPEG below FOLDER at a share of its bytes, and prints how many rows are left (the median), the cosine with
the complete file's embedding (the median and the lowest), and how often a cut file's nearest of all complete files is
its own.
"""

from __future__ import annotations

import argparse
import io
import os

import numpy as np

from imgsearch.errors import PictureError
from imgsearch.media.decoders import raster
from imgsearch.media.formats import load_pictures
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.locate import find_checkpoint
from imgsearch.types import DEFAULT_BUDGET, Input, Picture

SHARES = (0.98, 0.95, 0.9, 0.8, 0.67, 0.5)


def decoded(data: bytes) -> Picture | None:
    """Decode a file, however little of it is there; None if there is no picture."""
    try:
        return next(load_pictures(io.BytesIO(data), "x.jpg", DEFAULT_BUDGET))
    except PictureError:
        return None


def main() -> None:
    """Embed complete and cut files and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    raster.LEAST_ROWS = 0.0
    model = Qwen3VLEmbedder(find_checkpoint(options.model).folder)
    files = []
    for base, _, names in sorted(os.walk(options.folder)):
        for name in sorted(names):
            with open(os.path.join(base, name), "rb") as file:
                data = file.read()
            picture = decoded(data)
            if data[:2] == b"\xff\xd8" and picture is not None and not picture.note:
                files.append((data, picture))
    whole = model.embed([Input(image=picture.pixels) for _, picture in files])
    print(f"{len(files)} files\n{'bytes left':>12}{'rows left':>12}{'median':>10}{'lowest':>10}{'found':>8}")
    for share in SHARES:
        cut = [(at, decoded(data[: int(len(data) * share)])) for at, (data, _) in enumerate(files)]
        kept = [(at, picture) for at, picture in cut if picture is not None]
        vectors = model.embed([Input(image=picture.pixels) for _, picture in kept])
        cosines = vectors @ whole.T
        own = np.array([cosines[row, at] for row, (at, _) in enumerate(kept)])
        found = sum(cosines[row].argmax() == at for row, (at, _) in enumerate(kept))
        rows = [int(picture.note.split()[2]) for _, picture in kept if "%" in picture.note]
        print(
            f"{share:12.0%}{np.median(rows):11.0f}%{np.median(own):10.3f}{own.min():10.3f}{found:>5}/{len(kept)}"
        )


if __name__ == "__main__":
    main()
