"""The model: checkpoints, prompts, patches, and the forward pass."""

import os

# OpenMP's threads spin at their barriers; when another program holds a core, each barrier then costs a time slice and
# the forward pass runs many times slower. With no spinning at all a barrier costs the waking of a thread, a tenth to a
# fifth of a pass on an idle machine. Some twenty microseconds of it are nearly the best of both (benchmarks/LOG.md).
# Read once, when torch is loaded: so it is set before. A user's own settings stand. GNU's OpenMP heeds the second.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
