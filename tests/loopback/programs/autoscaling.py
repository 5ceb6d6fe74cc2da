"""Containers kept ready, limits changed while an app runs, and what a function's queue looks like."""

import os
import time

import modal

app = modal.App("dockyard")


@app.function(min_containers=1, max_containers=2, buffer_containers=0, scaledown_window=60)
def load(crate):
    time.sleep(0.2)
    return os.environ["MODAL_TASK_ID"]


@app.local_entrypoint()
def main():
    while load.get_current_stats().num_total_runners < 1:
        time.sleep(0.1)
    assert len(set(load.map(range(6)))) <= 2
    load.update_autoscaler(max_containers=1, scaledown_window=30)
    assert load.get_current_stats().backlog == 0
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
