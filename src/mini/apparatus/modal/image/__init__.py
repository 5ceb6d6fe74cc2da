"""What a container is built from."""
