"""Commands with a model of another family: the same road as with our own, and the same refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.client import protocol
from imgsearch.index import manifest
from imgsearch.model.families import open_checkpoint
from imgsearch.tools.server.pools import LoadedModel
from imgsearch.types import Input, ModelOptions
from support.cli import imgsearch
from support.fakes import paint


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of four painted images; tests don't change it."""
    folder = tmp_path_factory.mktemp("painted")
    for name in ("red", "green", "blue", "white"):
        paint(folder / f"{name}.png", name, size=(96, 64))
    return folder


@pytest.fixture(scope="module")
def index(painted: Path, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give an index of them by a CLIP; tests don't change it."""
    where = str(tmp_path_factory.mktemp("clip") / "index")
    done = imgsearch("index", painted, "--index", where, "--model", tiny_clip)
    assert done.code == 0, done.err
    return where


def test_an_index_is_made_and_searched(index: str, painted: Path, tiny_clip: str) -> None:
    """By words, by an image that is indexed or not, and by both; scores are those of the library."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_clip, device="cpu")
    images = [Image.open(painted / name).convert("RGB") for name in ("blue.png", "red.png")]
    rows = model.encode_document(images, normalize_embeddings=True)
    asked = model.encode_query(["a red car"], normalize_embeddings=True)
    found = imgsearch("query", "a red car", "--index", index, "--json").objects
    scores = {Path(hit["path"]).name: hit["score"] for hit in found}
    expected = [float(row @ asked[0]) for row in rows]
    assert [scores["blue.png"], scores["red.png"]] == pytest.approx(expected, abs=1e-3)
    similar = imgsearch("similar", painted / "blue.png", "--index", index, "--json").objects
    assert (Path(similar[0]["path"]).name, similar[0]["score"]) == ("blue.png", pytest.approx(1, abs=1e-3))
    both = imgsearch("query", "red", "--image", painted / "blue.png", "--index", index, "--json")
    assert (both.code, len(both.objects)) == (0, 4)


def test_the_index_says_who_scales_its_images(index: str) -> None:
    """In status, in JSON, and in the manifest, which is read back as it was."""
    told = imgsearch("status", "--index", index).out.decode()
    assert "pixels     as the model scales images itself" in told
    assert "for queries: a photo of" in told
    assert imgsearch("status", "--index", index, "--json").objects[0]["pixels"]["by_model"] is True
    spec = manifest.read(index)
    assert (spec.own_pixels, spec.page_pixels, spec.dim) == (True, None, 8)
    assert manifest.spec_from_json(manifest.spec_to_json(spec)) == spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-pixels", "100000"), "--max-pixels 100000: "),
        (("--detail", "high"), "scales every image to a size of its own; omit it"),
        (("--dim", "25"), "have 24 dimensions"),
    ],
)
def test_what_the_model_has_not_is_refused(
    painted: Path, tiny_clip: str, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """A number of pixels, and more dimensions than there are; no index is made."""
    done = imgsearch("index", painted, "--index", tmp_path / "new", "--model", tiny_clip, *options)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (tmp_path / "new").exists()


def test_shorter_embeddings_are_for_models_that_were_trained_for_them(
    painted: Path, tiny_siglip2: str, tmp_path: Path
) -> None:
    """A plain SigLIP 2 was not."""
    done = imgsearch("index", painted, "--index", tmp_path / "new", "--model", tiny_siglip2, "--dim", "16")
    assert "--dim 16: " in done.err
    assert "was not trained for shorter embeddings; omit it, for all 32" in done.err


def test_another_model_is_refused_and_a_rebuild_takes_it(
    index: str, painted: Path, tiny_siglip2: str, tmp_path: Path
) -> None:
    """An index keeps its identity; made anew, it has that of the other model, and none of the old pixels."""
    copy = str(tmp_path / "index")
    shutil.copytree(index, copy)
    refused = imgsearch("index", painted, "--index", copy, "--model", tiny_siglip2)
    assert (refused.code, "was made with" in refused.err) == (2, True)
    done = imgsearch("index", "--index", copy, "--model", tiny_siglip2, "--rebuild")
    assert done.code == 0, done.err
    assert manifest.read(copy).dim == 32
    back = imgsearch("index", "--index", copy, "--model", "demo", "--rebuild")
    assert (back.code, manifest.read(copy).own_pixels) == (0, False), back.err


def test_another_text_model_is_refused_before_any_work(painted: Path, tiny_clip: str, tmp_path: Path) -> None:
    """In one line, and nothing is made."""
    folder = tmp_path / "words"
    shutil.copytree(tiny_clip, folder)
    (folder / "modules.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    done = imgsearch("index", painted, "--index", tmp_path / "new", "--model", folder)
    assert done.code == 2
    assert "embeds text only (it has no image processor): it can't be used for images" in done.err
    assert not (tmp_path / "new").exists()


def test_a_server_gives_the_same_vectors(index: str, tiny_clip: str) -> None:
    """Images go to it as RGB, bit for bit, and one set of weights serves indexes of other lengths."""
    checkpoint, spec = open_checkpoint(tiny_clip), manifest.read(index)
    wanted = spec.model_spec(checkpoint.folder, ModelOptions(device="cpu", dtype="float32"))
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    message = protocol.pack_inputs(wanted, [Input("red"), Input(image=image)], 2)
    unpacked, inputs, size = protocol.unpack_inputs(message)
    assert (unpacked, size) == (wanted, 2)
    np.testing.assert_array_equal(np.asarray(inputs[1].image), image)
    loaded = LoadedModel(unpacked, lambda line: None)
    rows = loaded.encoder(unpacked).embed(inputs)
    shorter = loaded.encoder(protocol.model_spec_from_json({**protocol.model_spec_to_json(wanted), "dim": 4}))
    cut = shorter.embed(inputs)
    np.testing.assert_allclose(cut, rows[:, :4] / np.linalg.norm(rows[:, :4], axis=1)[:, None], atol=1e-6)


def test_doctor_compares_devices_with_it(index: str) -> None:
    """As with our own models."""
    done = imgsearch("doctor", "--model", "--index", index)
    assert done.code == 0, done.err
