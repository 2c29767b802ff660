/**
 * The address of a process, and the unique references that OTP uses to tell one monitor or timer from another.
 *
 * A pid names one life: a restarted child has another. What must reach "whoever is there now" goes by a name
 * (Registry).
 */

export const TypeId: unique symbol = Symbol.for("mimosa-cache/actor/Pid")
export type TypeId = typeof TypeId

/**
 * Address of one process, which takes messages of type `Message`.
 *
 * Contravariant: a process that takes more may stand for one that takes less, so plain `Pid` stands for any of them.
 * Compared by identity. It remembers nothing of the process but how it ended.
 */
export interface Pid<in Message = never> {
  readonly [TypeId]: (message: Message) => void
  /** Counts up from 1 in this JavaScript realm, and is never used again. */
  readonly id: number
  /** What people call the process; need not be unique. */
  readonly label: string
  /** `<0.42>`, or `<0.42 label>`. */
  toString(): string
}

export const isPid = (value: unknown): value is Pid => typeof value === "object" && value !== null && TypeId in value

/** A reference that equals nothing but itself: Erlang's `make_ref()`. */
export class Ref {
  readonly id = nextRef++

  toString(): string {
    return `#Ref<${this.id}>`
  }
}

let nextRef = 1

export const makeRef = (): Ref => new Ref()
