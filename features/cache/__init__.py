"""Looking after a cache: list, merge, verify, export, import, remove what no data set uses."""
