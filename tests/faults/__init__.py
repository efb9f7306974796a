"""Attacks on the toolkit: kills, signals, damaged files, full disks, hostile input. `python -m tests.faults --help`."""
