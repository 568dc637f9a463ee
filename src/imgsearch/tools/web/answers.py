"""What the page is told: searches, lists, counts and single images, as its JSON has them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from imgsearch import deep
from imgsearch.addresses import absolute
from imgsearch.client import protocol
from imgsearch.errors import InputError
from imgsearch.index import metadata
from imgsearch.index.hashes import files_of
from imgsearch.index.parts import searched
from imgsearch.index.reader import ImageIndex
from imgsearch.place import fragment, label
from imgsearch.search import Answer, SearchRequest, ask
from imgsearch.search.encoding import CachedEncoder
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.filtering import NAMES
from imgsearch.search.language.question import Part
from imgsearch.search.language.read import read_query
from imgsearch.search.listing import ListOptions, count_facets
from imgsearch.search.ranking.cut import Background
from imgsearch.search.ranking.order import SORTS
from imgsearch.search.ranking.stacks import MOST
from imgsearch.search.several import ask_parts
from imgsearch.search.show import show
from imgsearch.search.timeline import count_months, list_contents
from imgsearch.text import is_blank, printable
from imgsearch.tools.server.pools import IndexPool
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import SavedQueries
from imgsearch.tools.web import originals
from imgsearch.tools.web.asked import MOST_HITS, MOST_OFFSET, Asked, Chosen
from imgsearch.tools.web.export import check_size
from imgsearch.tools.web.groups import DuplicateGroups, told
from imgsearch.tools.web.keys import find_record, key_of, records_of
from imgsearch.tools.web.overviews import Overviews
from imgsearch.tools.web.overviews import told as clusters_told
from imgsearch.tools.web.tiles import tile_of_hit, tile_of_record
from imgsearch.tools.web.uploads import Uploads
from imgsearch.types import (
    RGB,
    Hit,
    Input,
    ModelOptions,
    PixelBudget,
    PixelBudgets,
    QueryEncoder,
    Record,
    Vectors,
    place_json,
)

_BINS = 60
_PATIENCE = 0.5  # seconds that are waited for an overview before it is told how far it is
_AUTO = ModelOptions()


class NeedsModel(Exception):
    """A query can't be answered before the model of the index in ``folder`` has embedded some inputs."""

    def __init__(self, folder: str, inputs: Sequence[Input]) -> None:
        """Keep them."""
        super().__init__()
        self.folder, self.inputs = folder, tuple(inputs)


Embedded = Mapping[tuple[str, int, str | None, str | None], Vectors]
"""(Model's fingerprint, dim, text, instruction) → the vector (1, dim) that was embedded of it."""


class Catalogues:
    """Indexes that are open for the page alone. Safe to use from many threads.

    What needs only the catalogue never waits for a query that is being embedded, or for a model that is being loaded;
    neither does a query whose words are remembered.
    """

    def __init__(self, idle_seconds: float) -> None:
        """Open nothing yet."""
        self.searches = IndexPool(idle_seconds)
        self.lists = IndexPool(idle_seconds)
        self.single = IndexPool(idle_seconds)  # a look-up is not to wait for counts over a million files

    def close_idle(self) -> None:
        """Close the indexes if nobody has asked for long enough."""
        for pool in (self.searches, self.lists, self.single):
            pool.close_idle()


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers the page's requests for the index in ``folder``. Safe to use from many threads.

    Searches are of its part for documents, too, and so are the images that they find. What is browsed without a query
    is the index alone.

    ``resources`` are what the server's other requests use, too.
    """

    folder: str
    resources: Resources
    catalogues: Catalogues
    queries: SavedQueries

    # ---- searching -------------------------------------------------------------------------------------------------

    def search(self, data: Any, uploads: Uploads, embedded: Embedded) -> dict[str, Any]:
        """Answer a query, by what was ``embedded`` for it.

        Raises NeedsModel if that and what is remembered of earlier queries is not enough, NoImage for an example that
        is gone, and what ``search.ask`` raises.
        """
        began = time.perf_counter()
        asked = Asked(data)
        n, offset = asked.count("n", 200, MOST_HITS, 1), asked.count("offset", 0, MOST_OFFSET)
        sort = asked.text("sort", "score")
        if sort not in SORTS:
            raise InputError(f"sort: choose one of {', '.join(SORTS)}")
        typing = asked.flag("typing")  # words on the way to others: nothing of them is kept on the disk
        request, read, text = self._request(asked, uploads)
        options = replace(
            request.options,
            n=n + 1,
            offset=offset,
            sort=sort,
            stacks=asked.flag("stacks", True),
            cut="mark",
            explain=True,
        )
        request = replace(request, options=options)

        def encoder_of(index: ImageIndex) -> QueryEncoder:
            known = CachedEncoder(index, _AUTO, lambda: _Known(index, embedded), keep=not typing)
            # What is in memory need not be looked up.
            return _Known(index, embedded, known) if typing else known

        def work(indexes: Sequence[ImageIndex]) -> tuple[Answer, int, dict[str, dict[int, int]]]:
            encoders = [encoder_of(index) for index in indexes]
            if len(indexes) > 1:
                answered = ask_parts(indexes, request, encoders)
            else:
                answered = _ask(indexes[0], request, encoders[0])
            total, dates = 0, dict[str, dict[int, int]]()
            for index in indexes:
                here = [hit.content for hit in answered.hits if hit.index in ("", index.folder)]
                dates[index.folder] = metadata.dates(index.catalog.database, here)
                total += index.catalog.counts()[1] if index.searched is None else index.searched
            dates[""] = dates[indexes[0].folder]
            return answered, total, dates

        # The vector of an image that was dropped here is by the model of the index alone.
        vectors = any(part.vector is not None for part in request.parts)
        folders = [self.folder] if vectors else searched(self.folder)
        answered, total, dates = self.catalogues.searches.use_all(folders, work)
        hits = answered.hits
        return {
            "hits": [tile_of_hit(hit, dates[hit.index]) for hit in hits[:n]],
            "more": len(hits) > n,
            "total": total,
            "cut": answered.cut.as_json() if answered.cut else None,
            "scores": _histogram(answered.background, answered.hits),
            "read": read,
            "text": text,
            "seconds": round(time.perf_counter() - began, 4),
            "version": protocol.version(),
        }

    def _request(self, asked: Asked, uploads: Uploads) -> tuple[SearchRequest, list[dict[str, str]], str]:
        """Return what is searched for, what was read out of the words, and the text that is left of them."""
        words, chosen = asked.text("q"), asked.filters
        unread = set(asked.texts("unread", 8))
        read: list[dict[str, str]] = []
        literal = asked.flag("literal")
        if not literal and "saved" not in unread and not is_blank(words):
            words, chosen, read = self._expanded(words, chosen)
        parts: list[Part] = []
        text = ""
        if not is_blank(words):
            reading = read_query([words], chosen.given, literal=literal, unread=unread, files=False)
            text = reading.text
            for one in reading.read:
                chosen = chosen.adding(one.filters)
                read.append({"kind": one.kind, "label": printable(one.label)})
            if reading.parts:
                parts += reading.parts
                read += [{"kind": "part", "label": printable(part.text)} for part in parts]
            else:
                parts.append(Part(text))
        if any(part.image for part in parts):
            raise InputError("paths and addresses are not read here; drop the image on the page")
        parts += self._examples(asked, uploads)
        more, less = (self._pages(asked.texts(name, 100)) for name in ("more", "less"))
        if not parts and more:
            # With nothing else to go by, what is liked is the query.
            parts, more = [Part(content=content, page=page) for content, page in more], ()
        if not any(part.weight > 0 for part in parts):
            raise InputError(
                "the query only excludes; add what to find" if parts or less else "the query is empty"
            )
        options = SearchOptions(filters=chosen.filters(), below=chosen.folders)
        single = parts[0] if len(parts) == 1 and not parts[0].is_image else None
        return (
            SearchRequest(
                "query",
                single.text if single else None,
                options=options,
                parts=() if single else tuple(parts),
                more=more,
                less=less,
            ),
            read,
            text,
        )

    def _expanded(self, words: str, chosen: Chosen) -> tuple[str, Chosen, list[dict[str, str]]]:
        """Return words with those of saved queries in them, and the filters that these bring."""
        expanded, options = self.queries.apply([words], {})
        if expanded == [words]:
            return words, chosen, []
        given = {name: value for name, value in options.items() if name in NAMES}
        folders = [absolute(folder) for folder in options.get("below") or ()]
        chosen = Chosen(chosen.adding(given).given, chosen.folders or tuple(folders))
        names = [word for word in words.split() if word.startswith("@")]
        return " ".join(expanded), chosen, [{"kind": "saved", "label": printable(name)} for name in names]

    def _examples(self, asked: Asked, uploads: Uploads) -> list[Part]:
        found: list[Part] = []
        for example in asked.objects("examples"):
            weight = example.number("weight", 1.0, 1000)
            if "upload" in example:
                found.append(Part(weight=weight, vector=uploads.vector(example.text("upload"))))
            else:
                ((content, page),) = self._pages([example.text("image")])
                found.append(Part(weight=weight, content=content, page=page))
        return found

    def _pages(self, keys: Sequence[str]) -> tuple[tuple[bytes, int], ...]:
        if not keys:
            return ()
        return tuple((record.sha256, record.page) for record in self.records(keys))

    def embed(self, folder: str, inputs: Sequence[Input], *, remember: bool) -> Embedded:
        """Embed inputs with the model of the index in a folder, which is loaded if need be.

        With ``remember``, texts are known from then on. Raises as loading the model and embedding do.
        """

        def work(index: ImageIndex) -> Embedded:
            vectors = self.resources.encoder(index, _AUTO, "query", cache=remember).embed(inputs)
            return {
                _named_by(index, item): vector[None] for item, vector in zip(inputs, vectors, strict=True)
            }

        return self.resources.use_index(folder, work)

    def embed_image(self, pixels: RGB, budget: PixelBudget | None = None) -> Vectors:
        """Return the vector (1, dim) of an image, (h, w, 3) uint8, seen with a budget. Raises as ``embed`` does."""

        def work(index: ImageIndex) -> Vectors:
            encoder, prompt = (
                self.resources.encoder(index, _AUTO, "query", cache=False),
                index.spec.document_prompt,
            )
            return encoder.embed([Input(image=pixels, instruction=prompt, budget=budget)])

        return self.resources.use_index(self.folder, work)

    def stored(self, sha256: bytes) -> Vectors | None:
        """Return the vector (1, dim) that the index has for a file's bytes, if it has one."""
        return self.catalogues.single.use(self.folder, lambda index: index.vector(sha256))

    def budgets(self) -> PixelBudgets:
        """Return the pixel budgets of the index."""
        return self.catalogues.single.use(self.folder, lambda index: index.spec.budgets)

    # ---- the catalogue alone ---------------------------------------------------------------------------------------

    def listed(self, data: Any, overviews: Overviews) -> dict[str, Any]:
        """List images without a query: all, or those of a cluster of the overview."""
        asked = Asked(data)
        chosen = asked.filters
        n, offset = asked.count("n", 200, MOST_HITS, 1), asked.count("offset", 0, MOST_OFFSET)
        options = ListOptions(
            chosen.filters(),
            (),
            asked.text("sort", "newest"),
            n,
            offset,
            asked.count("seed", 0, 2**53, -(2**53)),
        )

        among = None
        if "cluster" in asked:
            among = overviews.rows(self.folder, asked.count("cluster", 0, 2**48 - 1))

        def work(index: ImageIndex) -> dict[str, Any]:
            found = list_contents(index, replace(options, below=chosen.below(index)), among)
            tiles = [tile_of_record(one.record, one.taken) for one in found.images]
            return {"images": tiles, "total": found.total, "version": protocol.version()}

        return self.catalogues.lists.use(self.folder, work)

    def months(self, data: Any) -> dict[str, Any]:
        """Count images by the month in which they were taken."""
        chosen = Asked(data).filters

        def work(index: ImageIndex) -> dict[str, Any]:
            months = count_months(index, chosen.filters(), chosen.below(index))
            return {"months": [asdict(month) for month in months], "version": protocol.version()}

        return self.catalogues.lists.use(self.folder, work)

    def overview(self, overviews: Overviews) -> dict[str, Any]:
        """Tell the clusters of the collection, or how far they are found."""
        found = overviews.find(self.folder, _PATIENCE)
        if found is None:
            done, total = overviews.progress
            return {"state": "computing", "done": done, "total": total}
        clusters = self.catalogues.lists.use(self.folder, lambda index: clusters_told(index, found))
        return {
            "state": "ready",
            "clusters": clusters,
            "images": found.images,
            "seconds": round(found.seconds, 3),
        }

    def facets(self, data: Any) -> dict[str, Any]:
        """Count images by year, camera, folder, type and rating."""
        chosen = Asked(data).filters

        def work(index: ImageIndex) -> dict[str, Any]:
            filters, below = chosen.filters(), chosen.below(index)
            told = count_facets(index, filters, below, documents=False).as_json()
            for row in told["folder"]:
                row["name"] = printable(row["path"])
            return told

        return self.catalogues.lists.use(self.folder, work)

    def record(self, key: str) -> Record:
        """Return the image of a key. Raises NoImage."""
        return self.located(key)[1]

    def located(self, key: str) -> tuple[str, Record]:
        """Return the image of a key, and the folder of the index that has it. Raises NoImage."""

        def work(indexes: Sequence[ImageIndex]) -> tuple[str, Record]:
            index, record = find_record(indexes, key)
            return index.folder, record

        return self.catalogues.single.use_all(searched(self.folder), work)

    def records(self, keys: Sequence[str]) -> list[Record]:
        """Return the images of some keys, in order. Raises NoImage."""

        def work(indexes: Sequence[ImageIndex]) -> list[Record]:
            if len(indexes) == 1:
                return records_of(indexes[0], keys)  # thousands at a time
            return [find_record(indexes, key)[1] for key in keys]

        return self.catalogues.single.use_all(searched(self.folder), work)

    def to_export(self, keys: Sequence[str]) -> list[Record]:
        """Return the images of some keys, whose files are not too much for one download.

        Raises NoImage, and UsageError for too much.
        """

        records = self.records(keys)

        def work(indexes: Sequence[ImageIndex]) -> list[int]:
            contents = {record.sha256 for record in records}
            databases = [index.catalog.database for index in indexes]
            return [
                max((file.size for database in databases for file in files_of(database, one)), default=0)
                for one in contents
            ]

        check_size(self.catalogues.single.use_all(searched(self.folder), work))
        return records

    def image(self, key: str) -> dict[str, Any]:
        """Tell all that is known of an image. Raises NoImage."""
        return self.images([key])[0]

    def images(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Tell all that is known of some images, in order. Raises NoImage."""

        def work(indexes: Sequence[ImageIndex]) -> list[dict[str, Any]]:
            if len(indexes) == 1:
                return [_told(indexes[0], record) for record in records_of(indexes[0], keys)]
            return [_told(*find_record(indexes, key)) for key in keys]

        return self.catalogues.single.use_all(searched(self.folder), work)

    def duplicates(self, data: Any, groups: DuplicateGroups) -> dict[str, Any]:
        """List groups of images that show the same; nothing is deleted."""
        asked = Asked(data)
        n, offset = asked.count("n", 60, MOST_HITS, 1), asked.count("offset", 0, MOST_OFFSET)
        found = groups.find(self.folder)
        some = self.catalogues.single.use(self.folder, lambda index: told(index, found[offset : offset + n]))
        return {"groups": some, "total": len(found), "version": protocol.version()}

    def status(self) -> dict[str, Any]:
        """Tell which index the page shows and whether its model is in memory."""

        def work(index: ImageIndex) -> dict[str, Any]:
            return {"images": index.catalog.counts()[1], "model": printable(index.spec.model)}

        return {
            "index": printable(self.folder),
            **self.catalogues.single.use(self.folder, work),
            "loaded": self.resources.models.folder is not None,
            "version": protocol.version(),
        }

    def saved(self) -> dict[str, Any]:
        """List the saved queries. Raises UsageError for a config file that can't be used."""
        return {"saved": [{"name": name, "words": words} for name, words in self.queries.listed().items()]}


def _ask(index: ImageIndex, request: SearchRequest, encoder: QueryEncoder) -> Answer:
    """Answer a request whose options ask for any part of its hits, so that all parts together have each image once."""
    options = request.options
    n, offset = options.n, options.offset
    if options.sort != "score":
        # The best are put in order together: else each part would be in an order of its own.
        answered = ask(index, replace(request, options=replace(options, n=MOST, offset=0)), encoder)
        return replace(answered, hits=answered.hits[offset : offset + n])
    if not options.stacks:
        return ask(index, request, encoder)
    if offset + n <= MOST:
        answered = ask(index, request, encoder)
        if len(answered.hits) == n:
            return answered
    # Only the best MOST images are stacked; those behind them follow one by one.
    stacked = ask(index, replace(request, options=replace(options, n=MOST, offset=0)), encoder)
    hits = stacked.hits[offset : offset + n]
    if len(hits) < n:
        behind = MOST + max(0, offset - len(stacked.hits))
        single = replace(options, n=n - len(hits), offset=behind, stacks=False)
        hits += ask(index, replace(request, options=single), encoder).hits
    return replace(stacked, hits=hits)


class _Known:
    """An encoder that knows what was embedded already; with ``behind`` that one answers where this is not enough."""

    def __init__(self, index: ImageIndex, embedded: Embedded, behind: QueryEncoder | None = None) -> None:
        self._index, self._embedded, self._behind = index, embedded, behind

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return the rows. Raises NeedsModel."""
        found = [self._embedded.get(_named_by(self._index, item)) for item in inputs]
        if missing := [item for item, vector in zip(inputs, found, strict=True) if vector is None]:
            if self._behind is None:
                raise NeedsModel(self._index.folder, missing)
            return self._behind.embed(inputs)
        return np.concatenate([vector for vector in found if vector is not None])


def _named_by(index: ImageIndex, item: Input) -> tuple[str, int, str | None, str | None]:
    return index.spec.fingerprint, index.spec.dim, item.text, item.instruction


def _told(index: ImageIndex, record: Record) -> dict[str, Any]:
    """Return all that is known of an image, as the page's JSON has it."""
    path = next((path for path in record.paths if deep.exists(path)), record.paths[0])
    told = show(index, path).as_json()
    known = metadata.get(index.catalog.database, record.sha256)
    return {
        "key": key_of(record.id, record.sha256),
        "path": printable(path),
        "name": printable(os.path.basename(path)),
        "folder": printable(os.path.dirname(path)),
        **{name: told[name] for name in ("bytes", "modified", "missing", "pages", "taken")},
        "page": record.page,
        "where": label(record.kind, record.page),
        "fragment": fragment(record.kind, record.page),
        **place_json(record.kind, record.page, printable(record.name)),
        "width": record.width,
        "height": record.height,
        "camera": _shown(metadata.camera_name(known.make, known.model)) if known else None,
        "lens": _shown(told["lens"]),
        "place": _place(told["latitude"], told["longitude"]),
        "latitude": told["latitude"],
        "longitude": told["longitude"],
        "rating": told["rating"],
        "title": _shown(told["title"]),
        "description": _shown(told["description"]),
        "keywords": [printable(word) for word in told["keywords"]],
        "copies": [printable(copy) for copy in record.paths if copy != path],
        "original": None if record.page or record.kind else originals.type_by_name(path),
    }


def _shown(text: str | None) -> str | None:
    return printable(text) if text else None


def _place(latitude: float | None, longitude: float | None) -> str | None:
    if latitude is None or longitude is None:
        return None
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.4f}° {north}, {abs(longitude):.4f}° {east}"


def _histogram(background: Background | None, hits: Sequence[Hit]) -> dict[str, Any] | None:
    """Return how many images score how much: by the sample, scaled to the index, and by the best hits themselves."""
    if background is None or not len(background.scores):
        return None
    best = np.array([hit.score for hit in hits])
    low, high = float(background.scores.min()), float(max(background.scores.max(), best.max(initial=-1.0)))
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    counts = np.histogram(background.scores, edges)[0] * (background.images / len(background.scores))
    known = np.histogram(best, edges)[0]
    return {
        "floor": round(background.floor, 6),
        "spread": round(background.spread, 6),
        "edges": [round(float(edge), 6) for edge in edges],
        "counts": [round(float(count), 2) for count in np.maximum(counts, known)],
    }
