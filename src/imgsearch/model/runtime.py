"""Chooses the device and the dtype that the model computes in, each with its reason."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any

from imgsearch.errors import UsageError
from imgsearch.machine import cores
from imgsearch.model.device_check import known_check
from imgsearch.text import Call, Option
from imgsearch.types import DTYPES, Runtime

DEVICES = ("cuda", "mps", "cpu")
NATURAL_DTYPE = {"cuda": "float16", "mps": "float16", "cpu": "float32"}
LABEL = {"cuda": "CUDA", "mps": "MPS", "cpu": "CPU"}


def choose(device: str = "auto", dtype: str = "auto", *, check: bool = True) -> Runtime:
    """Return where to compute: CUDA, else MPS, else the CPU; float16 on the first two.

    On a CPU it is bfloat16 where the processor multiplies it in hardware (AMX, AVX512-BF16), else float32.

    ``device`` is "auto", "cuda", "cuda:N", "mps" or "cpu"; ``dtype`` is "auto", "float32", "bfloat16", "float16"
    or, on a CPU, "int8": products of 8-bit numbers, everything else as without it. What is not "auto" is taken as
    it is. Raises UsageError for a name that does not exist, for a device that this machine lacks, for int8 where
    it can't be computed, and, unless ``check`` is False, for what was found to compute something else than the CPU.
    """
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"unknown dtype '{dtype}'; choose auto, {', '.join(DTYPES)}")
    found = _found()
    if device == "auto":
        kind = found[0]
        chosen, why = kind, "no CUDA or MPS device found" if kind == "cpu" else f"{LABEL[kind]} device found"
    else:
        chosen, kind = device, _check(device, found)
        why = f"{LABEL[kind]} was requested"
    if dtype == "auto":
        dtype, reason = cpu_dtype() if kind == "cpu" else (NATURAL_DTYPE[kind], "")
        why += (
            f"; {dtype}: {reason}"
            if dtype != NATURAL_DTYPE[kind]
            else f"; {dtype} is the {LABEL[kind]}'s dtype"
        )
    else:
        why += f"; {dtype} was requested"
    if dtype == "int8":
        why += _check_int8(kind)
    if check:
        _refuse_what_failed(chosen, dtype)
    return Runtime(device=chosen, dtype=dtype, reason=why)


def _refuse_what_failed(device: str, dtype: str) -> None:
    """Raise UsageError for a device that gave wrong embeddings when it was last compared with the CPU."""
    found = known_check(device, dtype)
    if found is None or found.agrees:
        return
    other = Option("dtype", "float32") if device == "cpu" else Option("device", "cpu")
    raise UsageError(
        f"{device} in {dtype} gives wrong embeddings with torch {found.torch} "
        f"(cosine {found.cosine:.3f} with those of the CPU): add ",
        other,
        ", or install another version of torch; to compare again: ",
        Call("check_model"),
    )


def activations(dtype: str) -> str:
    """Return the dtype that a pass computes in between its products: in int8 what a CPU would have without it."""
    return cpu_dtype()[0] if dtype == "int8" else dtype


def cpu_dtype() -> tuple[str, str]:
    """Return the dtype that a CPU multiplies the quickest, "bfloat16" where it does so in hardware, and why."""
    if unit := bfloat16_unit():
        return "bfloat16", f"the CPU has {unit}"
    return NATURAL_DTYPE["cpu"], "the CPU has no instructions for bfloat16"


@functools.cache
def bfloat16_unit() -> str | None:
    """Name what the CPU multiplies bfloat16 with, "AMX" or "AVX512-BF16"; None if it has neither.

    Two witnesses must agree: the flags that the system shows, and the processor itself as torch asks it. In a
    container or a virtual machine one of them may speak of hardware that is not there. ``ONEDNN_MAX_CPU_ISA``, by
    which oneDNN is kept from newer instructions, is heeded.
    """
    import torch

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if limit not in ("", "DEFAULT", "ALL") and not any(name in limit for name in ("BF16", "FP16", "AMX")):
        return None
    flags = _cpu_flags()
    if {"amx_tile", "amx_bf16"} <= flags and _torch_says(torch.cpu, "_is_amx_tile_supported", "_init_amx"):
        return "AMX"
    if "avx512_bf16" in flags and _torch_says(torch.cpu, "_is_avx512_bf16_supported"):
        return "AVX512-BF16"
    return None


def use_cores() -> None:
    """Let torch compute on as many cores as this process may use, but on no more than its own default.

    By itself it takes the machine's, whatever quota there is; a user's own OMP_NUM_THREADS stands. It holds for this
    thread and for those that begin to compute later.
    """
    import torch

    most, wished = _threads_of_torch(), cores.usable()
    count = wished.count if cores.is_asked_for() else min(most, wished.count)
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


@functools.cache
def _threads_of_torch() -> int:
    """Return torch's default number of threads; call it before that is set."""
    import torch

    return torch.get_num_threads()


def numerics() -> list[str]:
    """Name what the bits of a result on the CPU may depend on: the build of torch, the processor, the threads."""
    import torch

    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
    limits = [f"{name}={os.environ.get(name)}" for name in names]
    return [
        *platform.uname(),
        torch.__config__.show(),
        *sorted(_cpu_flags()),
        str(torch.get_num_threads()),
        *limits,
    ]


def _cpu_flags() -> frozenset[str]:
    """Return the features that Linux names for the first processor; none on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return next(
                (frozenset(value.split()) for key, _, value in lines if key.strip() == "flags"), frozenset()
            )
    except OSError:
        return frozenset()


def _torch_says(module: Any, *questions: str) -> bool:
    """Ask torch's own detection, which has no public name; a version without it says no."""
    try:
        return all(getattr(module, question)() for question in questions)
    except (AttributeError, RuntimeError):
        return False


def _found() -> list[str]:
    """List the kinds of device that this machine has, best first; the CPU is always the last."""
    import torch

    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found


def _check_int8(kind: str) -> str:
    """Return what there is to say of int8 on this machine; UsageError where it can't be had."""
    import torch

    from imgsearch.model.engine.layers import int8_fits  # on use: it loads torch

    if kind != "cpu":
        raise UsageError(
            f"int8 works on CPUs only, not on {LABEL[kind]}: omit ",
            Option("dtype"),
            ", or add ",
            Option("device", "cpu"),
        )
    pays, reason = int8_pays()
    if not pays:
        raise UsageError(f"int8 is of no use on this processor ({reason}): omit ", Option("dtype"))
    if not int8_fits(getattr(torch, activations("int8"))):
        raise UsageError("int8 gives wrong results with this build of torch: omit ", Option("dtype"))
    return f": {reason}"


def int8_pays() -> tuple[bool, str]:
    """Return whether int8 was measured to be faster than the CPU's own dtype on processors of this kind, and why.

    With AVX512-VNNI a pass takes 0.4 of float32 and 0.65 of AVX512-BF16. On a processor with AMX it takes 1.2 of
    bfloat16: products are no longer what takes the time, and int8 adds to the rest. Without AVX512-VNNI oneDNN's sums
    overflow, or nobody has measured it.
    """
    import torch

    if bfloat16_unit() == "AMX":
        return False, "it has AMX, with which bfloat16 is faster"
    if "avx512_vnni" in _cpu_flags() or _torch_says(torch.cpu, "_is_vnni_supported"):
        return True, "the CPU has AVX512-VNNI"
    return False, "it has no AVX512-VNNI"


def _check(device: str, found: list[str]) -> str:
    """Return the kind of the device that was asked for, or raise UsageError if there is none such."""
    kind, colon, number = device.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"unknown device '{device}'; choose auto, cuda, cuda:N, mps or cpu")
    if kind not in found:
        raise UsageError(
            f"this machine has no {LABEL[kind]} device that torch can use; it has: {', '.join(found)}"
        )
    if number:
        import torch

        count = torch.cuda.device_count()
        if int(number) >= count:
            raise UsageError(f"there is no device '{device}'; the last one is cuda:{count - 1}")
    return kind
