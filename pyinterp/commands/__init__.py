"""The commands of `sparing`, one a file: its docstring is its help, `add_arguments` and `run`."""
