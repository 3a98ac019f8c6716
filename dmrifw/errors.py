"""The one error family: every fault that a user can mend is an `InputError` that says where, what and how."""

from __future__ import annotations

from pathlib import Path


class DmrifwError(Exception):
    """Base of everything that dmrifw raises on purpose."""


class InputError(DmrifwError, ValueError):
    """Bad input, told in one line: file, key, what is wrong, how to mend it.

    Args:
        fault: What is wrong, with the offending value.
        mend: What the user can do about it.
        key: The config key, argument or column at fault, where there is one.
        file: The file at fault, where there is one.
    """

    def __init__(self, fault: str, mend: str, *, key: str | None = None, file: str | Path | None = None) -> None:
        self.fault, self.mend, self.key, self.file = fault, mend, key, file
        super().__init__(fault)

    def located(self, *, key: str | None = None, file: str | Path | None = None) -> InputError:
        """The same fault with a place added by a caller that knows more; a place already known is kept."""
        return InputError(self.fault, self.mend, key=self.key or key, file=self.file or file)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str], dict[str, object]]:
        """Pickle with its keywords, so that a fault found on one MPI rank can be raised on all."""
        return type(self), (self.fault, self.mend), vars(self)

    def __str__(self) -> str:
        where = [str(part) for part in (self.file, self.key) if part]
        line = ": ".join([*where, f"{self.fault}; {self.mend}"])
        return " ".join(line.split())


class ConvergenceError(DmrifwError, RuntimeError):
    """A numerical method could not reach the tolerance that was asked for."""


class PluginError(DmrifwError, RuntimeError):
    """A plugin is missing, broken, or not the same on all ranks."""
