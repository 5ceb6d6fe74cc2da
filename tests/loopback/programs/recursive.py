"""Functions that call themselves, and more of them that wait for each other than there are cores."""

import modal

app = modal.App("stairs")
flags = modal.Queue.from_name("flags-on-the-stairs", create_if_missing=True)


@app.function()
def climb(step):
    return 1 if step == 0 else 1 + climb.remote(step - 1)


@app.function()
def carry(name):
    flag = flags.get(partition=str(name), timeout=200)
    flags.put(flag, partition=str(name + 1))
    return flag


@app.local_entrypoint()
def main():
    assert climb.remote(2) == 3
    flags.clear(all=True)
    flags.put("red", partition="0")
    assert list(carry.map([2, 1, 0])) == ["red"] * 3  # the first that starts waits for the last
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
