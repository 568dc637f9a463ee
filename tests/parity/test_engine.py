"""Tests of the engine: the same vectors as transformers' own forward, for every size, in less time and memory."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as engine_module
from imgsearch.model.engine import layers, rotary, vision
from imgsearch.model.engine.config import read_architecture
from imgsearch.model.engine.forward import Engine
from imgsearch.model.locate import DEMO_FOLDER
from imgsearch.model.prompt import ModelInput
from imgsearch.model.reference import Qwen3VLConfig, Qwen3VLForEmbedding, Reference
from imgsearch.types import Input, Patches, PixelBudget, Runtime
from random_checkpoint import PUBLISHED_2B, TINY, write_random_checkpoint
from support.device import DEVICE


def _with(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the tiny config with other sizes."""
    return TINY | {
        "text_config": TINY["text_config"] | (text or {}),
        "vision_config": TINY["vision_config"] | (vision or {}),
    }


CONFIGS = {
    "tiny": TINY,
    "no deepstack": _with(vision={"deepstack_visual_indexes": []}),
    "one key head": _with({"num_key_value_heads": 1}),
    "as many key heads": _with({"num_key_value_heads": 4}),
    "more deepstack than layers": _with({"num_hidden_layers": 2}),
    "one layer": _with({"num_hidden_layers": 1}),
    "odd sizes": _with(
        {
            "hidden_size": 72,
            "intermediate_size": 100,
            "head_dim": 20,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "num_hidden_layers": 3,
            "rope_theta": 10_000,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 3, 3], "rope_type": "default"},
        },
        {
            "hidden_size": 60,
            "num_heads": 3,
            "intermediate_size": 70,
            "depth": 5,
            "deepstack_visual_indexes": [1, 4],
            "num_position_embeddings": 49,
            "out_hidden_size": 72,
            "patch_size": 8,
        },
    ),
    "three by three patches a token": _with(vision={"spatial_merge_size": 3}),
    "rotary settings under their newer name": _with(
        {
            "rope_scaling": None,
            "rope_theta": None,
            "rope_parameters": {
                "mrope_section": [6, 5, 5],
                "rope_type": "default",
                "rope_theta": 1_000_000,
            },
        }
    ),
}


class Sides:
    """The engine and the reference on one checkpoint, in float32 if nothing else is said."""

    def __init__(self, folder: str, dtype: str = "float32", max_pixels: int = 57_600) -> None:
        runtime = Runtime(DEVICE, dtype, "for a test")
        self.folder = folder
        self.embedder = Qwen3VLEmbedder(
            folder, device=DEVICE, dtype=dtype, budget=PixelBudget(256, max_pixels)
        )
        assert isinstance(self.embedder.forward, Engine)
        self.engine = self.embedder.forward
        self.reference = Reference(Checkpoint(folder), runtime, "left")

    def ready(self, items: list[Any]) -> list[ModelInput]:
        """Tokenise inputs and cut their pictures."""
        return [self.embedder._encode_input(item, 0, 1) for item in items]

    def assert_alike(self, items: list[Any]) -> None:
        """Assert the parity that is promised in float32."""
        ready = self.ready(items)
        ours, theirs = self.engine(ready), self.reference(ready)
        assert ours.shape == theirs.shape == (len(items), self.engine.hidden)
        assert ours.dtype == torch.float32
        assert torch.cosine_similarity(ours, theirs).min() >= 0.99999
        assert (ours - theirs).abs().max() <= 2e-4 * theirs.abs().max()


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: str) -> Sides:
    """Give both sides of the tiny checkpoint."""
    return Sides(tiny_checkpoint)


MIXED = [
    "a cat",
    {"image": _picture(200, 300, 1)},
    Input(text="ein Café 猫\n\n two lines " * 4),
    {"image": _picture(300, 200, 2), "text": "the same, at night"},
    {"image": _picture(202, 303, 3)},
    {"image": _picture(300, 200, 4), "text": "a longer text beside a picture of the same size"},
    {"text": "a dog", "instruction": "Find the animal."},
    {"image": _picture(200, 300, 5), "instruction": ""},
    "\nbegins with a line break",
]


@pytest.mark.parametrize("name", CONFIGS)
def test_parity_of_every_kind_of_architecture(tmp_path: Path, name: str):
    """Whatever the sizes and the deepstack, a mixed batch gets the reference's vectors, first and again."""
    write_random_checkpoint(str(tmp_path), copy.deepcopy(CONFIGS[name]))
    sides = Sides(str(tmp_path))
    sides.assert_alike(MIXED)
    sides.assert_alike(MIXED[::-1])


def test_parity_of_the_demo_checkpoint():
    """The checkpoint that ships, stored in float16 and trained, gets the reference's vectors in float32."""
    Sides(DEMO_FOLDER).assert_alike(MIXED)


def test_parity_on_every_grid(tiny: Sides):
    """Every picture size that the budget allows gives the reference's vector."""
    factor = 32
    sizes = [
        (rows * factor, columns * factor)
        for rows in range(1, 57)
        for columns in range(1, 57)
        if rows * columns * factor**2 <= 57_600
    ]
    assert len(sizes) > 200
    items = [{"image": _picture(high, wide, high + wide)} for high, wide in sizes]
    for start in range(0, len(items), 24):
        tiny.assert_alike(items[start : start + 24])


def test_parity_on_grids_of_larger_budgets(tiny_checkpoint: str):
    """A draw of the picture sizes up to 262,144 pixels, the longest and the squarest among them, is right as well."""
    large = Sides(tiny_checkpoint, max_pixels=262_144)
    sizes = [(rows, columns) for rows in range(1, 201) for columns in range(1, 201) if rows * columns <= 256]
    drawn = np.random.default_rng(0).choice(sizes, 24, replace=False).tolist()
    for high, wide in [*drawn, (16, 16), (1, 200), (200, 1), (8, 32), (2, 128)]:
        large.assert_alike([{"image": _picture(32 * high, 32 * wide, high + wide)}])


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40).filter(
    lambda text: text.strip() != "" and "<|" not in text
)
PICTURE = st.builds(_picture, st.integers(8, 400), st.integers(8, 400), st.integers(0, 9))
INSTRUCTION = st.sampled_from(["Represent the user's input.", "Find it", "", "Retrieve images, please!"])
ITEM = st.one_of(
    st.builds(Input, text=TEXT, instruction=INSTRUCTION),
    st.builds(Input, image=PICTURE, instruction=INSTRUCTION),
    st.builds(Input, text=TEXT, image=PICTURE, instruction=INSTRUCTION),
)


@settings(max_examples=12)
@given(items=st.lists(ITEM, min_size=1, max_size=6))
def test_parity_of_any_batch(tiny: Sides, items: list[Input]):
    """Any mixture of texts, pictures, both, sizes and instructions gets the reference's vectors."""
    tiny.assert_alike(items)


@dataclasses.dataclass
class Rounded:
    """A checkpoint, inputs, their unit vectors in float32, and the distances from these in transformers' bfloat16."""

    folder: str
    ready: list[ModelInput]
    right: torch.Tensor
    theirs: torch.Tensor


@pytest.fixture(scope="module", params=["tiny", "odd sizes", "demo"])
def rounded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rounded:
    """Give what transformers computes, once for all units: without them it takes most of the time."""
    folder = DEMO_FOLDER
    if request.param != "demo":
        folder = str(tmp_path_factory.mktemp("rounded"))
        write_random_checkpoint(folder, copy.deepcopy(CONFIGS[request.param]))
    exact = Sides(folder)
    ready = exact.ready(MIXED)
    rough = Reference(Checkpoint(folder), Runtime(DEVICE, "bfloat16", "for a test"), "left")
    right, theirs = (torch.nn.functional.normalize(side(ready)) for side in (exact.reference, rough))
    return Rounded(folder, ready, right, (theirs - right).norm(dim=1))


@pytest.mark.parametrize("unit", ["AMX", "AVX512-BF16", None])
def test_bfloat16_is_as_near_as_the_reference(
    rounded: Rounded, monkeypatch: pytest.MonkeyPatch, unit: str | None
):
    """In bfloat16 the distance to float32 is at most 1.2 times that of transformers' own bfloat16."""
    monkeypatch.setattr(vision, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(vision, "_SCORES", 100_000)
    engine = Engine(Checkpoint(rounded.folder), Runtime(DEVICE, "bfloat16", "for a test"))
    ours = (torch.nn.functional.normalize(engine(rounded.ready)) - rounded.right).norm(dim=1)
    theirs = rounded.theirs
    assert ours.pow(2).mean().sqrt() <= 1.2 * theirs.pow(2).mean().sqrt()
    assert (1 - ours.pow(2) / 2).min() >= 0.999 or ours.max() <= 1.2 * theirs.max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_same_prompt_gets_the_same_bits(tiny_checkpoint: str, dtype: str):
    """A fresh engine and one with the prefix in its cache agree to the bit, one with packed weights nearly."""
    sides = Sides(tiny_checkpoint, dtype)
    for item in ("a cat", {"image": _picture(120, 200)}):
        ready = sides.ready([item])
        fresh = Engine(Checkpoint(tiny_checkpoint), sides.embedder.runtime)
        first = fresh(ready)
        assert torch.equal(fresh(ready), first)
        fresh.prepack()
        torch.testing.assert_close(fresh(ready), first, rtol=1e-5, atol=1e-5)


def test_plain_products_give_the_same(tiny: Sides, monkeypatch: pytest.MonkeyPatch):
    """Where oneDNN's products are missing, ordinary ones give the same vectors."""
    monkeypatch.setattr(layers, "onednn_fits", lambda dtype: False)
    plain = Engine(Checkpoint(tiny.folder), tiny.embedder.runtime)
    plain.prepack()
    ready = tiny.ready(MIXED)
    torch.testing.assert_close(plain(ready), tiny.engine(ready), rtol=1e-4, atol=1e-4)


def test_onednn_is_refused_when_it_is_not_right(monkeypatch: pytest.MonkeyPatch):
    """oneDNN's products are not used if they are missing, or compute something else than is expected."""
    assert not layers.onednn_fits.__wrapped__(torch.float16)

    class Wrong:
        """Stands for a torch whose private operators changed their meaning."""

        def __getattr__(self, name: str) -> Any:
            if name == "_reorder_linear_weight":
                return lambda weight, batch: weight
            operator = getattr(torch.nn.functional, "linear")  # noqa: B009

            def product(
                x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *rest: Any
            ) -> torch.Tensor:
                return operator(x, weight, bias)

            product.binary = lambda x, other, weight, bias, after: operator(x, weight, bias)  # type: ignore[attr-defined]
            return product

    monkeypatch.setattr(torch.ops, "mkldnn", Wrong(), raising=False)
    assert not layers.onednn_fits.__wrapped__(torch.float32)
    monkeypatch.setattr(torch.ops, "mkldnn", object(), raising=False)
    assert not layers.onednn_fits.__wrapped__(torch.float32)


@pytest.mark.parametrize(
    "failure", [RuntimeError("could not create a primitive"), NotImplementedError("no such CPU dispatch")]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_onednn_that_fails_when_it_runs(
    tiny: Sides, monkeypatch: pytest.MonkeyPatch, dtype: str, failure: Exception
):
    """Where oneDNN says that it is there and then fails, as below an emulated processor, plain products take over."""

    def fail(*_: Any) -> torch.Tensor:
        raise failure

    operators = SimpleNamespace(_reorder_linear_weight=fail, _linear_pointwise=fail)
    monkeypatch.setattr(torch.ops, "mkldnn", operators, raising=False)
    monkeypatch.setattr(layers, "onednn_fits", layers.onednn_fits.__wrapped__)
    plain = Engine(Checkpoint(tiny.folder), Runtime("cpu", dtype, "for a test"))
    plain.prepack()
    near = torch.cosine_similarity(plain(tiny.ready(MIXED)), tiny.reference(tiny.ready(MIXED)))
    assert near.min() >= (0.99999 if dtype == "float32" else 0.99)


def test_prefixes_that_are_too_long_are_computed_each_time(tiny: Sides, monkeypatch: pytest.MonkeyPatch):
    """A long instruction changes nothing but that its keys are not kept."""
    monkeypatch.setattr(engine_module, "MAX_TOKENS", 4)
    tiny.assert_alike(MIXED)


def test_many_instructions(tiny: Sides):
    """However many prefixes there were, few are kept, and each prompt gets its own."""
    items = [{"text": "a cat", "instruction": f"Find number {number}."} for number in range(12)]
    tiny.assert_alike(items)
    tiny.assert_alike(items[::-1])
    assert len(tiny.engine._prefix_cache._entries) <= 4


def test_without_keeping_the_weights(tiny: Sides):
    """An engine that reads its weights anew at each call computes the same, in float32 from any stored dtype."""
    rough = Sides(tiny.folder, "float16")
    ready = tiny.ready(MIXED)
    found = rough.engine.in_float32(ready)
    torch.testing.assert_close(found, tiny.reference(ready), rtol=1e-4, atol=1e-3)


def test_a_text_does_not_read_the_vision_tower(tiny_copy: str):
    """Where only texts are embedded, the numbers of the vision tower are never looked at."""
    path = os.path.join(tiny_copy, "model.safetensors")
    before = Qwen3VLEmbedder(tiny_copy, device="cpu", dtype="float32").embed(["a cat"])
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        for name, entry in json.loads(file.read(length)).items():
            if ".visual." in name:
                start, stop = entry["data_offsets"]
                file.seek(8 + length + start)
                file.write(b"\xff" * (stop - start))
    damaged = Qwen3VLEmbedder(tiny_copy, device="cpu", dtype="float32")
    assert np.array_equal(damaged.embed(["a cat"]), before)
    ready = [damaged._encode_input({"image": _picture(64, 64)}, 0, 1)]
    assert not torch.isfinite(damaged.forward(ready)).all()


def test_moving_pictures_are_refused(tiny: Sides):
    """Patches whose frames differ, or of several moments, are an input error: their frames can't be summed before."""
    ((tokens, (patches,)),) = tiny.ready([{"image": _picture(64, 64)}])
    other = patches.pixel_values.copy()
    other[0, 256] += 1
    for moving in (Patches(other, patches.grid), Patches(patches.pixel_values, (2, 2, patches.grid[2]))):
        with pytest.raises(InputError, match="from a video"):
            tiny.engine([(tokens, (moving,))])


def test_tensors_are_those_of_the_published_model():
    """The names and shapes that follow from a config are those of transformers' module, also at full size."""
    for config in (PUBLISHED_2B, *CONFIGS.values()):
        with torch.device("meta"):
            model = Qwen3VLForEmbedding(Qwen3VLConfig.from_dict(copy.deepcopy(config)))
        wanted = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
        assert _architecture(config).shapes == wanted


def _architecture(config: dict[str, Any], folder: str | None = None):
    """Read a config as it would stand in a folder."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        folder = folder or made
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file)
        return read_architecture(Checkpoint(folder))


@pytest.mark.parametrize(
    "config",
    [
        _with({"hidden_act": "gelu"}),
        _with({"attention_bias": True}),
        _with({"rope_scaling": {"rope_type": "yarn", "mrope_section": [6, 5, 5], "factor": 4.0}}),
        _with({"rope_scaling": None}),
        _with({"sliding_window": 128}),
        _with({"num_key_value_heads": 3}),
        _with({"num_hidden_layers": None}),
        _with(vision={"hidden_act": "gelu"}),
        _with(vision={"deepstack_visual_indexes": [2, 1]}),
        _with(vision={"num_position_embeddings": 145}),
        _with(vision={"out_hidden_size": 64}),
        TINY | {"quantization_config": {"bits": 4}},
        TINY | {"text_config": "none"},
        {"model_type": "qwen3_vl"},
    ],
)
def test_what_the_engine_does_not_know(config: dict[str, Any]):
    """A config that asks for anything the engine does not compute is refused, never computed otherwise."""
    with pytest.raises(CheckpointError):
        _architecture(config)


def test_unknown_architectures_go_to_the_reference(tmp_path: Path):
    """A checkpoint that only transformers knows is embedded by transformers."""
    write_random_checkpoint(str(tmp_path), _with({"attention_bias": True}))
    embedder = Qwen3VLEmbedder(str(tmp_path), device="cpu", dtype="float32")
    assert isinstance(embedder.forward, Reference)
    rows = embedder.embed(MIXED)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_sizes_are_read_from_the_config(tiny_checkpoint: str):
    """What config.json says of the sizes is what the engine computes with."""
    sizes = dataclasses.asdict(read_architecture(Checkpoint(tiny_checkpoint)))
    assert sizes["text"]["sections"] == (6, 5, 5)
    assert sizes["text"]["theta"] == 5_000_000
    assert sizes["vision"]["side"] == 12
    assert sizes["vision"]["deepstack"] == (0, 1, 2)


_WHOLE = """
import sys
import numpy as np
from imgsearch.model.embedder import Qwen3VLEmbedder
rows = Qwen3VLEmbedder(sys.argv[1], device="cpu").embed(["a cat", {"image": np.zeros((64, 96, 3), np.uint8)}])
assert rows.shape[0] == 2
print(*sorted({"transformers", "sentence_transformers", "PIL.ImageFilter"} & set(sys.modules)))
"""


def test_transformers_is_never_imported(tiny_checkpoint: str):
    """Embedding a text and a picture, from the first import on, leaves transformers out."""
    done = subprocess.run(
        [sys.executable, "-c", _WHOLE, tiny_checkpoint], capture_output=True, text=True, check=True
    )
    assert "transformers" not in done.stdout


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_compiler_is_needed(tiny_checkpoint: str, tmp_path: Path, dtype: str):
    """A text and a picture are embedded where no program can be found, least of all a compiler."""
    nowhere = str(tmp_path / "nowhere")
    environment = {**os.environ, "PATH": nowhere, "CC": nowhere, "CXX": nowhere}
    whole = _WHOLE.replace('device="cpu"', f'device="cpu", dtype="{dtype}"')
    done = subprocess.run(
        [sys.executable, "-c", whole, tiny_checkpoint],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_rotary_in_parts_is_rotary_at_once(
    tiny_embedder: Qwen3VLEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few positions are turned at a time, texts of different lengths and pictures get the same vectors."""
    inputs: list[Any] = [{"text": "a " * count} for count in range(1, 9)]
    inputs += [{"image": np.full((64, 96, 3), shade, np.uint8)} for shade in (0, 90, 200)]
    expected = tiny_embedder.embed(inputs, batch_size=len(inputs))
    monkeypatch.setattr(rotary, "_AT_ONCE", 1)
    np.testing.assert_array_equal(tiny_embedder.embed(inputs, batch_size=len(inputs)), expected)
