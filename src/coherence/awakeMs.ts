/**
 * Monotonic milliseconds that go on while the machine sleeps. Node's own (`performance.now`) stand still then on Linux, and
 * in a virtual machine that is paused: a cache that woke after an hour would take its copies for fresh.
 *
 * What the wall clock has advanced by more than the monotonic one, where that is over `jumpMs`, counts as sleep. A wall clock
 * that is set forward does so, too: then whoever reads this looks after the others once more, for nothing.
 */
export const awakeMs = (monotonicMs = () => performance.now(), wallMs = () => Date.now()): (() => number) => {
  let sleptMs = 0
  let aheadMs = wallMs() - monotonicMs()
  return () => {
    const nowMs = monotonicMs()
    const aheadNowMs = wallMs() - nowMs
    if (aheadNowMs - aheadMs > jumpMs) sleptMs += aheadNowMs - aheadMs
    aheadMs = aheadNowMs
    return nowMs + sleptMs
  }
}

const jumpMs = 1_000 // clocks that are set are moved by less, a little at a time
