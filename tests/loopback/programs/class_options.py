"""Options of a class and of a function that are changed where they are used."""

import os

import modal

app = modal.App("workshop")


@app.cls(max_containers=1)
class Bench:
    tool: str = modal.parameter()
    size: int = modal.parameter(default=1)
    sharp: bool = modal.parameter(default=True)

    @modal.method()
    def use(self, wood):
        return f"{self.tool} {self.size} {self.sharp} {wood} {os.environ.get('GLUE', 'dry')}"


@app.function()
def glue():
    return os.environ.get("GLUE", "dry")


@app.local_entrypoint()
def main():
    assert Bench(tool="saw").use.remote("oak") == "saw 1 True oak dry"
    secret = modal.Secret.from_dict({"GLUE": "wet"})
    heavy = Bench.with_options(secrets=[secret], timeout=30, cpu=1.0, memory=256).with_concurrency(max_inputs=4)
    assert heavy(tool="axe", size=3, sharp=False).use.remote("elm") == "axe 3 False elm wet"
    assert glue.with_options(env={"GLUE": "new"}).remote() == "new"
    assert glue.remote() == "dry"
    try:
        Bench(tool=7).use.remote("oak")
    except TypeError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
