"""Turns an instruction, a text and a picture into token ids, by the checkpoint's own template and tokenizer."""

from __future__ import annotations

import datetime
import functools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.meta
import numpy as np
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from tokenizers import Tokenizer

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.checkpoint import MEND, MODULES, RERANKER, SCORE, Checkpoint
from imgsearch.model.conventions import DEFAULT_INSTRUCTION, check_length
from imgsearch.text import Option, error_line
from imgsearch.types import Notify, Patches

MAX_LENGTH = 8192

_ANSWERS = {"yes": "true_token_id", "no": "false_token_id"}
_MEMO = "tokenizer"  # its key in a checkpoint's memo
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_VISION_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """One prompt: ``ids`` and ``types`` are (length,) int64; a type is 1 where a picture's token stands, else 0.

    ``prefix_length`` is how many of the first tokens every prompt of this kind and instruction begins with.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    prefix_length: int = 0


Message = dict[str, Any]
"""One message of a conversation as templates take it: its role, and its content in parts, texts and images."""

ModelInput = tuple[Tokens, tuple[Patches, ...]]
"""What the model is given for one input: its prompt, and the patches of each picture in it, in their order."""


class PromptEncoder:
    """The chat template and the tokenizer of one checkpoint; safe to use from many threads.

    ``padding_side`` ("left" or "right") and ``pad_id`` are what transformers' tokenizer would pad with.
    """

    def __init__(self, checkpoint: Checkpoint, *, generation_prompt: bool | None = None) -> None:
        """Read tokenizer.json, the chat template and the ids in config.json; CheckpointError names what is wrong.

        ``generation_prompt`` is whether a prompt ends by opening the assistant's turn, if the checkpoint has no say.
        """
        folder, config, settings = checkpoint.folder, checkpoint.config, checkpoint.tokenizer_settings
        self._tokenizer, padding = _read_tokenizer(checkpoint)
        named = {name: token for name in _NAMED_TOKENS if (token := _token_text(settings.get(name)))}
        self._template = _compile(checkpoint)
        opens = checkpoint.generation_prompt if generation_prompt is None else generation_prompt
        self._render = functools.partial(self._template.render, add_generation_prompt=opens, **named)
        self._folder = folder
        self._prefix = functools.lru_cache(maxsize=16)(self._text_prefix)
        self._bare = functools.lru_cache(maxsize=256)(self._input_ids)

        self.image_id = config.get("image_token_id")
        self._reserved = [
            self._vision_token(config, name) for name in _VISION_IDS if config.get(name) is not None
        ]
        if self.image_id is None:
            raise CheckpointError(
                f"{folder}: config.json has no image_token_id; is it of the Qwen3-VL family?"
            )
        self._image_token = self._reserved[0]
        self.padding_side: str = settings.get("padding_side") or padding.get("direction") or "right"
        pad = named.get("pad_token") or padding.get("pad_token") or named.get("eos_token") or ""
        # Padding is masked: where no pad token is named, any id serves.
        self.pad_id: int = self._tokenizer.token_to_id(pad) or 0

    def encode(
        self,
        text: str | None,
        image_tokens: int = 0,
        instruction: str = DEFAULT_INSTRUCTION,
        *,
        max_length: int = MAX_LENGTH,
        notify: Notify | None = None,
    ) -> Tokens:
        """Return the tokens of one conversation: the instruction, then the picture, then the text.

        The instruction is the system message; an empty one is none at all (what the template then says itself
        is its own affair), as sentence-transformers has it.

        ``image_tokens`` is how many tokens the picture takes, 0 for none. A text that accompanies a picture
        and makes the prompt longer than ``max_length`` tokens is cut, and ``notify`` is told; the picture's
        tokens and those of the template are never cut.

        Raises InputError for an empty input, for a text that holds a placeholder of a picture, for a text
        alone or a picture alone that is too long; CheckpointError if the template fails.
        """
        check_length(text or "")
        check_length(instruction)
        text = self.checked(text) if text and text.strip() else None
        if text is None and not image_tokens:
            raise InputError("there is nothing to embed: the text is empty and there is no image")
        instruction = self.checked(instruction)
        # The prompts of images without a text are few, and the same for all of one size.
        make = self._bare if text is None else self._input_ids
        ids = list(make(instruction, text, image_tokens))
        if len(ids) > max_length:
            ids = self._shortened(instruction, text, image_tokens, max_length, ids, notify)
        array = np.asarray(ids, dtype=np.int64)
        types = (array == self.image_id).astype(np.int64)
        prefix = int(types.argmax()) if image_tokens else _shared_length(ids, self._prefix(instruction))
        return Tokens(array, types, prefix)

    def checked(self, text: str) -> str:
        """Return a text as it is tokenised; InputError for one that holds a placeholder of a picture."""
        text = _valid(text)
        for token in self._reserved:
            if token in text:
                raise InputError(
                    f"the text contains {token}, which the model would read as an image; remove it"
                )
        return text

    def encode_messages(self, messages: Sequence[Message], image_tokens: Sequence[int]) -> Tokens:
        """Return the tokens of a conversation as it stands, however many there are.

        ``image_tokens`` is how many tokens each picture in it takes, in their order. The prefix is what stands before
        the first of them. Texts must have been ``checked``. Raises CheckpointError if the template fails.
        """
        ids = np.asarray(self._ids(messages, image_tokens), dtype=np.int64)
        types = (ids == self.image_id).astype(np.int64)
        return Tokens(ids, types, int(types.argmax()))

    def overhead(self, instruction: str) -> int:
        """Return how many tokens a picture's prompt has beside those of the picture itself."""
        return len(self.encode(None, 1, instruction).ids) - 1

    def _text_prefix(self, instruction: str) -> list[int]:
        """Return the tokens that stand before a text: what the prompts of two different texts begin with."""
        one, other = (self._input_ids(instruction, text, 0) for text in ("a", "1"))
        return one[: _shared_length(one, other)]

    def _shortened(
        self,
        instruction: str,
        text: str | None,
        image_tokens: int,
        max_length: int,
        ids: list[int],
        notify: Notify | None,
    ) -> list[int]:
        """Cut the text so that the whole prompt has at most ``max_length`` tokens, or say why it can't be."""
        if not image_tokens:
            raise InputError(
                f"the text has {len(ids)} tokens with its prompt, but the limit is {max_length}: shorten it"
            )
        bare = len(self._input_ids(instruction, None, image_tokens))
        if bare > max_length:
            raise InputError(
                f"the image takes {image_tokens} tokens and its prompt {bare - image_tokens} more, but the limit is "
                f"{max_length}: choose fewer pixels, or a shorter instruction"
            )
        assert text is not None  # else the bare prompt is this one, and too long
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets
        keep, whole = len(spans), text
        # A cut can change how the text around it splits into tokens, so the result is counted, not assumed.
        while len(ids) > max_length:
            keep = max(0, keep - (len(ids) - max_length))
            text = whole[: spans[keep - 1][1]] if keep else None
            ids = self._input_ids(instruction, text, image_tokens)
        if notify is not None:
            notify(
                f"a text of {len(spans)} tokens with an image was cut to its first {keep}: "
                f"a prompt has at most {max_length} tokens"
            )
        return ids

    def _input_ids(self, instruction: str, text: str | None, image_tokens: int) -> list[int]:
        """Tokenise the conversation of one input."""
        parts: list[dict[str, str]] = [{"type": "image"}] if image_tokens else []
        if text is not None:
            parts.append({"type": "text", "text": text})
        messages: list[Message] = [{"role": "user", "content": parts}]
        if instruction:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": instruction}]})
        return self._ids(messages, [image_tokens] if image_tokens else [])

    def _ids(self, messages: Sequence[Message], image_tokens: Sequence[int]) -> list[int]:
        """Render the template, put in as many placeholders as the pictures have tokens, and tokenise."""
        try:
            prompt = self._render(messages=messages)
        except Exception as error:  # a template is a program of the checkpoint's: it may fail in any way
            raise CheckpointError(
                f"{self._folder}: the chat template fails ({error_line(error)}); ", MEND
            ) from error
        first, *others = prompt.split(self._image_token)
        if len(others) != len(image_tokens):
            raise CheckpointError(
                f"{self._folder}: the chat template does not place exactly {_images(len(image_tokens))}; ",
                MEND,
            )
        placed = zip(image_tokens, others, strict=True)
        prompt = first + "".join(self._image_token * count + text for count, text in placed)
        ids: list[int] = self._tokenizer.encode(prompt).ids
        return ids

    def _vision_token(self, config: dict[str, Any], name: str) -> str:
        """Return the text of a special token that config.json gives by its id."""
        token: str | None = self._tokenizer.id_to_token(config[name])
        if token is None:
            raise CheckpointError(
                f"{self._folder}: the {name} of config.json ({config[name]}) is not in tokenizer.json; ", MEND
            )
        return token


def check_embeds(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a model that only generates text, like the instruct models of the same family.

    Its tensors have the same names and load, but its vectors are not embeddings. An embedding model has modules of
    sentence-transformers, or a tokenizer that ends every prompt in a token whose state is the embedding.
    """
    if checkpoint.modules is None and not _appends_token(checkpoint):
        raise CheckpointError(
            f"{checkpoint.name or checkpoint.folder} is not an embedding model: it looks like one that only generates "
            "text (there is no modules.json, and its tokenizer appends no end token). Use an embedding model, such as "
            "Qwen/Qwen3-VL-Embedding-2B, or use this one anyway with ",
            Option("force_model", True),
        )


def check_reranks(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a model that is no reranker: an embedding model, or one that only generates text.

    The weights are no witness: all three have the same. A reranker says it by its modules, as the published ones do, or
    else by its name.
    """
    checkpoint.check_family()
    name = checkpoint.name or checkpoint.folder
    if not is_reranker(checkpoint):
        embeds = checkpoint.modules is not None or _appends_token(checkpoint)
        kind = "an embedding model" if embeds else "a model that only generates text"
        raise CheckpointError(f"{name} is not a reranker: it looks like {kind}; use {RERANKER}")


def is_reranker(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint is a reranker, as ``check_reranks`` does."""
    if checkpoint.modules is not None:
        return any(module.kind == SCORE for module in checkpoint.modules)
    names = (checkpoint.name, checkpoint.folder, str(checkpoint.source.get("repo")))
    called = any("rerank" in name.rstrip("/").rpartition("/")[2].lower() for name in names)
    return called and not _appends_token(checkpoint)


def token_id(checkpoint: Checkpoint, word: str) -> int:
    """Return the token of a reranker's answer, "yes" or "no": as its modules have it, else by the tokenizer."""
    for module in checkpoint.modules or ():
        if module.kind == SCORE:
            name = os.path.join(module.path, "config.json")
            found = checkpoint.read_object(name).get(_ANSWERS[word])
            if type(found) is not int or found < 0:
                raise CheckpointError(f"{checkpoint.folder}/{name} has no valid {_ANSWERS[word]}; ", MEND)
            return found
    tokenizer, _ = _read_tokenizer(checkpoint)
    by_name: int | None = tokenizer.token_to_id(word)
    if by_name is None:
        raise CheckpointError(f"{checkpoint.folder}: tokenizer.json has no token for {word!r}; ", MEND)
    return by_name


def _appends_token(checkpoint: Checkpoint) -> bool:
    tokenizer, _ = _read_tokenizer(checkpoint)
    whole, bare = (tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
    return bool(whole[-1:] != bare[-1:])


def _shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the first tokens that two prompts have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _images(count: int) -> str:
    return "one image" if count < 2 else f"{count} images"


def _valid(text: str) -> str:
    """Put U+FFFD for what is no character: a shell hands over bytes that are no UTF-8 as lone surrogates."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def _read_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, dict[str, Any]]:
    """Return the tokenizer of tokenizer.json, never cutting or padding by itself, and the padding it came with.

    It is read once: that of the published model takes most of a second.
    """
    if _MEMO not in checkpoint.memo:
        checkpoint.memo[_MEMO] = _parse_tokenizer(checkpoint)
    tokenizer: tuple[Tokenizer, dict[str, Any]] = checkpoint.memo[_MEMO]
    return tokenizer


def _parse_tokenizer(checkpoint: Checkpoint) -> tuple[Tokenizer, dict[str, Any]]:
    name = "tokenizer.json"
    if not checkpoint.has(name):
        raise CheckpointError(f"{checkpoint.folder} is not a complete model: {name} is missing; ", MEND)
    try:
        tokenizer = Tokenizer.from_buffer(checkpoint.read(name))
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(
            f"{checkpoint.folder}/{name} is not a valid tokenizer ({error_line(error)}); ", MEND
        ) from error
    padding = tokenizer.padding or {}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, padding


def _compile(checkpoint: Checkpoint) -> jinja2.Template:
    """Compile the chat template in jinja2's sandbox, with the helpers that transformers gives to templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    folder, source = checkpoint.folder, checkpoint.chat_template
    try:
        template = environment.from_string(source)
        variables = jinja2.meta.find_undeclared_variables(environment.parse(source))
        if "task" in variables and checkpoint.has(MODULES):
            # To such a template sentence-transformers says which side it renders; nothing else would.
            raise CheckpointError(f"{folder}: its chat template depends on 'task', which is not supported")
        return template
    except jinja2.TemplateError as error:
        raise CheckpointError(
            f"{folder}: the chat template is not valid ({error_line(error)}); ", MEND
        ) from error


class _Generation(Extension):
    """Accepts the tag {% generation %}, which marks the assistant's words for training, and ignores it."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[Node]:
        """Return the body between the tags as it stands."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    """Let a template refuse its input."""
    raise jinja2.TemplateError(message)


def _token_text(token: Any) -> str | None:
    """Return a special token's text from tokenizer_config.json, where it is a string or an object."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
