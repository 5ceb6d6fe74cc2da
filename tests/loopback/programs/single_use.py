"""A container for each input, and what ends with it."""

import os

import modal

app = modal.App("matchbox")
struck = []


@app.function(single_use_containers=True)
def strike(match):
    struck.append(match)
    return os.environ["MODAL_TASK_ID"], len(struck)


@app.local_entrypoint()
def main():
    seen = list(strike.map(range(3)))
    assert len({task for task, _ in seen}) == 3
    assert {count for _, count in seen} == {1}
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
