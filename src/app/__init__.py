"""An example application: trains a small network on handwritten digits."""
