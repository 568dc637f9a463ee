"""The Model Context Protocol: the index as tools of a program that has a language model, over stdin and stdout."""
