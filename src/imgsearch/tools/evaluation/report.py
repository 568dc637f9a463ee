"""An evaluation's rows → tables as text, one JSON object, and the plot of quality against dimension."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from imgsearch.errors import MissingExtra, StorageError
from imgsearch.text import Call, Option, error_line, plural, short_count
from imgsearch.tools.dataset.retrieval import RetrievalDataset
from imgsearch.tools.evaluation import EvalRow
from imgsearch.tools.evaluation.metrics import NAMES, Pairwise

RESULTS, PLOT = "results.json", "ndcg-by-dim.png"


def check_ready(folder: str) -> None:
    """Make the folder for the results, and see that the libraries are there: said before hours of work, not after.

    Raises MissingExtra, StorageError.
    """
    for library in ("ir_measures", "matplotlib"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtra(Call("evaluate"), "eval")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} could not be created: {error_line(error)}; choose another with ",
            Option("out", metavar="DIR"),
        ) from error
    if not os.access(folder, os.W_OK):
        raise StorageError(
            f"{folder} is not writable; choose another folder with ", Option("out", metavar="DIR")
        )


def tables(dataset: RetrievalDataset, rows: Sequence[EvalRow]) -> list[str]:
    """Return the report's lines: metrics at full length, NDCG@10 by dimension, pairwise accuracy, and the models.

    The tables are Markdown, a column a model and setting, so that they can be pasted where they are needed.
    """
    names = labels(rows)
    lines = [headline(dataset), ""]
    lines += _table(
        ["Metric", *names],
        [[name, *(f"{row.scores[row.full_dim].metrics[name]:.4f}" for row in rows)] for name in NAMES],
    )
    dims = sorted({dim for row in rows for dim in row.scores}, reverse=True)
    lines += _table(
        ["Dimensions", *(f"{name} NDCG@10" for name in names)],
        [[_dim(dim, rows), *(_of_full(row, dim) for row in rows)] for dim in dims],
    )
    lines += _pairwise_table(rows, names)
    lines += _table(
        ["Model", "Parameters", "Dimensions", "Pixels", "Dtype", "Instruction", "NDCG@10"],
        [
            [
                row.model,
                "–" if row.parameters is None else short_count(row.parameters),
                str(row.full_dim),
                _own(row) if row.pixels is None else f"{row.pixels:,}",
                row.dtype or _own(row),
                _own(row) if row.instruction is None else row.instruction or "none",
                f"{row.scores[row.full_dim].metrics['ndcg@10']:.3f}",
            ]
            for row in sorted(rows, key=lambda row: -row.scores[row.full_dim].metrics["ndcg@10"])
        ],
    )
    return lines[:-1]


def _own(row: EvalRow) -> str:
    """Return what stands for a setting that only the model knows, or nobody where there is none."""
    return "–" if row.vectors else "its own"


def headline(dataset: RetrievalDataset) -> str:
    """Say what was measured on."""
    more = plural(dataset.left_out, "more query", "more queries")
    left_out = f" ({more} left out)" if dataset.left_out else ""
    queries, pictures = _counts(dataset)
    return f"{dataset.name}: {queries} against {pictures}{left_out}"


def _counts(dataset: RetrievalDataset) -> tuple[str, str]:
    return plural(len(dataset.queries), "query", "queries"), plural(len(dataset.corpus), "image")


def labels(rows: Sequence[EvalRow]) -> list[str]:
    """Return a short name a row: the model's, and of its settings those in which the rows differ."""
    settings = [
        [
            os.path.basename(row.model.rstrip("/")) or row.model,
            "own pixels" if row.pixels is None else f"{row.pixels:,} px",
            row.dtype or "own dtype",
            "own prompt" if row.instruction is None else row.instruction or "no prompt",
        ]
        for row in rows
    ]
    if len({names[0] for names in settings}) < len({row.model for row in rows}):
        settings = [[row.model, *names[1:]] for row, names in zip(rows, settings, strict=True)]
    ours = [names for row, names in zip(rows, settings, strict=True) if not row.peer]
    differing = [index for index in (1, 2, 3) if len({names[index] for names in ours}) > 1]
    both_ways = {row.model for row in rows if row.peer} & {row.model for row in rows if not row.peer}
    found = []
    for row, names in zip(rows, settings, strict=True):
        if row.peer:
            found.append(f"{names[0]} (peer)" if row.model in both_ways else names[0])
        else:
            found.append(", ".join([names[0], *(names[index] for index in differing)]))
    return found


def as_json(dataset: RetrievalDataset, rows: Sequence[EvalRow]) -> dict[str, Any]:
    """Return everything that was measured as one object; fields are only ever added."""
    return {
        "dataset": {
            "name": dataset.name,
            "path": dataset.path,
            "queries": len(dataset.queries),
            "pictures": len(dataset.corpus),
            "queries_left_out": dataset.left_out,
        },
        "rows": [
            {
                "label": label,
                "model": row.model,
                "peer": row.peer,
                "vectors": row.vectors,
                "parameters": row.parameters,
                "dim": row.full_dim,
                "max_pixels": row.pixels,
                "dtype": row.dtype,
                "instruction": row.instruction,
                "metrics": row.scores[row.full_dim].metrics,
                "dims": {
                    str(dim): {
                        "metrics": scores.metrics,
                        "percent_of_full": round(_percent(row, dim), 2),
                        "pairwise": asdict(scores.pairwise) if scores.pairwise else None,
                        "pairwise_by_attribute": {key: asdict(pair) for key, pair in scores.by_label.items()},
                    }
                    for dim, scores in row.scores.items()
                },
                "computed": {"queries": row.computed[0], "pictures": row.computed[1]},
                "seconds": round(row.seconds, 3),
            }
            for label, row in zip(labels(rows), rows, strict=True)
        ],
    }


def write(folder: str, dataset: RetrievalDataset, rows: Sequence[EvalRow]) -> tuple[str, str]:
    """Write results.json and ndcg-by-dim.png into ``folder``; return both paths.

    Raises StorageError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in rows:
        dims = sorted(row.scores)
        axes.plot(dims, [row.scores[dim].metrics["ndcg@10"] for dim in dims], marker="o")
    ticks = sorted({dim for row in rows for dim in row.scores})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(dim) for dim in ticks])
    axes.minorticks_off()
    axes.set(xlabel="dimensions", ylabel="NDCG@10")
    axes.set_title(_plain(f"{dataset.name}: {', '.join(_counts(dataset))}"), fontsize=10, wrap=True)
    axes.grid(alpha=0.3)
    # Named here and not with the lines: matplotlib hides a line whose own label begins with an underscore.
    axes.legend(axes.lines, [_plain(label) for label in labels(rows)])
    results, plot = os.path.join(folder, RESULTS), os.path.join(folder, PLOT)
    try:
        with open(results, "w", encoding="utf-8") as file:
            json.dump(as_json(dataset, rows), file, indent=2)
            file.write("\n")
        figure.savefig(plot, dpi=150)
    except OSError as error:
        raise StorageError(f"{folder} could not be written: {error_line(error)}") from error
    return results, plot


def _pairwise_table(rows: Sequence[EvalRow], names: Sequence[str]) -> list[str]:
    """Return the table of comparisons with the hard negatives, a line a label, none where there are no negatives."""
    by_row = [row.scores[row.full_dim] for row in rows]
    if by_row[0].pairwise is None:
        return []
    body = [["all", str(by_row[0].pairwise.queries), *(_pair(scores.pairwise) for scores in by_row)]]
    for label, pair in by_row[0].by_label.items():
        body.append([label, str(pair.queries), *(_pair(scores.by_label[label]) for scores in by_row)])
    return _table(["Attribute", "Queries", *(f"{name} beats all / each negative" for name in names)], body)


def _pair(pair: Pairwise | None) -> str:
    return "–" if pair is None else f"{pair.above_all:.3f} / {pair.above_each:.3f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in (head, *body)]
    drawn = [f"| {' | '.join(line)} |" for line in cells]
    return [drawn[0], "|" + "---|" * len(head), *drawn[1:], ""]


def _dim(dim: int, rows: Sequence[EvalRow]) -> str:
    return f"{dim} (full)" if all(row.full_dim == dim for row in rows) else str(dim)


def _of_full(row: EvalRow, dim: int) -> str:
    if dim not in row.scores:
        return "–"
    percent = "100" if dim == row.full_dim else f"{_percent(row, dim):.1f}"
    return f"{row.scores[dim].metrics['ndcg@10']:.4f} ({percent}%)"


def _percent(row: EvalRow, dim: int) -> float:
    full = row.scores[row.full_dim].metrics["ndcg@10"]
    return 100 * row.scores[dim].metrics["ndcg@10"] / full if full else 0.0


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would set what stands between two of them as a formula
