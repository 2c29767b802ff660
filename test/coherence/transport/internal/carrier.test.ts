import { describe, expect, it } from "vitest"
import { Carrier } from "../../../../src/coherence/transport/internal/carrier.ts"

const heardBy = () => {
  const told: boolean[] = []
  const lines: string[] = []
  const carrier = new Carrier("nats://n:1", (isUp) => told.push(isUp))
  carrier.logTo({ warn: (text) => lines.push(`WARN ${text}`), info: (text) => lines.push(`INFO ${text}`) })
  return { told, lines, carrier }
}
const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" })

describe("what carries all messages", () => {
  it("has nothing said of it in the log while it is there", () => {
    const { carrier, told, lines } = heardBy()
    carrier.up()
    carrier.up()
    expect([told, lines]).toEqual([[true], []])
  })

  it("is told and said to be away once, with the error of the system, and once to be back", () => {
    const { carrier, told, lines } = heardBy()
    const wrapped = new Error("the package says", { cause: new Error("and again", { cause: refused }) })
    for (let attempt = 0; attempt < 5; attempt++) carrier.down(attempt === 0 ? wrapped : new Error("Socket closed"))
    carrier.up()
    expect(told).toEqual([false, true])
    expect(lines).toEqual(["WARN nats://n:1 does not answer (ECONNREFUSED): trying again", "INFO nats://n:1 is back"])
  })

  it("has a line for each thing that it says no with, up to eight a loss", () => {
    const { carrier, lines, told } = heardBy()
    carrier.down(refused)
    for (let attempt = 0; attempt < 100; attempt++) carrier.down(new Error("Authorization Violation"))
    expect(lines.slice(1)).toEqual(["WARN nats://n:1 cannot be used (Authorization Violation): trying again"])
    for (let attempt = 0; attempt < 100; attempt++) carrier.down(new Error(`no, since ${attempt}`))
    expect(lines).toHaveLength(8)
    expect(told).toEqual([false])
  })

  it("is told each time that it comes and goes, but said in the log every ten ticks", () => {
    const { carrier, lines, told } = heardBy()
    for (let times = 0; times < 100; times++) {
      carrier.up()
      carrier.down(refused)
    }
    expect(told).toHaveLength(200)
    expect(lines).toHaveLength(2) // away, and back
  })

  it("is told to be away, and not said in the log, where the process that had the connection has crashed", () => {
    const { carrier, told, lines } = heardBy()
    carrier.dropped() // it has had none yet
    carrier.up()
    carrier.dropped()
    carrier.dropped()
    for (let tick = 0; tick < 20; tick++) carrier.tick()
    carrier.up()
    expect([told, lines]).toEqual([[true, false, true], []])
  })

  it("is said to be away later, where that was held back and is so still", () => {
    const { carrier, lines } = heardBy()
    carrier.down(refused)
    carrier.up()
    carrier.down(refused)
    for (let tick = 0; tick < 9; tick++) carrier.tick()
    expect(lines).toHaveLength(2)
    carrier.tick()
    carrier.tick()
    expect(lines.slice(2)).toEqual(["WARN nats://n:1 does not answer (ECONNREFUSED): trying again"])
  })
})
