"""A Ray cluster indexes what this machine would, and what keeps it from that is told in one line."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import ClusterError
from imgsearch.index.reader import ImageIndex
from imgsearch.tools.cluster import deliveries, pipeline
from support import ROOT
from support.pdfs import Drawn, pdf, words
from support.pictures import scene

pytest.importorskip("ray", reason="make cluster installs Ray")


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, str]]:
    """Run a head with a client server, and a node that embeds; give the cluster and the client's address."""
    from ray.cluster_utils import Cluster

    port = free_port()
    head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1, resources={"imgsearch": 1})
        cluster.wait_for_nodes()
        yield cluster, f"ray://127.0.0.1:{port}"
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give images, a copy, one that is damaged, one of two pages, a PDF, and a tar of two images."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        scene(number, (64, 48)).save(folder / f"{number}.png")
    shutil.copy(folder / "7.png", folder / "copy.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    scene(50, (64, 48)).save(folder / "pages.tiff", save_all=True, append_images=[scene(51, (64, 48))])
    (folder / "paper.pdf").write_bytes(pdf(Drawn(words("one")), Drawn(words("two"))))
    with tarfile.open(folder / "shard-000.tar", "w") as shard:
        for number in (60, 61):
            out = io.BytesIO()
            scene(number, (64, 48)).save(out, "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(out.getvalue())
            shard.addfile(member, io.BytesIO(out.getvalue()))
    return folder


def run(photos: Path, index: Path, *options: str, source: str = "") -> subprocess.CompletedProcess[str]:
    """Run `imgsearch index` with the demo's model, with the modules of ``source`` before the usual ones."""
    command = [
        sys.executable,
        "-m",
        "imgsearch",
        "index",
        str(photos),
        "--model",
        "demo",
        "--index",
        str(index),
    ]
    environment = os.environ | ({"PYTHONPATH": source} if source else {})
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=600, env=environment)


def told(index: Path) -> dict[str, Any]:
    """Return what an index says of each page and of each file that could not be read."""
    with ImageIndex(str(index)) as opened:
        pages = {
            (one.sha256, one.page): (sorted(one.paths), one.width, one.height)
            for one in opened.catalog.pictures()
        }
        return {"pages": pages, "errors": sorted(map(str, opened.catalog.errors()))}


@pytest.fixture(scope="module")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what an index says that was made by this machine alone."""
    index = tmp_path_factory.mktemp("plain") / "index"
    assert run(photos, index).returncode == 0
    return told(index)


@pytest.mark.parametrize("way", ["HOST:PORT", "ray://", "ray"])
def test_a_cluster_indexes_what_one_machine_does(
    way: str, nodes: tuple[Any, str], photos: Path, plain: dict[str, Any], tmp_path: Path
) -> None:
    """Images, copies, damaged files, PDFs and shards come out as in a plain run, however Ray is reached."""
    on = {"HOST:PORT": nodes[0].address, "ray://": nodes[1]}.get(way, way)
    done = run(photos, tmp_path / "index", "--on", on, "--json")
    assert done.returncode == 0, done.stderr
    assert told(tmp_path / "index") == plain
    assert json.loads(done.stdout.splitlines()[-1])["skipped"] == 1
    assert deliveries.names(deliveries.folder_in(str(tmp_path / "index"))) == []
    again = run(photos, tmp_path / "index", "--on", on)
    assert again.returncode == 0, again.stderr
    assert told(tmp_path / "index") == plain


def test_a_cluster_that_can_not_be_used_is_one_line(photos: Path, tmp_path: Path) -> None:
    """Where nothing listens, and where no machine offers to embed, the line says how to start one; nothing is made."""
    from ray.cluster_utils import Cluster

    gone = run(photos, tmp_path / "index", "--on", f"127.0.0.1:{free_port()}")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "no Ray answers" in gone.stderr.splitlines()[-1]
    assert "ray start --head" in gone.stderr.splitlines()[-1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        idle = run(photos, tmp_path / "index", "--on", cluster.address)
    finally:
        cluster.shutdown()
    assert (idle.returncode, idle.stdout) == (2, "")
    assert "no machine of the cluster" in idle.stderr.splitlines()[-1]
    assert not (tmp_path / "index").exists()


def test_a_worker_of_another_version_is_refused(photos: Path, tmp_path: Path) -> None:
    """One line names both versions, and nothing was computed or lost."""
    from ray.cluster_utils import Cluster

    newer = tmp_path / "newer"
    shutil.copytree(ROOT / "src", newer)
    module = newer / "imgsearch" / "__init__.py"
    module.write_text(module.read_text().replace('__version__ = "', '__version__ = "99.'))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1, resources={"imgsearch": 1})
        cluster.wait_for_nodes()
        done = run(photos, tmp_path / "index", "--on", cluster.address, source=str(newer))
    finally:
        cluster.shutdown()
    assert done.returncode == 2, done.stderr
    assert "install the same version on all machines" in done.stderr.splitlines()[-1]
    assert "99." in done.stderr.splitlines()[-1]
    assert deliveries.names(deliveries.folder_in(str(tmp_path / "index"))) == []


def test_a_cluster_without_any_embedder_left_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once no machine offers to embed, and none comes back, the run ends with a line."""
    monkeypatch.setattr(pipeline, "_LOOK_AGAIN", 0.1)
    monkeypatch.setattr(pipeline, "_LOST", 0.3)
    ray, never = pipeline.RayPipeline("ray"), threading.Event()
    monkeypatch.setattr(ray, "_offers", list)

    def rows() -> Iterator[tuple[str, str]]:
        yield "a", ""
        never.wait()

    watched = ray._watched(rows())
    assert next(watched) == ("a", "")
    with pytest.raises(ClusterError, match="offers to embed any more"):
        next(watched)
    never.set()


def test_an_image_that_ends_its_worker_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that takes its process with it twice costs that image, which is named, and no other."""
    from ray.cluster_utils import Cluster

    photos, fragile = tmp_path / "photos", tmp_path / "fragile"
    photos.mkdir()
    for number in range(40):
        scene(number, (64, 48)).save(photos / f"{number}.png")
    with open(photos / "20.png", "ab") as file:
        file.write(b"CRASH")
    shutil.copytree(ROOT / "src", fragile)
    with open(fragile / "imgsearch" / "media" / "formats.py", "a") as module:
        module.write(
            "\n_load = load_pictures\n\n\ndef load_pictures(file, *given, **named):\n    file.seek(0)\n"
            "    if file.read().endswith(b'CRASH'):\n        os._exit(7)\n    file.seek(0)\n"
            "    return _load(file, *given, **named)\n\n\nimport os\n"
        )
    monkeypatch.setenv("PYTHONPATH", str(fragile))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1, resources={"imgsearch": 1})
        cluster.wait_for_nodes()
        done = run(photos, tmp_path / "index", "--on", cluster.address)
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr
    with ImageIndex(str(tmp_path / "index")) as index:
        assert index.catalog.picture_count() == 39
        (error,) = index.catalog.errors()
        assert "20.png" in str(error)
