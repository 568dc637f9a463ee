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


@dataclass(frozen=True)
class Form:
    """What a page and the catalogue say of fields and annotations, and the objects that these are."""

    page: str
    catalog: str
    objects: tuple[str, ...]


def form(*objects: str) -> Form:
    """Return a form, all of it on one page: the first object is its field."""
    names = " ".join(f"{number} 0 R" for number in range(10, 10 + len(objects)))
    fonts = "/DR << /Font << /F1 4 0 R >> >> /NeedAppearances true"
    return Form(f"/Annots [{names}]", f"/AcroForm << /Fields [10 0 R] {fonts} >>", objects)


def filled(text: str, bottom: int, flags: int = 4) -> str:
    """Return a field of 100 × 50 points with a text in it; flags are those of annotations, 2 is hidden."""
    return (
        f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V ({text}) /DA (/F1 30 Tf 0 g) "
        f"/Rect [0 {bottom} 100 {bottom + 50}] /F {flags} >>"
    )


SQUARE = "<< /Type /Annot /Subtype /Square /C [1 0 0] /IC [1 0 0] /Rect [50 0 100 50] /F 4 >>"
"""An annotation: the bottom right quarter, in red."""
FORM = form(filled("filled", 50), filled("hidden", 0, 2), SQUARE)


def _numbers(box: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in box)
