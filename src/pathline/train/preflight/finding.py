"""What a check found, and all of it as a table."""

import textwrap
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]
WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a `Checkup`: what was looked at, what was seen, and what to do where something is wrong."""

    level: Level
    about: str
    seen: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.seen + (f": {self.remedy}" if self.remedy else "")


class PreflightError(ValueError):
    """Training would be in vain; the message names what is wrong and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was looked at before training; ``print`` shows a table, `refuse` raises where there are errors."""

    findings: tuple[Finding, ...]
    seconds: float = field(default=0.0, compare=False)

    def of(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(finding for finding in self.findings if finding.level == level)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes training vain."""
        return self.of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is likely wrong."""
        return self.of("warning")

    def refuse(self) -> None:
        """Raise `PreflightError` if there is an error."""
        if self.errors:
            raise PreflightError("; ".join(f"{finding.about}: {finding}" for finding in self.errors))

    def __str__(self) -> str:
        left = max((len(finding.about) for finding in self.findings), default=0)
        lines = []
        for finding in self.findings:
            mark = {"ok": "", "note": "", "warning": "WARNING ", "error": "ERROR "}[finding.level]
            lines += textwrap.wrap(
                mark + str(finding),
                WIDTH,
                initial_indent=f"{finding.about:<{left}}  ",
                subsequent_indent=" " * (left + 2),
            )
        return "\n".join(lines)
