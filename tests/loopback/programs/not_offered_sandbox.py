"""refused: sandboxes"""

import modal

app = modal.App("playground")


@app.local_entrypoint()
def main():
    modal.Sandbox.create("true", app=app)
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
