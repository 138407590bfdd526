"""Will it learn? Signal and gradient at initialisation, predicted and measured, and what to do."""

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.doctor.curve import read_curve as read_curve
    from shoestring.doctor.probe import measure as measure
    from shoestring.doctor.remedy import Fault as Fault
    from shoestring.doctor.remedy import Prescription as Prescription
    from shoestring.doctor.report import Report as Report
    from shoestring.doctor.report import examine as examine
    from shoestring.doctor.report import predict as predict
    from shoestring.doctor.report import prescribe as prescribe
    from shoestring.doctor.signal import Signal as Signal
    from shoestring.doctor.signal import Sublayer as Sublayer

_HOMES = {
    "Fault": "remedy", "Prescription": "remedy", "Report": "report", "Signal": "signal",
    "Sublayer": "signal", "examine": "report", "predict": "report", "prescribe": "report",
    "measure": "probe", "read_curve": "curve",
}  # fmt: skip
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {name: f"shoestring.doctor.{file}" for name, file in _HOMES.items()},
    purpose="examining a model",
    needs_torch=[name for name, file in _HOMES.items() if file in ("report", "probe")],
)
