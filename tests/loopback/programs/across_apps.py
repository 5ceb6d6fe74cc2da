"""A deployed app whose functions and classes another app's containers call by name."""

import modal

mint = modal.App("mint-of-the-town")
app = modal.App("market")


@mint.function(serialized=True, name="strike")
def strike(metal):
    return f"coin of {metal}"


@app.function()
def buy(metal):
    return modal.Function.from_name("mint-of-the-town", "strike").remote(metal) + " spent"


@app.local_entrypoint()
def main():
    mint.deploy()
    by_name = modal.Function.from_name("mint-of-the-town", "strike")
    assert by_name.remote("tin") == "coin of tin"
    assert list(by_name.map(["zinc", "lead"])) == ["coin of zinc", "coin of lead"]
    assert buy.remote("gold") == "coin of gold spent"
    for missing in (
        modal.Function.from_name("mint-of-the-town", "melt"),
        modal.Function.from_name("no-such-town", "strike"),
        modal.Cls.from_name("mint-of-the-town", "Press")().stamp,
    ):
        try:
            missing.remote("iron")
        except modal.exception.NotFoundError:
            continue
        raise AssertionError(missing)
    modal.App.lookup("mint-of-the-town").stop()
    try:
        modal.Function.from_name("mint-of-the-town", "strike").remote("tin")
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
