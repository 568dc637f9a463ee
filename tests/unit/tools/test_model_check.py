"""A device is compared with the CPU; one that computes something else is refused until it agrees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import platformdirs
import pytest
import torch

from imgsearch.errors import NonFiniteError, UsageError
from imgsearch.model import device_check
from imgsearch.model.device_check import DeviceCheck, forget, known_check, remember
from imgsearch.model.runtime import choose
from imgsearch.tools.maintenance import model_check
from imgsearch.tools.maintenance.model_check import check_model, images
from imgsearch.types import Input, ModelOptions, Runtime, Vectors

VERSION = str(torch.__version__)
IN_FLOAT16 = ModelOptions(device="cpu", dtype="float16")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file of results, in a cache of its own."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(tmp_path / "cache"))
    return tmp_path / "cache" / "devices.json"


class Encoder:
    """A model that gives each input a vector of its own, and in float16 what is ``wrong``."""

    dim = 16
    wrong = ""

    def __init__(self, dtype: str) -> None:
        """Compute in a dtype."""
        self.dtype = dtype

    def embed(self, inputs: Sequence[Input], *, batch_size: int = 1) -> Vectors:
        """Return unit rows: right ones, noise, or NaN, the latter as an error for a single input."""
        wrong = self.wrong if self.dtype == "float16" else ""
        if wrong == "nan":
            raise NonFiniteError([0])
        spoilt = wrong == "noise" or (wrong == "batch" and batch_size > 1)
        seeds = [zlib.crc32(repr((item.text, item.image)).encode()) + spoilt for item in inputs]
        rows = np.stack([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> type[Encoder]:
    """Give the model that stands for that of whatever index is asked for."""
    spec = SimpleNamespace(model_spec=lambda folder, options: Runtime(options.device, options.dtype, ""))
    monkeypatch.setattr(Encoder, "wrong", "")
    monkeypatch.setattr(model_check, "load_embedder", lambda asked, *_: Encoder(asked.dtype))
    monkeypatch.setattr(model_check, "checkpoint_for", lambda *_: SimpleNamespace(folder="/model"))
    monkeypatch.setattr(model_check.manifest, "load", lambda folder: (spec, folder))
    return Encoder


def test_a_device_that_computes_the_same_is_remembered_and_taken(model: type[Encoder], cache: Path) -> None:
    """The result says how near it is, with which version of torch, and the device stays as it was."""
    check = check_model("/index", IN_FLOAT16)
    assert check.agrees
    assert (check.device, check.dtype, check.torch, check.inputs) == ("cpu", "float16", VERSION, 8)
    assert known_check("cpu", "float16") == check
    assert choose("cpu", "float16").dtype == "float16"


@pytest.mark.parametrize("wrong", ["noise", "nan", "batch"])
def test_a_device_that_computes_something_else_is_refused_until_it_agrees(
    model: type[Encoder], cache: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Noise, NaN, and what is wrong in batches alone are found; another dtype stays, and a new check may free it."""
    monkeypatch.setattr(model, "wrong", wrong)
    assert not check_model("/index", IN_FLOAT16).agrees
    with pytest.raises(
        UsageError, match=rf"^cpu in float16 gives wrong .* with torch {VERSION[:4]}.*check_model"
    ):
        choose("cpu", "float16")
    assert choose("cpu", "float32").dtype == "float32"
    monkeypatch.setattr(model, "wrong", "")
    assert check_model("/index", IN_FLOAT16).agrees
    assert choose("cpu", "float16").dtype == "float16"


def test_another_version_of_torch_is_not_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known holds for a version of torch, a device and a dtype."""
    remember(DeviceCheck("cpu", "float16", VERSION, 0.1, 8))
    with pytest.raises(UsageError):
        choose("cpu", "float16")
    monkeypatch.setattr(torch, "__version__", "99.1")
    assert choose("cpu", "float16").dtype == "float16"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 1}', b"\xff"])
def test_a_damaged_file_of_results_is_as_none(cache: Path, content: bytes) -> None:
    """Whatever is in the file, it refuses nothing, and the next result is kept."""
    cache.parent.mkdir()
    key = device_check._key("cpu", "float16")
    cache.write_bytes(content.replace(b"x", key.encode()))
    assert known_check("cpu", "float16") is None
    remember(DeviceCheck("cpu", "float16", VERSION, 0.1, 8))
    assert key in json.loads(cache.read_bytes())
    forget(Runtime("cpu", "float16", ""))
    assert known_check("cpu", "float16") is None


def test_the_known_images_are_always_the_same_and_all_different() -> None:
    """Two drawings are equal bit by bit, and no two images have the same mean colour."""
    drawn = images()
    assert all(np.array_equal(one, other) for one, other in zip(drawn, images(), strict=True))
    assert len({tuple(image.mean(axis=(0, 1)).round()) for image in drawn}) == len(drawn)
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in drawn)
