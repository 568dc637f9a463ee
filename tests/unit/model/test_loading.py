"""Tests of loading weights: exactness, refusals and memory."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine import weights
from imgsearch.model.engine.forward import Engine
from imgsearch.model.reference import Qwen3VLForEmbedding, cast_parameters, load_model
from imgsearch.types import Runtime
from random_checkpoint import write_random_checkpoint


def _cpu(dtype: str) -> Runtime:
    return Runtime("cpu", dtype, "for a test")


def _rewrite(folder: str, change) -> None:
    """Pass a checkpoint's tensors through ``change`` and write them back."""
    path = os.path.join(folder, "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors) or tensors, path)


def _configure(folder: str, **changes) -> None:
    """Set keys of config.json."""
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    with open(path, "w") as file:
        json.dump(config | changes, file)


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("target", ["float32", "bfloat16", "float16"])
def test_every_tensor_is_the_stored_one(tmp_path, stored: str, target: str, monkeypatch: pytest.MonkeyPatch):
    """Every parameter equals the stored tensor converted to the target dtype, also when it is read in pieces."""
    monkeypatch.setattr("imgsearch.model.engine.weights.CHUNK", 10_000)
    folder = str(tmp_path)
    write_random_checkpoint(folder, dtype=stored)
    model = load_model(Checkpoint(folder), _cpu(target))
    expected = load_file(os.path.join(folder, "model.safetensors"))
    actual = model.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == getattr(torch, target)
        assert torch.equal(actual[name], tensor.to(getattr(torch, target))), name


def test_rotary_frequencies_stay_exact(tiny_checkpoint: str):
    """What no file stores is float32 in a float16 model, equal to what plain construction computes."""
    model = load_model(Checkpoint(tiny_checkpoint), _cpu("float16"))
    plain = dict(Qwen3VLForEmbedding(model.config).named_buffers())
    buffers = dict(model.named_buffers())
    assert buffers.keys() == plain.keys()
    assert buffers
    for name, buffer in buffers.items():
        assert buffer.dtype == torch.float32
        assert torch.equal(buffer, plain[name]), name


def test_casting_there_and_back_changes_nothing(tiny_checkpoint: str):
    """Parameters that go from half precision to float32 and back are the same bits, and buffers are untouched."""
    model = load_model(Checkpoint(tiny_checkpoint), _cpu("bfloat16"))
    before = {name: tensor.clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    cast_parameters(model, torch.float32)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    cast_parameters(model, torch.bfloat16)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name


def test_shards_hold_the_same_model(tiny_checkpoint: str, tmp_path):
    """A checkpoint in several shards loads to the same parameters as the one in one file."""
    write_random_checkpoint(str(tmp_path), shard_bytes=500_000)
    assert len([name for name in os.listdir(tmp_path) if name.endswith(".safetensors")]) > 2
    one, many = (
        load_model(Checkpoint(tiny_checkpoint), _cpu("float32")),
        load_model(Checkpoint(str(tmp_path)), _cpu("float32")),
    )
    for (name, left), right in zip(one.state_dict().items(), many.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


def test_random_checkpoints_are_told_apart_by_their_seed(tiny_checkpoint: str, tmp_path):
    """A seed gives the same bytes each time, another seed other weights beside the same tokenizer."""
    contents = {}
    for seed in (0, 1):
        write_random_checkpoint(str(tmp_path / str(seed)), seed=seed)
    for name in sorted(os.listdir(tiny_checkpoint)):
        for folder in (tiny_checkpoint, str(tmp_path / "0"), str(tmp_path / "1")):
            with open(os.path.join(folder, name), "rb") as file:
                contents[folder, name] = file.read()
        assert contents[tiny_checkpoint, name] == contents[str(tmp_path / "0"), name]
        same = contents[tiny_checkpoint, name] == contents[str(tmp_path / "1"), name]
        assert same == (name != "model.safetensors")


def test_names_of_a_bare_model(tiny_checkpoint: str, tiny_copy: str):
    """A fine-tune that was saved without the prefix "model." loads to the same parameters."""
    _rewrite(tiny_copy, lambda tensors: {name.removeprefix("model."): t for name, t in tensors.items()})
    one, other = (
        load_model(Checkpoint(tiny_checkpoint), _cpu("float32")),
        load_model(Checkpoint(tiny_copy), _cpu("float32")),
    )
    for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


@pytest.fixture(params=[load_model, Engine], ids=["reference", "engine"])
def load(request: pytest.FixtureRequest):
    """Give each of the two ways to load the checkpoint of a folder, which refuse the same."""
    return lambda folder, runtime: request.param(Checkpoint(folder), runtime)


def test_missing_tensors(load, tiny_copy: str):
    """Weights that lack tensors are refused, with the first few names and how many more there are."""
    _rewrite(tiny_copy, lambda tensors: {n: t for n, t in tensors.items() if ".visual.blocks.1." not in n})
    with pytest.raises(CheckpointError, match=r"are missing model\.visual\.blocks\.1\..* and 9 more"):
        load(tiny_copy, _cpu("float32"))


def test_unexpected_tensors(load, tiny_copy: str):
    """Weights that hold a tensor that the model does not have are refused by its name."""
    _rewrite(tiny_copy, lambda tensors: tensors | {"model.adapter.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"model\.adapter\.weight"):
        load(tiny_copy, _cpu("float32"))


def test_language_model_head(load, tiny_copy: str):
    """A head is not read, tied to the input embeddings or not, and no memory counts for it: no embedding needs it."""
    before = Checkpoint(tiny_copy).info
    _rewrite(tiny_copy, lambda tensors: tensors | {"lm_head.weight": torch.full((640, 128), torch.nan)})
    for tied in (True, False):
        _configure(tiny_copy, tie_word_embeddings=tied)
        load(tiny_copy, _cpu("float32"))
        assert Checkpoint(tiny_copy).info == before


def test_wrong_shape(load, tiny_copy: str):
    """A tensor of another shape than the config says is refused with its name and both shapes."""
    name = "model.language_model.norm.weight"
    _rewrite(tiny_copy, lambda tensors: tensors | {name: torch.zeros(7)})
    with pytest.raises(
        CheckpointError, match=r"norm\.weight has the shape \(7,\), config\.json has \(128,\)"
    ):
        load(tiny_copy, _cpu("float32"))


def test_wrong_dtype(load, tiny_copy: str):
    """Quantised weights are refused by the name of their dtype."""
    name = "model.language_model.norm.weight"
    _rewrite(tiny_copy, lambda tensors: tensors | {name: torch.zeros(128, dtype=torch.int8)})
    with pytest.raises(
        CheckpointError,
        match=r"norm\.weight is quantised \(I8\); use the original model, .*Qwen3-VL-Embedding-2B",
    ):
        load(tiny_copy, _cpu("float32"))


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_file(load, tiny_copy: str, keep: int):
    """A weights file that is cut off anywhere is refused by its name before anything is loaded."""
    path = os.path.join(tiny_copy, "model.safetensors")
    os.truncate(path, keep if keep >= 0 else os.path.getsize(path) - 1)
    with pytest.raises(CheckpointError, match=r"model\.safetensors") as caught:
        load(tiny_copy, _cpu("float32"))
    assert "download" in str(caught.value)


def test_no_pickles(load, tiny_copy: str):
    """A checkpoint that has its weights only as a pickle is refused, and the message says why."""
    path = os.path.join(tiny_copy, "model.safetensors")
    os.rename(path, os.path.join(tiny_copy, "pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"never \.bin"):
        load(tiny_copy, _cpu("float32"))


def test_missing_shard(load, tmp_path):
    """A shard that the index names and the folder lacks is named."""
    folder = str(tmp_path)
    write_random_checkpoint(folder, shard_bytes=500_000)
    lost = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))[1]
    os.remove(os.path.join(folder, lost))
    with pytest.raises(CheckpointError, match=lost):
        load(folder, _cpu("float32"))


@pytest.mark.parametrize("change", [{"model_type": "clip"}, {"text_config": {"hidden_size": "x"}}])
def test_config_of_another_kind(load, tiny_copy: str, change: dict):
    """A config of another family, or one that makes no sense, is refused in one line."""
    _configure(tiny_copy, **change)
    with pytest.raises(CheckpointError) as caught:
        load(tiny_copy, _cpu("float32"))
    assert tiny_copy in str(caught.value)
    assert "\n" not in str(caught.value)


_MEASURE = """
import resource, sys
import torch
if sys.argv[3] == "reference":
    from imgsearch.model.reference import load_model
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine.forward import Engine
from imgsearch.types import Runtime

unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
runtime = Runtime("cpu", sys.argv[2], "for a test")
if sys.argv[3] == "reference":
    model = load_model(Checkpoint(sys.argv[1]), runtime)
else:
    engine = Engine(Checkpoint(sys.argv[1]), runtime)
    engine.load_vision()
    engine.prepack()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
weights = int(sys.argv[4]) * getattr(torch, sys.argv[2]).itemsize
print((after - before) / weights, weights)
"""


@pytest.fixture(scope="module")
def medium_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a bfloat16 checkpoint of about 200 MB."""
    from random_checkpoint import TINY

    folder = str(tmp_path_factory.mktemp("model") / "medium")
    text = TINY["text_config"] | {"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 30_000}
    vision = TINY["vision_config"] | {"out_hidden_size": 1024, "hidden_size": 256}
    write_random_checkpoint(folder, TINY | {"text_config": text, "vision_config": vision}, dtype="bfloat16")
    return folder


# The checkpoint's own dtype, and one that it is converted to; each is a process that imports everything.
@pytest.mark.parametrize("way", ["reference", "engine"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_while_loading(medium_checkpoint: str, dtype: str, way: str):
    """Loading raises the peak of resident memory by at most 1.2 times the weights' size in the target dtype."""
    count = str(Checkpoint(medium_checkpoint).info.parameters)
    command = [sys.executable, "-c", _MEASURE, medium_checkpoint, dtype, way, count]
    ratio, weights = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(weights) > 150_000_000
    assert float(ratio) <= 1.2


def test_a_drive_that_fails_while_weights_are_read_is_said() -> None:
    """A read that fails is one line with the file and the system's words, without number and path."""

    class Failing(io.BytesIO):
        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, "Input/output error", "/somewhere")

    with pytest.raises(CheckpointError, match=r"^/w can't be read \(Input/output error\); "):
        weights._fill(Failing(), memoryview(bytearray(8)), "/w")
