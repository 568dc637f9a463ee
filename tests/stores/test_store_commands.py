"""--store and `imgsearch store sync`, with a store in memory: they answer as the index does, or say why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.errors import IndexMismatch, StoreError
from imgsearch.tools.stores.address import Address
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.types import IndexSpec
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, spec
from support.stores import MemoryStore

fake_model, gallery = fakes.fake_model, fakes.gallery
AT = "milvus://localhost/photos"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Give the store that stands in the place of every address."""
    store = MemoryStore()

    def check(address: Address, wanted: IndexSpec | None) -> None:
        store.fail("check")
        if wanted is not None and wanted.dim != store.spec.dim:
            raise IndexMismatch(f"the collection was made with dimension {store.spec.dim}")

    def at(address: Address, wanted: IndexSpec | None = None, *, create: bool = False) -> MemoryStore:
        check(address, wanted)
        return store

    monkeypatch.setattr(MilvusStore, "at", at)
    monkeypatch.setattr(MilvusStore, "check", check)
    return store


@pytest.fixture
def folder(
    memory: MemoryStore, fake_model: FakeModel, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give the gallery, indexed and with a store that holds the same."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    done = imgsearch("index", gallery, "--store", AT)
    assert done.code == 0
    assert "store: 5 images; 5 added; " in done.err
    return gallery


def names(*argv: object) -> list[str]:
    done = imgsearch(*argv, "--paths")
    assert done.code in (0, 1), done.err
    return [Path(line).name for line in done.lines]


ASKED = [
    ["query", "red"],
    ["query", "red", "-k", "3", "--offset", "1"],
    ["query", "red", "+", "blue", "-k", "2"],
    ["query", "red", "--type", "png"],
    ["query", "red", "--in", "{folder}/sub"],
    ["query", "red", "--min-score", "0.99"],
    ["query", "red", "--sort", "path"],
    ["query", "yellow", "--image", "{folder}/red.png"],
    ["similar", "{folder}/red.png"],
    ["similar", "{folder}/red.png", "{folder}/blue.jpg"],
    ["similar", "{folder}/red.png", "--name", "*e.*"],
    ["list"],
    ["list", "{folder}/sub"],
    ["list", "--type", "png", "--sort", "path", "-n", "2", "--offset", "1"],
    ["list", "--sort", "newest"],
    ["list", "--sort", "added"],
]


def test_a_store_answers_as_the_index_does(folder: Path) -> None:
    """The same command with --store prints the same images in the same order."""
    for argv in ASKED:
        given = [word.format(folder=folder) for word in argv]
        assert names(*given, "--store", AT) == names(*given), argv


def test_scores_and_fields_are_the_same(folder: Path) -> None:
    """A result has the fields that one from the index has, and the same score."""
    mine, stores = (imgsearch("query", "red", "--json", *more).objects for more in ([], ["--store", AT]))
    for one, other in zip(mine, stores, strict=True):
        assert other.pop("score") == pytest.approx(one.pop("score"), abs=1e-3)
        assert other == one


def test_an_indexed_example_needs_no_model(folder: Path, fake_model: FakeModel) -> None:
    """A search by an image that the store holds takes its vector from there."""
    before = fake_model.loads
    assert names("similar", folder / "red.png", "-k", "1", "--store", AT) == ["red.png"]
    assert fake_model.loads == before


def test_queries_on_stdin_are_answered_one_by_one(folder: Path) -> None:
    """Each line gets its own answer from the store."""
    done = imgsearch("query", "-", "-k", "1", "--store", AT, stdin="red\nblue\n")
    assert [Path(line).name for line in done.lines if "/" in line] == ["red.png", "blue.jpg"]


def test_an_update_reaches_the_store(folder: Path) -> None:
    """The next run adds what is new and deletes what has gone."""
    paint(folder / "pink.png", "pink")
    (folder / "red.png").unlink()
    done = imgsearch("index", "--store", AT)
    assert "store: 5 images; 1 added, 1 deleted; " in done.err
    assert sorted(names("list", "--store", AT)) == sorted(
        ["pink.png", "green.png", "blue.jpg", "white.png", "yellow.png"]
    )


def test_what_a_store_can_not_do_is_refused(folder: Path) -> None:
    """An option that needs the index is named in one line."""
    for text in ("--stacks", "--names 1", "--text", "--exact", "--dim 4", "--rerank 2"):
        done = imgsearch("query", "red", *text.split(), "--store", AT)
        assert (done.code, done.out) == (2, b"")
        option = text.split()[0]
        assert done.err == f"imgsearch: {option}: a store can't do that; search the index without --store\n"


def test_a_store_and_an_index_are_two_things(folder: Path, tmp_path: Path) -> None:
    """--store with --index is refused, by query and by list."""
    for command in (["query", "red"], ["list"]):
        done = imgsearch(*command, "--store", AT, "--index", tmp_path / "index")
        assert done.code == 2
        assert "give one of them" in done.err


def test_sync_repairs_and_tells_of_each_shard(folder: Path, memory: MemoryStore) -> None:
    """After a loss, --check tells and changes nothing, and sync repairs."""
    del memory.kept[next(iter(memory.kept))]
    done = imgsearch("store", "sync", AT, "--check", "--json")
    assert (done.code, len(done.objects)) == (1, 16)
    assert sum(shard["missing"] for shard in done.objects) == 1
    assert "5 images; 1 missing; " in done.err
    assert "1 added" in imgsearch("store", "sync", AT).err
    assert imgsearch("store", "sync", AT, "--check").code == 0


def test_a_store_that_fails_leaves_the_index_whole(
    memory: MemoryStore,
    fake_model: FakeModel,
    gallery: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The images are indexed though the store is full; the error is one line, and the exit code 2."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))

    def fail(call: str) -> None:
        if call == "upsert":
            raise StoreError(f"{AT}: the server is full")

    memory.fail = fail
    done = imgsearch("index", gallery, "--store", AT)
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"imgsearch: {AT}: the server is full"
    assert len(names("list")) == 5


def test_a_store_that_is_not_there_is_told_before_anything_is_embedded(
    memory: MemoryStore, fake_model: FakeModel, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose store does not answer ends at once."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))

    def fail(call: str) -> None:
        raise StoreError(f"{AT}: no Milvus server answers there; is it running?")

    memory.fail = fail
    assert imgsearch("index", gallery, "--store", AT).code == 2
    assert fake_model.embedded == 0


def test_another_indexs_store_is_refused_before_anything_is_embedded(
    folder: Path, memory: MemoryStore, fake_model: FakeModel
) -> None:
    """A collection of another dimension is told, and a new image stays where it is."""
    before = fake_model.embedded
    paint(folder / "pink.png", "pink")
    memory.spec = spec(9)
    done = imgsearch("index", "--store", AT)
    assert done.code == 2
    assert "dimension 9" in done.err
    assert fake_model.embedded == before


def test_a_bad_address_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no address is told by every command that takes one."""
    for argv in (["query", "red", "--store", "x"], ["list", "--store", "x"], ["store", "sync", "x"]):
        done = imgsearch(*argv)
        assert done.code == 2
        assert done.err.endswith("not an address, as in milvus://localhost:19530/photos\n")


@pytest.mark.parametrize(
    "said",
    [
        f"{AT}: no Milvus server answers there; is it running?",
        f"{AT}: the server has not answered for 60 s (timeout); when it does, run the same command again",
        f"{AT}: the server is Milvus v2.2.9; 2.3.2 or newer is required",
        f"{AT}: the server refuses access; set IMGSEARCH_STORE_TOKEN (auth check failure)",
        f"the collection {AT} was not made by imgsearch; give the name of another collection",
    ],
)
def test_a_bad_server_is_one_line_for_each_command(folder: Path, memory: MemoryStore, said: str) -> None:
    """Whatever is wrong with a server, each command says it in one line, exits with 2, and the index stays whole."""

    def fail(call: str) -> None:
        raise StoreError(said)

    memory.fail = fail
    for argv in (
        ["query", "red", "--store", AT],
        ["list", "--store", AT],
        ["store", "sync", AT],
        ["index", "--store", AT],
    ):
        done = imgsearch(*argv)
        assert (done.code, done.out, done.err) == (2, b"", f"imgsearch: {said}\n"), argv
    assert len(names("list")) == 5
