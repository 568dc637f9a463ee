"""What a server keeps in memory: one model, let go when nobody needs it, and a few open indexes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imgsearch.errors import CheckpointError, IndexMissing
from imgsearch.index.reader import ImageIndex
from imgsearch.tools.server import pools
from imgsearch.tools.server.pools import IndexPool, ModelPool
from imgsearch.types import ModelSpec, PixelBudget
from support import fakes
from support.fakes import FakeEncoder, FakeModel, run
from support.serving import until

fake_model, gallery = fakes.fake_model, fakes.gallery


def model_spec(folder: str = "/a", dim: int = 3, dtype: str = "auto") -> ModelSpec:
    return ModelSpec(folder, "f" * 64, dim, PixelBudget(1, 2), "", dtype=dtype)


def as_asked(wanted: ModelSpec) -> tuple[str, str]:
    return wanted.device, wanted.dtype


class Loads:
    """Loads fakes; ``alive`` are those that are still in somebody's memory, ``most`` how many ever were at a time."""

    def __init__(self) -> None:
        self.loaded: list[ModelSpec] = []

    def __call__(self, wanted: ModelSpec) -> Loads:
        if wanted.folder == "/broken":
            raise CheckpointError("broken")
        self.loaded.append(wanted)
        return self

    def encoder(self, wanted: ModelSpec) -> FakeEncoder:
        return FakeEncoder(FakeModel(), wanted.dim)


def test_a_model_is_loaded_once_for_all_specs_of_it() -> None:
    """Orders that differ in dim, budget or instruction share the weights, and each gets its own dim."""
    loads = Loads()
    models = ModelPool(loads, 60, resolve=as_asked)
    for dim in (3, 5, 3, *range(1, 40)):
        with models.use(model_spec(dim=dim)) as encoder:
            assert encoder.dim == dim
    assert len(loads.loaded) == 1


def test_another_model_takes_its_place() -> None:
    """A server has one model at a time: another folder or dtype puts the first one out."""
    loads = Loads()
    models = ModelPool(loads, 60, resolve=as_asked)
    for wanted in (model_spec("/a"), model_spec("/b"), model_spec("/b", dtype="float32"), model_spec("/a")):
        with models.use(wanted):
            assert models.folder == wanted.folder
    assert [(one.folder, one.dtype) for one in loads.loaded] == [
        ("/a", "auto"),
        ("/b", "auto"),
        ("/b", "float32"),
        ("/a", "auto"),
    ]


def test_a_model_in_use_is_not_put_out() -> None:
    """Who needs another model waits until nobody uses the one in memory: two may be more than the machine has."""
    loads = Loads()
    models = ModelPool(loads, 60, resolve=as_asked)
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with models.use(model_spec("/a")):
            inside.set()
            leave.wait(60)

    def second() -> int:
        with models.use(model_spec("/b")):
            return len(loads.loaded)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        inside.wait(60)
        two = pool.submit(second)
        assert models.folder == "/a"
        assert not two.done()
        leave.set()
        assert two.result(60) == 2
        one.result(60)


def test_who_waits_for_another_model_gets_it_before_those_who_come_later() -> None:
    """A question for another model is not put off by batch after batch of the one in memory."""
    loads = Loads()
    models = ModelPool(loads, 60, resolve=as_asked)

    def use(folder: str) -> str:
        with models.use(model_spec(folder)):
            return folder

    with ThreadPoolExecutor(2) as pool:
        with models.use(model_spec("/a")):
            other = pool.submit(use, "/b")
            until(models._admission.locked)
            later = pool.submit(use, "/a")
            with pytest.raises(TimeoutError):
                later.result(0.2)
        assert (other.result(60), later.result(60)) == ("/b", "/a")
    assert [one.folder for one in loads.loaded] == ["/a", "/b", "/a"]


def test_an_idle_model_is_let_go_and_loaded_again() -> None:
    """So long after its last use the model goes, not a moment before and never in use; the next use loads it anew."""
    now = [0.0]
    loads = Loads()
    models = ModelPool(loads, 10, lambda: now[0], as_asked)
    assert not models.unload_idle()
    with models.use(model_spec()):
        now[0] = 50
        assert not models.unload_idle()
    now[0] = 59
    assert not models.unload_idle()
    now[0] = 60
    assert models.unload_idle()
    assert (models.folder, models.runtime) == (None, None)
    assert not models.unload_idle()
    with models.use(model_spec()):
        assert models.runtime is not None
    assert len(loads.loaded) == 2


def test_a_model_that_can_not_be_loaded_leaves_none() -> None:
    """After an error of loading nothing is said to be in memory, and the next one is loaded."""
    models = ModelPool(Loads(), 60, resolve=as_asked)
    with models.use(model_spec()):
        pass
    with pytest.raises(CheckpointError), models.use(model_spec("/broken")):
        pass
    assert models.folder is None
    with models.use(model_spec()) as encoder:
        assert encoder.dim == 3


def test_an_index_that_was_made_anew_is_the_one_that_answers(
    fake_model: FakeModel, gallery: Path, tmp_path: Path
) -> None:
    """An open index is given up for the one that a rebuild has put in its place, also with another dimension."""
    folder, opened = str(tmp_path / "index"), IndexPool(60)
    run(folder, gallery)
    query = fakes.vector((230, 20, 20))
    assert opened.use(folder, lambda index: len(index.search(query, 9)[0])) == 5
    run(folder, gallery, rebuild=True, model=fakes.ModelOptions(dim=7))
    assert opened.use(folder, lambda index: len(index.search(query[:, : index.spec.dim], 9)[0])) == 5
    assert opened.use(folder, lambda index: index.spec.dim) == 7
    opened.close()


def test_only_a_few_indexes_stay_open(
    fake_model: FakeModel, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index that was asked longest ago is closed for another one, and opens again when it is asked."""
    monkeypatch.setattr(pools, "_OPEN", 2)
    closed: list[str] = []
    close = ImageIndex.close
    monkeypatch.setattr(
        ImageIndex, "close", lambda self: (closed.append(Path(self.folder).name), close(self))
    )
    folders = [str(tmp_path / name) for name in "abc"]
    for folder in folders:
        run(folder, gallery)
    closed.clear()
    opened = IndexPool(60)
    found = [
        opened.use(folders[place], lambda index: len(index.search(fakes.vector((0, 0, 0)), 9)[0]))
        for place in (0, 1, 0, 2, 1)
    ]
    assert found == [5] * 5
    assert closed == ["b", "a"]
    opened.close()
    assert sorted(closed) == ["a", "b", "b", "c"]


def test_idle_indexes_are_let_go(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> None:
    """So long after the last question no file of an index is held open, and the next question opens it again."""
    now = [0.0]
    folder, opened = str(tmp_path / "index"), IndexPool(10, lambda: now[0])
    run(folder, gallery)
    held: list[ImageIndex] = []
    opened.use(folder, held.append)
    now[0] = 9
    opened.close_idle()
    opened.use(folder, held.append)
    now[0] = 19
    opened.close_idle()
    opened.use(folder, held.append)
    assert held[0] is held[1]
    assert held[1] is not held[2]


def test_an_index_that_is_gone_is_an_error_each_time(
    fake_model: FakeModel, gallery: Path, tmp_path: Path
) -> None:
    """A folder without an index is said to be one, and an index that is made there later answers."""
    folder, opened = str(tmp_path / "index"), IndexPool(60)
    with pytest.raises(IndexMissing):
        opened.use(folder, lambda index: None)
    run(folder, gallery)
    assert opened.use(folder, lambda index: index.spec.dim) == fakes.DIM
    opened.close()
