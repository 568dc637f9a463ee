"""What a checkpoint's folder says of itself: whether it is whole, its template, settings and fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
from dataclasses import dataclass
from typing import Any

from imgsearch.errors import CheckpointError
from imgsearch.fs import atomic_write
from imgsearch.text import Call, Message, error_line

SOURCE_FILE = ".imgsearch-source.json"  # a download writes it last: repo, revision, commit, checksums
MODULES = "modules.json"  # what makes a folder one of sentence-transformers
TRANSFORMER_SETTINGS = "sentence_bert_config.json"

_FAMILY = "qwen3_vl"
_INDEX = "model.safetensors.index.json"
# In transformers' order: the first of these that has a chat template, or image settings, gives it.
_TEMPLATES = ("processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer_config.json")
_PIXELS = ("processor_config.json", "preprocessor_config.json")
_PIXEL_KEYS = re.compile("do_(convert_rgb|normalize|rescale)|rescale_factor|image_.*|.*patch_size|merge_size")
_HOW_SAVED = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")  # nothing that moves a vector
_SCHEME = 1  # to be raised when the fingerprint's recipe changes, so that remembered ones don't count
_SETTLED_NS = 2_000_000_000
MEND = Message("fetch it anew with '", Call("download"), "'")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself: vector length, config's model_type, tensor bytes, parameter count."""

    dim: int
    model_type: str
    weights_bytes: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of modules.json: its class as a dotted name, and the folder of its settings ("": the root)."""

    type: str
    path: str

    @property
    def kind(self) -> str:
        """The class without its package."""
        return self.type.rsplit(".", 1)[-1]


def missing_files(folder: str, *, leftovers: bool = True) -> list[str]:
    """Name what a folder lacks or has only in part, by ``leftovers`` also *.incomplete; empty: it is complete."""
    lacking = [name for name in ("config.json", "tokenizer.json") if not _looks_whole(folder, name)]
    for name, read in (("chat_template.jinja", chat_template), ("preprocessor_config.json", preprocessor)):
        try:
            read(folder)
        except CheckpointError:
            lacking.append(name)
    try:
        lacking += [name for name in weight_files(folder) if not _looks_whole(folder, name)]
    except CheckpointError:
        lacking.append(_INDEX)
    try:
        lacking += [name for name in _module_files(folder) if not _looks_whole(folder, name)]
    except CheckpointError:
        lacking.append(MODULES)
    if leftovers and os.path.isdir(folder):
        unfinished = sorted(name for name in os.listdir(folder) if name.endswith(".incomplete"))
        lacking += [f"the rest of a download ({name})" for name in unfinished]
    return lacking


def weight_files(folder: str) -> list[str]:
    """Return the names of the safetensors files that make up the weights: one, or the shards of the index.

    They need not exist. Raises CheckpointError if the index is broken or names files outside the folder.
    """
    if os.path.exists(f"{folder}/model.safetensors") or not os.path.exists(f"{folder}/{_INDEX}"):
        return ["model.safetensors"]
    shards = read_object(folder, _INDEX).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) and shards else [None]
    if not all(isinstance(n, str) and n.endswith(".safetensors") and n == os.path.basename(n) for n in names):
        raise CheckpointError(f"{folder}/{_INDEX} names no shards that lie beside it; ", MEND)
    return sorted({str(name) for name in names})


def chat_template(folder: str) -> str:
    """Return the chat template that transformers' processor would use; CheckpointError if there is none."""
    for name in _TEMPLATES:
        if not os.path.exists(os.path.join(folder, name)):
            continue
        if name.endswith(".jinja"):
            found: Any = _bytes(folder, name).decode("utf-8", "replace")
        else:
            found = read_object(folder, name).get("chat_template")
        if isinstance(found, list):  # several by name, as older tokenizers keep them
            found = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}.get("default")
        if found and isinstance(found, str):
            return found
    raise CheckpointError(f"{folder} has no chat template (chat_template.jinja); ", MEND)


def preprocessor(folder: str) -> dict[str, Any]:
    """Return the image processor's settings; CheckpointError if there are none or their file is broken."""
    if os.path.exists(os.path.join(folder, _PIXELS[0])):
        settings = read_object(folder, _PIXELS[0]).get("image_processor")
        if isinstance(settings, dict):
            return settings
    return read_object(folder, _PIXELS[1])


def modules(folder: str) -> list[Module] | None:
    """Return the modules of a sentence-transformers checkpoint in their order, None where there is no modules.json.

    Raises CheckpointError if the file is broken or names a folder outside of the checkpoint.
    """
    if not os.path.exists(os.path.join(folder, MODULES)):
        return None
    try:
        found = [
            Module(entry["type"], entry.get("path", "")) for entry in json.loads(_bytes(folder, MODULES))
        ]
        if not all(isinstance(text, str) for module in found for text in (module.type, module.path)):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{folder}/{MODULES} is broken (no list of modules); ", MEND) from None
    for module in found:
        if os.path.isabs(module.path) or ".." in module.path.split("/"):
            raise CheckpointError(f"{folder}/{MODULES} names {module.path!r}, outside of its folder; ", MEND)
    return found


def generation_prompt(folder: str) -> bool:
    """Say whether a prompt ends by opening the assistant's turn: always, unless the folder's modules leave it out."""
    if not os.path.exists(os.path.join(folder, MODULES)):
        return True
    settings: Any = read_object(folder, TRANSFORMER_SETTINGS)
    for key in ("processing_kwargs", "chat_template", "add_generation_prompt"):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return bool(settings)


def _module_files(folder: str) -> list[str]:
    """Name the settings without which a sentence-transformers checkpoint is not whole; none for a plain one."""
    found = modules(folder)
    names = [os.path.join(module.path, "config.json") for module in found or [] if module.kind == "Pooling"]
    return [] if found is None else [TRANSFORMER_SETTINGS, *names]


def check_family(folder: str) -> dict[str, Any]:
    """Return config.json; CheckpointError if it is broken or not of the Qwen3-VL family."""
    config = read_object(folder, "config.json")
    if (kind := config.get("model_type")) != _FAMILY:
        needed = "imgsearch needs one of the Qwen3-VL embedding family"
        raise CheckpointError(f"{folder} is a {kind!r} checkpoint; {needed}")
    return config


def describe(folder: str) -> CheckpointInfo:
    """Read what a checkpoint says of itself; CheckpointError for another family or broken or missing files."""
    text = check_family(folder).get("text_config")
    dim = text.get("hidden_size") if isinstance(text, dict) else None
    if not isinstance(dim, int) or dim < 1:
        raise CheckpointError(f"{folder}/config.json has no text_config.hidden_size; ", MEND)
    tensors = [t for name in weight_files(folder) for t in _tensors(os.path.join(folder, name))]
    size, parameters = sum(end - start for *_, start, end in tensors), sum(math.prod(t[2]) for t in tensors)
    return CheckpointInfo(dim, _FAMILY, size, parameters)


def fingerprint(folder: str) -> str:
    """Return a sha256 in hex over what decides the vectors; the same however the weights are sharded.

    In it: config.json without records of saving, tokenizer.json, the chat template, the pixel settings, of each
    tensor its name, dtype, shape and 3 × 64 bytes, and a missing generation prompt. Not in it: prompts, dim and
    pixel budget, which an index's identity names itself. Remembered by size, times and inode of each file.
    Raises CheckpointError for missing or broken files.
    """
    import platformdirs

    seen: dict[str, list[int]] = {}
    fixed = ("config.json", "tokenizer.json", _INDEX, MODULES, TRANSFORMER_SETTINGS)
    for name in {*fixed, *_TEMPLATES, *_PIXELS, *weight_files(folder)}:
        with contextlib.suppress(OSError):
            stat = os.stat(os.path.join(folder, name))
            seen[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    key = os.path.realpath(folder)
    cache: dict[str, Any] = {}
    path = os.path.join(platformdirs.user_cache_dir("imgsearch"), "fingerprints.json")
    with contextlib.suppress(CheckpointError):
        cache = read_object(*os.path.split(path))
    entry = cache.pop(key, None)
    if isinstance(entry, dict) and (entry.get("scheme"), entry.get("files")) == (_SCHEME, seen):
        return str(entry.get("fingerprint"))
    result = _compute(folder)
    # What was written a moment ago may change again within one tick of the file system's clock, unseen.
    if all(time.time_ns() - ctime > _SETTLED_NS for _, _, ctime, _ in seen.values()):
        entries = [*cache.items(), (key, {"scheme": _SCHEME, "files": seen, "fingerprint": result})]
        with contextlib.suppress(OSError):  # not remembered: a second more next time
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with atomic_write(path, beside=f"{path}.{os.getpid()}", durable=False) as file:
                file.write(json.dumps(dict(entries[-32:])).encode())
    return result


def tensor_ranges(path: str) -> list[tuple[str, int, int]]:
    """Return name, first byte and end in the file of each tensor; CheckpointError for a file cut short."""
    return [(name, start, end) for name, _, _, start, end in _tensors(path)]


def _compute(folder: str) -> str:
    check_family(folder)
    config = json.loads(
        _bytes(folder, "config.json"),
        object_hook=lambda found: {key: value for key, value in found.items() if key not in _HOW_SAVED},
    )
    pixels = {key: value for key, value in preprocessor(folder).items() if _PIXEL_KEYS.fullmatch(key)}
    decisive = [config, pixels, chat_template(folder)]
    # Only where it differs: a checkpoint keeps its fingerprint when modules that change nothing are added.
    decisive += [] if generation_prompt(folder) else [{"generation_prompt": False}]
    settings = json.dumps(decisive, sort_keys=True).encode()
    samples = []
    for path in (os.path.join(folder, name) for name in weight_files(folder)):
        tensors = _tensors(path)
        with open(path, "rb") as file:
            for name, dtype, shape, start, end in tensors:
                places = (start, (start + end) // 2, max(start, end - 64))
                read = [os.pread(file.fileno(), min(64, end - place), place) for place in places]
                samples.append(b"".join([json.dumps([name, dtype, shape]).encode(), *read]))
    digest = hashlib.sha256()
    for part in [settings, _bytes(folder, "tokenizer.json"), *sorted(samples)]:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _tensors(path: str) -> list[tuple[str, str, list[int], int, int]]:
    """Read name, dtype, shape and byte range in the file of each tensor; CheckpointError for a file cut short."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(begin - 8) if begin <= min(size, 100_000_000) else b"")
        header.pop("__metadata__", None)
        tensors = [
            (n, t["dtype"], t["shape"], *(begin + at for at in t["data_offsets"])) for n, t in header.items()
        ]
        if size != max([begin, *(t[4] for t in tensors)]) or any(not begin <= t[3] <= t[4] for t in tensors):
            raise ValueError("the header does not fit the file")
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error_line(error)}; ", MEND) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is cut short, or no safetensors file; ", MEND) from None
    return tensors


def _looks_whole(folder: str, name: str) -> bool:
    try:
        if name.endswith(".safetensors"):
            return _tensors(os.path.join(folder, name)) is not None
        text = _bytes(folder, name).strip()  # not parsed, which takes 0.1 s for a tokenizer
        return text[:1] == b"{" and text[-1:] == b"}"
    except CheckpointError:
        return False


def source(folder: str) -> dict[str, Any]:
    """Return what a download wrote down: repo, revision, commit; nothing for a folder that came otherwise."""
    with contextlib.suppress(CheckpointError):
        return read_object(folder, SOURCE_FILE)
    return {}


def is_revision(folder: str, revision: str) -> bool:
    """Say whether a folder was downloaded as this revision or commit."""
    record = source(folder)
    return revision in (record.get("revision"), record.get("commit"))


def _bytes(folder: str, name: str) -> bytes:
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise CheckpointError(f"can't read {folder}/{name}: {error_line(error)}; ", MEND) from error


def read_object(folder: str, name: str) -> dict[str, Any]:
    """Read a JSON object of the checkpoint; CheckpointError if the file is missing or holds something else."""
    with contextlib.suppress(ValueError):
        value = json.loads(_bytes(folder, name))
        if isinstance(value, dict):
            return value
    raise CheckpointError(f"{folder}/{name} is broken (no JSON object); ", MEND)
