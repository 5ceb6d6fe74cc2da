"""What a container knows of itself."""

import os

import modal

app = modal.App("mirror")
where_imported = "here" if modal.is_local() else "there"


@app.function()
def look():
    return {
        "imported": where_imported,
        "local": modal.is_local(),
        "call": modal.current_function_call_id(),
        "input": modal.current_input_id(),
        "task": os.environ["MODAL_TASK_ID"],
        "app": app.app_id,
        "cwd": os.getcwd(),  # noqa: PTH109
    }


@app.local_entrypoint()
def main():
    call = look.spawn()
    seen = call.get()
    assert seen["imported"] == "there"
    assert not seen["local"]
    assert seen["call"] == call.object_id
    assert seen["input"].startswith("in-")
    assert seen["task"].startswith("ta-")
    assert seen["app"] == app.app_id
    assert where_imported == "here"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
