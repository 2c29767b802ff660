import { expect, it } from "vitest"
import { Driver } from "../../src/coherence/Driver.ts"
import type { Instance } from "../../src/coherence/protocol/Instance.ts"
import type { Transport } from "../../src/coherence/transport/Transport.ts"

it("hands on whether the broker is there, and keeps which one it is", () => {
  const told: boolean[] = []
  const driver = new Driver(() => 0)
  expect(driver.carrier).toBe(null)
  const instance = { isCoherent: true, onCarrier: (isUp: boolean) => void told.push(isUp) } as unknown as Instance
  driver.bind(instance, {} as Transport)
  driver.onCarrier(false, "nats://n:1")
  expect(driver.carrier).toEqual({ isUp: false, what: "nats://n:1" })
  driver.onCarrier(true, "nats://n:1")
  expect(driver.carrier).toEqual({ isUp: true, what: "nats://n:1" })
  expect(told).toEqual([false, true])
  expect(driver.stats.crashes).toBe(0)
})
