"""One door to every scan, whatever it is stored as: `load_scan` (chapter 10, "Loading individual CT scans").

How files are read is in `reading`, what becomes of them in `ct`.
"""

from p2ch10.ct import Ct
from p2ch10.reading import read_volume as read_volume
from p2ch10.reading import source_fingerprint as source_fingerprint


def load_scan(path, series=None) -> Ct:
    """The `Ct` of any scan file or DICOM folder, outside the LUNA data; `series` as for `read_volume`."""
    return Ct(path, series)
