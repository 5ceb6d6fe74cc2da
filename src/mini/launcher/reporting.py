"""The table that a command leaves and shows at its end."""

from __future__ import annotations

import os

from mini import combine
from mini.apparatus.groups import Results
from mini.cost import estimate
from mini.display import terminal
from mini.job import State
from mini.report.run_page import at_end
from mini.runs.folder import RunFolder


def show(folder: RunFolder, wanted: Results) -> None:
    """Leave the combined table, and show it.

    Args:
        folder: The run.
        wanted: What of it.
    """
    table, problems = combine.write(folder)
    out = terminal.console()
    if not table.is_empty():
        table, complaint = terminal.best_first(table, wanted.sort)
        rows = wanted.rows
        hint = f"`mini results {folder.id} --columns …` shows them"
        terminal.print_results(out, table, terminal.columns(table, wanted.columns), rows, hint)
        if table.height > rows:
            out.print(f"… {table.height - rows} more rows in the table")
        for line in terminal.failures(table):
            out.print(line)
        if complaint and State.DONE in table["state"]:
            out.print(terminal.printable(complaint), style="yellow")
    for problem in problems:
        out.print(terminal.printable(str(problem)), style="yellow")
    counts = dict(table["state"].value_counts().iter_rows())
    total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if (cost := estimate.of_folder(folder)[1]) is not None:
        out.print(cost, soft_wrap=True)
    out.print(f"{total} → {os.path.relpath(folder.path)}/results.parquet", soft_wrap=True)
    if complaint := at_end(folder, table.height, wanted.report):
        out.print(complaint, style="yellow")
