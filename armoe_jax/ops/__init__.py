"""Pure functions on arrays. Import the modules themselves: `resize` needs no JAX, the others do."""
