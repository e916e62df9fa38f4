"""Between what the numbers of options lie; others are refused by name."""

from cyclopts import Parameter
from cyclopts.validators import Number

__all__ = ["ABOVE_0", "COUNT", "NOT_NEGATIVE", "SHARE"]


ABOVE_0 = Parameter(validator=Number(gt=0))
NOT_NEGATIVE = Parameter(validator=Number(gte=0))
SHARE = Parameter(validator=Number(gte=0, lte=1))
COUNT = Parameter(validator=Number(gte=1))
