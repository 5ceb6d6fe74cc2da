"""The engine `slurm`: jobs in the queue of a Slurm cluster."""
