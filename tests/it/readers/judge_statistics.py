"""Prints what SciPy says of the values in a JSON file {"alpha": ..., "distributions": [n, ...], "samples": [[...], ...]}.

Of each n: P(T+ <= t) for every t. Of each sample: the Hodges-Lehmann estimate, and the ends of the interval as those
supposed middles that SciPy's test does not reject: no ranks of averages, as ours has them, but p-values.
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
    """P-values of samples of n with every rank sum there is, the largest ranks positive first."""
    probabilities = []
    for t in range(n * (n + 1) // 2 + 1):
        signs, left = -numpy.ones(n), t
        for rank in range(n, 0, -1):
            if rank <= left:
                signs[rank - 1], left = 1, left - rank
        values = signs * numpy.arange(1, n + 1)
        probabilities.append(wilcoxon(values, alternative="less", method="exact").pvalue)
    return probabilities


def judge(values, alpha):
    values = numpy.array(values)
    rows, columns = numpy.triu_indices(len(values))
    averages = numpy.sort((values[rows] + values[columns]) / 2)

    def end(averages, alternative):
        """The first average beyond which, by half the gap to the next, a middle is not rejected."""
        for average, following in zip(averages, averages[1:]):
            supposed = (average + following) / 2
            if wilcoxon(values - supposed, alternative=alternative, method="exact").pvalue > alpha:
                return average
        return None

    return {
        "middle": numpy.median(averages),
        "low": end(averages, "greater"),
        "high": end(averages[::-1], "less"),
    }


with open(sys.argv[1]) as file:
    asked = json.load(file)
answer = {
    "distributions": [at_most(n) for n in asked["distributions"]],
    "samples": [judge(values, asked["alpha"]) for values in asked["samples"]],
}
print(json.dumps(answer))
