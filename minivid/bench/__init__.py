"""Benchmarks: every kernel timed against the machine's ceilings, and against PyTorch where it is installed.

``minivid bench`` runs them. `cases` says what is measured, `run` how, `ours` and `peer` hold the two sides, each in
a `worker` process of its own; `machine` measures the ceilings, `report` and `pictures` show the figures.
"""
