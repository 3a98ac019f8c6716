"""What rank 0 does for all: its value and its faults reach every rank, and no rank is left waiting."""

from __future__ import annotations

from typing import Any

import pytest

from dmrifw.errors import DmrifwError, InputError
from dmrifw.inversion.collective import on_root


class Post:
    """Carries what rank 0 broadcasts to a rank that is played afterwards."""

    def __init__(self) -> None:
        self.letter: Any = None

    def rank(self, number: int) -> Any:
        post = self

        class Rank:
            rank = number

            def bcast(self, letter: Any, root: int) -> Any:
                post.letter = letter if number == root else post.letter
                return post.letter

        return Rank()


def fail(error: Exception) -> Any:
    raise error


def test_the_value_reaches_every_rank_and_the_task_runs_once() -> None:
    post, calls = Post(), []
    for number in (0, 1, 2):
        assert on_root(post.rank(number), lambda: calls.append(1) or "value") == "value"  # type: ignore[func-returns-value]
    assert calls == [1]


@pytest.mark.parametrize(
    ("error", "elsewhere", "line"),
    [
        (
            InputError("is wrong", "mend it", key="a.b", file="f.toml"),
            InputError,
            r"^f\.toml: a\.b: is wrong; mend it$",
        ),
        (OSError("the disk is full"), DmrifwError, r"^rank 0: the disk is full$"),
    ],
)
def test_a_fault_is_raised_on_every_rank(error: Exception, elsewhere: type[Exception], line: str) -> None:
    post = Post()
    with pytest.raises(type(error)) as caught:
        on_root(post.rank(0), lambda: fail(error))
    assert caught.value is error
    with pytest.raises(elsewhere, match=line):
        on_root(post.rank(1), lambda: None)
