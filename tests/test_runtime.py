"""Tests of the choice of device and dtype."""

from __future__ import annotations

import pytest
import torch

from imgsearch.errors import UsageError
from imgsearch.model.runtime import choose


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Give a function that makes torch say which devices there are."""

    def pretend(cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "dtype"),
    [(1, True, "cuda", "float16"), (0, True, "mps", "float16"), (0, False, "cpu", "float32")],
)
def test_automatic_choice(machine, cuda: int, mps: bool, device: str, dtype: str):
    """CUDA comes before MPS and MPS before the CPU; the first two compute in float16, the CPU in float32."""
    machine(cuda, mps)
    runtime = choose()
    assert (runtime.device, runtime.dtype) == (device, dtype)


def test_reason_on_a_plain_machine(machine):
    """Without an accelerator the reason says so, and says where the dtype comes from."""
    assert choose().reason == "no CUDA or MPS device found; float32 is the CPU's dtype"


def test_overrides_are_taken(machine):
    """What was asked for is used although something else would be chosen, and the reason says that it was asked."""
    machine(cuda=2)
    runtime = choose("cpu", "bfloat16")
    assert (runtime.device, runtime.dtype) == ("cpu", "bfloat16")
    assert runtime.reason == "CPU was asked for; bfloat16 was asked for"
    assert choose("cuda:1").device == "cuda:1"
    assert choose("cuda:1").dtype == "float16"


@pytest.mark.parametrize(("device", "words"), [("cuda", "no CUDA device"), ("mps", "no MPS device")])
def test_missing_device(machine, device: str, words: str):
    """A device that the machine lacks is refused with the list of those that it has."""
    with pytest.raises(UsageError, match=words) as caught:
        choose(device)
    assert "it has: cpu" in str(caught.value)


def test_missing_second_device(machine):
    """A CUDA device beyond the last one is refused with the last one's name."""
    machine(cuda=1)
    with pytest.raises(UsageError, match="cuda:0"):
        choose("cuda:1")


@pytest.mark.parametrize(
    "arguments", [("tpu", "auto"), ("cpu:1", "auto"), ("cuda:x", "auto"), ("auto", "int8")]
)
def test_unknown_names(machine, arguments: tuple[str, str]):
    """A device or dtype that does not exist is refused with the names of those that do."""
    machine(cuda=1)
    with pytest.raises(UsageError, match="choose auto"):
        choose(*arguments)
