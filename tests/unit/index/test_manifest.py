"""What the manifest keeps, and that nothing altered, newer or missing passes for it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch import fs
from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError
from imgsearch.index import manifest
from imgsearch.types import IndexSpec, PixelBudget
from support.fakes import spec

ANY_SPEC = st.builds(
    IndexSpec,
    model=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    fingerprint=st.binary(min_size=32, max_size=32).map(bytes.hex),
    dim=st.integers(1, 1 << 20),
    query_prompt=st.text(),
    document_prompt=st.text(),
    pixels=st.builds(PixelBudget, st.integers(1, 1 << 24), st.integers(1, 1 << 24)),
)
IN_ONE_FOLDER = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@IN_ONE_FOLDER
@given(ANY_SPEC)
def test_a_spec_comes_back_as_it_was_written(tmp_path: Path, wanted: IndexSpec) -> None:
    """Whatever an index was made with, a later reader learns exactly that."""
    manifest.write(str(tmp_path), wanted)
    assert manifest.read(str(tmp_path)) == wanted


@IN_ONE_FOLDER
@given(ANY_SPEC)
def test_a_spec_has_one_form_as_json(tmp_path: Path, wanted: IndexSpec) -> None:
    """A manifest holds the fields of ``spec_to_json``, which ``spec_from_json`` reads back from any JSON."""
    manifest.write(str(tmp_path), wanted)
    stored = json.loads((tmp_path / manifest.NAME).read_text())
    fields = manifest.spec_to_json(wanted)
    assert {name: stored[name] for name in fields} == fields
    assert stored.keys() - fields.keys() == {"format", "data", "checksum"}
    assert manifest.spec_from_json(json.loads(json.dumps(fields))) == wanted


@pytest.mark.parametrize("fingerprint", ["", "ff", "no hex", "e" * 62])
def test_a_spec_without_a_whole_fingerprint_is_none(fingerprint: str) -> None:
    """A fingerprint that is no sha256 is refused before anything is compared with it."""
    with pytest.raises(ValueError, match=r"hex|sha256"):
        manifest.spec_from_json({**manifest.spec_to_json(spec()), "fingerprint": fingerprint})


@pytest.mark.parametrize("flip", [0x01, 0x10, 0x20, 0x80])
def test_no_altered_byte_changes_the_spec(tmp_path: Path, flip: int) -> None:
    """A manifest with any byte altered is refused, or still says the very same."""
    wanted = spec()
    manifest.write(str(tmp_path), wanted)
    path = tmp_path / manifest.NAME
    sound = path.read_bytes()
    refused = 0
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ flip]) + sound[place + 1 :])
        try:
            assert manifest.read(str(tmp_path)) == wanted, place
        except (IndexDamaged, IndexMismatch):
            refused += 1
    assert refused > len(sound) // 2


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"format": 1}', b'{"format": {}}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    """A manifest that is empty, cut off or something else is named as damaged, with the way to mend it."""
    (tmp_path / manifest.NAME).write_bytes(data)
    with pytest.raises(IndexDamaged, match=r"manifest\.json.*repair_index\(folder="):
        manifest.read(str(tmp_path))


def test_every_cut_manifest_is_refused(tmp_path: Path) -> None:
    """A manifest cut off anywhere before its closing brace is refused."""
    manifest.write(str(tmp_path), spec())
    path = tmp_path / manifest.NAME
    sound = path.read_bytes()
    for length in range(sound.rindex(b"}")):
        path.write_bytes(sound[:length])
        with pytest.raises(IndexDamaged):
            manifest.read(str(tmp_path))


def test_a_newer_format_is_refused_with_the_advice_to_update(tmp_path: Path) -> None:
    """A manifest of a later format is no damage: the message asks for a newer imgsearch, not for a rebuild."""
    (tmp_path / manifest.NAME).write_text(json.dumps({"format": manifest.FORMAT + 1, "new": "things"}))
    with pytest.raises(IndexMismatch, match="upgrade imgsearch") as caught:
        manifest.read(str(tmp_path))
    assert caught.value.next is None


def test_no_manifest_is_no_index(tmp_path: Path) -> None:
    """A folder without a manifest, or no folder at all, is no index, and the message says how to make one."""
    for folder in (tmp_path, tmp_path / "none", tmp_path / "none" / "deeper"):
        assert not manifest.exists(str(folder))
        with pytest.raises(IndexMissing, match=r"index_pictures\(paths=\['FOLDER'\], folder="):
            manifest.read(str(folder))


def test_a_lost_manifest_beside_vectors_is_damage(tmp_path: Path) -> None:
    """Vectors whose manifest is gone are a damaged index, never a free place for a new one."""
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "00000001.f16").write_bytes(b"x")
    assert manifest.exists(str(tmp_path))
    with pytest.raises(IndexDamaged, match="it is unknown which model made the embeddings"):
        manifest.read(str(tmp_path))


def test_an_unreadable_manifest_is_named(tmp_path: Path) -> None:
    """A manifest that can't be read, here a folder of that name, is an error that names it."""
    (tmp_path / manifest.NAME).mkdir()
    with pytest.raises(IndexDamaged, match=r"manifest\.json can't be read"):
        manifest.read(str(tmp_path))


def test_a_full_disk_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest that can't be written leaves the one before as it was."""
    manifest.write(str(tmp_path), spec())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fs, "sync_file", full)
    with pytest.raises(StorageError, match="disk is full"):
        manifest.write(str(tmp_path), spec(dim=5))
    assert manifest.read(str(tmp_path)) == spec()


def test_every_difference_is_said_and_a_name_is_none() -> None:
    """Two specs differ by fingerprint, dimension, prompts and pixels, each said; never by the model's name."""
    have = spec()
    assert manifest.differences(have, dataclasses.replace(have, model="elsewhere")) == []
    others: list[tuple[IndexSpec, str]] = [
        (dataclasses.replace(have, fingerprint="ab" * 32, model="m2"), "not m2"),
        (dataclasses.replace(have, dim=7), f"dimension {have.dim}, not 7"),
        (dataclasses.replace(have, query_prompt="Q."), "instruction"),
        (dataclasses.replace(have, document_prompt="D."), "'D.'"),
        (dataclasses.replace(have, pixels=PixelBudget(4096, 5000)), "57,600 pixels per image, not 5,000"),
    ]
    for want, said in others:
        (found,) = manifest.differences(have, want)
        assert said in found


def test_only_the_manifest_is_left_behind(tmp_path: Path) -> None:
    """Writing a manifest leaves one file, whatever name it was written under."""
    manifest.write(str(tmp_path), spec())
    assert os.listdir(tmp_path) == [manifest.NAME]
