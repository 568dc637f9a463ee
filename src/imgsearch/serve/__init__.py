"""`imgsearch serve`: one process that keeps the model and the indexes warm and answers this user's other processes."""
