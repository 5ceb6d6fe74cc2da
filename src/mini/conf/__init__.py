"""The config groups every application gets."""
