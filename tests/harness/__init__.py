"""What kernel and end-to-end tests share: the tracer under test, processes to trace, the truth to compare."""
