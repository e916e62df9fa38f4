from cropland.api import Model as Model
from cropland.api import compare as compare
from cropland.api import cut_chips as cut_chips
from cropland.api import deliver as deliver
from cropland.api import design_sample as design_sample
from cropland.api import doctor as doctor
from cropland.api import estimate_area as estimate_area
from cropland.api import evaluate as evaluate
from cropland.api import find as find
from cropland.api import map as map
from cropland.api import open as open
from cropland.api import suggest as suggest
from cropland.api import train as train
from cropland.api import tune as tune

__version__: str
