"""Tests that nobody wrote: what a mesh's definitions promise, as trials.

The one rule: pure, and the same definitions give the same trials under the same names.
"""
