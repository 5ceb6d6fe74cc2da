"""The parts of a study: its options, its end, its storage, and a job that shall end early."""

import itertools
import threading
import time
from pathlib import Path

import optuna
import pytest

import mini
from mini.errors import OptionError, UsageError
from mini.job import Failure, Job, Outcome, Pruned, State
from mini.runs import live
from mini.runs.folder import RunFolder
from mini.runs.records import read_record
from mini.studies import options
from mini.studies.optimizer import Optimizer
from mini.studies.space import Dimensions
from mini.studies.stopping import Stopping

SPACE = Dimensions({"x": optuna.distributions.FloatDistribution(0, 1)})


def stopping(now=None, **stop):
    now = now or itertools.repeat(0.0)
    return Stopping(options.parse({"direction": "maximize", "stop": stop}), clock=lambda: next(now))


def test_a_study_ends_when_its_time_is_over():
    watched = stopping(iter([0.0, 59.0, 60.0]), time="1m")
    assert watched.why() is None
    assert "study.stop.time" in watched.why()


def test_a_study_ends_when_nothing_gets_better():
    watched = stopping(stale=2)
    for value in (1.0, 2.0, 1.5):
        watched.told((value,), 1.0, is_failure=False)
    assert watched.why() is None
    watched.told(None, 1.0, is_failure=True)
    assert "none of the last 2 trials was better" in watched.why()


def test_a_study_ends_at_its_target_and_its_budget_and_its_trials():
    for stop, said in (({"target": 2.0}, "target"), ({"budget": 10}, "budget"), ({"trials": 2}, "2 trials came")):
        watched = stopping(**stop)
        watched.told((1.0,), 5.0, is_failure=False)
        assert watched.why() is None
        watched.told((2.0,), 5.0, is_failure=False)
        assert said in watched.why()


def test_a_study_ends_when_too_many_fail():
    watched = Stopping(options.parse({"max_failure_rate": 0.5}))
    watched.told(None, 1.0, is_failure=True)
    assert "1 of 1 trials failed" in watched.why()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stop": {"tme": 1}}, "study.stop.tme is not an option of study.stop; did you mean 'time'"),
        ({"trials": 0}, "study.trials=0 is not possible"),
        ({"direction": "up"}, "it must be minimize or maximize"),
        ({"search_space": {"x": 1}}, "hydra.sweeper.search_space is the old way"),
        ({"direction": ["minimize", "maximize"], "pruner": "asha", "metric": ["a", "b"]}, "compares one metric"),
    ],
)
def test_impossible_options_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        options.parse(given)


def test_the_same_seed_and_results_give_the_same_trials(tmp_path):
    def asked(name):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        optimizer = Optimizer(folder, options.parse({"seed": 3}), SPACE)
        found = []
        for _ in range(12):
            trial, _index = optimizer.ask()
            found.append(optimizer.choose(trial)["x"])
            optimizer.tell(trial, [found[-1]])
        return found

    assert asked("a") == asked("b")


def test_a_study_that_goes_on_draws_no_number_twice(tmp_path):
    folder = RunFolder(tmp_path)
    chosen = options.parse({"seed": 3, "sampler": "random"})
    drawn = []
    for _ in range(4):
        optimizer = Optimizer(folder, chosen, SPACE)
        trial, index = optimizer.ask()
        drawn.append(optimizer.choose(trial)["x"])
        optimizer.tell(trial, [0.0])
        assert index == len(drawn) - 1
    assert len(set(drawn)) == 4


def test_a_trial_that_goes_on_has_the_values_it_had(tmp_path):
    folder = RunFolder(tmp_path)
    trial, index = (first := Optimizer(folder, options.parse({}), SPACE)).ask()
    chosen = first.choose(trial)
    second = Optimizer(folder, options.parse({}), SPACE)
    ((again, same),) = second.unfinished()
    assert (second.choose(again), same) == (chosen, index)


def test_a_trial_that_was_killed_before_it_chose_goes_on(tmp_path):
    Optimizer(RunFolder(tmp_path), options.parse({}), SPACE).study.ask()
    second = Optimizer(RunFolder(tmp_path), options.parse({}), SPACE)
    ((trial, index),) = second.unfinished()
    assert index == 0
    assert 0 <= second.choose(trial)["x"] <= 1


def test_constraints_keep_a_trial_from_being_the_best(tmp_path):
    optimizer = Optimizer(RunFolder(tmp_path), options.parse({"constraints": "over"}), SPACE)
    for value, over in ((1.0, 0.5), (2.0, -0.5)):
        trial, _ = optimizer.ask()
        optimizer.choose(trial)
        optimizer.tell(trial, [value], constraints={"over": over})
    assert optimizer.best().value == 2.0


# A job that shall end early.


def steps(folder, catch=False):
    accuracy = 0.0
    try:
        for step in range(1, 10_000):
            accuracy = step / 10_000
            mini.progress(step, 10_000, accuracy=accuracy)
            Path(folder, "going").touch()
            time.sleep(0.01)
    except Pruned:
        if not catch:
            raise
    return {"accuracy": accuracy, "saved": catch}


def deaf(folder):
    mini.progress(1, 2, accuracy=0.25)
    Path(folder, "going").touch()
    time.sleep(3600)


def run_and_prune(apparatus, tmp_path, fn, *args, then_stop=False):
    folder = tmp_path / "run" / "0"
    folder.parent.mkdir()
    job = Job(0, fn, (str(tmp_path), *args), folder=str(folder), run=str(folder.parent), record=True)
    stream = apparatus.start(apparatus.encode([job]))

    def prune():
        while not (tmp_path / "going").exists():
            time.sleep(0.01)
        stream.prune(job)
        while then_stop and live.read_live(folder) is None:
            time.sleep(0.01)
        if then_stop:
            stream.stop(0)

    threading.Thread(target=prune, daemon=True).start()
    outcome = next(stream)
    stream.close()
    record = read_record(folder)
    assert record.outcome.state is outcome.state is State.PRUNED
    return outcome, record.row


def test_progress_ends_a_job_early(local, tmp_path):
    outcome, row = run_and_prune(local, tmp_path, steps)
    assert 0 < row["metrics.accuracy"] < 1
    assert outcome.failure.type == "Pruned"
    with pytest.raises(mini.JobError, match="pruned: it ended early"):
        outcome.result()


def test_a_job_may_save_what_it_has_and_is_pruned_all_the_same(local, tmp_path):
    _, row = run_and_prune(local, tmp_path, steps, True)
    assert row["metrics.saved"] is True


def test_a_job_that_does_not_hear_is_stopped_and_is_pruned(local, tmp_path):
    outcome, row = run_and_prune(local, tmp_path, deaf, then_stop=True)
    assert row["metrics.accuracy"] == 0.25
    assert outcome.failure.message == "it ended early, at step 1 of 2"


def test_a_pruned_job_is_not_tried_again(tmp_path):
    def ends():
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        raise Pruned("hopeless")

    made = mini.LocalApparatus("test", volume=tmp_path / "volume", workers=1, retries=2)
    with made as apparatus, pytest.raises(mini.JobError, match="pruned"):
        apparatus.run(ends)
    assert (tmp_path / "tries").read_text() == "x"


def test_only_what_went_wrong_is_a_failure():
    assert [state.value for state in State if state.is_failure] == ["failed", "timeout", "lost"]
    pruned = Outcome(0, State.PRUNED, failure=Failure("Pruned", "it ended early"))
    assert not pruned.ok


# From Python.


def test_a_function_is_studied(tmp_path):
    def square(x, kind):
        return {"loss": (x - 0.5) ** 2 + (kind == "bad")}

    space = {"x": optuna.distributions.FloatDistribution(0, 1), "kind": ["good", "bad"]}
    with mini.LocalApparatus("test", volume=tmp_path / "volume", workers=2) as apparatus:
        found = mini.study(square, space, apparatus=apparatus, run="a", trials=6, metric="loss", seed=1)
        assert found.run.table().height == 6
        assert found.best.value == found.run.table()["loss"].min()
        more = mini.study(square, space, apparatus=apparatus, run="a", trials=8, metric="loss", seed=1)
    assert more.run.table().height == 8
    assert len(more.optuna.trials) == 8


def test_a_space_of_something_else_is_refused():
    with pytest.raises(UsageError, match="x=3 is no dimension of a space"):
        mini.study(print, {"x": 3})
    with pytest.raises(UsageError, match="nothing to choose"):
        mini.study(print, {})
    with pytest.raises(OptionError, match=r"study.trails is not an option"):
        mini.study(print, {"x": [1, 2]}, trails=3)
    assert not list(Path("outputs").glob("*"))


def test_the_documentation_lists_every_option():
    written = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    assert written.split("<!-- options -->\n")[1].split("<!-- end -->")[0] == "\n".join(options.table()) + "\n"
