#!/bin/bash
# The whole benchmark of a GPU in about eight minutes: see gpu.py, which takes the options.
#     benchmarks/gpu.sh [--tiny] [--only STEP,STEP] [--seconds N] [--out DIR]
# PYTHON names the Python that has torch, transformers, sentence-transformers and what imgsearch needs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/../src:$here/../recipes:$here/../tests${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$here/gpu.py" "$@"
