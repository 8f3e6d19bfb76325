"""`universal-tracer doctor`: what this machine allows, what is missing, and what mends it."""
