"""Workers' deliveries and the coordinator that registers them, without Ray: the pipeline runs in this process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import ClusterError, IndexLocked, MissingExtra, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from imgsearch.media.documents import DocumentOptions
from imgsearch.tools.cluster import deliveries, units, worker
from imgsearch.tools.cluster.coordinator import index_on
from imgsearch.tools.cluster.units import Setup, Unit, is_in, known_table
from imgsearch.types import ModelOptions, Skipped
from support.pictures import scene

DEMO = IndexOptions(model=ModelOptions(model="demo"))


class Here:
    """A pipeline in this process, which may stop after some deliveries, or deliver all of them twice."""

    def __init__(self, stop: int = 1000, *, times: int = 1) -> None:
        self.stop, self.times, self.done = stop, times, 0
        self.setup: Setup | None = None
        self.sources = 0

    def open(self) -> None:
        """Nothing is to be reached."""

    def run(self, setup: Setup, some: Sequence[Unit], known: Any) -> Iterator[str]:
        """Work on the units in turn."""
        self.setup = setup
        embedder = worker.Embedder(setup)
        for unit in some:
            if self.done == self.stop:
                raise ClusterError("the cluster is gone")
            for _ in range(self.times):
                found = list(worker.decode(setup, unit, worker.preparer(setup), known))
                name = embedder.deliver(unit, found)
            self.done += 1
            self.sources += len(unit.sources)
            if self.stop == 1000:
                yield name

    def close(self) -> None:
        """Nothing was reached."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give nine files in units of three: six images, two copies, and one that is none."""
    monkeypatch.setattr(units, "FILES", 3)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        scene(number, (64, 48)).save(folder / f"{number}.png")
    for number in (0, 5):
        (folder / f"copy{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return folder


def on(pipeline: Here, photos: Path, index: Path) -> IndexResult:
    """Index the photos by a pipeline."""
    return index_on(pipeline, [str(photos)], str(index), DEMO)


def left(index: Path) -> list[str]:
    """Return the deliveries that lie in an index."""
    return deliveries.names(deliveries.folder_in(str(index)))


def test_the_index_is_as_one_that_was_made_here(photos: Path, tmp_path: Path) -> None:
    """Workers find the same contents, copies and errors as a plain run."""
    result = on(Here(), photos, tmp_path / "a")
    plain = index_pictures([str(photos)], str(tmp_path / "b"), DEMO)
    assert (result.indexed, result.reused, result.skipped) == (plain.indexed, plain.reused, plain.skipped)
    with ImageIndex(str(tmp_path / "a")) as a, ImageIndex(str(tmp_path / "b")) as b:
        assert list(a.catalog.errors()) == list(b.catalog.errors())
        assert {one.sha256: one.paths for one in a.catalog.pictures()} == {
            one.sha256: one.paths for one in b.catalog.pictures()
        }
        rows = [{one.sha256: one.crc for one in index.catalog.pictures()} for index in (a, b)]
        assert len(rows[0]) == 6
        assert rows[0] == rows[1]  # the same float16 rows, on one machine in one batch size
    assert not Path(deliveries.folder_in(str(tmp_path / "a"))).exists()


def test_deliveries_of_a_run_that_ended_are_registered_by_the_next(photos: Path, tmp_path: Path) -> None:
    """Nothing that was delivered is embedded again, and each image is in once."""
    with pytest.raises(ClusterError):
        on(Here(stop=2), photos, tmp_path / "a")
    assert len(left(tmp_path / "a")) == 2
    again = Here()
    result = on(again, photos, tmp_path / "a")
    assert again.sources == 3
    assert result.indexed + result.reused == 8
    with ImageIndex(str(tmp_path / "a")) as index:
        assert index.catalog.picture_count() == 6
    assert left(tmp_path / "a") == []


def test_a_unit_that_is_delivered_twice_is_in_once(photos: Path, tmp_path: Path) -> None:
    """The second delivery of a unit adds no row and is removed."""
    on(Here(times=2), photos, tmp_path / "a")
    with ImageIndex(str(tmp_path / "a")) as index:
        assert index.catalog.picture_count() == 6
        assert sum(rows for _, rows in index.catalog.segments()) == 6
    assert left(tmp_path / "a") == []


def test_what_is_half_written_or_altered_is_not_used(photos: Path, tmp_path: Path) -> None:
    """A delivery that was cut off, or whose bytes were altered, is removed, and its files embedded again."""
    with pytest.raises(ClusterError):
        on(Here(stop=2), photos, tmp_path / "a")
    folder = Path(deliveries.folder_in(str(tmp_path / "a")))
    first, second = (folder / name for name in left(tmp_path / "a"))
    first.write_bytes(first.read_bytes()[:-5])
    second.write_bytes(second.read_bytes()[:5000] + b"x" + second.read_bytes()[5001:])
    (folder / "x.delivery.new").write_bytes(b"begun")
    again = Here()
    on(again, photos, tmp_path / "a")
    assert again.sources == 9
    assert not list(folder.glob("*.delivery*"))


def test_a_file_that_was_replaced_since_it_was_delivered_is_read_again(photos: Path, tmp_path: Path) -> None:
    """Its time of change does not have to be newer: a copy may keep that of its original."""
    with pytest.raises(ClusterError):
        on(Here(stop=2), photos, tmp_path / "a")
    before = (photos / "0.png").stat()
    scene(20, (64, 48)).save(photos / "0.png")
    os.utime(photos / "0.png", ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
    on(Here(), photos, tmp_path / "a")
    wanted = hashlib.sha256((photos / "0.png").read_bytes()).digest()
    with ImageIndex(str(tmp_path / "a")) as index:
        assert wanted in index.catalog.contents()


def test_a_worker_that_does_not_see_the_images_is_named(photos: Path, tmp_path: Path) -> None:
    """Images that are here, and that a worker calls vanished, are not skipped: the run fails and says where."""

    class Unmounted(Here):
        def run(self, setup: Setup, some: Sequence[Unit], known: Any) -> Iterator[str]:
            embedder = worker.Embedder(setup)
            for unit in some:
                yield embedder.deliver(
                    unit, [Skipped(one, "vanished", "no such file") for one in unit.sources]
                )

    with pytest.raises(ClusterError, match=rf"9 images came back from no worker: .* can't read {photos}"):
        on(Unmounted(), photos, tmp_path / "a")
    assert on(Here(), photos, tmp_path / "a").indexed == 6


def test_a_delivery_that_is_not_here_is_told_at_once(photos: Path, tmp_path: Path) -> None:
    """A worker that wrote into another folder is found out by its first unit."""

    class Elsewhere(Here):
        def run(self, setup: Setup, some: Sequence[Unit], known: Any) -> Iterator[str]:
            yield f"{setup.run}-00000000-00000000.delivery"

    with pytest.raises(ClusterError, match="must be the same on all machines"):
        on(Elsewhere(), photos, tmp_path / "a")


def test_a_delivery_for_an_index_of_other_pixels_is_not_used(photos: Path, tmp_path: Path) -> None:
    """Prompts and pixel budgets make an embedding as much as the model does."""
    pipeline = Here(stop=2)
    with pytest.raises(ClusterError):
        on(pipeline, photos, tmp_path / "a")
    assert pipeline.setup is not None
    folder, spec = deliveries.folder_in(str(tmp_path / "a")), pipeline.setup.spec
    path = str(Path(folder) / left(tmp_path / "a")[0])
    assert deliveries.read(path, spec).files
    with pytest.raises(deliveries.Unsealed):
        deliveries.read(path, replace(spec, document_prompt="another"))


def test_a_second_coordinator_is_refused(photos: Path, tmp_path: Path) -> None:
    """Whoever holds the index's lock is the only one who registers."""
    on(Here(), photos, tmp_path / "a")
    with IndexWriter(str(tmp_path / "a")), pytest.raises(IndexLocked):
        on(Here(), photos, tmp_path / "a")


def test_a_worker_that_differs_is_refused(photos: Path, tmp_path: Path) -> None:
    """Another version, another model, or a folder that is not there: each is a sentence."""
    pipeline = Here()
    on(pipeline, photos, tmp_path / "a")
    assert pipeline.setup is not None
    setup = pipeline.setup
    deliveries.open_folder(setup.folder, setup.run)
    assert worker.refusal(setup) == ""
    assert "install the same version" in worker.refusal(setup, version="0.0.1")
    other = replace(setup, spec=replace(setup.spec, fingerprint="ab" * 32))
    assert "can't use the model" in worker.refusal(other)
    assert "does not see /nowhere" in worker.refusal(replace(setup, folder="/nowhere"))
    assert "does not see /nowhere" in worker.refusal(replace(setup, how={"/nowhere": DocumentOptions()}))
    assert "install the same extras" in worker.refusal(replace(setup, readers=("none",)))


def test_the_table_of_known_contents_tells_neighbours_apart() -> None:
    """A content is in the table only if all of its hash is."""
    rng = np.random.default_rng(1)
    contents = [rng.bytes(32) for _ in range(50)]
    table = known_table(contents)
    assert all(is_in(table, one) for one in contents)
    assert not is_in(table, contents[0][:8] + bytes(24))
    assert not is_in(known_table([]), contents[0])


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no address is refused; without Ray the extra is named."""
    import sys

    from imgsearch.tools.cluster.pipeline import RayPipeline

    for address in ("ray://localhost", "somewhere", "localhost", "http://localhost:1"):
        with pytest.raises(UsageError):
            RayPipeline(address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"\[ray\]"):
        RayPipeline("ray")
