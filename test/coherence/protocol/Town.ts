/** Any number of instances that see each other at once: each has its own Cells, and a write is played through them. */
import { Cells, hopsMax } from "../../../src/coherence/protocol/Cells.ts"
import type { Random } from "../../support/Random.ts"

export interface Citizen {
  readonly origin: number
  readonly region: number
}

export class Town {
  readonly views = new Map<number, Cells>()

  constructor(readonly sizes: { readonly cellMax: number; readonly cellMin: number }) {}

  enter(citizen: Citizen): void {
    this.views.set(citizen.origin, new Cells(citizen, this.sizes))
  }

  leave(origin: number): void {
    this.views.delete(origin)
  }

  cells(origin: number): Cells {
    return this.views.get(origin) as Cells
  }

  /** What each says goes to all, until nobody says anything new; answers after how many rounds. */
  settle(roundsMax = 8): number {
    for (let round = 1; round <= roundsMax; round++) {
      const before = JSON.stringify(this.said)
      const said = this.said
      for (const view of this.views.values()) {
        view.update(
          said.filter(({ origin }) => origin !== view.self.origin),
          true
        )
      }
      if (JSON.stringify(this.said) === before) return round
    }
    throw new Error(`still disagrees after ${roundsMax} rounds`)
  }

  private get said() {
    return [...this.views.values()].map(({ self, split }) => ({ ...self, split, isSuspect: false }))
  }

  /** The links of each: both ends have to want one. `isCut` takes some of them away. */
  links(isCut: (a: number, b: number) => boolean = () => false): Map<number, Set<number>> {
    const links = new Map<number, Set<number>>()
    for (const a of this.views.keys()) links.set(a, new Set())
    for (const [a, view] of this.views) {
      for (const b of this.views.keys()) {
        if (a === b || !view.wantsLink({ origin: b }) || !this.cells(b).wantsLink({ origin: a })) continue
        if (!isCut(a, b) && !isCut(b, a)) links.get(a)?.add(b)
      }
    }
    return links
  }

  /** A write of this author: who gets it how often, and with how many messages. */
  spread(author: number, links: ReadonlyMap<number, ReadonlySet<number>>): Spread {
    const received = new Map<number, number>()
    const queue: Array<{ to: number; hops: number }> = []
    let [messages, hopsMax] = [0, 0]
    const send = (from: number, to: number, hops: number) => {
      if (!links.get(from)?.has(to)) return
      messages++
      hopsMax = Math.max(hopsMax, hops)
      queue.push({ to, hops })
    }
    const linksOf = (origin: number) => links.get(origin) as ReadonlySet<number>
    for (const to of this.cells(author).cellMembers) send(author, to, 0)
    for (const to of this.cells(author).outwards(linksOf(author))) send(author, to, 1)
    for (let frame = queue.shift(); frame !== undefined; frame = queue.shift()) {
      const { to: self, hops } = frame
      received.set(self, (received.get(self) ?? 0) + 1)
      for (const to of this.cells(self).onwards(author, hops, linksOf(self))) send(self, to, hops + 1)
      if (messages > 1_000_000) throw new Error("runs in circles")
    }
    return { received, messages, hopsMax }
  }

  /** The way of a frame for one peer, both ends included; undefined when it does not arrive. */
  route(from: number, to: number, links: ReadonlyMap<number, ReadonlySet<number>>): number[] | undefined {
    const way = [from]
    for (let at = from; at !== to; way.push(at)) {
      if (way.length > hopsMax + 1) return undefined
      const next = this.cells(at).nextHop(to, links.get(at) as ReadonlySet<number>)
      if (next === 0) return undefined
      at = next
    }
    return way
  }
}

export interface Spread {
  readonly received: ReadonlyMap<number, number>
  readonly messages: number
  readonly hopsMax: number
}

export const randomOrigin = (random: Random): number => random.between(1, 2 ** 53 - 1)
