"""The command that shows the page in the browser: web."""

from __future__ import annotations

import getpass
import importlib.util
import os
import sys
import threading
from typing import Annotated

import typer

from imgsearch import startup
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import SEARCH
from imgsearch.cli.parsing import Command
from imgsearch.cli.saved import for_programs
from imgsearch.cli.spelling import spelled
from imgsearch.errors import MissingExtra, ServerRunning
from imgsearch.index.layout import find_index


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=SEARCH)(common.handled(web))


def web(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            show_default="7788, or the next free one",
            help="Port on this computer; 0: any",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the link; do not open it")
    ] = False,
    index: common.IndexFolder = None,
) -> int:
    """Search and browse your images in the browser.

    Examples:
      imgsearch web
      imgsearch web --no-browser --port 8000

    The page is only for you: its link works once. It loads nothing from elsewhere. Ctrl-C stops it.
    """
    program = ctx.parent.command if ctx.parent else None
    # First of all: a signal that comes while the server is still starting ends it as cleanly as any later one.
    with startup.StopSignals() as signals:
        for library in ("starlette", "uvicorn"):
            if importlib.util.find_spec(library) is None:
                raise MissingExtra("imgsearch web", "serve")
        reporter = output.ProgressReporter()
        reporter.wait("Starting the page")
        from imgsearch.index import manifest

        folder = find_index(index)
        manifest.load(folder)  # without an index there is nothing to show: better said here than on the page

        def opened(link: str, serving: bool = True) -> None:
            reporter.stop()
            _show(link, reporter, browser=not no_browser, serving=serving)

        link = _link_of_running(folder, port)
        if link is not None:
            opened(link, serving=False)
            return 0
        from imgsearch.tools.server.daemon import PageOptions, ServeOptions, serve

        page = PageOptions(opened, port, spelled)
        serve(ServeOptions(index=folder, saved=for_programs(program), page=page), reporter, signals=signals)
        # A batch that is still in work is nobody's any more; Python would wait for its thread.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _link_of_running(folder: str, port: int | None) -> str | None:
    """Return a link to the page of the server that runs already; None if there is none."""
    from imgsearch.client import protocol
    from imgsearch.client.connection import NoServer, Server, ServerGone

    try:
        server = Server()
    except NoServer:
        return None
    except ServerGone as error:
        raise ServerRunning(f"a server is running, but does not answer as it should: {error}") from error
    state = server.state
    try:
        if state.version != protocol.version():
            raise ServerRunning(
                f"the server that is running (process {state.pid}) is imgsearch {state.version}, and this is "
                f"{protocol.version()}; stop it with: kill {state.pid}"
            )
        return str(server.json("/web", {"port": port, "index": folder})["link"])
    except ServerGone as error:
        raise ServerRunning(
            f"the server that is running (process {state.pid}) gives no link: {error}"
        ) from error
    finally:
        server.close()


def _show(link: str, reporter: output.ProgressReporter, *, browser: bool, serving: bool) -> None:
    """Print the link, and open it where there is a browser to see it in; ``serving``: until this command ends."""
    remote = "SSH_CONNECTION" in os.environ
    opening = browser and not remote and _has_display()
    reporter.say("opening your browser; or open this link:" if opening else "open this link in your browser:")
    output.line(link)
    sys.stdout.flush()
    reporter.say("it works once, within ten minutes" + ("; Ctrl-C stops the page" if serving else ""))
    if opening:
        # In a thread: whatever a browser does, the page is to be there.
        threading.Thread(target=_open, args=(link,), daemon=True).start()
    elif remote:
        port = link.split("/")[2].rpartition(":")[2]
        told = os.environ["SSH_CONNECTION"].split()  # the client's address and port, then the server's
        address, ssh_port = told[2:] if len(told) == 4 else ("HOST", "22")
        other = "" if ssh_port == "22" else f" -p {ssh_port}"
        reporter.say("you are logged in over SSH: to open it on your own computer, run there first:")
        reporter.say(f"  ssh -N{other} -L {port}:127.0.0.1:{port} {getpass.getuser()}@{address}")


def _open(link: str) -> None:
    import webbrowser

    webbrowser.open(link)


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
