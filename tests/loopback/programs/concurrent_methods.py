"""Methods whose inputs run side by side, and methods that take a batch."""

import asyncio

import modal

app = modal.App("choir")


@app.cls(max_containers=1)
@modal.concurrent(max_inputs=4, target_inputs=3)
class Choir:
    @modal.enter()
    def gather(self):
        self.singing = 0

    @modal.method()
    async def sing(self, voice):
        self.singing += 1
        while self.singing < 3:
            await asyncio.sleep(0.02)
        return voice.upper()


@app.cls(max_containers=1)
class Score:
    scale: int = modal.parameter(default=1)

    @modal.batched(max_batch_size=3, wait_ms=300)
    async def print(self, notes):
        return [(note * self.scale, len(notes)) for note in notes]


@app.local_entrypoint()
def main():
    assert list(Choir().sing.map(["alto", "bass", "tenor"])) == ["ALTO", "BASS", "TENOR"]
    printed = list(Score(scale=2).print.map([1, 2, 3, 4]))
    assert [note for note, _ in printed] == [2, 4, 6, 8]
    assert max(size for _, size in printed) > 1
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
