"""refused: clusters"""

import modal
import modal.experimental

app = modal.App("parade")


@app.function(gpu="H100:8")
@modal.experimental.clustered(size=2)
def march():
    return "left"


@app.local_entrypoint()
def main():
    print(march.remote(), "WORKED")


if __name__ == "__main__":
    with app.run():
        main()
