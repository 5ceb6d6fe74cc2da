"""What is quicker than Hydra's own way and comes to the same."""
