"""What the folder of another family's model consists of: its modules, the files they need, and its fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import (
    Checkpoint,
    CheckpointInfo,
    Module,
    refuse_quantised,
    tensor_samples,
    without_records,
)
from imgsearch.text import Call, Option

TOWERS = ("Transformer", "CLIPModel")
"""The modules with a whole model of transformers in them: its config, its weights, and what reads texts and images."""
OWN_SETTINGS = "config_sentence_transformers.json"
_ROUTER, _ROUTES = ("Router", "Asym"), "router_config.json"
_WITH_WEIGHTS = ("Dense", "CNN", "LSTM", "LayerNorm", "WeightedLayerPooling", "StaticEmbedding")
_WITH_SETTINGS = ("Pooling", *_WITH_WEIGHTS[:-1])
_TOKENIZERS = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"),
    *("tokenizer.model", "tekken.json"),
)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# The first of these that a tower has is its settings, whatever the model: by the names of older versions.
_BERTS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
TOWER_SETTINGS = tuple(f"sentence_{name}_config.json" for name in _BERTS)
_CODE = ("config.json", "tokenizer_config.json", *_PROCESSORS)
_DECIDING = ("chat_template.jinja", "chat_template.json", "special_tokens_map.json", "added_tokens.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BY_WORDS = ("ForConditionalGeneration", "ForCausalLM")


@dataclass(frozen=True, slots=True)
class Sides:
    """Whether a model takes texts and images, as far as its files tell, and which of them tells it."""

    text: bool
    image: bool
    reason: str


class LibraryCheckpoint(Checkpoint):
    """A folder that sentence-transformers loads: modules behind each other, or one plain model of transformers."""

    scheme = 101

    @cached_property
    def parts(self) -> list[Module]:
        """All modules in their order, those that a router chooses among behind it; for a plain model only itself."""
        modules = self.modules
        if modules is None:
            return [Module("sentence_transformers.base.modules.transformer.Transformer", "")]
        found = []
        for module in modules:
            found.append(module)
            if module.kind in _ROUTER:
                found += self._routed(module)
        return found

    def _routed(self, router: Module) -> list[Module]:
        """Return the modules of a router; CheckpointError if its settings are broken or lead out of the folder."""
        name = os.path.join(router.path, _ROUTES)
        types = self.read_object(name if self.has(name) else os.path.join(router.path, "config.json")).get(
            "types"
        )
        if not isinstance(types, dict) or not all(isinstance(kind, str) for kind in types.values()):
            raise CheckpointError(f"{self.folder}/{name} is damaged (it names no modules)")
        if any(os.path.isabs(path) or ".." in path.split("/") for path in types):
            raise CheckpointError(f"{self.folder}/{name} refers to a folder outside of the model's")
        return [Module(kind, os.path.join(router.path, path)) for path, kind in types.items()]

    @property
    def towers(self) -> list[Module]:
        """The modules that are whole models of transformers."""
        return [part for part in self.parts if part.kind in TOWERS]

    @property
    def tower_config(self) -> dict[str, Any]:
        """The config.json of the first of them; nothing if there is none."""
        name = os.path.join(self.towers[0].path, "config.json") if self.towers else ""
        return self.read_object(name) if name and self.has(name) else {}

    @property
    def image_settings(self) -> dict[str, Any]:
        """What the first tower's image processor is told; nothing if it has none."""
        for tower in self.towers[:1]:
            for name in (os.path.join(tower.path, name) for name in reversed(_PROCESSORS)):
                if self.has(name):
                    settings = self.read_object(name)
                    if isinstance(settings.get("image_processor"), dict):
                        return dict(settings["image_processor"])
                    if name.endswith(_PROCESSORS[0]) and "feature_extractor_type" not in settings:
                        return settings
        return {}

    @cached_property
    def own_settings(self) -> dict[str, Any]:
        """config_sentence_transformers.json, which the library reads beside modules.json only; else nothing."""
        return self.read_object(OWN_SETTINGS) if self.modules is not None and self.has(OWN_SETTINGS) else {}

    @cached_property
    def sides(self) -> Sides:
        """What the model takes; where its files leave it open, both sides, and loading tells."""
        if not self.towers or self.parts[0].kind not in (*TOWERS, *_ROUTER):
            return Sides(True, False, f"its first module, {self.parts[0].kind}, takes text only")
        tower = self.towers[0]
        if tower.kind == "CLIPModel" or self.parts[0].kind in _ROUTER:
            return Sides(True, True, "")
        if self.modules is not None:
            settings = next(filter(self.has, (os.path.join(tower.path, name) for name in TOWER_SETTINGS)), "")
            known = self.read_object(settings).get("modality_config") if settings else None
            if not isinstance(known, dict):
                return Sides(True, False, "its settings are those of a model for text")
            return Sides("text" in known, "image" in known, f"its settings name {', '.join(sorted(known))}")
        texts = any(self.has(name) for name in _TOKENIZERS)
        return Sides(
            texts, bool(self.image_settings), f"it has no {'image processor' if texts else 'tokenizer'}"
        )

    def check_family(self) -> None:
        """Raise CheckpointError for what can't be used, as far as the small files tell."""
        self.check_quantisation()
        name = self.name or self.folder
        for part in self.parts:
            if not part.type.startswith("sentence_transformers."):
                _refuse_code(name, f"modules.json names the module {part.type}")
        for tower in self.towers:
            if self.has(os.path.join(tower.path, "adapter_config.json")):
                raise CheckpointError(
                    f"{name} is an adapter (adapter_config.json) without the model that it changes, which imgsearch "
                    "does not apply; merge it into the model first"
                )
            self._check_code(name, tower.path)
        kind = self.own_settings.get("model_type") or "SentenceTransformer"
        if kind != "SentenceTransformer":
            raise CheckpointError(
                f"{name} is a {kind}, which gives no single embedding of an image; use another model"
            )
        sides = self.sides
        if not sides.image:
            raise CheckpointError(f"{name} embeds text only ({sides.reason}): it can't be used for images")
        if not sides.text:
            raise CheckpointError(
                f"{name} embeds images only ({sides.reason}): no words could be searched for"
            )

    def check_embeds(self) -> None:
        """Raise CheckpointError for a model that only generates text: it has no modules that make an embedding."""
        makers = self.tower_config.get("architectures")
        if (
            self.modules is None
            and isinstance(makers, list)
            and any(str(m).endswith(_BY_WORDS) for m in makers)
        ):
            raise CheckpointError(
                f"{self.name or self.folder} is not an embedding model: it generates text ({makers[0]}, and there is "
                "no modules.json). Use an embedding model, or use this one anyway with ",
                Option("force_model", True),
            )

    def _check_code(self, name: str, path: str) -> None:
        """Refuse a tower that transformers can only load with code that comes with it."""
        for file in _CODE:
            file = os.path.join(path, file)
            settings = self.read_object(file) if self.has(file) else {}
            if isinstance(settings.get("auto_map"), dict):
                from imgsearch.model.library.architectures import is_known  # on use: slow

                if not is_known(settings):
                    _refuse_code(name, f"{file}: {', '.join(map(str, settings['auto_map']))}")

    def check_quantisation(self) -> None:
        """Raise CheckpointError for quantised weights, and for those that are only there as pickles."""
        name = self.name or self.folder
        for part in self.parts:
            names = self._names_in(part.path)
            if part.kind in TOWERS:
                config = os.path.join(part.path, "config.json")
                refuse_quantised(name, self.read_object(config) if self.has(config) else {}, names)
            pickled = [file for file in names if file.endswith(_PICKLES)]
            if part.kind in (*TOWERS, *_WITH_WEIGHTS) and pickled and not _any_safetensors(names):
                raise CheckpointError(
                    f"{name} has its weights only as pickles ({os.path.join(part.path, pickled[0])}), which may "
                    "run code when they are read and are never loaded; use a version of it with safetensors files"
                )

    def _names_in(self, path: str) -> list[str]:
        with contextlib.suppress(OSError):
            return sorted(os.listdir(os.path.join(self.folder, path)))
        return []

    @cached_property
    def weight_files(self) -> list[str]:
        """The names of all modules' safetensors files; those that are not there are named as one file."""
        return [name for part in self.parts for name in self._weights_of(part)]

    def _weights_of(self, part: Module) -> list[str]:
        if part.kind not in (*TOWERS, *_WITH_WEIGHTS):
            return []
        below = Checkpoint(os.path.join(self.folder, part.path))
        return [os.path.join(part.path, name) for name in below.weight_files]

    def missing_files(self, *, leftovers: bool = True) -> list[str]:
        """Name what the folder lacks or has only in part, as a Checkpoint's own method does."""
        try:
            return [*self._missing(), *(self._unfinished() if leftovers else ())]
        except CheckpointError as error:
            return [str(error)]

    def _missing(self) -> Iterator[str]:
        for part in self.parts:
            needed = [*self._weights_of(part)]
            if part.kind in (*TOWERS, *_WITH_SETTINGS):
                needed.insert(0, os.path.join(part.path, "config.json"))
            yield from (name for name in needed if not self._is_whole(name))
        for tower in self.towers:
            texts = [os.path.join(tower.path, name) for name in _TOKENIZERS]
            if self.sides.text and not any(map(self.has, texts)):
                yield texts[0]
            images = [os.path.join(tower.path, name) for name in _PROCESSORS]
            if self.sides.image and not any(map(self.has, images)):
                yield images[0]

    def _unfinished(self) -> Iterator[str]:
        for _, _, names in os.walk(self.folder):
            yield from (f"the rest of a download ({name})" for name in names if name.endswith(".incomplete"))

    @cached_property
    def info(self) -> CheckpointInfo:
        """What the config and the headers of the weights say; ``dim`` is 0, since only a loaded model knows it."""
        size, kind = sum(tensor.size for tensor in self.tensors), str(self.tower_config.get("model_type"))
        return CheckpointInfo(0, kind, size, sum(math.prod(tensor.shape) for tensor in self.tensors))

    def deciding_files(self) -> set[str]:
        """Return the names of the files that the fingerprint is made of, and of those that may come to be."""
        fixed = {"modules.json", *self.weight_files}
        for part in self.parts:
            names = {"config.json"}
            if part.kind in TOWERS:
                names |= {*_CODE, *_TOKENIZERS, *_DECIDING, *TOWER_SETTINGS, "merges.txt"}
            elif part.kind in _ROUTER:
                names |= {_ROUTES}
            elif part.kind == "StaticEmbedding":
                names |= {*_TOKENIZERS}
            fixed |= {os.path.join(part.path, name) for name in names}
        return fixed

    def compute_fingerprint(self) -> str:
        """Make a sha256 in hex of all settings, tokenizers and templates, and of samples of every tensor.

        As with our own family, records of saving and how the weights are sharded do not count, nor do prompts and dim.
        """
        weights, parts = self.weight_files, []
        for name in sorted(self.deciding_files() - set(weights)):
            if self.has(name):
                parts.append(name.encode("utf-8", "surrogatepass") + b"\0" + _canonical(self.read(name)))
        samples = [
            sample for name in weights for sample in tensor_samples(self, name, f"{os.path.dirname(name)}/")
        ]
        digest = hashlib.sha256()
        for part in [*parts, *sorted(samples)]:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()


def _canonical(content: bytes) -> bytes:
    """Return a settings file without records of saving, in one spelling; a tokenizer and what is no JSON as it is."""
    if len(content) > 1 << 20:
        return content
    try:
        return json.dumps(without_records(json.loads(content)), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return content


def _any_safetensors(names: list[str]) -> bool:
    return any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names)


def _refuse_code(name: str, reason: str) -> NoReturn:
    raise CheckpointError(
        f"{name} needs code that its authors ship with it ({reason}), which imgsearch does not run. Embeddings that "
        "were computed elsewhere can be searched: ",
        Call("import_vectors"),
    )
