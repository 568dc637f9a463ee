"""The index on disk: vectors in segments, the catalogue of files, and the search through them."""
