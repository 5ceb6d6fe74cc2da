"""refused: network file systems"""

import modal

app = modal.App("office")


share = modal.NetworkFileSystem.from_name("share", create_if_missing=True)


@app.function(network_file_systems={"/share": share})
def read():
    return "read"


@app.local_entrypoint()
def main():
    print(read.remote(), "WORKED")


if __name__ == "__main__":
    with app.run():
        main()
