"""Tests of resizing and patches."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from imgsearch.errors import CheckpointError, InputError, PictureError, UsageError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.image import (
    PatchLayout,
    prepare,
    read_layout,
    target_size,
)
from imgsearch.types import DETAIL, MAX_PIXELS, MIN_PIXELS, PixelBudget
from support.pictures import scene

SEED = PixelBudget(MIN_PIXELS, MAX_PIXELS)
LAYOUT = PatchLayout(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 255)

sizes = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)).filter(
    lambda size: max(size) <= 200 * min(size)
)
budgets = st.sampled_from(
    [SEED, *(PixelBudget(MIN_PIXELS, most) for most in DETAIL.values()), PixelBudget(1024, 1024)]
)


@given(sizes, budgets)
@example((32, 6400), SEED)
@example((6400, 32), SEED)
@example((1, 200), SEED)
@example((20_000, 101), SEED)
def test_size_is_a_multiple_within_the_budget(size: tuple[int, int], budget: PixelBudget):
    """Both sides are multiples of 32, at least one, and their product never exceeds the budget."""
    high, wide = target_size(*size, budget, 32)
    assert high % 32 == wide % 32 == 0
    assert high >= 32
    assert wide >= 32
    assert high * wide <= budget.max_pixels


@given(sizes.filter(lambda size: max(size) <= 4 * min(size)))
def test_size_keeps_the_aspect_ratio(size: tuple[int, int]):
    """For ordinary pictures the sides keep their ratio, to within one step of 32 on either side."""
    high, wide = target_size(*size, SEED, 32)
    height, width = size
    assert (wide - 32) * height <= width * (high + 32)
    assert width * (high - 32) <= height * (wide + 32)


@given(sizes.filter(lambda size: max(size) <= 10 * min(size)))
def test_size_uses_the_budget(size: tuple[int, int]):
    """A picture is never made smaller than the budget's lower end."""
    high, wide = target_size(*size, SEED, 32)
    assert high * wide >= SEED.min_pixels


@given(sizes, budgets)
def test_size_equals_the_reference_within_the_budget(size: tuple[int, int], budget: PixelBudget):
    """Wherever transformers' rule stays within the budget, ours gives the same size."""
    expected = smart_resize(*size, 32, budget.min_pixels, budget.max_pixels)
    if math.prod(expected) <= budget.max_pixels:
        assert target_size(*size, budget, 32) == expected


def test_very_long_picture_is_shortened():
    """A strip that is one token high keeps its height and loses length until it fits."""
    assert target_size(32, 6400, SEED, 32) == (32, 1792)
    assert target_size(6400, 32, SEED, 32) == (1792, 32)


@pytest.mark.parametrize(("size", "reason"), [((1, 201), "aspect ratio over 200"), ((0, 5), "empty image")])
def test_impossible_pictures(size: tuple[int, int], reason: str):
    """A picture that is too long or empty is refused with the reason by which it is counted."""
    with pytest.raises(PictureError) as caught:
        target_size(*size, SEED, 32)
    assert caught.value.reason == reason
    assert f"{size[1]}x{size[0]}" in str(caught.value)


@pytest.mark.parametrize("budget", [PixelBudget(1, 1023), PixelBudget(5000, 4000)])
def test_impossible_budgets(budget: PixelBudget):
    """A budget below one token, or with its ends the wrong way round, is refused."""
    with pytest.raises(UsageError):
        target_size(100, 100, budget, 32)


def test_patches_hold_the_picture_in_merge_order():
    """A picture that needs no resizing comes back whole from its patches, block by block, frame by frame."""
    picture = np.asarray(scene(1, (96, 64)))
    patches = prepare(picture, SEED, LAYOUT)
    assert patches.grid == (1, 4, 6)
    assert patches.pixel_values.shape == (24, 3 * 2 * 16 * 16)
    assert patches.pixel_values.dtype == np.float32
    index = 0
    for block_row in range(2):
        for block_column in range(3):
            for row in range(2):
                for column in range(2):
                    top, left = (block_row * 2 + row) * 16, (block_column * 2 + column) * 16
                    expected = picture[top : top + 16, left : left + 16].transpose(2, 0, 1) / 255 * 2 - 1
                    for frame in range(2):
                        actual = patches.pixel_values[index].reshape(3, 2, 16, 16)[:, frame]
                        np.testing.assert_allclose(actual, expected, atol=1e-6)
                    index += 1


def test_frames_of_a_prepared_picture_are_equal_and_known_to_be():
    """What `prepare` makes says that it stands still, so that nobody need compare its frames."""
    drawn = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    patches = prepare(drawn, PixelBudget(1024, 57_600), LAYOUT)
    frames = patches.pixel_values.reshape(len(patches.pixel_values), 3, LAYOUT.temporal, -1)
    assert patches.still
    assert (frames == frames[:, :, :1]).all()


def test_pictures_are_resized_into_the_budget():
    """A large picture has as many patches as its resized size says, and each value is within the normal range."""
    patches = prepare(np.asarray(scene(2, (1000, 700))), SEED, LAYOUT)
    high, wide = target_size(700, 1000, SEED, 32)
    assert patches.grid == (1, high // 16, wide // 16)
    assert len(patches.pixel_values) == math.prod(patches.grid)
    assert np.abs(patches.pixel_values).max() <= 1


def test_layout_without_normalising_leaves_bytes(tmp_path):
    """Settings that switch rescaling and normalising off give the byte values themselves."""
    folder = _folder(tmp_path, {**_SETTINGS, "do_rescale": False, "do_normalize": False})
    assert read_layout(Checkpoint(folder)).table[0, 255] == 255


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_arrays_that_are_no_rgb_picture(picture: np.ndarray):
    """An array of another shape or dtype is refused with what it should be."""
    with pytest.raises(InputError, match="uint8"):
        prepare(picture, SEED, LAYOUT)


_SETTINGS = {
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "rescale_factor": 0.5,
}


def _folder(
    tmp_path, settings: dict, name: str = "preprocessor_config.json", config: dict | None = None
) -> str:
    """Write a folder with a config.json and one file of settings."""
    for file, content in (("config.json", {"model_type": "qwen3_vl"} | (config or {})), (name, settings)):
        with open(os.path.join(tmp_path, file), "w") as stream:
            json.dump(content, stream)
    return str(tmp_path)


def test_layout_comes_from_the_settings(tmp_path):
    """Sizes, means and factors are those of the checkpoint's image settings."""
    layout = read_layout(Checkpoint(_folder(tmp_path, _SETTINGS)))
    assert (layout.patch, layout.temporal, layout.merge, layout.factor) == (14, 2, 2, 28)
    assert (layout.mean, layout.std, layout.rescale) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.5)


def test_layout_comes_from_a_newer_processor_config(tmp_path):
    """Newer checkpoints keep the same settings in a section of processor_config.json."""
    folder = _folder(tmp_path, {"image_processor": _SETTINGS}, "processor_config.json")
    assert read_layout(Checkpoint(folder)).patch == 14


def test_layout_takes_sizes_from_the_config(tmp_path):
    """Sizes that the image settings leave out are those of the vision tower."""
    settings = {name: value for name, value in _SETTINGS.items() if not name.endswith("_size")}
    vision = {"patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 3}
    layout = read_layout(Checkpoint(_folder(tmp_path, settings, config={"vision_config": vision})))
    assert (layout.patch, layout.temporal, layout.merge) == (16, 2, 3)


@pytest.mark.parametrize(
    "change",
    [{"image_mean": None}, {"patch_size": None}, {"patch_size": "x"}, {"merge_size": 0}, {"image_std": [1]}],
)
def test_layout_that_makes_no_sense(tmp_path, change: dict):
    """A number that is missing everywhere or can't be one makes the checkpoint refused by name."""
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        read_layout(Checkpoint(_folder(tmp_path, _SETTINGS | change)))
