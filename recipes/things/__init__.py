"""Draws scenes of everyday things, with captions, from emoji sets that packages carry: what the demo model learns."""
