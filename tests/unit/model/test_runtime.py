"""Tests of the choice of device and dtype."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from imgsearch.errors import UsageError
from imgsearch.model import runtime
from imgsearch.model.engine import layers
from imgsearch.model.runtime import bfloat16_unit as UNIT
from imgsearch.model.runtime import choose
from imgsearch.tools.training.options import choose_precision


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Give a function that makes torch say which devices there are."""

    def pretend(cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    monkeypatch.setattr(runtime, "bfloat16_unit", lambda: None)
    return pretend


AMX, AVX = {"amx_tile", "amx_bf16"}, {"avx512_bf16"}


@pytest.mark.parametrize(
    ("flags", "torch_says", "unit"),
    [
        (AMX | AVX, {"_is_amx_tile_supported", "_init_amx", "_is_avx512_bf16_supported"}, "AMX"),
        (AMX | AVX, {"_is_avx512_bf16_supported"}, "AVX512-BF16"),
        (AMX | AVX, {"_is_amx_tile_supported", "_is_avx512_bf16_supported"}, "AVX512-BF16"),
        (AVX, {"_is_amx_tile_supported", "_init_amx", "_is_avx512_bf16_supported"}, "AVX512-BF16"),
        (AMX | AVX, set(), None),
        (set(), {"_is_amx_tile_supported", "_init_amx", "_is_avx512_bf16_supported"}, None),
    ],
)
def test_bfloat16_needs_hardware_that_both_confirm(
    machine, monkeypatch: pytest.MonkeyPatch, flags: set[str], torch_says: set[str], unit: str | None
):
    """bfloat16 is the CPU's choice where system and processor agree on its hardware; the reason says so."""
    for question in ("_is_amx_tile_supported", "_init_amx", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, question, lambda q=question: q in torch_says, raising=False)
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(runtime, "bfloat16_unit", UNIT.__wrapped__)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    chosen = choose()
    assert chosen.dtype == ("float32" if unit is None else "bfloat16")
    assert chosen.reason.endswith(
        "float32 is the CPU's dtype" if unit is None else f"bfloat16: the CPU has {unit}"
    )
    assert choose("cpu", "float32").dtype == "float32"
    assert (
        choose_precision("cpu", "auto")[0] == chosen.dtype == runtime.cpu_dtype()[0]
    )  # training decides alike
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert choose().dtype == choose_precision("cpu", "auto")[0] == "float32"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert choose().dtype == chosen.dtype


def test_torch_without_its_own_detection(machine, monkeypatch: pytest.MonkeyPatch):
    """A torch that can't say what the processor has leaves the CPU at float32."""
    for question in ("_is_amx_tile_supported", "_init_amx", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, question, raising=False)
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: frozenset(AMX | AVX))
    assert UNIT.__wrapped__() is None


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "dtype"),
    [(1, True, "cuda", "float16"), (0, True, "mps", "float16"), (0, False, "cpu", "float32")],
)
def test_automatic_choice(machine, cuda: int, mps: bool, device: str, dtype: str):
    """CUDA comes before MPS and MPS before the CPU; the first two compute in float16, the CPU in float32."""
    machine(cuda, mps)
    chosen = choose()
    assert (chosen.device, chosen.dtype) == (device, dtype)


def test_reason_on_a_plain_machine(machine):
    """Without an accelerator the reason says so, and says where the dtype comes from."""
    assert choose().reason == "no CUDA or MPS device found; float32 is the CPU's dtype"


def test_overrides_are_taken(machine):
    """What was asked for is used although something else would be chosen, and the reason says that it was asked."""
    machine(cuda=2)
    chosen = choose("cpu", "bfloat16")
    assert (chosen.device, chosen.dtype) == ("cpu", "bfloat16")
    assert chosen.reason == "CPU was requested; bfloat16 was requested"
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
    "arguments", [("tpu", "auto"), ("cpu:1", "auto"), ("cuda:x", "auto"), ("auto", "int4")]
)
def test_unknown_names(machine, arguments: tuple[str, str]):
    """A device or dtype that does not exist is refused with the names of those that do."""
    machine(cuda=1)
    with pytest.raises(UsageError, match="choose auto"):
        choose(*arguments)


def test_int8_is_for_cpus(machine):
    """int8 is taken on a CPU only."""
    machine(cuda=1)
    with pytest.raises(UsageError, match=r"int8 works on CPUs only, not on CUDA.*device='cpu'"):
        choose("auto", "int8")


@pytest.mark.parametrize(
    ("flags", "unit", "pays", "words"),
    [
        ({"avx512_vnni"}, None, True, "the CPU has AVX512-VNNI"),
        ({"avx512_vnni", "avx512_bf16"}, "AVX512-BF16", True, "the CPU has AVX512-VNNI"),
        ({"avx512_vnni", "amx_int8"}, "AMX", False, "it has AMX, with which bfloat16 is faster"),
        ({"avx_vnni"}, None, False, "it has no AVX512-VNNI"),
        (set(), None, False, "it has no AVX512-VNNI"),
    ],
)
def test_int8_is_offered_where_it_was_measured_to_be_faster(
    machine, monkeypatch: pytest.MonkeyPatch, flags: set[str], unit: str | None, pays: bool, words: str
):
    """int8 is taken on processors with AVX512-VNNI and without AMX; on others it is refused with the reason."""
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(runtime, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)
    monkeypatch.setattr(layers, "int8_fits", lambda dtype: True)
    assert runtime.int8_pays() == (pays, words)
    if pays:
        chosen = choose("cpu", "int8")
        assert (chosen.device, chosen.dtype) == ("cpu", "int8")
        assert chosen.reason.endswith(f"int8 was requested: {words}")
    else:
        with pytest.raises(UsageError, match=rf"int8 is of no use on this processor \({words}\): omit dtype"):
            choose("cpu", "int8")


@pytest.mark.parametrize("module", ["imgsearch", "imgsearch.model.embedder"])
@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, "passive 1000"),
        ({"GOMP_SPINCOUNT": "5"}, "passive 5"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "7"}, "active 7"),
    ],
)
def test_threads_hardly_spin_unless_the_user_says_so(own: dict[str, str], found: str, module: str):
    """OpenMP's threads sleep after a moment of waiting, set before torch is loaded; what the user has set stands."""
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': seen.append(os.environ.get('OMP_WAIT_POLICY'))\n"
        "seen = []; sys.meta_path.insert(0, Watch())\n"
        f"import {module}\n"
        "assert set(seen) <= {os.environ['OMP_WAIT_POLICY']}\n"
        "print(*map(os.environ.get, ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')))"
    )
    left = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=left | own, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == found


@pytest.mark.skipif(not runtime.int8_pays()[0], reason="this processor is not offered int8")
def test_int8_is_there_where_the_processor_has_it():
    """A processor with VNNI passes the trial: the tests of int8 are not skipped there for a fault of the trial."""
    assert layers.int8_fits(torch.float32)
