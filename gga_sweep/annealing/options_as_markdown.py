"""The table of options in docs/annealing.md: `python -m gga_sweep.annealing.options_as_markdown` prints it."""

from __future__ import annotations

from collections.abc import Iterator

from gga_sweep.annealing.options import METHODS, Option, OptionValue, options_of


def option_table() -> str:
    """Every option of both methods as a table in Markdown."""
    rows = (_row(method, option) for method, kind in METHODS.items() for option in options_of(kind).values())
    return "\n".join(["| method | option | values | default | meaning |", "|---|---|---|---|---|", *rows])


def _row(method: str, option: Option) -> str:
    return f"| `{method}` | `{option.name}` | {_values(option)} | {', '.join(_defaults(option))} | {option.meaning} |"


def _values(option: Option) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.type is bool:
        return "true, false"
    kind = "integer" if option.type is int else "number"
    return kind if option.least is None else f"{kind} >= {option.least}"


def _defaults(option: Option) -> Iterator[str]:
    yield _written(option.default)
    yield from (f"{variant}: {_written(value)}" for variant, value in option.variants.items())


def _written(value: OptionValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else f"{value:g}".replace("e-0", "e-")


if __name__ == "__main__":
    print(option_table())
