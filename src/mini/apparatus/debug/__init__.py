"""The engine `debug`: jobs in this process, one after the other."""
