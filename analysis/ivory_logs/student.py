"""Student's t distribution for whole degrees of freedom."""
import math


def inside(t, degrees):
    """P(|T| < t): the finite sums of Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even)."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(3 if odd else 2, degrees, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def two_sided_quantile(probability, degrees):
    """t with P(|T| < t) = probability, 0 < probability < 1, by bisection."""
    if degrees < 1 or not 0 < probability < 1:
        raise ValueError('[compare] degrees must be at least 1 and 0 < probability < 1, '
                         f'got {degrees} and {probability}')
    low, high = 0.0, 1.0
    while inside(high, degrees) < probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if inside(middle, degrees) < probability else (low, middle)
    return high
