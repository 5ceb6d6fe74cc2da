"""Environments kept apart: the same names in two of them are two things."""

import modal

app = modal.App("zoo")


@app.function(serialized=True)
def count():
    return "counted"


@app.local_entrypoint()
def main():
    for name in ("day", "night"):
        modal.Environment.objects.create(f"zoo-{name}")
    try:
        modal.Environment.objects.create("zoo-day")
    except modal.exception.AlreadyExistsError:
        pass
    else:
        raise AssertionError
    day = modal.Dict.from_name("animals", create_if_missing=True, environment_name="zoo-day")
    night = modal.Dict.from_name("animals", create_if_missing=True, environment_name="zoo-night")
    day["lion"] = "asleep"
    assert "lion" not in night
    assert day.object_id != night.object_id
    second = modal.App("zoo-keeper")
    second.function(serialized=True, name="feed")(lambda: "fed")
    second.deploy(environment_name="zoo-night")
    assert modal.Function.from_name("zoo-keeper", "feed", environment_name="zoo-night").remote() == "fed"
    for missing in (
        modal.Function.from_name("zoo-keeper", "feed", environment_name="zoo-day"),
        modal.Function.from_name("zoo-keeper", "feed"),
    ):
        try:
            missing.hydrate()
        except modal.exception.NotFoundError:
            continue
        raise AssertionError
    try:
        modal.Dict.from_name("animals", create_if_missing=True, environment_name="no-such-zoo").hydrate()
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
