"""The page in the browser: who may see it, what it asks for, and the images that it shows."""
