"""Mutation testing: small faults are put into a module, and its tests are to notice them."""
