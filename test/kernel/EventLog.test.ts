import { describe, expect, it } from "vitest"
import { allCauses, Cause, causeBit } from "../../src/kernel/Cause.ts"
import { EventLog } from "../../src/kernel/EventLog.ts"
import { KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"
import { unmatched } from "../../src/kernel/PatternTrie.ts"
import { noMeta } from "../../src/kernel/Value.ts"

const event = (sequence: number, cause: Cause = Cause.write, key = "k", oldValue?: string): KeyEvent =>
  new KeyEvent(sequence, cause, key, "v", oldValue, noMeta, sequence, 0, 0, false, 1, null, unmatched)

const sequences = (log: EventLog): number[] => log.recent().map((each) => each.sequence)

describe("EventLog", () => {
  it("wants nothing until it is opened, and after it was closed", () => {
    const log = new EventLog()
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([])
    log.open(4)
    log.append(event(1), 1)
    log.close()
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([])
    expect([log.recent(), log.overwritten]).toEqual([[], 0])
  })

  it("wants everything but reads, unless it was opened for certain causes", () => {
    const log = new EventLog()
    log.open(4)
    const unwanted = Object.values(Cause).filter((cause) => !log.wants(causeBit(cause)))
    expect(unwanted).toEqual([Cause.read, Cause.beforeWrite, Cause.beforeDelete, Cause.flushKey])
    log.open(4, causeBit(Cause.read) | causeBit(Cause.evict))
    expect(Object.values(Cause).filter((cause) => log.wants(causeBit(cause)))).toEqual([Cause.read, Cause.evict])
  })

  it("keeps the last events, oldest first, and counts those that fell out", () => {
    const log = new EventLog()
    log.open(3)
    const seen: unknown[] = []
    for (let sequence = 1; sequence <= 7; sequence++) {
      log.append(event(sequence), 1)
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
    for (let sequence = 1; sequence <= 3; sequence++) log.append(event(sequence), 1)
    log.open(2)
    expect([sequences(log), log.overwritten]).toEqual([[], 0])
    log.append(event(4), 1)
    expect(sequences(log)).toEqual([4])
  })

  it("keeps no more events than hold the bytes it was given, and none that is too large alone", () => {
    const log = new EventLog()
    log.open(10, allCauses, 100)
    for (const [sequence, bytes] of [40, 40, 30].entries()) log.append(event(sequence + 1), bytes)
    expect([sequences(log), log.overwritten]).toEqual([[2, 3], 1])
    log.append(event(4), 100)
    expect([sequences(log), log.overwritten]).toEqual([[4], 3])
    log.append(event(5), 101)
    expect([sequences(log), log.overwritten]).toEqual([[], 5])
    log.append(event(6), 1)
    expect(sequences(log)).toEqual([6])
  })

  it("is closed when it is opened for no events", () => {
    const log = new EventLog()
    log.open(0)
    expect([log.wants(causeBit(Cause.write)), log.capacity]).toEqual([false, 0])
  })

  it("gives the last events that a watcher would have seen, oldest first", () => {
    const log = new EventLog()
    log.open(4)
    const wants = (source: string, ...causes: Cause[]) => ({
      pattern: parsePattern(source) as Pattern,
      mask: causes.reduce<number>((mask, cause) => mask | causeBit(cause), 0)
    })
    const last = (count: number, watcher: ReturnType<typeof wants>) =>
      log.last(count, watcher).map((each) => each.sequence)
    log.append(event(1, Cause.write, "a1"), 1)
    log.append(event(2, Cause.write, "a2"), 1)
    log.append(event(3, Cause.expire, "a3"), 1)
    log.append(event(4, Cause.flush, "a4", "old"), 1)
    log.append(event(5, Cause.flush, ""), 1)
    expect(last(9, wants("a*", Cause.write, Cause.expire))).toEqual([2, 3])
    expect(last(1, wants("a*", Cause.write, Cause.expire))).toEqual([3])
    expect(last(9, wants("a?", Cause.flushKey))).toEqual([4])
    expect(last(9, wants("*", Cause.flush))).toEqual([5])
    expect(last(9, wants("a*", Cause.flush))).toEqual([])
    expect(log.last(2).map((each) => each.sequence)).toEqual([4, 5])
  })
})
