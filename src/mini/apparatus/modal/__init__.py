"""The engine `modal`: jobs in containers on Modal's cloud."""
