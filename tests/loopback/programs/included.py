"""An app made of others, with default image, secrets and volumes, and tags."""

import os

import modal

strings = modal.App("strings")
app = modal.App(
    "orchestra",
    tags={"season": "winter"},
    secrets=[modal.Secret.from_dict({"HALL": "large"})],
    volumes={"/scores": modal.Volume.from_name("scores-of-the-orchestra", create_if_missing=True)},
)


@strings.function()
def violin():
    return "vi"


@app.function()
def conductor():
    return violin.remote() + os.environ["HALL"] + str(os.path.isdir("/scores"))  # noqa: PTH112


app.include(strings)


@app.local_entrypoint()
def main():
    assert conductor.remote() == "vilargeTrue"
    assert app.get_tags() == {"season": "winter"}
    app.set_tags({"season": "spring"})
    assert app.get_tags() == {"season": "spring"}
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
