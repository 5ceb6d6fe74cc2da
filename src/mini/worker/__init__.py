"""The far side of every engine: how a job travels, how it runs, and what it may ask of where it runs."""
