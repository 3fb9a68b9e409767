"""What a search found: a table, an options file and Optuna's own plots on one self-contained page."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from rich.console import Console

from trainer.pipeline import TrainingOptions
from trainer.report.figures import REPRODUCIBLE, svg_of
from trainer.report.render import render
from trainer.tuning.search_space import hyperparameters_of
from trainer.tuning.study import DEVIATION, finished
from twotower.terminal import Column, Listing

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_SHOWN: Final = 10
_TARGET: Final = "nDCG@10"
_MIN_FOR_IMPORTANCE: Final = 5


def ranked(study: "optuna.Study") -> "list[FrozenTrial]":
    """Trials that were scored on all folds, the best first."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def rows_of(study: "optuna.Study", options: TrainingOptions) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of the best trials; the first trial, the recipe as it is, is marked."""
    names, best, first = list(hyperparameters_of(options)), ranked(study), first_number(study)
    rows = []
    for trial in best[:_SHOWN] + [trial for trial in best[_SHOWN:] if trial.number == first]:
        number = f"{trial.number}{' (as it is)' if trial.number == first else ''}"
        error, seconds = trial.user_attrs[DEVIATION], trial.user_attrs["seconds"]
        values = [f"{trial.params[name]:.4g}" for name in names]
        rows.append([number, f"{trial.value:.4f}", f"{error:.4f}", f"{seconds:.1f}", *values])
    return ["trial", _TARGET, "± s.e.", "seconds", *names], rows


def first_number(study: "optuna.Study") -> int:
    """Number of the trial of the recipe as it is, the first that was finished; -1 if there is none."""
    return min((trial.number for trial in finished(study)), default=-1)


def print_trials(console: Console, study: "optuna.Study", options: TrainingOptions) -> None:
    """Print the best trials, and how the trials ended."""
    header, rows = rows_of(study, options)
    console.print(counts(study), style="bold")
    table = Listing(*map(Column, header))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def counts(study: "optuna.Study") -> str:
    """How the trials ended, in words."""
    states = [trial.state.name.lower() for trial in study.get_trials(deepcopy=False)]
    return "trials: " + ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "fail") if state in states
    )


def write_best(path: Path, study: "optuna.Study", options: TrainingOptions) -> None:
    """Write the best trial's options as ``--options`` takes them, and what they were chosen by; whole or not at all."""
    best, hyperparameters = ranked(study)[0], hyperparameters_of(options)
    first = [trial.value for trial in ranked(study) if trial.number == first_number(study)]
    content = {
        "preset": options.preset.name,
        "options": {name: hyperparameters[name].number(value) for name, value in best.params.items()},
        "ndcg@10": best.value,
        "ndcg@10_as_it_is": first[0] if first else None,
        "standard_error": best.user_attrs[DEVIATION],
        "trial": best.number,
        "trials": counts(study),
        "about": study.user_attrs["about"],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_page(path: Path, study: "optuna.Study", options: TrainingOptions, rows: str) -> None:
    """Write table and plots as one page.

    Args:
        path: of the page.
        study: with at least one trial that was scored on all folds.
        options: the recipe.
        rows: what the trials were scored on, in words.
    """
    header, lines = rows_of(study, options)
    page = render(
        "search.html",
        title=f"Search of {options.preset.name}",
        trials=counts(study),
        group=study.user_attrs["about"]["objective"],
        rows=rows,
        header=header,
        lines=lines,
        pictures=_pictures(study, list(hyperparameters_of(options))),
    )
    path.write_text(page, encoding="utf-8")


def _pictures(study: "optuna.Study", hyperparameters: Sequence[str]) -> Mapping[str, Markup]:
    """Draw Optuna's plots as SVG, by their headings."""
    import matplotlib as mpl

    mpl.use("Agg")
    import optuna
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.visualization import matplotlib as plots

    with warnings.catch_warnings(), mpl.rc_context(REPRODUCIBLE):
        warnings.simplefilter("ignore")  # experimental, and what matplotlib says of categories that are numbers
        pictures = {"Optimization history": _svg(plots.plot_optimization_history(study, target_name=_TARGET), 9, 4)}
        if len(ranked(study)) >= _MIN_FOR_IMPORTANCE:
            evaluator = FanovaImportanceEvaluator(seed=0)
            try:
                drawn = plots.plot_param_importances(study, evaluator=evaluator, target_name=_TARGET)
            except (RuntimeError, ValueError):  # all trials scored alike
                optuna.logging.get_logger(__name__).warning("parameter importances could not be computed")
            else:
                pictures["Parameter importances"] = _svg(drawn, 9, 4)
        pictures["Slices"] = Markup("\n").join(
            _svg(plots.plot_slice(study, params=[name], target_name=_TARGET), 5, 3.5) for name in hyperparameters
        )
    return pictures


def _svg(axes: Any, width: float, height: float) -> Markup:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    axes.set_title("")
    axes.xaxis.set_minor_formatter(NullFormatter())  # on a logarithmic axis they overlap
    canvas = axes.figure
    canvas.set_size_inches(width, height)
    svg = svg_of(canvas, bbox_inches="tight")
    plt.close(canvas)
    return svg
