"""A collection of a Milvus server as a VectorStore."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import IndexMismatch, StoreError, UsageError
from imgsearch.index.manifest import differences, spec_from_json, spec_to_json
from imgsearch.text import Call, Option, plural
from imgsearch.tools.stores import (
    EVERYTHING,
    MOST_AT_ONCE,
    MOST_HITS,
    Key,
    StoredImage,
    Wanted,
    check_rows,
    fields,
)
from imgsearch.tools.stores.address import Address
from imgsearch.tools.stores.expressions import DEGREES, LISTS, NUMBERS, TEXTS, expression, fields_of, quoted
from imgsearch.tools.stores.judging import judged
from imgsearch.tools.stores.server import Server
from imgsearch.types import IndexSpec, Vectors

FORMAT = 1
"""Of the fields of a collection."""
_SPEC, _FORMAT = "imgsearch.spec", "imgsearch.format"
_MOST_BYTES = 16 << 20  # of vectors in one call
_MOST_TEXT = 16 << 20  # bytes of what is known of images in one call
_LISTED = 2_000
_DIGESTS = 16_000
_CALL = 60.0  # seconds that one call may take before it is made again
_LOOK = 0.2  # seconds between two looks at how much of a collection is loaded
_SPARE = 32  # results beyond k: equal ones are to stand in their order


class MilvusStore:
    """A collection that holds the images of one index.

    The primary key is the content's hash with the page, so that an upsert can be repeated. What the index was made with
    is kept in the collection's properties.
    """

    def __init__(
        self,
        server: Server,
        collection: str,
        spec: IndexSpec | None = None,
        *,
        create: bool = False,
        consistency: str = "strong",
        index: str = "autoindex",
    ) -> None:
        """Open a collection, and with ``create`` make it for ``spec`` if there is none.

        Raises StoreError (no such collection, or one that imgsearch has not made), IndexMismatch (of another spec).
        """
        self.server, self.collection = server, collection
        self._level = consistency.capitalize()
        self._check_kind(index)
        if (
            create
            and spec
            and not self._ask(lambda client, **more: client.has_collection(collection, **more))
        ):
            self._create(spec)
        self._spec, self._half = self._described()
        if spec is not None and (found := differences(self._spec, spec)):
            raise IndexMismatch(
                f"the collection {server.shown} was made with {'; '.join(found)}; give the name of another collection"
            )
        self._prepare(index)

    @classmethod
    def at(cls, address: Address, spec: IndexSpec | None = None, *, create: bool = False) -> MilvusStore:
        """Open the collection of an address. Raises as the constructor does."""
        return cls(
            Server.at(address),
            address.collection,
            spec,
            create=create,
            consistency=address.consistency,
            index=address.index,
        )

    @classmethod
    def check(cls, address: Address, spec: IndexSpec | None) -> None:
        """Raise what opening the collection of an address would, if there is one, and what its server refuses."""
        server = Server.at(address)
        try:
            if server.call(lambda client: client.has_collection(address.collection, timeout=_CALL)):
                cls(server, address.collection, spec, index=address.index)
        finally:
            server.close()

    @property
    def spec(self) -> IndexSpec:
        """What the vectors were made with."""
        return self._spec

    def _ask(self, work: Callable[..., Any]) -> Any:
        return self.server.call(lambda client: work(client, timeout=_CALL))

    def _create(self, spec: IndexSpec) -> None:
        from pymilvus import DataType

        def create(client: Any, timeout: float) -> None:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=96)
            half = self.server.has_float16
            schema.add_field(
                "vector", DataType.FLOAT16_VECTOR if half else DataType.FLOAT_VECTOR, dim=spec.dim
            )
            for name in NUMBERS:
                schema.add_field(name, DataType.INT64)
            for name in DEGREES:
                schema.add_field(name, DataType.DOUBLE)
            for name, longest in TEXTS.items():
                schema.add_field(name, DataType.VARCHAR, max_length=longest)
            for name, (longest, most) in LISTS.items():
                inside = {"element_type": DataType.VARCHAR, "max_length": longest, "max_capacity": most}
                schema.add_field(name, DataType.ARRAY, **inside)
            schema.add_field("about", DataType.VARCHAR, max_length=fields.MOST_BYTES)
            schema.add_field("digest", DataType.INT64)
            properties = {_FORMAT: str(FORMAT), _SPEC: json.dumps(spec_to_json(spec), sort_keys=True)}
            if not client.has_collection(
                self.collection, timeout=timeout
            ):  # tried again, it may be there now
                client.create_collection(
                    self.collection,
                    schema=schema,
                    properties=properties,
                    consistency_level="Strong",
                    timeout=timeout,
                )

        self._ask(create)

    def _described(self) -> tuple[IndexSpec, bool]:
        """Return what the collection was made with, and whether its vectors are float16."""
        from pymilvus import DataType

        told = self._ask(lambda client, **more: client.describe_collection(self.collection, **more))
        properties = told.get("properties") or {}
        if properties.get(_FORMAT, str(FORMAT)) != str(FORMAT):
            raise StoreError(f"{self.server.shown} was made by a newer imgsearch; upgrade imgsearch")
        vector = next((one for one in told["fields"] if one["name"] == "vector"), None)
        try:
            spec = spec_from_json(json.loads(properties[_SPEC]))
            if vector is None or int(vector["params"]["dim"]) != spec.dim:
                raise ValueError("another length")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(
                f"the collection {self.server.shown} was not made by imgsearch; give the name of another collection"
            ) from error
        return spec, vector["type"] == DataType.FLOAT16_VECTOR

    def _check_kind(self, index: str) -> None:
        if index == "ivf_rabitq" and not self.server.has_rabitq:
            version = ".".join(map(str, self.server.version))
            raise StoreError(f"{self.server.shown}: IVF_RABITQ needs Milvus 2.6; the server is {version}")

    def _prepare(self, index: str) -> None:
        """Give the collection the index that searches need, if it has none, and have the server load it.

        A large collection takes minutes to load; the call waits as long as the server makes progress.
        """

        def prepare(client: Any, timeout: float) -> None:
            if not client.list_indexes(self.collection, field_name="vector", timeout=timeout):
                wanted = client.prepare_index_params()
                if index == "ivf_rabitq":
                    params = {"nlist": 1024, "refine": True, "refine_type": "FP16"}
                    wanted.add_index("vector", index_type="IVF_RABITQ", metric_type="COSINE", params=params)
                else:
                    wanted.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
                client.create_index(self.collection, wanted, timeout=timeout)
            client.load_collection(self.collection, timeout=timeout, _async=True)

        self._ask(prepare)
        loaded, since = -1, time.monotonic()
        while (now := loading(self.server, self.collection, _CALL)) < 100:
            if now != loaded:
                loaded, since = now, time.monotonic()
            if time.monotonic() - since > _CALL:
                raise StoreError(
                    f"{self.server.shown}: the server loads the collection and is stuck at {now} %; "
                    "see its log, then run the same command again"
                )
            time.sleep(_LOOK)

    def upsert(self, images: Sequence[StoredImage], vectors: NDArray[Any]) -> None:
        """Put images in, some at a time."""
        check_rows(self.spec, images, vectors)
        rows = np.asarray(vectors, np.float16 if self._half else np.float32)
        size = max(1, min(MOST_AT_ONCE, _MOST_BYTES // rows.itemsize // self.spec.dim))
        known = fields_of(images)
        some: list[dict[str, Any]] = []
        texts = 0
        for number, image in enumerate(images):
            text = fields.about(image)
            own = {"key": key_text(image.key), "vector": rows[number]}
            some.append({**own, **known[number], "about": text, "digest": fields.digest(text)})
            # What is known of an image is its text and, at most as long again, the fields that filters ask.
            texts += 2 * len(text)
            if len(some) == size or texts > _MOST_TEXT or number == len(images) - 1:
                self._ask(lambda client, some=some, **more: client.upsert(self.collection, some, **more))
                some, texts = [], 0

    def delete(self, keys: Sequence[Key]) -> None:
        """Take images out."""
        texts = [key_text(key) for key in keys]
        for first in range(0, len(texts), MOST_AT_ONCE):
            some = texts[first : first + MOST_AT_ONCE]
            self._ask(lambda client, some=some, **more: client.delete(self.collection, ids=some, **more))

    def search(
        self, vectors: Vectors, k: int, wanted: Wanted = EVERYTHING
    ) -> list[list[tuple[StoredImage, float]]]:
        """Search by the server's index; what its language of filters can't say is judged afterwards.

        Raises UsageError for more than 16,384 images.
        """
        return [self._nearest(vector, k, wanted) for vector in np.asarray(vectors, np.float32)]

    def _nearest(self, vector: Vectors, k: int, wanted: Wanted) -> list[tuple[StoredImage, float]]:
        if k < 1:
            return []
        if k > MOST_HITS and (there := self.count(wanted)) > MOST_HITS:
            raise UsageError(
                Option("n", k),
                f": a Milvus server returns at most {MOST_HITS:,} images per search, and {there:,} pass",
            )
        k = min(k, MOST_HITS)
        text, exact = expression(wanted, patterns=self.server.has_patterns)
        limit = min(k + _SPARE if exact else 4 * k + _SPARE, MOST_HITS)
        while True:
            hits = self._hits(vector, limit, text)
            passing = judged([image for image, _ in hits], wanted)
            found = [hit for hit, passes in zip(hits, passing, strict=True) if passes]
            if len(found) >= k or len(hits) < limit:
                return _ordered(found)[:k]
            if limit == MOST_HITS:
                break
            limit = min(4 * limit, MOST_HITS)
        if exact:
            return _ordered(found)[:k]
        # Too few of the nearest pass: those that do are named to the server.
        found, keys = [], [key_text(image.key) for image in self.iterate(wanted)]
        for first in range(0, len(keys), _LISTED):
            names = ", ".join(map(quoted, keys[first : first + _LISTED]))
            found += self._hits(vector, min(k, MOST_HITS), f"key in [{names}]")
        return _ordered(found)[:k]

    def _hits(self, vector: Vectors, limit: int, text: str) -> list[tuple[StoredImage, float]]:
        row = vector.astype(np.float16) if self._half else vector
        found = self._ask(
            lambda client, **more: client.search(
                self.collection,
                data=[row],
                filter=text,
                limit=limit,
                output_fields=["key", "about"],
                search_params={"metric_type": "COSINE"},
                anns_field="vector",
                consistency_level=self._level,
                **more,
            )
        )
        return [(self._image(hit["entity"]), float(np.clip(hit["distance"], -1.0, 1.0))) for hit in found[0]]

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        """Have the server count, or count what is listed where its language of filters does not suffice."""
        text, exact = expression(wanted, patterns=self.server.has_patterns)
        if not exact:
            return sum(1 for _ in self.iterate(wanted))
        found = self._ask(
            lambda client, **more: client.query(
                self.collection,
                filter=text,
                output_fields=["count(*)"],
                consistency_level=self._level,
                **more,
            )
        )
        return int(found[0]["count(*)"])

    def iterate(self, wanted: Wanted = EVERYTHING) -> Iterator[StoredImage]:
        """Yield images in the order of their keys; an interruption of the server only delays it."""
        text, _ = expression(wanted, patterns=self.server.has_patterns)
        for rows in self._pages(text, ["key", "about"], _LISTED):
            images = [self._image(row) for row in rows]
            for image, passes in zip(images, judged(images, wanted), strict=True):
                if passes:
                    yield image

    def digests(self, shard: int) -> Iterator[tuple[Key, int]]:
        """Yield keys and digests in the order of the keys."""
        end = f"{shard + 1:x}" if shard < 15 else "g"
        text = f'key >= "{shard:x}" and key < "{end}"'
        for rows in self._pages(text, ["key", "digest"], _DIGESTS):
            yield from ((self._key(str(row["key"])), int(row["digest"])) for row in rows)

    def _pages(self, text: str, wanted: list[str], size: int) -> Iterator[list[dict[str, Any]]]:
        """Yield rows that an expression lets through, so many at a time, in the order of their keys."""
        last = ""
        while True:
            behind = f"key > {quoted(last)}"
            rows = self._ask(
                lambda client, behind=behind, **more: client.query(
                    self.collection,
                    filter=f"{behind} and ({text})" if text else behind,
                    output_fields=wanted,
                    limit=size,
                    consistency_level=self._level,
                    **more,
                )
            )
            page = sorted(rows, key=lambda row: str(row["key"]))
            yield page
            if len(page) < size:
                return
            last = str(page[-1]["key"])

    def vectors(self, keys: Sequence[Key]) -> Vectors:
        """Ask for vectors by their keys."""
        found: dict[str, Any] = {}
        texts = [key_text(key) for key in keys]
        size = max(1, min(1_000, _MOST_BYTES // 4 // self.spec.dim))
        for first in range(0, len(texts), size):
            some = texts[first : first + size]
            rows = self._ask(
                lambda client, some=some, **more: client.query(
                    self.collection,
                    ids=some,
                    output_fields=["key", "vector"],
                    consistency_level=self._level,
                    **more,
                )
            )
            found |= {str(row["key"]): self._row(row["vector"]) for row in rows}
        nothing = np.zeros(self.spec.dim, np.float32)
        stored = [found.get(text, nothing) for text in texts]
        return np.array(stored, np.float32).reshape(len(texts), self.spec.dim)

    def _row(self, value: Any) -> NDArray[Any]:
        """Read a vector: a list of numbers, or of float16 its bytes."""
        if self._half and not isinstance(value, np.ndarray):
            raw = value[0] if isinstance(value, list) and value and isinstance(value[0], bytes) else value
            if isinstance(raw, bytes):
                return np.frombuffer(raw, np.float16)
        return np.asarray(value)

    def _image(self, row: dict[str, Any]) -> StoredImage:
        text = str(row["key"])
        try:
            return fields.read(self._key(text), str(row["about"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._damaged(text) from error

    def _key(self, text: str) -> Key:
        sha256, _, page = text.partition(":")
        try:
            return bytes.fromhex(sha256), int(page)
        except ValueError as error:
            raise self._damaged(text) from error

    def _damaged(self, key: str) -> StoreError:
        return StoreError(
            f"{self.server.shown}: what is stored of {key[:100]!r} is damaged; repair it with: ",
            Call("sync_store", {"address": self.server.shown}),
        )

    def flush(self) -> None:
        """Have the server write its segments."""
        self._ask(lambda client, **more: client.flush(self.collection, **more))

    def drop(self) -> None:
        """Delete the collection with all that is in it."""
        self._ask(lambda client, **more: client.drop_collection(self.collection, **more))

    def close(self) -> None:
        """Close the connection."""
        self.server.close()

    def __repr__(self) -> str:
        """Name it, with its length of vectors."""
        return f"<{self.server.shown}, {plural(self.spec.dim, 'dimension')}>"


def loading(server: Server, collection: str, timeout: float) -> int:
    """Return how much of a collection is loaded, in percent. Raises StoreError."""
    from pymilvus.client.types import LoadState

    told = server.call(lambda client: client.get_load_state(collection, timeout=timeout))
    return 100 if told["state"] == LoadState.Loaded else int(told.get("progress") or 0)


def identity(server: Server, collection: str, timeout: float) -> str:
    """Return what a collection is known by: another of the same name has another. Raises StoreError.

    That is an error as well while the collection is being loaded.
    """
    told = server.call(lambda client: client.describe_collection(collection, timeout=timeout), patience=0.0)
    if (share := loading(server, collection, timeout)) < 100:
        raise StoreError(f"{server.shown}: the server is loading the collection ({share} %); try again later")
    return f"{told.get('collection_id')} {json.dumps(told.get('properties') or {}, sort_keys=True)}"


def key_text(key: Key) -> str:
    """Return a key as the collection's primary key."""
    return f"{key[0].hex()}:{key[1]}"


def _ordered(found: list[tuple[StoredImage, float]]) -> list[tuple[StoredImage, float]]:
    return sorted(found, key=lambda hit: (-hit[1], hit[0].id))
