import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { FrameSeal, ReplayWindow } from "../../../src/coherence/transport/FrameSeal.ts"

const sealOf = (origin: number, namespace = "ns", secret: string | undefined = "secret") =>
  new FrameSeal({ namespace, origin, secret })

const body = new Uint8Array([1, 2, 3])

describe("FrameSeal", () => {
  it("opens what another member has sealed, with its author, whom it is for and a counter that goes up", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        fc.integer({ min: 0, max: 127 }),
        fc.uint8Array({ maxLength: 100 }),
        fc.option(fc.string(), { nil: undefined }),
        (author, to, kind, bytes, secret) => {
          const from = new FrameSeal({ namespace: "ns", origin: author, secret })
          const at = new FrameSeal({ namespace: "ns", origin: 8, secret })
          let last = 0
          for (let count = 0; count < 2; count++) {
            const sealed = from.seal(kind, to, bytes.subarray(0, 3), bytes.subarray(3))
            expect(sealed.length).toBe(bytes.length + from.overheadBytes)
            const opened = at.open(sealed)
            if (typeof opened === "string") throw new Error(opened)
            const { counter } = opened
            expect({ ...opened, body: [...opened.body] }).toEqual({ kind, author, to, counter, body: [...bytes] })
            if (count > 0) expect(counter).toBe(last + 1)
            last = counter
          }
        }
      )
    )
  })

  it("refuses a message of which any bit was changed", () => {
    const sealed = sealOf(7).seal(1, 0, body)
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const forged = Uint8Array.from(sealed)
      forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(typeof sealOf(8).open(forged)).toBe("string")
    }
    expect(typeof sealOf(8).open(sealed)).toBe("object")
  })

  it("refuses another secret, and the same one in another namespace", () => {
    const sealed = sealOf(7).seal(1, 0, body)
    expect(sealOf(8, "ns", "other").open(sealed)).toBe("forged")
    expect(sealOf(8, "other").open(sealed)).toBe("forged")
  })

  it("says who of the two has no secret", () => {
    const without = new FrameSeal({ namespace: "ns", origin: 8, secret: undefined })
    expect(without.open(sealOf(7).seal(1, 0, body))).toBe("signed")
    expect(sealOf(7).open(without.seal(1, 0, body))).toBe("unsigned")
  })

  it("refuses garbage of any length, and another version", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(typeof sealOf(8).open(bytes)).toBe("string")
      })
    )
    const sealed = sealOf(7).seal(1, 0, body)
    sealed[0] = 2
    expect(sealOf(8).open(sealed)).toBe("version")
  })
})

describe("ReplayWindow", () => {
  it("takes each counter above its floor once, in any order within 1,024, and never what is older", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5_000 }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: 3_000, max: 3_100 })), {
          maxLength: 300
        }),
        (floor, counters) => {
          const window = new ReplayWindow(floor)
          const taken = new Set<number>()
          let highest = floor
          for (const counter of counters) {
            const isNew = counter > floor && counter > highest - 1_024 && !taken.has(counter)
            expect(window.take(counter)).toBe(isNew)
            if (isNew) taken.add(counter)
            if (isNew) highest = Math.max(highest, counter)
          }
        }
      )
    )
  })
})
