"""Known failures: the one table of what does not match, with reasons that a maintainer can act on.

`known_failures.json` is a list of `{"entries": [patterns], "checks": [names], "reason": text}`; patterns are shell
patterns on "model_type/ClassName". A row that concerns some releases of transformers only has `"transformers"`, too:
a version specifier such as "<5.15". `judge` holds a result against the table: a failure that is not in it and a
pass that is are both news. An entry that its release does not have is neither.
"""

import dataclasses
import fnmatch
import functools
import json
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

FILE = Path(__file__).with_name("known_failures.json")
PASSING = ("match", "none", "absent")
"""Statuses that are no failure: it matches, it does not apply, that release does not have the class."""


@functools.cache
def table() -> tuple[dict[str, Any], ...]:
    """The rows of the table."""
    return tuple(json.loads(FILE.read_text()))


def reason(name: str, check: str, release: str | None) -> str | None:
    """Why this check of this entry is known to fail with that release of transformers, or None.

    A `release` of None, of a result that does not say, meets rows for all releases only.
    """
    for row in table():
        if check not in row["checks"] or not any(fnmatch.fnmatchcase(name, p) for p in row["entries"]):
            continue
        if (releases := row.get("transformers")) is None:
            return row["reason"]
        if release is not None and SpecifierSet(releases).contains(release, prereleases=True):
            return row["reason"]
    return None


@dataclasses.dataclass
class News:
    """What a sweep found that the table does not say: (entry, check) -> message or reason."""

    failures: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    passes: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

    def judge(self, result: dict[str, Any]) -> None:
        """Take in the result of one entry."""
        for check, found in result["checks"].items():
            expected, key = reason(result["name"], check, result.get("transformers")), (result["name"], check)
            if found["status"] == "match" and expected:
                self.passes[key] = expected
            elif found["status"] not in PASSING and not expected:
                where = f" [{found['where']}]" if found.get("where") else ""
                self.failures[key] = f"{found['status']}: {found.get('message', '')}{where}"

    def __bool__(self) -> bool:
        return bool(self.failures or self.passes)
