"""`python -m universal_tracer`."""

from universal_tracer.cli.entry import main

if __name__ == "__main__":
    main()
