"""The commands that look after an index and the server: verify, compact, doctor, serve."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from imgsearch import startup
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED, UPKEEP
from imgsearch.cli.parsing import Command
from imgsearch.cli.saved import for_programs
from imgsearch.cli.spelling import index_flag, spelled
from imgsearch.errors import MissingExtra, UsageError
from imgsearch.index.layout import find_index
from imgsearch.index.parts import is_part, searched
from imgsearch.text import Message, format_bytes, plural
from imgsearch.types import ModelOptions, path_json

if TYPE_CHECKING:
    from imgsearch.tools.maintenance.recall import RecallReport
    from imgsearch.tools.maintenance.verify import IntegrityReport


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(verify))
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(compact))
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(doctor))


def register_serve(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(serve, computes=True))


def verify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="With --files: only images at or below these paths", show_default=False
        ),
    ] = None,
    index: common.IndexFolder = None,
    files: Annotated[
        bool,
        typer.Option("--files", help="Also read the indexed image files, and list those that have changed"),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair what can be repaired, and index again the images whose embeddings are lost",
        ),
    ] = False,
    model: common.ModelFolder = None,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
    json: common.Json = False,
) -> int:
    """Check the index for corruption, and repair it.

    Examples:
      imgsearch verify                     # list damage and affected images
      imgsearch verify --repair
      imgsearch verify --files ~/Pictures  # list images whose files have changed

    Exit code 0: intact or repaired; 1: some images whose embeddings were damaged are not indexed again yet, or image
    files have changed or can't be read; 2: damaged.
    """
    if files and repair:
        raise UsageError("--files only compares; run it without --repair")
    if paths and not files:
        raise UsageError(f"{paths[0]}: a path requires --files; without it the whole index is checked")
    reporter = output.ProgressReporter()
    reporter.wait("Checking the index")
    choice = common.model_choice(model, device=device, dtype=dtype)
    code = 0
    for folder in (folders := searched(find_index(index))):
        if len(folders) > 1:
            reporter.say(f"{'documents' if is_part(folder) else 'photos'}:")
        below = _known_in(folder, paths) if paths and len(folders) > 1 else paths or []
        if below or not paths:
            code = max(code, _verify(folder, below, files, repair, choice, json, reporter))
    return code


def _known_in(folder: str, paths: Sequence[str]) -> list[str]:
    """Return those of some paths that an index knows."""
    from imgsearch.index.reader import ImageIndex
    from imgsearch.names import known_as

    with ImageIndex(folder) as index:
        roots = index.catalog.roots()
        return [path for path in paths if known_as(path, roots, index.catalog).known]


def _verify(
    folder: str,
    paths: list[str],
    files: bool,
    repair: bool,
    choice: ModelOptions,
    json: bool,
    reporter: output.ProgressReporter,
) -> int:
    """Check an index, or repair it; return the exit code."""
    from imgsearch.tools.maintenance.verify import repair_index, verify_index

    if not repair:
        report = verify_index(folder, reporter)
        _show(report, json, reporter)
        reporter.say(report.summary())
        if report.damages:
            return 2
        differs = files and not _compare_originals(folder, paths, json, reporter)
        return 1 if report.waiting or differs else 0
    repaired = repair_index(folder, choice, reporter, lambda found: _show(found, json, reporter))
    found = repaired.report
    if not found.repairable or not (found.damages or found.waiting):
        reporter.say(found.summary())
        return 2 if found.damages else 0
    reporter.say(f"repaired; {plural(repaired.embedded, 'image')} indexed again")
    if repaired.left:
        reporter.say(
            f"{plural(len(repaired.left), 'image is', 'images are')} not there now (a drive that is not "
            "mounted?); when back, run: "
            f"imgsearch index{index_flag(folder)}"
        )
    return 1 if repaired.left else 0


def _compare_originals(folder: str, paths: list[str], json: bool, reporter: output.ProgressReporter) -> int:
    """Name the image files that have changed or can't be read; return the exit code."""
    from imgsearch.tools.maintenance.originals import CHANGED, compare_originals

    def show(path: str, what: str) -> None:
        if json:
            output.json_line({"damaged": None, "what": what, **path_json(path)})
        elif what == CHANGED:
            output.line(path)
        else:
            reporter.say(f"{path} {what}")

    found = compare_originals(folder, paths, reporter, show)
    if json:
        counts = {"same": found.same, "changed": len(found.changed), "unreadable": found.unreadable}
        output.json_line({"files": {**counts, "missing": found.missing}})
    reporter.say(found.summary())
    return found.ok


def _show(report: IntegrityReport, json: bool, reporter: output.ProgressReporter) -> None:
    """Name what is damaged on stderr, and the pictures to embed again on stdout."""
    for damage in report.damages:
        if json and damage not in report.lost:
            output.json_line({**path_json(damage.path, "damaged"), "what": damage.what, "path": None})
        reporter.say(f"damaged: {damage.path} {damage.what}")
    for damage, files in report.lost.items():
        for file in files:
            if json:
                output.json_line(
                    {**path_json(damage.path, "damaged"), "what": damage.what, **path_json(file.whole)}
                )
            else:
                output.line(file.whole)
    if report.retained:
        reporter.say(f"{plural(report.retained, 'damaged embedding')} belonged to deleted images")
    for orphan in report.orphans:
        reporter.say(f"not in use, the next 'imgsearch index' deletes it: {orphan}")


def compact(
    index: common.IndexFolder = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Reclaim everything, however little; also delete an unfinished rebuild"),
    ] = False,
) -> int:
    """Reclaim the disk space of deleted images.

    Examples:
      imgsearch compact
      imgsearch compact --all

    It also builds missing files for fast search. 'imgsearch index' does both automatically; it reclaims space
    when enough images have been deleted for 30 days.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Opening the index")
    from imgsearch.tools.maintenance.compact import compact_index

    folder = find_index(index)
    done = compact_index(folder, everything, reporter)
    if done:
        parts = [f"{format_bytes(done.given_back)} freed"]
        if done.vectors.segments:
            parts.append(
                f"{plural(done.vectors.dropped, 'embedding')} deleted, {done.vectors.moved:,} rewritten"
            )
        if done.rebuild:
            parts.append("an unfinished rebuild deleted")
        if done.catalogue:
            parts.append("the catalogue rewritten")
        if done.thumbnails:
            parts.append(f"{plural(done.thumbnails, 'thumbnail')} deleted")
        reporter.say("; ".join(parts))
    else:
        reporter.say("nothing to compact")
    if done.left:
        left = plural(done.left, "embedding belongs", "embeddings belong")
        reporter.say(
            f"{left} to deleted images, less than a quarter of any segment; to delete these too: "
            f"imgsearch compact --all{index_flag(folder)}"
        )
    return 0


_TOPICS = {"gone": "deleted"}
"""Topics of doctor's JSON that a person reads under another name."""


def doctor(
    index: common.IndexFolder = None,
    recall: Annotated[
        bool,
        typer.Option(
            "--recall",
            help="Measure how many of the ten best results a search finds, compared with an exact search",
        ),
    ] = False,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", help="With --recall: number of queries to try")
    ] = 200,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="With --recall: save the setting that finds more, if one is needed"),
    ] = False,
    model: Annotated[
        bool,
        typer.Option(
            "--model", help="Compare the embeddings of known images and texts with those of the CPU"
        ),
    ] = False,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
    json: common.Json = False,
) -> int:
    """Diagnose the index and suggest fixes.

    Examples:
      imgsearch doctor
      imgsearch doctor --model             # does this device compute the same?
      imgsearch doctor --recall            # does the fast search find everything?

    Exit code 0: all is well; 1: something needs attention.
    """
    folder, reporter = find_index(index), output.ProgressReporter()
    reporter.wait("Checking the index")
    if model:
        return _check_model(folder, device, dtype, json, reporter)
    if recall:
        return _recall(folder, sample, repair, json, reporter)
    if repair:
        raise UsageError(
            "--repair requires --recall; to repair damaged files: imgsearch verify --repair"
            + index_flag(folder)
        )
    from imgsearch.tools.maintenance.doctor import examine

    findings = examine(folder)
    for finding in findings:
        if json:
            output.json_line({**asdict(finding), "text": spelled(finding.text)})
        else:
            state = "OK   " if finding.well else "TO DO"
            topic = _TOPICS.get(finding.topic, finding.topic)
            output.line(Message(f"{topic:<10} {state}  ", finding.text))
    return 0 if all(finding.well for finding in findings) else 1


def _check_model(folder: str, device: str, dtype: str, json: bool, reporter: output.ProgressReporter) -> int:
    """Show whether the model computes on a device what it computes on the CPU; return the exit code."""
    from imgsearch.tools.maintenance.model_check import check_model

    check = check_model(folder, common.model_choice(None, device=device, dtype=dtype), reporter)
    reporter.stop()
    if json:
        output.json_line({**asdict(check), "well": check.agrees})
        return 0 if check.agrees else 1
    seen = f"cosine at least {check.cosine:.4f} for {check.inputs} inputs, torch {check.torch}"
    if check.agrees:
        output.line(
            f"model      OK     {check.device} in {check.dtype} agrees with the CPU in float32: {seen}"
        )
        return 0
    output.line(
        f"model      TO DO  {check.device} in {check.dtype} gives wrong embeddings and is refused from now on: {seen}"
    )
    return 1


def _recall(folder: str, sample: int, repair: bool, json: bool, reporter: output.ProgressReporter) -> int:
    from imgsearch.index.reader import ImageIndex
    from imgsearch.tools.maintenance.recall import keep, measure_recall

    with ImageIndex(folder) as index:
        measured = measure_recall(index, sample, reporter)
    if measured is None:
        reporter.say("the index has no images: there is nothing to measure")
        return 0
    kept = repair and measured.best is not None
    if measured.best is not None and repair:
        keep(folder, measured.best)
    if json:
        output.json_line({**asdict(measured), "kept": kept})
    else:
        _say_recall(measured, kept, index_flag(folder))
    return 0 if measured.recall.enough or kept else 1


def _say_recall(measured: RecallReport, kept: bool, flag: str) -> None:
    now, strategy = measured.recall, measured.strategy
    output.line(f"recall@10   {now.stored:.4f} stored embeddings, {now.text_like:.4f} text-like queries")
    output.line(
        f"worst       {now.worst:.2f} of {measured.questions} queries among {measured.vectors:,} embeddings"
    )
    output.line(f"search      {strategy.name}: {strategy.reason}; {now.milliseconds:.1f} ms (median)")
    if strategy.name == "exact":
        output.line("            every embedding is compared: nothing can be missed")
    for trial in measured.trials:
        setting = "--exact" if trial.setting == "exact" else f"{trial.setting} x {trial.value}"
        found = trial.recall
        output.line(
            f"{setting:<11} {found.stored:.4f} stored embeddings, {found.text_like:.4f} text-like queries; "
            f"{found.milliseconds:.1f} ms"
        )
    if now.enough:
        output.line("to do       nothing")
    elif measured.best is None:
        output.line("to do       search with --exact where every image matters; no setting finds them all")
    else:
        chosen = f"{measured.best.setting} x {measured.best.value}"
        output.line(
            f"to do       nothing more: {chosen} is saved"
            if kept
            else f"to do       save {chosen}: imgsearch doctor --recall --repair{flag}"
        )


def serve(
    ctx: typer.Context,
    index: common.IndexFolder = None,
    http: Annotated[
        bool, typer.Option("--http", help="Also serve HTTP on 127.0.0.1 (requires the access token)")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", show_default="7788", help="Port for --http; 0: any free port"),
    ] = None,
    unload_after: Annotated[
        float,
        typer.Option(
            "--unload-after", metavar="MINUTES", help="Unload the model after this long without a request"
        ),
    ] = 15.0,
    no_warm: Annotated[
        bool, typer.Option("--no-warm", help="Load the model with the first query, not at start")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="ADDRESS",
            help="Search this store in place of an index: milvus://HOST/COLLECTION",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    clients: Annotated[
        str | None,
        typer.Option(
            "--clients",
            metavar="FILE",
            help="Others who may ask over --http, each with a token and a limit (TOML)",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Also take requests for this host: that of the balancer in front",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="Answer /metrics for Prometheus", rich_help_panel=ADVANCED),
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Write a line of JSON per request, without its query; -: to stdout",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    log_queries: Annotated[
        bool,
        typer.Option("--log-queries", help="Write what was asked into --log too", rich_help_panel=ADVANCED),
    ] = False,
    drain: Annotated[
        float,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            help="After SIGTERM, keep answering for this long, with /ready at 503",
            rich_help_panel=ADVANCED,
        ),
    ] = 0.0,
) -> NoReturn:
    """Keep the model loaded, so that searches start at once.

    Examples:
      imgsearch serve
      imgsearch serve --http --unload-after 60

    Your other commands use it automatically while it runs. Ctrl-C stops it.
    """
    program = ctx.parent.command if ctx.parent else None
    # First of all: a signal that comes while the server is still starting ends it as cleanly as any later one.
    with startup.StopSignals() as signals:
        for library in ("starlette", "uvicorn"):
            if importlib.util.find_spec(library) is None:
                raise MissingExtra("imgsearch serve", "serve")
        if port is not None and not http:
            raise UsageError("--port is of --http; give both")
        for flag, given in (("--clients", clients), ("--allow-host", allow_host)):
            if given and not http:
                raise UsageError(f"{flag} is of --http; give both")
        reporter = output.ProgressReporter()
        reporter.wait("Starting the server")
        from imgsearch.tools.server.daemon import ServeOptions, serve
        from imgsearch.tools.server.operations import Operations

        hosts = tuple(name.lower() for name in allow_host or ())
        operations = Operations(clients, metrics, log, log_queries, drain, hosts)
        options = ServeOptions(
            port=(7788 if port is None else port) if http else None,
            idle_seconds=unload_after * 60,
            index=index,
            warm=not no_warm,
            saved=for_programs(program),
            operations=operations,
            store=store,
        )
        serve(options, reporter, signals=signals)
        # A batch that is still in work is nobody's any more; Python would wait for its thread.
        sys.stderr.flush()
        os._exit(0)
