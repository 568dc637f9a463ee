"""A checkpoint's folder, opened once: each of its files is read when it is first asked for, and never again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from imgsearch.errors import CheckpointError
from imgsearch.fs import atomic_write
from imgsearch.model.hf_cache import source_of
from imgsearch.text import Call, Message, Option, error_line

HEAD = "lm_head.weight"  # the language-modelling head: it makes words, and no embedding depends on it
SOURCE_FILE = ".imgsearch-source.json"  # a download writes it last: repo, revision, commit, checksums
MODULES = "modules.json"  # what makes a folder one of sentence-transformers
SCORE = "LogitScore"
"""The module by which sentence-transformers makes a reranker of a model: the logits of two tokens are its score."""
RERANKER = "Qwen/Qwen3-VL-Reranker-2B"
"""The reranker that is used where no other is named."""
TRANSFORMER_SETTINGS = "sentence_bert_config.json"
MEND = Message("download it again with '", Call("download"), "'")
ORIGINAL = Message(
    "use the original model, such as Qwen/Qwen3-VL-Embedding-2B. On a CPU with AVX512-VNNI, ",
    Option("dtype", "int8"),
    " makes that one faster",
)
"""What to take in place of a quantised checkpoint."""

FAMILY = "qwen3_vl"
_CONFIG, _TOKENIZER, _TOKENIZER_SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"
_INDEX = "model.safetensors.index.json"
# In transformers' order: the first of these that has a chat template, or image settings, gives it.
_TEMPLATES = ("processor_config.json", "chat_template.json", "chat_template.jinja", _TOKENIZER_SETTINGS)
_PIXELS = ("processor_config.json", "preprocessor_config.json")
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself has it
_ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL"), 1),
}


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: file, position and length in bytes; its shape, and its dtype in safetensors' words."""

    name: str
    path: str
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint: its folder, its name (hub id, "demo", or the folder as given), and how it was found.

    What it says of the files is what was in them when each was first read: who must know of later changes opens
    the folder again. Everything raises CheckpointError for a file that is missing or broken, naming it.
    """

    folder: str
    name: str = ""
    reason: str = ""
    scheme = 1  # to be raised when the fingerprint's recipe changes, so that cached ones don't count
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What other modules have read out of the checkpoint, so that each reads it once."""
    _opened_ns: int = field(default_factory=time.time_ns, init=False, repr=False, compare=False)
    _states: dict[str, list[int] | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    _contents: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    _objects: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _headers: dict[str, list[TensorInfo]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @staticmethod
    def open(folder: str | Checkpoint) -> Checkpoint:
        """Return the checkpoint in ``folder``, or the one that is open already."""
        return folder if isinstance(folder, Checkpoint) else Checkpoint(folder)

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        return self._state(name) is not None

    def _state(self, name: str) -> list[int] | None:
        """Return what changes when a file does, as it was before the file was read; None if it is not there."""
        if name not in self._states:
            self._states[name] = self._state_now(name)
        return self._states[name]

    def _state_now(self, name: str) -> list[int] | None:
        try:
            stat = os.stat(os.path.join(self.folder, name))
        except OSError:
            return None
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]

    def _is_settled(self, state: list[int]) -> bool:
        """Tell whether a file was written so long before that a later change can't hide in a tick of the clock."""
        return self._opened_ns - max(state[1:3]) >= _SETTLED_NS

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        if name not in self._contents:
            self._state(name)
            try:
                with open(os.path.join(self.folder, name), "rb") as file:
                    self._contents[name] = file.read()
            except OSError as error:
                raise CheckpointError(
                    f"can't read {self.folder}/{name}: {error_line(error)}; ", MEND
                ) from error
        return self._contents[name]

    def read_object(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file; nobody may change it."""
        if name not in self._objects:
            value = None
            with contextlib.suppress(ValueError):
                value = json.loads(self.read(name))
            if not isinstance(value, dict):
                raise CheckpointError(f"{self.folder}/{name} is damaged (not a JSON object); ", MEND)
            self._objects[name] = value
        return self._objects[name]

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json; CheckpointError also if it is not of the Qwen3-VL family."""
        self.check_family()
        return self.read_object(_CONFIG)

    def check_family(self) -> None:
        """Raise CheckpointError for another family than Qwen3-VL's, a quantised model, or a broken config.json."""
        self.check_quantisation()
        if (kind := self.read_object(_CONFIG).get("model_type")) != FAMILY:
            needed = "imgsearch needs a Qwen3-VL embedding model"
            raise CheckpointError(f"{self.folder} is a {kind!r} model; {needed}")

    def check_quantisation(self) -> None:
        """Raise CheckpointError for a quantised checkpoint; its config.json is enough to tell, or a GGUF file."""
        config = self.read_object(_CONFIG) if self.has(_CONFIG) else {}
        refuse_quantised(self.name or self.folder, config, self._names())

    def _names(self) -> list[str]:
        """Return the names of what is in the folder; nothing if there is no folder."""
        with contextlib.suppress(OSError):
            return sorted(os.listdir(self.folder))
        return []

    @cached_property
    def tokenizer_settings(self) -> dict[str, Any]:
        """tokenizer_config.json; nothing if there is none."""
        return self.read_object(_TOKENIZER_SETTINGS) if self.has(_TOKENIZER_SETTINGS) else {}

    @cached_property
    def chat_template(self) -> str:
        """The chat template that transformers' processor would use."""
        for name in filter(self.has, _TEMPLATES):
            if name.endswith(".jinja"):
                found: Any = self.read(name).decode("utf-8", "replace")
            else:
                found = self.read_object(name).get("chat_template")
            if isinstance(found, list):  # several by name, as older tokenizers keep them
                found = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}.get(
                    "default"
                )
            if found and isinstance(found, str):
                return found
        raise CheckpointError(f"{self.folder} has no chat template (chat_template.jinja); ", MEND)

    @cached_property
    def image_processor(self) -> dict[str, Any]:
        """The image processor's settings."""
        if self.has(_PIXELS[0]):
            settings = self.read_object(_PIXELS[0]).get("image_processor")
            if isinstance(settings, dict):
                return settings
        return self.read_object(_PIXELS[1])

    @cached_property
    def modules(self) -> list[Module] | None:
        """The modules of a sentence-transformers checkpoint in their order; None where there is no modules.json.

        CheckpointError also if one names a folder outside of the checkpoint.
        """
        if not self.has(MODULES):
            return None
        try:
            entries = json.loads(self.read(MODULES))
            modules = [Module(entry["type"], entry.get("path", "")) for entry in entries]
            if not all(isinstance(text, str) for module in modules for text in (module.type, module.path)):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CheckpointError(
                f"{self.folder}/{MODULES} is damaged (not a list of modules); ", MEND
            ) from None
        for module in modules:
            if os.path.isabs(module.path) or ".." in module.path.split("/"):
                raise CheckpointError(
                    f"{self.folder}/{MODULES} refers to {module.path!r}, outside its folder; ", MEND
                )
        return modules

    @cached_property
    def generation_prompt(self) -> bool:
        """Whether a prompt ends by opening the assistant's turn: always, unless the modules leave it out."""
        if not self.has(MODULES):
            return True
        settings: Any = self.read_object(TRANSFORMER_SETTINGS)
        for key in ("processing_kwargs", "chat_template", "add_generation_prompt"):
            settings = settings.get(key) if isinstance(settings, dict) else None
        return bool(settings)

    @cached_property
    def weight_files(self) -> list[str]:
        """The names of the safetensors files that make up the weights, one or the index's shards; they need not exist.

        CheckpointError also if the index names files outside of the folder.
        """
        if self.has("model.safetensors") or not self.has(_INDEX):
            return ["model.safetensors"]
        shards = self.read_object(_INDEX).get("weight_map")
        names = list(shards.values()) if isinstance(shards, dict) and shards else [None]
        if not all(
            isinstance(n, str) and n.endswith(".safetensors") and n == os.path.basename(n) for n in names
        ):
            raise CheckpointError(f"{self.folder}/{_INDEX} lists no weight files in this folder; ", MEND)
        return sorted({str(name) for name in names})

    @cached_property
    def tensors(self) -> list[TensorInfo]:
        """Every tensor of the weights; nothing but the files' headers is read."""
        return [tensor for name in self.weight_files for tensor in self._header(name)]

    def weights_state(self) -> list[list[int]] | None:
        """Return what changes when the weights do; None if they have changed since their headers were read, or may yet.

        Asked after the weights are mapped, it is the state of what is mapped. Not the fingerprint, which looks at
        samples only.
        """
        self.tensors  # noqa: B018  the state is from before the headers were read
        states = []
        for name in self.weight_files:
            state = self._state(name)
            if state is None or state != self._state_now(name) or not self._is_settled(state):
                return None
            states.append(state)
        return states

    def check_weights(self) -> None:
        """Raise CheckpointError if a file of the weights has become another one since its header was read.

        What lies where in it is not known then: it may be minutes from finding a checkpoint to loading it.
        """
        for name in self._headers:
            before, now = self._states.get(name), self._state_now(name)
            if before is not None and before != now:
                raise CheckpointError(f"{self.folder}/{name} changed while it was open: try again")

    @cached_property
    def info(self) -> CheckpointInfo:
        """What the config and the headers of the weights say; a head, which is never loaded, is left out."""
        text = self.config.get("text_config")
        dim = text.get("hidden_size") if isinstance(text, dict) else None
        if not isinstance(dim, int) or dim < 1:
            raise CheckpointError(f"{self.folder}/{_CONFIG} has no text_config.hidden_size; ", MEND)
        tensors = [tensor for tensor in self.tensors if tensor.name != HEAD]
        size = sum(tensor.size for tensor in tensors)
        return CheckpointInfo(dim, FAMILY, size, sum(math.prod(tensor.shape) for tensor in tensors))

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 in hex over what decides the vectors; the same however the weights are sharded.

        In it: config.json without records of saving, tokenizer.json, the chat template, the pixel settings, of each
        tensor its name, dtype, shape and 3 × 64 bytes, and a missing generation prompt. Not in it: prompts, dim and
        pixel budget, which an index's own spec names. Cached from run to run by size, times and inode of each file.
        """
        return _cached_fingerprint(self)

    def deciding_files(self) -> set[str]:
        """Return the names of the files that the fingerprint is made of, and of those that may come to be."""
        fixed = (_CONFIG, _TOKENIZER, _INDEX, MODULES, TRANSFORMER_SETTINGS)
        return {*fixed, *_TEMPLATES, *_PIXELS, *self.weight_files}

    def compute_fingerprint(self) -> str:
        """Make the fingerprint of the files."""
        return _compute_fingerprint(self)

    @cached_property
    def source(self) -> dict[str, Any]:
        """Repo, revision, commit as a download wrote them down, or as a cache's path has them; else nothing."""
        with contextlib.suppress(CheckpointError):
            return self.read_object(SOURCE_FILE)
        return dict(source_of(self.folder))

    def is_revision(self, revision: str) -> bool:
        """Tell whether the folder was downloaded as this revision or commit."""
        return revision in (self.source.get("revision"), self.source.get("commit"))

    def missing_files(self, *, leftovers: bool = True) -> list[str]:
        """Name what the folder lacks or has only in part, by ``leftovers`` also *.incomplete; empty: it is complete."""
        missing = [name for name in (_CONFIG, _TOKENIZER) if not self._is_whole(name)]
        for name, attribute in (
            ("chat_template.jinja", "chat_template"),
            ("preprocessor_config.json", "image_processor"),
        ):
            try:
                getattr(self, attribute)
            except CheckpointError:
                missing.append(name)
        try:
            missing += [name for name in self.weight_files if not self._is_whole(name)]
        except CheckpointError:
            missing.append(_INDEX)
        try:
            missing += [name for name in self._module_files() if not self._is_whole(name)]
        except CheckpointError:
            missing.append(MODULES)
        if leftovers:
            unfinished = [name for name in self._names() if name.endswith(".incomplete")]
            missing += [f"the rest of a download ({name})" for name in unfinished]
        return missing

    def _module_files(self) -> list[str]:
        """Name the settings without which a sentence-transformers checkpoint is not whole; none for a plain one."""
        if self.modules is None:
            return []
        with_settings = [module for module in self.modules if module.kind in ("Pooling", SCORE)]
        return [TRANSFORMER_SETTINGS, *(os.path.join(module.path, "config.json") for module in with_settings)]

    def _is_whole(self, name: str) -> bool:
        try:
            if name.endswith(".safetensors"):
                return self._header(name) is not None
            text = self.read(name).strip()  # not parsed, which takes 0.1 s for a tokenizer
            return text[:1] == b"{" and text[-1:] == b"}"
        except CheckpointError:
            return False

    def _header(self, name: str) -> list[TensorInfo]:
        if name not in self._headers:
            self._state(name)
            self._headers[name] = _read_header(os.path.join(self.folder, name))
        return self._headers[name]


def _read_header(path: str) -> list[TensorInfo]:
    """List the tensors of one safetensors file; CheckpointError unless they are all of its bytes and all are there."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(begin - 8) if begin <= min(size, _LONGEST_HEADER) else b"")
        header.pop("__metadata__", None)
        tensors = []
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            tensors.append(
                TensorInfo(name, path, begin + start, end - start, tuple(entry["shape"]), entry["dtype"])
            )
        reached = begin
        for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.size)):
            items = math.prod(tensor.shape)
            if tensor.start != reached or tensor.size != items * _ITEM_BYTES.get(
                tensor.dtype, tensor.size / max(items, 1)
            ):
                raise ValueError("a tensor is out of place")
            reached += tensor.size
        if reached != size:
            raise ValueError("the header does not fit the file")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing (only safetensors files are read, never .bin); ", MEND
        ) from error
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error_line(error)}; ", MEND) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file; delete it and ", MEND
        ) from None
    return tensors


def refuse_quantised(name: str, config: dict[str, Any], files: Iterable[str]) -> None:
    """Raise CheckpointError if config.json, or the names of a checkpoint's files, tell of quantised weights."""
    if method := _quantisation(config, {os.path.splitext(file)[1].lower() for file in files}):
        raise CheckpointError(f"{name} is quantised ({method}), which imgsearch can't load; ", ORIGINAL)


def _quantisation(config: dict[str, Any], kinds: set[str]) -> str:
    """Return the method by which weights were quantised, as config.json has it; "" if they were not."""
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        for key in ("quantization_config", "quantization", "compression_config"):
            if settings := part.get(key):
                settings = settings if isinstance(settings, dict) else {"quant_method": settings}
                method = settings.get("quant_method") or settings.get("quant_algo")
                if any(name.startswith(("load_in_", "bnb_")) for name in settings):
                    method = method or "bitsandbytes"
                return str(method or ("mlx" if "bits" in settings else "unknown method")).lower()
    return "gguf" if ".gguf" in kinds and ".safetensors" not in kinds else ""


_PIXEL_KEYS = re.compile("do_(convert_rgb|normalize|rescale)|rescale_factor|image_.*|.*patch_size|merge_size")
HOW_SAVED = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")
"""The keys of config.json that move no vector."""
_SETTLED_NS = 2_000_000_000


def _cached_fingerprint(checkpoint: Checkpoint) -> str:
    """Return the fingerprint from the user's cache if no file has changed since, else compute and cache it."""
    import platformdirs

    names, scheme = checkpoint.deciding_files(), checkpoint.scheme
    files = {name: state for name in names if (state := checkpoint._state(name)) is not None}
    key = os.path.realpath(checkpoint.folder)
    path = os.path.join(platformdirs.user_cache_dir("imgsearch"), "fingerprints.json")
    cache: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as cached:
        content = json.load(cached)
        cache = content if isinstance(content, dict) else {}
    entry = cache.pop(key, None)
    if isinstance(entry, dict) and (entry.get("scheme"), entry.get("files")) == (scheme, files):
        return str(entry.get("fingerprint"))
    result = checkpoint.compute_fingerprint()
    # What was written a moment before may have changed again within one tick of the file system's clock, unseen.
    if all(checkpoint._is_settled(state) for state in files.values()):
        entries = [*cache.items(), (key, {"scheme": scheme, "files": files, "fingerprint": result})]
        with contextlib.suppress(OSError):  # not cached: a second more next time
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with atomic_write(path, beside=f"{path}.{os.getpid()}", durable=False) as file:
                file.write(json.dumps(dict(entries[-32:])).encode())
    return result


def _compute_fingerprint(checkpoint: Checkpoint) -> str:
    pixels = {key: value for key, value in checkpoint.image_processor.items() if _PIXEL_KEYS.fullmatch(key)}
    decisive = [without_records(checkpoint.config), pixels, checkpoint.chat_template]
    # Only where it differs: a checkpoint keeps its fingerprint when modules that change nothing are added.
    decisive += [] if checkpoint.generation_prompt else [{"generation_prompt": False}]
    settings = json.dumps(decisive, sort_keys=True).encode()
    samples = [sample for name in checkpoint.weight_files for sample in tensor_samples(checkpoint, name)]
    digest = hashlib.sha256()
    for part in [settings, checkpoint.read(_TOKENIZER), *sorted(samples)]:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def tensor_samples(checkpoint: Checkpoint, name: str, prefix: str = "") -> list[bytes]:
    """Return for each tensor of a weight file its name behind ``prefix``, dtype and shape with 3 × 64 of its bytes."""
    samples = []
    with open(os.path.join(checkpoint.folder, name), "rb") as file:
        for tensor in checkpoint._header(name):
            end = tensor.start + tensor.size
            offsets = (tensor.start, (tensor.start + end) // 2, max(tensor.start, end - 64))
            sampled = [os.pread(file.fileno(), min(64, end - offset), offset) for offset in offsets]
            described = json.dumps([prefix + tensor.name, tensor.dtype, tensor.shape]).encode()
            samples.append(b"".join([described, *sampled]))
    return samples


def without_records(value: Any) -> Any:
    """Return a JSON value without what says only how it was saved."""
    if isinstance(value, dict):
        return {key: without_records(inner) for key, inner in value.items() if key not in HOW_SAVED}
    return [without_records(inner) for inner in value] if isinstance(value, list) else value
