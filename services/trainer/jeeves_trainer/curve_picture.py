"""The curve of a training as an SVG picture: loss of each step, held-out loss as points, the best one marked."""

from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 260, 52, 36, 16


def curve_svg(curve: Sequence[dict[str, float]]) -> str:
    """A picture of losses by step; empty text if there is nothing to draw.

    Args:
        curve: points with `step` and `loss`, `eval_loss` or both, in order.
    """
    training = [(point["step"], point["loss"]) for point in curve if "loss" in point]
    held_out = [(point["step"], point["eval_loss"]) for point in curve if "eval_loss" in point]
    values = [value for _, value in (*training, *held_out)]
    if not values:
        return ""
    last_step = max(step for step, _ in (*training, *held_out)) or 1.0
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - 10) * step / last_step
        return across, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / span

    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="Loss by step" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for value in (high, (high + low) / 2, low):
        _, y = place(0, value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 10}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    parts.append(f'<polyline points="{path(training)}" fill="none" stroke="#7a9cc6" stroke-width="1.5"/>')
    parts.append(f'<polyline points="{path(held_out)}" fill="none" stroke="#c0392b" stroke-width="1.5"/>')
    best = min((point for point in held_out if point[0] > 0), key=lambda point: point[1], default=None)
    for point in held_out:
        x, y = place(*point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if point == best else 3}" fill="#c0392b"/>')
    label = "training (blue) and held-out (red) loss, nats per answer token, by step; the large dot counts"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 10}">{label}</text>')
    parts.append(f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 24}" text-anchor="end">{last_step:.0f}</text></svg>')
    return "".join(parts)
