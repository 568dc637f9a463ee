"""Writes the siblings into the folder that is named."""

import sys

from support.siblings import write

write(sys.argv[1])
