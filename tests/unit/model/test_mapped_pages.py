"""Tests of mapped weight files, and of bringing them near while torch is imported."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine import pages
from imgsearch.startup import uncollected


def test_a_file_is_mapped_once(tmp_path: Path):
    """While a map is in use it is shared; a file of the same name with other content gets its own."""
    path = tmp_path / "weights"
    path.write_bytes(b"old" * 2000)
    first = pages.map_file(str(path))
    assert pages.map_file(str(path)) is first
    other = tmp_path / "new"
    other.write_bytes(b"new" * 2000)
    os.replace(other, path)
    assert pages.map_file(str(path))[:3] == b"new"
    assert first[:3] == b"old"


def test_a_map_goes_with_its_last_user(tmp_path: Path):
    """Nobody but its users keeps a map in memory."""
    path = tmp_path / "weights"
    path.write_bytes(b"old" * 2000)
    gc.collect()
    before = len(pages._open_maps)
    first = pages.map_file(str(path))
    assert len(pages._open_maps) == before + 1
    del first
    gc.collect()
    assert len(pages._open_maps) == before


def test_the_language_layers_are_found(tiny_checkpoint: str):
    """What is touched is the layers of the language model, together where they lie together, and nothing else."""
    layers = {
        (tensor.start, tensor.start + tensor.size)
        for tensor in Checkpoint(tiny_checkpoint).tensors
        if "language_model.layers." in tensor.name
    }
    runs = [(start, end) for _, start, end in pages._language_layers(Checkpoint(tiny_checkpoint))]
    assert sum(end - start for start, end in runs) == sum(end - start for start, end in layers)
    assert all(any(start <= at < end for start, end in runs) for at, _ in layers)
    assert len(runs) < len(layers)


_NEAR = """
import sys, threading
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine import pages
with pages.prefetch_pages(Checkpoint(sys.argv[1])):
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
    resident, inside = 0, False
    for line in open("/proc/self/smaps"):
        if "-" in line.split(" ", 1)[0] and ":" not in line.split(" ", 1)[0]:
            inside = line.rstrip().endswith(".safetensors")
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    print(resident, "torch" in sys.modules)
print(len(pages._open_maps))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of its maps")
def test_the_layers_are_in_memory_before_torch_is(tiny_checkpoint: str):
    """A second thread brings the layers' pages into memory without torch, and lets go of them if nobody takes them."""
    wanted = sum(end - start for _, start, end in pages._language_layers(Checkpoint(tiny_checkpoint)))
    done = subprocess.run(
        [sys.executable, "-c", _NEAR, tiny_checkpoint], capture_output=True, text=True, check=True
    )
    (resident, torch), (left,) = (line.split() for line in done.stdout.splitlines())
    assert torch == "False"
    assert int(resident) >= wanted // 2
    assert int(left) == 0


@pytest.mark.parametrize("content", [None, b"", b"no weights", b"\xff" * 64])
def test_broken_weights_are_left_to_whoever_loads_them(tmp_path: Path, content: bytes | None):
    """A folder without weights, or with broken ones, makes no error here."""
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    code = (
        "import sys; from imgsearch.model.engine.pages import prefetch_pages\n"
        "from imgsearch.model.checkpoint import Checkpoint\n"
        "with prefetch_pages(Checkpoint(sys.argv[1])): print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("went on\n", "")


@pytest.mark.parametrize("on", [True, False])
def test_cycles_are_sought_again_after_imports(on: bool):
    """Whether the imports work or not, Python's search for cycles is then as it was."""
    was = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with uncollected("a module that is not there"):
            assert not gc.isenabled()
        assert gc.isenabled() == on
        with pytest.raises(ImportError), uncollected("a module that is not there"):
            raise ImportError("for a test")
        assert gc.isenabled() == on
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()


def test_only_the_first_import_puts_objects_aside():
    """What has become garbage by the time of a second model is still found."""

    class Cycle:
        """Stands for a model that nobody uses any more."""

        def __init__(self) -> None:
            self.own = self

    gc.disable()
    try:
        gone = weakref.ref(Cycle())
        with uncollected("imgsearch.startup"):
            pass
        gc.collect()
        assert gone() is None
    finally:
        gc.enable()
