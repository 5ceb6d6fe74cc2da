"""Many inputs begun with one request, and read by their index."""

import modal

app = modal.App("orchard")
picked = modal.Dict.from_name("picked-in-the-orchard", create_if_missing=True)


@app.function()
def pick(tree, basket="small"):
    picked[tree] = basket
    return f"{tree} in {basket}"


@app.local_entrypoint()
def main():
    picked.clear()
    pick.spawn_map(["plum", "pear"], kwargs={"basket": "large"})
    call = pick.experimental_spawn_map(["fig", "nut", "quince"])
    assert call.num_inputs() == 3
    assert list(call.iter()) == ["fig in small", "nut in small", "quince in small"]
    assert call.get(index=1) == "nut in small"
    while picked.len() < 5:
        pass
    assert picked["pear"] == "large"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
