"""Files of pictures, decoded: which formats there are and how each becomes RGB."""
