/** Whole towns of instances, each with its own view: what one writes has to reach all others, once. */
import { describe, expect, it } from "vitest"
import { Cells } from "../../../src/coherence/protocol/Cells.ts"
import { parametersDefault } from "../../../src/coherence/protocol/Parameters.ts"
import { forAllSeeds, propertyTimeoutMs, Random } from "../../support/Random.ts"
import { randomOrigin, Town } from "./Town.ts"

const tiny = { cellMax: 6, cellMin: 4 }

/** Members in one to three regions; single ones and many, so that some regions are split and some are not. */
const randomTown = (random: Random): Town => {
  const town = new Town(tiny)
  const regions = random.between(1, 3)
  const bySmallNumbers = random.oneIn(3)
  for (let region = 0; region < regions; region++) {
    const count = random.pick([1, 2, 5, 6, 7, random.between(1, 40)])
    for (let i = 0; i < count; i++) {
      town.enter({ origin: bySmallNumbers ? town.views.size + 1 : randomOrigin(random), region })
    }
  }
  town.settle()
  return town
}

const originsOf = (town: Town): number[] => [...town.views.keys()]

const checkReachesAllOnce = (town: Town, author: number, links = town.links()): void => {
  const { received, messages, hopsMax } = town.spread(author, links)
  const others = originsOf(town).filter((origin) => origin !== author)
  for (const other of others) {
    if (received.get(other) !== 1) throw new Error(`${other} got it ${received.get(other) ?? 0} times`)
  }
  expect(received.size).toBe(others.length)
  expect(messages).toBe(others.length)
  expect(hopsMax).toBeLessThanOrEqual(2)
}

describe("Cells", () => {
  it("bring each write to each other member once, in any regions", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      const links = town.links()
      for (let i = 0; i < 5; i++) checkReachesAllOnce(town, random.pick(originsOf(town)), links)
    })
  })

  it("are the same in all views, with one relay or two each", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      const [first, ...others] = [...town.views.values()] as [Cells, ...Cells[]]
      const populations = new Map<number, number>()
      for (const origin of originsOf(town)) {
        const cell = first.cellOf(origin) as number
        populations.set(cell, (populations.get(cell) ?? 0) + 1)
        for (const view of others) {
          if (view.cellOf(origin) !== cell) throw new Error(`views differ about ${origin}`)
        }
      }
      for (const [cell, population] of populations) {
        const relays = first.relaysOf(cell)
        expect(relays).toHaveLength(Math.min(2, population))
        for (const view of others) expect(view.relaysOf(cell)).toEqual(relays)
        for (const relay of relays) expect(first.cellOf(relay)).toBe(cell)
      }
      for (const [origin, view] of town.views) {
        const relays = view.relaysOf(view.cellOf(origin))
        expect([view.isPrimary, view.isRelay]).toEqual([relays[0] === origin, relays.includes(origin)])
      }
    })
  })

  it("want each link at both ends or at neither", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(100, (random) => {
      const town = randomTown(random)
      for (const [a, view] of town.views) {
        const wanted = originsOf(town).filter((b) => a !== b && view.wantsLink({ origin: b }))
        const counted = view.cellMembers.length + (view.isRelay ? view.otherRelays.length : 0)
        expect(wanted).toHaveLength(counted)
        for (const b of wanted) {
          if (!town.cells(b).wantsLink({ origin: a })) throw new Error(`${a} wants ${b}, who does not`)
        }
      }
    })
  })

  it("lead from each member to each other by two relays at most", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(60, (random) => {
      const town = randomTown(random)
      const links = town.links()
      for (let i = 0; i < 30; i++) {
        const [from, to] = [random.pick(originsOf(town)), random.pick(originsOf(town))]
        const way = town.route(from, to, links)
        if (way === undefined || way.length > 4) throw new Error(`from ${from} to ${to} goes ${way}`)
      }
    })
  })

  it("move nobody else when a member leaves, and hand its relay's place to the second", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      if (town.views.size < 2) return
      const gone = random.pick(originsOf(town))
      const witness = [...town.views.values()].find((view) => view.self.origin !== gone) as Cells
      const groupsBefore = groupsOfAll(town)
      const before = placesOf(witness, town)
      town.leave(gone)
      town.settle()
      if (JSON.stringify(groupsOfAll(town)) !== JSON.stringify(groupsBefore)) return
      const after = placesOf(witness, town)
      for (const [origin, { cell, relays }] of after) {
        const was = before.get(origin)
        expect(cell).toBe(was?.cell)
        const stayed = was?.relays.filter((each) => each !== gone) ?? []
        expect(relays.slice(0, stayed.length)).toEqual(stayed)
      }
    })
  })

  it("move only the newcomer when one enters, and change a relay only to it", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      const [witness] = [...town.views.values()] as [Cells]
      const groupsBefore = groupsOfAll(town)
      const before = placesOf(witness, town)
      const newcomer = { origin: randomOrigin(random), region: random.below(3) }
      town.enter(newcomer)
      town.settle()
      town.leave(newcomer.origin)
      const groupsAfter = groupsOfAll(town)
      if (Object.entries(groupsBefore).some(([region, groups]) => groupsAfter[Number(region)] !== groups)) return
      for (const [origin, { cell, relays }] of placesOf(witness, town)) {
        const was = before.get(origin)
        expect(cell).toBe(was?.cell)
        for (const relay of relays) if (relay !== newcomer.origin) expect(was?.relays).toContain(relay)
      }
    })
  })

  it("bring each write to all when a primary relay is cut off from everybody else", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      const primaries = originsOf(town).filter(
        (origin) => town.cells(origin).isPrimary && town.cells(origin).cellMembers.length > 0
      )
      if (primaries.length === 0) return
      const dead = random.pick(primaries)
      const links = town.links((a) => a === dead)
      const author = random.pick(originsOf(town).filter((origin) => origin !== dead))
      const { received } = town.spread(author, links)
      const missing = originsOf(town).filter((each) => each !== author && each !== dead && received.get(each) !== 1)
      expect(missing).toEqual([])
    })
  })

  it("run nothing in circles, however the views differ", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(150, (random) => {
      const town = randomTown(random)
      const all = [...town.views.values()].map(({ self }) => ({
        ...self,
        split: random.between(0, 4),
        isSuspect: random.oneIn(8)
      }))
      for (const view of town.views.values()) {
        const known = all.filter(({ origin }) => origin !== view.self.origin && !random.oneIn(4))
        view.update(known, random.oneIn(2))
      }
      const links = new Map(originsOf(town).map((origin) => [origin, new Set(originsOf(town))]))
      const [author, to] = [random.pick(originsOf(town)), random.pick(originsOf(town))]
      const { messages, hopsMax } = town.spread(author, links)
      expect(hopsMax).toBeLessThanOrEqual(2)
      expect(messages).toBeLessThan(town.views.size ** 2 * 4)
      const sparse = new Map(
        [...links].map(([origin, set]) => [origin, new Set([...set].filter(() => random.oneIn(3)))])
      )
      town.route(author, to, sparse)
    })
  })

  it("agree about groups again after any comings and goings", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(30, (random) => {
      const town = new Town(tiny)
      for (let step = 0; step < 60; step++) {
        for (let times = random.between(1, 6); times > 0; times--) {
          if (town.views.size > 0 && random.oneIn(2)) town.leave(random.pick(originsOf(town)))
          else if (town.views.size < 30) town.enter({ origin: randomOrigin(random), region: random.below(2) })
        }
        expect(town.settle()).toBeLessThanOrEqual(4)
        for (const region of [0, 1]) {
          const views = [...town.views.values()].filter(({ self }) => self.region === region)
          expect(new Set(views.map(({ groups }) => groups)).size).toBeLessThanOrEqual(1)
        }
      }
      const [author] = originsOf(town)
      if (author !== undefined) checkReachesAllOnce(town, author)
    })
  })
})

describe("a region", () => {
  it("is one mesh up to 48, is split at 49, and is one mesh again below 40", () => {
    const random = new Random(1)
    const town = new Town(parametersDefault)
    const groups = () => new Set([...town.views.values()].map((view) => view.groups))
    const changes: string[] = []
    let before = 1
    const note = () => {
      town.settle()
      const [now] = groups()
      expect(groups().size).toBe(1)
      if (now !== before) changes.push(`${town.views.size}: ${now}`)
      before = now as number
    }
    for (let i = 0; i < 60; i++) {
      town.enter({ origin: randomOrigin(random), region: 0 })
      note()
    }
    while (town.views.size > 30) {
      town.leave(originsOf(town)[random.below(town.views.size)] as number)
      note()
    }
    expect(changes).toEqual(["49: 7", "39: 1"])
  })

  it("of 500 is some 22 groups; every write reaches all with 499 messages, and nobody has more than 90 links", () => {
    const random = new Random(2)
    const town = new Town(parametersDefault)
    for (let i = 0; i < 500; i++) town.enter({ origin: randomOrigin(random), region: 0 })
    town.settle()
    const [any] = [...town.views.values()] as [Cells]
    expect(any.groups).toBe(22)
    const links = town.links()
    for (let i = 0; i < 20; i++) checkReachesAllOnce(town, random.pick(originsOf(town)), links)
    const counts = [...links.values()].map(({ size }) => size)
    expect(Math.max(...counts)).toBeLessThan(90)
    expect(counts.reduce((sum, each) => sum + each) / 500).toBeLessThan(30)
  })

  it("whose newest member would be its coordinator stays as it is until that one has joined", () => {
    const random = new Random(3)
    const members = Array.from({ length: 44 }, () => ({
      origin: randomOrigin(random),
      region: 0,
      split: 7,
      isSuspect: false
    }))
    for (let i = 0; i < 50; i++) {
      const view = new Cells({ origin: randomOrigin(random), region: 0 }, parametersDefault)
      view.update(members.slice(0, 3), false)
      view.update(members, false)
      expect(view.groups).toBe(7)
      view.update(members, true)
      expect(view.groups).toBe(7)
    }
  })
})

describe("the split", () => {
  it("stays as it was while members are not heard of", () => {
    const random = new Random(7)
    const view = new Cells({ origin: 1, region: 0 }, parametersDefault)
    const members = Array.from({ length: 99 }, () => ({ origin: randomOrigin(random), region: 0 }))
    const split = splitOf(3, 10)
    view.update(
      members.map((each, n) => ({ ...each, split, isSuspect: n > 30 })),
      true
    )
    expect(view.split).toBe(split)
    expect(new Set(members.map(({ origin }) => view.cellOf(origin) !== undefined)).size).toBe(2)
  })

  it("that was written last holds, whoever is coordinator by now", () => {
    const random = new Random(8)
    for (let i = 0; i < 50; i++) {
      const view = new Cells({ origin: randomOrigin(random), region: 0 }, parametersDefault)
      const members = Array.from({ length: 79 }, () => ({ origin: randomOrigin(random), region: 0, isSuspect: false }))
      const last = random.below(79)
      view.update(
        members.map((each, n) => ({ ...each, split: n === last ? splitOf(6, 10) : splitOf(5, 7) })),
        true
      )
      expect(view.split).toBe(splitOf(6, 10))
    }
  })

  it("is written by the coordinator alone, above all that was said", () => {
    const random = new Random(9)
    const written = new Set<number>()
    const members = Array.from({ length: 100 }, () => ({ origin: randomOrigin(random), region: 0 }))
    const said = members.map((each) => ({ ...each, split: splitOf(5, 40), isSuspect: false }))
    for (const self of members) {
      const view = new Cells(self, parametersDefault)
      const others = said.filter(({ origin }) => origin !== self.origin)
      view.update(others, true)
      view.update(others, true) // now it has said the same as all
      written.add(view.split)
    }
    expect([...written].sort()).toEqual([splitOf(5, 40), splitOf(6, 10)])
  })
})

describe("update", () => {
  it("says whether the links that are wanted have changed", () => {
    const random = new Random(4)
    const view = new Cells({ origin: 1, region: 0 }, tiny)
    const near = { origin: 2, region: 0, split: 1, isSuspect: false }
    const far = Array.from({ length: 4 }, () => ({
      origin: randomOrigin(random),
      region: 1,
      split: 1,
      isSuspect: false
    }))
    expect(view.update([near], true)).toBe(true)
    expect(view.update([near], true)).toBe(false)
    expect(view.update([near, ...far], true)).toBe(true)
    const bystander = far.find(({ origin }) => !view.otherRelays.includes(origin))
    expect(view.update([near, ...far.filter((each) => each !== bystander)], true)).toBe(false)
    expect(view.update([], true)).toBe(true)
    expect([view.cellMembers, view.otherRelays, view.isPrimary]).toEqual([[], [], true])
  })
})

describe("onwards", () => {
  it("leads a write back neither to its author's cell nor out of it again", () => {
    const random = new Random(6)
    const town = new Town(tiny)
    for (let i = 0; i < 9; i++) town.enter({ origin: randomOrigin(random), region: i % 3 })
    town.settle()
    const relay = [...town.views.values()].find((view) => view.isPrimary) as Cells
    const everybody = new Set(originsOf(town))
    const near = relay.cellMembers[0] as number
    const far = originsOf(town).find((origin) => town.cells(origin).self.region !== relay.self.region) as number
    expect(relay.onwards(near, 0, everybody)).toHaveLength(2)
    expect(relay.onwards(far, 0, everybody).map((origin) => town.cells(origin).self.region)).toEqual([
      3 - relay.self.region - town.cells(far).self.region
    ])
    expect(relay.onwards(far, 1, everybody)).toEqual(relay.cellMembers)
    expect(relay.onwards(near, 1, everybody)).toEqual([])
    expect(relay.onwards(far, 2, everybody)).toEqual([])
  })
})

describe("wantsLink", () => {
  it("welcomes a stranger, and then lets only relays stay that are not of its cell", () => {
    const random = new Random(5)
    const town = new Town(tiny)
    for (let i = 0; i < 9; i++) town.enter({ origin: randomOrigin(random), region: i % 3 })
    town.settle()
    const bystander = [...town.views.values()].find((view) => !view.isRelay) as Cells
    expect(bystander.wantsLink({ origin: 5 })).toBe(true)
    for (const other of originsOf(town)) {
      if (other !== bystander.self.origin) {
        expect(bystander.wantsLink({ origin: other })).toBe(town.cells(other).self.region === bystander.self.region)
      }
    }
  })
})

const placesOf = (view: Cells, town: Town) =>
  new Map(
    originsOf(town).map((origin) => {
      const cell = view.cellOf(origin)
      return [origin, { cell, relays: view.relaysOf(cell) }]
    })
  )

const splitOf = (changes: number, groups: number): number => changes * 1_024 + groups

const groupsOfAll = (town: Town): Record<number, number> =>
  Object.fromEntries([...town.views.values()].map(({ self, groups }) => [self.region, groups]))
