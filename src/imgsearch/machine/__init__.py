"""What this process may take of the machine: processor cores and memory, within the limits of its control groups."""
