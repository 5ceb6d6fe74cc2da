"""The command line: `python -m app [OVERRIDES]`."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

CONF = Path(__file__).parents[2] / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> dict[str, Any]:
    """Train one model.

    Args:
        config: As composed from `conf/`.

    Returns:
        The final metrics.
    """
    from app.train import train  # JAX takes a second to import, and only the jobs need it

    return train(config)


if __name__ == "__main__":
    main()
