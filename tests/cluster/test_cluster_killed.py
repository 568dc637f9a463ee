"""Three Ray nodes on this machine: one is killed, then the coordinator; every image is in the index once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import Segment
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.tools.cluster import deliveries
from imgsearch.types import ModelOptions
from support.pictures import scene

pytest.importorskip("ray", reason="make cluster installs Ray")
IMAGES = 640


def stored(folder: Path) -> dict[bytes, np.ndarray]:
    """Return the embedding of each content of an index."""
    with ImageIndex(str(folder)) as index:
        spec, found = index.spec, {}
        rows = dict(index.catalog.segments())
        for number, count in rows.items():
            segment = Segment(os.path.join(index.data, "vectors"), number, count, spec.dim, spec.fingerprint)
            vectors = segment.take(np.arange(count)).astype(np.float32)
            for one in index.catalog.pictures():
                if one.segment == number:
                    found[one.sha256] = vectors[one.row]
        assert sum(rows.values()) == len(found)
        return found


def wait_for(is_so: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    """Wait until something is so, while a process runs."""
    until = time.monotonic() + 400
    while not is_so():
        assert running.poll() is None, "it ended before"
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_node_and_then_the_coordinator_are_killed(tmp_path: Path) -> None:
    """Every image is in once, the index is sound, and its embeddings are those of a plain run."""
    from ray.cluster_utils import Cluster

    photos, index = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    for number in range(IMAGES):
        scene(number, (64, 48)).save(photos / f"{number}.png")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1, resources={"imgsearch": 1}) for _ in range(2)]
        cluster.wait_for_nodes()
        command = [sys.executable, "-m", "imgsearch", "index", str(photos), "--model", "demo"]
        command += ["--index", str(index), "--on", cluster.address]
        folder = deliveries.folder_in(str(index))
        with subprocess.Popen(command) as first:
            seen: set[str] = set()

            def delivered(count: int) -> bool:
                seen.update(deliveries.names(folder))
                return len(seen) >= count

            wait_for(lambda: delivered(2), first)
            cluster.remove_node(nodes[0], allow_graceful=False)
            before = len(seen)
            wait_for(lambda: delivered(before + 3), first)
            first.kill()
        done = subprocess.run(command, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert deliveries.names(folder) == []
    finally:
        cluster.shutdown()
    verified = subprocess.run(
        [sys.executable, "-m", "imgsearch", "verify", "--index", str(index)], capture_output=True
    )
    assert verified.returncode == 0, verified.stdout
    index_pictures([str(photos)], str(tmp_path / "plain"), IndexOptions(model=ModelOptions(model="demo")))
    there, plain = stored(index), stored(tmp_path / "plain")
    assert there.keys() == plain.keys()
    assert len(there) == IMAGES
    assert min(float(there[one] @ plain[one]) for one in plain) > 0.9995
