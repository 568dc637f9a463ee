"""The first run on a machine without weights: they come from the hub, and after that no network is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import Hub
from pictures import scene

MODEL = "acme/tiny"  # not the default one, which a developer may have in this checkout


@pytest.fixture
def hub(tiny_checkpoint: str) -> Hub:
    """Give a loopback hub that has the tiny checkpoint."""
    server = Hub({})
    server.commit(MODEL, {path.name: path.read_bytes() for path in Path(tiny_checkpoint).iterdir()})
    return server


def imgsearch(home: Path, *argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a new user does: an own home, no settings but those given."""
    dropped = ("XDG_", "IMGSEARCH_", "HF_", "TRANSFORMERS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return subprocess.run(
        [sys.executable, "-m", "imgsearch", *map(str, argv)],
        cwd=home,
        env={**kept, "HOME": str(home), "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_run_fetches_the_weights_and_the_next_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    """`index` downloads a model to the user's data folder; then queries are answered without a hub."""
    scene(1).save(tmp_path / "one.png")
    with hub:
        first = imgsearch(tmp_path, "index", tmp_path, "--model", MODEL, HF_ENDPOINT=hub.url)
        url = hub.url
    assert first.returncode == 0, first.stderr
    assert "1 indexed" in first.stderr
    assert "downloaded from the hub" in first.stderr
    assert "model.safetensors" in hub.fetched()
    found = imgsearch(tmp_path, "query", "a circle", "--paths", HF_ENDPOINT=url)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path}/one.png\n")
    assert "the user's data folder" in found.stderr


def test_download_mends_a_damaged_checkpoint(hub: Hub, tmp_path: Path) -> None:
    """`download` compares what is here with the hub and fetches what differs; offline it says so and exits 2."""
    with hub:
        assert imgsearch(tmp_path, "download", MODEL, HF_ENDPOINT=hub.url).returncode == 0
        (weights,) = tmp_path.rglob("model.safetensors")
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-100] + bytes(100))
        done = imgsearch(tmp_path, "download", MODEL, HF_ENDPOINT=hub.url)
        assert (done.returncode, weights.read_bytes() == whole) == (0, True)
        assert done.stderr.splitlines()[-1] == f"complete, and as the hub has it: {weights.parent}"
    offline = imgsearch(tmp_path, "download", MODEL, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "Traceback" not in offline.stderr
    assert weights.read_bytes() == whole
