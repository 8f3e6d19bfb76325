"""The vocabulary of the program: event columns, batches, ports between the parts, errors."""
