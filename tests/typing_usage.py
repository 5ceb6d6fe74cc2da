"""Uses that the type checker must accept. Never run."""

import asyncio

from mini import Apparatus, DebugApparatus, LocalApparatus, Outcome, job_dir, progress


def train(rate: float, *, epochs: int = 1) -> dict[str, float]:
    """A function of a user's."""
    progress(1, epochs, loss=rate)
    (job_dir() / "file").write_text("text")
    return {"loss": rate}


def use(apparatus: Apparatus) -> None:
    """Any apparatus will do."""
    apparatus.run(train, 0.1, epochs=3)
    for value in apparatus.w(retries=2).map(train, [0.1, 0.2], kwargs={"epochs": 3}, return_exceptions=True):
        print(value)


async def use_async(apparatus: Apparatus) -> None:
    """The same, in a loop."""
    await apparatus.arun(train, 0.1)
    async for value in apparatus.amap(train, [0.1]):
        print(value)


def main(outcome: Outcome) -> None:
    """Both apparatus of this machine are context managers."""
    with LocalApparatus(workers=2) as local, DebugApparatus(pdb=True) as debug:
        use(local)
        asyncio.run(use_async(debug))
    print(outcome.result(), outcome.seconds)
