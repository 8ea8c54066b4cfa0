"""Tables of experiments, one file each, for `experiments.study`."""
