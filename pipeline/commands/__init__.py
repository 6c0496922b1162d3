"""The command line: options and configuration, one file per group of commands."""
