"""A model that is unloaded leaves the memory, also the first one that a process has loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: only there the model's modules are imported while it is loaded.
_HEAD = """
import weakref
from imgsearch.client import KeptModel
from imgsearch.spec import choose_spec
from imgsearch.tools.server.pools import LoadedModel, ModelPool
from imgsearch.types import Input, ModelOptions, Silent
options, words = ModelOptions("demo"), [Input(text="a red circle")]
checkpoint, spec = choose_spec(options, Silent())
"""
_KEPT = """
model = KeptModel()
def use():
    encoder = model.load(checkpoint, spec, options, Silent())
    encoder.embed(words)
    return weakref.ref(encoder.forward)
weights = use()
assert weights() is not None
assert model.unload()
assert weights() is None
"""
_SERVERS = """
pool = ModelPool(lambda wanted: LoadedModel(wanted, print), 1e-9)
def use():
    with pool.use(spec.model_spec(checkpoint.folder, options)) as encoder:
        encoder.embed(words)
        return weakref.ref(encoder.forward)
weights = use()
assert weights() is not None
assert pool.unload_idle()
assert weights() is None
"""


@pytest.mark.parametrize("code", [_KEPT, _SERVERS], ids=["kept", "servers"])
def test_an_unloaded_model_leaves_the_memory(code: str) -> None:
    """Nothing holds the weights after the model was unloaded: not the frames of who has loaded it, either."""
    environment = {"IMGSEARCH_SERVER": "off", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
