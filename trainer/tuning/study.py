"""The search: an Optuna study in a folder, which continues where a killed run stopped.

Finished trials are rows of a SQLite file, committed one by one. One process works at a study at a time (a lock that
dies with its owner), so a trial that is still *running* when a process starts is one whose process died: it is marked
failed and run again. The sampler is seeded anew for every trial by the study's seed and the number of trials finished
before it, so an interrupted search tries the same options as an uninterrupted one.
"""

import fcntl
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trainer.pipeline import TrainingOptions
from trainer.tuning.objective import BLOCKS, Diverged, Objective
from trainer.tuning.search_space import Hyperparameter, Value, hyperparameters_of, values_of, with_values
from twotower.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_FILE: Final = "study.sqlite"
_LOCK: Final = "lock"
_RANDOM_TRIALS: Final = 8
"""Drawn at random before the sampler has something to learn from."""
_PRUNE_P: Final = 0.1
_ABOUT: Final = "about"
DEVIATION: Final = "standard_error"


class TimeIsUp(Exception):
    """The time limit was reached within a trial."""


@dataclass(frozen=True)
class SearchOptions:
    """How long to search.

    Attributes:
        trials: finished trials that the study is to have in the end, those of earlier runs included.
        seed: of the sampler.
        timeout_s: seconds of this run; None is no limit. A trial that it interrupts is run again by the next run.
    """

    trials: int
    seed: int
    timeout_s: float | None = None


@contextmanager
def opened_study(folder: Path, about: dict[str, object]) -> Iterator["optuna.Study"]:
    """Open or make the study of a folder and hold its lock.

    Args:
        folder: made if missing.
        about: what is searched, and on what; kept in a new study, compared with that of an old one.

    Raises:
        InvalidArgument: another process is searching there, or the study is about something else.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidArgument([FieldViolation("--study", f"another process is searching in {folder}")]) from error
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder.resolve() / _FILE}")
        try:
            yield _study(storage, about)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _study(storage: Any, about: dict[str, object]) -> "optuna.Study":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=_PRUNE_P)
    study = optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", load_if_exists=True, pruner=pruner
    )
    about = json.loads(json.dumps(about))
    stored = study.user_attrs.get(_ABOUT)
    if stored is None:
        study.set_user_attr(_ABOUT, about)
    elif stored != about:
        raise InvalidArgument(
            [
                FieldViolation("--study", f"{name}: the study has {stored.get(name)!r}, got {value!r}")
                for name, value in about.items()
                if stored.get(name) != value
            ]
        )
    return study


def search(
    study: "optuna.Study",
    objective: Objective,
    options: TrainingOptions,
    settings: SearchOptions,
    on_trial: Callable[[int], None],
) -> None:
    """Run trials until the study has enough or time is up.

    Args:
        study: from :func:`opened_study`.
        objective: scores a recipe.
        options: the recipe whose hyperparameters are searched; its own values are the first trial.
        settings: see :class:`SearchOptions`.
        on_trial: called with the number of trials finished since the last call.
    """
    from optuna.trial import TrialState

    ends = time.monotonic() + settings.timeout_s if settings.timeout_s is not None else np.inf
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    done = finished(study)
    on_trial(len(done))
    while len(done) < settings.trials and time.monotonic() < ends:
        try:
            _run_trial(study, objective, options, seed=settings.seed + len(done), first=not done, ends=ends)
        except TimeIsUp:
            return
        on_trial(1)
        done = finished(study)


def finished(study: "optuna.Study") -> "list[FrozenTrial]":
    """Trials that were scored, or given up as hopeless."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _run_trial(
    study: "optuna.Study", objective: Objective, options: TrainingOptions, *, seed: int, first: bool, ends: float
) -> None:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS)
    if first and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        fitted = objective.fitted_constants() if options.preset.loss == "listwise" else {}
        study.enqueue_trial(first_values(options, fitted))
    trial = study.ask(
        {name: _distribution(hyperparameter) for name, hyperparameter in hyperparameters_of(options).items()}
    )
    started = time.monotonic()
    try:
        scored = _score(trial, objective, with_values(options, trial.params), ends)
    except (TimeIsUp, KeyboardInterrupt):
        study.tell(trial, state=TrialState.FAIL)
        raise
    except Diverged:
        trial.set_user_attr("diverged", True)
        scored = None
    trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
    if scored is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr(DEVIATION, float(scored.std() / np.sqrt(len(scored))))
        study.tell(trial, float(scored.mean()))


def _score(trial: "optuna.Trial", objective: Objective, recipe: TrainingOptions, ends: float) -> Any:
    """Score all rows by nDCG@10; None once the pruner is sure that the best trial is better on the same rows."""
    pooled = []
    for fold, rows in enumerate(objective.folds(recipe)):
        pooled.append(rows)
        for block, part in enumerate(np.array_split(rows, BLOCKS)):
            if len(part):
                trial.report(float(part.mean()), fold * BLOCKS + block)
        if time.monotonic() > ends:
            raise TimeIsUp
        if trial.should_prune():
            return None
    return np.concatenate(pooled)


def first_values(options: TrainingOptions, fitted: Mapping[str, Value]) -> dict[str, Value]:
    """Bring a recipe's own values within the range of the search; `fitted` are those that it has none for."""
    own = {name: fitted[name] if value is None else value for name, value in values_of(options).items()}
    return {name: _nearest(hyperparameter, own[name]) for name, hyperparameter in hyperparameters_of(options).items()}


def _nearest(hyperparameter: Hyperparameter, value: Value) -> Value:
    return (
        min(hyperparameter.choices, key=lambda choice: abs(choice - value))
        if hyperparameter.choices
        else min(max(value, hyperparameter.low), hyperparameter.high)
    )


def _distribution(hyperparameter: Hyperparameter) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if hyperparameter.choices:
        return CategoricalDistribution(hyperparameter.choices)
    if hyperparameter.whole:
        return IntDistribution(int(hyperparameter.low), int(hyperparameter.high), log=hyperparameter.log)
    return FloatDistribution(hyperparameter.low, hyperparameter.high, log=hyperparameter.log)
