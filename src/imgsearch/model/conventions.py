"""What a checkpoint asks for beside its weights: modules, prompts, dims, pixel budget."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.checkpoint import MODULES, TRANSFORMER_SETTINGS, Checkpoint, Module
from imgsearch.text import Option
from imgsearch.types import DEFAULT_BUDGET, MAX_TEXT_BYTES, MIN_PIXELS, PixelBudget

TRANSFORMER, POOLING, NORMALIZE = "Transformer", "Pooling", "Normalize"

# The keys of sentence_bert_config.json, with the only values that do not change what is computed here. A
# message_format at the top is how 5.4's development version wrote it.
_TRANSFORMER_ONLY: dict[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "unpad_inputs": (None, True, False),  # whether flash attention may leave padding out
    "do_lower_case": (None, False),
    "query_length": (None,),
    "document_length": (None,),
    "query_expansion": (None,),
    "tokenizer_name_or_path": (None,),
    "message_format": ("structured", "auto"),
}
_BUDGET = ("size", "min_pixels", "max_pixels")
# What may stand in the dictionaries of keyword arguments: a length or a budget is honoured, the others move no
# vector. Padding is masked and a text that is too long is refused, so how either is done does not matter.
_HARMLESS = {
    "processing_kwargs.chat_template": ("add_generation_prompt", "restore_suffix"),
    "processing_kwargs.text": ("padding", "padding_side", "pad_to_multiple_of", "truncation", "max_length"),
    "processing_kwargs.common": ("padding", "padding_side", "return_tensors"),
    "processing_kwargs.image": _BUDGET,
    "model_kwargs": ("dtype", "torch_dtype", "attn_implementation", "device_map", "trust_remote_code"),
    "processor_kwargs": (*_BUDGET, "model_max_length", "padding_side", "use_fast", "trust_remote_code"),
    "config_kwargs": ("use_cache", "trust_remote_code"),
}
_UNUSED = ("video", "audio")  # never embedded here
_OTHER_KEYS = (
    *("modality_config", "processing_kwargs", "max_seq_length"),
    *("model_kwargs", "processor_kwargs", "config_kwargs"),
)
_OLD_NAMES = {
    "model_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "config_args": "config_kwargs",
}
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# By these the library tells that a chat template takes a message's content as a list of parts.
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What sentence-transformers does around the model.

    The prompts are those of ``encode_query`` and ``encode_document``: the system message as it stands, none if
    empty. ``generation_prompt`` says whether the prompt ends by opening the assistant's turn. ``max_length`` is
    the most tokens, None if nothing limits them. ``edges`` is the pixel budget that the modules themselves ask
    for, as ``edges()`` gives it; mostly nothing.
    """

    query_prompt: str
    document_prompt: str
    truncate_dim: int | None
    generation_prompt: bool
    max_length: int | None
    edges: dict[str, Any]


def read_pipeline(checkpoint: Checkpoint) -> Pipeline | None:
    """Return what the modules of a checkpoint do, as sentence-transformers 6.2 does it; None for a plain checkpoint.

    Supported is Transformer, Pooling by the last token, Normalize; a missing Normalize changes no cosine,
    since vectors are always normalised here. ``include_prompt`` may be anything: prompts are messages, which
    the library never leaves out of pooling. Raises CheckpointError that names whatever else there is.
    """
    if (modules := checkpoint.modules) is None:
        return None
    _check_order(checkpoint, modules)
    _check_pooling(checkpoint, modules[1])
    normalized = len(modules) == 3
    if normalized:
        _check_normalize(checkpoint, modules[2])
    settings = dict(checkpoint.read_object(TRANSFORMER_SETTINGS))
    path = f"{checkpoint.folder}/{TRANSFORMER_SETTINGS}"
    for old, new in _OLD_NAMES.items():
        if old in settings:
            settings[new] = settings.pop(old)
    _check_messages(checkpoint, path, settings)
    processing = _dictionary(path, settings, "processing_kwargs")
    kwargs: dict[str, dict[str, Any]] = {}
    for where, allowed in _HARMLESS.items():
        bucket = where.removeprefix("processing_kwargs.")
        kwargs[bucket] = _dictionary(path, settings if bucket == where else processing, bucket)
        _only_known(path, where, kwargs[bucket], allowed)
    _only_known(path, "processing_kwargs", processing, ("chat_template", "text", "common", "image", *_UNUSED))
    _only_known(path, "", settings, (*_TRANSFORMER_ONLY, *_OTHER_KEYS))
    for key, values in _TRANSFORMER_ONLY.items():
        if settings.get(key, values[0]) not in values:
            _refuse(path, f"{key} {settings[key]!r}")
    limits = [settings.get("max_seq_length"), kwargs["processor_kwargs"].get("model_max_length")]
    limits += [kwargs["text"].get("max_length"), _tokenizer_limit(checkpoint)]
    lengths = [limit for limit in limits if limit is not None]
    if any(not _is_count(limit) for limit in lengths):
        _refuse(path, f"a length of {lengths!r} tokens")
    query, document, dim = _read_config(checkpoint, normalized)
    return Pipeline(
        query_prompt=query,
        document_prompt=document,
        truncate_dim=dim,
        generation_prompt=checkpoint.generation_prompt,
        max_length=min(lengths, default=None),
        edges=edges(kwargs["processor_kwargs"]) | edges(kwargs["image"]),
    )


def _check_order(checkpoint: Checkpoint, modules: list[Module]) -> None:
    """Refuse modules other than Transformer, Pooling and Normalize, in this order, all of the library itself."""
    path = f"{checkpoint.folder}/{MODULES}"
    for module in modules:
        if not module.type.startswith("sentence_transformers."):
            _refuse(path, f"the module {module.type!r}, which is custom code")
        if module.kind not in (TRANSFORMER, POOLING, NORMALIZE):
            _refuse(path, f"the module {module.kind}")
    kinds = [module.kind for module in modules]
    if kinds not in ([TRANSFORMER, POOLING], [TRANSFORMER, POOLING, NORMALIZE]):
        _refuse(path, f"the modules {', '.join(kinds) or 'none at all'}")
    if modules[0].path:
        _refuse(path, f"a Transformer in a folder of its own ({modules[0].path!r} instead of '')")


def _check_pooling(checkpoint: Checkpoint, module: Module) -> None:
    name = os.path.join(module.path, "config.json")
    settings = checkpoint.read_object(name)
    path = f"{checkpoint.folder}/{name}"
    sizes = ("embedding_dimension", "word_embedding_dimension")
    _only_known(path, "", settings, ("pooling_mode", "include_prompt", *sizes, *_OLD_MODES))
    mode = settings.get("pooling_mode")
    if mode is None:
        mode = [kind for key, kind in _OLD_MODES.items() if settings.get(key)] or "mean"
    if mode not in ("lasttoken", ["lasttoken"]):
        _refuse(path, f"pooling by {mode if isinstance(mode, str) else ' and '.join(map(str, mode))}")


def _check_normalize(checkpoint: Checkpoint, module: Module) -> None:
    name = os.path.join(module.path, "config.json")
    if module.path and checkpoint.has(name):
        for key, value in checkpoint.read_object(name).items():
            if key in ("module_input_name", "module_output_name") and value not in (
                None,
                "sentence_embedding",
            ):
                _refuse(f"{checkpoint.folder}/{name}", f"{key} {value!r}")


def _check_messages(checkpoint: Checkpoint, path: str, settings: Mapping[str, Any]) -> None:
    """Refuse a Transformer that does not take every input through the chat template, in parts."""
    modalities = _dictionary(path, settings, "modality_config")
    if "message" not in modalities:
        # Older files have none; the library then takes the model for one of plain text.
        _refuse(path, "no 'message' in modality_config (texts without the chat template, no images)")
    message = _dictionary(path, modalities, "message")
    how = (message.get("method"), message.get("method_output_name"))
    if how != ("forward", "last_hidden_state"):
        _refuse(path, f"messages by {how[0]!r} to {how[1]!r}")
    form = message.get("format", settings.get("message_format", "auto"))
    if form == "auto":
        form = "structured" if any(pattern in checkpoint.chat_template for pattern in _STRUCTURED) else "flat"
    if form != "structured":
        _refuse(path, f"the message format {form!r}")


def _read_config(checkpoint: Checkpoint, normalized: bool) -> tuple[str, str, int | None]:
    """Return the query prompt, the document prompt and the truncate_dim of config_sentence_transformers.json."""
    name = "config_sentence_transformers.json"
    if not checkpoint.has(name):
        return "", "", None
    settings, path = checkpoint.read_object(name), f"{checkpoint.folder}/{name}"
    if (kind := settings.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        _refuse(path, f"a {kind}")
    dim = settings.get("truncate_dim")
    if dim is not None and not _is_count(dim):
        _refuse(path, f"truncate_dim {dim!r}")
    similarity = settings.get("similarity_fn_name") or "cosine"
    # A dot product of vectors of length one is the cosine; of cut ones it is not.
    if similarity != "cosine" and (similarity != "dot" or not normalized or dim is not None):
        _refuse(path, f"the similarity {similarity!r}")
    prompts = _dictionary(path, settings, "prompts")
    for key, prompt in prompts.items():
        if not isinstance(prompt, str | None):
            _refuse(path, f"the prompt {key!r}")
    default = settings.get("default_prompt_name")
    if default is not None and default not in (*prompts, "query", "document"):
        _refuse(path, f"the default_prompt_name {default!r}, which is not among its prompts,")
    # The library has a prompt for either side, empty if none is saved: neither the default one nor "passage"
    # or "corpus" ever stands in for it in encode_query and encode_document.
    return prompts.get("query") or "", prompts.get("document") or "", dim


def edges(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pixel budget in an image processor's settings: shortest_edge and longest_edge, where given.

    The names are of another time: both are numbers of pixels. min_pixels and max_pixels, where they stand
    beside the size, win (transformers, image_processing_qwen2_vl).
    """
    size = settings.get("size")
    found = dict(size) if isinstance(size, dict) else {}
    for key, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        if settings.get(key) is not None:
            found[edge] = settings[key]
    return {edge: found[edge] for edge in ("shortest_edge", "longest_edge") if found.get(edge) is not None}


def _tokenizer_limit(checkpoint: Checkpoint) -> int | None:
    """Return the tokenizer's own limit, at which the library cuts; where none is set, a huge number stands there."""
    limit = checkpoint.tokenizer_settings.get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and 0 < limit < 1e9 else None


def _dictionary(path: str, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = settings.get(key) or {}
    if not isinstance(value, dict):
        _refuse(path, f"{key} {value!r}")
    return value


def _only_known(path: str, where: str, settings: Mapping[str, Any], allowed: Iterable[str]) -> None:
    allowed = set(allowed)
    for key in settings:
        if key not in allowed:
            _refuse(path, f"{where}.{key}" if where else repr(key))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _refuse(path: str, what: str) -> NoReturn:
    raise CheckpointError(
        f"{path}: {what} is not supported; imgsearch supports sentence-transformers models that have a "
        "Transformer at the root, Pooling by lasttoken and Normalize"
    )


DEFAULT_INSTRUCTION = "Represent the user's input."
"""What the published model is told of an input; where a checkpoint asks for nothing else, it is used."""


def choose_instruction(*instructions: str | None, default: str, verbatim: bool = True) -> str:
    """Return the first instruction that was given, else the default; without ``verbatim`` it ends in punctuation.

    The one rule of what an instruction that is left out or empty means: None is not given, "" is none at all.
    """
    chosen = next((instruction for instruction in instructions if instruction is not None), default)
    return chosen if verbatim else punctuated(chosen)


def check_length(text: str) -> None:
    """Raise InputError for a text that can't fit into a prompt: tokenising it would take its time and memory first."""
    if len(text) > MAX_TEXT_BYTES or len(text.encode(errors="surrogatepass")) > MAX_TEXT_BYTES:
        raise InputError(
            f"the text is longer than {MAX_TEXT_BYTES:,} bytes, which no prompt can hold: shorten it"
        )


def punctuated(instruction: str) -> str:
    """Strip an instruction and end it in a full stop unless its last character is of a Unicode category P."""
    instruction = instruction.strip()
    if instruction and not unicodedata.category(instruction[-1]).startswith("P"):
        instruction += "."
    return instruction


_MEMO = "conventions"  # its key in a checkpoint's memo
OWN_FILE = "imgsearch.json"  # written by training beside the weights
_ADAPTER = "adapter_config.json"  # transformers would load what it names on top of the weights
# Checkpoints that were trained at a budget which none of their files says.
_TRAINED_AT = {"tomaarsen/Qwen3-VL-Embedding-2B-vdr": 360_000}


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a checkpoint wants to be used where the user says nothing else.

    ``dim`` is the length of its vectors, ``full_dim`` the most it has, ``matryoshka_dims`` those it was trained
    for, longest first, empty if it does not say. The prompts are used as they stand if ``verbatim``, an empty one
    as no message at all; else they are instructions that end in punctuation. ``max_length`` is the most tokens
    of a prompt, None for the usual. ``dim_reason`` and ``pixels_reason`` say why the checkpoint itself chose
    these; empty if it did not. ``own_pixels`` says that the model scales images as it likes, and ``pixels`` only what
    decoders must leave; ``can_shorten`` whether the first numbers of a vector mean something alone.
    """

    dim: int
    full_dim: int
    matryoshka_dims: tuple[int, ...]
    query_prompt: str
    document_prompt: str
    verbatim: bool
    generation_prompt: bool
    max_length: int | None
    pixels: PixelBudget
    dim_reason: str = ""
    pixels_reason: str = ""
    own_pixels: bool = False
    can_shorten: bool = True

    def prompts(
        self, instruction: str | None = None, *, query: str | None = None, document: str | None = None
    ) -> tuple[str, str]:
        """Return the prompts for questions and pictures as the model gets them, what is not given as it wants them.

        ``instruction`` is for both sides, ``query`` and ``document`` win over it.
        """
        prompts = (
            choose_instruction(query, instruction, default=self.query_prompt),
            choose_instruction(document, instruction, default=self.document_prompt),
        )
        return prompts if self.verbatim else (punctuated(prompts[0]), punctuated(prompts[1]))

    def notes(self, dim: bool = True, pixels: bool = True) -> list[str]:
        """Say in a few words each what the checkpoint chose itself; without ``dim`` or ``pixels``, not of these."""
        found = []
        if dim and self.dim_reason:
            found.append(f"{self.dim:,} of {self.full_dim:,} dimensions ({self.dim_reason})")
        if pixels and self.pixels_reason:
            found.append(f"at most {self.pixels.max_pixels:,} pixels per image ({self.pixels_reason})")
        return found


def own_conventions(checkpoint: Checkpoint) -> Conventions:
    """Return how a checkpoint of our own family wants to be used; it is read once.

    A plain checkpoint (no modules.json): the published instruction on both sides, all dimensions, the fastest
    budget. A sentence-transformers checkpoint: its own prompts and truncate_dim.
    Raises CheckpointError that names what is not supported or makes no sense.
    """
    if _MEMO not in checkpoint.memo:
        checkpoint.memo[_MEMO] = _read_conventions(checkpoint)
    conventions: Conventions = checkpoint.memo[_MEMO]
    return conventions


def _read_conventions(checkpoint: Checkpoint) -> Conventions:
    if checkpoint.has(_ADAPTER):
        raise CheckpointError(
            f"{checkpoint.folder} contains an adapter ({_ADAPTER}), which imgsearch does not apply; "
            "merge it into the model first"
        )
    full, pipeline = checkpoint.info.dim, read_pipeline(checkpoint)
    settings = checkpoint.read_object(OWN_FILE) if checkpoint.has(OWN_FILE) else {}
    truncated = pipeline.truncate_dim if pipeline else None
    pixels, pixels_reason = _pixels(checkpoint, pipeline, settings)
    return Conventions(
        dim=min(truncated or full, full),
        full_dim=full,
        matryoshka_dims=_dims(checkpoint, settings, full),
        query_prompt=pipeline.query_prompt if pipeline else DEFAULT_INSTRUCTION,
        document_prompt=pipeline.document_prompt if pipeline else DEFAULT_INSTRUCTION,
        verbatim=pipeline is not None,
        generation_prompt=pipeline.generation_prompt if pipeline else True,
        max_length=pipeline.max_length if pipeline else None,
        pixels=pixels,
        dim_reason="its truncate_dim" if truncated else "",
        pixels_reason=pixels_reason,
    )


def processor_budget(checkpoint: Checkpoint) -> PixelBudget:
    """Return the budget of the checkpoint's image processor, which its other users see pictures with.

    Raises CheckpointError if it says nothing, or nothing sensible.
    """
    return _budget(f"{checkpoint.folder}: the image processor", edges(checkpoint.image_processor))


def _pixels(
    checkpoint: Checkpoint, pipeline: Pipeline | None, settings: dict[str, Any]
) -> tuple[PixelBudget, str]:
    """Return the default budget, and the reason if it is the checkpoint's own choice."""
    if "pixels" in settings:
        pixels = settings["pixels"] if isinstance(settings["pixels"], dict) else {}
        return _budget(f"{checkpoint.folder}/{OWN_FILE}", edges(pixels)), "its training budget"
    if pipeline is not None and pipeline.edges:
        found = edges(checkpoint.image_processor) | pipeline.edges
        return _budget(f"{checkpoint.folder}: the Transformer module", found), "as its modules require"
    for repo in (checkpoint.name, checkpoint.source.get("repo")):
        if repo in _TRAINED_AT:
            return PixelBudget(MIN_PIXELS, _TRAINED_AT[repo]), "as it was trained"
    return DEFAULT_BUDGET, ""


def _budget(where: str, found: dict[str, Any]) -> PixelBudget:
    least, most = found.get("shortest_edge"), found.get("longest_edge")
    if type(least) is not int or type(most) is not int or not 1 <= least <= most:
        raise CheckpointError(
            f"{where} has no valid pixel budget (from {least} to {most} pixels); choose one with ",
            Option("pixels", metavar="PixelBudget(LEAST, MOST)"),
        )
    return PixelBudget(least, most)


def _dims(checkpoint: Checkpoint, settings: dict[str, Any], full: int) -> tuple[int, ...]:
    dims = settings.get("matryoshka_dims", [])
    if not isinstance(dims, list) or not all(type(dim) is int and 1 <= dim <= full for dim in dims):
        raise CheckpointError(
            f"{checkpoint.folder}/{OWN_FILE}: matryoshka_dims must be numbers from 1 to {full}, not {dims!r}"
        )
    return tuple(sorted(set(dims), reverse=True))
