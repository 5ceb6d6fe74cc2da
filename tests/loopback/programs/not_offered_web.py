"""refused: web endpoints"""

import modal

app = modal.App("shop")


@app.function(image=modal.Image.debian_slim())
@modal.fastapi_endpoint()
def sell():
    return "sold"


@app.local_entrypoint()
def main():
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
