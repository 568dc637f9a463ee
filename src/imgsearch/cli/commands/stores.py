"""The command that compares a store on a server with the index, and what --store means for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.cli import ending, output
from imgsearch.cli import options as common
from imgsearch.cli.examples import image_files
from imgsearch.cli.help import ADVANCED, EXPERTS
from imgsearch.cli.parsing import Command
from imgsearch.cli.queries import answer_lines
from imgsearch.cli.terminal.hits import NOTHING
from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.spec import checkpoint_for
from imgsearch.types import Hit, ImageEncoder, ModelOptions, QueryEncoder, Reporter

if TYPE_CHECKING:
    # The others import them on use: they load NumPy.
    from imgsearch.cli.terminal.hits import Beside
    from imgsearch.client import KeptModel
    from imgsearch.index.rows import IndexedFile
    from imgsearch.search import SearchRequest
    from imgsearch.search.listing import ListOptions
    from imgsearch.tools.stores import VectorStore

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="Ask a collection of a Milvus server, not the index: milvus://HOST:PORT/NAME",
        rich_help_panel=ADVANCED,
    ),
]
Filled = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="Then make a collection of a Milvus server hold the same: milvus://HOST:PORT/NAME",
        rich_help_panel=ADVANCED,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("store", cls=Command, rich_help_panel=EXPERTS)(common.handled(store))


def store(
    action: Annotated[Literal["sync"], typer.Argument(metavar="sync", help="Compare, and repair")],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="milvus://HOST:PORT/NAME")],
    check: Annotated[bool, typer.Option("--check", help="Only compare; change nothing")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what is there, even if hardly any of it is in the index")
    ] = False,
    index: common.IndexFolder = None,
    json: common.Json = False,
) -> int:
    """Fill a Milvus server from the index, and repair it.

    Examples:
      imgsearch store sync milvus://localhost:19530/photos
      imgsearch store sync milvus://localhost:19530/photos --check

    Adds what is missing, updates what has changed, deletes what is not in the index; --json counts it by shard.
    The token is read from IMGSEARCH_STORE_TOKEN; IMGSEARCH_STORE_TLS=1 encrypts the connection.
    Exit code 0: the store holds the same now; 1: --check has found differences.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Opening the store")
    from imgsearch.tools.stores.sync import sync_store

    found = sync_store(address, find_index(index), repair=not check, replace=replace, reporter=reporter)
    if json:
        for shard in found.shards:
            output.json_line(shard.as_json())
    reporter.say(found.summary())
    return 1 if check and found.differs else 0


def check(address: str, folder: str) -> None:
    """Raise what a store can't be filled for before hours are spent: no server, or images of another index's kind."""
    from imgsearch.index import manifest
    from imgsearch.tools.stores.address import parse
    from imgsearch.tools.stores.milvus import MilvusStore

    spec = manifest.read(folder) if manifest.exists(folder) else None
    MilvusStore.check(parse(address), spec)


def fill(address: str, folder: str, reporter: Reporter, before: int) -> str:
    """Make a store hold what the index in ``folder`` holds; return what to say of it and of what was put in before."""
    reporter.wait("Comparing with the store")
    from imgsearch.tools.stores.sync import sync_store

    return f"store: {sync_store(address, folder, reporter=reporter, before=before).summary()}"


@contextmanager
def following(
    address: str | None, folder: str, reporter: Reporter
) -> Iterator[tuple[Reporter, Callable[[], int]]]:
    """Have a store follow the index in ``folder`` while a run makes it.

    Gives the reporter for the run, and what ends the following and returns how many images were put in.
    """
    if address is None:
        yield reporter, lambda: 0
        return
    from imgsearch.tools.stores.address import parse
    from imgsearch.tools.stores.following import Follower, Telling
    from imgsearch.tools.stores.milvus import MilvusStore

    parsed = parse(address)
    with Follower(folder, lambda spec: MilvusStore.at(parsed, spec, create=True)) as follower:
        yield Telling(reporter, follower), follower.stop


@contextmanager
def opened_store(address: str) -> Iterator[VectorStore]:
    """Open the store of an address, to ask it."""
    from imgsearch.tools.stores.address import parse
    from imgsearch.tools.stores.milvus import MilvusStore

    opened = MilvusStore.at(parse(address))
    try:
        yield opened
    finally:
        opened.close()


def search(
    address: str,
    images: Sequence[str],
    request_of: Callable[[Sequence[str]], SearchRequest],
    style: str,
    choice: ModelOptions,
    model: KeptModel,
    reporter: output.ProgressReporter,
    *,
    index: Sequence[str] | None,
    allow_private: bool = False,
) -> int:
    """Answer a search by a store; return the exit code."""
    from imgsearch.tools.stores.answers import LazyEncoder, ask

    if index:
        raise UsageError("--store asks a store and --index an index; give one of them")
    with (
        opened_store(address) as opened,
        image_files(images, reporter, allow_private=allow_private) as files,
    ):
        request = request_of(files)
        encoder: QueryEncoder = LazyEncoder(lambda: _model(address, opened, choice, model, reporter))
        if request.text == "-":

            def find(line: str) -> tuple[list[Hit], Beside]:
                return ask(opened, replace(request, text=line), encoder).hits, NOTHING

            return answer_lines(find, style, "nothing found", reporter, None)
        answered = ask(opened, request, encoder)
        ending.show(answered, style, request.options, reporter)
        if not answered.hits:
            reporter.say("nothing found")
    return 0 if answered.hits else 1


def _model(
    address: str,
    opened: VectorStore,
    choice: ModelOptions,
    model: KeptModel,
    reporter: output.ProgressReporter,
) -> ImageEncoder:
    # A search downloads no gigabytes unless somebody says so.
    download = choice.model is not None or output.settings.yes or output.can_ask()
    checkpoint = checkpoint_for(address, opened.spec, choice, reporter, download=download)
    return model.load(checkpoint, opened.spec, choice, reporter)


def listed(address: str, options: ListOptions, index: str | None) -> Iterable[IndexedFile]:
    """Return the files that a store knows."""
    from imgsearch.tools.stores.answers import list_images

    if index:
        raise UsageError("--store asks a store and --index an index; give one of them")
    with opened_store(address) as opened:
        return list_images(opened, options)
