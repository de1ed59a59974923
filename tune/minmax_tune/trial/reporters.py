"""The reporter of a training in other processes than its trial's: it writes the measurements to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path


class FileReporter:
    """Writes the measurements of a training down, for its trial to read. It ends the training after its trial.

    Args:
        file: The file of the measurements. The trial removes it at its end.
        watcher: The trial's process.
        metric: The primary objective.
    """

    def __init__(self, file: str, watcher: int, metric: str) -> None:
        self.file, self.watcher, self.metric = Path(file), watcher, metric

    def on_iteration(self) -> None:
        # The process of a stopped trial may live on with another trial. Its file does not.
        if not (_lives(self.watcher) and self.file.exists()):
            raise SystemExit("its trial has ended")

    def on_measure(self, metrics: dict[str, float], iterations: int, images: int, last: bool) -> None:
        line = dict(metrics=metrics, iterations=iterations, images=images, last=last)
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # nothing is sent: is it there?
    except ProcessLookupError:
        return False
    return True
