"""What travels between client and server arrives as it was sent, and rubbish is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imgsearch import errors
from imgsearch.cli.spelling import spelled
from imgsearch.client import protocol
from imgsearch.client.connection import Server
from imgsearch.client.encoder import RemoteEncoder
from imgsearch.errors import (
    ImgsearchError,
    InputError,
    NonFiniteError,
    PictureError,
    UsageError,
    rebuild_call,
)
from imgsearch.model import locate
from imgsearch.text import Option
from imgsearch.types import Input, ModelSpec, Patches, PixelBudget

MODEL_SPEC = ModelSpec(
    "/a checkpoint", "f" * 64, 24, PixelBudget(4096, 57600), "Represent it.", "cpu", "float32"
)
texts = st.none() | st.text(st.characters(codec=None), max_size=20)


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    image = None
    if draw(st.booleans()):
        grid = (1, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        shape = (grid[1] * grid[2], draw(st.integers(0, 4)))
        values = draw(arrays.arrays(np.float32, shape, elements=st.floats(width=32)))
        image = Patches(values, grid)
    return Input(draw(texts), image, draw(texts))


@given(st.lists(inputs(), max_size=4))
def test_inputs_arrive_bit_for_bit(sent: list[Input]) -> None:
    """Texts, lone surrogates too, instructions and patches, NaN too, come out as they went in, and the model spec."""
    model_spec, found, size = protocol.unpack_inputs(protocol.pack_inputs(MODEL_SPEC, sent, 7))
    assert (model_spec, size) == (MODEL_SPEC, 7)
    assert [(item.text, item.instruction) for item in found] == [
        (item.text, item.instruction) for item in sent
    ]
    for one, other in zip(found, sent, strict=True):
        if other.image is None:
            assert one.image is None
        else:
            assert isinstance(one.image, Patches)
            assert isinstance(other.image, Patches)
            assert one.image.grid == other.image.grid
            assert one.image.pixel_values.tobytes() == other.image.pixel_values.tobytes()


@given(st.binary(max_size=200), st.integers(0, 400))
def test_rubbish_is_refused_in_one_line(rubbish: bytes, cut: int) -> None:
    """Bytes that are no message, and a message that is cut or spoilt, are a UsageError and nothing else."""
    message = protocol.pack_inputs(MODEL_SPEC, [Input("a", Patches(np.zeros((1, 2), np.float32), (1, 1, 1)))])
    for data in (
        rubbish,
        message[: min(cut, len(message) - 1)],
        message[:8] + rubbish + message[8 + len(rubbish) :],
    ):
        refused = _refused(data)
        assert refused is None or "\n" not in refused


def _refused(data: bytes) -> str | None:
    """Return the line by which a message is refused; None for one that happens to be whole."""
    try:
        protocol.unpack_inputs(data)
    except UsageError as error:
        return str(error)
    return None


def test_pictures_travel_as_patches_or_as_rgb_only() -> None:
    """A picture that nobody has prepared is refused before anything is sent, and so is one of another shape."""
    with pytest.raises(InputError, match="prepare them first"):
        protocol.pack_inputs(MODEL_SPEC, [Input(image=np.zeros((8, 8), np.uint8))])
    grey = protocol.pack_inputs(MODEL_SPEC, [Input(image=np.zeros((8, 8, 1), np.uint8))])
    with pytest.raises(UsageError, match="its inputs are incomplete"):
        protocol.unpack_inputs(grey)


@pytest.mark.parametrize("grid", [[1, 2, 2], [1, 1], "abc", [1, 0, 1]])
def test_patches_that_do_not_fit_their_grid_are_refused(grid: object) -> None:
    """A grid of another count of patches, or that is none, is a UsageError."""
    data = {
        "model": protocol.model_spec_to_json(MODEL_SPEC),
        "inputs": [{"text": None, "instruction": None, "grid": grid}],
        "batch_size": 1,
    }
    with pytest.raises(UsageError):
        protocol.unpack_inputs(protocol.pack(data, {"0": np.zeros((1, 2), np.float32)}))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"folder": 3},
        {"budget": None},
        {"budget": {"min_pixels": 1}},
        {"dim": "many"},
        {"dim": float("inf")},
        {"dtype": None},
    ],
)
def test_a_spec_of_another_form_is_refused(spoilt: dict[str, object]) -> None:
    """A model spec with a field missing or of another type is a UsageError."""
    with pytest.raises(UsageError, match="it does not name a model"):
        protocol.model_spec_from_json({**protocol.model_spec_to_json(MODEL_SPEC), **spoilt})


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ImgsearchError)
        if kind not in (NonFiniteError, PictureError, errors.MissingExtra)
    ],
)
def test_an_error_arrives_as_the_same_error(kind: type[ImgsearchError]) -> None:
    """Class, line and exit code of an error are the same on either side."""
    found = protocol.error_from(protocol.error_json(kind("one line, with ümlauts")))
    assert type(found) is kind
    assert str(found) == "one line, with ümlauts"
    assert found.exit_code == kind.exit_code


def test_the_options_and_calls_of_an_error_arrive() -> None:
    """What a message names arrives as data, so that the client's side can spell it its own way."""
    error = UsageError(Option("dim", 7), ": too long; ", rebuild_call("/i", paths=["/a"], model="demo"))
    found = protocol.error_from(json.loads(json.dumps(protocol.error_json(error))))
    assert isinstance(found, UsageError)
    assert (str(found), found.as_message.parts) == (str(error), error.as_message.parts)
    assert (found.option, found.next) == ("dim", error.next)


def test_a_pixel_budget_in_an_error_arrives() -> None:
    """An error that names a pixel budget is spelled as flags on the client's side too."""
    error = UsageError("give at most ", Option("pixels", PixelBudget(4096, 9999)))
    found = protocol.error_from(json.loads(json.dumps(protocol.error_json(error))))
    assert found is not None
    assert str(found) == str(error)
    assert spelled(found.as_message) == "give at most --max-pixels 9999"


@pytest.mark.parametrize(
    "parts", [None, 3, "abc", [3], [{}], [{"call": "f"}], [{"call": "f", "arguments": 3}], ["another line"]]
)
def test_parts_that_can_not_be_read_leave_the_line(parts: object) -> None:
    """An error whose parts are missing, of another form, or no parts of its line is its bare line."""
    found = protocol.error_from({"error": {"kind": "UsageError", "message": "one line", "parts": parts}})
    assert isinstance(found, UsageError)
    assert found.as_message.parts == ("one line",)


def test_rows_without_a_finite_vector_arrive() -> None:
    """The rows that NonFiniteError names are the same on either side."""
    found = protocol.error_from(protocol.error_json(NonFiniteError([3, 5])))
    assert isinstance(found, NonFiniteError)
    assert (found.rows, str(found)) == ([3, 5], str(NonFiniteError([3, 5])))
    assert "for 2 inputs, even" in str(found)
    assert "for 1 input, even" in str(NonFiniteError([3]))


@pytest.mark.parametrize(
    "data", [None, [], {}, {"error": 3}, {"error": {"kind": "os.system"}}, {"error": {}}]
)
def test_what_is_no_error_is_none(data: object) -> None:
    """An answer that tells of no error of ours gives none, whatever class it names."""
    assert protocol.error_from(data) is None


def test_the_fields_of_a_message_keep_their_names() -> None:
    """A server that was started before an upgrade of the same version is understood, and understands."""
    data, _ = protocol.unpack(protocol.pack_inputs(MODEL_SPEC, [Input("a")]))
    assert set(data) == {"order", "inputs", "batch_size"}


def test_a_line_for_http_names_the_fields_of_the_request() -> None:
    """Who asked by HTTP reads the names of the request's fields; the parts keep Python's names."""
    refused = protocol.error_json(UsageError(Option("below"), ": the path is empty"), {"below": "in"})
    assert refused["error"]["message"] == "in: the path is empty"
    assert refused["error"]["parts"][0]["option"] == "below"


class _Recorder:
    """A server that keeps what it is sent."""

    state = SimpleNamespace(pid=1)

    def json(self, path: str, data: object) -> dict[str, object]:
        """Say that a model is loaded."""
        runtime = {"device": "cpu", "dtype": "float32", "reason": "a fake"}
        return {**runtime, "dim": 24, "batch_size": 8, "batch_reason": ""}

    def message(self, path: str, message: bytes, inputs: int) -> bytes:
        """Keep the inputs; answer with zeros, one of which was computed again."""
        self.sent = protocol.unpack_inputs(message)[1]
        return protocol.pack({"recomputed": 1}, {"vectors": np.zeros((inputs, 24), np.float32)})


def test_an_image_crosses_with_its_own_pixel_budget() -> None:
    """A page is sent with the pixels of pages, beside photos with those of the model's own budget"""
    checkpoint = locate.find_checkpoint("demo")
    model_spec = replace(MODEL_SPEC, folder=checkpoint.folder, budget=PixelBudget(1024, 5120))
    server = _Recorder()
    encoder = RemoteEncoder(cast("Server", server), model_spec, lambda: pytest.fail("loaded"), print)
    image = np.zeros((600, 500, 3), np.uint8)
    encoder.embed([Input(image=image), Input(image=image, budget=PixelBudget(1024, 51_200))])
    assert encoder.recomputed == 1
    photo, page = (item.image for item in server.sent)
    assert isinstance(photo, Patches)
    assert isinstance(page, Patches)
    assert len(page.pixel_values) > 8 * len(photo.pixel_values)
