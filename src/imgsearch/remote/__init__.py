"""The client's side of `imgsearch serve`: is a server there, and have it embed instead of loading the model here."""
