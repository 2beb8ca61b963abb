"""Which stage of the student meets which of the teacher's: --stages."""

import re
from itertools import pairwise

from shared.errors import InputError

Pairs = tuple[tuple[int, int], ...]  # (teacher's stage, student's stage), from 0


def pair_stages(asked: str | None, teacher: int, student: int) -> Pairs:
    """`asked` is like "2:1,3:2,4:3": teacher's stage, student's stage, counted from 1. None pairs
    them from the last one backwards, as far as both have stages.

    Raises InputError if it does not name rising stages that both networks have.
    """
    if asked is None:
        common = min(teacher, student)
        return tuple((teacher - common + i, student - common + i) for i in range(common))
    pairs = [re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", part.strip()) for part in asked.split(",")]
    found = tuple((int(pair[1]) - 1, int(pair[2]) - 1) for pair in pairs if pair)
    rises = all(a < c and b < d for (a, b), (c, d) in pairwise(found))
    inside = all(0 <= t < teacher and 0 <= s < student for t, s in found)
    if len(found) < len(pairs) or not rises or not inside:
        raise InputError(
            f"--stages must be rising pairs TEACHER:STUDENT like 2:1,3:2,4:3, of {teacher} and "
            f"{student} stages: got {asked[:200]}"
        )
    return found
