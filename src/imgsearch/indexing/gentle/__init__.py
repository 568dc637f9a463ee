"""How a run leaves the machine to others: its priority, its pauses, and the time at which it stops."""
