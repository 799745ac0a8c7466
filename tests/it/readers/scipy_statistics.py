"""Prints SciPy's results for a JSON file {"alpha": ..., "distributions": [n, ...], "samples": [[...], ...]}.

For each n: P(T+ <= t) for every t. For each sample: the Hodges-Lehmann estimate, and the ends of the interval as the
locations that SciPy's test does not reject: by p-values, where ours uses ranks of averages.
Exits with 77 if SciPy is missing.
"""

import json
import sys

try:
    import numpy
    from scipy.stats import wilcoxon
except ImportError:
    sys.exit(77)


def at_most(n):
    """P-values of samples of n with every possible rank sum, the largest ranks positive first."""
    probabilities = []
    for t in range(n * (n + 1) // 2 + 1):
        signs, left = -numpy.ones(n), t
        for rank in range(n, 0, -1):
            if rank <= left:
                signs[rank - 1], left = 1, left - rank
        values = signs * numpy.arange(1, n + 1)
        probabilities.append(wilcoxon(values, alternative="less", method="exact").pvalue)
    return probabilities


def estimate(values, alpha):
    values = numpy.array(values)
    rows, columns = numpy.triu_indices(len(values))
    averages = numpy.sort((values[rows] + values[columns]) / 2)

    def end(averages, alternative):
        """The first average such that a location halfway to the next one is not rejected."""
        for average, following in zip(averages, averages[1:]):
            location = (average + following) / 2
            if wilcoxon(values - location, alternative=alternative, method="exact").pvalue > alpha:
                return average
        return None

    return {
        "location": numpy.median(averages),
        "low": end(averages, "greater"),
        "high": end(averages[::-1], "less"),
    }


with open(sys.argv[1]) as file:
    given = json.load(file)
results = {
    "distributions": [at_most(n) for n in given["distributions"]],
    "estimates": [estimate(values, given["alpha"]) for values in given["samples"]],
}
print(json.dumps(results))
