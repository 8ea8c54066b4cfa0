"""The benchmark against other libraries: see `experiments.benchmark`."""
