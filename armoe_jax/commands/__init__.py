"""Sub-commands of `armoe-jax`, one module each; `armoe_jax.cli` lists them."""
