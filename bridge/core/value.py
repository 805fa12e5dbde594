"""What the values of the core are made of."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar, get_args

from msgspec import Struct, structs

_HIDDEN: Final = "hidden"
_T = TypeVar("_T")

Hidden = Annotated[_T, _HIDDEN]
"""A field with a secret or with somebody's words: no representation shows it."""


class Value(Struct, frozen=True, omit_defaults=True, gc=False):
    """Frozen and comparable. As JSON (store/records) it has no field that has its default value.

    Values hold only values, which were there before them: no cycle can come of it, so the garbage
    collector need not look for any.
    """

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in structs.fields(self)
            if _HIDDEN not in get_args(field.type)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
