/** What the doctor sees: the entries and the instance of a running program. */
import type { DoctorPort, HeldEntry, KnownElsewhere } from "./Doctor.ts"
import { originName } from "./PeerOrigin.ts"
import type { Inquired } from "./protocol/Inquiries.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { SharedEntries } from "./SharedEntries.ts"

export class DoctorView implements DoctorPort {
  constructor(
    private readonly entries: SharedEntries,
    private readonly instance: Instance,
    /** 0 to below 1. */
    private readonly random: () => number,
    readonly after: (ms: number, action: () => void) => void
  ) {}

  get others(): number {
    return this.instance.memberCount
  }

  sample(count: number): { readonly held: readonly HeldEntry[]; readonly loaded: number } {
    const sampled = this.entries.sample(count, this.random)
    const held = sampled.filter(({ version }) => version > 0)
    return { held, loaded: sampled.length - held.length }
  }

  heldAt(hash: number): readonly HeldEntry[] {
    return this.entries.readableAt(hash)
  }

  query(hashes: readonly number[], authors: ReadonlySet<number>, done: (said: Inquired) => void): void {
    this.instance.query(hashes, authors, done)
  }

  readonly nameOf = (origin: number): string => (origin === this.instance.origin ? "this instance" : originName(origin))

  why(held: HeldEntry, known: KnownElsewhere): readonly string[] {
    const { entries, nameOf } = this
    const { version, writer, hash } = held
    const [here] = entries.readableAt(hash)
    const ageMs = here?.filledMsAgo ?? -1
    const filled = ageMs < 0 ? "" : `, filled ${ageMs} ms ago`
    const newest = entries.newest(hash)
    return [
      `here it has version ${version} of ${nameOf(writer)}${filled}`,
      `${nameOf(known.member)} knows of version ${known.version} of ${nameOf(known.author)}${known.isGone ? ", and that it is gone" : ""}`,
      this.whyNotHere(held, known),
      newest === undefined || (newest.version === version && newest.author === writer)
        ? "here nothing higher is known of it"
        : `here version ${newest.version} of ${nameOf(newest.author)} is known of it, and the entry is here all the same`,
      this.standing()
    ]
  }

  /** What has become of the record that should have taken it. */
  private whyNotHere({ hash }: HeldEntry, { author, version, isGone }: KnownElsewhere): string {
    const { instance, nameOf } = this
    if (author === instance.origin)
      return "that was this instance's own write: something has stored an older value since"
    const sequence = instance.received.sequenceOf(author, hash, version)
    const name = nameOf(author)
    if (sequence > 0) return `its record, number ${sequence} of ${name}, was received: the entry was stored afterwards`
    const member = instance.status().members.find(({ origin }) => origin === author)
    if (member === undefined) return `${name} is not known here: none of its records was ever heard of`
    const { contiguous, advertised, missingForMs, state } = member
    const of = state === "live" ? name : `${name} (${state})`
    if (advertised > contiguous) {
      return `of ${of} ${advertised - contiguous} records from number ${contiguous + 1} on are missing, for ${Math.round(missingForMs)} ms`
    }
    return isGone
      ? `no record of ${of} is missing, and none names it: it has gone there by a tag, a prefix or its deadline`
      : `no record of ${of} is missing up to number ${contiguous}; this one is not among those that are kept, or was never sent`
  }

  private standing(): string {
    const { isCoherent, degradedWhy, degradedForMs, copyMsMax } = this.instance.status()
    if (isCoherent) return "this instance takes itself for coherent"
    const left = copyMsMax === Number.POSITIVE_INFINITY ? "are used on" : `live ${copyMsMax} ms at most`
    return `this instance is degraded (${degradedWhy.join(", ")}) for ${Math.round(degradedForMs)} ms: copies ${left}`
  }
}
