"""refused: cloud bucket mounts"""

import modal

app = modal.App("well")


@app.function(volumes={"/bucket": modal.CloudBucketMount("well")})
def draw():
    return "water"


@app.local_entrypoint()
def main():
    print(draw.remote(), "WORKED")


if __name__ == "__main__":
    with app.run():
        main()
