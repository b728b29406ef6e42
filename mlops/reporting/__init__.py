"""Reports over many projects; everything here only reads."""
