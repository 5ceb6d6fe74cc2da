"""Somebody's Hydra application: a script, a neighbour that is imported in the job, a file that the job leaves."""

import hydra
from omegaconf import DictConfig

from mini import job_dir


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> dict[str, float]:
    from arithmetic import scaled

    (job_dir() / "note.txt").write_text(f"x is {config.x}\n")
    return {"loss": scaled(config.x, config.optimizer.lr)}


if __name__ == "__main__":
    main()
