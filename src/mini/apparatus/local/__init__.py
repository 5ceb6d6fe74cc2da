"""The engine `local`: jobs in worker processes of this machine."""
