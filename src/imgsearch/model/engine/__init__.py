"""The forward pass, written for this model alone: no transformers."""
