"""Faults below SQLite and numpy: calls to the system that fail, disks that lose power, and what must still hold."""
