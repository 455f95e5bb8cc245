"""The command line: click, one module a command group, nothing heavy imported at start."""
