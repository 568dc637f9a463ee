"""What came of comparing a device with the CPU, by version of torch, device and dtype: kept in the user's cache."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

from imgsearch.fs import atomic_write
from imgsearch.types import Runtime

LEAST_COSINE = {"float32": 0.9995, "bfloat16": 0.98, "float16": 0.98, "int8": 0.95}
"""With the embeddings of the CPU in float32, for each dtype; a device that computes something else is far below."""
_MOST_KEPT = 64


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """The result of one comparison: the least ``cosine``, 0 if an embedding was not finite, of so many ``inputs``."""

    device: str
    dtype: str
    torch: str
    cosine: float
    inputs: int

    @property
    def agrees(self) -> bool:
        """Whether the device computes what the CPU does."""
        return self.cosine >= LEAST_COSINE.get(self.dtype, 0.0)


def known_check(device: str, dtype: str) -> DeviceCheck | None:
    """Return what the last comparison gave for a device with this version of torch; None if there was none."""
    checks = _read()
    found = (
        checks.get(_key(device, dtype)) if checks else None
    )  # mostly there is none: the card need not be asked
    try:
        check = DeviceCheck(**found) if isinstance(found, dict) else None
        return check if check and math.isfinite(check.cosine) else None
    except TypeError:
        return None  # it is damaged


def forget(runtime: Runtime) -> None:
    """Forget what is known of a device and dtype, so that it can be tried again."""
    checks = _read()
    if checks.pop(_key(runtime.device, runtime.dtype), None) is not None:
        _write(checks)


def remember(check: DeviceCheck) -> None:
    """Keep a result; where that is not possible, it is not kept."""
    checks, key = _read(), _key(check.device, check.dtype)
    checks.pop(key, None)
    _write({**checks, key: asdict(check)})


def torch_version() -> str:
    """Return the version of torch, with its build."""
    import torch

    return str(torch.__version__)


def _key(device: str, dtype: str) -> str:
    """Name what a result holds for: another card, dtype or version of torch may do better, or worse."""
    import torch

    kind, name = device.partition(":")[0], platform.machine()
    if kind == "cuda":
        with contextlib.suppress(RuntimeError, AssertionError):  # a build without CUDA asserts it
            name = torch.cuda.get_device_name(device)
    return f"{torch.__version__} {kind} {name} {dtype}"


def _path() -> str:
    import platformdirs

    return os.path.join(platformdirs.user_cache_dir("imgsearch"), "devices.json")


def _read() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError), open(_path(), "rb") as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def _write(checks: dict[str, Any]) -> None:
    path = _path()
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with atomic_write(path, beside=f"{path}.{os.getpid()}", durable=False) as file:
            file.write(json.dumps(dict(list(checks.items())[-_MOST_KEPT:])).encode())
