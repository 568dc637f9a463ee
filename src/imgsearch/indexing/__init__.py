"""How folders of pictures become an index, and how they are kept up to date."""
