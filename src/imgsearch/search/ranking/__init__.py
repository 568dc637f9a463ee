"""The order of an answer and its end: parts combined, ranks fused, feedback, stacks and the cut."""
