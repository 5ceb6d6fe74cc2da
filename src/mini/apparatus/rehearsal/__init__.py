"""The engine `rehearsal`: Modal's client and container runtime, with a far end on this machine."""
