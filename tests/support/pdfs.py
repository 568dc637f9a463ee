"""PDFs for tests, written by hand: pages whose boxes, turns and drawings are what a test says, sound or not."""

from __future__ import annotations

from dataclasses import dataclass

QUARTERS = (
    "1 0 0 rg 0 50 50 50 re f 0 1 0 rg 50 50 50 50 re f 0 0 1 rg 0 0 50 50 re f 1 1 0 rg 50 0 50 50 re f"
)
"""Draws on 100 × 100 points: top left red, top right green, bottom left blue, bottom right yellow."""


@dataclass(frozen=True)
class Drawn:
    """A page: what it draws, its boxes in points, and other entries of its dictionary, as they stand in the file."""

    draws: str = QUARTERS
    box: tuple[float, ...] = (0, 0, 100, 100)
    crop: tuple[float, ...] | None = None
    turn: int = 0
    other: str = ""


def words(text: str, size: int = 12, at: tuple[float, float] = (10, 80)) -> str:
    """Return what draws a line of ASCII in Helvetica."""
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"0 g BT /F1 {size} Tf {at[0]} {at[1]} Td ({escaped}) Tj ET"


def pdf(
    *pages: Drawn, info: dict[str, str] | None = None, catalog: str = "", objects: tuple[str, ...] = ()
) -> bytes:
    """Return a PDF of these pages; ``objects`` are numbered from 10 on, for ``other`` and ``catalog`` to name."""
    first = 10 + len(objects)
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    told = " ".join(f"/{name} ({value})" for name, value in (info or {}).items())
    bodies = {
        1: f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        3: f"<< {told} >>",
        4: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }
    bodies |= dict(enumerate(objects, 10))
    for number, page in enumerate(pages):
        crop = f"/CropBox [{_numbers(page.crop)}]" if page.crop else ""
        bodies[first + 2 * number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{_numbers(page.box)}] {crop} /Rotate {page.turn} {page.other} "
            f"/Resources << /Font << /F1 4 0 R >> >> /Contents {first + 2 * number + 1} 0 R >>"
        )
        bodies[first + 2 * number + 1] = f"<< /Length {len(page.draws)} >>\nstream\n{page.draws}\nendstream"
    out, places = b"%PDF-1.7\n", {}
    for number, body in bodies.items():
        places[number] = len(out)
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start, size = len(out), max(bodies) + 1
    table = "".join(
        f"{places[number]:010} 00000 n \n" if number in places else "0000000000 65535 f \n"
        for number in range(size)
    )
    out += f"xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R /Info 3 0 R >>\n".encode()
    return out + f"startxref\n{start}\n%%EOF\n".encode()


def _numbers(box: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in box)
