"""Logs of an app and of a call, streamed and afterwards."""

import sys

import modal

app = modal.App("radio")


@app.function()
def speak(word):
    print(f"on air: {word}")
    print(f"static: {word}", file=sys.stderr)


@app.local_entrypoint()
def main():
    call = speak.spawn("weather")
    call.get()
    speak.remote("news")
    messages = ""
    while "static: news" not in messages:
        messages = "".join(entry.message for entry in app.logs.tail(100))
    assert "on air: weather" in messages
    only = "".join(entry.message for entry in call.logs.tail(100))
    assert "weather" in only
    assert "news" not in only
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
