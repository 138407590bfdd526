"""The closed form as a scikit-learn estimator: what it does is in its base class.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

from sklearn.base import BaseEstimator, ClassifierMixin

from shoestring.classify.softmax import ClosedForm


class AnalyticSoftmax(ClosedForm, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Softmax classifier in closed form: linear discriminants from sums over the samples.

    Parameters
    ----------
    shrinkage : "auto", float or None
        Of the covariance towards a multiple of the identity, in [0, 1]; None is 0. ``auto`` takes
        what predicts samples best that it leaves out, in closed form.
    priors : None, "uniform", dict or array of C numbers
        None: the classes' frequencies.
    expansion : {None, "auto", "relu"}
        Random features beside the given ones. ``auto``: rectified ones, as many of ``n_random`` as
        predict left out samples best, none among the choices.
    n_random : int
        M.
    sample_size : int
        Samples that are kept, whatever came, to choose and to calibrate with; 0 for none: no sample
        stays in the model, the shrinkage is OAS (Chen et al. 2010) and the temperature 1.
    n_jobs : int, optional
        Workers for blocks of samples: threads, or what ``joblib.parallel_config`` says, on other
        machines too. By default all cores. The result is the same for any number.
    random_state : int
        Seed of the random features and of which samples are kept.

    Notes
    -----
    Cost: N (D + M)^2 multiplications in one pass, then (D + M)^3 / 3 when it is first used, some
    times that with ``auto``. Memory: C (D + M) + (D + M)^2 numbers and the kept samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = AnalyticSoftmax().fit(X[::2], y[::2]).partial_fit(X[1::2], y[1::2])
    >>> float(clf.score(X, y))
    0.98
    >>> clf.forget(X[::2], y[::2]).moments_.sizes.tolist()
    [25, 25, 25]
    """
