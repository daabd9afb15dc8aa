"""Drills that take long, to be run by hand: `python -m tests.drills.NAME`."""
