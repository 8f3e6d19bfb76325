"""`python -m universal_tracer`."""

from universal_tracer.cli.app import main

if __name__ == "__main__":
    main()
