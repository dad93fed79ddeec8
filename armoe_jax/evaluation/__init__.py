"""How good restored images are: figures, tables, recorded runs, analysis and the report."""
