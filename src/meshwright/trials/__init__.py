"""Tests of a mesh as values: what is tried, what was seen, and what is to be said of it.

The one rule: pure. Files are read by `documents`, calls are made by `lab`, results are shown by `views`.
"""
