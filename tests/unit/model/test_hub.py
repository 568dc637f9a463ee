"""Downloads from a loopback hub: what is fetched, what survives a kill, and what each failure says."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from imgsearch.errors import CheckpointError, DownloadError
from imgsearch.model import hub as downloads
from imgsearch.model.checkpoint import SOURCE_FILE, Checkpoint
from imgsearch.model.hub import download_bytes, download_checkpoint
from imgsearch.model.prompt import check_reranks
from imgsearch.text import format_bytes
from support import TESTS
from support.hub_server import Hub, checkpoint, hub, sharded, use_hub

__all__ = ["hub"]

MIB = 1 << 20
NAME = "Qwen/Tiny"
CHILD = "import sys; from imgsearch.model.hub import download_checkpoint\n"
FETCH = CHILD + (
    "show = lambda name, done, total: print(done, flush=True)\n"
    "try: download_checkpoint(sys.argv[1], None, sys.argv[2], progress=show)\n"
    "except Exception as e: print(f'{type(e).__name__}: {e}', file=sys.stderr); sys.exit(2)\n"
)


def child_env(server: Hub, home: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    return {**kept, "HF_ENDPOINT": server.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **more}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SOURCE_FILE
    }


def test_download_brings_exactly_the_checkpoint(hub: Hub, tmp_path: Path) -> None:
    """The folder holds the hub's bytes, only the files that are needed, and no leftovers."""
    wanted = checkpoint()
    extra = {"README.md": b"# hello", "pytorch_model.bin": b"pickle", "onnx/model.safetensors": b"other"}
    hub.commit(NAME, {**wanted, **extra})
    folder = tmp_path / "deep" / "models"
    assert download_checkpoint(NAME, None, str(folder)) == str(folder)
    assert contents(folder) == wanted
    assert sorted(p.name for p in folder.iterdir()) == sorted([*wanted, SOURCE_FILE])
    assert Checkpoint(str(folder)).missing_files() == []


def test_a_reranker_is_downloaded_as_one(hub: Hub, tiny_reranker: str, tmp_path: Path) -> None:
    """A reranker comes with the settings of its module; whoever wants an embedding model gets none of its weights."""
    files = {
        str(path.relative_to(tiny_reranker)): path.read_bytes()
        for path in Path(tiny_reranker).rglob("*")
        if path.is_file()
    }
    hub.commit(NAME, files)
    with pytest.raises(CheckpointError, match="LogitScore is not supported"):
        download_checkpoint(NAME, None, str(tmp_path / "embedder"))
    assert not list((tmp_path / "embedder").glob("*.safetensors"))
    folder = tmp_path / "reranker"
    download_checkpoint(NAME, None, str(folder), check=check_reranks)
    assert contents(folder) == files
    assert Checkpoint(str(folder)).missing_files() == []


def test_download_records_its_source(hub: Hub, tmp_path: Path) -> None:
    """Repository, revision asked for, commit, sizes and checksums are written beside the files."""
    commit = next(iter(hub.repos[NAME]))
    download_checkpoint(NAME, "main", str(tmp_path))
    source = json.loads((tmp_path / SOURCE_FILE).read_text())
    assert (source["repo"], source["revision"], source["commit"]) == (NAME, "main", commit)
    listed = {file["path"]: (file["size"], file["checksum"]) for file in source["files"]}
    weights = checkpoint()["model.safetensors"]
    assert set(listed) == set(checkpoint())
    assert listed["model.safetensors"] == (len(weights), hashlib.sha256(weights).hexdigest())


def test_all_files_are_of_one_commit(hub: Hub, tmp_path: Path) -> None:
    """The revision is resolved once: every file is asked for by commit."""
    commit = hub.commit(NAME, checkpoint(seed=2))
    download_checkpoint(NAME, None, str(tmp_path))
    resolved = [request.path.split("/")[4] for request in hub.log if "/resolve/" in request.path]
    assert resolved
    assert set(resolved) == {commit}


def test_an_older_commit_can_be_named(hub: Hub, tmp_path: Path) -> None:
    """A commit as revision brings that commit's files, whatever main is now."""
    old = next(iter(hub.repos[NAME]))
    hub.commit(NAME, checkpoint(seed=2))
    download_checkpoint(NAME, old, str(tmp_path))
    assert contents(tmp_path) == checkpoint()


def test_progress_counts_all_bytes_once(hub: Hub, tmp_path: Path) -> None:
    """Progress rises to the size of the whole checkpoint and ends there."""
    seen: list[tuple[str, int, int]] = []
    download_checkpoint(NAME, None, str(tmp_path), progress=lambda *step: seen.append(step))
    total = sum(map(len, checkpoint().values()))
    assert seen[-1][1:] == (total, total)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert {name for name, _, _ in seen} == set(checkpoint())


def test_download_tells_what_it_does(hub: Hub, tmp_path: Path) -> None:
    """One line names the model, how much is fetched, and the folder."""
    told: list[str] = []
    download_checkpoint(NAME, None, str(tmp_path), notify=told.append)
    assert told == [f"downloading {NAME} (0.0 MB) to {tmp_path}"]


def test_a_download_is_approved_with_its_size_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    """The question names the model and the size; a no is an error that names the ways around, and fetches nothing."""
    hub.commit(NAME, checkpoint(3_000_000))
    asked: list[str] = []
    with pytest.raises(DownloadError, match=r"not downloaded \(3\.0 MB\).*download.*model=DIR.*model='demo'"):
        download_checkpoint(NAME, None, str(tmp_path / "no"), approve=lambda line: bool(asked.append(line)))
    assert asked == [f"The model {NAME} must be downloaded once (3.0 MB). Continue?"]
    assert hub.fetched() == set()
    download_checkpoint(NAME, None, str(tmp_path / "yes"), approve=lambda line: not asked.append(line))
    assert Checkpoint(str(tmp_path / "yes")).missing_files() == []
    download_checkpoint(
        NAME, None, str(tmp_path / "yes"), approve=lambda _: pytest.fail("nothing is missing")
    )


def test_the_size_of_the_default_model_is_known_without_a_connection(hub: Hub) -> None:
    """The default model's size needs no hub; another model's is asked for, and unknown where nobody answers."""
    assert format_bytes(download_bytes("Qwen/Qwen3-VL-Embedding-2B", None) or 0) == "4.3 GB"
    assert hub.log == []
    assert download_bytes(NAME, None) == sum(len(data) for data in checkpoint().values())
    assert download_bytes("acme/none", None) is None


def test_download_is_silent(tmp_path: Path) -> None:
    """Neither bars nor warnings of huggingface_hub reach the user."""
    with Hub(checkpoint()) as server:
        code = CHILD + "download_checkpoint(sys.argv[1], None, sys.argv[2])"
        command = [sys.executable, "-c", code, NAME, str(tmp_path / "model")]
        env = child_env(server, tmp_path / "home")
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_second_run_fetches_nothing(hub: Hub, tmp_path: Path) -> None:
    """Over a whole checkpoint only the listing is asked for."""
    download_checkpoint(NAME, None, str(tmp_path))
    hub.log.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert [request.path for request in hub.log] == [f"/api/models/{NAME}/revision/main"]


def test_a_damaged_file_is_replaced_and_only_that(hub: Hub, tmp_path: Path) -> None:
    """A file whose bytes differ from the hub's is fetched again, though its length is right."""
    download_checkpoint(NAME, None, str(tmp_path))
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes().replace(b"a", b"b"))
    hub.log.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()
    assert hub.fetched() == {"tokenizer.json"}


def test_a_file_damaged_after_a_broken_run_is_replaced(hub: Hub, tmp_path: Path) -> None:
    """What huggingface_hub remembers of a broken-off run does not pass a damaged file off as whole."""
    hub.faults.drop_after["model.safetensors"] = [1000, 0]
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    (tmp_path / "chat_template.jinja").write_bytes(b"x")
    hub.faults.drop_after.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()


def test_a_broken_update_leaves_no_mixture_that_counts(hub: Hub, tmp_path: Path) -> None:
    """A whole checkpoint with some files of a newer commit is incomplete until the update is done."""
    download_checkpoint(NAME, None, str(tmp_path))
    newer = {**checkpoint(), "chat_template.jinja": b"{{ newer }}", "tokenizer_config.json": b"{}"}
    hub.commit(NAME, newer)
    hub.faults.damaged.add("chat_template.jinja")
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    assert Checkpoint(str(tmp_path)).missing_files() == [
        "the rest of a download (.imgsearch-download.incomplete)"
    ]
    hub.faults.damaged.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == newer


def test_shards_are_all_fetched(hub: Hub, tmp_path: Path) -> None:
    """A checkpoint in several files arrives with its index and every shard."""
    hub.commit(NAME, sharded(checkpoint()))
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == sharded(checkpoint())


def test_the_same_weights_are_fetched_once(hub: Hub, tmp_path: Path) -> None:
    """Of a repository with the weights in one file and again in shards, the one file is taken."""
    hub.commit(NAME, {**sharded(checkpoint()), **checkpoint()})
    download_checkpoint(NAME, None, str(tmp_path))
    assert {name for name in hub.fetched() if name.endswith(".safetensors")} == {"model.safetensors"}


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """Killed at half of 26 MiB, the next run asks for the second half only; bytes fit and nothing is left over."""
    files = checkpoint(26 * MIB)
    size = len(files["model.safetensors"])
    assert size > 25 * MIB
    with Hub(files) as server:
        server.faults.stall_after["model.safetensors"] = size // 2
        folder = tmp_path / "model"
        command = [sys.executable, "-c", FETCH, NAME, str(folder)]
        env = child_env(server, tmp_path / "home")
        half = sum(len(data) for name, data in files.items() if name != "model.safetensors") + size // 2
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert any(int(line) >= half for line in child.stdout)  # it has all that the server will send
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        (part,) = folder.glob("model.safetensors.*.incomplete")
        have = part.stat().st_size
        assert size // 2 - 65536 < have <= size // 2
        assert Checkpoint(str(folder)).missing_files() != []

        server.faults.stall_after.clear()
        server.log.clear()
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
        assert server.ranges("model.safetensors") == [f"bytes={have}-"]
        assert server.fetched() == {"model.safetensors"}
    assert contents(folder) == files
    assert sorted(p.name for p in folder.iterdir()) == sorted([*files, SOURCE_FILE])


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    """Dropped in the middle, the same run goes on with a Range where it stopped."""
    hub.repos.clear()
    hub.commit(NAME, checkpoint(3 * MIB))
    hub.faults.drop_after["model.safetensors"] = [MIB, MIB, 3 * MIB]
    download_checkpoint(NAME, None, str(tmp_path))
    assert hub.ranges("model.safetensors") == [None, f"bytes={MIB}-", f"bytes={2 * MIB}-"]
    assert contents(tmp_path) == checkpoint(3 * MIB)


def test_a_connection_that_stays_broken_is_an_error_that_can_be_continued(hub: Hub, tmp_path: Path) -> None:
    """After some attempts that bring nothing the error says that another run goes on from there; and it does."""
    hub.faults.drop_after["model.safetensors"] = [1000, 0]
    with pytest.raises(DownloadError, match=r"was interrupted at .*; run the same command again to resume"):
        download_checkpoint(NAME, None, str(tmp_path))
    assert any("rest of a download" in item for item in Checkpoint(str(tmp_path)).missing_files())
    hub.faults.drop_after.clear()
    hub.log.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert hub.ranges("model.safetensors") == ["bytes=1000-"]
    assert contents(tmp_path) == checkpoint()


@pytest.mark.parametrize("fault", ["ignore_range", "wrong_piece"])
def test_a_server_that_can_not_continue_sends_the_whole_file(hub: Hub, tmp_path: Path, fault: str) -> None:
    """When the Range is ignored, or another piece comes, the file is taken from its start and is right."""
    hub.faults.drop_after["model.safetensors"] = [1000, 1 << 30]
    setattr(hub.faults, fault, True)
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()


def test_busy_answers_are_tried_again(hub: Hub, tmp_path: Path) -> None:
    """A 503 and a 429 for the weights are no reason to give up."""
    hub.faults.status["model.safetensors"] = [503, 429]
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()


def test_half_of_another_commit_is_not_continued(hub: Hub, tmp_path: Path) -> None:
    """When the file has changed on the hub since, it is fetched from its start and the old half removed."""
    hub.faults.drop_after["model.safetensors"] = [1000, 0]
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    (old,) = tmp_path.glob("model.safetensors.*.incomplete")
    hub.commit(NAME, checkpoint(seed=2))
    hub.faults.drop_after["model.safetensors"] = [2000, 0]
    hub.log.clear()
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    assert hub.ranges("model.safetensors")[0] is None
    assert not old.exists()
    hub.faults.drop_after.clear()
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint(seed=2)
    assert not list(tmp_path.glob("*.incomplete"))


def test_a_half_that_is_more_than_the_whole_is_dropped(hub: Hub, tmp_path: Path) -> None:
    """A partial file longer than the file itself is not continued."""
    (weights,) = [f for f in downloads._listing(NAME, "main")[1] if f.path == "model.safetensors"]
    Path(weights.part_in(str(tmp_path))).write_bytes(b"x" * (weights.size + 1))
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()


def test_wrong_bytes_are_never_kept(hub: Hub, tmp_path: Path) -> None:
    """Weights whose checksum is wrong are removed and named; the folder is not a checkpoint."""
    hub.faults.damaged.add("model.safetensors")
    with pytest.raises(DownloadError, match=r"model\.safetensors arrived damaged"):
        download_checkpoint(NAME, None, str(tmp_path))
    assert not list(tmp_path.glob("model.safetensors*"))
    assert "model.safetensors" in Checkpoint(str(tmp_path)).missing_files()


def test_a_wrong_small_file_is_an_error(hub: Hub, tmp_path: Path) -> None:
    """Small files, too, are compared with the hub's checksums."""
    hub.faults.damaged.add("chat_template.jinja")
    with pytest.raises(DownloadError, match=r"chat_template\.jinja of Qwen/Tiny arrived incomplete"):
        download_checkpoint(NAME, None, str(tmp_path))


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_a_file_that_is_listed_and_not_there_is_an_error(hub: Hub, tmp_path: Path, file: str) -> None:
    """A 404 for one file never passes for success, and leaves the folder incomplete."""
    hub.faults.missing.add(file)
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    assert Checkpoint(str(tmp_path)).missing_files() != []


def test_an_unknown_repository_is_an_error_also_over_a_filled_folder(hub: Hub, tmp_path: Path) -> None:
    """A 404 over a folder that has files is not taken for success, and the folder stays as it was."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DownloadError, match=r"has no model Qwen/Tyni \(404\); check the name"):
        download_checkpoint("Qwen/Tyni", None, str(tmp_path))
    assert os.listdir(tmp_path) == ["config.json"]


def test_an_unknown_repository_leaves_no_folder(hub: Hub, tmp_path: Path) -> None:
    """A typing error in the name makes nothing on disk."""
    with pytest.raises(DownloadError):
        download_checkpoint("Qwen/Tyni", None, str(tmp_path / "models" / "Tyni"))
    assert os.listdir(tmp_path) == []


def test_an_unknown_revision_is_named(hub: Hub, tmp_path: Path) -> None:
    """The error names the revision that the hub does not have."""
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        download_checkpoint(NAME, "v9", str(tmp_path))


def test_a_gated_model_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    """Without leave the error names the licence and HF_TOKEN."""
    hub.token, hub.gated = "secret", True
    with pytest.raises(DownloadError, match=r"accept its license at .*Qwen/Tiny, set HF_TOKEN"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_private_model_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    """A 401 for a repository that one may not see names HF_TOKEN."""
    hub.token = "secret"
    with pytest.raises(DownloadError, match=r"has no model Qwen/Tiny \(401\).*HF_TOKEN"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_token_opens_the_model_and_stays_with_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_TOKEN is sent to the hub with every request and never to the host that it redirects to."""
    hub.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    download_checkpoint(NAME, None, str(tmp_path))
    assert {r.authorization for r in hub.log if r.host == "hub"} == {"Bearer secret"}
    assert [r.authorization for r in hub.log if r.host == "cdn" and "model" in r.path] == [None]
    assert {r.authorization for r in hub.log if r.host == "cdn"} == {None}


def test_a_stored_login_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that 'hf auth login' stored works as HF_TOKEN does."""
    hub.token = "stored"
    (tmp_path / "token").write_text("stored")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    download_checkpoint(NAME, None, str(tmp_path / "model"))
    assert contents(tmp_path / "model") == checkpoint()


def test_relative_redirects_are_followed(hub: Hub, tmp_path: Path) -> None:
    """Weights that the hub serves itself, behind a relative redirect, arrive."""
    hub.relative = True
    download_checkpoint(NAME, None, str(tmp_path))
    assert contents(tmp_path) == checkpoint()
    assert {request.host for request in hub.log} == {"hub"}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_over_half_a_checkpoint_is_an_error(tmp_path: Path, variable: str) -> None:
    """With offline mode set, an incomplete folder is an error that names both ways out, and nothing is asked."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(checkpoint()["config.json"])
    with Hub(checkpoint()) as server:
        command = [sys.executable, "-c", FETCH, NAME, str(tmp_path / "model")]
        env = child_env(server, tmp_path / "home", **{variable: "1"})
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert server.log == []
    assert done.returncode == 2
    assert done.stderr.startswith("DownloadError: Qwen/Tiny must be downloaded, but HF_HUB_OFFLINE is set")
    assert "unset it and try again" in done.stderr
    assert "model=DIR" in done.stderr


def test_no_network_is_an_error_over_half_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the hub can't be reached, a folder that has some files is not taken for the checkpoint."""
    with Hub() as server:
        nobody = server.url
    use_hub(nobody, monkeypatch)
    (tmp_path / "config.json").write_bytes(checkpoint()["config.json"])
    with pytest.raises(
        DownloadError,
        match=rf"can't reach {nobody} to download the model: .*connection and try again, .*model=DIR\. .*model='demo'",
    ):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_captive_portal_is_not_a_hub(hub: Hub, tmp_path: Path) -> None:
    """A page of HTML instead of the listing is an error that points at the endpoint."""
    hub.faults.html = True
    with pytest.raises(DownloadError, match="can't reach http"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_server_error_is_passed_on(hub: Hub, tmp_path: Path) -> None:
    """Weights that are refused with a lasting status end with that status."""
    hub.faults.status["model.safetensors"] = [451]
    with pytest.raises(DownloadError, match="answered with status 451"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_too_little_room_is_said_before_weights_are_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error gives what is needed and what is free; no file is fetched."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    with pytest.raises(DownloadError, match=r"needs 64\.0 MB in .*, but only 5\.0 MB are free"):
        download_checkpoint(NAME, None, str(tmp_path))
    assert hub.fetched() == set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said(hub: Hub, tmp_path: Path) -> None:
    """A write that fails for want of room is a DownloadError that names the folder."""
    (weights,) = [f for f in downloads._listing(NAME, "main")[1] if f.path == "model.safetensors"]
    os.symlink("/dev/full", weights.part_in(str(tmp_path)))
    with pytest.raises(DownloadError, match=f"the disk that holds {tmp_path} is full"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_folder_that_can_not_be_written_is_said(hub: Hub, tmp_path: Path) -> None:
    """A target that can't be made is named, with the reason and the way round it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"can't write to .*file/model: Not a directory; .*model=DIR"):
        download_checkpoint(NAME, None, str(tmp_path / "file" / "model"))


def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    """A folder without write permission is named, and stays as it is."""
    folder = tmp_path / "model"
    folder.mkdir(mode=0o500)
    with Hub(checkpoint()) as server:
        command = [
            sys.executable,
            "-c",
            "from support import privileges; privileges.drop()\n" + FETCH,
            NAME,
            str(folder),
        ]
        env = child_env(server, tmp_path / "home", PYTHONPATH=str(TESTS))
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"DownloadError: can't write to {folder}: Permission denied")
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "path", ["../config.json", "/etc/x.safetensors", "a/../../b.json", "..\\model.safetensors"]
)
def test_paths_can_not_leave_the_folder(hub: Hub, tmp_path: Path, path: str) -> None:
    """A listing that names a path outside the folder is refused as a whole."""
    hub.faults.list_extra = [path]
    with pytest.raises(DownloadError, match="outside its folder; nothing was downloaded"):
        download_checkpoint(NAME, None, str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []


def test_another_family_is_refused_before_its_weights(hub: Hub, tmp_path: Path) -> None:
    """A model that embeds text only is refused when its small files are there; its weights are not asked for."""
    files = {**checkpoint(), "config.json": b'{"model_type": "bert"}'}
    del files["preprocessor_config.json"]
    hub.commit(NAME, files)
    with pytest.raises(CheckpointError, match="embeds text only"):
        download_checkpoint(NAME, None, str(tmp_path))
    assert "model.safetensors" not in hub.fetched()


def test_a_repository_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    """Whether it has pickled weights or none at all: nothing is fetched."""
    files = checkpoint()
    hub.commit(NAME, {"config.json": files["config.json"]})
    with pytest.raises(DownloadError, match=r"config\.json or the safetensors files are missing"):
        download_checkpoint(NAME, None, str(tmp_path))
    hub.commit(NAME, {"config.json": files["config.json"], "pytorch_model.bin": b"pickle"})
    with pytest.raises(DownloadError, match=r"only as pickles \(pytorch_model\.bin\)"):
        download_checkpoint(NAME, None, str(tmp_path))


def test_a_shard_that_the_hub_lacks_is_an_error(hub: Hub, tmp_path: Path) -> None:
    """When the index names a shard that is not in the listing, the download does not count as done."""
    files = sharded(checkpoint())
    del files["model-00002-of-00002.safetensors"]
    hub.commit(NAME, files)
    with pytest.raises(DownloadError, match=r"model-00002-of-00002\.safetensors missing"):
        download_checkpoint(NAME, None, str(tmp_path))
    assert not (tmp_path / SOURCE_FILE).exists()


def test_a_second_process_waits_for_the_first(hub: Hub, tmp_path: Path) -> None:
    """While another holds the folder's lock, a download says so, waits, and then does its work."""
    path = tmp_path / ".imgsearch-download.lock"
    told: list[str] = []
    locked: list[bool] = []
    with open(path, "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        def talk(line: str) -> None:
            told.append(line)
            if "another process" in line:
                path.unlink()  # as the first process does when it is done
                fcntl.flock(first, fcntl.LOCK_UN)
            else:
                locked.append(is_locked(path))

        download_checkpoint(NAME, None, str(tmp_path), notify=talk)
    assert locked == [True]
    assert told[0] == f"another process is downloading to {tmp_path}; waiting for it"
    assert contents(tmp_path) == checkpoint()


def is_locked(path: Path) -> bool:
    """Tell whether someone holds the lock that a third process would find at this path."""
    with open(path, "w") as third:
        try:
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_two_processes_at_once_both_end_well(tmp_path: Path) -> None:
    """Two processes that start together both succeed, and the weights cross the wire once."""
    files = checkpoint(4 * MIB)
    with Hub(files) as server:
        command = [sys.executable, "-c", FETCH, NAME, str(tmp_path / "model")]
        env = child_env(server, tmp_path / "home")
        both = [subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [child.wait() for child in both] == [0, 0]
        assert len(server.ranges("model.safetensors")) == 1
    assert contents(tmp_path / "model") == files


def test_an_error_leaves_no_lock_behind(hub: Hub, tmp_path: Path) -> None:
    """After a failed download another one can start at once."""
    hub.faults.damaged.add("model.safetensors")
    with pytest.raises(DownloadError):
        download_checkpoint(NAME, None, str(tmp_path))
    assert not (tmp_path / ".imgsearch-download.lock").exists()
