"""From signals to fields: the problem, the loop that solves it, its checkpoint and its observers."""

from dmrifw.inversion.adam import AdamSettings
from dmrifw.inversion.checkpoint import Checkpoint, fingerprint
from dmrifw.inversion.gauss_newton import GaussNewtonSettings
from dmrifw.inversion.history import History
from dmrifw.inversion.lbfgs import LbfgsSettings
from dmrifw.inversion.likelihoods import Likelihood
from dmrifw.inversion.loop import Interrupted, Result, invert
from dmrifw.inversion.noise import Noise, Remainder, add_noise, estimate_sigma, remainder
from dmrifw.inversion.observers import HistoryWriter, Observer, ProgressBar
from dmrifw.inversion.problem import ForwardModel, InversionProblem
from dmrifw.inversion.restarts import Restarts
from dmrifw.inversion.workers import Workers
from dmrifw.optimizers import OptimizerSettings

__all__ = [
    "AdamSettings",
    "Checkpoint",
    "ForwardModel",
    "GaussNewtonSettings",
    "History",
    "HistoryWriter",
    "Interrupted",
    "InversionProblem",
    "LbfgsSettings",
    "Likelihood",
    "Noise",
    "Observer",
    "OptimizerSettings",
    "ProgressBar",
    "Remainder",
    "Restarts",
    "Result",
    "Workers",
    "add_noise",
    "estimate_sigma",
    "fingerprint",
    "invert",
    "remainder",
]
