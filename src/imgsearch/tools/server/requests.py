"""What all requests to the server share: bodies are read within limits, work is done in threads, JSON goes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from imgsearch.errors import UsageError
from imgsearch.tools.server.api import versioned

_JSON_BYTES = 2**20
_PART_SECONDS = 60.0  # for the next piece of a request; a client that was stopped must not hold the others up
_WHOLE_SECONDS = 600.0  # for all of it: a client that sends a byte a minute must not either
T = TypeVar("T")


class TooLong(UsageError):
    """A request is longer than it may be."""


async def run_in(request: Request, pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    """Return what ``work`` gives; what a client has hung up on is not begun. The request has been read.

    Raises ClientDisconnect, and what ``work`` raises.
    """
    doing = asyncio.get_running_loop().run_in_executor(pool, work, *args)
    hung_up = asyncio.ensure_future(request.receive())
    try:
        either: tuple[asyncio.Future[Any], ...] = (doing, hung_up)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        hung_up.cancel()
        doing.cancel()


def json_response(data: Mapping[str, Any], status: int = 200) -> Response:
    """Return JSON with the versions that each answer has, in ASCII: names of files may hold what is no UTF-8."""
    return Response(json.dumps(versioned(data)), status, media_type="application/json")


async def read_json(request: Request) -> Any:
    """Return a request's body as JSON has it. Raises UsageError, as ``read_body`` does."""
    try:
        return json.loads(await read_body(request, _JSON_BYTES), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not valid JSON ({error})") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


async def read_body(request: Request, most: int, seconds: float = _WHOLE_SECONDS) -> bytes:
    """Read a request's body.

    Raises TooLong as soon as it is longer than ``most`` bytes, UsageError if the rest does not come, or not all of it
    within so many ``seconds``.
    """
    parts: list[bytes] = []
    length = 0
    stream = aiter(request.stream())
    end = asyncio.get_running_loop().time() + seconds
    while True:
        left = end - asyncio.get_running_loop().time()
        try:
            part = await asyncio.wait_for(anext(stream), min(_PART_SECONDS, left))
        except StopAsyncIteration:
            return b"".join(parts)
        except TimeoutError as error:
            raise UsageError("the request is incomplete: the rest did not arrive") from error
        parts.append(part)
        length += len(part)
        if length > most:
            raise TooLong(f"the request is longer than {most:,} bytes")
