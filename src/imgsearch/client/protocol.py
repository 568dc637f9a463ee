"""What travels between client and server: inputs and vectors as safetensors, model specs and errors as JSON.

Numbers arrive bit for bit, and nothing that arrives is ever run: no pickles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from imgsearch import __version__, errors
from imgsearch.errors import ImgsearchError, InputError, NonFiniteError, UsageError
from imgsearch.text import Call, Message, Option
from imgsearch.types import Input, ModelSpec, Patches, PixelBudget

VERSION_HEADER = "imgsearch-version"
INPUTS_HEADER = "imgsearch-inputs"
"""How many inputs a message holds: one is a question, for which somebody waits."""
MAX_MESSAGE_BYTES = 2**30
"""The longest message: 34 pictures at the largest budget of ``DETAIL``, 700 at the default one."""

_JSON = "json"  # the tensor that holds what is no number
_UNREADABLE = "the message can't be read"


def version() -> str:
    """Return the program's version; both sides must have the same to embed for each other."""
    return __version__


def model_spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Return the model that a client wants as JSON."""
    return asdict(spec)


def model_spec_from_json(data: Any) -> ModelSpec:
    """Return what ``model_spec_to_json`` was given; UsageError for anything else."""
    try:
        budget = PixelBudget(int(data["budget"]["min_pixels"]), int(data["budget"]["max_pixels"]))
        words = [data[name] for name in ("folder", "fingerprint", "instruction", "device", "dtype")]
        if not all(isinstance(word, str) for word in words):
            raise TypeError
        folder, fingerprint, instruction, device, dtype = words
        return ModelSpec(folder, fingerprint, int(data["dim"]), budget, instruction, device, dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{_UNREADABLE}: it does not name a model") from error


def pack(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """Return JSON and arrays as one message."""
    # Lone surrogates, by which Python keeps bytes that are no UTF-8, are escaped by json.
    text = np.frombuffer(json.dumps(data).encode(), np.uint8)
    return bytes(safetensors.numpy.save({**(arrays or {}), _JSON: text}))


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what ``pack`` was given; UsageError for anything else."""
    try:
        arrays = dict(safetensors.numpy.load(message))
        data = json.loads(arrays.pop(_JSON).tobytes())
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(_UNREADABLE) from error
    if not isinstance(data, dict):
        raise UsageError(_UNREADABLE)
    return data, arrays


def pack_inputs(model_spec: ModelSpec, inputs: Sequence[Input], batch_size: int = 1) -> bytes:
    """Return what is to be embedded, so many at a time, as one message; pictures must be prepared already."""
    arrays: dict[str, NDArray[Any]] = {}
    rows = []
    for number, item in enumerate(inputs):
        row: dict[str, Any] = {"text": item.text, "instruction": item.instruction, "grid": None}
        if item.image is not None and not isinstance(item.image, Patches):
            if item.image.ndim != 3 or item.image.dtype != np.uint8:
                raise InputError("images are sent as patches or as RGB: prepare them first")
            row["rgb"] = True
            arrays[str(number)] = np.ascontiguousarray(item.image)
        elif item.image is not None:
            row["grid"] = item.image.grid
            arrays[str(number)] = np.ascontiguousarray(item.image.pixel_values)
        rows.append(row)
    # "order" is what the field has been called from the first version on.
    return pack({"order": model_spec_to_json(model_spec), "inputs": rows, "batch_size": batch_size}, arrays)


def unpack_inputs(message: bytes) -> tuple[ModelSpec, list[Input], int]:
    """Return what ``pack_inputs`` was given; UsageError for anything else."""
    data, arrays = unpack(message)
    inputs = []
    try:
        batch_size = int(data["batch_size"])
        for number, row in enumerate(data["inputs"]):
            image: Patches | NDArray[np.uint8] | None = None
            if row.get("rgb"):
                image = arrays[str(number)]
                if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                    raise ValueError
            elif row["grid"] is not None:
                time, height, width = (int(side) for side in row["grid"])
                values = arrays[str(number)]
                if values.dtype != np.float32 or values.ndim != 2 or len(values) != time * height * width:
                    raise ValueError
                image = Patches(values, (time, height, width))
            if not all(isinstance(row[name], str | None) for name in ("text", "instruction")):
                raise TypeError
            inputs.append(Input(row["text"], image, row["instruction"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{_UNREADABLE}: its inputs are incomplete") from error
    return model_spec_from_json(data.get("order")), inputs, batch_size


def error_json(error: ImgsearchError, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an error as JSON: its class, its line and that line's parts, and the rows of one that names rows.

    ``fields`` says which options have another name as fields of the request; the line calls them by that.
    """
    parts = error.as_message.parts
    named = [
        replace(part, name=(fields or {}).get(part.name, part.name)) if isinstance(part, Option) else part
        for part in parts
    ]
    data: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": str(Message(*named)),
        "parts": [_part_json(part) for part in parts],
    }
    if isinstance(error, NonFiniteError):
        data["rows"] = error.rows
    return {"error": data}


def error_from(data: Any) -> ImgsearchError | None:
    """Return the error that ``error_json`` described, of its own class; None if this is none."""
    if not isinstance(data, dict) or not isinstance(data.get("error"), dict):
        return None
    found = data["error"]
    kind = getattr(errors, str(found.get("kind")), None)
    if kind is NonFiniteError:
        return NonFiniteError([int(row) for row in found.get("rows", [])])
    if isinstance(kind, type) and issubclass(kind, ImgsearchError):
        error = kind.__new__(kind)
        error.args = (_message(found),)
        return error
    return None


def _part_json(part: Any) -> Any:
    """Return a part of a message, or a value in one, as JSON; what JSON does not have is text."""
    if isinstance(part, PixelBudget):
        part = Call.of(part)
    if isinstance(part, Option):
        return {"option": part.name, "value": _part_json(part.value), "metavar": part.metavar}
    if isinstance(part, Call):
        return {"call": part.function, "arguments": {k: _part_json(v) for k, v in part.arguments.items()}}
    if isinstance(part, list | tuple):
        return [_part_json(item) for item in part]
    return part if isinstance(part, str | int | float | None) else str(part)


def _part(data: Any) -> Any:
    """Return what ``_part_json`` was given."""
    if isinstance(data, list):
        return [_part(item) for item in data]
    if not isinstance(data, dict):
        return data
    if "option" in data:
        return Option(str(data["option"]), _part(data.get("value")), str(data.get("metavar", "")))
    return Call(str(data["call"]), {str(k): _part(v) for k, v in data["arguments"].items()})


def _message(found: Mapping[str, Any]) -> Message:
    """Return an error's message with its options and calls; its bare line if they can't be read."""
    line = str(found.get("message"))
    try:
        parts = [_part(data) for data in found["parts"]]
    except (KeyError, TypeError, AttributeError):
        return Message(line)
    known = all(isinstance(part, str | Option | Call) for part in parts)
    return message if known and (message := Message(*parts)) == line else Message(line)
