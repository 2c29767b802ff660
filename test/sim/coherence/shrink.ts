/**
 * Makes a failing list of steps as short as it gets while it still fails: delta debugging [1].
 *
 * Takes out halves, then quarters, down to single steps, and begins again as long as that helps. A subset keeps the
 * order. The result is 1-minimal where `triesMax` allows it: without any one of its steps it no longer fails.
 *
 * [1] Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002.
 */
export const shrink = <Step>(
  steps: readonly Step[],
  fails: (steps: readonly Step[]) => boolean,
  triesMax = 2_000
): Step[] => {
  let smallest = [...steps]
  let tries = 0
  const failsWithout = (first: number, count: number): boolean => {
    if (tries++ >= triesMax) return false
    const rest = [...smallest.slice(0, first), ...smallest.slice(first + count)]
    if (!fails(rest)) return false
    smallest = rest
    return true
  }
  for (let size = Math.ceil(smallest.length / 2); size >= 1; ) {
    let hasShrunk = false
    for (let first = 0; first < smallest.length; ) {
      if (failsWithout(first, size)) hasShrunk = true
      else first += size
    }
    if (size > 1) size = Math.ceil(size / 2)
    else if (!hasShrunk) break
  }
  return smallest
}
