"""The use case of measuring: what is embedded and what is remembered, and the command line around it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import DatasetError, UsageError
from imgsearch.text import short_count
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset, decode
from imgsearch.tools.evaluation import EvalRow, default_dims, evaluate, report
from imgsearch.tools.evaluation.metrics import NAMES
from imgsearch.tools.evaluation.models import Side
from imgsearch.types import Vectors
from parquet_writer import write_parquet
from support.cli import imgsearch
from support.datasets_drawn import beir, parquet, rows


class Painter:
    """A model that a person can predict: a picture's vector is its mean colour, a text's a hash of it."""

    peer = False
    pixels: int | None = 100
    dtype: str | None = "float32"
    parameters: int | None = 12_300_000

    def __init__(self, name: str = "painter", instructions: Sequence[str | None] = (None,)) -> None:
        """Embed nothing yet; ``seen`` collects what was."""
        self.name, self.instructions = name, tuple(instructions)
        self.full_dim: int | None = 4
        self.dims: tuple[int, ...] = ()
        self.seen: list[str] = []
        self.stop_after: int | None = None

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        return {"model": self.name, "side": side, "prompt": instruction if side == "query" else None}

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        for text in texts:
            self.seen.append(text)
            seed = sum(f"{instruction}{text}".encode())
            yield np.random.default_rng(seed).standard_normal((1, 4)).astype(np.float32)

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        for number, ref in enumerate(refs):
            if number == self.stop_after:
                raise KeyboardInterrupt
            self.seen.append(ref.where)
            yield np.append(decode(ref).mean(axis=(0, 1)), 1)[None].astype(np.float32)

    def close(self) -> None:
        pass


def test_a_second_run_embeds_nothing_and_finds_the_same(tmp_path: Path) -> None:
    """Every vector is remembered by its content, in whatever dataset that stands, and scores are the same."""
    dataset = read_dataset(parquet(tmp_path, 4))
    cache = str(tmp_path / "cache")
    first = evaluate(dataset, [Painter()], cache=cache)
    again = Painter()
    second = evaluate(dataset, [again], cache=cache)
    assert (first[0].computed, second[0].computed, again.seen) == ((4, 8), (0, 0), [])
    assert first[0].scores == second[0].scores
    moved = read_dataset(parquet(tmp_path, 5, name="more.parquet"))
    third = Painter()
    assert evaluate(moved, [third], cache=cache)[0].computed == (1, 2)
    assert len(third.seen) == 3


def test_equal_content_is_embedded_once(tmp_path: Path) -> None:
    """A picture that stands in several cells is several documents, and one embedding."""
    made = rows(3)
    for row in made:
        row["negative_0"] = made[0]["image"]
    write_parquet(str(tmp_path / "a.parquet"), made)
    painter = Painter()
    found = evaluate(read_dataset(str(tmp_path / "a.parquet")), [painter])
    assert len(painter.seen) == 3 + 3
    assert found[0].computed == (3, 6)


def test_an_interrupted_run_keeps_what_it_had(tmp_path: Path) -> None:
    """After Ctrl-C the next run goes on with the picture that came next."""
    dataset, cache = read_dataset(parquet(tmp_path, 4)), str(tmp_path / "cache")
    stopped = Painter()
    stopped.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset, [stopped], cache=cache)
    assert evaluate(dataset, [Painter()], cache=cache)[0].computed == (0, 3)


def test_torn_cache_files_are_made_again(tmp_path: Path) -> None:
    """A file cut short is no error: its vectors are computed once more."""
    dataset, cache = read_dataset(parquet(tmp_path, 4)), tmp_path / "cache"
    first = evaluate(dataset, [Painter()], cache=str(cache))
    for path in cache.rglob("*.vectors"):
        path.write_bytes(path.read_bytes()[:-7])
    second = evaluate(dataset, [Painter()], cache=str(cache))
    assert second[0].computed == (4, 8)
    assert second[0].scores == first[0].scores


def test_an_instruction_moves_the_queries_alone(tmp_path: Path) -> None:
    """Each instruction gives a row; pictures are embedded once for all of them, also without a cache."""
    dataset, painter = read_dataset(parquet(tmp_path, 4)), Painter(instructions=[None, "Find it."])
    found = evaluate(dataset, [painter])
    assert [(row.instruction, row.computed) for row in found] == [(None, (4, 8)), ("Find it.", (4, 0))]
    assert found[0].scores != found[1].scores


def test_bad_pictures_and_dims_are_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    """Neither a picture that is none nor a dimension that is not there costs a model's time."""
    painter, dataset = Painter(), read_dataset(parquet(tmp_path, 4))
    for dim in (8, 0):
        with pytest.raises(UsageError, match=f"dims={dim}: "):
            evaluate(dataset, [painter], dims=[2, dim])
    made = rows(2)
    made[1]["image"] = b"no picture"
    write_parquet(str(tmp_path / "bad.parquet"), made)
    with pytest.raises(DatasetError, match="row 2, column image"):
        evaluate(read_dataset(str(tmp_path / "bad.parquet")), [painter])
    assert painter.seen == []


def test_a_peer_is_scored_at_the_dims_that_it_has(tmp_path: Path) -> None:
    """Beside a longer model the shorter one has its full length and those below it."""
    painter = Painter()
    painter.peer, painter.full_dim = True, None
    found = evaluate(read_dataset(parquet(tmp_path, 4)), [painter], dims=[64, 2])
    assert list(found[0].scores) == [4, 2]


def test_the_dims_nobody_named() -> None:
    """Those of training where the model says so, the published tables' for 2,048, else halves."""
    assert default_dims(2048) == [2048, 1536, 1024, 512, 256, 128, 64]
    assert default_dims(128) == [128, 64, 32, 16, 8, 4]
    assert default_dims(4) == [4, 2, 1]
    assert default_dims(192, [96, 48]) == [192, 96, 48]


def _rows(*models: str) -> list[EvalRow]:
    dataset_rows = []
    for number, model in enumerate(models):
        vectors = np.random.default_rng(number).standard_normal((3, 8)).astype(np.float32)
        from imgsearch.tools.evaluation.metrics import score
        from support.datasets_drawn import judged_dataset

        scores = score(vectors, vectors, judged_dataset([[0], [1], [2]], 3), [8, 4])
        row = EvalRow(model, False, 2_127_000_000, 8, 57_600 + number, "float32", None, scores, (3, 3), 1.0)
        dataset_rows.append(row)
    return dataset_rows


def test_the_table_by_dimension_is_written_as_published(tmp_path: Path) -> None:
    """A column a model, NDCG@10 with four digits, and in brackets the percent of the full length."""
    dataset = read_dataset(parquet(tmp_path, 3))
    lines = report.tables(dataset, _rows("a/base", "b/tuned"))
    assert lines[0] == "drawn.parquet: 3 queries against 6 images"
    assert "| Dimensions | base, 57,600 px NDCG@10 | tuned, 57,601 px NDCG@10 |" in lines
    assert "| 8 (full) | 1.0000 (100%) | 1.0000 (100%) |" in lines
    assert "| 4 | 1.0000 (100.0%) | 1.0000 (100.0%) |" in lines
    assert "| a/base | 2.1B | 8 | 57,600 | float32 | its own | 1.000 |" in lines


def test_models_of_one_name_are_told_apart_by_their_folders() -> None:
    """Two checkpoints that are both called final are not one column twice."""
    found = report.labels(_rows("/x/final", "/y/final"))
    assert found == ["/x/final, 57,600 px", "/y/final, 57,601 px"]


def test_a_model_and_itself_as_a_peer_are_two_columns() -> None:
    """Scored by our own road and by sentence-transformers, the second says so."""
    ours = _rows("/x/final")[0]
    assert report.labels([ours, dataclasses.replace(ours, peer=True)]) == ["final", "final (peer)"]


def test_every_row_has_its_name_in_the_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose name begins with an underscore stands in the legend as any other."""
    from matplotlib.figure import Figure

    shown: list[str] = []

    def look(figure: Figure, path: str, **_: object) -> None:
        shown.extend(text.get_text() for text in figure.axes[0].get_legend().get_texts())

    monkeypatch.setattr(Figure, "savefig", look)
    report.write(str(tmp_path), read_dataset(parquet(tmp_path, 3)), _rows("/x/_old", "/x/new"))
    assert shown == ["_old, 57,600 px", "new, 57,601 px"]


def test_counts_of_parameters_are_short() -> None:
    """As the published tables write them."""
    assert [short_count(n) for n in (2_127_532_032, 427_616_512, 3_100_000, 61_121, 12)] == [
        "2.1B",
        "428M",
        "3.1M",
        "61.1K",
        "12",
    ]


def _eval(tmp_path: Path, *argv: object) -> list[str]:
    return ["eval", *map(str, argv), "--out", str(tmp_path / "out"), "--device", "cpu"]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep remembered vectors in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg"


def test_eval_prints_tables_and_writes_json_and_a_plot(
    tmp_path: Path, own_cache: Path, tiny_checkpoint: str
) -> None:
    """Six drawn pictures, two budgets: tables on stdout, results.json and a PNG; the second run only scores."""
    path = parquet(tmp_path, 3)
    argv = _eval(tmp_path, path, "--model", tiny_checkpoint, "--dims", "64,16", "--max-pixels", "4096,8192")
    done = imgsearch(*argv)
    assert done.code == 0, done.err
    assert done.lines[0] == "drawn.parquet: 3 queries against 6 images"
    assert [line.split(" | ")[0] for line in done.lines if line.startswith(("| 128", "| 64", "| 16"))] == [
        "| 128 (full)",
        "| 64",
        "| 16",
    ]
    assert "0 of 3 queries, 0 of 6 images from the cache" in done.err
    again = imgsearch(*argv, "--verbose")
    assert again.out == done.out
    assert again.err.count("3 of 3 queries, 6 of 6 images from the cache") == 2
    assert "on cpu in" not in again.err, "the model was loaded for nothing"
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["max_pixels"] for row in written["rows"]] == [4096, 8192]
    assert set(written["rows"][0]["metrics"]) == set(NAMES)
    assert set(written["rows"][0]["dims"]) == {"128", "64", "16"}
    assert set(written["rows"][0]["dims"]["16"]["pairwise_by_attribute"]) == {"colour", "count"}
    with Image.open(tmp_path / "out" / "ndcg-by-dim.png") as plot:
        assert plot.format == "PNG"


def test_eval_scores_what_the_embedder_gives(tmp_path: Path, own_cache: Path, tiny_checkpoint: str) -> None:
    """The figures are those of the vectors that the library itself makes of the same texts and pictures."""
    from imgsearch.client import load_encoder
    from imgsearch.spec import choose_spec
    from imgsearch.tools.evaluation.metrics import score
    from imgsearch.types import Input, ModelOptions, Silent

    dataset = read_dataset(parquet(tmp_path, 6))
    choice = ModelOptions(model=tiny_checkpoint, device="cpu")
    checkpoint, spec = choose_spec(choice, Silent())
    encoder = load_encoder(checkpoint, spec, choice, Silent())
    queries = [Input(text, instruction=spec.query_prompt) for text in dataset.queries.values()]
    pictures = [Input(image=decode(ref), instruction=spec.document_prompt) for ref in dataset.corpus.values()]
    expected = score(encoder.embed(queries), encoder.embed(pictures), dataset, [128])[128].metrics
    done = imgsearch(*_eval(tmp_path, dataset.path, "--model", tiny_checkpoint, "--no-cache", "--json"))
    assert done.objects[0]["rows"][0]["metrics"] == pytest.approx(expected, abs=1e-6)
    assert not list(own_cache.rglob("*.vectors"))


def test_a_query_that_can_not_be_embedded_is_named(
    tmp_path: Path, own_cache: Path, tiny_checkpoint: str
) -> None:
    """The text itself is said, since its place in a batch tells nobody where it is."""
    queries = [{"_id": "q0", "text": "fine"}, {"_id": "q1", "text": "a <|image_pad|> b"}]
    folder = beir(tmp_path, queries=queries)
    done = imgsearch(*_eval(tmp_path, folder, "--model", tiny_checkpoint))
    assert done.code == 2
    assert "the query 'a <|image_pad|> b': the text contains <|image_pad|>" in done.err


def test_a_peer_of_another_family_is_scored_beside_ours(
    tmp_path: Path,
    own_cache: Path,
    tiny_checkpoint: str,
    tiny_clip: str,
) -> None:
    """A CLIP goes through sentence-transformers, at its full length whatever its truncate_dim says."""
    argv = _eval(tmp_path, beir(tmp_path / "x"), "--model", tiny_checkpoint, "--peer", tiny_clip, "--json")
    done = imgsearch(*argv, "--dims", "64,16")
    assert done.code == 0, done.err
    ours, clip = done.objects[0]["rows"]
    assert (ours["dim"], list(ours["dims"])) == (128, ["128", "64", "16"])
    assert (clip["dim"], list(clip["dims"]), clip["peer"]) == (24, ["24", "16"], True)
    assert clip["parameters"] == 61_121
    assert "2 of 2 queries, 3 of 3 images from the cache" in imgsearch(*argv).err


def test_eval_refuses_what_can_not_be_meant(tmp_path: Path, own_cache: Path, tiny_checkpoint: str) -> None:
    """Each is one line on stderr and exit code 2."""
    path = parquet(tmp_path, 2)
    ours = (path, "--model", tiny_checkpoint)
    for argv, said in (
        ((*ours, "--dims", "256"), "--dims 256: "),
        ((*ours, "--dims", "64,x"), "--dims 64,x: whole numbers, separated by commas"),
        ((*ours, "--max-pixels", "10"), "--max-pixels 10: the model needs at least"),
        ((*ours, "--max-pixels", "5000", "--detail", "low"), "set the same thing"),
        ((*ours, "--dtype", "float32,int4"), "--dtype int4: choose among"),
        ((*ours, "--batch-size", "0"), "--batch-size 0: "),
        ((*ours, "--limit", "0"), "--limit 0: "),
        ((path, "--peer", "x/y", "--detail", "low"), "a --peer keeps its own"),
        ((str(tmp_path / "no"), "--model", tiny_checkpoint), "no: no such dataset"),
        ((path, "--peer", str(tmp_path / "no")), "no: there is no such folder"),
    ):
        done = imgsearch(*_eval(tmp_path, *argv))
        assert (done.code, done.out) == (2, b""), done.err
        assert said in done.err
        assert len([line for line in done.err.splitlines() if line.startswith("imgsearch: ")]) == 1
    assert not list(own_cache.rglob("*.vectors"))


def test_a_peer_that_needs_torchvision_says_so_and_what_was_done_stays(
    tmp_path: Path, own_cache: Path, tiny_checkpoint: str
) -> None:
    """sentence-transformers sees Qwen3-VL pictures only with torchvision; our own rows are not embedded again."""
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is here")
    path = parquet(tmp_path, 2)
    done = imgsearch(*_eval(tmp_path, path, "--model", tiny_checkpoint, "--peer", tiny_checkpoint))
    assert (done.code, done.out) == (2, b"")
    assert f"{tiny_checkpoint} needs torchvision in this environment: pip install torchvision" in done.err
    again = imgsearch(*_eval(tmp_path, path, "--model", tiny_checkpoint))
    assert "2 of 2 queries, 4 of 4 images from the cache" in again.err


def test_a_folder_for_results_that_can_not_be_made_is_said_first(
    tmp_path: Path, tiny_checkpoint: str
) -> None:
    """Before a model is loaded, not after hours of work."""
    (tmp_path / "out").write_text("a file")
    done = imgsearch(*_eval(tmp_path, parquet(tmp_path, 2), "--model", tiny_checkpoint), "--verbose")
    assert done.code == 2
    assert f"{os.path.join(tmp_path, 'out')} could not be created" in done.err
    assert "on cpu in" not in done.err


@pytest.mark.parametrize("library", ["ir_measures", "matplotlib"])
def test_a_missing_library_is_said_first(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: str
) -> None:
    """The extra is named before anything is read or embedded."""
    monkeypatch.setitem(sys.modules, library, None)
    done = imgsearch(*_eval(tmp_path, parquet(tmp_path, 2), "--model", tiny_checkpoint))
    assert done.code == 2
    assert done.err.startswith("imgsearch: imgsearch eval needs packages that are not installed; ")
    assert done.err.endswith("[eval]'\n")


def test_the_headline_counts_in_singular_and_plural() -> None:
    """One query is a query and two are queries, also of those that the split does not judge."""
    picture = PictureRef("a.png", "a.png")
    one = RetrievalDataset("d", "/d", {"q": "x"}, {"p": picture}, {"q": {"p": 1}}, left_out=1)
    assert report.headline(one) == "d: 1 query against 1 image (1 more query left out)"
    two = RetrievalDataset("d", "/d", {"q": "x", "r": "y"}, {"p": picture, "s": picture}, {}, left_out=2)
    assert report.headline(two) == "d: 2 queries against 2 images (2 more queries left out)"
