"""Draws scenes of coloured shapes and printed words, with captions: what is easy to see, and has known contents."""
