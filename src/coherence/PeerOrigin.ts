/**
 * The origin of what a peer's record does here: the instance that it happened on, and whether a trigger did it there
 * because of another peer's record (law 13: then triggers of the scope "all" do not run for it).
 */
import type { EventOrigin } from "../kernel/index.ts"

export class PeerOrigin implements EventOrigin {
  /** No trigger of this instance is in between. */
  readonly depth = 0

  private constructor(
    /** The other instance, in hexadecimal digits as everywhere where people read it. */
    readonly peer: string,
    readonly isDerived: boolean
  ) {}

  /** The same object for the same arguments, mostly. */
  static of(author: number, isDerived: boolean): PeerOrigin {
    const known = isDerived ? derived : direct
    let origin = known.get(author)
    if (origin === undefined) {
      if (known.size >= knownMax) known.clear()
      origin = new PeerOrigin(originName(author), isDerived)
      known.set(author, origin)
    }
    return origin
  }
}

/** How an instance is named for people: 14 hexadecimal digits. */
export const originName = (origin: number): string => origin.toString(16).padStart(14, "0")

const direct = new Map<number, PeerOrigin>()
const derived = new Map<number, PeerOrigin>()
const knownMax = 2_048 // instances; twice the members that there may be at once
