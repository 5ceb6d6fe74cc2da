"""refused: memory snapshots"""

import modal

app = modal.App("photograph")


@app.function(enable_memory_snapshot=True)
def smile():
    return "cheese"


@app.local_entrypoint()
def main():
    smile.remote()
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
