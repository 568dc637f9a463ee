"""One model by its name: what it is, who computes it, and what one image costs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Road = Literal["imgsearch", "library", "code"]
"""Who computes a model: this program, sentence-transformers (the extra models), or only its authors' own code."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A stack of transformer layers through which one image goes as so many tokens; widths in numbers.

    ``inner`` is the width inside the feed-forward layer, ``gated`` if that has three products and not two. Keys and
    values have ``kv_heads`` (0: as many as ``heads``) of ``head_dim`` (0: ``width`` / ``heads``).
    """

    tokens: int
    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int = 0
    head_dim: int = 0
    gated: bool = False

    @property
    def attention(self) -> tuple[int, int]:
        """Widths of the queries, and of the keys and of the values, all heads together."""
        dim = self.head_dim or self.width // self.heads
        return self.heads * dim, (self.kv_heads or self.heads) * dim

    def operations(self, tokens: int | None = None) -> float:
        """Return the floating-point operations of one layer, for its own or another number of tokens."""
        count = tokens or self.tokens
        asked, kept = self.attention
        products = self.width * (2 * asked + 2 * kept + (3 if self.gated else 2) * self.inner)
        return 2.0 * count * products + 4.0 * count * count * asked


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: what was measured, what came out as its source writes it, and the source's address."""

    measure: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model by its name on Hugging Face.

    ``architecture`` is the model_type of its config.json. ``parameters`` counts all towers, ``download`` are the bytes
    of its weights; both None where no source says. ``needs`` is what a model of road "code" needs, in words that end
    a sentence, or what the library must have beside it. ``towers`` are what an image goes through, of a photo at its
    usual resolution. ``unverified`` names what no source that could be read confirms.
    """

    name: str
    architecture: str
    road: Road
    license: str
    parameters: int | None
    download: int | None
    dim: int
    languages: str
    good_at: str
    source: str
    figures: tuple[Figure, ...] = ()
    towers: tuple[Tower, ...] = ()
    needs: str = ""
    unverified: tuple[str, ...] = ()

    @property
    def operations(self) -> float | None:
        """Floating-point operations that one image takes, in the products of all layers; None where it is not known."""
        return sum(tower.layers * tower.operations() for tower in self.towers) or None
