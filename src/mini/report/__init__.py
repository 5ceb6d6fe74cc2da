"""Runs as a page: one file that opens anywhere, and the same page served live."""
