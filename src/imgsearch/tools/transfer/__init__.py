"""Vectors in and out: what an index holds as parquet or npy files, and indexes made of vectors from elsewhere."""
