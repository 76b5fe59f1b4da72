"""Benchmarks: ratios against a peer or a floor within one run, never timed assertions in tests."""
