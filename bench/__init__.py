"""Benchmarks: suites, peers and load generators."""
