"""Progress on the terminal: the bar of `fit`, and `track` for any other long loop.

On a terminal the bars are drawn by rich. Anywhere else (a file, a pipe, a notebook's log) the same figures
come as plain ASCII lines without escape codes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from minivid.callbacks import Callback

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["ProgressBar", "track"]

Item = TypeVar("Item")

SHOW_AFTER_SECONDS = 2.0  # work shorter than this shows no bar
PLAIN_LINE_SECONDS = 10.0  # between two plain lines of `track`
REDRAW_SECONDS = 0.1  # between two redraws of the bar of `fit`
NARROWEST_BAR, WIDEST_BAR = 8, 24  # characters


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of `iterable`, showing progress on stderr if the work takes longer than 2 s.

    Parameters
    ----------
    iterable : iterable
        What to loop over.
    description : str
        What is being done, for example ``"Decoding clips"``.
    total : int, optional
        Number of items; default ``len(iterable)`` where it has one, otherwise unknown.

    Yields
    ------
    item
        The items of `iterable`, unchanged and in order.

    Examples
    --------
    >>> from minivid.progress import track
    >>> [2 * i for i in track(range(3), "Doubling")]
    [0, 2, 4]
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    start = time.monotonic()
    display = None
    try:
        for done, item in enumerate(iterable, start=1):
            yield item
            if display is None and time.monotonic() - start >= SHOW_AFTER_SECONDS:
                display = _track_display(description, total, start)
            if display is not None:
                display.update(done)
    finally:
        if display is not None:
            display.close()


class ProgressBar(Callback):
    """The display of `fit`: a live bar and one remaining line per epoch.

    Parameters
    ----------
    verbose : {"auto", 0, 1, 2}
        0 is silent; 1 (the same as ``"auto"``) draws a live bar on a terminal and prints one plain line per epoch
        elsewhere; 2 prints one plain line per epoch everywhere.
    stream : text file, optional
        Where to write; default ``sys.stdout`` at the time training begins.

    Notes
    -----
    ``params["epochs"]`` and ``params["steps"]`` (batches per epoch, or None) come from `set_params`. The
    milliseconds per step are of the training steps alone; the seconds of an epoch include its validation. On a
    narrow terminal the bar gives way to the figures.

    Examples
    --------
    >>> from minivid.progress import ProgressBar
    >>> bar = ProgressBar(verbose=2)
    >>> bar.set_params({"epochs": 2, "steps": 24})
    >>> bar.verbose
    2
    """

    def __init__(self, verbose: int | str = "auto", stream: TextIO | None = None):
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0 (silent), 1 (bar) or 2 (one line per epoch), got {verbose!r}")
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.stream = stream
        self._console = None
        self._live = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Find out whether there is a terminal."""
        self._out = self.stream or sys.stdout
        live = self.verbose == 1 and _is_terminal(self._out)
        self._console = _console(self._out) if live else None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Show the empty bar."""
        self._label = _epoch_label(epoch, (self.params or {}).get("epochs"))
        self._done = 0
        self._start = self._last_step = self._last_draw = time.monotonic()
        if self._console is not None:
            from rich.live import Live

            self._live = Live(self._row({}), console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Move the bar."""
        self._done = batch + 1
        self._last_step = time.monotonic()
        if self._live is not None and self._last_step - self._last_draw >= REDRAW_SECONDS:
            self._last_draw = self._last_step
            self._live.update(self._row(logs or {}), refresh=True)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Leave one line."""
        if self._live is not None:
            self.close()
            self._console.print(self._row(logs or {}))
        elif self.verbose > 0:
            print(self._plain_line(logs or {}), file=self._out, flush=True)

    def close(self) -> None:
        """Give the terminal back (also called when training stops by an error)."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _steps(self) -> int | None:
        return (self.params or {}).get("steps")

    def _count(self) -> str:
        steps = self._steps()
        return str(self._done) if steps is None else f"{self._done:>{len(str(steps))}}/{steps}"

    def _step_time(self) -> str:
        if self._done == 0:
            return "- ms/step"
        return _duration_per_step((self._last_step - self._start) / self._done)

    def _plain_line(self, logs: dict[str, Any]) -> str:
        seconds = time.monotonic() - self._start
        figures = [f"{name}: {_figure(value)}" for name, value in logs.items()]
        return "  ".join([self._label, self._count(), f"{seconds:.1f}s", self._step_time(), *figures])

    def _row(self, logs: dict[str, Any]) -> Table:
        from rich.progress_bar import ProgressBar as Bar
        from rich.table import Table
        from rich.text import Text

        figures = Text(" ").join(Text.assemble((name, "dim"), " ", _figure(value)) for name, value in logs.items())
        details = [self._count(), self._step_time()]
        free = self._console.width - sum(len(text) + 1 for text in (self._label, *details)) - len(figures)
        cells: list[Any] = [self._label]
        if free > NARROWEST_BAR:
            steps = self._steps() or max(self._done, 1)
            cells.append(Bar(total=steps, completed=self._done, width=min(WIDEST_BAR, free - 1)))
        elif free < 0:
            details = details[:1]
        row = Table.grid(padding=(0, 1))
        for _ in cells + details:
            row.add_column(no_wrap=True)
        row.add_row(*cells, *details, figures)
        return row


class _PlainTrack:
    """A line every few seconds, and a last one at the end."""

    def __init__(self, description: str, total: int | None, start: float):
        self.description, self.total, self.start = description, total, start
        self.done = 0
        self.next_line = time.monotonic()

    def update(self, done: int) -> None:
        self.done = done
        if time.monotonic() >= self.next_line and done != self.total:
            self.write()
            self.next_line = time.monotonic() + PLAIN_LINE_SECONDS

    def write(self) -> None:
        count = self.done if self.total is None else f"{self.done}/{self.total}"
        seconds = time.monotonic() - self.start
        print(f"{self.description}  {count}  {seconds:.1f}s", file=sys.stderr, flush=True)

    def close(self) -> None:
        self.write()


class _RichTrack:
    """A rich bar with the elapsed and the remaining time."""

    def __init__(self, description: str, total: int | None, start: float):
        from rich import progress as rich_progress

        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=WIDEST_BAR),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
        )
        console = _console(sys.stderr)
        self.progress = rich_progress.Progress(*columns, console=console, get_time=time.monotonic)
        self.task = self.progress.add_task(description, total=total)
        self.progress.tasks[0].start_time = start
        self.progress.start()

    def update(self, done: int) -> None:
        self.progress.update(self.task, completed=done)

    def close(self) -> None:
        self.progress.stop()


def _track_display(description: str, total: int | None, start: float) -> _PlainTrack | _RichTrack:
    kind = _RichTrack if _is_terminal(sys.stderr) else _PlainTrack
    return kind(description, total, start)


def _console(stream: TextIO) -> Console:
    from rich.console import Console
    from rich.theme import Theme

    calm = {
        "bar.complete": "cyan",
        "bar.finished": "green",
        "progress.download": "none",
        "progress.elapsed": "dim",
        "progress.remaining": "dim",
    }
    return Console(file=stream, highlight=False, theme=Theme(calm))


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _epoch_label(epoch: int, epochs: int | None) -> str:
    if epochs is None:
        return f"Epoch {epoch + 1}"
    return f"Epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"


def _duration_per_step(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{seconds:.1f} s/step"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f} ms/step"
    return f"{seconds * 1e6:.0f} us/step"


def _figure(value: Any) -> str:
    """Four decimals, or scientific where four decimals would show nothing (a learning rate)."""
    if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
        return str(value)
    value = float(value)
    return f"{value:.4f}" if value == 0.0 or abs(value) >= 1e-3 else f"{value:.2e}"
