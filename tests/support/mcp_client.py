"""Talks to `imgsearch mcp` in a process of its own by the protocol's own client; run as a program, it is that process.

That process has the fake model, which prints a line to stdout while it is loaded, as a careless library might.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp import types as protocol
from mcp.client.stdio import StdioServerParameters

from support import TESTS

WITH_FAKE = ("-m", "support.mcp_client")
REAL = ("-m", "imgsearch")
NOISE = "a line that a library prints"


class Connected:
    """A client of a running process."""

    def __init__(self, do: Callable[..., Any], client: Client) -> None:
        self._do, self._client = do, client

    def tools(self) -> dict[str, protocol.Tool]:
        """Return the tools by their names."""
        return {tool.name: tool for tool in self._do(self._client.list_tools).tools}

    def call(self, tool: str, **arguments: Any) -> protocol.CallToolResult:
        """Call a tool; the client checks the answer by the tool's own schema. ``in_`` is the argument ``in``."""
        given = {name.rstrip("_"): value for name, value in arguments.items()}
        answer = self._do(partial(self._client.call_tool, tool, given))
        assert isinstance(answer, protocol.CallToolResult)
        return answer

    def answer(self, tool: str, **arguments: Any) -> Any:
        """Return the data of an answer that is no error."""
        found = self.call(tool, **arguments)
        assert not found.is_error, found.content
        return found.structured_content

    def refusal(self, tool: str, **arguments: Any) -> str:
        """Return the line of an error."""
        found = self.call(tool, **arguments)
        assert found.is_error, found.structured_content
        (content,) = found.content
        assert isinstance(content, protocol.TextContent)
        assert content.text.isprintable()
        return content.text


def environment() -> dict[str, str]:
    """Return the environment of the process."""
    return {**os.environ, "PYTHONPATH": str(TESTS)}


@contextmanager
def connected(
    index: str | Path, *options: str, program: tuple[str, ...] = WITH_FAKE, **variables: str
) -> Iterator[Connected]:
    """Run `imgsearch mcp` during the block; it has ended by itself then."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[*program, "mcp", "--index", str(index), *options],
        env=environment() | variables,
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(parameters)) as client,
    ):
        yield Connected(portal.call, client)


def _run() -> None:
    from imgsearch import client
    from imgsearch.__main__ import main
    from support import fakes

    fakes.install(pytest.MonkeyPatch())
    load = client.load_encoder

    def noisy(*arguments: Any) -> Any:
        print(NOISE, flush=True)
        os.write(1, f"{NOISE}\n".encode())
        return load(*arguments)

    client.load_encoder = noisy
    main()


if __name__ == "__main__":
    _run()
