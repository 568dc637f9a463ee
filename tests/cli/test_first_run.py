"""The first run on a machine without weights: they come from the hub, and after that no network is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cli import Done
from support.cli import imgsearch as called
from support.hub_server import Hub
from support.pictures import scene
from support.sentence_folders import sentence_folder, write

MODEL = "acme/tiny"  # not the default one, which a developer may have in this checkout


def on_a_terminal(home: Path, typed: str, *argv: object, **environment: str) -> tuple[int, str]:
    """Run the program as ``imgsearch`` does, on a terminal; return its exit code and all that was written there."""
    code = (
        "import os, pty, sys\n"
        "status = pty.spawn([sys.executable, '-m', 'imgsearch', *sys.argv[1:]], lambda fd: os.read(fd, 9999))\n"
        "sys.exit(os.waitstatus_to_exitcode(status))"
    )
    dropped = ("XDG_", "IMGSEARCH_", "HF_", "TRANSFORMERS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        cwd=home,
        env={**kept, "HOME": str(home), "NO_PROXY": "127.0.0.1", **environment},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


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


Later = Callable[..., Done]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Give the program in this process, which has loaded torch: for what comes after the first run."""

    def run(home: Path, *argv: object, **environment: str) -> Done:
        for name in list(os.environ):
            dropped = name.startswith(("XDG_", "IMGSEARCH_", "HF_", "TRANSFORMERS_"))
            if dropped and name != "IMGSEARCH_RUNTIME_DIR":  # where no server is
                monkeypatch.delenv(name)
        for name, value in {"HOME": str(home), "HF_HUB_OFFLINE": "1", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(home)
        return called(*argv)

    return run


def test_the_first_run_fetches_the_weights_and_the_next_needs_no_network(
    hub: Hub, tmp_path: Path, later: Later
) -> None:
    """`index` downloads a model to the user's data folder; then queries are answered without a hub."""
    scene(1).save(tmp_path / "one.png")
    with hub:
        first = imgsearch(tmp_path, "index", tmp_path, "--model", MODEL, "--verbose", HF_ENDPOINT=hub.url)
    assert first.returncode == 0, first.stderr
    assert "1 indexed" in first.stderr
    assert "downloaded from Hugging Face" in first.stderr
    assert "model.safetensors" in hub.fetched()
    found = later(tmp_path, "query", "a circle", "--paths", "--verbose")
    assert (found.code, found.out.decode()) == (0, f"{tmp_path}/one.png\n")
    assert "the user's data folder" in found.err


def test_a_dry_run_tells_what_must_be_downloaded_first(hub: Hub, tmp_path: Path) -> None:
    """`index --dry-run` names the model and its size, which is asked of the hub, and downloads nothing."""
    scene(1).save(tmp_path / "one.png")
    with hub:
        done = imgsearch(tmp_path, "index", tmp_path, "--model", MODEL, "--dry-run", HF_ENDPOINT=hub.url)
        url = hub.url
    assert done.stderr.splitlines() == [
        "1 image: 1 new or changed",
        f"the model {MODEL} (5.3 MB) must be downloaded first",
    ]
    assert hub.fetched() == set()
    alone = imgsearch(tmp_path, "index", tmp_path, "--model", MODEL, "--dry-run", HF_ENDPOINT=url)
    assert alone.stderr.splitlines()[-1] == f"the model {MODEL} (size unknown) must be downloaded first"


def test_a_download_is_asked_for_on_a_terminal(hub: Hub, tmp_path: Path) -> None:
    """After the plan a terminal is asked, with the size; a no ends the run with what else there is to do."""
    scene(1).save(tmp_path / "one.png")
    with hub:
        code, screen = on_a_terminal(
            tmp_path, "n\n", "index", tmp_path, "--model", MODEL, HF_ENDPOINT=hub.url
        )
    assert code == 2
    assert f"The model {MODEL} must be downloaded once (5.3 MB). Continue? [Y/n]" in screen
    assert "To try imgsearch without a download: --model demo" in " ".join(screen.split())
    assert hub.fetched() == set()


def test_a_model_in_the_hugging_face_cache_needs_no_download(
    tiny_checkpoint: str, tmp_path: Path, later: Later
) -> None:
    """Offline, with a cache in HF_HOME, `index`, `query` and `download` use the snapshot and write nothing to it."""
    scene(1).save(tmp_path / "one.png")
    model = tmp_path / "hf/hub/models--me--mine"
    snapshot = model / "snapshots" / ("a" * 40)
    shutil.copytree(tiny_checkpoint, snapshot)
    (model / "refs").mkdir()
    (model / "refs/main").write_text("a" * 40)
    settings = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "hf").rglob("*"))
    done = imgsearch(tmp_path, "index", tmp_path / "one.png", "--model", "me/mine", "--verbose", **settings)
    assert done.returncode == 0, done.stderr
    assert "the Hugging Face cache" in done.stderr
    found = later(tmp_path, "query", "a circle", "--paths", **settings)
    assert (found.code, found.out.decode()) == (0, f"{tmp_path}/one.png\n"), found.err
    again = imgsearch(tmp_path, "download", "me/mine", **settings)
    assert (again.returncode, str(snapshot) in again.stderr) == (0, True)
    given = later(tmp_path, "query", "a circle", "--paths", "--model", model)
    assert given.code == 0, given.err
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "hf").rglob("*")) == before


def test_a_model_that_generates_text_needs_a_flag(tmp_path: Path, later: Later) -> None:
    """`index` refuses a folder made like an instruct model in one line; --force-model takes it anyway."""
    from random_checkpoint import write_random_checkpoint

    scene(1).save(tmp_path / "one.png")
    write_random_checkpoint(str(tmp_path / "talker"), post_processor_eot=False)
    refused = later(tmp_path, "index", tmp_path / "one.png", "--model", tmp_path / "talker")
    assert refused.code == 2
    assert "talker is not an embedding model" in refused.err.splitlines()[-1]
    assert refused.err.rstrip().endswith("use this one anyway with --force-model")
    done = later(tmp_path, "index", tmp_path / "one.png", "--model", tmp_path / "talker", "--force-model")
    assert done.code == 0, done.err
    assert later(tmp_path, "query", "a circle", "--paths").out.decode() == f"{tmp_path}/one.png\n"


def test_a_sentence_transformers_repository_is_used_as_it_says(
    tiny_checkpoint: str, tmp_path: Path, later: Later
) -> None:
    """`index --model NAME` is all there is to type: its prompts, its truncate_dim and its training budget count."""
    folder = sentence_folder(
        tiny_checkpoint,
        tmp_path / "repository",
        prompts={"query": "Find it", "document": ""},
        truncate_dim=64,
    )
    write(folder, "imgsearch.json", {"pixels": {"min_pixels": 1024, "max_pixels": 36_864}})
    files = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }
    home = tmp_path / "home"
    home.mkdir()
    scene(1).save(home / "one.png")
    with Hub({}) as hub:
        hub.commit("acme/sentence", files)
        first = imgsearch(home, "index", home, "--model", "acme/sentence", "-v", HF_ENDPOINT=hub.url)
        assert first.returncode == 0, first.stderr
        assert "is used with 64 of 128 dimensions (its truncate_dim); at most 36,864 pixels" in first.stderr
        # Modules that are not supported are refused before the weights are fetched.
        files["1_Pooling/config.json"] = b'{"pooling_mode": "mean"}'
        hub.commit("acme/mean", files)
        hub.log.clear()
        refused = imgsearch(home, "index", home, "--model", "acme/mean", "--rebuild", HF_ENDPOINT=hub.url)
        assert (refused.returncode, "pooling by mean is not supported" in refused.stderr) == (2, True)
        assert "model.safetensors" not in hub.fetched()
    state = json.loads(later(home, "status", "--json").out)
    assert (state["dim"], state["pixels"]) == (64, {"image": [1024, 36_864]})
    assert state["prompts"] == {"query": "Find it", "document": ""}
    assert later(home, "query", "a circle", "--paths").out.decode() == f"{home}/one.png\n"


def test_download_mends_a_damaged_checkpoint(hub: Hub, tmp_path: Path) -> None:
    """`download` compares what is here with the hub and fetches what differs; offline it says so and exits 2."""
    with hub:
        assert imgsearch(tmp_path, "download", MODEL, HF_ENDPOINT=hub.url).returncode == 0
        (weights,) = tmp_path.rglob("model.safetensors")
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-100] + bytes(100))
        done = imgsearch(tmp_path, "download", MODEL, HF_ENDPOINT=hub.url)
        assert (done.returncode, weights.read_bytes() == whole) == (0, True)
        assert done.stderr.splitlines()[-1] == f"complete and up to date: {weights.parent}"
    offline = imgsearch(tmp_path, "download", MODEL, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "Traceback" not in offline.stderr
    assert weights.read_bytes() == whole
