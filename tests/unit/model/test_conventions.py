"""How a checkpoint wants to be used: what is read from its files, what the user may change, what is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.cli.spelling import spelled
from imgsearch.errors import CheckpointError, IndexMismatch, UsageError
from imgsearch.index import manifest
from imgsearch.indexing.options import IndexOptions
from imgsearch.model import locate
from imgsearch.model.checkpoint import SOURCE_FILE, Checkpoint
from imgsearch.model.conventions import DEFAULT_INSTRUCTION, own_conventions, processor_budget, read_pipeline
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.prompt import PromptEncoder
from imgsearch.spec import check_options, choose_spec, keep_settings
from imgsearch.text import Call
from imgsearch.types import IndexSpec, Input, ModelOptions, PixelBudget, Silent
from support.cli import imgsearch
from support.fakes import Notes
from support.pictures import scene
from support.sentence_folders import change, modules, sentence_folder, write

DIM = 128
PROMPTS = {"query": "Find a picture that shows this", "document": "Represent the picture"}
VDR = "tomaarsen/Qwen3-VL-Embedding-2B-vdr"
CHAT = {"add_generation_prompt": True}


@pytest.fixture
def sentence(tiny_checkpoint: str, tmp_path: Path) -> Path:
    """Give a folder in sentence-transformers' format that a test may change."""
    return sentence_folder(tiny_checkpoint, tmp_path / "sentence", prompts=PROMPTS, truncate_dim=64)


def _spec(folder: str | Path, **choice: Any) -> IndexSpec:
    return choose_spec(ModelOptions(str(folder), **choice), Silent())[1]


# ---- what is read ---------------------------------------------------------------------------------------------


def test_a_plain_checkpoint_is_used_as_published(tiny_checkpoint: str) -> None:
    """Without modules: the published instruction on both sides, every dimension, the fastest budget, no remark."""
    own = own_conventions(Checkpoint(tiny_checkpoint))
    assert (own.query_prompt, own.document_prompt, own.verbatim) == (DEFAULT_INSTRUCTION,) * 2 + (False,)
    assert (own.dim, own.full_dim, own.matryoshka_dims) == (DIM, DIM, ())
    assert own.pixels == PixelBudget(4_096, 57_600)
    assert own.notes() == []


def test_a_sentence_checkpoint_is_used_as_it_says(sentence: Path) -> None:
    """With modules: its own prompts as they stand, and its truncate_dim with the reason."""
    own = own_conventions(Checkpoint(str(sentence)))
    assert (own.query_prompt, own.document_prompt, own.verbatim) == (*PROMPTS.values(), True)
    assert (own.dim, own.full_dim) == (64, DIM)
    assert own.pixels == PixelBudget(4_096, 57_600)
    assert own.notes() == ["64 of 128 dimensions (its truncate_dim)"]


def test_the_format_that_the_visual_documents_model_was_saved_in(sentence: Path) -> None:
    """Version 5.4's development wrote the message format beside the modalities; it says the same there."""
    messages = {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}
    change(sentence, "sentence_bert_config.json", modality_config=messages, message_format="structured")
    assert own_conventions(Checkpoint(str(sentence))).generation_prompt
    change(sentence, "sentence_bert_config.json", message_format="flat")
    with pytest.raises(CheckpointError, match="the message format 'flat'"):
        _ = own_conventions(Checkpoint(str(sentence)))


def test_the_budget_of_training_is_the_default(tiny_copy: str) -> None:
    """What imgsearch.json says of pixels and dimensions is taken; its other keys are left to others."""
    content = {"pixels": {"min_pixels": 1_024, "max_pixels": 36_864}, "matryoshka_dims": [32, 128, 64]}
    write(Path(tiny_copy), "imgsearch.json", content | {"more": 1})
    own = own_conventions(Checkpoint(tiny_copy))
    assert own.pixels == PixelBudget(1_024, 36_864)
    assert own.matryoshka_dims == (128, 64, 32)
    assert own.notes() == ["at most 36,864 pixels per image (its training budget)"]


def test_the_visual_documents_model_gets_the_budget_it_was_trained_at(tiny_copy: str) -> None:
    """360,000 pixels, whether it is named on the command line or by the record of its download."""
    assert own_conventions(Checkpoint(tiny_copy, VDR)).pixels == PixelBudget(4_096, 360_000)
    write(Path(tiny_copy), SOURCE_FILE, {"repo": VDR, "revision": "main", "commit": "c"})
    assert own_conventions(Checkpoint(tiny_copy)).pixels == PixelBudget(4_096, 360_000)


def test_the_modules_may_ask_for_a_budget(sentence: Path) -> None:
    """A budget among the processing kwargs is the default, one end of it alone with the processor's other end."""
    processing = {"chat_template": CHAT, "image": {"max_pixels": 20_480}}
    change(sentence, "sentence_bert_config.json", processing_kwargs=processing)
    assert own_conventions(Checkpoint(str(sentence))).pixels == PixelBudget(4_096, 20_480)


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        ({"size": {"shortest_edge": 65_536, "longest_edge": 262_144}}, (65_536, 262_144)),
        ({"min_pixels": 3_136, "max_pixels": 602_112}, (3_136, 602_112)),
        ({"size": {"shortest_edge": 1, "longest_edge": 2}, "max_pixels": 4_000}, (1, 4_000)),
    ],
)
def test_the_processors_budget(tiny_copy: str, settings: dict[str, Any], budget: tuple[int, int]) -> None:
    """--detail checkpoint takes the image processor's pixels in either notation."""
    change(Path(tiny_copy), "preprocessor_config.json", **{"size": None, **settings})
    assert processor_budget(Checkpoint(tiny_copy)) == PixelBudget(*budget)
    assert _spec(tiny_copy, pixels="checkpoint").pixels == PixelBudget(*budget)


def test_the_joint_processor_file_comes_first(tiny_copy: str) -> None:
    """A processor_config.json with an image processor is what sentence-transformers reads, and so is read here."""
    settings = json.loads(Path(tiny_copy, "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 1_024, "longest_edge": 99_999}
    write(Path(tiny_copy), "processor_config.json", {"image_processor": settings})
    assert processor_budget(Checkpoint(tiny_copy)) == PixelBudget(1_024, 99_999)


# ---- what the user may change ---------------------------------------------------------------------------------


def test_flags_come_before_what_the_checkpoint_wants(sentence: Path) -> None:
    """--dim, --max-pixels and --instruction win; the instruction holds for both sides and is not altered."""
    given = _spec(sentence, dim=128, pixels=PixelBudget(4_096, 9_999), instruction="Find the page")
    assert (given.dim, given.pixels.max_pixels) == (128, 9_999)
    assert (given.query_prompt, given.document_prompt) == ("Find the page", "Find the page")
    own = _spec(sentence)
    assert (own.dim, own.query_prompt, own.document_prompt) == (64, *PROMPTS.values())


def test_a_plain_checkpoints_instruction_ends_in_punctuation(tiny_checkpoint: str) -> None:
    """What the published script does with an instruction is done for the checkpoints it was published with."""
    assert _spec(tiny_checkpoint, instruction="Find cats").query_prompt == "Find cats."


@pytest.mark.parametrize("make", ["plain", "sentence"])
def test_an_empty_instruction_is_none_at_all(make: str, tiny_checkpoint: str, sentence: Path) -> None:
    """Wherever an instruction is given, "" is no instruction, and only None leaves it to the checkpoint."""
    folder = tiny_checkpoint if make == "plain" else str(sentence)
    own = own_conventions(Checkpoint(folder))
    assert own.prompts("") == ("", "")
    assert own.prompts() == own.prompts(None) == (own.query_prompt, own.document_prompt)
    assert own.prompts("Find cats!", document="") == ("Find cats!", "")
    have, empty = _spec(folder), _spec(folder, instruction="")
    assert (empty.query_prompt, empty.document_prompt) == ("", "")
    with pytest.raises(IndexMismatch, match="the instruction"):
        compare(have, ModelOptions(instruction=""))
    compare(empty, ModelOptions(instruction=""))
    anew = keep_settings(ModelOptions(instruction=""), have)
    assert choose_spec(anew, Silent())[1].query_prompt == ""


def test_an_empty_instruction_reaches_the_model(tiny_checkpoint: str) -> None:
    """For the embedder, for one input and for a query of an index, "" gives the vector of a bare message."""
    plain = Qwen3VLEmbedder(tiny_checkpoint, device="cpu")
    bare = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", instruction="")
    (wanted,) = bare.embed(["a cat"])
    assert np.array_equal(plain.embed([Input(text="a cat", instruction="")])[0], wanted)
    assert not np.array_equal(plain.embed(["a cat"])[0], wanted)
    assert not np.array_equal(bare.embed([Input(text="a cat", instruction="Find it.")])[0], wanted)


def test_what_the_checkpoint_chose_is_said(sentence: Path) -> None:
    """A run says which defaults come from the checkpoint, and nothing of those that the user gave."""
    write(sentence, "imgsearch.json", {"pixels": {"min_pixels": 1_024, "max_pixels": 36_864}})
    notes = Notes()
    choose_spec(ModelOptions(str(sentence)), notes)
    assert notes.details == [
        f"{sentence} is used with 64 of 128 dimensions (its truncate_dim); "
        "at most 36,864 pixels per image (its training budget)"
    ]
    notes = Notes()
    choose_spec(ModelOptions(str(sentence), dim=128, pixels="checkpoint"), notes)
    assert notes.details == []


def test_a_dim_that_the_model_lacks_is_refused(sentence: Path) -> None:
    """The most is what the model has, not its truncate_dim."""
    with pytest.raises(UsageError, match=r"dim=129: the embeddings of .* have 128 dimensions"):
        _spec(sentence, dim=129)


def test_an_embedder_follows_the_checkpoint(sentence: Path) -> None:
    """Loaded without settings, it has the checkpoint's length, and its documents' prompt as it stands."""
    embedder = Qwen3VLEmbedder(str(sentence), device="cpu")
    (own,) = embedder.embed([Input(text="a cat")])
    (given,) = embedder.embed([Input(text="a cat", instruction=PROMPTS["document"])])
    (other,) = embedder.embed([Input(text="a cat", instruction=PROMPTS["document"] + ".")])
    assert own.shape == (64,)
    assert np.array_equal(own, given)
    assert own @ other < 0.9999


def test_an_empty_prompt_is_no_message(tiny_checkpoint: str) -> None:
    """Where there is no instruction, there is no system message, as in sentence-transformers."""
    prompter = PromptEncoder(Checkpoint(tiny_checkpoint))
    words = prompter._tokenizer.decode(
        prompter.encode("a cat", instruction="").ids, skip_special_tokens=False
    )
    assert words == "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"


# ---- the fingerprint ------------------------------------------------------------------------------------------


def test_modules_that_change_nothing_leave_the_fingerprint(tiny_copy: str, tmp_path: Path) -> None:
    """Prompts and truncate_dim are the spec's own; a missing generation prompt makes another checkpoint."""
    plain = Checkpoint(tiny_copy).fingerprint
    folder = sentence_folder(tiny_copy, tmp_path / "sentence", prompts=PROMPTS, truncate_dim=64)
    assert Checkpoint(str(folder)).fingerprint == plain
    change(folder, "sentence_bert_config.json", processing_kwargs={"chat_template": {}})
    assert Checkpoint(str(folder)).fingerprint != plain


# ---- what is refused ------------------------------------------------------------------------------------------


def _settings(**values: Any) -> Any:
    return lambda folder: change(folder, "sentence_bert_config.json", **values)


def _pooling(**values: Any) -> Any:
    return lambda folder: change(folder, "1_Pooling/config.json", **values)


def _config(**values: Any) -> Any:
    return lambda folder: change(folder, "config_sentence_transformers.json", **values)


def _kinds(*kinds: str) -> Any:
    return lambda folder: modules(folder, *kinds)


def _message(**values: Any) -> Any:
    message = {"method": "forward", "method_output_name": "last_hidden_state", "format": "structured"}
    return _settings(modality_config={"message": message | values})


_ST = "sentence_transformers.models."
REFUSED = {
    "mean pooling": (_pooling(pooling_mode="mean"), "pooling by mean"),
    "two poolings": (_pooling(pooling_mode=["cls", "lasttoken"]), "pooling by cls and lasttoken"),
    "old cls pooling": (_pooling(pooling_mode=None, pooling_mode_cls_token=True), "pooling by cls"),
    "no pooling named": (_pooling(pooling_mode=None), "pooling by mean"),
    "an unknown key of pooling": (_pooling(temperature=2), "'temperature'"),
    "Dense": (_kinds(_ST + "Transformer", _ST + "Pooling", _ST + "Dense"), "the module Dense"),
    "LSTM": (_kinds(_ST + "Transformer", _ST + "LSTM", _ST + "Pooling"), "the module LSTM"),
    "no pooling": (_kinds(_ST + "Transformer", _ST + "Normalize"), "the modules Transformer, Normalize"),
    "a class of its own": (
        _kinds("custom_st.Transformer", _ST + "Pooling"),
        "the module 'custom_st.Transformer', which is custom code",
    ),
    "text only": (_settings(modality_config=None), "no 'message' in modality_config"),
    "another output": (
        _message(method_output_name="pooler_output"),
        "messages by 'forward' to 'pooler_output'",
    ),
    "flat messages": (_message(format="flat"), "the message format 'flat'"),
    "another task": (_settings(transformer_task="fill-mask"), "transformer_task 'fill-mask'"),
    "lower case": (_settings(do_lower_case=True), "do_lower_case True"),
    "a query length": (_settings(query_length=32), "query_length 32"),
    "an unknown setting": (_settings(rotation=1), "'rotation'"),
    "an unknown bucket": (_settings(processing_kwargs={"images": {}}), "processing_kwargs.images"),
    "a template argument": (
        _settings(processing_kwargs={"chat_template": {"enable_thinking": True}}),
        "processing_kwargs.chat_template.enable_thinking",
    ),
    "an image argument": (
        _settings(processing_kwargs={"image": {"do_resize": False}}),
        "processing_kwargs.image.do_resize",
    ),
    "a model argument": (_settings(model_args={"subfolder": "x"}), "model_kwargs.subfolder"),
    "another kind of model": (_config(model_type="SparseEncoder"), "a SparseEncoder"),
    "another similarity": (_config(similarity_fn_name="euclidean"), "the similarity 'euclidean'"),
    "a truncate_dim of 0": (_config(truncate_dim=0), "truncate_dim 0"),
    "a default prompt that is not there": (
        _config(default_prompt_name="web"),
        "the default_prompt_name 'web'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_name(sentence: Path, name: str) -> None:
    """Whatever would give other vectors than sentence-transformers is an error that names file and setting."""
    spoil, said = REFUSED[name]
    spoil(sentence)
    with pytest.raises(CheckpointError) as caught:
        read_pipeline(Checkpoint(str(sentence)))
    assert said in str(caught.value)
    assert str(sentence) in str(caught.value)
    assert "is not supported" in str(caught.value)


def test_a_transformer_in_a_folder_of_its_own_is_refused(sentence: Path) -> None:
    """Weights are looked for at the root; where they lie deeper, the message says so."""
    entries = json.loads((sentence / "modules.json").read_text())
    entries[0]["path"] = "0_Transformer"
    write(sentence, "modules.json", entries)
    with pytest.raises(CheckpointError, match="'0_Transformer' instead of ''"):
        read_pipeline(Checkpoint(str(sentence)))


def test_a_template_that_wants_to_know_the_side_is_refused(sentence: Path) -> None:
    """sentence-transformers would tell such a template whether it renders a query."""
    template = sentence / "chat_template.jinja"
    template.write_text(template.read_text() + "{{ 'Q' if task == 'query' }}")
    with pytest.raises(CheckpointError, match="depends on 'task'"):
        PromptEncoder(Checkpoint(str(sentence)))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("imgsearch.json", {"pixels": {"max_pixels": 5}}, "imgsearch.json has no valid pixel budget"),
        (
            "imgsearch.json",
            {"pixels": {"min_pixels": 9, "max_pixels": 5}},
            r"from 9 to 5 pixels.*pixels=PixelBudget\(",
        ),
        ("imgsearch.json", {"matryoshka_dims": [256]}, "matryoshka_dims must be numbers from 1 to 128"),
        ("modules.json", {"no": "list"}, "modules.json is damaged"),
        ("modules.json", [{"idx": 0}], "modules.json is damaged"),
        ("modules.json", [{"type": "x.Pooling", "path": "../1_Pooling"}], "outside its folder"),
    ],
)
def test_broken_files_are_named(sentence: Path, name: str, content: Any, said: str) -> None:
    """A file that can't be understood is an error of one line that names it."""
    write(sentence, name, content)
    with pytest.raises(CheckpointError, match=said):
        _ = own_conventions(Checkpoint(str(sentence)))


def test_an_adapter_is_refused(tiny_copy: str) -> None:
    """Weights with an adapter beside them are not what other libraries would compute with."""
    write(Path(tiny_copy), "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(CheckpointError, match=r"an adapter .* merge it into the model"):
        _ = own_conventions(Checkpoint(tiny_copy))


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "sentence_bert_config.json"])
def test_a_folder_that_lacks_settings_of_its_modules_is_not_whole(sentence: Path, name: str) -> None:
    """Half copied checkpoints are found out before they are used."""
    assert Checkpoint(str(sentence)).missing_files() == []
    (sentence / name).unlink()
    assert Checkpoint(str(sentence)).missing_files() == [name]


# ---- from the command line ------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder of two pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        scene(seed, (320, 240)).save(folder / f"{seed}.png")
    return folder


def test_an_index_keeps_the_checkpoints_conventions(sentence: Path, photos: Path, tmp_path: Path) -> None:
    """Index, status, query and similar use each side's own prompt and the checkpoint's length."""
    index = tmp_path / "index"
    done = imgsearch("index", photos, "--index", index, "--model", sentence, "--device", "cpu", "-v")
    assert done.code == 0, done.err
    assert "is used with 64 of 128 dimensions (its truncate_dim)" in done.err
    spec = manifest.read(str(index))
    assert (spec.dim, spec.query_prompt, spec.document_prompt) == (64, *PROMPTS.values())
    state = imgsearch("status", "--index", index)
    assert f"prompt     for queries: {PROMPTS['query']}" in state.lines
    assert f"           for images: {PROMPTS['document']}" in state.lines

    encoder = Qwen3VLEmbedder(str(sentence), device="cpu", dtype="float32", dim=64)
    stored = encoder.embed([Input(image=np.asarray(scene(0, (320, 240))), instruction=PROMPTS["document"])])[
        0
    ]
    asked = encoder.embed([Input(text="a cat", instruction=PROMPTS["query"])])[0]
    hits = {
        hit["path"]: hit["score"] for hit in imgsearch("query", "a cat", "--json", "--index", index).objects
    }
    assert hits[str(photos / "0.png")] == pytest.approx(stored @ asked, abs=2e-3)
    # A copy with other bytes is embedded anew, as a document.
    scene(0, (320, 240)).save(tmp_path / "other.png", compress_level=1)
    best = imgsearch("similar", tmp_path / "other.png", "--json", "--index", index).objects[0]
    assert best["score"] == pytest.approx(1, abs=2e-3)


def test_every_dimension_up_to_the_stored_one_can_be_searched(
    sentence: Path, photos: Path, tmp_path: Path
) -> None:
    """--dim 128 stores the full vectors of a checkpoint cut to 64; a query may ask for fewer numbers, not for more."""
    index = ("--index", tmp_path / "index")
    made = imgsearch("index", photos, *index, "--model", sentence, "--dim", 128, "--device", "cpu")
    assert (made.code, manifest.read(str(tmp_path / "index")).dim) == (0, 128)
    for dim in (128, 64, 1):
        assert len(imgsearch("query", "a cat", "--dim", dim, "--json", *index).objects) == 2
    refused = imgsearch("query", "a cat", "--dim", 129, *index)
    assert (refused.code, refused.out) == (2, b"")
    assert "--dim 129: the embeddings in this index have 128 dimensions" in refused.err
    refused = imgsearch("index", photos, "--index", tmp_path / "more", "--model", sentence, "--dim", 129)
    assert (refused.code, os.path.exists(tmp_path / "more")) == (2, False)
    assert "have 128 dimensions" in refused.err


def test_embed_uses_the_side_of_its_inputs(sentence: Path, photos: Path) -> None:
    """Texts are questions, pictures are documents."""
    encoder = Qwen3VLEmbedder(str(sentence), device="cpu", dtype="float32")
    flags = ("--model", sentence, "--device", "cpu")
    (text,) = imgsearch("embed", "a cat", "--text", *flags).objects
    (picture,) = imgsearch("embed", photos / "1.png", *flags).objects
    (query,) = encoder.embed([Input(text="a cat", instruction=PROMPTS["query"])])
    (document,) = encoder.embed(
        [Input(image=np.asarray(scene(1, (320, 240))), instruction=PROMPTS["document"])]
    )
    assert np.allclose(text["embedding"], query, atol=1e-5)
    assert np.allclose(picture["embedding"], document, atol=1e-5)


def test_a_rebuild_with_another_model_takes_that_models_conventions(
    tiny_checkpoint: str, sentence: Path, photos: Path, tmp_path: Path
) -> None:
    """What nobody chose is not carried over to another model; what the user chose is."""
    index = tmp_path / "index"
    flags = ("index", photos, "--index", index, "--device", "cpu")
    assert imgsearch(*flags, "--model", tiny_checkpoint).code == 0
    assert imgsearch(*flags, "--model", sentence, "--rebuild").code == 0
    own = manifest.read(str(index))
    assert (own.dim, own.query_prompt, own.document_prompt) == (64, *PROMPTS.values())
    assert imgsearch(*flags, "--rebuild").code == 0
    assert manifest.read(str(index)) == own
    chosen = ("--instruction", "Find cats", "--max-pixels", 9_999)
    assert imgsearch(*flags, "--model", tiny_checkpoint, *chosen, "--rebuild").code == 0
    assert imgsearch(*flags, "--model", sentence, "--rebuild").code == 0
    kept = manifest.read(str(index))
    assert (kept.query_prompt, kept.document_prompt, kept.pixels.max_pixels) == ("Find cats.",) * 2 + (9_999,)


def test_a_rebuild_whose_old_model_is_gone_takes_the_new_ones_conventions(
    tiny_copy: str, sentence: Path, photos: Path, tmp_path: Path
) -> None:
    """The published instruction of a checkpoint that is not there any more is not taken for the user's choice."""
    flags = ("index", photos, "--index", tmp_path / "index", "--device", "cpu")
    assert imgsearch(*flags, "--model", tiny_copy).code == 0
    shutil.rmtree(tiny_copy)
    assert imgsearch(*flags, "--model", sentence, "--rebuild").code == 0
    assert manifest.read(str(tmp_path / "index")).query_prompt == PROMPTS["query"]


def compare(have: IndexSpec, options: ModelOptions) -> None:
    """Hold options against those of the index in /i, as a run with them does."""
    go_on = Call("index_pictures", {"folder": "/i"})
    anew = Call("index_pictures", {"folder": "/i", "options": Call.of(IndexOptions(options, rebuild=True))})
    check_options("/i", have, options, go_on, anew)


def test_flags_are_compared_with_the_index(sentence: Path) -> None:
    """An index goes on with flags that say what it has, and refuses others with each side's prompt by name."""
    have = _spec(sentence, instruction="Find cats", pixels="checkpoint")
    compare(have, ModelOptions(instruction="Find cats", pixels="checkpoint"))
    with pytest.raises(IndexMismatch, match=r"the instruction 'Find cats', not 'Find dogs.'"):
        compare(have, ModelOptions(instruction="Find dogs"))
    own = _spec(sentence, pixels=PixelBudget(4_096, 9_999))
    with pytest.raises(IndexMismatch) as caught:
        compare(own, ModelOptions(instruction="Find dogs", pixels="checkpoint"))
    assert f"the instruction for queries {PROMPTS['query']!r}, not 'Find dogs.'" in str(caught.value)
    assert f"the instruction for images {PROMPTS['document']!r}, not 'Find dogs.'" in str(caught.value)
    assert "at most 9,999 pixels per image, not 57,600" in str(caught.value)
    assert "--detail checkpoint --instruction 'Find dogs' --rebuild" in spelled(caught.value.as_message)


# ---- demo -----------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Put a tiny checkpoint in the place of the one that ships, and stand in a folder that has a ./demo."""
    folder = str(tmp_path / "shipped")
    shutil.copytree(tiny_checkpoint, folder)
    monkeypatch.setattr(locate, "DEMO_FOLDER", folder)
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_demo_model_is_found_by_its_name(demo: str, photos: Path, tmp_path: Path) -> None:
    """`--model demo` is the shipped checkpoint, also beside a folder of that name, and the index finds it again."""
    assert locate.find_checkpoint("demo") == Checkpoint(demo, "demo", "ships with imgsearch")
    index = ("--index", tmp_path / "index")
    assert imgsearch("index", photos, *index, "--model", "demo", "--device", "cpu").code == 0
    assert manifest.read(str(tmp_path / "index")).model == "demo"
    found = imgsearch("query", "a cat", *index, "--verbose")
    assert found.code == 0
    assert "demo (ships with imgsearch)" in found.err
    with pytest.raises(CheckpointError, match=os.path.join(tmp_path, "demo")):
        locate.find_checkpoint("./demo")


def test_the_demo_model_needs_no_download(demo: str) -> None:
    """`download demo` says that there is nothing to fetch; a revision of it makes no sense."""
    done = imgsearch("download", "demo")
    assert (done.code, done.err) == (
        0,
        f"demo ships with imgsearch, so there is nothing to download: {demo}\n",
    )
    with pytest.raises(UsageError, match="ships with imgsearch and has no revision"):
        locate.find_checkpoint("demo", revision="main")


def test_an_installation_without_the_demo_model_says_so(demo: str) -> None:
    """A shipped checkpoint that is damaged or left out is named, with what to do."""
    shutil.rmtree(demo)
    with pytest.raises(CheckpointError, match=r"incomplete in this installation .* reinstall imgsearch"):
        locate.find_checkpoint("demo")
