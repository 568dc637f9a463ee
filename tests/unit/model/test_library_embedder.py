"""Models of other families: the vectors of sentence-transformers itself, whatever the family, batch or dtype."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imgsearch.errors import InputError, PictureError, UsageError
from imgsearch.model import overflow as overflow_module
from imgsearch.model.families import conventions_of, open_checkpoint, preparation
from imgsearch.model.library.embedder import LibraryEmbedder
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.types import Input, ModelSpec, PixelBudget, Vectors
from support.pictures import scene

TEXTS = ["a red car at night", "ein Hund am Strand", "https://nowhere.invalid/a.png"]
FAMILIES = ("tiny_clip", "tiny_siglip2", "tiny_gemma3")


def _embedder(folder: str, dtype: str = "float32", **rest: Any) -> LibraryEmbedder:
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, LibraryCheckpoint)
    wanted = conventions_of(checkpoint)
    spec = ModelSpec(
        folder, checkpoint.fingerprint, wanted.dim, wanted.pixels, wanted.document_prompt, "cpu", dtype
    )
    return LibraryEmbedder(spec, checkpoint, **rest)


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest) -> Callable[[str], LibraryEmbedder]:
    """Give each tiny model by the name of its fixture, loaded once; tests must leave it as it is."""
    kept: dict[str, LibraryEmbedder] = {}

    def load(name: str) -> LibraryEmbedder:
        if name not in kept:
            kept[name] = _embedder(request.getfixturevalue(name))
        return kept[name]

    return load


def _theirs(embedder: LibraryEmbedder) -> tuple[Vectors, Vectors]:
    """Return what the library gives for TEXTS and for three images."""
    model = embedder.forward.model
    texts = [{"text": text} for text in TEXTS]
    settings: dict[str, Any] = {"normalize_embeddings": True, "truncate_dim": embedder.dim}
    images = [scene(number) for number in range(3)]
    # SigLIP was trained at one length of texts, which the library does not fill up to by itself.
    fixed = {"text": {"padding": "max_length", "max_length": 64}}
    padded = {"processing_kwargs": fixed} if model.config.model_type == "siglip2" else {}
    return model.encode_query(texts, **settings, **padded), model.encode_document(images, **settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vectors_are_those_of_the_library(family: str, loaded: Callable[[str], LibraryEmbedder]) -> None:
    """Texts as by encode_query, images as by encode_document, each with the prompt of its side, alone or together."""
    embedder = loaded(family)
    prompts = conventions_of(open_checkpoint(embedder._folder))
    inputs = [Input(text=text, instruction=prompts.query_prompt) for text in TEXTS]
    inputs += [Input(image=np.array(scene(number))) for number in range(3)]
    queries, documents = _theirs(embedder)
    for rows in (embedder.embed(inputs), np.concatenate([embedder.embed([one]) for one in inputs])):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows[:3], queries, atol=1e-5)
        np.testing.assert_allclose(rows[3:], documents, atol=1e-5)
    assert len({row.tobytes() for row in documents}) == 3


@pytest.mark.parametrize(
    ("family", "full", "dim", "shortens"),
    [("tiny_clip", 24, 8, True), ("tiny_siglip2", 32, 32, False), ("tiny_gemma3", 24, 24, False)],
)
def test_the_length_is_known_before_loading(
    family: str,
    full: int,
    dim: int,
    shortens: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stands in the settings, or is the shape of the last layer; only what was trained for it is cut."""
    from imgsearch.model.library import loading

    monkeypatch.setattr(loading, "load_model", lambda *_: pytest.fail("it was loaded"))
    wanted = conventions_of(open_checkpoint(request.getfixturevalue(family)))
    assert (wanted.full_dim, wanted.dim, wanted.can_shorten, wanted.own_pixels) == (full, dim, shortens, True)


def test_a_length_that_no_file_tells_is_measured(tiny_gemma3: str, tmp_path: Path) -> None:
    """A plain model of transformers, without modules: the library takes the mean of its states."""
    folder = tmp_path / "plain"
    shutil.copytree(tiny_gemma3, folder)
    (folder / "modules.json").unlink()
    assert conventions_of(open_checkpoint(str(folder))).full_dim == 32


def test_words_and_an_image_at_once(loaded: Callable[[str], LibraryEmbedder]) -> None:
    """A language model reads both in one prompt; of two towers, the sum of both unit vectors is taken."""
    image = np.array(scene(1))
    clip = loaded("tiny_clip")
    text, alone, both = clip.embed([Input("red"), Input(image=image), Input("red", image)])
    whole = clip.forward.model.encode_query([{"text": "red"}], prompt="", normalize_embeddings=True)[0]
    seen = clip.forward.model.encode_document([Image.fromarray(image)], normalize_embeddings=True)[0]
    expected = (whole + seen)[: clip.dim]
    np.testing.assert_allclose(both, expected / np.linalg.norm(expected), atol=1e-5)
    gemma = loaded("tiny_gemma3")
    rows = gemma.embed([Input("red", image), Input(image=image), Input("red")])
    assert len({row.tobytes() for row in rows}) == 3
    assert not np.allclose(text, alone)


def test_a_text_longer_than_the_context_is_cut_and_said_once(tiny_clip: str) -> None:
    """The library cuts it; whoever asked learns it, once."""
    lines: list[str] = []
    embedder = _embedder(tiny_clip, notify=lines.append)
    long = "a red car " * 20
    rows = embedder.embed([Input(long), Input(long + "and more"), Input("short")])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    (line,) = lines
    assert line.endswith("was cut to its first 64: this model takes no longer ones")


def test_rows_that_overflow_are_computed_in_float32(
    tiny_clip: str, loaded: Callable[[str], LibraryEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where they are many, the model is loaded in another dtype, which is said: the rule of our own models."""
    monkeypatch.setattr(overflow_module, "bfloat16_unit", lambda: None)
    monkeypatch.setattr(overflow_module, "_ENOUGH", 2)
    lines: list[str] = []
    embedder = _embedder(tiny_clip, "float16", notify=lines.append)
    half, before = embedder.forward, [p.clone() for p in embedder.forward.model.parameters()]
    monkeypatch.setattr(type(half), "__call__", _overflowing(type(half).__call__, half))
    exact = loaded("tiny_clip").embed([Input(text) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed([Input(text) for text in TEXTS]), exact, atol=2e-3)
    assert lines == ["1 of 3 embeddings overflowed in float16 and were computed again: continuing in float32"]
    assert (embedder.runtime.dtype, embedder.recomputed) == ("float32", 1)
    assert all(torch.equal(*pair) for pair in zip(before, half.model.parameters(), strict=True))


def _overflowing(call: Callable[..., torch.Tensor], half: object) -> Callable[..., torch.Tensor]:
    """Return a pass whose first row is not finite in float16."""

    def computed(self: Any, inputs: Any) -> torch.Tensor:
        rows = call(self, inputs)
        if self is half and next(self.model.parameters()).dtype == torch.float16:
            rows[0] = float("inf")
        return rows

    return computed


def test_memory_that_runs_out_makes_smaller_batches(tiny_clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with our own models: every input gets its row, and the user is told."""
    lines: list[str] = []
    embedder = _embedder(tiny_clip, notify=lines.append)
    whole = embedder.embed([Input(text) for text in TEXTS])
    call = type(embedder.forward).__call__

    def crowded(self: Any, inputs: Any) -> torch.Tensor:
        if len(inputs) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return call(self, inputs)

    monkeypatch.setattr(type(embedder.forward), "__call__", crowded)
    np.testing.assert_allclose(embedder.embed([Input(text) for text in TEXTS]), whole, atol=1e-5)
    assert lines == ["ran out of memory with 3 inputs at a time: continuing with 1"]


def test_what_can_not_be_embedded_is_refused(loaded: Callable[[str], LibraryEmbedder]) -> None:
    """Nothing at all, an image of no shape, and a text that stands for an image."""
    clip, gemma = loaded("tiny_clip"), loaded("tiny_gemma3")
    for embedder, item in ((clip, Input(" ")), (gemma, Input("a <start_of_image> b"))):
        with pytest.raises(InputError):
            embedder.embed([item])
    with pytest.raises(PictureError):
        clip.prepare(np.zeros((1, 300, 3), np.uint8))


def test_int8_is_refused_by_name(tiny_clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has none."""
    from imgsearch.model.library import embedder as module
    from imgsearch.types import Runtime

    monkeypatch.setattr(module, "choose", lambda *_: Runtime("cpu", "int8", ""))
    with pytest.raises(UsageError, match="does not support int8"):
        _embedder(tiny_clip, "int8")


def test_weights_are_shared_between_encoders(
    tiny_clip: str, loaded: Callable[[str], LibraryEmbedder]
) -> None:
    """A server makes encoders of other lengths over the same weights."""
    first = loaded("tiny_clip")
    other = _embedder(tiny_clip, forward=first.forward)
    assert other.forward is first.forward
    np.testing.assert_array_equal(other.embed([Input("red")]), first.embed([Input("red")]))


def test_only_pixels_that_the_model_can_not_see_are_left_out(tiny_clip: str) -> None:
    """An image of a few times what the model makes use of stays as it is; a larger one keeps each side twice."""
    prepare = preparation(open_checkpoint(tiny_clip))
    small = np.zeros((300, 400, 3), np.uint8)
    budget = PixelBudget(0, 50_176)
    assert prepare(small, budget) is small
    large = prepare(np.zeros((3000, 4000, 3), np.uint8), budget)
    assert isinstance(large, np.ndarray)
    assert large.shape == (388, 518, 3)
