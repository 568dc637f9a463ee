"""A checkpoint made like the published ones: what its small files ask for is what the model gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import DEFAULT_INSTRUCTION, own_conventions
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.prompt import PromptEncoder
from imgsearch.model.reference import load_model
from imgsearch.spec import choose_spec
from imgsearch.types import Input, ModelOptions, Runtime, Silent
from support.sentence_folders import sentence_folder

# As in the published template, the words stand in it where no system message is given.
TEMPLATE = """\
{%- set default_system_message = 'Represent the user\\'s input.' -%}
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' }}
    {%- for content in messages[0].content %}{{- content.text }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\n' + default_system_message + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- for content in message.content %}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' if content.type == 'image' else content.text }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt }}
"""


@pytest.fixture
def published(tiny_checkpoint: str, tmp_path: Path) -> str:
    """Give a folder with the published modules, the only prompt "default", and the published kind of template."""
    prompts = {"default": DEFAULT_INSTRUCTION}
    folder = sentence_folder(
        tiny_checkpoint, tmp_path / "published", prompts=prompts, default_prompt_name="default"
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


def test_the_only_prompt_is_that_of_neither_side(published: str) -> None:
    """Named "default", it is used by neither encode_query nor encode_document: the template's own words are."""
    conventions = own_conventions(Checkpoint(published))
    assert conventions.prompts() == ("", "")
    spec = choose_spec(ModelOptions(published), Silent())[1]
    assert (spec.query_prompt, spec.document_prompt) == ("", "")


def test_without_an_instruction_the_template_says_its_own(published: str) -> None:
    """The prompt is the same as with the published instruction as its system message, and ends in the end token."""
    prompter = PromptEncoder(Checkpoint(published))
    tokenizer = Tokenizer.from_file(f"{published}/tokenizer.json")
    for image_tokens in (0, 2):
        bare = prompter.encode("a cat", image_tokens, "")
        assert np.array_equal(bare.ids, prompter.encode("a cat", image_tokens, DEFAULT_INSTRUCTION).ids)
        words = tokenizer.decode(bare.ids.tolist(), skip_special_tokens=False)
        assert words.startswith(f"<|im_start|>system\n{DEFAULT_INSTRUCTION}<|im_end|>\n<|im_start|>user\n")
        assert words.endswith("a cat<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")


def test_the_end_token_is_pooled(published: str) -> None:
    """The embedding is the last hidden state of <|endoftext|>, at length one."""
    embedder = Qwen3VLEmbedder(published, device="cpu", dtype="float32")
    tokens = PromptEncoder(Checkpoint(published)).encode("a cat", 0, "")
    model = load_model(Checkpoint(published), Runtime("cpu", "float32", "for a test"))
    with torch.inference_mode():
        ids = torch.from_numpy(tokens.ids)[None]
        states = model(ids, torch.ones_like(ids)).last_hidden_state[0].numpy()
    assert (
        Tokenizer.from_file(f"{published}/tokenizer.json").id_to_token(int(tokens.ids[-1])) == "<|endoftext|>"
    )
    expected = states[-1] / np.linalg.norm(states[-1])
    np.testing.assert_allclose(embedder.embed([Input("a cat", instruction="")])[0], expected, atol=2e-5)
