"""refused: proxies"""

import modal

app = modal.App("embassy")


@app.function(proxy=modal.Proxy.from_name("envoy"))
def speak():
    return "words"


@app.local_entrypoint()
def main():
    print(speak.remote(), "WORKED")


if __name__ == "__main__":
    with app.run():
        main()
