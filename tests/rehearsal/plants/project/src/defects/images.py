"""Builders of images, with defects."""


def forgets(image):
    image.run_commands("true")


def fails(image):
    return image.run_commands("exit 5")
