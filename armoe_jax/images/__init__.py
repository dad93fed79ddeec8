"""Still images: reading and writing files, and finding them."""
