/** The doctor among whole instances in virtual time: what it finds, and that it finds nothing where there is nothing. */
import { describe, expect, it } from "vitest"
import { type Diagnosis, Doctor, upperBound } from "../../src/coherence/Doctor.ts"
import { DoctorView } from "../../src/coherence/DoctorView.ts"
import type { Parameters } from "../../src/coherence/protocol/Parameters.ts"
import { EntrySource, SetFlag } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { type House, Village } from "./Village.ts"

const doctorAt = ({ entries, instance, random, village }: House): Doctor =>
  new Doctor(
    new DoctorView(
      entries,
      instance,
      () => random.next(),
      (ms, action) => village.time.after(ms, action)
    )
  )

/** A diagnosis of this house, once as much time as it takes has passed. */
const diagnose = (house: House, samples = 1_000, meanwhile: (house: House) => void = () => {}): Diagnosis => {
  let diagnosis: Diagnosis | undefined
  expect(doctorAt(house).examine(samples, (found) => (diagnosis = found))).toBe(true)
  meanwhile(house)
  house.village.run(12_000)
  if (diagnosis === undefined) throw new Error("it has not come to an end")
  return diagnosis
}

/** Three houses; the first has written so many keys, and the second has read them. */
const settled = (keys: number, parameters: Partial<Parameters> = {}) => {
  const village = new Village(3, parameters)
  const [a, b, c] = village.houses as [House, House, House]
  for (let n = 0; n < keys; n++) a.keyspace.set(`key:${n}`, "first")
  village.run(100)
  for (let n = 0; n < keys; n++) b.read(`key:${n}`)
  village.run(100)
  return { village, a, b, c }
}

const lower = ({ windows }: Diagnosis) => windows.map((window) => window.lower)

describe("among instances that are coherent the doctor", () => {
  it("finds nothing, and says what that is worth", () => {
    const { b } = settled(300)
    const diagnosis = diagnose(b)
    expect(diagnosis).toMatchObject({ samples: 300, loaded: 0, asked: 2, silent: [], stale: 0, traces: [] })
    expect(lower(diagnosis)).toEqual([0, 0, 0, 0])
    expect(diagnosis.verdict).toBe("0 of 300 samples are stale: at most 10,000,000 of 10^9 reads, by the rule of three")
  })

  it("takes as many at random as are wanted, own ones too, and asks about more than fit into one question", () => {
    const { a } = settled(2_500)
    expect(diagnose(a, 40)).toMatchObject({ samples: 40, stale: 0 })
    expect(diagnose(a, 10_000)).toMatchObject({ samples: 2_500, stale: 0 })
  })

  it("suspects what is on its way for as long as it is, and no longer", () => {
    const { village, a, b } = settled(50)
    village.isLost = ({ type }, from, to) => type === "inv" && from === a && to === b && village.nowMs < untilMs
    const untilMs = village.nowMs + 50
    for (let n = 0; n < 20; n++) a.keyspace.set(`key:${n}`, "second")
    const diagnosis = diagnose(b)
    expect(lower(diagnosis)).toEqual([20, 20, 0, 0]) // it hears of the loss from a heartbeat
    expect(diagnosis).toMatchObject({ stale: 0 })
    expect(diagnosis.traces).toHaveLength(10)
    for (const trace of diagnosis.traces) expect(trace).toMatchObject({ forMs: 100, isStale: false })
  })

  it("finds nothing while keys are written all the time", () => {
    const { village, a, b } = settled(50)
    const write = (n: number) => {
      a.keyspace.set(`key:${n % 50}`, `value ${n}`)
      b.read(`key:${(n + 25) % 50}`)
      if (n < 3_000) village.time.after(3, () => write(n + 1))
    }
    write(0)
    for (let n = 0; n < 5; n++) expect(diagnose(b)).toMatchObject({ stale: 0, traces: [] })
  })

  it("does not compare what a loader brought, nor what is local", () => {
    const { b } = settled(10)
    const lease = b.keyspace.lease("loaded")
    b.keyspace.fill(lease, "v", 0, noMeta, EntrySource.loaded)
    b.keyspace.set("local", "v", 0, noMeta, SetFlag.local)
    expect(diagnose(b)).toMatchObject({ samples: 10, loaded: 1 })
  })
})

describe("of an entry that was planted behind the protocol's back the doctor", () => {
  const planted = () => {
    const { village, a, b, c } = settled(100)
    const old = a.entries.newest(a.hashOf("key:7"))?.version as number
    a.keyspace.set("key:7", "second")
    village.run(100)
    expect(b.keyspace.peek("key:7")).toBeUndefined()
    b.plant("key:7", old, a.origin)
    return { village, a, b, c, old }
  }

  it("says that it is stale, and why", () => {
    const { b, old } = planted()
    const diagnosis = diagnose(b)
    expect(lower(diagnosis)).toEqual([1, 1, 1, 1])
    expect(diagnosis.stale).toBe(1)
    expect(diagnosis.verdict).toBe("1 of 100 samples are stale: 10,000,000 of 10^9 reads, at most 43,586,500 (95 %)")
    expect(diagnosis.traces).toEqual([
      {
        key: "key:7",
        forMs: 10_000,
        isStale: true,
        lines: [
          `here it has version ${old} of 00000000000001, filled 102 ms ago`,
          "00000000000001 knows of version 101 of 00000000000001",
          "its record, number 101 of 00000000000001, was received: the entry was stored afterwards",
          "here version 101 of 00000000000001 is known of it, and the entry is here all the same",
          "this instance takes itself for coherent"
        ]
      }
    ])
  })

  it("says so also where its author is gone and a third instance remembers", () => {
    const { village, a, b, c } = planted()
    c.read("key:7")
    village.run(50)
    village.isLost = (_, from, to) => from === a || to === a
    b.instance.onGone(a.origin)
    c.instance.onGone(a.origin)
    const diagnosis = diagnose(b)
    expect(diagnosis).toMatchObject({ asked: 1, stale: 1 })
    expect(diagnosis.traces[0]?.lines[1]).toBe("00000000000003 knows of version 101 of 00000000000001")
  })

  it("says nothing where it is gone before the last look", () => {
    const { village, b } = planted()
    village.time.after(5_000, () => b.keyspace.delete("key:7"))
    const diagnosis = diagnose(b)
    expect(lower(diagnosis)).toEqual([1, 1, 1, 0])
    expect(diagnosis.stale).toBe(0)
    expect(diagnosis.traces).toMatchObject([{ key: "key:7", forMs: 1_000, isStale: false }])
  })

  it("takes back what it suspected where the newest value has come in its place", () => {
    const { village, b } = planted()
    village.time.after(50, () => {
      b.entries.outvote(b.hashOf("key:7"), 101, 1)
      b.read("key:7")
    })
    const diagnosis = diagnose(b)
    expect(b.entries.readableAt(b.hashOf("key:7"))).toMatchObject([{ version: 101 }])
    expect(lower(diagnosis)).toEqual([1, 0, 0, 0])
    expect(diagnosis.traces).toEqual([])
  })

  it("misses it where it is not among the samples, and counts over all examinations", () => {
    const { village, b } = planted()
    const doctor = doctorAt(b)
    let ever: number[] = []
    for (let n = 0; n < 40; n++) {
      doctor.examine(10, ({ samplesEver, staleEver }) => (ever = [samplesEver, staleEver]))
      village.run(12_000)
    }
    const [samples, stale] = ever as [number, number]
    expect(samples).toBe(400)
    expect(stale).toBeGreaterThan(0)
    expect(stale).toBeLessThan(20)
  })
})

describe("of an instance that misses records the doctor says", () => {
  it("which are missing, and that copies go when it has been degraded for long enough", () => {
    const { village, a, b } = settled(20)
    village.isLost = ({ type }, _, to) => type === "inv" && to === b
    a.keyspace.set("key:3", "second")
    village.run(150)
    const diagnosis = diagnose(b)
    expect(lower(diagnosis)).toEqual([1, 1, 1, 0])
    expect(diagnosis.traces[0]?.lines).toEqual([
      "here it has version 4 of 00000000000001, filled 350 ms ago",
      "00000000000001 knows of version 21 of 00000000000001",
      expect.stringMatching(/^of 00000000000001 1 records from number 21 on are missing, for \d+ ms$/),
      "here nothing higher is known of it",
      expect.stringMatching(/^this instance is degraded \(gap, healing\) for \d+ ms: copies live 5000 ms at most$/)
    ])
  })

  it("that they are stale where copies are used on", () => {
    const { village, a, b } = settled(20, { degraded: "serve" })
    village.isLost = ({ type }, _, to) => type === "inv" && to === b
    a.keyspace.set("key:3", "second")
    a.keyspace.delete("key:4")
    expect(diagnose(b).stale).toBe(2)
  })

  it("what a tag has taken elsewhere", () => {
    const { village, a, b } = settled(5, { degraded: "serve" })
    a.keyspace.set("tagged", "v", 0, { ...noMeta, tags: ["t"] })
    village.run(100)
    b.read("tagged")
    village.run(100)
    village.isLost = ({ type }, _, to) => type === "inv" && to === b
    a.keyspace.invalidateTags(["t"])
    village.run(1_000) // the sweep finds it
    const diagnosis = diagnose(b)
    expect(diagnosis.traces).toMatchObject([{ key: "tagged", isStale: true }])
    expect(diagnosis.traces[0]?.lines[1]).toContain("and that it is gone")
  })
})

describe("the doctor", () => {
  it("names members that do not answer", () => {
    const { village, b, c } = settled(10)
    village.isLost = ({ type }, from) => type === "stamps" && from === c
    expect(diagnose(b)).toMatchObject({ samples: 10, asked: 1, silent: ["00000000000003"] })
  })

  it("has nothing to say where nobody else is, or nothing is here", () => {
    const alone = new Village(1)
    const [house] = alone.houses as [House]
    house.keyspace.set("k", "v")
    expect(diagnose(house)).toMatchObject({ samples: 0, asked: 0, stale: 0 })
    expect(diagnose(house).verdict).toBe("no other instance is there: there was nothing to compare with")
    const { c } = settled(3)
    const nothing = diagnose(c)
    expect(nothing).toMatchObject({ samples: 0, asked: 0, stale: 0 })
    expect(nothing.verdict).toBe("2 others are there, but nothing here could be compared: no shared entry is here")
  })

  it("tells of others that are there why nothing could be compared with them", () => {
    const there = "2 others are there, but nothing"
    const { b, c, village } = settled(3)
    const lease = c.keyspace.lease("loaded")
    c.keyspace.fill(lease, "v", 0, noMeta, EntrySource.loaded)
    expect(diagnose(c)).toMatchObject({
      ...{ samples: 0, loaded: 1 },
      verdict: `${there} here could be compared: a loader brought all that is here`
    })
    const gone = diagnose(b, 10, () => {
      for (let n = 0; n < 3; n++) b.keyspace.delete(`key:${n}`)
    })
    expect(gone.verdict).toBe(`${there} here could be compared: what was here has gone meanwhile`)
    b.keyspace.set("key", "v")
    village.isLost = ({ type }) => type === "stamps"
    const unanswered = diagnose(b)
    expect(unanswered).toMatchObject({ samples: 0, asked: 0 })
    expect(unanswered.verdict).toBe(`${there} was compared: none has answered`)
  })

  it("does not make a rate of a few samples", () => {
    const verdictOf = (keys: number) => diagnose(settled(keys).b).verdict
    const tooFew = "too few samples to say how many of 10^9 reads (30,000 would do for 100,000)"
    expect(verdictOf(1)).toBe(`0 of 1 sample is stale: ${tooFew}`)
    expect(verdictOf(29)).toBe(`0 of 29 samples are stale: ${tooFew}`)
    expect(verdictOf(30)).toBe("0 of 30 samples are stale: at most 100,000,000 of 10^9 reads, by the rule of three")
  })

  it("examines one at a time", () => {
    const { village, b } = settled(10)
    const doctor = doctorAt(b)
    let done = 0
    expect(doctor.examine(10, () => done++)).toBe(true)
    expect(doctor.examine(10, () => done++)).toBe(false)
    village.run(1_000)
    expect([done, doctor.isBusy]).toEqual([1, false])
    expect(doctor.examine(10, () => done++)).toBe(true)
  })

  it("bounds a share by the rule of three, or by Wilson's bound", () => {
    expect(upperBound(0, 3_000)).toBeCloseTo(0.001, 10)
    expect(upperBound(0, 0)).toBe(1)
    expect(upperBound(0, 2)).toBe(1)
    expect(upperBound(10, 1_000)).toBeCloseTo(0.0165, 3)
    expect(upperBound(5, 5)).toBeCloseTo(1, 10)
  })
})
