"""Indexing on a Ray cluster of 1, 2 and 3 workers on this machine, beside a plain local run: where the overhead goes.

Theory: a worker decodes and embeds as the plain run does; what comes on top is once for each run (reaching the cluster,
a process for each actor and task, importing torch and loading the model there) and for each unit of 32 images
(pickling what was decoded through the object store, a sealed file, its sync, reading it again). The workers share this
machine's cores, each with its own copy of the model, where several machines would have theirs: so more workers are not
faster here once the cores are busy, and what can be seen is the cost of having them.

    make .venv-cluster/.ready && .venv-cluster/bin/python benchmarks/cluster.py [--images N] [--layers N] [--rounds N]

The runs take turns (plain, 1, 2, 3, and again), each into a new index. ``--layers`` keeps so many layers of each tower
of a random checkpoint of the published sizes; 0 takes the demo's model. Prints a table of medians: images a second of
the whole command and after the first delivery, seconds until the cluster is reached and until the first delivery, and
the workers' seconds by stage, added up, and the most that lay in Ray's object stores when a delivery came; then a line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measure

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

WORKERS = (1, 2, 3)


def draw(folder: Path, images: int) -> None:
    """Write JPEG files of 1,600 by 1,200 pixels, no two alike."""
    from support.pictures import scene

    folder.mkdir()
    for number in range(images):
        scene(number, (1600, 1200)).save(folder / f"{number:05d}.jpg", quality=90)


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Run a head without processors and so many workers of one processor each; give the address."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    running = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(workers):
            running.add_node(num_cpus=1, resources={"imgsearch": 1})
        running.wait_for_nodes()
        yield running.address
    finally:
        running.shutdown()


def object_store() -> float:
    """Return the MB that lie in the object stores of the cluster."""
    from ray._private.internal_api import memory_summary

    told = re.search(r"Plasma memory usage (\d+) MiB", memory_summary(stats_only=True))
    return 1.048576 * float(told[1]) if told else 0.0


def once(photos: str, index: str, model: str, address: str) -> dict[str, float]:
    """Index the photos, on the cluster at ``address`` or here without one; return the seconds of its parts."""
    from imgsearch.indexing.options import IndexOptions
    from imgsearch.indexing.run import index_pictures
    from imgsearch.types import ModelOptions, Silent

    options = IndexOptions(model=ModelOptions(model=model))
    began = measure.now()
    if not address:
        result = index_pictures([photos], index, options)
        return {"seconds": measure.now() - began, "images": result.indexed}
    from imgsearch.tools.cluster.coordinator import ClusterWorkers
    from imgsearch.tools.cluster.pipeline import RayPipeline

    class Timed(RayPipeline):
        """Notes when the cluster is reached, when deliveries come, and how much waits in the object store meanwhile."""

        reached = first = last = waiting = 0.0

        def open(self) -> None:
            super().open()
            self.reached = measure.now() - began

        def run(self, *given: Any) -> Iterator[str]:
            for name in super().run(*given):
                self.last = measure.now() - began
                self.first = self.first or self.last
                self.waiting = max(self.waiting, object_store())
                yield name

    pipeline = Timed(address)
    workers = ClusterWorkers(pipeline, options, Silent())
    try:
        result = index_pictures([photos], index, options, workers=workers)
    finally:
        pipeline.close()
    return {
        "seconds": measure.now() - began,
        "images": result.indexed,
        "reached": pipeline.reached,
        "first": pipeline.first,
        "last": pipeline.last,
        "waiting": pipeline.waiting,
        **{f"worker_{stage}": seconds for stage, seconds in workers.seconds.items()},
    }


def main() -> None:
    """Run the benchmark, or one run of it in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(*given.once)))
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found: dict[int, list[dict[str, float]]] = {count: [] for count in (0, *WORKERS)}
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        if given.layers:
            from embedding_pass import checkpoint

            model = str(checkpoint(given.scratch, str(given.layers)))
        else:
            model = "demo"
        photos = Path(folder) / "photos"
        draw(photos, given.images)
        for round_ in range(given.rounds):
            for workers in found:
                argv = [
                    sys.executable,
                    __file__,
                    "--once",
                    str(photos),
                    f"{folder}/{round_}-{workers}",
                    model,
                ]
                if workers:
                    with cluster(workers) as address:
                        done = subprocess.run([*argv, address], check=True, capture_output=True, text=True)
                else:
                    done = subprocess.run([*argv, ""], check=True, capture_output=True, text=True)
                found[workers].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"round {round_ + 1}, {workers or 'no'} workers: {found[workers][-1]}", file=sys.stderr)
    print(
        "| | images/s, whole | images/s, after the first unit | reached after s | first unit after s "
        "| decoding s | embedding s | other in workers s | waiting MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    table = {}
    for workers, runs in found.items():
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        table[workers] = middle
        whole = middle["images"] / middle["seconds"]
        if not workers:
            print(f"| plain, here | {whole:.2f} | | | | | | | |")
            continue
        from imgsearch.tools.cluster.units import FILES

        after = (middle["images"] - FILES) / (middle["last"] - middle["first"])
        other = middle["worker_worker"] - middle["worker_embedding"]
        print(
            f"| {workers} | {whole:.2f} | {after:.2f} | {middle['reached']:.1f} | {middle['first']:.1f} "
            f"| {middle['worker_decoding']:.1f} | {middle['worker_embedding']:.1f} | {other:.1f} "
            f"| {middle['waiting']:.0f} |"
        )
    print(json.dumps({"layers": given.layers, "images": given.images, "runs": table}))


if __name__ == "__main__":
    main()
