"""Pure functions on arrays. Import the modules themselves: `luma` and `resize` need no JAX."""
