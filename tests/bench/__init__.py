"""Speed and size of tinyatv beside pyatv, on one machine, in one run: ``python -m tests.bench``.

Only the ratios mean something, and they never gate anything: see ``--help``.
"""
