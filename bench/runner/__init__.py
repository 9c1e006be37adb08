"""The parts of bench/run.py, which compares ferry with its peers. Standard library only."""
