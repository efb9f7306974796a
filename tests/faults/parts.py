"""The parts by name, in the order in which `all` runs them."""

from .bundle_folders import Bundles
from .configurations import Configurations
from .damage import Damage
from .data_files import DataFiles
from .disk import Disk
from .harness import Part
from .http_requests import Requests
from .kill import Kill
from .memory import Memory
from .signals import Signals

_ALL: tuple[type[Part], ...] = (Configurations, DataFiles, Bundles, Requests, Kill, Signals, Damage, Disk, Memory)
PARTS: dict[str, type[Part]] = {part.name: part for part in _ALL}
