"""The command line: flags to settings, settings to a run. Loads polars and the native module only to run."""
