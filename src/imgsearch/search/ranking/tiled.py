"""Tiles of a page in an answer: what is found is the page, once, at its best tile."""

from __future__ import annotations

from dataclasses import replace

from imgsearch.index.reader import ImageIndex
from imgsearch.media import tiles
from imgsearch.search.ranking.stacks import MOST, Find
from imgsearch.types import Hit


def one_hit_a_page(index: ImageIndex, find: Find) -> Find:
    """Return what finds pages where ``find`` finds them and their tiles: as many hits, if there are so many."""

    def found(n: int, spare: int) -> list[Hit]:
        wanted = n
        while True:
            hits = find(wanted, spare)
            if not any(hit.kind == tiles.KIND for hit in hits):
                return hits[:n]
            pages: dict[tuple[bytes, int], Hit] = {}
            for hit in hits:
                pages.setdefault((hit.sha256, tiles.page_of(hit.page) if _is_cut(hit) else hit.page), hit)
            if len(pages) >= n or len(hits) < wanted or wanted >= MOST:
                kept = [_at_page(index, hit) for hit in pages.values()][:n]
                return [replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)]
            wanted = min(4 * wanted, MOST)

    return found


def _is_cut(hit: Hit) -> bool:
    return hit.kind == tiles.KIND


def _at_page(index: ImageIndex, hit: Hit) -> Hit:
    """Return a hit of a tile as one of its page, whose kind is the tile's name."""
    if not _is_cut(hit):
        return hit
    page = tiles.page_of(hit.page)
    content = index.catalog.content_id(hit.sha256, page) or hit.content
    return replace(hit, page=page, kind=hit.name, name="", content=content, tile=tiles.box_of(hit.page))
