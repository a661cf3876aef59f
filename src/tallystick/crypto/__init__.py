"""Keys and signatures, tagged hashes, chunk trees, Merkle lists and maps."""
