"""Parity with sentence-transformers: a checkpoint in its format gives here the vectors that the library itself gives.

The library runs in an environment of its own, pinned in tests/parity/reference; `make reference` builds it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgsearch.search.encoding import embed_inputs
from imgsearch.types import ModelOptions
from support import ROOT
from support.pictures import scene
from support.sentence_folders import change, modules, sentence_folder, write

PYTHON = Path(os.environ.get("IMGSEARCH_REFERENCE", ROOT / ".venv-reference" / "bin" / "python"))
QUERIES = [
    "a cat on the grass",
    "Ein Café in Zürich — 猫と犬, \N{CAT FACE}!\n\n  two  spaces",
    "a boat with three people on the lake, mountains, snow, clouds and a long shadow in the evening light",
]
SIZES = [(640, 427), (333, 500), (1200, 150), (40, 30), (90, 700), (320, 160)]
PROMPTS = {"query": "Find a picture that shows this", "document": "Represent the picture"}
# A template that says something of its own where no system message is given, as Qwen's chat models have it.
DEFAULTING = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nA cat and a dog.<|im_end|>\n{% endif %}"
)

Variant = Callable[[Path], None]


def _config(**values: object) -> Variant:
    return lambda folder: change(folder, "config_sentence_transformers.json", **values)


def _processing(**values: object) -> Variant:
    return lambda folder: change(folder, "sentence_bert_config.json", processing_kwargs=values)


def _old_format(folder: Path) -> None:
    """Put everything as versions before 5.4 wrote it, but for the modalities, which they did not have."""
    modules(
        folder, *(f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize"))
    )
    shutil.rmtree(folder / "2_Normalize")
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")
    old = {f"pooling_mode_{mode}": False for mode in modes} | {"pooling_mode_lasttoken": True}
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": 128, **old, "include_prompt": False})
    change(folder, "sentence_bert_config.json", max_seq_length=4096, do_lower_case=False)


def _without_format(folder: Path) -> None:
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    del settings["modality_config"]["message"]["format"]
    write(folder, "sentence_bert_config.json", settings)


def _without_normalize(folder: Path) -> None:
    entries = json.loads((folder / "modules.json").read_text())
    write(folder, "modules.json", entries[:2])


def _defaulting_template(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(DEFAULTING + template.read_text())


VARIANTS: dict[str, tuple[Variant, ...]] = {
    "prompts on both sides": (),
    "a prompt for queries only": (_config(prompts={"query": "Find it!"}),),
    "empty prompts": (_config(prompts={"query": "", "document": ""}),),
    "no prompts": (_config(prompts={}),),
    "no configuration": (lambda folder: (folder / "config_sentence_transformers.json").unlink(),),
    "a default prompt": (_config(prompts={"web": "A page"}, default_prompt_name="web"),),
    "the query's is the default": (_config(default_prompt_name="query"),),
    "a prompt of another name": (_config(prompts={"query": "Q", "passage": "A page", "corpus": "A text"}),),
    "a prompt with spaces": (_config(prompts={"query": "  Find it \n", "document": " "}),),
    "cut to 48 dimensions": (_config(truncate_dim=48),),
    "cut to more than there is": (_config(truncate_dim=500),),
    "the old format": (_old_format,),
    "a message format to find out": (_without_format,),
    "no Normalize": (_without_normalize,),
    "no generation prompt": (_processing(),),
    "padding on the left": (
        _processing(chat_template={"add_generation_prompt": True}, text={"padding_side": "left"}),
    ),
    "padding on the right": (
        _processing(chat_template={"add_generation_prompt": True}, text={"padding_side": "right"}),
    ),
    "a budget of the modules": (
        _processing(
            chat_template={"add_generation_prompt": True},
            image={"size": {"shortest_edge": 2_048, "longest_edge": 20_480}},
        ),
    ),
    "a template that speaks for itself": (_defaulting_template, _config(prompts={"query": "Find it."})),
}
SAVED = "saved by the library"
ENDING = "a tokenizer that appends nothing"


@pytest.fixture(scope="module")
def folders(
    tiny_checkpoint: str, tiny_checkpoint_bare: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Give a folder for each variant, and one each that the library itself will write and that differs in tokens."""
    home = tmp_path_factory.mktemp("sentence")
    found = {}
    for number, (name, changes) in enumerate(VARIANTS.items()):
        found[name] = sentence_folder(tiny_checkpoint, home / f"variant{number}", prompts=PROMPTS)
        for apply in changes:
            apply(found[name])
    found[ENDING] = sentence_folder(tiny_checkpoint_bare, home / "ending", prompts=PROMPTS)
    found[SAVED] = home / "saved"
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give picture files of several shapes, some above the budget and one below."""
    home = tmp_path_factory.mktemp("pictures")
    paths = [str(home / f"{width}x{height}.png") for width, height in SIZES]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        scene(seed, size).save(path)
    return paths


@pytest.fixture(scope="module")
def reference(
    folders: dict[str, Path],
    pictures: list[str],
    tiny_checkpoint: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Run the library once over all folders: name → vectors of the queries and of the pictures."""
    if not PYTHON.exists():
        reason = f"{PYTHON} is missing; build it with: make reference"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("reference")
    plain = home / "plain"
    shutil.copytree(tiny_checkpoint, plain)
    change(plain, "preprocessor_config.json", size={"shortest_edge": 4_096, "longest_edge": 57_600})
    save = {"save": str(plain), "to": str(folders[SAVED]), "prompts": PROMPTS, "truncate_dim": 64}
    stems = {name: str(home / str(number)) for number, name in enumerate(folders)}
    cases = [
        {"folder": str(folder), "queries": QUERIES, "documents": pictures, "out": stems[name]}
        for name, folder in folders.items()
    ]
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("reference") / "encode.py"],
        input=json.dumps([save, *cases]),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        name: (np.load(f"{stem}-queries.npy"), np.load(f"{stem}-documents.npy"))
        for name, stem in stems.items()
    }


@pytest.mark.parametrize("name", [*VARIANTS, ENDING, SAVED])
def test_vectors_are_those_of_the_library(
    name: str,
    folders: dict[str, Path],
    pictures: list[str],
    reference: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Texts get the vectors of encode_query, pictures those of encode_document, in the length that they have there."""
    choice = ModelOptions(str(folders[name]), device="cpu", dtype="float32")
    ours = (embed_inputs(QUERIES, texts=True, choice=choice), embed_inputs(pictures, choice=choice))
    for mine, theirs in zip(ours, reference[name], strict=True):
        assert mine.shape == theirs.shape
        # Not every variant normalises, and a cut vector is no unit vector there.
        cosines = (mine * theirs).sum(1) / np.linalg.norm(theirs, axis=1)
        assert cosines.min() >= 0.9999


def test_the_prompts_are_told_apart(reference: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Each prompt changes the vectors by more than the parity allows, so that the comparison above can fail."""
    base = reference["prompts on both sides"]
    for name in ("empty prompts", "a prompt with spaces", "no generation prompt"):
        for one, other in zip(base, reference[name], strict=True):
            assert ((one * other).sum(1) < 0.9999).all(), name
