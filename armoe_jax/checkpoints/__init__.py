"""Reading and writing weights: model folders, training workdirs, shipped weights."""
