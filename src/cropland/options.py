"""Between what the numbers of options lie, others are refused by name; and what an amount of memory is."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import ByteSize, Field, TypeAdapter, ValidationError

from cropland.errors import InputError

__all__ = ["ABOVE_0", "COUNT", "NOT_NEGATIVE", "PERCENT", "SHARE", "bytes_of"]


ABOVE_0 = Parameter(validator=Number(gt=0))
NOT_NEGATIVE = Parameter(validator=Number(gte=0))
SHARE = Parameter(validator=Number(gte=0, lte=1))
PERCENT = Parameter(validator=Number(gte=0, lte=100))
COUNT = Parameter(validator=Number(gte=1))


def bytes_of(text: str | int) -> int:
    """2GB, 500 MiB; more than 0. Raises `InputError` for anything else."""
    try:
        return int(TypeAdapter(Annotated[ByteSize, Field(gt=0)]).validate_python(text))
    except ValidationError as error:
        raise InputError("--memory {text} is not an amount of memory; write it as in 2GB", text=text) from error
