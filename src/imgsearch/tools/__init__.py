"""Tools that use the index and the search: nothing but the command line imports them."""
