/** How long it takes until what is written here has been applied by all that live, by one write in a while. */
import { Histogram } from "../telemetry/index.ts"
import type { Instance } from "./protocol/Instance.ts"

export class Propagation {
  /** Seconds, from when the write was seen here to when the last one had said that it is applied. */
  readonly seconds = new Histogram(bounds)
  private last = 0
  private nextMs = 0

  /** Times what has been written since the last look, unless another was timed a moment ago. */
  look(instance: Instance, nowMs: number): void {
    const { written } = instance
    if (written === this.last || nowMs < this.nextMs || instance.memberCount === 0) return
    this.last = written
    this.nextMs = nowMs + everyMs
    instance.acknowledge(written, "live", ({ missing }) => {
      if (missing.length === 0) this.seconds.record((instance.nowMs - nowMs) / 1_000)
    })
  }
}

const everyMs = 1_000
const bounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
