"""Embedding on a Ray cluster: workers deliver sealed files of rows, and this process registers them in the index."""
