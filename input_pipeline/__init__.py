"""Codec data sets: codecs, the builder, readers and the Grain pipeline. Never imports jax."""
