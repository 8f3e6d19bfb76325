"""The configuration: typed once in `tree`, read from file, environment and flags by `settings`."""
