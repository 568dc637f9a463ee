"""Tests of the chat template, the tokenizer and padding."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from tokenizers import Tokenizer

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import punctuated
from imgsearch.model.prompt import MAX_LENGTH, PromptEncoder, Tokens
from imgsearch.model.reference import pad_batch
from imgsearch.types import MAX_TEXT_BYTES


@pytest.fixture(scope="module")
def prompter(tiny_checkpoint: str) -> PromptEncoder:
    """Give the prompter of the tiny checkpoint."""
    return PromptEncoder(Checkpoint(tiny_checkpoint))


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: str) -> Tokenizer:
    """Give the tiny checkpoint's tokenizer, to read token ids with."""
    return Tokenizer.from_file(os.path.join(tiny_checkpoint, "tokenizer.json"))


def _edit(folder: str, name: str, **changes) -> None:
    """Set keys of a JSON file of a checkpoint; a file that is not there begins empty."""
    path = os.path.join(folder, name)
    content = {}
    if os.path.exists(path):
        with open(path) as file:
            content = json.load(file)
    with open(path, "w") as file:
        json.dump(content | changes, file)


def _words(tokenizer: Tokenizer, tokens: Tokens) -> str:
    """Return the prompt as text, special tokens shown."""
    return tokenizer.decode(tokens.ids.tolist(), skip_special_tokens=False)


def test_text_prompt(prompter: PromptEncoder, tokenizer: Tokenizer):
    """A text stands in the user's turn, after the instruction and before the generation prompt."""
    assert _words(tokenizer, prompter.encode("a cat")) == (
        "<|im_start|>system\nRepresent the user's input.<|im_end|>\n"
        "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
    )


def test_picture_comes_before_the_text(prompter: PromptEncoder, tokenizer: Tokenizer):
    """A picture's tokens, as many as it takes, stand between the vision marks and before the text."""
    tokens = prompter.encode("a cat", 3)
    assert "<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|vision_end|>a cat" in _words(
        tokenizer, tokens
    )
    assert tokens.types.sum() == 3
    assert (tokens.ids[tokens.types == 1] == prompter.image_id).all()


def test_a_prompt_that_is_kept_is_given_anew_each_time(prompter: PromptEncoder):
    """Images of one size have one prompt, which is rendered once; whoever gets it may write into it."""
    first = prompter.encode(None, 6)
    first.ids[:] = -1
    again, other = prompter.encode(None, 6), prompter.encode(None, 7)
    assert again.types.sum() == 6
    assert other.types.sum() == 7
    assert (again.ids >= 0).all()
    assert (prompter.encode("a cat", 6).ids[:5] == again.ids[:5]).all()


def test_post_processor_is_run(prompter: PromptEncoder, tokenizer: Tokenizer, tiny_checkpoint_bare: str):
    """What the checkpoint's tokenizer appends to every prompt, if anything, is its last token."""
    bare = PromptEncoder(Checkpoint(tiny_checkpoint_bare)).encode("a cat").ids
    assert _words(tokenizer, prompter.encode("a cat")).endswith("<|im_start|>assistant\n<|endoftext|>")
    assert np.array_equal(prompter.encode("a cat").ids[:-1], bare)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("Find it", "Find it."),
        ("  Find it \n", "Find it."),
        ("Find it!", "Find it!"),
        ("画像を探す。", "画像を探す。"),
        ("a+b", "a+b."),
        ("cost 5$", "cost 5$."),
        ("", ""),
    ],
)
def test_instruction_ends_in_punctuation(given: str, taken: str):
    """An instruction is stripped, and gets a full stop unless it ends in punctuation of any script."""
    assert punctuated(given) == taken


def test_instruction_is_used(prompter: PromptEncoder, tokenizer: Tokenizer):
    """An instruction of one's own replaces the default one, as it stands."""
    words = _words(tokenizer, prompter.encode("a cat", instruction="Find the animal"))
    assert "system\nFind the animal<|im_end|>" in words


@pytest.mark.parametrize("text", [None, "", " \n\t"])
def test_nothing_to_embed(prompter: PromptEncoder, text: str | None):
    """An empty or blank text without a picture is refused, and beside a picture it counts as none."""
    with pytest.raises(InputError, match="nothing to embed"):
        prompter.encode(text)
    assert np.array_equal(prompter.encode(text, 4).ids, prompter.encode(None, 4).ids)


@pytest.mark.parametrize(
    ("text", "instruction", "image_tokens"),
    [("x" * 20_000_000, "Find it", 0), ("é" * 600_000, "Find it", 4), ("a cat", "x" * 2_000_000, 0)],
    ids=["text", "text beside an image", "instruction"],
)
def test_what_no_prompt_can_hold_is_not_tokenised(
    prompter: PromptEncoder, text: str, instruction: str, image_tokens: int, monkeypatch: pytest.MonkeyPatch
):
    """A text that is too long by its bytes alone is refused before the tokenizer, in which it would take gigabytes."""
    monkeypatch.setattr(prompter, "_tokenizer", None)
    with pytest.raises(InputError, match="longer than 1,048,576 bytes"):
        prompter.encode(text, image_tokens, instruction)


def test_the_bound_refuses_nothing_that_could_fit(tokenizer: Tokenizer):
    """No token is longer than the bound allows for each of a prompt's tokens."""
    longest = max(len(token) for token in tokenizer.get_vocab())  # a character of these stands for a byte
    assert longest * MAX_LENGTH <= MAX_TEXT_BYTES


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"])
def test_placeholders_in_a_text(prompter: PromptEncoder, token: str):
    """A text or an instruction that holds a picture's placeholder is refused by its name."""
    with pytest.raises(InputError) as caught:
        prompter.encode(f"see {token} here", 4)
    assert token in str(caught.value)
    with pytest.raises(InputError):
        prompter.encode("a cat", instruction=token)


def test_long_text_alone_is_refused(prompter: PromptEncoder):
    """A query of more than 8,192 tokens is an error that gives its number of tokens and the limit."""
    text = "cat " * 9000
    with pytest.raises(InputError, match="the limit is 8192") as caught:
        prompter.encode(text)
    count = len(prompter.encode(text, max_length=10**6).ids)
    assert f"{count} tokens" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["cat " * 9000, "snow\n\n and \N{CAT FACE}\N{SNOWFLAKE} " * 3000, "é" * 20_000]
)
def test_long_text_beside_a_picture_is_cut(prompter: PromptEncoder, tokenizer: Tokenizer, text: str):
    """A text beside a picture is cut from its end to the limit, and that is said; the picture stays whole."""
    said: list[str] = []
    tokens = prompter.encode(text, 56, notify=said.append)
    assert 8192 - 8 <= len(tokens.ids) <= 8192
    assert tokens.types.sum() == 56
    words = _words(tokenizer, tokens)
    assert words.endswith("<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")
    kept = words.split("<|vision_end|>")[1].split("<|im_end|>")[0].rstrip("\N{REPLACEMENT CHARACTER}")
    assert text.startswith(kept)
    assert len(said) == 1
    assert "cut" in said[0]
    assert "8192" in said[0]


def test_text_may_be_cut_to_nothing(prompter: PromptEncoder):
    """Where the picture leaves no room, the whole text goes and the picture's tokens stay."""
    bare = len(prompter.encode(None, 50).ids)
    tokens = prompter.encode("a long story", 50, max_length=bare, notify=lambda line: None)
    assert np.array_equal(tokens.ids, prompter.encode(None, 50).ids)


def test_too_large_a_picture(prompter: PromptEncoder):
    """A picture that fills the whole prompt by itself is refused."""
    with pytest.raises(InputError, match="choose fewer pixels"):
        prompter.encode("a cat", 9000)


def test_a_tokenizer_that_cuts_by_itself_is_not_obeyed(tiny_copy: str, prompter: PromptEncoder):
    """Truncation and padding that were saved in tokenizer.json are switched off; its padding side is kept."""
    path = os.path.join(tiny_copy, "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(direction="left", length=99, pad_id=7, pad_token="<|im_end|>")
    tokenizer.save(path)
    other = PromptEncoder(Checkpoint(tiny_copy))
    assert np.array_equal(other.encode("a cat").ids, prompter.encode("a cat").ids)
    assert other.padding_side == "left"


def test_padding_side_and_token_come_from_the_checkpoint(
    tiny_copy: str, prompter: PromptEncoder, tokenizer: Tokenizer
):
    """The right is the side where the checkpoint says nothing; what tokenizer_config.json says is taken."""
    assert prompter.padding_side == "right"
    assert prompter.pad_id == tokenizer.token_to_id("<|endoftext|>")
    _edit(tiny_copy, "tokenizer_config.json", padding_side="left", pad_token={"content": "<|vision_pad|>"})
    other = PromptEncoder(Checkpoint(tiny_copy))
    assert other.padding_side == "left"
    assert other.pad_id == tokenizer.token_to_id("<|vision_pad|>")


@pytest.mark.parametrize(
    ("side", "ids", "attention"), [("right", [1, 2, 9], [1, 1, 0]), ("left", [9, 1, 2], [0, 1, 1])]
)
def test_padding(side: str, ids: list[int], attention: list[int]):
    """Shorter prompts are filled up on the side that was asked for, and the fill is not attended to."""
    short = Tokens(np.array([1, 2]), np.array([0, 1]))
    long = Tokens(np.array([3, 4, 5]), np.array([1, 0, 0]))
    padded = pad_batch([short, long], side, 9)
    assert padded.ids.tolist() == [ids, [3, 4, 5]]
    assert padded.attention.tolist() == [attention, [1, 1, 1]]
    assert padded.types.sum(axis=1).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("chat_template.json", "{{ messages[1].content[0].text }}"),
        (
            "tokenizer_config.json",
            [{"name": "other", "template": "no"}, {"name": "default", "template": "def"}],
        ),
    ],
)
def test_template_from_other_places(tiny_copy: str, name: str, template):
    """Older checkpoints keep the template in chat_template.json or, one of several, in tokenizer_config.json."""
    os.remove(os.path.join(tiny_copy, "chat_template.jinja"))
    _edit(tiny_copy, name, chat_template=template)
    tokenizer = Tokenizer.from_file(os.path.join(tiny_copy, "tokenizer.json"))
    assert _words(tokenizer, PromptEncoder(Checkpoint(tiny_copy)).encode("def")) == "def<|endoftext|>"


def test_template_gets_what_transformers_gives(tiny_copy: str):
    """Templates may use loop controls, tojson, the date, named special tokens and the generation tag."""
    template = (
        "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ {'é': '<'} | tojson }}{% endfor %}"
        "{% generation %}x{% endgeneration %}{{ strftime_now('%%') }}{{ eos_token }}{{ bos_token }}"
    )
    _write_template(tiny_copy, template)
    tokenizer = Tokenizer.from_file(os.path.join(tiny_copy, "tokenizer.json"))
    assert (
        _words(tokenizer, PromptEncoder(Checkpoint(tiny_copy)).encode("a"))
        == '{"é": "<"}x%<|im_end|><|endoftext|>'
    )


def _write_template(folder: str, template: str) -> None:
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[7].content }}",
        "{{ messages[1].content[1].text }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "without a picture",
        "<|image_pad|><|image_pad|>",
    ],
)
def test_template_that_fails(tiny_copy: str, template: str):
    """A template that refuses, breaks, reaches out of the sandbox or places no picture is the checkpoint's error."""
    _write_template(tiny_copy, template)
    with pytest.raises(CheckpointError, match="chat template") as caught:
        PromptEncoder(Checkpoint(tiny_copy)).encode(None, 4)
    assert tiny_copy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_template_that_does_not_compile(tiny_copy: str):
    """A template with a syntax error is refused when the checkpoint is opened."""
    _write_template(tiny_copy, "{% if %}")
    with pytest.raises(CheckpointError, match="chat template is not valid"):
        PromptEncoder(Checkpoint(tiny_copy))


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "config.json"])
def test_missing_files(tiny_copy: str, name: str):
    """A checkpoint without its template, tokenizer or config is refused with its folder's name."""
    os.remove(os.path.join(tiny_copy, name))
    with pytest.raises(CheckpointError) as caught:
        PromptEncoder(Checkpoint(tiny_copy))
    assert tiny_copy in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "tokenizer_config.json"])
def test_broken_files(tiny_copy: str, name: str):
    """A file that is no JSON is refused by its name, in one line."""
    with open(os.path.join(tiny_copy, name), "w") as file:
        file.write("{broken\n")
    with pytest.raises(CheckpointError, match=name) as caught:
        PromptEncoder(Checkpoint(tiny_copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image_id", [None, 10**6])
def test_ids_that_do_not_fit(tiny_copy: str, image_id: int | None):
    """A config whose image token is missing, or unknown to the tokenizer, is refused."""
    _edit(tiny_copy, "config.json", image_token_id=image_id)
    with pytest.raises(CheckpointError, match="image_token_id"):
        PromptEncoder(Checkpoint(tiny_copy))
