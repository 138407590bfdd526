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

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    purpose="examining a model",
    needs_torch=("Report", "examine", "measure", "predict", "prescribe"),
)
