"""`mini`: what a person asks of runs and images, from a terminal."""
