"""Tests of the norms: what they give, in which precision, and the RMS norm of heads on the rotary embedding's way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from imgsearch.model.engine.norms import RMSNorm
from imgsearch.model.engine.rotary import Rotary

EPSILON = 1e-6
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def _norm(weight: torch.Tensor) -> RMSNorm:
    weights: Any = SimpleNamespace(device=torch.device("cpu"), read=lambda name: weight)
    return RMSNorm(weights, "norm", EPSILON)


def _drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
def test_an_rms_norm_is_rounded_once(dtype: torch.dtype, size: float):
    """The norm is that of float64 but for one rounding to the dtype, and leaves its input as it was."""
    x, weight = _drawn(3, 5, 64, dtype=dtype) * size, _drawn(64, dtype=dtype)
    before = x.clone()
    found = _norm(weight)(x)
    exact = F.rms_norm(x.double(), (64,), weight.double(), EPSILON)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    assert torch.equal(x, before)


def test_what_is_not_finite_stays_so():
    """A row with a number that is not finite has no finite norm, and its neighbours keep theirs."""
    x = _drawn(2, 8, dtype=torch.float32)
    x[0, 3] = torch.nan
    found = _norm(torch.ones(8))(x)
    assert not found[0].isfinite().any()
    assert found[1].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("placed", [False, True])
def test_heads_are_normed_on_the_way_of_their_rotation(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, placed: bool
):
    """A rotation with a norm gives what the norm and then the rotation give, in parts too, at the place it is to go."""
    monkeypatch.setattr("imgsearch.model.engine.rotary._AT_ONCE", 100)
    x, weight = _drawn(2, 7, 3, 8, dtype=dtype), _drawn(8, dtype=dtype)
    angles = torch.rand(7, 1, 4, generator=torch.Generator().manual_seed(1)) * 6
    cosine, sine = angles.cos(), angles.sin()
    rotary = Rotary(torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1))
    whole = torch.zeros(2, 9, 3, 8, dtype=dtype)
    found = rotary.apply_rotary(x, _norm(weight), into=whole[:, 2:] if placed else None)
    normed = F.rms_norm(x.double(), (8,), weight.double(), EPSILON)
    turned = torch.cat((-normed[..., 4:], normed[..., :4]), -1)
    exact = normed * torch.cat((cosine, cosine), -1) + turned * torch.cat((sine, sine), -1)
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=2e-6)
    if placed:
        assert torch.equal(whole[:, 2:], found)
        assert not whole[:, :2].any()
