"""Lifecycle hooks: several, asynchronous, inherited, and one that runs at the end of a container."""

import time

import modal

app = modal.App("theatre")
seen = modal.Dict.from_name("seen-in-the-theatre", create_if_missing=True)


class House:
    @modal.enter()
    def open(self):
        self.steps = ["open"]


@app.cls(scaledown_window=2)
class Play(House):
    night: int = modal.parameter(default=1)

    @modal.enter()
    async def light(self):
        self.steps.append("light")

    @modal.method()
    def act(self):
        self.steps.append("act")
        return self.steps

    @modal.method()
    async def bow(self):
        return f"night {self.night}"

    @modal.exit()
    def dark(self):
        seen[self.night] = "dark"


@app.local_entrypoint()
def main():
    seen.clear()
    play = Play(night=2)
    assert sorted(play.act.remote()) == ["act", "light", "open"]
    assert play.bow.remote() == "night 2"
    while seen.get(2) != "dark":
        time.sleep(0.1)
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
