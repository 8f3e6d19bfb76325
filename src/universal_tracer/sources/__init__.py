"""Where batches come from: the native session on this kernel."""
