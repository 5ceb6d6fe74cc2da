"""refused: tunnels"""

import modal

app = modal.App("mine")


@app.function()
def dig():
    with modal.forward(8000) as tunnel:
        return tunnel.url


@app.local_entrypoint()
def main():
    print(dig.remote(), "WORKED")


if __name__ == "__main__":
    with app.run():
        main()
