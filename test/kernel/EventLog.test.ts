import { describe, expect, it } from "vitest"
import { Cause, causeBit } from "../../src/kernel/Cause.ts"
import { EventLog } from "../../src/kernel/EventLog.ts"
import { KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { unmatched } from "../../src/kernel/PatternTrie.ts"
import { noMeta } from "../../src/kernel/Value.ts"

const event = (sequence: number): KeyEvent =>
  new KeyEvent(sequence, Cause.write, "k", "v", undefined, noMeta, sequence, 0, 0, false, 1, null, unmatched)

const sequences = (log: EventLog): number[] => log.recent().map((each) => each.sequence)

describe("EventLog", () => {
  it("wants nothing until it is opened, and after it was closed", () => {
    const log = new EventLog()
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([])
    log.open(4)
    log.append(event(1))
    log.close()
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([])
    expect([log.recent(), log.overwritten]).toEqual([[], 0])
  })

  it("wants everything but reads, unless it was opened for certain causes", () => {
    const log = new EventLog()
    log.open(4)
    expect(Object.values(Cause).filter((cause) => !log.wants(causeBit(cause)))).toEqual([Cause.read])
    log.open(4, causeBit(Cause.read) | causeBit(Cause.evict))
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([Cause.read, Cause.evict])
  })

  it("keeps the last events, oldest first, and counts those that fell out", () => {
    const log = new EventLog()
    log.open(3)
    const seen: unknown[] = []
    for (let sequence = 1; sequence <= 7; sequence++) {
      log.append(event(sequence))
      seen.push([sequences(log), log.overwritten])
    }
    expect(seen).toEqual([
      [[1], 0],
      [[1, 2], 0],
      [[1, 2, 3], 0],
      [[2, 3, 4], 1],
      [[3, 4, 5], 2],
      [[4, 5, 6], 3],
      [[5, 6, 7], 4]
    ])
  })

  it("starts anew when it is opened again", () => {
    const log = new EventLog()
    log.open(2)
    for (let sequence = 1; sequence <= 3; sequence++) log.append(event(sequence))
    log.open(2)
    expect([sequences(log), log.overwritten]).toEqual([[], 0])
    log.append(event(4))
    expect(sequences(log)).toEqual([4])
  })
})
