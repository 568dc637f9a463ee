"""The recipe of the demo model: what it draws, how it goes on, and the tables it writes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import things_checkpoint
from imgsearch.tools.dataset import read_dataset
from support.cli import imgsearch
from support.emoji_sets import write_cache
from things import evaluation, packages
from things.artwork import open_artwork
from things.card import model_card
from things.scenes import seen_things, unseen_things
from things.stages import ENGLISH, FEW, FULL, LANGUAGES, Source, Stage, write_stage

pytestmark = pytest.mark.slow("trains")

_SMALL = things_checkpoint.SIZES | {
    "text_config": things_checkpoint.SIZES["text_config"] | {"num_hidden_layers": 1},
    "vision_config": things_checkpoint.SIZES["vision_config"] | {"depth": 3},
}
_FLAGS = "--batch-size 8 --mini-batch 8"
_STAGES = (
    Stage("places", (Source("shapes", 16, {"place": 1.0}, ENGLISH, ((48, 48),), FEW),), 1, 1, _FLAGS),
    Stage("all", (Source("things", 24, {"one": 1.0, "colour": 1.0}, LANGUAGES, ((48, 48),)),), 1, 3, _FLAGS),
)
_PLAN = things_checkpoint.Plan(_STAGES, _SMALL, names=4, pairs=2, captions=300, save_steps=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache with small packages in it, rendered."""
    folder = write_cache(tmp_path_factory.mktemp("cache"))
    things_checkpoint.prepare(folder)
    return folder


class Runs:
    """Takes the place of the recipe's own processes: commands run here, and the one of number ``kill`` is stopped."""

    def __init__(self, kill: int | None = None) -> None:
        """Note what is said; ``kill`` counts from 1."""
        self.said: list[str] = []
        self._kill = kill

    def __call__(self, *arguments: str) -> None:
        """Run a command; CalledProcessError if it fails."""
        with pytest.MonkeyPatch.context() as patch:
            if len(self.said) + 1 == self._kill:
                _stop_after_two_steps(patch)
            done = imgsearch(*arguments)
        self.said.append(done.err)
        if done.code:
            raise subprocess.CalledProcessError(done.code, arguments)


def _stop_after_two_steps(patch: pytest.MonkeyPatch) -> None:
    from imgsearch.tools.training import trainer

    plain = trainer.Trainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    patch.setattr(trainer.Trainer, "training_step", training_step)


def _make(monkeypatch: pytest.MonkeyPatch, runs: Runs, cache: str, work: Path) -> str:
    monkeypatch.setattr(things_checkpoint, "run", runs)
    monkeypatch.setattr(things_checkpoint, "measured", lambda *_: _figures())
    return things_checkpoint.make(_PLAN, cache, str(work), 1)


def test_a_recipe_that_is_killed_goes_on_where_it_was(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second stage and started again, the recipe keeps the first and goes on at the last checkpoint.

    That the weights are then those of a run that nothing stopped is tested where ``imgsearch train`` is.
    """
    with pytest.raises(subprocess.CalledProcessError):
        _make(monkeypatch, Runs(kill=2), cache, tmp_path / "killed")
    first = os.stat(tmp_path / "killed" / "1-places" / "model.safetensors")
    runs = Runs()
    again = _make(monkeypatch, runs, cache, tmp_path / "killed")
    assert os.stat(tmp_path / "killed" / "1-places" / "model.safetensors") == first
    assert len(runs.said) == 1
    assert "resuming from step 2" in runs.said[0]
    assert things_checkpoint.is_trained(again)
    figures = json.loads(Path(again, "figures.json").read_text())
    card = model_card(figures, os.path.getsize(Path(again, "model.safetensors")))
    assert Path(again, "README.md").read_text() == card
    assert "Twemoji" in card


def test_the_time_of_a_stage_leaves_out_what_else_the_machine_did() -> None:
    """It is the steps at their median pace, where a part of them took as long as a laptop slept."""
    log = [{"step": 50, "seconds": 10.0}, {"step": 100, "seconds": 900.0}, {"step": 150, "seconds": 10.0}]
    log += [{"step": 160, "seconds": 2.0}, {"train_runtime": 60.0, "step": 160}]
    assert things_checkpoint.training_time(log) == pytest.approx(160 * 0.2)
    assert things_checkpoint.training_time(log[-1:]) == 0


def test_the_sets_keep_what_is_measured_apart(cache: str, tmp_path: Path) -> None:
    """Names are asked for in every language over the same pictures; things never seen are in a set of their own."""
    artwork, photos = things_checkpoint.prepare(cache)
    stamps = packages.fetch(packages.STAMPS, cache)
    evaluation.write_evaluation(str(tmp_path), artwork, photos, stamps, 4, 2)
    sets = {name: read_dataset(str(tmp_path / f"{name}.parquet")) for name in evaluation.SETS}
    assert len(sets["new-style-en"].queries) == 4
    assert len(sets["new-style-en"].corpus) <= 20
    pictures = {name: {ref.read() for ref in one.corpus.values()} for name, one in sets.items()}
    assert pictures["new-style-en"] == pictures["new-style-de"] == pictures["new-style-es"]
    names = {artwork.things[place].name for place in unseen_things(artwork)}
    assert names
    asked = {query.removeprefix("a ").removeprefix("an ") for query in sets["unseen"].queries.values()}
    assert asked <= names
    assert set(unseen_things(artwork)).isdisjoint(seen_things(artwork))
    compositions = read_dataset(str(tmp_path / "compositions.parquet"))
    assert len(compositions.queries) == 2 * len(evaluation.COMPOSED)


def test_no_training_row_is_drawn_in_the_held_out_style() -> None:
    """The style that is held out, and every set that may only measure, is none of the training's."""
    assert packages.HELD_OUT_STYLE not in packages.TRAINING_STYLES


def test_rows_do_not_depend_on_how_many_processes_draw_them(cache: str, tmp_path: Path) -> None:
    """A stage's files are the same again, and what is there is not drawn a second time."""
    artwork, photos = things_checkpoint.artwork_folder(cache), things_checkpoint.prepare(cache)[1]
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        paths = write_stage(str(folder), _STAGES[1], artwork, photos, 1)
    assert [Path(path).name for path in paths] == ["all-things-0-00.parquet"]
    assert (one / "all-things-0-00.parquet").read_bytes() == (other / "all-things-0-00.parquet").read_bytes()
    before = os.stat(paths[0])
    write_stage(str(other), _STAGES[1], artwork, photos, 1)
    assert os.stat(paths[0]) == before


@pytest.mark.parametrize("stage", FULL, ids=lambda stage: stage.name)
def test_every_stage_can_be_drawn(cache: str, tmp_path: Path, stage: Stage) -> None:
    """Each source of each stage of the full recipe gives rows, with the negatives that the stage wants."""
    few = replace(stage, sources=tuple(replace(source, rows=6) for source in stage.sources))
    artwork, photos = things_checkpoint.artwork_folder(cache), things_checkpoint.prepare(cache)[1]
    for path in write_stage(str(tmp_path), few, artwork, photos, 1):
        examples = read_dataset(path).examples
        assert [len(example.negatives) for example in examples] == [stage.negatives] * 6


def test_the_stages_fit_the_model(cache: str) -> None:
    """The full recipe's model has at most ten million parameters, and its stages end cold, in every language."""
    from random_checkpoint import _shapes

    assert sum(torch.Size(shape).numel() for shape in _shapes(things_checkpoint.SIZES).values()) < 10e6
    assert "cosine" in FULL[-1].flags
    assert set(FULL[-1].sources[0].languages) == set(LANGUAGES)
    assert open_artwork(things_checkpoint.artwork_folder(cache)).shown("twemoji")


def _row(value: float, attributes: tuple[str, ...] = ()) -> dict[str, Any]:
    dims = {
        dim: {
            "metrics": {"ndcg@10": value - place / 10},
            "pairwise_by_attribute": {name: {"above_each": value} for name in attributes},
        }
        for place, dim in enumerate(("256", "128", "64"))
    }
    return {"dim": 256, "parameters": 6_700_000, "dims": dims}


def _figures() -> dict[str, Any]:
    return {
        "sets": {name: [_row(0.25), _row(0.75)] for name in evaluation.SETS},
        "pairs": [_row(0.5, ("colour", "shape")), _row(0.875, ("colour", "shape"))],
        "compositions": [_row(0.5, ("relation",)), _row(0.8125, ("relation",))],
        "dtypes": {dtype: _row(0.75) for dtype in ("float32", "bfloat16", "int8")},
    }


def test_the_card_says_what_was_measured() -> None:
    """Each table of the card has untrained beside trained, by dimension, attribute and dtype."""
    card = model_card(_figures() | {"minutes": 290}, 13_400_000)
    heads = "untrained, 256 | untrained, 128 | untrained, 64 | trained, 256 | trained, 128 | trained, 64 |"
    assert heads in card
    assert "| Names in German, in the style never seen | 0.2500 | 0.1500 | 0.0500 | 0.7500 |" in card
    assert "| relation | 0.500 | 0.812 |" in card
    assert "| int8 | 0.7500 | 0.6500 | 0.5500 |" in card
    assert "13.4 MB" in card


def test_the_card_names_every_package_with_its_licence() -> None:
    """Whoever drew what the model learned from stands in its card, with version and licence."""
    card = model_card(_figures() | {"minutes": 1}, 1)
    for package in packages.ALL:
        assert f"| {package.name} | {package.version} | {package.licence} | {package.author} |" in card
