"""The model: checkpoints, prompts, patches, and the forward pass."""
