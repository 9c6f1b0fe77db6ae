"""Sweeps on Ray Tune: the trainable, the callbacks, training in waves, the cluster. The only importer of Ray."""
