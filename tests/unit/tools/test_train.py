"""Training: the recipe's gradients, what is written, going on after an interruption, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.trainer_pt_utils import safe_globals

from imgsearch import __version__ as imgsearch_version
from imgsearch.errors import (
    DatasetError,
    ImgsearchError,
    MissingExtra,
    StorageError,
    TrainingError,
    TrainingStopped,
    UsageError,
)
from imgsearch.model import image as pixels
from imgsearch.model.batching import is_out_of_memory
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.prompt import PromptEncoder
from imgsearch.model.reference import load_model, pad_batch
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.dataset.retrieval import decode
from imgsearch.tools.training import TrainResult, run_dir, train
from imgsearch.tools.training import trainer as recipe
from imgsearch.tools.training.data import Pictures, as_table, read_examples
from imgsearch.tools.training.export import versions
from imgsearch.tools.training.options import TrainOptions, choose_attention, choose_dims, choose_precision
from imgsearch.tools.training.st_module import Qwen3VLInput, positions
from imgsearch.types import PixelBudget, Runtime, Silent
from support import ROOT, TESTS
from support.cli import imgsearch

pytestmark = pytest.mark.slow("trains")

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (40, 60, 220), "yellow": (240, 220, 40)}
SIZES = [(64, 64), (96, 64), (64, 96)]
BUDGET = PixelBudget(1_024, 6_144)
PROMPT = "Represent the user's input."
PYTHON = Path(os.environ.get("IMGSEARCH_REFERENCE", ROOT / ".venv-reference" / "bin" / "python"))


def _picture(left: str, right: str, size: tuple[int, int]) -> dict[str, Any]:
    image = Image.new("RGB", size, COLOURS[left])
    image.paste(COLOURS[right], (size[0] // 2, 0, *size))
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _write_pairs(path: Path) -> str:
    """Write 36 examples: each pair of colours at three sizes, with two hard negatives."""
    rows = []
    for size in SIZES:
        for left in COLOURS:
            for right in COLOURS:
                if left == right:
                    continue
                others = [name for name in COLOURS if name not in (left, right)]
                rows.append(
                    {
                        "query": f"{left} beside {right} {size[0]} {size[1]}",
                        "image": _picture(left, right, size),
                        "negative_0": _picture(others[0], right, size),
                        "negative_1": _picture(left, others[1], size),
                    }
                )
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a parquet file of 36 examples."""
    return _write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


@pytest.fixture(scope="module")
def few(pairs: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a parquet file of six of the examples, to measure on."""
    path = str(tmp_path_factory.mktemp("few") / "few.parquet")
    pq.write_table(pq.read_table(pairs).slice(0, 6), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread: these matrices are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _options(model: str, out: Path, **changes: Any) -> TrainOptions:
    given: dict[str, Any] = {
        "out": str(out),
        "model": model,
        "steps": 6,
        "batch_size": 8,
        "mini_batch": 8,
        "learning_rate": 2e-3,
        "pixels": BUDGET,
        "dtype": "float32",
        "device": "cpu",
        "save_steps": 2,
        "log_steps": 1,
    }
    return TrainOptions(**given | changes)


@pytest.fixture(scope="module")
def trained(tiny_checkpoint: str, pairs: str, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Give a finished run of 30 steps, measured before, halfway and after."""
    out = tmp_path_factory.mktemp("trained") / "out"
    options = _options(tiny_checkpoint, out, steps=30, evaluate_on=pairs, eval_steps=15)
    return train([pairs], options)


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: str, pairs: str, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Give a finished run of 3 steps in float32, the whole batch at once."""
    return train([pairs], _options(tiny_checkpoint, tmp_path_factory.mktemp("plain") / "out", steps=3))


@dataclasses.dataclass
class Parts:
    """What a step is made of, in the module and as the reference takes it."""

    module: Qwen3VLInput
    rows: list[dict[str, Any]]
    columns: list[str]
    pictures: Pictures


def _parts(folder: str, data: str, attention: str = "sdpa", room: int | None = None) -> Parts:
    examples = read_examples([data], "train", None)
    layout = pixels.read_layout(Checkpoint(folder))
    refs = [ref for one in examples.examples for ref in (one.positive, *one.negatives)]
    pictures = Pictures(refs, BUDGET, layout, Silent(), room)
    model = load_model(Checkpoint(folder), Runtime("cpu", "float32", "test"))
    model.requires_grad_(True)
    prompter = PromptEncoder(Checkpoint(folder))
    module = Qwen3VLInput(model, prompter, layout, pictures.patches, PROMPT, PROMPT, attention)
    table = as_table(examples, pictures)
    rows = [table[number] for number in range(0, len(table), 3)]
    return Parts(module, rows, table.column_names, pictures)


def _gradients(
    parts: Parts, mini_batch: int, dims: tuple[int, ...], *, symmetric: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    whole = recipe.build_model(parts.module, "cpu")
    whole.train()
    options = TrainOptions(out="", batch_size=len(parts.rows), mini_batch=mini_batch, symmetric=symmetric)
    loss, _ = recipe.build_loss(whole, dims, options)
    features = [parts.module.preprocess([row[column] for row in parts.rows]) for column in parts.columns]
    whole.zero_grad()
    value = loss(features, None)
    value.backward()
    found = {name: p.grad.clone() for name, p in whole.named_parameters() if p.grad is not None}
    return float(value.detach()), found


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_input_module_gives_the_embedder_s_vectors(
    tiny_checkpoint: str, pairs: str, tiny_embedder: Qwen3VLEmbedder, attention: str
) -> None:
    """Texts and pictures of several sizes get the vectors that Qwen3VLEmbedder gives, in either attention."""
    parts = _parts(tiny_checkpoint, pairs, attention)
    whole = recipe.build_model(parts.module, "cpu")
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32", budget=BUDGET)
    examples = read_dataset(pairs).examples[::3]
    with torch.no_grad():
        for column, wanted in (
            ("query", [one.query for one in examples]),
            ("negative_1", [{"image": decode(one.negatives[1])} for one in examples]),
        ):
            features = parts.module.preprocess([row[column] for row in parts.rows])
            vectors = whole(features)["sentence_embedding"].numpy()
            assert np.abs(vectors - embedder.embed(wanted)).max() < 1e-5


def test_gradients_are_those_of_the_reference_forward(tiny_checkpoint: str, pairs: str) -> None:
    """Every parameter of both towers gets the gradient that transformers' own forward gives it."""
    parts = _parts(tiny_checkpoint, pairs)
    weight = torch.linspace(-1, 1, 128)
    numbers = [row["negative_0"] for row in parts.rows]

    features = parts.module(parts.module.preprocess(numbers))
    last = features["attention_mask"].sum(1) - 1
    (features["token_embeddings"][torch.arange(len(last)), last] @ weight).sum().backward()

    reference = load_model(Checkpoint(tiny_checkpoint), Runtime("cpu", "float32", "test"))
    reference.requires_grad_(True)
    layout, prompter = (
        pixels.read_layout(Checkpoint(tiny_checkpoint)),
        PromptEncoder(Checkpoint(tiny_checkpoint)),
    )
    patches = [parts.pictures.patches(number) for number in numbers]
    padded = pad_batch([prompter.encode(None, layout.tokens(one.grid)) for one in patches], "right", 0)
    output = reference(
        input_ids=torch.from_numpy(padded.ids),
        attention_mask=torch.from_numpy(padded.attention),
        mm_token_type_ids=torch.from_numpy(padded.types),
        pixel_values=torch.from_numpy(np.concatenate([one.pixel_values for one in patches])),
        image_grid_thw=torch.tensor([one.grid for one in patches]),
    )
    (output.last_hidden_state[torch.arange(len(last)), last] @ weight).sum().backward()

    wanted = {name: parameter.grad for name, parameter in reference.named_parameters()}
    found = {name: parameter.grad for name, parameter in parts.module.model.named_parameters()}
    assert all(gradient is not None for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert gradient is not None
        scale = float(gradient.abs().max()) + 1e-6
        assert float((found[name] - gradient).abs().max()) < 1e-4 * scale, name


def test_positions_are_transformers_own(tiny_checkpoint: str) -> None:
    """A prompt's three-dimensional positions are those of Qwen3VLModel.get_rope_index, for any grid."""
    model = load_model(Checkpoint(tiny_checkpoint), Runtime("cpu", "float32", "test")).model
    prompter, layout = (
        PromptEncoder(Checkpoint(tiny_checkpoint)),
        pixels.read_layout(Checkpoint(tiny_checkpoint)),
    )
    for grid in [(1, 2, 2), (1, 8, 4), (1, 4, 10), (1, 2, 20)]:
        tokens = prompter.encode("beside a text", layout.tokens(grid))
        ids, types = torch.from_numpy(tokens.ids)[None], torch.from_numpy(tokens.types)[None]
        wanted, _ = model.get_rope_index(ids, types, image_grid_thw=torch.tensor([grid]))
        assert np.array_equal(positions(tokens.types, grid, layout.merge), wanted[:, 0].T.numpy())


def test_the_symmetric_loss_asks_both_ways(tiny_checkpoint: str, pairs: str) -> None:
    """It is the mean of two cross entropies: of each query among all documents, of each document among the queries."""
    parts = _parts(tiny_checkpoint, pairs)
    whole = recipe.build_model(parts.module, "cpu")
    whole.eval()
    with torch.no_grad():
        queries, *documents = (
            whole(parts.module.preprocess([row[column] for row in parts.rows]))["sentence_embedding"]
            for column in parts.columns
        )
    right = torch.arange(len(queries))
    forth = torch.nn.functional.cross_entropy(20 * queries @ torch.cat(documents).T, right)
    back = torch.nn.functional.cross_entropy(20 * documents[0] @ queries.T, right)
    found, _ = _gradients(parts, len(parts.rows), (128,), symmetric=True)
    assert found == pytest.approx(float(forth + back) / 2, rel=1e-4)
    in_parts, _ = _gradients(_parts(tiny_checkpoint, pairs), 5, (128,), symmetric=True)
    assert in_parts == pytest.approx(found, rel=1e-5)


def test_gradient_cache_and_one_pass_agree(tiny_checkpoint: str, pairs: str) -> None:
    """The cached loss, in mini-batches of 5 of 12, gives the plain loss's value and gradients."""
    dims = (128, 64, 32, 16)
    whole, cached = (_gradients(_parts(tiny_checkpoint, pairs), size, dims) for size in (12, 5))
    assert cached[0] == pytest.approx(whole[0], rel=1e-5)
    assert set(cached[1]) == set(whole[1])
    for name, gradient in whole[1].items():
        scale = float(gradient.abs().max()) + 1e-6
        assert float((cached[1][name] - gradient).abs().max()) < 1e-5 * max(1.0, scale), name


def test_the_loss_falls_and_ndcg_rises(trained: TrainResult) -> None:
    """Thirty steps on 36 pairs lower the loss and raise NDCG@10 on the same pairs."""
    losses = [entry["loss"] for entry in trained.log if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    assert trained.before is not None
    assert trained.after is not None
    assert trained.after > trained.before + 0.1
    assert [entry["step"] for entry in trained.log if "ndcg@10" in entry] == [0, 15, 30]


def test_what_is_written(trained: TrainResult, tiny_checkpoint: str) -> None:
    """The result names sentence-transformers' own modules only, keeps its budget and recipe, and no checkpoints."""
    out = Path(trained.out)
    modules = json.loads((out / "modules.json").read_text())
    assert [entry["type"].split(".")[0] for entry in modules] == ["sentence_transformers"] * 3
    own = json.loads((out / "imgsearch.json").read_text())
    assert own["pixels"] == {"min_pixels": 1_024, "max_pixels": 6_144}
    assert own["matryoshka_dims"] == [128, 64, 32, 16]
    assert own["trained"]["seed"] == 42
    assert own["trained"]["learning_rate"] == 2e-3
    size = json.loads((out / "preprocessor_config.json").read_text())["size"]
    assert size == {"shortest_edge": 1_024, "longest_edge": 6_144}
    assert "0.002" in (out / "README.md").read_text()
    assert json.loads((out / "metrics.json").read_text()) == list(trained.log)
    assert not (out / "checkpoints").exists()
    weights, before = (load_file(f"{folder}/model.safetensors") for folder in (out, tiny_checkpoint))
    assert {name: (t.shape, t.dtype) for name, t in weights.items()} == {
        name: (t.shape, t.dtype) for name, t in before.items()
    }
    assert not any(torch.equal(weights[name], before[name]) for name in weights if "mlp" in name)


def test_the_result_loads_to_the_trained_vectors(trained: TrainResult, pairs: str) -> None:
    """Qwen3VLEmbedder, told nothing but the folder, gives the vectors of the module that was trained."""
    parts = _parts(trained.out, pairs)
    whole = recipe.build_model(parts.module, "cpu")
    embedder = Qwen3VLEmbedder(trained.out, device="cpu", dtype="float32")
    examples = read_dataset(pairs).examples[::3]
    with torch.no_grad():
        for column, wanted in (
            ("query", [one.query for one in examples]),
            ("image", [{"image": decode(one.positive)} for one in examples]),
        ):
            vectors = whole(parts.module.preprocess([row[column] for row in parts.rows]))[
                "sentence_embedding"
            ]
            assert (vectors.numpy() * embedder.embed(wanted)).sum(1).min() > 0.9999


def test_sentence_transformers_loads_the_result_to_the_same_vectors(
    trained: TrainResult, pairs: str, tmp_path: Path
) -> None:
    """SentenceTransformer(folder), in its own environment, gives imgsearch's vectors of queries and pictures."""
    if not PYTHON.exists():
        reason = f"{PYTHON} is missing; build it with: make reference"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    examples = read_dataset(pairs).examples[::5]
    paths, images, queries = [], [decode(one.positive) for one in examples], [one.query for one in examples]
    for number, image in enumerate(images):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(paths[-1])
    case = {"folder": trained.out, "queries": queries, "documents": paths, "out": str(tmp_path / "v")}
    script = TESTS / "parity" / "reference" / "encode.py"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([PYTHON, script], input=json.dumps([case]), env=environment, text=True, check=True)
    embedder = Qwen3VLEmbedder(trained.out, device="cpu", dtype="float32")
    for side, wanted in (("queries", queries), ("documents", [{"image": image} for image in images])):
        theirs = np.load(tmp_path / f"v-{side}.npy")
        assert (theirs * embedder.embed(wanted)).sum(1).min() > 0.9999


def _weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(os.path.join(folder, "model.safetensors"))


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _interrupt(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Let the step after ``step`` fail with ``error``."""
    plain = recipe.Trainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == step:
            raise error
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(recipe.Trainer, "training_step", training_step)


def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second epoch and resumed, a run gives the same weights and log; so does the same seed again."""
    whole = train([pairs], _options(tiny_checkpoint, tmp_path / "whole", steps=9))
    again = _options(tiny_checkpoint, tmp_path / "again", steps=9)
    with monkeypatch.context() as patched:
        _interrupt(patched, 7, KeyboardInterrupt())
        with pytest.raises(TrainingStopped, match=r"to resume from step 6, repeat it with resume=True"):
            train([pairs], again)
    saved = tmp_path / "again" / "checkpoints" / "checkpoint-6"
    assert not (saved / "training_args.bin").exists()
    for file in (*saved.glob("*.pt"), *saved.glob("*.pth")):
        with safe_globals():  # numpy's arrays in the state of its random generator
            torch.load(file, weights_only=True)
    done = train([pairs], dataclasses.replace(again, resume=True))
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "again"))
    assert [entry.get("loss") for entry in done.log] == [entry.get("loss") for entry in whole.log]
    # How long it took in all can be added up, of what went before as well.
    assert all(("loss" in entry) == (entry.get("seconds", 0) > 0) for entry in done.log)


def test_the_seed_decides_the_result(
    tiny_checkpoint: str, pairs: str, plain: TrainResult, tmp_path: Path
) -> None:
    """Another seed gives other weights; that the same gives the same, a run that is resumed shows."""
    train([pairs], _options(tiny_checkpoint, tmp_path / "other", steps=3, seed=2))
    assert not _same(_weights(plain.out), _weights(tmp_path / "other"))


def test_an_interrupted_run_resumes_only_as_it_began(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--resume with another seed or rate names the difference; a finished run is not resumed."""
    options = _options(tiny_checkpoint, tmp_path / "out", steps=3)
    with monkeypatch.context() as patched:
        _interrupt(patched, 0, KeyboardInterrupt())
        with pytest.raises(TrainingStopped, match="before the first checkpoint"):
            train([pairs], options)
    with pytest.raises(UsageError, match=r"seed \(42, now 7\)"):
        train([pairs], dataclasses.replace(options, seed=7, resume=True))
    train([pairs], dataclasses.replace(options, resume=True))
    with pytest.raises(UsageError, match="finished"):
        train([pairs], dataclasses.replace(options, resume=True))


def test_a_run_from_before_an_option_resumes_with_its_default(tmp_path: Path) -> None:
    """A run that was begun by an older version is not told that it had other settings."""
    now = TrainOptions(str(tmp_path), seed=7).hyperparameters()
    usual = TrainOptions("").hyperparameters()
    before = {name: value for name, value in now.items() if name != "symmetric"}
    run_dir.keep_plan(str(tmp_path), before, False, usual)
    run_dir.keep_plan(str(tmp_path), now, True, usual)
    with pytest.raises(UsageError, match=r"symmetric \(False, now True\)"):
        run_dir.keep_plan(str(tmp_path), now | {"symmetric": True}, True, usual)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """However memory runs out, one line names --mini-batch and --max-pixels with their values."""
    _interrupt(monkeypatch, 0, error)
    wanted = r"out of memory: lower mini_batch \(now 4\), then pixels \(now 6,144\)"
    with pytest.raises(TrainingError, match=wanted):
        train([pairs], _options(tiny_checkpoint, tmp_path / "out", mini_batch=4))
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("size mismatch"))


def test_a_loss_that_is_no_number_stops_the_run(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """A far too high rate ends with an error that names --lr; no checkpoint holds numbers that are none."""
    options = _options(tiny_checkpoint, tmp_path / "out", learning_rate=1e30, steps=8, save_steps=1)
    with pytest.raises(TrainingError, match=r"lower learning_rate \(now 1e\+30\)"):
        train([pairs], options)
    for file in (tmp_path / "out").rglob("*.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())
    assert not (tmp_path / "out" / "modules.json").exists()


@pytest.mark.parametrize(
    ("full", "wanted", "dims"),
    [
        (2048, None, (2048, 1536, 1024, 512, 256, 128, 64)),
        (4096, None, (4096, 2048, 1536, 1024, 512, 256, 128, 64)),
        (1024, None, (1024, 512, 256, 128, 64)),
        (192, None, (192, 96, 48, 24)),
        (128, None, (128, 64, 32, 16)),
        (192, (24, 100), (192, 100, 24)),
    ],
)
def test_dims_fit_the_model(full: int, wanted: tuple[int, ...] | None, dims: tuple[int, ...]) -> None:
    """The recipe's dimensions are clipped to the model's, a small model's halved; the full length is always in."""
    assert choose_dims(full, wanted)[0] == dims


def test_precision_and_attention_come_with_a_reason() -> None:
    """What is asked for wins, float16 is refused, and the plain attention is for short bfloat16 on the CPU only."""
    assert choose_precision("cpu", "float32") == ("float32", "float32 was requested")
    assert choose_precision("mps", "auto")[0] == "float32"
    precision, reason = choose_precision("cpu", "auto")
    assert (precision == "bfloat16") == ("no instructions" not in reason)
    with pytest.raises(UsageError, match="float32 or bfloat16"):
        choose_precision("cpu", "float16")
    assert choose_attention("cpu", "bfloat16", 224) == "eager"
    assert choose_attention("cpu", "float32", 224) == "sdpa"
    assert choose_attention("cpu", "bfloat16", 5_120) == "sdpa"
    assert choose_attention("cuda", "bfloat16", 224) == "sdpa"


def test_equal_pictures_have_one_number(tiny_checkpoint: str, tmp_path: Path) -> None:
    """Pictures of equal bytes are one, wherever they stand; without room they are decoded anew to the same patches."""
    red, blue = _picture("red", "red", (64, 64)), _picture("blue", "red", (64, 64))
    rows = [
        {"query": "a", "image": red, "negative_0": blue},
        {"query": "b", "image": blue, "negative_0": red},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "two.parquet")
    kept, fresh = (_parts(tiny_checkpoint, str(tmp_path / "two.parquet"), room=room) for room in (None, 0))
    assert kept.pictures.in_memory
    assert not fresh.pictures.in_memory
    assert len(kept.pictures) == len(fresh.pictures) == 2
    assert kept.rows[0]["image"] == 0
    for number in range(2):
        one, other = (parts.pictures.patches(number) for parts in (kept, fresh))
        assert np.array_equal(one.pixel_values, other.pixel_values)


@pytest.mark.parametrize(
    "changes", [{"gradient_checkpointing": True}, {"mini_batch": 3}, {"dtype": "bfloat16"}]
)
def test_ways_to_compute_give_the_same_training(
    tiny_checkpoint: str, pairs: str, plain: TrainResult, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Gradient checkpointing, the gradient cache and bfloat16 products give plain float32's losses."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # libraries' warnings would stand among our lines
        other = train([pairs], _options(tiny_checkpoint, tmp_path / "other", steps=3, **changes))
    tolerance = 0.02 if "dtype" in changes else 1e-4
    assert other.loss == pytest.approx(plain.loss, rel=tolerance)


def test_pictures_that_do_not_fit_in_memory_are_decoded_beside_the_training(
    tiny_checkpoint: str, pairs: str, plain: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no room for the pictures, worker processes decode them, and the weights come out the same."""
    monkeypatch.setattr("imgsearch.tools.training.data._memory", lambda: 0)
    train([pairs], _options(tiny_checkpoint, tmp_path / "out", steps=3))
    assert _same(_weights(plain.out), _weights(tmp_path / "out"))


def test_a_run_stopped_after_its_last_step_is_only_written(
    tiny_checkpoint: str, pairs: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while its result is written, a run makes no further step when it is resumed, in mid-epoch too."""
    options = _options(tiny_checkpoint, tmp_path / "out", evaluate_on=few)
    whole = train([pairs], dataclasses.replace(options, out=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        patched.setattr("imgsearch.tools.training.result.write_checkpoint", _raise(KeyboardInterrupt()))
        with pytest.raises(TrainingStopped, match="to resume from step 6, repeat it with resume=True"):
            train([pairs], options)
    done = train([pairs], dataclasses.replace(options, resume=True))
    assert (done.steps, done.loss, done.before, done.after) == (6, None, whole.before, whole.after)
    assert _same(_weights(whole.out), _weights(done.out))


def _raise(error: BaseException) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


def test_a_disk_full_at_the_end_is_one_line(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when the result is written ends in a StorageError that says how to go on."""
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr("imgsearch.tools.training.result.write_checkpoint", _raise(full))
    with pytest.raises(StorageError, match="to resume from step 2, repeat it with resume=True"):
        train([pairs], _options(tiny_checkpoint, tmp_path / "out", steps=2))


def test_a_torn_save_is_passed_over(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """A save whose last file is cut short does not count: the run goes on from the one before."""
    options = _options(tiny_checkpoint, tmp_path / "out", keep_checkpoints=True)
    whole = train([pairs], options)
    state = tmp_path / "out" / "checkpoints" / "checkpoint-6" / "trainer_state.json"
    state.write_text(state.read_text()[:200])
    (tmp_path / "out" / "modules.json").unlink()
    done = train([pairs], dataclasses.replace(options, resume=True))
    losses = [entry["loss"] for entry in whole.log if "loss" in entry]
    assert done.loss == pytest.approx(sum(losses[4:]) / 2, rel=1e-4)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSUP, errno.ENOLCK, errno.EIO])
def test_a_file_system_without_locks_is_trained_on(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system can't lock a folder, as on NFS, the run goes without; one that can't be made is refused."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("imgsearch.fs.fcntl.flock", refuse)
    with run_dir.claimed(str(tmp_path / "out")):
        assert (tmp_path / "out").is_dir()
    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(StorageError, match="can't be created"), run_dir.claimed(str(tmp_path / "other")):
        pass


def test_a_folder_is_written_by_one_run_only(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """Two runs never write into one folder, and a folder that no run began is not resumed."""
    with run_dir.claimed(str(tmp_path / "out")):
        for resume in (False, True):
            with pytest.raises(UsageError, match="another run is writing there"):
                train([pairs], _options(tiny_checkpoint, tmp_path / "out", resume=resume))
    with pytest.raises(UsageError, match="there is no run"):
        train([pairs], _options(tiny_checkpoint, Path(tiny_checkpoint), resume=True))


def test_bad_input_leaves_no_folder_that_is_in_the_way(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error before the first save, the same command runs; a missing dataset makes no folder at all."""
    out = tmp_path / "out"
    with pytest.raises(DatasetError):
        train([str(tmp_path / "none.parquet")], _options(tiny_checkpoint, out))
    assert not out.exists()
    with monkeypatch.context() as patched:
        _interrupt(patched, 0, MemoryError())
        with pytest.raises(TrainingError):
            train([pairs], _options(tiny_checkpoint, out, steps=1))
    assert train([pairs], _options(tiny_checkpoint, out, steps=1)).steps == 1


def test_a_picture_that_breaks_during_the_run_is_one_line(
    tiny_checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that can't be read any more while worker processes decode is named, with how to go on."""
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    colours = [(red, green, 9) for red in range(0, 256, 64) for green in range(0, 256, 64)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (64, 64), colour).save(data / f"{number}.png")
    numbers = range(len(colours))
    corpus = [json.dumps({"_id": str(number), "image": f"{number}.png"}) for number in numbers]
    (data / "corpus.jsonl").write_text("\n".join(corpus))
    queries = [json.dumps({"_id": str(number), "text": f"colour {number}"}) for number in numbers]
    (data / "queries.jsonl").write_text("\n".join(queries))
    judged = ["query-id\tcorpus-id\tscore", *(f"{number}\t{number}\t1" for number in numbers)]
    (data / "qrels" / "train.tsv").write_text("\n".join(judged))
    monkeypatch.setattr("imgsearch.tools.training.data._memory", lambda: 0)
    plain = recipe.Trainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == 2:
            for number in numbers:
                (data / f"{number}.png").write_bytes(b"no picture any more")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(recipe.Trainer, "training_step", training_step)
    wanted = r"^\S+/\d+\.png \(named in [^\n]+to resume from step \d+, repeat it with resume=True$"
    with pytest.raises(DatasetError, match=wanted):
        train([str(data)], _options(tiny_checkpoint, tmp_path / "out", steps=20))


def test_a_query_that_the_model_can_not_take_is_named_before_training(
    tiny_checkpoint: str, pairs: str, tmp_path: Path
) -> None:
    """A query with a token that stands for pictures, also in the evaluation set, ends the run before its first step."""
    rows = pq.read_table(pairs).to_pylist()
    rows[30]["query"] = "look <|image_pad|> here"
    odd = str(tmp_path / "odd.parquet")
    pq.write_table(pa.Table.from_pylist(rows), odd)
    for data, measured in ((odd, None), (pairs, odd)):
        options = _options(tiny_checkpoint, tmp_path / "out", steps=1, evaluate_on=measured, eval_steps=9)
        with pytest.raises(DatasetError, match=r"the query 'look <\|image_pad\|> here'"):
            train([data], options)


def test_the_source_s_default_length_is_kept(
    tiny_checkpoint: str, pairs: str, plain: TrainResult, tmp_path: Path
) -> None:
    """A checkpoint that cuts its vectors to truncate_dim by default is trained to one that does."""
    source = tmp_path / "source"
    shutil.copytree(plain.out, source)
    config = source / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncate_dim": 32}))
    done = train([pairs], _options(str(source), tmp_path / "out", steps=1))
    assert Qwen3VLEmbedder(done.out, device="cpu", dtype="float32").embed(["red"]).shape == (1, 32)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int) -> None:
    """--seed takes what every random generator takes."""
    with pytest.raises(UsageError, match="seed="):
        TrainOptions(out="out", seed=seed)


def test_batches_that_can_not_be_filled_are_named(tiny_checkpoint: str, tmp_path: Path) -> None:
    """Where every example shares one picture, no batch can be filled: an error that names --batch-size."""
    row = {"image": _picture("red", "blue", (64, 64))}
    rows = [row | {"query": f"query {number}"} for number in range(16)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "one.parquet")
    with pytest.raises(TrainingError, match=r"no training step was possible.*lower batch_size"):
        train([str(tmp_path / "one.parquet")], _options(tiny_checkpoint, tmp_path / "out"))


def test_a_full_disk_is_one_line(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses a checkpoint, or has no room from the start, ends in a StorageError."""
    options = _options(tiny_checkpoint, tmp_path / "out")
    with monkeypatch.context() as patched:
        _interrupt(
            patched, 1, RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")
        )
        with pytest.raises(StorageError, match="could not be written"):
            train([pairs], options)
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(StorageError, match="MB free"):
        train([pairs], _options(tiny_checkpoint, tmp_path / "other"))


def test_the_precision_on_disk_can_be_chosen(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """--save-dtype float16 writes float16 weights and says so in config.json; negatives can be left out."""
    options = _options(tiny_checkpoint, tmp_path / "out", steps=1, save_dtype="float16", negatives=1)
    train([pairs], options)
    assert {tensor.dtype for tensor in _weights(options.out).values()} == {torch.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"
    assert json.loads((tmp_path / "out" / "imgsearch.json").read_text())["trained"]["negatives"] == 1


def test_prompts_are_kept_word_for_word(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """Prompts of either side end up in the result's own configuration, an empty one as none."""
    options = _options(tiny_checkpoint, tmp_path / "out", steps=1, query_prompt="Find it", document_prompt="")
    train([pairs], options)
    prompts = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "Find it.", "document": ""}


def test_bad_input_is_refused_before_anything_is_trained(
    tiny_checkpoint: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each contradiction is one error that names the flag or file; nothing is written."""
    out = tmp_path / "out"
    refused: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 64}, "36 examples, fewer than one batch of 64; lower batch_size"),
        ({"dims": (256,)}, "dims=256: this model's embeddings have 128 dimensions"),
        ({"negatives": 3}, "negatives=3"),
        ({"model": str(tmp_path / "none")}, "none"),
        ({"evaluate_on": str(tmp_path / "none.parquet")}, "no such dataset"),
        ({"pixels": PixelBudget(10, 100)}, "too few"),
    ]
    single = tmp_path / "one.parquet"
    pq.write_table(pq.read_table(pairs).slice(0, 1), single)
    with pytest.raises(UsageError, match="1 example, fewer than one batch"):
        train([str(single)], _options(tiny_checkpoint, out))
    for changes, said in refused:
        with pytest.raises(ImgsearchError, match=said):
            train([pairs], _options(**{"model": tiny_checkpoint, "out": out} | changes))
        assert not out.exists()
    with pytest.raises(DatasetError):
        train([str(tmp_path / "none.parquet")], _options(tiny_checkpoint, tmp_path / "other"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        train([pairs], _options(tiny_checkpoint, tmp_path))
    with pytest.raises(UsageError, match="warmup=1"):
        _options(tiny_checkpoint, out, warmup=1.0)
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtra, match=r"\[train\]"):
            train([pairs], _options(tiny_checkpoint, tmp_path / "more"))


def test_the_command_trains_and_prints_json(tiny_checkpoint: str, pairs: str, tmp_path: Path) -> None:
    """`imgsearch train` talks on stderr, prints one JSON object, and what it wrote can be indexed with."""
    out = tmp_path / "out"
    flags = ["--steps", 2, "--batch-size", 8, "--max-pixels", 6144, "--min-pixels", 1024, "--device", "cpu"]
    done = imgsearch(
        "train", pairs, "--out", out, "--model", tiny_checkpoint, "--eval", pairs, *flags, "--json"
    )
    assert done.code == 0, done.err
    assert done.objects[0]["steps"] == 2
    assert set(done.objects[0]) == {"out", "steps", "loss", "ndcg@10_before", "ndcg@10_after", "seconds"}
    assert "step 2: NDCG@10" in done.err
    assert "dimensions 128, 64, 32, 16" in done.err
    again = imgsearch("train", pairs, "--out", out, "--model", tiny_checkpoint, *flags)
    assert (again.code, len(again.err.splitlines())) == (2, 1)
    vectors = imgsearch("embed", "--text", "red beside blue", "--model", out, "--json")
    assert vectors.objects[0]["dim"] == 128


def test_the_weights_are_as_readable_as_the_files_around_them(trained: TrainResult) -> None:
    """The weights file has the mode of the config beside it, not one for its owner alone."""
    out = Path(trained.out)
    modes = {name: (out / name).stat().st_mode & 0o777 for name in ("model.safetensors", "config.json")}
    assert modes["model.safetensors"] == modes["config.json"]


def test_the_versions_of_a_result_do_not_need_to_be_installed_as_imgsearch() -> None:
    """A result names the program's own version, whatever its distribution is called, and those of the libraries."""
    assert versions()["imgsearch"] == imgsearch_version
    assert set(versions()) == {"imgsearch", "sentence-transformers", "transformers", "torch"}
