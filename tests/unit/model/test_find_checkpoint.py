"""Where checkpoints are looked for, when a folder counts as one, and what its fingerprint depends on."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from imgsearch.errors import CheckpointError, UsageError
from imgsearch.model import checkpoint as checkpoints
from imgsearch.model import locate
from imgsearch.model.checkpoint import (
    SOURCE_FILE,
    Checkpoint,
)
from imgsearch.model.locate import DEFAULT_MODEL, download, find_checkpoint
from imgsearch.types import Silent
from support.fakes import Notes
from support.hub_server import Files, checkpoint, safetensors, sharded


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: empty working, data and cache folders, no source checkout, and no network at all."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    for folder in ("work", "data", "cache"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda name: str(tmp_path / "data" / name))
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(locate, "__file__", str(tmp_path / "site-packages/imgsearch/model/locate.py"))
    monkeypatch.setattr(checkpoints, "_SETTLED_NS", -(1 << 62))
    for variable in ("IMGSEARCH_MODEL_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


def write(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """Record downloads in place of making them."""
    made: list[tuple[str, str | None, str]] = []

    def record(name: str, revision: str | None, folder: str, **_: object) -> str:
        made.append((name, revision, folder))
        return folder

    monkeypatch.setattr(locate, "download_checkpoint", record)
    return made


# Where a checkpoint is looked for


def test_a_folder_is_taken_as_given(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete folder wins over everything else, and its absolute path is its name."""
    folder = write(machine / "work" / "mine", checkpoint())
    monkeypatch.setenv("IMGSEARCH_MODEL_DIR", str(write(machine / "env", checkpoint())))
    found = find_checkpoint("mine")
    assert (found.folder, found.name, found.reason) == (str(folder), str(folder), "model")


def test_the_order_without_a_model(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IMGSEARCH_MODEL_DIR, then ./Qwen of the checkout, then of the working directory, then the data folder."""
    root = machine / "checkout"
    write(root, {"pyproject.toml": b""})
    monkeypatch.setattr(locate, "__file__", str(root / "src/imgsearch/model/locate.py"))
    env = write(machine / "env", checkpoint())
    monkeypatch.setenv("IMGSEARCH_MODEL_DIR", str(env))
    folders = [
        root / DEFAULT_MODEL,
        machine / "work" / DEFAULT_MODEL,
        machine / "data/imgsearch/models" / DEFAULT_MODEL,
    ]
    for folder in folders:
        write(folder, checkpoint())
    found = find_checkpoint()
    assert (found.folder, found.name, found.reason) == (str(env), str(env), "IMGSEARCH_MODEL_DIR")
    monkeypatch.delenv("IMGSEARCH_MODEL_DIR")
    for folder in folders:
        found = find_checkpoint()
        assert (found.folder, found.name) == (str(folder), DEFAULT_MODEL)
        (folder / "config.json").unlink()


def test_the_last_resort_is_a_download(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing on disk the default model is fetched into the user's data folder."""
    made = downloads(monkeypatch)
    target = str(machine / "data/imgsearch/models" / DEFAULT_MODEL)
    found = find_checkpoint()
    assert made == [(DEFAULT_MODEL, None, target)]
    assert (found.folder, found.name, found.reason) == (target, DEFAULT_MODEL, "downloaded from Hugging Face")


def test_an_incomplete_data_folder_is_resumed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder that lacks a file, or holds half of one, goes to the download, which completes it."""
    made = downloads(monkeypatch)
    target = write(machine / "data/imgsearch/models/acme/tiny", checkpoint())
    assert find_checkpoint("acme/tiny").reason == "the user's data folder"
    (target / "model.safetensors.0123.incomplete").write_bytes(b"half")
    find_checkpoint("acme/tiny")
    assert made == [("acme/tiny", None, str(target))]


def test_only_the_default_model_is_looked_for_in_the_checkout(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """./Qwen holds the default model: another name of the hub does not find it."""
    made = downloads(monkeypatch)
    write(machine / "work" / DEFAULT_MODEL, checkpoint())
    assert find_checkpoint(DEFAULT_MODEL).reason == "./Qwen"
    find_checkpoint("acme/tiny")
    assert [name for name, _, _ in made] == ["acme/tiny"]


def test_an_incomplete_checkout_folder_is_passed_over_and_said(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a checkpoint in ./Qwen does not stand in the way; talk says what it lacks."""
    downloads(monkeypatch)
    half = write(machine / "work" / DEFAULT_MODEL, {"config.json": checkpoint()["config.json"]})
    told: list[str] = []
    assert find_checkpoint(notify=told.append).reason == "downloaded from Hugging Face"
    assert told == [
        f"{half} is not used because it is incomplete: "
        "tokenizer.json, chat_template.jinja, preprocessor_config.json, model.safetensors missing"
    ]


def test_a_given_folder_must_be_complete(machine: Path) -> None:
    """An incomplete --model folder is an error that names the folder and what is missing."""
    folder = write(machine / "half", checkpoint())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        CheckpointError, match=rf"model {folder}: the model is incomplete \(tokenizer\.json missing"
    ):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("exists", [True, False])
def test_the_variable_must_name_a_checkpoint(
    machine: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    """IMGSEARCH_MODEL_DIR with an incomplete folder, or with none, is an error that names the variable."""
    folder = machine / "env"
    if exists:
        folder.mkdir()
    monkeypatch.setenv("IMGSEARCH_MODEL_DIR", str(folder))
    with pytest.raises(CheckpointError, match=f"IMGSEARCH_MODEL_DIR.* {folder}"):
        find_checkpoint()


@pytest.mark.parametrize(
    "model",
    ["nothing", "./nothing/here", "/a/b", "a/b/c", "Qwen/..", "a b/c", "a/b--c", "a/b.git", "a/b.", ""],
)
def test_neither_folder_nor_name(model: str) -> None:
    """What is no folder and can't be a name on the hub is refused with an example of one."""
    with pytest.raises(
        CheckpointError, match="there is no such folder; the name of a model on Hugging Face looks like Qwen/"
    ):
        find_checkpoint(model)


def test_without_download_it_says_how_to_get_it(machine: Path) -> None:
    """download=False over an empty machine names the folder, the command and the option."""
    with pytest.raises(
        CheckpointError,
        match=r"acme/tiny is not complete on this computer .*'download\(name='acme/tiny'\)'.*model=DIR",
    ):
        find_checkpoint("acme/tiny", download=False)


def test_a_revision_finds_only_its_own_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a revision, folders of unknown origin don't count; one downloaded as it, or of that commit, does."""
    made = downloads(monkeypatch)
    models = machine / "data/imgsearch/models/Qwen"
    plain = write(models / "Qwen3-VL-Embedding-2B", checkpoint())
    monkeypatch.setenv("IMGSEARCH_MODEL_DIR", str(write(machine / "env", checkpoint())))
    target = models / "Qwen3-VL-Embedding-2B@refs%2Fpr%2F1"
    assert find_checkpoint(revision="refs/pr/1").folder == str(target)
    assert made == [(DEFAULT_MODEL, "refs/pr/1", str(target))]
    write(target, checkpoint())
    assert find_checkpoint(revision="refs/pr/1").reason == "the user's data folder"
    write(plain, {SOURCE_FILE: json.dumps({"revision": "main", "commit": "c0ffee"}).encode()})
    assert find_checkpoint(revision="c0ffee").folder == str(plain)
    assert len(made) == 1


def test_a_revision_of_a_folder_is_a_contradiction(machine: Path) -> None:
    """A folder has no revisions: both together are a usage error."""
    with pytest.raises(UsageError, match="is a folder; revision needs a name on Hugging Face"):
        find_checkpoint(str(write(machine / "mine", checkpoint())), revision="main")


def test_importing_loads_no_heavy_library() -> None:
    """The module is loaded by 'status': neither torch nor transformers nor huggingface_hub comes with it."""
    heavy = "torch transformers huggingface_hub numpy safetensors tokenizers"
    code = f"import sys, imgsearch.model.locate; print(set('{heavy}'.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_complete_weights_need_no_hub_library(machine: Path) -> None:
    """Finding a checkpoint that is there does not even import huggingface_hub."""
    folder = write(machine / "mine", checkpoint())
    code = "import sys; from imgsearch.model.locate import find_checkpoint as f; f(sys.argv[1])\n"
    code += "print('huggingface_hub' in sys.modules, 'socket' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


# The Hugging Face cache, and source checkouts

COMMIT, OTHER = "a" * 40, "b" * 40


def cached(cache: Path, name: str, files: Files, commit: str = COMMIT, ref: str = "main") -> Path:
    """Put a snapshot into a cache as huggingface_hub does: blobs by their checksums, links to them, a ref."""
    model = cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs = model / "snapshots" / commit, model / "blobs"
    for folder in (snapshot, blobs, model / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        blob = blobs / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / path).parent.mkdir(exist_ok=True)
        (snapshot / path).symlink_to(os.path.relpath(blob, (snapshot / path).parent))
    if ref:
        (model / "refs" / ref).write_text(commit)
    return snapshot


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when anything below a folder does."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "acme/tiny"])
@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_a_model_in_the_hugging_face_cache_is_used_from_there(
    machine: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    """Wherever the variables put the cache, a complete snapshot in it is the model; nothing in it changes."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(machine / "there"))
    below = {"HF_HOME": "hub", "HF_HUB_CACHE": "", "XDG_CACHE_HOME": "huggingface/hub"}
    cache = machine / "there" / below.get(variable, ".cache/huggingface/hub")
    snapshot = cached(cache, name, checkpoint())
    before = tree(cache)
    found = find_checkpoint(name)
    assert (found.folder, found.name, found.reason) == (str(snapshot), name, "the Hugging Face cache")
    assert found.fingerprint == Checkpoint(str(write(machine / "plain", checkpoint()))).fingerprint
    assert download(name, None, Silent()) == str(snapshot)
    assert tree(cache) == before


def test_a_revision_is_a_snapshot_of_its_own(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch is looked up in refs, a commit is the snapshot's name; what is not there is downloaded."""
    made = downloads(monkeypatch)
    cache = machine / "hf/hub"
    one = cached(cache, "acme/tiny", checkpoint())
    two = cached(cache, "acme/tiny", checkpoint(seed=2), OTHER, "refs-pr-1")
    for revision, folder in ((None, one), ("main", one), (COMMIT, one), (OTHER, two), ("refs-pr-1", two)):
        assert find_checkpoint("acme/tiny", revision=revision).folder == str(folder)
    find_checkpoint("acme/tiny", revision="c" * 40)
    assert [revision for _, revision, _ in made] == ["c" * 40]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_an_incomplete_snapshot_is_not_used(
    machine: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that never arrived, or whose blob is gone, makes the snapshot incomplete; that is told."""
    made = downloads(monkeypatch)
    snapshot = cached(machine / "hf/hub", "acme/tiny", {**checkpoint(), **MODULE_FILES})
    assert find_checkpoint("acme/tiny").folder == str(snapshot)
    os.unlink(os.path.realpath(snapshot / name))
    told: list[str] = []
    find_checkpoint("acme/tiny", notify=told.append)
    assert [folder for _, _, folder in made] == [str(machine / "data/imgsearch/models/acme/tiny")]
    assert told == [f"{snapshot} is not used because it is incomplete: {name} missing"]


def test_own_folders_come_before_the_cache(machine: Path) -> None:
    """What was downloaded for imgsearch, or lies in ./Qwen, wins over the cache; half a download does not."""
    snapshot = cached(machine / "hf/hub", DEFAULT_MODEL, checkpoint())
    data = write(machine / "data/imgsearch/models" / DEFAULT_MODEL, checkpoint())
    assert find_checkpoint().folder == str(data)
    here = write(machine / "work" / DEFAULT_MODEL, checkpoint())
    assert find_checkpoint().folder == str(here)
    for folder in (data, here):
        (folder / "model.safetensors.0123.incomplete").write_bytes(b"half")
    assert find_checkpoint().folder == str(snapshot)


@pytest.mark.parametrize("how", ["model", "snapshot", "cache"])
@pytest.mark.parametrize("variable", [True, False])
def test_a_folder_of_the_cache_can_be_given(
    machine: Path, monkeypatch: pytest.MonkeyPatch, how: str, variable: bool
) -> None:
    """models--org--name, a snapshot in it, or a cache of one model: the name stays the folder that was given."""
    snapshot = cached(machine / "elsewhere", "acme/tiny", checkpoint())
    given = {"model": snapshot.parents[1], "snapshot": snapshot, "cache": snapshot.parents[2]}[how]
    if variable:
        monkeypatch.setenv("IMGSEARCH_MODEL_DIR", str(given))
    found = find_checkpoint(None if variable else str(given))
    assert (found.folder, found.name) == (str(snapshot), str(given))
    assert found.source == {"repo": "acme/tiny", "commit": COMMIT}


def test_which_snapshot_of_a_given_folder(machine: Path) -> None:
    """It is main's, or the named revision's, or the only one; else the error lists them."""
    cache = machine / "elsewhere"
    one = cached(cache, "acme/tiny", checkpoint(), ref="")
    model = str(one.parents[1])
    assert find_checkpoint(model).folder == str(one)
    two = cached(cache, "acme/tiny", checkpoint(seed=2), OTHER, ref="")
    assert find_checkpoint(model, revision=OTHER).folder == str(two)
    with pytest.raises(CheckpointError, match=f"no snapshot of the revision 'main'; .*{COMMIT}, {OTHER}"):
        find_checkpoint(model)
    (two.parents[1] / "refs/main").write_text(OTHER)
    assert find_checkpoint(model).folder == str(two)
    cached(cache, "acme/more", checkpoint())
    with pytest.raises(CheckpointError, match=r"a cache of 2 models; .*model=DIR.*models--acme--tiny"):
        find_checkpoint(str(cache))


def test_download_replaces_a_damaged_snapshot_by_a_folder_of_its_own(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that has not the checksum of its name is told, and the model downloaded; the cache stays as it is."""
    made = downloads(monkeypatch)
    snapshot = cached(machine / "hf/hub", "acme/tiny", checkpoint())
    blob = Path(os.path.realpath(snapshot / "model.safetensors"))
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    before = tree(machine / "hf")
    notes = Notes()
    download("acme/tiny", None, notes)
    assert made == [("acme/tiny", None, str(machine / "data/imgsearch/models/acme/tiny"))]
    assert f"{snapshot} is not used because it is damaged: model.safetensors" in notes.lines
    assert tree(machine / "hf") == before


@pytest.mark.parametrize("below", [".", "docs/img"])
def test_in_a_source_checkout_the_default_model_is_downloaded_to_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """The first run goes to ./Qwen/Qwen3-VL-Embedding-2B of the checkout we are in, and is found there from then on.

    Another model, and a revision, go to the data folder as everywhere.
    """
    made = downloads(monkeypatch)
    root = machine / "checkout"
    for folder in ("src/imgsearch", "docs/img"):
        (root / folder).mkdir(parents=True)
    write(root, {"pyproject.toml": b""})
    monkeypatch.chdir(root / below)
    for model, revision in ((None, None), (DEFAULT_MODEL, None), ("acme/tiny", None), (None, "v1")):
        find_checkpoint(model, revision=revision)
    data = machine / "data/imgsearch/models"
    assert [folder for _, _, folder in made] == [
        str(root / DEFAULT_MODEL),
        str(root / DEFAULT_MODEL),
        str(data / "acme/tiny"),
        str(data / f"{DEFAULT_MODEL}@v1"),
    ]
    write(root / DEFAULT_MODEL, checkpoint())
    assert find_checkpoint().folder == str(root / DEFAULT_MODEL)
    assert download(None, None, Silent()) == str(root / DEFAULT_MODEL)


@pytest.mark.parametrize("begun", ["checkout", "data/imgsearch/models"])
def test_a_download_is_resumed_where_it_was_begun(
    machine: Path, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """Half a download in the checkout, or in the data folder, is completed there, wherever we are now."""
    made = downloads(monkeypatch)
    root = machine / "checkout"
    (root / "src/imgsearch/model").mkdir(parents=True)
    write(root, {"pyproject.toml": b""})
    monkeypatch.setattr(locate, "__file__", str(root / "src/imgsearch/model/locate.py"))
    write(machine / begun / DEFAULT_MODEL, {"model.safetensors.0123.incomplete": b"half"})
    for folder in (root, machine / "work"):
        monkeypatch.chdir(folder)
        find_checkpoint()
    assert [folder for _, _, folder in made] == [str(machine / begun / DEFAULT_MODEL)] * 2


# When a folder is complete


def test_whole_checkpoints_lack_nothing(machine: Path) -> None:
    """In one file or in shards, with the template in any of its places, a whole checkpoint lacks nothing."""
    files = checkpoint()
    template = files.pop("chat_template.jinja")
    text = json.dumps({"chat_template": template.decode()}).encode()
    named = json.dumps({"chat_template": [{"name": "default", "template": template.decode()}]}).encode()
    for number, extra in enumerate(
        [
            {"chat_template.jinja": template},
            {"chat_template.json": text},
            {"tokenizer_config.json": text},
            {"tokenizer_config.json": named},
        ]
    ):
        for kind, whole in (("one", files), ("shards", sharded(files))):
            folder = write(machine / f"{kind}{number}", {**whole, **extra})
            assert Checkpoint(str(folder)).missing_files() == []
            assert Checkpoint(str(folder)).chat_template == template.decode()


def test_settings_may_lie_in_the_processor_config(machine: Path) -> None:
    """A processor_config.json with image settings stands for preprocessor_config.json; without them it does not."""
    files = checkpoint()
    images = json.loads(files.pop("preprocessor_config.json"))
    folder = write(
        machine / "new", {**files, "processor_config.json": json.dumps({"image_processor": images}).encode()}
    )
    assert Checkpoint(str(folder)).missing_files() == []
    (folder / "processor_config.json").write_text('{"processor_class": "Qwen3VLProcessor"}')
    assert Checkpoint(str(folder)).missing_files() == ["preprocessor_config.json"]


MODULE_FILES: Files = {
    "modules.json": json.dumps(
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        ]
    ).encode(),
    "sentence_bert_config.json": b'{"max_seq_length": 512}',
    "1_Pooling/config.json": b"{}",
}
NEEDED = sorted(set(checkpoint()) - {"tokenizer_config.json"})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("content", [None, b""])
def test_each_needed_file_is_missed(machine: Path, name: str, content: bytes | None) -> None:
    """A file that is not there, or is empty, is named as missing."""
    folder = write(machine / "model", checkpoint())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert Checkpoint(str(folder)).missing_files() == [name]


@pytest.mark.parametrize("name", [name for name in NEEDED if not name.endswith(".jinja")])
@pytest.mark.parametrize("pointer", [True, False])
def test_half_a_file_is_missed(machine: Path, name: str, pointer: bool) -> None:
    """A file cut short, or a Git LFS pointer in its place, is named as missing."""
    folder = write(machine / "model", checkpoint())
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(POINTER if pointer else content[: len(content) // 2])
    assert Checkpoint(str(folder)).missing_files() == [name]


def test_every_shard_of_the_index_is_needed(machine: Path) -> None:
    """A shard that the index names and the folder lacks is missing."""
    folder = write(machine / "model", sharded(checkpoint()))
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert Checkpoint(str(folder)).missing_files() == ["model-00002-of-00002.safetensors"]


@pytest.mark.parametrize("shard", ["../model.safetensors", "/x/model.safetensors", "model.bin", 3])
def test_an_index_can_not_point_elsewhere(machine: Path, shard: object) -> None:
    """An index that names files outside the folder, or other than safetensors, is refused."""
    files = {
        **sharded(checkpoint()),
        "model.safetensors.index.json": json.dumps({"weight_map": {"w": shard}}).encode(),
    }
    folder = write(machine / "model", files)
    assert Checkpoint(str(folder)).missing_files() == ["model.safetensors.index.json"]
    with pytest.raises(CheckpointError, match="lists no weight files in this folder"):
        _ = Checkpoint(str(folder)).weight_files


def test_the_rest_of_a_download_makes_it_incomplete(machine: Path) -> None:
    """An *.incomplete file is counted, unless the caller leaves leftovers out."""
    folder = write(machine / "model", {**checkpoint(), "x.incomplete": b""})
    assert Checkpoint(str(folder)).missing_files() == ["the rest of a download (x.incomplete)"]
    assert Checkpoint(str(folder)).missing_files(leftovers=False) == []


def test_no_folder_lacks_everything(machine: Path) -> None:
    """A folder that does not exist lacks all that a checkpoint needs."""
    assert Checkpoint(str(machine / "nowhere")).missing_files() == [
        *(
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "preprocessor_config.json",
            "model.safetensors",
        )
    ]


# What it says of itself


def test_describe_reads_config_and_headers(machine: Path) -> None:
    """Length of a vector from text_config, parameters and bytes from the headers, of one file or of shards."""
    for name, files in (("one", checkpoint(4096)), ("shards", sharded(checkpoint(4096)))):
        info = Checkpoint(str(write(machine / name, files))).info
        assert (info.dim, info.model_type, info.weights_bytes, info.parameters) == (
            16,
            "qwen3_vl",
            4104,
            4098,
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            b'{"model_type": "clip"}',
            "is a 'clip' model; imgsearch needs a Qwen3-VL embedding model",
        ),
        (b"{}", "is a None model"),
        (b"{,}", "config.json is damaged"),
        (b"[1]", "config.json is damaged"),
        (b"\xff{}", "config.json is damaged"),
        (b'{"model_type": "qwen3_vl"}', "has no text_config.hidden_size"),
    ],
)
def test_other_models_and_broken_configs_are_refused(machine: Path, config: bytes, message: str) -> None:
    """A config.json of another family, or none that can be read, is an error that says which."""
    folder = write(machine / "model", {**checkpoint(), "config.json": config})
    with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
        _ = Checkpoint(str(folder)).info


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x08\0\0\0\0\0\0\0{"a": 1}',
        safetensors({"w": ("U8", [4], b"1234")}) + b"x",
        safetensors({"w": ("U8", [4], b"1234")}).replace(b"[0, 4]", b"[9, 4]"),
    ],
)
def test_broken_weights_are_refused(machine: Path, data: bytes) -> None:
    """Weights that are no safetensors file, or whose length is not what their header says, are named."""
    folder = write(machine / "model", {**checkpoint(), "model.safetensors": data})
    assert Checkpoint(str(folder)).missing_files() == ["model.safetensors"]
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or not a safetensors file"):
        _ = Checkpoint(str(folder)).info


# The fingerprint


def test_the_same_checkpoint_has_the_same_fingerprint(machine: Path) -> None:
    """A copy, however its weights are cut into files and however its config was saved, has the same fingerprint."""
    files = checkpoint(40_000)
    resaved = json.loads(files["config.json"])
    resaved |= {"transformers_version": "9.9", "_name_or_path": "/x", "torch_dtype": "float16"}
    resaved["text_config"]["dtype"] = "bfloat16"
    resaved["text_config"] = dict(reversed(resaved["text_config"].items()))
    template = json.dumps({"chat_template": files["chat_template.jinja"].decode()}).encode()
    copies = [
        files,
        sharded(files),
        sharded(files, prefix="part"),
        sharded(files, backwards=True),
        {**files, "config.json": json.dumps(resaved, indent=2).encode()},
        {**files, "README.md": b"new", "tokenizer_config.json": b'{"model_max_length": 1}'},
        {**files, "chat_template.json": template},
    ]
    prints = {Checkpoint(str(write(machine / f"copy{n}", copy))).fingerprint for n, copy in enumerate(copies)}
    assert len(prints) == 1
    assert len(prints.pop()) == 64


def test_whatever_moves_a_vector_changes_the_fingerprint(machine: Path) -> None:
    """Config, tokenizer, template, pixel settings, a tensor's bytes, shape, dtype or name: each gives another one."""
    files = checkpoint()
    pixels = json.loads(files["preprocessor_config.json"])
    data = b"\1" * 4096

    def with_weights(
        data: bytes, name: str = "w", dtype: str = "U8", shape: tuple[int, ...] = (4096,)
    ) -> Files:
        return {**files, "model.safetensors": safetensors({name: (dtype, list(shape), data)})}

    def flipped(at: int) -> bytes:
        return data[:at] + b"\0" + data[at + 1 :]

    variants = [
        files,
        {**files, "config.json": files["config.json"].replace(b"16", b"32")},
        {**files, "tokenizer.json": files["tokenizer.json"].replace(b"a", b"b")},
        {**files, "chat_template.jinja": b"{{ messages }} "},
        {**files, "preprocessor_config.json": json.dumps({**pixels, "image_mean": [0.4] * 3}).encode()},
        {**files, "preprocessor_config.json": json.dumps({**pixels, "patch_size": 14}).encode()},
        with_weights(data),
        with_weights(data, name="v"),
        with_weights(data, dtype="I8"),
        with_weights(data, shape=(64, 64)),
        *(with_weights(flipped(at)) for at in (0, 2048, 4095)),
    ]
    prints = [
        Checkpoint(str(write(machine / f"variant{n}", variant))).fingerprint
        for n, variant in enumerate(variants)
    ]
    assert len(set(prints)) == len(variants)


def test_the_fingerprint_is_cached(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call reads no weights; a change of any file is seen."""
    folder = str(write(machine / "model", checkpoint()))
    first = Checkpoint(folder).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoints, "_compute_fingerprint", lambda folder: pytest.fail("the weights were read again")
        )
        assert Checkpoint(folder).fingerprint == first
    write(machine / "model", {"chat_template.jinja": b"{{ other }}"})
    changed = Checkpoint(folder).fingerprint
    assert changed != first
    write(machine / "model", checkpoint(seed=2))
    assert Checkpoint(folder).fingerprint not in (first, changed)


def test_a_file_of_a_moment_ago_is_not_cached(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tick of the file system's clock a file could change again unseen: nothing is cached yet."""
    monkeypatch.setattr(checkpoints, "_SETTLED_NS", 1 << 62)
    _ = Checkpoint(str(write(machine / "model", checkpoint()))).fingerprint
    assert not list((machine / "cache").rglob("*.json"))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"a": 3}'])
def test_a_broken_cache_is_ignored(machine: Path, content: bytes) -> None:
    """A cache that can't be read costs time, never an error."""
    folder = str(write(machine / "model", checkpoint()))
    (machine / "cache" / "imgsearch").mkdir()
    (machine / "cache" / "imgsearch" / "fingerprints.json").write_bytes(content)
    assert Checkpoint(folder).fingerprint == Checkpoint(folder).fingerprint


def test_a_cache_that_can_not_be_written_is_ignored(machine: Path) -> None:
    """Where the cache folder can't be made, the fingerprint comes all the same."""
    (machine / "cache" / "imgsearch").write_text("a file in its place")
    folder = str(write(machine / "model", checkpoint()))
    assert Checkpoint(folder).fingerprint == Checkpoint(folder).fingerprint


def test_no_fingerprint_of_half_a_checkpoint(machine: Path) -> None:
    """A missing file is an error that names it and the command that mends it."""
    folder = write(machine / "model", checkpoint())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: No such file .*'download\(\)'"):
        _ = Checkpoint(str(folder)).fingerprint
    assert os.listdir(machine / "cache") == []
