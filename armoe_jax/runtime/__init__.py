"""What a program needs of its machine: files, memory, progress, caches, processes."""
