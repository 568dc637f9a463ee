"""Previews: thumbnails on a terminal, by the protocol that it speaks, in a grid with captions."""
