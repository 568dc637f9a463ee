"""Tests of the embedder: one row per input, pooling, normalising, and what happens to rows that are not finite."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from imgsearch.errors import CheckpointError, InputError, NonFiniteError, PictureError, UsageError
from imgsearch.media import formats
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as forward_module
from imgsearch.model.engine.config import UnknownArchitecture
from imgsearch.model.engine.forward import Engine
from imgsearch.model.reference import Reference, pool_last
from imgsearch.types import RGB, Input, ModelSpec, PixelBudget
from support.pictures import encode, scene


def _picture(seed: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    return np.asarray(scene(seed, size))


@pytest.fixture
def half_embedder(tiny_checkpoint: str) -> Qwen3VLEmbedder:
    """Give the tiny checkpoint in float16, for a test to spoil."""
    return Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float16")


def test_one_unit_row_per_input(tiny_embedder: Qwen3VLEmbedder):
    """Texts, pictures and both together give one float32 row each, of length 1, in the order of the inputs."""
    inputs = ["a cat", Input(image=_picture(1)), {"text": "a cat", "image": _picture(1)}, Input(text="a dog")]
    rows = tiny_embedder.embed(inputs)
    assert rows.shape == (4, 128)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    for index, item in enumerate(inputs):
        np.testing.assert_allclose(tiny_embedder.embed([item])[0], rows[index], atol=1e-5)


def test_no_inputs_no_rows(tiny_embedder: Qwen3VLEmbedder):
    """An empty list gives an array without rows."""
    assert tiny_embedder.embed([]).shape == (0, 128)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batch_size_changes_nothing(tiny_embedder: Qwen3VLEmbedder, batch_size: int):
    """However many inputs are computed at a time, the rows are the same."""
    inputs = [Input(image=_picture(seed)) if seed % 2 else Input(text="word " * seed) for seed in range(1, 8)]
    rows = tiny_embedder.embed(inputs, batch_size=batch_size)
    np.testing.assert_allclose(rows, tiny_embedder.embed(inputs), atol=1e-5)


def test_same_input_same_row(tiny_embedder: Qwen3VLEmbedder):
    """Computing the same batch twice gives the same bits."""
    inputs = ["a cat", Input(image=_picture(1))]
    assert np.array_equal(tiny_embedder.embed(inputs), tiny_embedder.embed(inputs))


def test_forms_of_a_picture(tiny_embedder: Qwen3VLEmbedder):
    """An array, patches cut before, and a Pillow image of any mode give the same row."""
    picture = _picture(3)
    forms = [
        picture,
        tiny_embedder.prepare(picture),
        Image.fromarray(picture),
        Image.fromarray(picture).convert("RGBA"),
    ]
    rows = tiny_embedder.embed([{"image": form} for form in forms])
    np.testing.assert_allclose(rows, rows[:1].repeat(4, axis=0), atol=1e-6)


def test_altered_copies_stay_nearest(tiny_embedder: Qwen3VLEmbedder):
    """The row of a picture that was resized and encoded anew is nearer to its original than any other picture's."""
    originals = [scene(seed, (640, 480)) for seed in range(12)]
    copies = [
        np.asarray(Image.open(io.BytesIO(encode(image.resize((480, 360)), ".jpg", quality=70))))
        for image in originals
    ]
    rows = tiny_embedder.embed([{"image": image} for image in originals])
    scores = tiny_embedder.embed([{"image": copy} for copy in copies]) @ rows.T
    assert scores.argmax(axis=1).tolist() == list(range(12))


def test_raw_rows(tiny_embedder: Qwen3VLEmbedder):
    """Without normalising, the rows are the model's own, in float32; their direction is that of the unit rows."""
    raw = tiny_embedder.embed(["a cat", "a dog"], normalize=False)
    assert raw.dtype == np.float32
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert (lengths > 1.5).all()
    np.testing.assert_allclose(raw / lengths, tiny_embedder.embed(["a cat", "a dog"]), atol=1e-6)


def test_matryoshka_prefix(tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder):
    """A smaller dim gives the first numbers of the row, brought to length 1 again."""
    small = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dim=32)
    whole = tiny_embedder.embed(["a cat"])
    assert small.dim == 32
    expected = whole[:, :32] / np.linalg.norm(whole[:, :32])
    np.testing.assert_allclose(small.embed(["a cat"]), expected, atol=1e-6)
    raw = tiny_embedder.embed(["a cat"], normalize=False)[:, :32]
    np.testing.assert_allclose(small.embed(["a cat"], normalize=False), raw, atol=1e-6)


@pytest.mark.parametrize("options", [{"dim": 0}, {"dim": 129}, {"padding_side": "up"}, {"device": "tpu"}])
def test_options_that_do_not_exist(tiny_checkpoint: str, options: dict):
    """A dim that the model lacks, or an unknown side or device, is refused."""
    with pytest.raises(UsageError):
        Qwen3VLEmbedder(tiny_checkpoint, **options)


def test_pixel_budget_is_used(tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder):
    """The budget decides how many patches a picture has; an impossible one is refused when loading."""
    large = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", budget=PixelBudget(4096, 262_144))
    picture = _picture(1, (1000, 800))
    assert len(large.prepare(picture).pixel_values) > 4 * len(tiny_embedder.prepare(picture).pixel_values)
    assert len(tiny_embedder.prepare(picture).pixel_values) <= 57_600 // 256
    with pytest.raises(UsageError):
        Qwen3VLEmbedder(tiny_checkpoint, device="cpu", budget=PixelBudget(1, 10))


def test_instruction(tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder):
    """The embedder's instruction holds for all inputs, and an input's own comes before it."""
    other = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", instruction="Find the animal")
    own = tiny_embedder.embed([Input(text="a cat", instruction="Find the animal.")])
    np.testing.assert_allclose(other.embed(["a cat"]), own, atol=1e-6)
    assert np.abs(own - tiny_embedder.embed(["a cat"])).max() > 1e-3


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("", "nothing to embed"),
        (Input(), "nothing to embed"),
        ({"txt": "a"}, "not txt"),
        (7, "not int"),
        ({"image": np.zeros((4, 4))}, "uint8"),
        ("see <|image_pad|>", "read as an image"),
        ("cat " * 9000, "the limit is 8192"),
    ],
)
def test_inputs_that_can_not_be_taken(tiny_embedder: Qwen3VLEmbedder, item, words: str):
    """An unusable input is refused with its number among the inputs, and no row is given for any of them."""
    with pytest.raises(InputError, match=words) as caught:
        tiny_embedder.embed(["a cat", item])
    assert "input 2 of 2" in str(caught.value)


@pytest.mark.parametrize("inputs", ["a cat", Input(text="a cat"), {"text": "a cat"}])
def test_a_single_input_is_not_a_list(tiny_embedder: Qwen3VLEmbedder, inputs):
    """One input that is not in a list is refused, rather than taken letter by letter."""
    with pytest.raises(InputError, match="list"):
        tiny_embedder.embed(inputs)


def test_a_picture_that_is_too_long(tiny_embedder: Qwen3VLEmbedder):
    """An aspect ratio over 200 keeps its reason, by which skipped files are counted."""
    with pytest.raises(PictureError) as caught:
        tiny_embedder.embed([{"image": np.zeros((1, 300, 3), np.uint8)}])
    assert caught.value.reason == "aspect ratio over 200"


def test_cut_text_is_said(tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder):
    """That a text beside a picture was cut goes to the notice that was given, else it is a warning."""
    item = {"text": "cat " * 9000, "image": _picture(1, (64, 64))}
    lines: list[str] = []
    quiet = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", max_length=100, notify=lines.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quiet.embed([item]).shape == (1, 128)
    assert len(lines) == 1
    loud = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", max_length=100)
    with pytest.warns(UserWarning, match="was cut"):
        loud.embed([item])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([[1, 1, 1, 0], [1, 0, 0, 0]], [2, 0]),
        ([[0, 1, 1, 1], [0, 0, 0, 1]], [3, 3]),
        ([[1, 1, 0, 0], [0, 0, 1, 1]], [1, 3]),
        ([[1, 1, 1, 1], [0, 1, 1, 0]], [3, 2]),
    ],
)
def test_pooling_takes_the_last_token(mask: list[list[int]], expected: list[int]):
    """The last token that is no padding is taken under right, left and mixed padding."""
    hidden = torch.arange(2 * 4 * 3, dtype=torch.float32).view(2, 4, 3)
    pooled = pool_last(hidden, torch.tensor(mask))
    assert torch.equal(pooled, torch.stack([hidden[row, position] for row, position in enumerate(expected)]))


def test_half_precision(half_embedder: Qwen3VLEmbedder, tiny_embedder: Qwen3VLEmbedder):
    """A float16 model gives float32 unit rows near those of float32."""
    inputs = ["a cat", Input(image=_picture(1))]
    rows = half_embedder.embed(inputs)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert ((rows * tiny_embedder.embed(inputs)).sum(axis=1) > 0.999).all()


@pytest.fixture(params=["engine", "reference"])
def half_of(request: pytest.FixtureRequest, tiny_copy: str, monkeypatch: pytest.MonkeyPatch):
    """Give a function that changes the stored tensors and loads them in float16, for either forward."""

    def load(change) -> Qwen3VLEmbedder:
        path = os.path.join(tiny_copy, "model.safetensors")
        tensors = {name: tensor.to(torch.float16).clone() for name, tensor in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)
        if request.param == "reference":
            monkeypatch.setattr(forward_module, "read_architecture", _unknown)
        embedder = Qwen3VLEmbedder(tiny_copy, device="cpu", dtype="float16")
        assert isinstance(embedder.forward, Reference if request.param == "reference" else Engine)
        return embedder

    return load


def _unknown(folder: str) -> None:
    raise UnknownArchitecture(f"{folder}: made unknown for a test")


def test_overflow_is_computed_again_in_float32(half_of):
    """Rows that overflow in float16 are computed once more in float32, and the model stays float16 as it was."""

    def enlarge(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "language_model" in name and name.endswith(("up_proj.weight", "down_proj.weight")):
                tensor *= 300

    embedder = half_of(enlarge)
    ready = [embedder._encode_input(item, 0, 1) for item in ("a cat", {"image": _picture(1)})]
    assert not torch.isfinite(embedder.forward(ready)).all()
    rows = embedder.embed(["a cat", "a dog", {"image": _picture(1)}])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert len({row.tobytes() for row in rows}) == 3
    assert not torch.isfinite(embedder.forward(ready)).all()


def test_rows_that_are_never_finite(half_of, tiny_embedder: Qwen3VLEmbedder):
    """Rows that are not finite in float32 either raise an error with the numbers of exactly these inputs."""
    encode = tiny_embedder._prompt_encoder.encode
    own = set(encode("€").ids.tolist()) - set(encode("a cat a dog").ids.tolist())

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.language_model.embed_tokens.weight"][sorted(own)] = float("nan")

    with pytest.raises(NonFiniteError) as caught:
        half_of(spoil).embed(["a cat", "€", "a dog", "a €"], batch_size=3)
    assert caught.value.rows == [1, 3]


def test_a_folder_that_is_no_checkpoint(tmp_path):
    """An empty folder is refused by its name."""
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        Qwen3VLEmbedder(str(tmp_path))


def test_importing_does_not_load_transformers():
    """The embedder's module can be imported without transformers, which takes seconds to load."""
    code = "import sys, imgsearch.model.embedder; print('transformers' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# ---- decoding at reduced scale -------------------------------------------------------------------------------

DRAFT = PixelBudget(4096, 57_600)
NO_DRAFT = PixelBudget(4096, 10**9)
LARGE = (2400, 1800)


def _jpeg(seed: int) -> bytes:
    """Return a picture of 4.3 megapixels with fine grain, as a camera writes it."""
    grain = np.random.default_rng(seed).normal(0, 12, (LARGE[1], LARGE[0], 1))
    pixels = np.clip(np.asarray(scene(seed, LARGE), np.float32) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def _decoded(data: bytes, budget: PixelBudget) -> RGB:
    """Return the pixels as the decoder gives them under a budget."""
    (picture,) = formats.load_pictures(io.BytesIO(data), "photo.jpg", budget)
    assert (picture.width, picture.height) == LARGE
    return picture.pixels


@pytest.mark.slow("decodes and embeds pictures of 4 megapixels")
def test_a_draft_decode_does_not_move_the_embedding(tiny_embedder: Qwen3VLEmbedder) -> None:
    """At reduced scale a JPEG's vector stays within cosine 0.995, and nearer to itself than to any other."""
    files = [_jpeg(seed) for seed in range(6)]
    full = [_decoded(data, NO_DRAFT) for data in files]
    draft = [_decoded(data, DRAFT) for data in files]
    assert all(small.size * 4 <= whole.size for small, whole in zip(draft, full, strict=True))
    whole = tiny_embedder.embed([Input(image=pixels) for pixels in full])
    reduced = tiny_embedder.embed([Input(image=pixels) for pixels in draft])
    cosines = reduced @ whole.T
    assert np.diag(cosines).min() >= 0.995
    assert (cosines.argmax(axis=1) == np.arange(len(files))).all()


def test_a_spec_says_all_that_a_model_is_made_from(tiny_checkpoint: str):
    """An embedder by a spec gives the vectors of one by the same settings; its instruction is taken as it stands."""
    budget = PixelBudget(4_096, 9_216)
    spec = ModelSpec(tiny_checkpoint, "", 24, budget, "Find it", "cpu", "float32")
    by_spec = Qwen3VLEmbedder.from_spec(spec)
    by_settings = Qwen3VLEmbedder(
        Checkpoint(tiny_checkpoint),
        device="cpu",
        dtype="float32",
        dim=24,
        budget=budget,
        instruction="Find it",
        verbatim=True,
    )
    items = ["a cat", Input(image=np.full((200, 120, 3), 90, np.uint8))]
    assert np.array_equal(by_spec.embed(items), by_settings.embed(items))
    assert by_spec.embed(items).shape == (2, 24)
    shared = Qwen3VLEmbedder.from_spec(spec, forward=by_spec.forward)
    assert shared.forward is by_spec.forward
