"""Nearest vectors: a scan, or a shortlist by RaBitQ codes with exact scores."""
