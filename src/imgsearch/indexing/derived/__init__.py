"""What an index keeps of an image besides its embedding: hashes, metadata, the text in it, thumbnails."""
