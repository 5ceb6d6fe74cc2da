"""refused: web endpoints"""

import modal

app = modal.App("kiosk")


@app.cls()
class Counter:
    @modal.asgi_app()
    def web(self):
        return None


@app.local_entrypoint()
def main():
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
