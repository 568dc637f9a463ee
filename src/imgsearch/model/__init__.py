"""The model: checkpoints, prompts, patches, and the forward pass."""

import os

# OpenMP's threads spin at their barriers; when another program holds a core, each barrier then costs a time slice and
# the forward pass runs many times slower. Read once, when torch is loaded: so it is set before. A user's own stands.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
