import { describe, expect, it } from "vitest"
import { encode, type Frame } from "../../../src/coherence/protocol/Frame.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../../support/Random.ts"
import { type Guest, Room } from "./Room.ts"
import { randomFrame } from "./randomFrame.ts"

/** A frame of anything, mostly addressed so that it is read. */
const anyFrame = (random: Random): Uint8Array => {
  const frame = randomFrame(random)
  const author = random.oneIn(4) ? frame.author : 1 + random.below(5)
  const to = random.oneIn(4) ? frame.to : 0
  const bytes = encode({ ...frame, namespace: 9, author, to } as Frame).slice()
  if (random.oneIn(4)) bytes[random.below(bytes.length)] = random.below(256)
  return random.oneIn(20) ? bytes.slice(0, random.below(bytes.length)) : bytes
}

describe("An instance", () => {
  it("never throws, whatever it is sent, and keeps all its tables bounded", { timeout: propertyTimeoutMs }, () =>
    forAllSeeds(400, (random) => {
      const [room, a, b] = Room.of(2, { membersMax: 6, deadKept: 3 }) as [Room, Guest, Guest]
      for (let step = 0; step < 60; step++) {
        a.instance.onFrame(anyFrame(random), random.oneIn(3) ? b.origin : 1 + random.below(6))
        if (random.oneIn(5)) a.set(random.below(20))
        if (random.oneIn(5)) b.set(random.below(20))
        if (random.oneIn(5)) a.fetch(random.below(20))
        if (random.oneIn(9)) a.instance.acknowledge(a.instance.written, "live", () => {})
        if (random.oneIn(9)) a.instance.forget(1 + random.below(6))
        if (random.oneIn(3)) room.run(1 + random.below(40))
        const { members } = a.instance
        expect(members.live.size).toBeLessThanOrEqual(6)
        expect(members.dead.size).toBeLessThanOrEqual(3)
        const suspects = [...members.live.values()].filter(({ isSuspect }) => isSuspect).length
        expect(members.suspects).toBe(suspects)
        for (const { marks } of members.live.values()) marks.checkInvariants()
      }
    })
  )
})
