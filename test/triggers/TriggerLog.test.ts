import { expect, it } from "vitest"
import { TriggerLog, type TriggerLogRecord } from "../../src/triggers/TriggerLog.ts"

const record = (changes: Partial<Omit<TriggerLogRecord, "id">> = {}) => ({
  atMs: 5,
  trigger: "t",
  event: "ON_WRITE" as const,
  sequence: 1,
  key: "k",
  kind: "error" as const,
  message: "no",
  count: 1,
  ...changes
})

it("keeps the last records, and numbers all of them", () => {
  const log = new TriggerLog(3)
  for (let i = 0; i < 5; i++) log.append(record({ key: `k${i}` }))
  expect(log.recent(10).map(({ id, key }) => [id, key])).toEqual([
    [5, "k4"],
    [4, "k3"],
    [3, "k2"]
  ])
  expect(log.total).toBe(5)
})

it("gives as many as are asked for, newest first", () => {
  const log = new TriggerLog(10)
  for (let i = 0; i < 4; i++) log.append(record({ sequence: i }))
  expect(log.recent(2).map(({ sequence }) => sequence)).toEqual([3, 2])
  expect([log.recent(0), log.recent(-1), new TriggerLog(10).recent(5)]).toEqual([[], [], []])
})

it("keeps no more than the beginning of long keys and messages", () => {
  const log = new TriggerLog(1)
  log.append(record({ key: "k".repeat(1000), message: "m".repeat(1000) }))
  const [kept] = log.recent(1)
  expect([kept?.key.length, kept?.message.length]).toEqual([256, 512])
})
