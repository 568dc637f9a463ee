"""Chooses the device and the dtype that the model computes in, each with its reason."""

from __future__ import annotations

from imgsearch.errors import UsageError
from imgsearch.types import Runtime

DEVICES = ("cuda", "mps", "cpu")
DTYPES = ("float32", "bfloat16", "float16")
NATURAL_DTYPE = {"cuda": "float16", "mps": "float16", "cpu": "float32"}
LABEL = {"cuda": "CUDA", "mps": "MPS", "cpu": "CPU"}


def choose(device: str = "auto", dtype: str = "auto") -> Runtime:
    """Return where to compute: CUDA, else MPS, else the CPU; float16 on the first two, float32 on the CPU.

    ``device`` is "auto", "cuda", "cuda:N", "mps" or "cpu"; ``dtype`` is "auto", "float32", "bfloat16" or
    "float16". What is not "auto" is taken as it is. Raises UsageError for a name that does not exist and for a
    device that this machine lacks.
    """
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"there is no dtype '{dtype}'; choose auto, {', '.join(DTYPES)}")
    found = _found()
    if device == "auto":
        kind = found[0]
        chosen, why = kind, "no CUDA or MPS device found" if kind == "cpu" else f"{LABEL[kind]} device found"
    else:
        chosen, kind = device, _check(device, found)
        why = f"{LABEL[kind]} was asked for"
    if dtype == "auto":
        dtype = NATURAL_DTYPE[kind]
        why += f"; {dtype} is the {LABEL[kind]}'s dtype"
    else:
        why += f"; {dtype} was asked for"
    return Runtime(device=chosen, dtype=dtype, reason=why)


def _found() -> list[str]:
    """List the kinds of device that this machine has, best first; the CPU is always the last."""
    import torch

    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found


def _check(device: str, found: list[str]) -> str:
    """Return the kind of the device that was asked for, or raise UsageError if there is none such."""
    kind, colon, number = device.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"there is no device '{device}'; choose auto, cuda, cuda:N, mps or cpu")
    if kind not in found:
        raise UsageError(
            f"this machine has no {LABEL[kind]} device that torch can use; it has: {', '.join(found)}"
        )
    if number:
        import torch

        count = torch.cuda.device_count()
        if int(number) >= count:
            raise UsageError(f"there is no device '{device}'; the last of this machine is cuda:{count - 1}")
    return kind
