"""The decoders of image formats, a module each, as `media/formats.py` names them; most go through Pillow (`raster`)."""
