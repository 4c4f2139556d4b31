"""The command line: `main.run` picks a command, and each command is one module of this package."""
