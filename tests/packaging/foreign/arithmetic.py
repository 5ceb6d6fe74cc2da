"""A neighbour of the script."""


def scaled(x: float, lr: float) -> float:
    """A number that only the right values give."""
    return x * lr
