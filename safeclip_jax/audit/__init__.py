"""Which pairs of a data set are poisoned? Scores, traces of attacks, tables and a page."""
