"""The command line: what each command prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.cli import imgsearch
from support.pictures import scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder of six pictures and a smaller copy of the first, indexed by nobody yet."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for seed in range(4):
        scene(seed).save(folder / f"{seed}.png")
    for seed in (4, 5):
        scene(seed).save(folder / "trip" / f"{seed}.JPG", quality=90)
    return folder


@pytest.fixture
def indexed(photos: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the folder of pictures with an index of it, which IMGSEARCH_INDEX names."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    done = imgsearch("index", photos, "--model", tiny_checkpoint)
    assert done.code == 0, done.err
    return photos


def test_index_says_what_it_did_and_what_to_try(
    photos: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first line counts the images, with --verbose one names device and dtype; the last tells what to try."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    done = imgsearch("index", photos, "--model", tiny_checkpoint)
    first, *_, summary, advice = done.err.splitlines()
    assert (done.code, done.out) == (0, b"")
    assert first == "6 images, all new"
    assert summary.startswith("6 indexed; ")
    assert advice == 'Try: imgsearch query "red car at night"'
    assert " on cpu in float32" not in done.err
    scene(7).save(photos / "7.png")
    assert " on cpu in float32: " in imgsearch("index", "--verbose").err
    assert "Try: " in imgsearch("index").err
    assert "Try: " not in imgsearch("index").err


def test_index_json_counts_every_picture_once(indexed: Path) -> None:
    """`index --json` prints one object in which every picture found is counted in one figure."""
    shutil.copy(indexed / "0.png", indexed / "again.png")
    (indexed / "1.png").unlink()
    (indexed / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (object_,) = imgsearch("index", "--json").objects
    assert object_.pop("seconds") >= 0
    assert object_.pop("to_do") == object_.pop("to_prune") == 0
    assert object_.pop("not_read") == {}
    assert object_.pop("left_alone") == []
    assert object_ == {"indexed": 0, "reused": 1, "unchanged": 5, "skipped": 1, "pruned": 1}


def test_a_second_run_loads_neither_torch_nor_the_model(indexed: Path) -> None:
    """A run over an unchanged tree loads no model library and embeds nothing, also when the model is gone."""
    code = (
        "import sys\nfrom imgsearch.__main__ import main\nsys.argv = ['imgsearch', 'index', '--json']\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert json.loads(done.stdout)["unchanged"] == 6


def test_dry_run_writes_nothing(photos: Path, tiny_checkpoint: str, tmp_path: Path) -> None:
    """`--dry-run` tells how many images there are, and leaves no index behind."""
    index = tmp_path / "index"
    done = imgsearch("index", photos, "--model", tiny_checkpoint, "--dry-run", "--index", index)
    assert done.code == 0
    assert done.err == "6 images, all new\n"
    assert not index.exists()
    assert done.out == b""
    json_ = imgsearch("index", photos, "--model", tiny_checkpoint, "--dry-run", "--json", "--index", index)
    assert (json_.objects[0]["to_do"], json_.objects[0]["indexed"]) == (6, 0)


def test_similar_puts_the_photo_first_and_its_copy_next(indexed: Path) -> None:
    """`similar` on an indexed photo gives itself with a cosine of 1, then a re-encoded copy of it."""
    scene(0).save(indexed / "zero.webp", quality=85)
    assert imgsearch("index").code == 0
    first, second, *_ = imgsearch("similar", indexed / "0.png", "--json").objects
    assert (first["path"], round(first["score"], 4)) == (str(indexed / "0.png"), 1.0)
    assert second["path"] == str(indexed / "zero.webp")
    assert second["score"] > 0.99


def test_similar_on_an_indexed_photo_needs_no_model(indexed: Path, tmp_path: Path) -> None:
    """An indexed photo, or a copy of it anywhere, answers from its stored vector without loading torch."""
    moved = tmp_path / "elsewhere.png"
    shutil.copy(indexed / "2.png", moved)
    code = (
        "import sys\nfrom imgsearch.__main__ import main\nsys.argv = ['imgsearch', 'similar', sys.argv[1], '--paths']\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    for photo in (indexed / "2.png", moved):
        done = subprocess.run(
            [sys.executable, "-c", code, str(photo)], capture_output=True, text=True, check=True
        )
        assert done.stderr.splitlines()[-1] == "False"
        assert done.stdout.splitlines()[0] == str(indexed / "2.png")


def test_similar_on_a_changed_photo_takes_it_as_it_is_now(indexed: Path) -> None:
    """A photo that changed since it was indexed is embedded anew, not answered from its old vector."""
    scene(3).save(indexed / "0.png")
    os.utime(indexed / "0.png", ns=(1, 1))
    (first, *_) = imgsearch("similar", indexed / "0.png", "--json").objects
    assert first["path"] == str(indexed / "3.png")


def test_similar_on_a_picture_outside_the_index_embeds_it(indexed: Path, tmp_path: Path) -> None:
    """A picture that the index does not know is embedded with the index's own model and pixel budget."""
    scene(1, (500, 375)).save(tmp_path / "big.png")
    done = imgsearch("similar", tmp_path / "big.png", "-n", 1, "--json", "--verbose")
    assert done.objects[0]["path"] == str(indexed / "1.png")
    assert " on cpu in float32" in done.err


def test_query_answers_in_every_form(indexed: Path) -> None:
    """`query` prints scores and paths, JSON Lines, bare paths, or NUL-ended paths; the same hits in all."""
    text = imgsearch("query", "a red car at night", "-n", 3)
    hits = imgsearch("query", "a red car at night", "-n", 3, "--json").objects
    assert text.code == 0
    assert [line.split("  ", 1)[1] for line in text.lines] == [hit["path"] for hit in hits]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert set(hits[0]) == {"rank", "score", "path", "page", "copies", "missing", "width", "height"}
    assert (hits[0]["width"], hits[0]["height"]) == (320, 240)
    paths = [hit["path"] for hit in hits]
    assert imgsearch("query", "a red car at night", "-n", 3, "--paths").lines == paths
    assert (
        imgsearch("query", "a red car at night", "-n", 3, "-0").out
        == "".join(path + "\0" for path in paths).encode()
    )


def test_query_takes_a_picture_beside_the_text(indexed: Path) -> None:
    """`--image` joins a picture to the question, or is the question when the text is empty."""
    alone = imgsearch("query", "", "--image", indexed / "4.png", "--json")
    assert alone.code == 2
    alone = imgsearch("query", "", "--image", indexed / "3.png", "--json").objects
    assert alone[0]["path"] == str(indexed / "3.png")
    both = imgsearch("query", "at night", "--image", indexed / "3.png", "--json").objects
    assert both[0]["score"] != alone[0]["score"]


def test_query_reads_questions_from_stdin(indexed: Path) -> None:
    """`query -` answers one question a line and says in JSON which question a hit belongs to."""
    done = imgsearch("query", "-", "-n", 2, "--json", stdin="a dog\n\na cat\n")
    assert [hit["query"] for hit in done.objects] == ["a dog", "a dog", "a cat", "a cat"]
    done = imgsearch("query", "-", "-n", 1, stdin="a dog\na cat\n")
    assert [line for line in done.lines if line.startswith("#")] == ["# a dog", "# a cat"]


def test_queries_of_a_windows_text_file_are_the_same(indexed: Path) -> None:
    """A byte order mark and CRLF on stdin change nothing, neither does a mark before the words of an argument."""
    plain = imgsearch("query", "-", "--json", stdin="a dog\na cat\n").objects
    assert imgsearch("query", "-", "--json", stdin=b"\xef\xbb\xbfa dog\r\na cat\r\n").objects == plain
    marked = imgsearch("query", "\ufeffa dog", "--json").objects
    assert [hit["score"] for hit in marked] == [hit["score"] for hit in plain if hit["query"] == "a dog"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a dog\na cat\n".encode("utf-16"), "stdin, line 1: it is UTF-16; save it as UTF-8"),
        ("a dog\na cat\n".encode("utf-16-le"), "stdin, line 1: it contains a NUL byte; save it as UTF-8"),
        ("\u200b\n\ufeff\n".encode(), "no query on stdin"),
    ],
)
def test_what_is_no_text_on_stdin_is_one_line(indexed: Path, data: bytes, said: str) -> None:
    """UTF-16, NUL bytes, and characters that show nothing are no queries, and that is said once."""
    done = imgsearch("query", "-", "--json", stdin=data)
    assert (done.code, done.objects) == (2, [])
    assert said in done.err


def test_thresholds_leave_out_the_rest(indexed: Path) -> None:
    """`--min-score` and `--within` keep only hits above them; when none is left the exit code is 1."""
    scores = [hit["score"] for hit in imgsearch("similar", indexed / "0.png", "--json").objects]
    kept = imgsearch("similar", indexed / "0.png", "--min-score", scores[2], "--json").objects
    assert [hit["score"] for hit in kept] == [score for score in scores if score >= scores[2]]
    near = imgsearch("similar", indexed / "0.png", "--within", 0, "--json").objects
    assert [hit["path"] for hit in near] == [str(indexed / "0.png")]
    none = imgsearch("similar", indexed / "0.png", "--min-score", 1.5)
    best = f"nothing found: the best score is 1.0000 ({indexed / '0.png'}), below --min-score 1.5\n"
    assert (none.code, none.out, none.err) == (1, b"", best)


def test_dim_searches_a_prefix_of_the_vectors(indexed: Path) -> None:
    """`--dim` compares Matryoshka prefixes, normalised again; more than the index has is refused."""
    full = imgsearch("similar", indexed / "0.png", "--json").objects
    cut = imgsearch("similar", indexed / "0.png", "--dim", 16, "--json").objects
    assert round(cut[0]["score"], 4) == 1.0
    assert [hit["score"] for hit in cut] != [hit["score"] for hit in full]
    refused = imgsearch("similar", indexed / "0.png", "--dim", 4096)
    assert refused.code == 2
    assert "128 dimensions" in refused.err


def test_copies_and_missing_files_are_said(indexed: Path) -> None:
    """One hit a content: other files with the same bytes are copies; a file gone since is marked missing."""
    shutil.copy(indexed / "0.png", indexed / "twin.png")
    assert imgsearch("index").code == 0
    (hit,) = imgsearch("similar", indexed / "0.png", "-n", 1, "--json").objects
    assert (hit["path"], hit["copies"]) == (str(indexed / "0.png"), [str(indexed / "twin.png")])
    (indexed / "0.png").unlink()
    (hit,) = imgsearch("similar", indexed / "twin.png", "-n", 1, "--json").objects
    assert (hit["path"], hit["missing"]) == (str(indexed / "twin.png"), False)
    (indexed / "1.png").unlink()
    assert [h["path"] for h in imgsearch("query", "x", "--json").objects if h["missing"]] == [
        str(indexed / "1.png")
    ]


def test_status_tells_the_index_at_a_glance(indexed: Path, tiny_checkpoint: str, tmp_path: Path) -> None:
    """`status` says what is indexed, with what, where, and the last device and dtype with the reason."""
    (indexed / "a-note.jpg").write_text("not a picture")
    assert imgsearch("index").code == 0
    (state,) = imgsearch("status", "--json").objects
    assert state["files"] == state["contents"] == 6
    assert state["errors"] == {"not an image": 1}
    assert (state["model"], state["dim"]) == (tiny_checkpoint, 128)
    assert state["pixels"] == {"image": [4096, 57600], "page": [4096, 360000]}
    assert (state["device"], state["dtype"]) == ("cpu", "float32")
    assert "float32 is the CPU's dtype" in state["reason"]
    assert state["roots"] == [str(indexed)]
    assert state["bytes"] > 0
    text = imgsearch("status").out.decode()
    for part in (str(indexed), tiny_checkpoint, "6 distinct, in 6 files", "1 not an image", "57,600"):
        assert part in text
    assert imgsearch("status", "--errors").lines[0].startswith(f"not an image: {indexed / 'a-note.jpg'}")
    (skipped,) = imgsearch("status", "--errors", "--json").objects
    assert (skipped["path"], skipped["reason"]) == (str(indexed / "a-note.jpg"), "not an image")


def test_status_loads_no_model_library(indexed: Path) -> None:
    """`status` tells the last device and dtype from what was recorded, without loading torch."""
    code = (
        "import sys\nfrom imgsearch.__main__ import main\nsys.argv = ['imgsearch', 'status', '--json']\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"
    assert (json.loads(done.stdout)["device"], json.loads(done.stdout)["dtype"]) == ("cpu", "float32")


def test_remove_forgets_and_touches_no_file(indexed: Path) -> None:
    """`remove` takes files, folders or whole roots out of the index; the files stay; nothing matched is exit 1."""
    assert imgsearch("remove", indexed / "0.png", indexed / "trip").code == 0
    assert (indexed / "0.png").exists()
    assert len(imgsearch("query", "x", "--json").objects) == 3
    assert imgsearch("remove", indexed / "nothing.png").code == 1
    assert imgsearch("remove", indexed).code == 0
    assert imgsearch("status", "--json").objects[0]["roots"] == []
    assert imgsearch("query", "x").code == 1


def test_embed_gives_the_vectors_themselves(photos: Path, tiny_checkpoint: str, tmp_path: Path) -> None:
    """`embed` writes one unit row an input, as JSON Lines or as a .npy file, of pictures or of texts."""
    out = tmp_path / "vectors.npy"
    done = imgsearch("embed", photos / "0.png", photos / "1.png", "--model", tiny_checkpoint, "--npy", out)
    assert done.code == 0
    rows = np.load(out)
    assert (rows.shape, rows.dtype) == ((2, 128), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    lines = imgsearch("embed", photos / "0.png", "--model", tiny_checkpoint, "--dim", 32).objects
    cut = rows[0, :32] / np.linalg.norm(rows[0, :32])
    np.testing.assert_allclose(lines[0]["embedding"], cut, atol=1e-5)
    texts = imgsearch("embed", "--text", "a dog", "a cat", "--model", tiny_checkpoint).objects
    assert [row["input"] for row in texts] == ["a dog", "a cat"]


def test_another_spec_is_refused_with_the_command_that_fixes_it(indexed: Path) -> None:
    """Flags that the index was not made with are refused, with the command to go on and the one to begin anew."""
    done = imgsearch("index", indexed, "--detail", "high")
    assert done.code == 2
    assert "at most 57,600 pixels per image, not 589,824" in done.err
    fix = done.err.split("To rebuild it: imgsearch ")[1].split()
    assert fix[-1] == "--rebuild"
    assert imgsearch(*fix).code == 0
    assert imgsearch("status", "--json").objects[0]["pixels"] == {"image": [4096, 589824]}


def test_a_query_takes_the_spec_from_the_index(indexed: Path, tmp_path: Path, tiny_checkpoint: str) -> None:
    """A query finds the index's own model by itself; another model is refused, a moved one can be named."""
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(tiny_checkpoint, moved)
    from random_checkpoint import write_random_checkpoint

    write_random_checkpoint(str(other), seed=1)
    assert imgsearch("query", "x", "--model", moved).code == 0
    refused = imgsearch("query", "x", "--model", other)
    assert refused.code == 2
    assert "is another one" in refused.err


def test_an_unknown_option_is_a_usage_error() -> None:
    """A wrong option ends with exit code 2 and says which it was."""
    done = imgsearch("query", "x", "--nonsense")
    assert done.code == 2
    assert "--nonsense" in done.err


def test_the_commands_that_are_suggested_find_the_same_index(
    photos: Path, tiny_checkpoint: str, tmp_path: Path
) -> None:
    """What index, status and an error suggest carries --index where the index would not be found without it."""
    index = tmp_path / "else" / "where"
    assert f"FOLDER --index {index}" in imgsearch("query", "x", "--index", index).err
    (photos / "note.jpg").write_text("no picture")
    done = imgsearch("index", photos, "--model", tiny_checkpoint, "--index", index)
    assert f"imgsearch status --errors --index {index}" in done.err
    suggested = done.err.splitlines()[-1].split("Try: imgsearch ")[1]
    assert imgsearch(*shlex.split(suggested)).code == 0
    assert f"status --errors --index {index}" in imgsearch("status", "--index", index).out.decode()


def test_a_moved_model_is_named_once(indexed: Path, tiny_checkpoint: str, tmp_path: Path) -> None:
    """After a run that was told where the same checkpoint lies now, a query finds it there by itself."""
    new = tmp_path / "new place"
    shutil.copytree(tiny_checkpoint, new)
    assert imgsearch("index", "--model", new).code == 0
    assert imgsearch("status", "--json").objects[0]["model"] == str(new)
    assert str(new) in imgsearch("query", "x", "--verbose").err


def test_another_model_is_refused_without_fetching_it(
    indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub name that is not the index's own, and not on this machine, is refused without a look at the network."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    done = imgsearch("index", "--model", "acme/other")
    assert done.code == 2
    assert "not acme/other" in done.err


def test_pixels_beyond_the_token_limit_are_refused_before_anything_is_written(
    photos: Path, tiny_checkpoint: str, tmp_path: Path
) -> None:
    """A pixel budget that does not fit 8,192 tokens is refused with the largest that does, and no index appears."""
    index = tmp_path / "index"
    flags = ("--model", tiny_checkpoint, "--index", index)
    done = imgsearch("index", photos, "--max-pixels", 12_000_000, *flags)
    assert done.code == 2
    assert not index.exists()
    most = done.err.split("--max-pixels ")[1].split()[0]
    assert imgsearch("index", photos, "--max-pixels", most, *flags).code == 0


@pytest.mark.parametrize("limit", ["inf", "nan", "0", "-5"])
def test_a_limit_of_megapixels_that_is_none_is_refused(indexed: Path, limit: str) -> None:
    """--max-megapixels takes a positive number; anything else is refused before a file is read."""
    scene(9).save(indexed / "new.png")
    done = imgsearch("index", "--max-megapixels", limit)
    assert done.code == 2
    assert "--max-megapixels" in done.err
    assert imgsearch("index", "--json").objects[0]["indexed"] == 1


def test_a_rebuild_keeps_what_its_command_does_not_name(indexed: Path, tmp_path: Path) -> None:
    """A rebuild for one folder keeps the other roots and their excludes, also when the vectors are damaged."""
    other = tmp_path / "other"
    other.mkdir()
    scene(20).save(other / "20.png")
    scene(21).save(other / "21.gif")
    assert imgsearch("index", other, "--exclude", "*.gif").code == 0
    os.truncate(tmp_path / "index" / "vectors" / "00000001.f16", 100)
    done = imgsearch("index", indexed, "--rebuild")
    assert done.code == 0, done.err
    paths = [hit["path"] for hit in imgsearch("query", "x", "-n", 50, "--json").objects]
    assert str(other / "20.png") in paths
    assert str(other / "21.gif") not in paths
    assert len(paths) == 7


def test_copies_are_files_that_exist(indexed: Path) -> None:
    """A file with the same bytes that is gone is no copy; a hit none of whose files exist is missing."""
    shutil.copy(indexed / "0.png", indexed / "twin.png")
    assert imgsearch("index").code == 0
    (indexed / "twin.png").unlink()
    (hit,) = imgsearch("similar", indexed / "0.png", "-n", 1, "--json").objects
    assert (hit["path"], hit["copies"], hit["missing"]) == (str(indexed / "0.png"), [], False)


def test_a_line_that_is_too_long_does_not_cost_the_others_their_answers(indexed: Path) -> None:
    """A line on stdin that no prompt can hold is refused by its number; the rest is answered."""
    lines = [b"a cat", b"x" * 5_000_000, b"\xff" * 2_000_000, b" " * 3_000_000 + b"x", b"a boat"]
    done = imgsearch("query", "-", "-n", 1, "--json", stdin=b"\n".join(lines))
    assert (done.code, [hit["query"] for hit in done.objects]) == (2, ["a cat", "a boat"])
    assert done.err.count("longer than 1,048,576 bytes") == 2
    assert "line 2: the text is" in done.err
    assert "line 3: the text is" in done.err
    film = bytes(range(128, 256)) * 20_000 + b"\0" * 100
    refused = imgsearch("query", "-", stdin=b"a cat\n" + film)
    assert refused.code == 2
    assert "line 2: " in refused.err


def test_words_that_are_too_long_are_refused(indexed: Path) -> None:
    """Words that no prompt can hold are refused in one line before a model is loaded."""
    done = imgsearch("query", "cat " * 300_000)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "longer than 1,048,576 bytes" in done.err


def test_a_bad_question_on_stdin_does_not_cost_the_others_their_answers(indexed: Path) -> None:
    """A line that can't be answered is named by its number; the rest is answered, and the exit code is 2."""
    done = imgsearch("query", "-", "-n", 1, "--json", stdin="a cat\na <|image_pad|> x\na boat\n")
    assert [hit["query"] for hit in done.objects] == ["a cat", "a boat"]
    assert "line 2: " in done.err
    assert done.code == 2


def test_files_that_were_touched_or_moved_need_no_model(indexed: Path, tmp_path: Path) -> None:
    """When every changed file holds known bytes, no model is loaded, so it may be gone."""
    (indexed / "0.png").rename(indexed / "moved.png")
    os.utime(indexed / "1.png", ns=(5, 5))
    code = (
        "import sys\nfrom imgsearch.__main__ import main\nsys.argv = ['imgsearch', 'index', '--json']\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"
    assert json.loads(done.stdout)["reused"] == 2


def test_the_entry_loads_nothing_before_it_is_ready_for_ctrl_c() -> None:
    """The console script's module imports only the start-up, so that Ctrl-C soon has someone to take it."""
    code = (
        "import sys, imgsearch.__main__; print(sorted(name for name in sys.modules if 'imgsearch' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['imgsearch', 'imgsearch.__main__', 'imgsearch.startup']"


def test_in_finds_only_what_lies_there(indexed: Path, tmp_path: Path) -> None:
    """A folder, however it is written, a file, several of them, and what holds a whole root: each cuts the hits."""
    (tmp_path / "link").symlink_to(indexed)
    trip = {str(indexed / "trip" / "4.JPG"), str(indexed / "trip" / "5.JPG")}
    everything = {str(path) for path in indexed.rglob("*.*")}
    for below, expected in (
        ([indexed / "trip"], trip),
        ([f"{indexed}/trip/"], trip),
        ([tmp_path / "link" / "trip"], trip),
        ([indexed / "0.png"], {str(indexed / "0.png")}),
        ([indexed / "0.png", indexed / "trip"], trip | {str(indexed / "0.png")}),
        ([tmp_path], everything),
        (["/"], everything),
    ):
        flags = [part for path in below for part in ("--in", path)]
        for more in ((), ("--exact",), ("--dim", 8)):
            assert set(imgsearch("query", "a dog", "--paths", *flags, *more).lines) == expected
            assert set(imgsearch("similar", indexed / "1.png", "--paths", *flags, *more).lines) == expected


@pytest.mark.parametrize("command", ["query", "similar"])
def test_in_outside_of_the_indexed_folders_is_said(indexed: Path, tmp_path: Path, command: str) -> None:
    """A place where the index knows no folder is an error that names them; so is a missing or an empty path."""
    (tmp_path / "photos of others").mkdir()
    what = "x" if command == "query" else indexed / "0.png"
    done = imgsearch(command, what, "--in", tmp_path / "photos of others")
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith(f"is not in an indexed folder; these are: {indexed}")
    assert not done.out
    done = imgsearch(command, what, "--in", "")
    assert (done.code, done.err) == (2, "imgsearch: --in: the path is empty\n")
    done = imgsearch(command, what, "--in", indexed / "typo")
    assert (done.code, done.err) == (2, f"imgsearch: --in: {indexed / 'typo'} does not exist\n")


def test_any_number_of_hits_may_be_asked_for(indexed: Path) -> None:
    """-n far beyond what any index holds gives all that there is."""
    done = imgsearch("similar", indexed / "0.png", "--paths", "-n", 10**12)
    assert len(done.lines) == 6


def test_an_indexed_photo_that_is_away_answers_from_its_vector(indexed: Path) -> None:
    """A photo whose drive is not mounted now still says what is like it; one that nobody knows is an error."""
    before = imgsearch("similar", indexed / "0.png", "--json").objects
    indexed.rename(indexed.parent / "away")
    after = imgsearch("similar", indexed / "0.png", "--json").objects
    assert [(hit["path"], hit["score"]) for hit in after] == [(hit["path"], hit["score"]) for hit in before]
    assert all(hit["missing"] for hit in after)
    done = imgsearch("similar", indexed / "unknown.png")
    assert done.code == 2
    assert "No such file" in done.err


def test_one_picture_is_one_picture(
    photos: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing counts "1 pictures", "1 files" or "1 vectors"."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    done = imgsearch("index", photos / "0.png", "--model", tiny_checkpoint)
    assert done.err.startswith("1 image: 1 new or changed")
    lines = imgsearch("status").lines
    assert "images     1 distinct, in 1 file" in lines
    assert "search     exact, 1 embedding" in lines
    assert imgsearch("verify").err == "OK: 1 embedding read, all checksums match\n"
    npy = tmp_path / "one.npy"
    embedded = imgsearch("embed", "--text", "a", "--npy", npy, "--model", tiny_checkpoint)
    assert f"1 embedding of 128 dimensions in {npy}" in embedded.err
