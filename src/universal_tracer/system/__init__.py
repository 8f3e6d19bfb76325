"""What this machine is like: its processes, containers and control groups, and what we may do on it."""
