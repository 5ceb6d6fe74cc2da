"""refused: sandboxes"""

import modal

app = modal.App("playground")


@app.local_entrypoint()
def main():
    modal.Sandbox.create("true", app=app)
    print("WORKED")
