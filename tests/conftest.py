"""Fixtures that many test files share."""

from checkpoints import tiny_checkpoint, tiny_checkpoint_eot, tiny_copy, tiny_embedder

__all__ = ["tiny_checkpoint", "tiny_checkpoint_eot", "tiny_copy", "tiny_embedder"]
