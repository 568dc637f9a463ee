"""The page's server, played: its files as they are, answers of the contract, and drawn images that know colours."""

from __future__ import annotations

import colorsys
import io
import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

from imgsearch.tools.web.static_files import FOLDER, POLICY
from support.fakes import COLOURS

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

STATIC = Path(FOLDER)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HOSTILE = "<img src=x onerror=alert(1)>.jpg"
_CLUSTERS = 3
Answer = Callable[[dict[str, Any]], Any]


@dataclass
class PageApi:
    """Answers all requests of a page.

    ``asked`` are the bodies of the requests by name, as they came. A name in ``instead`` is answered by its function,
    which may raise a ``Refused``; one in ``held`` waits until ``release``.
    """

    images: list[dict[str, Any]] = field(
        default_factory=lambda: [drawn_image(number) for number in range(60)]
    )
    asked: dict[str, list[Any]] = field(default_factory=dict)
    instead: dict[str, Answer] = field(default_factory=dict)
    saved: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"name": "cats", "words": "cat + kitten"},
            {"name": "cars", "words": "red car"},
        ]
    )
    gone: bool = False
    held: set[str] = field(default_factory=set)
    base: str = "http://127.0.0.1:7777/p/0123456789abcdefABCDEF/"
    _waiting: list[tuple[Route, str, Any]] = field(default_factory=list)

    def serve(self, page: Page) -> None:
        """Answer a page's requests from now on."""
        page.route(re.compile(r"^https?://"), self._answer)

    def release(self) -> None:
        """Answer what was held back, the oldest first."""
        self.held.clear()
        waiting, self._waiting = self._waiting, []
        for route, name, body in waiting:
            self._reply(route, name, body)

    def _answer(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if self.gone or not route.request.url.startswith(self.base):
            route.abort("connectionrefused")
            return
        path = address.path.removeprefix(urlsplit(self.base).path)
        if path == "" or path.startswith("static/"):
            file = STATIC / (path.removeprefix("static/") or "index.html")
            headers = {"content-security-policy": POLICY, "content-type": _TYPES[file.suffix]}
            route.fulfill(body=file.read_bytes(), headers=headers)
        elif path.startswith(("thumb/", "original/")):
            route.fulfill(body=self._drawn(path.partition("/")[2]), content_type="image/webp")
        else:
            self._api(route, path.removeprefix("api/"), parse_qs(address.query))

    def _api(self, route: Route, name: str, query: dict[str, list[str]]) -> None:
        name, _, key = name.partition("/")
        posted = route.request.headers.get("content-type") == "application/json"
        body = (
            json.loads(route.request.post_data or "null")
            if posted
            else {**query, **({"key": unquote(key)} if key else {})}
        )
        self.asked.setdefault(name, []).append(body)
        if name in self.held:
            self._waiting.append((route, name, body))
        else:
            self._reply(route, name, body)

    def _reply(self, route: Route, name: str, body: Any) -> None:
        answer = self.instead.get(name) or getattr(self, f"_{name}", None)
        try:
            if answer is None:
                raise Refused(404, "UsageError", f"no such request: {name}")
            status, said = 200, answer(body)
        except Refused as refused:
            status, said = refused.status, {"error": {"kind": refused.kind, "message": str(refused)}}
        try:
            if isinstance(said, File):
                headers = {"content-disposition": f'attachment; filename="{said.name}"'}
                route.fulfill(body=said.body, headers=headers, content_type=said.kind)
            else:
                route.fulfill(status=status, json=said)
        except Exception as error:  # the page has dropped the request
            if "closed" not in str(error) and "handled" not in str(error) and "Invalid" not in str(error):
                raise

    # ---- answers -----------------------------------------------------------------------------------------------

    def _status(self, body: Any) -> Any:
        return {
            "index": "/home/me/.imgsearch",
            "images": len(self.images),
            "model": "fake",
            "loaded": True,
            "version": "0",
        }

    def _saved(self, body: Any) -> Any:
        return {"saved": self.saved}

    def _facets(self, body: Any) -> Any:
        chosen = self._passing(body["filters"])
        count = lambda name: sorted(Counter(image[name] for image in chosen).items(), key=lambda one: -one[1])  # noqa: E731
        return {
            "images": len(chosen),
            "year": [{"year": int(year), "images": images} for year, images in count("year")],
            "camera": [{"camera": camera, "images": images} for camera, images in count("camera")],
            "folder": [{"path": path, "name": path, "images": images} for path, images in count("path")],
            "type": [{"type": kind, "images": images} for kind, images in count("type")],
            "rating": [{"rating": rating, "images": images} for rating, images in count("rating")],
        }

    def _passing(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            image
            for image in self.images
            if filters.get("on", image["year"]) == image["year"]
            and filters.get("camera", image["camera"]) == image["camera"]
            and image["path"] in filters.get("in", [image["path"]])
            and image["type"] in filters.get("type", image["type"]).split(",")
            and image["rating"] >= filters.get("rating", 0)
        ]

    def _search(self, body: Any) -> Any:
        words = body["q"].split()
        chosen = self._passing(body["filters"])
        wanted = next((COLOURS[word] for word in words if word in COLOURS), None)
        by = [one for one in body["examples"] if one.get("upload")]
        if wanted is None and not by and not body["more"]:
            wanted = (128, 128, 128)
        wanted = wanted or (200, 60, 60)

        def score(image: dict[str, Any]) -> float:
            away = sum((one - other) ** 2 for one, other in zip(image["colour"], wanted, strict=True)) ** 0.5
            return round(0.62 - away / 441 * 0.5, 4)

        ranked = sorted(
            ({**_tile(image), "score": score(image)} for image in chosen), key=lambda hit: -hit["score"]
        )
        cut = 0.45
        above = [hit for hit in ranked if hit["score"] >= cut]
        for hit in ranked:
            hit["stands_out"], hit["spreads"] = hit["score"] >= cut, (hit["score"] - 0.3) / 0.06
        edges = [0.1 + step * 0.02 for step in range(28)]
        counts = [sum(low <= hit["score"] < low + 0.02 for hit in ranked) for low in edges[:-1]]
        first, last = body["offset"], body["offset"] + body["n"]
        return {
            "hits": ranked[first:last],
            "more": last < len(ranked),
            "total": len(chosen),
            "cut": {"count": len(above), "score": cut, "more": False, "expected": 0.1, "judged": True},
            "scores": {"floor": 0.3, "spread": 0.06, "edges": edges, "counts": counts},
            "read": [
                *(
                    {"kind": "part", "label": part.strip()}
                    for part in re.split(r"(?:^|\s)[+-](?=\s)", body["q"])
                    if part.strip()
                ),
                *(
                    {"kind": "date", "label": "taken 2021"}
                    for word in words
                    if word == "2021" and "date" not in body["unread"]
                ),
            ],
            "text": body["q"],
            "seconds": 0.012,
            "version": "0",
        }

    def _list(self, body: Any) -> Any:
        chosen = self._passing(body.get("filters", {}))
        if body.get("cluster") is not None:
            chosen = chosen[body["cluster"] :: _CLUSTERS]
        if body.get("sort", "newest") == "newest":
            chosen.sort(key=lambda image: image["taken"], reverse=True)
        elif body.get("sort") == "added":
            chosen.reverse()
        elif body.get("sort") == "random":
            random.Random(body["seed"]).shuffle(chosen)
        first = body.get("offset", 0)
        return {
            "images": [_tile(image) for image in chosen[first : first + body.get("n", 200)]],
            "total": len(chosen),
        }

    def _months(self, body: Any) -> Any:
        months = Counter(image["taken"][:7] for image in self._passing(body.get("filters", {})))
        offset, made = 0, []
        for month in sorted(months, reverse=True):
            made.append({"month": month, "count": months[month], "offset": offset})
            offset += months[month]
        return {"months": made}

    def _image(self, body: Any) -> Any:
        key = body["key"]
        image = next((one for one in self.images if one["key"] == key), None)
        if image is None:
            raise Refused(404, "UsageError", "no such image in the index")
        known = {name: image[name] for name in ("name", "width", "height", "taken", "camera", "rating")}
        return {
            **known,
            "path": f"{image['path']}/{image['name']}",
            "folder": image["path"],
            "bytes": 3_456_789,
            "modified": "2023-07-01T12:00:00",
            "pages": 1,
            "lens": "XF 35mm f/2",
            "place": "Nairobi, Kenya",
            "latitude": -1.2833,
            "longitude": 36.8167,
            "title": None,
            "description": None,
            "keywords": ["safari", "<b>lion</b>"],
            "copies": [],
            "missing": False,
            "original": "image/jpeg",
        }

    def _overview(self, body: Any) -> Any:
        clusters = [
            {
                "id": number,
                "name": name,
                "count": len(self.images[number::_CLUSTERS]),
                "images": [_tile(image) for image in self.images[number::_CLUSTERS][:6]],
            }
            for number, name in enumerate(("Beach", "Birthday cake", "<b>Cats</b>"))
        ]
        return {"state": "ready", "clusters": clusters, "images": len(self.images), "seconds": 0.1}

    def _duplicates(self, body: Any) -> Any:
        groups = [
            {"reason": reason, "images": [_tile(image) for image in self.images[first : first + 2]]}
            for first, reason in ((0, "The same image"), (2, "A burst"), (4, "A smaller copy"))
        ]
        return {"groups": groups[body["offset"] : body["offset"] + body["n"]], "total": len(groups)}

    def _export(self, body: Any) -> Any:
        chosen = {image["key"]: image for image in self.images}
        paths = [f"{chosen[key]['path']}/{chosen[key]['name']}" for key in body["keys"]]
        if body["as"] == "paths":
            return File(
                "paths.txt", "text/plain; charset=utf-8", "".join(f"{path}\n" for path in paths).encode()
            )
        if body["as"] == "csv":
            rows = [
                "path,width",
                *(f'"{path}",{chosen[key]["width"]}' for key, path in zip(body["keys"], paths, strict=True)),
            ]
            return File("images.csv", "text/csv", "\r\n".join(rows).encode())
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as packed:
            for key, path in zip(body["keys"], paths, strict=True):
                packed.writestr(Path(path).name, self._drawn(key))
        return File("images.zip", "application/zip", out.getvalue())

    def _reveal(self, body: Any) -> Any:
        return {}

    def _upload(self, body: Any) -> Any:
        return {"upload": f"upload-{len(self.asked['upload'])}", "width": 320, "height": 240}

    def _drawn(self, key: str) -> bytes:
        image = next((one for one in self.images if one["key"] == key), self.images[0])
        return _shaded(image["width"] // 40, image["height"] // 40, tuple(image["colour"]))


@cache
def _shaded(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    size, out = (width, height), io.BytesIO()
    shade = Image.linear_gradient("L").resize(size).point(lambda value: 255 - value // 2)
    Image.composite(Image.new("RGB", size, colour), Image.new("RGB", size), shade).save(out, "WEBP")
    return out.getvalue()


class Refused(Exception):
    """An error that the server answers with."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class File:
    """A download: its name, its media type and its bytes."""

    name: str
    kind: str
    body: bytes


def drawn_image(number: int) -> dict[str, Any]:
    """Return what the server knows of the image of a number."""
    hue = number * 0.618 % 1
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.9))
    year = str(2019 + number % 5)
    width, height = [(1600, 1066), (1066, 1600), (1600, 1600), (1600, 900)][number % 4]
    return {
        "key": f"{number + 1}-{number:016x}",
        "name": HOSTILE if number == 7 else f"IMG_{1000 + number}.jpg",
        "colour": COLOURS["red"] if number == 3 else colour,
        "year": year,
        "taken": f"{year}-{number % 12 + 1:02}-{number % 27 + 1:02}T12:00:00",
        "camera": ["X-T5", "EOS R6", "Pixel 8"][number % 3],
        "path": f"/home/me/Pictures/{['Holidays', 'Family', 'Work'][number % 3]}",
        "type": "png" if number % 9 == 0 else "jpg",
        "rating": number % 6,
        "width": width,
        "height": height,
    }


def _tile(image: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: image[name] for name in ("key", "name", "width", "height", "taken")},
        "folder": image["path"],
        "page": 0,
        "where": "",
        "spreads": None,
        "stands_out": None,
        "copies": image.get("copies", 0),
        "missing": image.get("missing", False),
        "stack": image.get("stack", []),
        **{name: image[name] for name in ("where", "quote", "quote_parts", "boxes") if name in image},
    }
