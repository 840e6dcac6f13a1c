// The geometry of the small charts.

/**
 * Returns the path of a line through the values in a box. The last value stands at the right edge and neighbours are step apart,
 * so that a short history fills from the right. A value of most stands at the top, 0 at the bottom.
 */
export function linePath(values: readonly number[], width: number, height: number, steps: number, most: number): string {
  const step = width / Math.max(steps - 1, 1);
  const from = width - step * (values.length - 1);
  return values.map((v, i) => `${i === 0 ? "M" : "L"}${round(from + step * i)} ${round(height - (most > 0 ? Math.min(v / most, 1) : 0) * height)}`).join("");
}

/** Returns a round number that is at least n, for the top of a chart: 1, 2 or 5 times a power of ten. */
export function niceMost(n: number): number {
  if (!(n > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  for (const factor of [1, 2, 5, 10]) {
    if (factor * power >= n * 0.999999) return factor * power;
  }
  return 10 * power;
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}
