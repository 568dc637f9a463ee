"""Lets `python -m imgsearch` be the console script."""

from imgsearch.cli import main

main()
