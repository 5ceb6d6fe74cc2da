"""Functions with a schedule, called by hand."""

import modal

app = modal.App("belfry")


@app.function(schedule=modal.Period(hours=1))
def ring():
    return "dong"


@app.function(schedule=modal.Cron("0 9 * * 1", timezone="Europe/Berlin"))
def wake():
    return "ding"


@app.local_entrypoint()
def main():
    assert ring.remote() + wake.remote() == "dongding"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
