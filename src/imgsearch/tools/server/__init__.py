"""The server that keeps a model in memory for this user's commands."""
