"""Hardware asked for: GPUs with a count and alternatives, cores, memory, disk and a region."""

import modal

app = modal.App("observatory")


@app.function(
    gpu="H100:2", cpu=2.0, memory=1024, ephemeral_disk=524288, region="us-east", timeout=60, retries=1, cloud="aws"
)
def see():
    return "star"


@app.function(gpu=["A100-80GB", "L40S", "any"], cpu=(1.0, 2.0), memory=(256, 512))
def look():
    return "moon"


@app.local_entrypoint()
def main():
    assert see.remote() + look.remote() == "starmoon"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
