"""Fixtures that many test files share, and how the property tests run."""

import os
import tempfile

from hypothesis import HealthCheck, settings

from support.checkpoints import tiny_checkpoint, tiny_checkpoint_eot, tiny_copy, tiny_embedder
from support.clip import tiny_clip

# No server of whoever runs the tests may answer for them.
os.environ["IMGSEARCH_RUNTIME_DIR"] = os.path.join(
    tempfile.gettempdir(), f"imgsearch-no-server-{os.getpid()}"
)
# Workers side by side (pytest-xdist) each keep to one core, and so do the processes that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
# Users don't set it, and it hides what Python's exit does with a stream that could not be written.
os.environ.pop("PYTHONUNBUFFERED", None)

__all__ = ["tiny_checkpoint", "tiny_checkpoint_eot", "tiny_clip", "tiny_copy", "tiny_embedder"]

# No deadlines: a shared machine may stall for a moment, and speed is for benchmarks/. CI draws the same examples
# every time, so that a change is blamed only for what it did; elsewhere each run looks at new ones.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
