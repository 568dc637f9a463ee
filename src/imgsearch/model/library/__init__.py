"""Models of other families, which sentence-transformers loads and computes."""
