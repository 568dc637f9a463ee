"""The device that the tests of parity compute on: the CPU, or what IMGSEARCH_TEST_DEVICE names."""

from __future__ import annotations

import os

DEVICE = os.environ.get("IMGSEARCH_TEST_DEVICE", "cpu")
"""As torch names it: "cpu", "cuda", "cuda:1", "mps"."""

if DEVICE.startswith("cuda"):
    import torch

    # transformers' patch embedding is a convolution, whose float32 has 10 bits there if nobody forbids it.
    torch.backends.cudnn.allow_tf32 = False
