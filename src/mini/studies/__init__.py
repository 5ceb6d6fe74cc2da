"""Studies: trials that are chosen by what came of the earlier ones, on Optuna."""
