"""What waits for the model, in batches of a kind."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.indexing.batches import Batches, pages_of
from imgsearch.indexing.decode import Decoded, Page, Part
from imgsearch.types import Metadata, Patches, PixelHash, SourceFile


def decoded(number: int, weight: float) -> Decoded:
    """Return a file of one page that takes the model as long as so many photos."""
    patches = Patches(np.zeros((4, 1), np.float32), (1, 2, 2))
    page = Page(0, 32, 32, patches, PixelHash(b"", 0), weight=weight)
    return Decoded(
        SourceFile("/photos", f"{number}.jpg", 1, 1), number.to_bytes(32, "big"), (page,), Metadata()
    )


def weight_of(file: Decoded | Part) -> float:
    """Return the weight of all that is to be embedded of a file."""
    return sum(page.weight for page in pages_of(file))


@given(weights=st.lists(st.sampled_from([1.0, 1.0, 6.0]), max_size=30), size=st.integers(1, 12))
def test_every_file_comes_once_in_a_batch_of_its_kind(weights: list[float], size: int) -> None:
    """Whatever comes is given back once, in order, photos apart from larger images, no more than a batch and one."""
    batches = Batches()
    photos: list[Decoded | Part] = []
    large: list[Decoded | Part] = []
    files = [decoded(number, weight) for number, weight in enumerate(weights)]
    for file in files:
        batches.add(file)
        for batch in batches.ready(size):
            (photos if weight_of(batch[0]) == 1 else large).extend(batch)
            assert sum(weight_of(one) for one in batch) < size + weight_of(file)
            for one in batch:
                batches.remove(one)
    for batch in batches.ready():
        (photos if weight_of(batch[0]) == 1 else large).extend(batch)
        for one in batch:
            batches.remove(one)
    assert len(batches) == 0
    assert photos == [file for file, weight in zip(files, weights, strict=True) if weight == 1]
    assert large == [file for file, weight in zip(files, weights, strict=True) if weight > 1]


def test_a_content_waits_until_it_is_removed() -> None:
    """A copy that comes meanwhile can be told."""
    batches, file = Batches(), decoded(7, 1)
    assert not batches.has_content(file.sha256)
    batches.add(file)
    assert batches.has_content(file.sha256)
    batches.remove(file)
    assert not batches.has_content(file.sha256)
