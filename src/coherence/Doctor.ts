/**
 * Looks for stale entries the way Polaris does [1]: not by trusting the protocol, but by asking others what they have.
 *
 * It takes entries at random that others may have written, asks the members what the highest write is that they know of
 * each, and compares (version, author) with what is here. What is lower here, or gone at its author, is suspected: mostly
 * its record is on its way. So it is looked at again after 100 ms, 1 s and 10 s; what is still here, and still lower than
 * what others had at the first look, is a stale read for whoever asks, for at least so long. That is proof, whatever
 * frames say, and comes with what is known here of why.
 *
 * Of what was found a rate follows, with what the sample allows to say: of 0 stale among n one may conclude at most 3/n,
 * with 95 % confidence (the rule of three [2]); of k among n it is Wilson's upper bound. One of more than a tenth of all
 * reads says nothing, and is not said.
 *
 * Not seen: what a loader brought (nobody's write: there is nothing to compare), and what a clear should have taken where
 * the author has forgotten its writes. Bounds: one examination at a time, `samplesMax` entries, `tracesMax` traces.
 *
 * [1] Meta, "Cache made consistent" (2022). [2] Hanley and Lippman-Hand, JAMA 249 (1983).
 */
import type { Inquired } from "./protocol/Inquiries.ts"

/** An entry that is here and can be read. */
export interface HeldEntry {
  readonly hash: number
  /** As it is displayed. */
  readonly key: string
  readonly version: number
  readonly writer: number
}

/** What somebody else knows of it. */
export interface KnownElsewhere {
  readonly version: number
  readonly author: number
  readonly isGone: boolean
  /** Who says so. */
  readonly member: number
}

export interface DoctorPort {
  /** How many other instances there are. */
  readonly others: number
  /** Entries that are here and not only here, at random, each once; all where there are no more. */
  sample(count: number): { readonly held: readonly HeldEntry[]; readonly loaded: number }
  /** What is here and can be read under a hash. */
  heldAt(hash: number): readonly HeldEntry[]
  /** Asks the members, these first; `done` comes once, perhaps at once. */
  query(hashes: readonly number[], authors: ReadonlySet<number>, done: (said: Inquired) => void): void
  /** What is known here of why an entry is lower than it should be, in sentences. */
  why(held: HeldEntry, known: KnownElsewhere): readonly string[]
  nameOf(origin: number): string
  /** Runs `action` once in `ms`. */
  after(ms: number, action: () => void): void
}

export interface Diagnosis {
  /** Entries that were compared, and entries that a loader brought, which cannot be. */
  readonly samples: number
  readonly loaded: number
  /** Members that answered, and names of those that did not. */
  readonly asked: number
  readonly silent: readonly string[]
  /** How many entries were lower than elsewhere for at least so long, the first one at the first look. */
  readonly windows: readonly Window[]
  /** Those that still were at the last look. */
  readonly stale: number
  /** In words. */
  readonly verdict: string
  /** All examinations since the start together. */
  readonly samplesEver: number
  readonly staleEver: number
  /** Of entries that were lower for longer than the first window. */
  readonly traces: readonly StaleTrace[]
}

export interface Window {
  readonly afterMs: number
  readonly lower: number
  /** Of 10^9 reads of such entries so many would have been lower for so long; and at most, with 95 % confidence. */
  readonly perBillion: number
  readonly perBillionMax: number
}

export interface StaleTrace {
  readonly key: string
  /** It was lower for at least so long. */
  readonly forMs: number
  /** It was still so at the last look. */
  readonly isStale: boolean
  readonly lines: readonly string[]
}

export const samplesDefault = 1_000
export const samplesMax = 100_000

interface Suspect {
  readonly held: HeldEntry
  readonly known: KnownElsewhere
  forMs: number
  lines: readonly string[]
}

/** One examination under way. */
interface Examination {
  readonly done: (diagnosis: Diagnosis) => void
  readonly held: readonly HeldEntry[]
  readonly loaded: number
  readonly answered: Set<number>
  readonly silent: Set<number>
  suspects: Suspect[]
  readonly confirmed: Suspect[]
  readonly lower: number[]
  samples: number
  next: number
}

export class Doctor {
  private current: Examination | null = null
  private samplesEver = 0
  private staleEver = 0

  constructor(private readonly port: DoctorPort) {}

  get isBusy(): boolean {
    return this.current !== null
  }

  /** Begins an examination; false, and nothing is done, while there is one. */
  examine(samples: number, done: (diagnosis: Diagnosis) => void): boolean {
    if (this.current !== null) return false
    const { held, loaded } = this.port.sample(Math.min(samples, samplesMax))
    this.current = {
      ...{ done, held, loaded, answered: new Set(), silent: new Set() },
      ...{ suspects: [], confirmed: [], lower: [], samples: 0, next: 0 }
    }
    this.askNext(this.current)
    return true
  }

  /** Asks about some more; they are compared with what is here when the answers are. */
  private askNext(examination: Examination): void {
    const chunk = examination.held.slice(examination.next, examination.next + chunkSize)
    examination.next += chunk.length
    if (chunk.length === 0) {
      this.lookedOnce(examination)
      return
    }
    const hashes = chunk.map(({ hash }) => hash)
    this.port.query(hashes, new Set(chunk.map(({ writer }) => writer)), (said) => {
      for (const origin of said.answers.keys()) examination.answered.add(origin)
      for (const origin of said.silent) examination.silent.add(origin)
      if (said.answers.size > 0) for (const hash of hashes) this.compare(examination, hash, said)
      // Not from within the answer: of members that are not there each would come from within the one before.
      this.port.after(0, () => this.askNext(examination))
    })
  }

  private compare(examination: Examination, hash: number, { answers }: Inquired): void {
    const [held] = this.port.heldAt(hash)
    if (held === undefined || held.version === 0) return // it has gone meanwhile
    examination.samples++
    let highest: KnownElsewhere | undefined
    for (const [member, said] of answers) {
      const known = said.get(hash)
      if (known === undefined || !isOlder(held, known)) continue
      if (highest === undefined || isOlder({ version: highest.version, writer: highest.author }, known)) {
        highest = { ...known, member }
      }
    }
    if (highest !== undefined) examination.suspects.push({ held, known: highest, forMs: 0, lines: [] })
  }

  private lookedOnce(examination: Examination): void {
    examination.lower.push(examination.suspects.length)
    this.lookAgain(examination, 0)
  }

  private lookAgain(examination: Examination, window: number): void {
    const atMs = looksMs[window]
    if (atMs === undefined || examination.suspects.length === 0) {
      this.conclude(examination)
      return
    }
    const beforeMs = looksMs[window - 1] ?? 0
    this.port.after(atMs - beforeMs, () => {
      examination.suspects = examination.suspects.filter((suspect) => this.isStillLower(suspect))
      for (const suspect of examination.suspects) {
        suspect.forMs = atMs
        if (window > 0) continue
        examination.confirmed.push(suspect)
        if (examination.confirmed.length <= tracesMax) suspect.lines = this.port.why(suspect.held, suspect.known)
      }
      examination.lower.push(examination.suspects.length)
      this.lookAgain(examination, window + 1)
    })
  }

  /** Whether what is here now is still lower than what somebody had at the first look. */
  private isStillLower({ held, known }: Suspect): boolean {
    return this.port.heldAt(held.hash).some((now) => now.key === held.key && isOlder(now, known))
  }

  /** Why nothing was compared. */
  private whyNothing({ held, loaded, answered }: Examination): string {
    const { others } = this.port
    if (others === 0) return "no other instance is there: there was nothing to compare with"
    const there = others === 1 ? "another instance is there" : `${others} others are there`
    if (held.length === 0 && loaded === 0)
      return `${there}, but nothing here could be compared: no shared entry is here`
    if (held.length === 0) return `${there}, but nothing here could be compared: a loader brought all that is here`
    if (answered.size === 0) return `${there}, but nothing was compared: none has answered`
    return `${there}, but nothing here could be compared: what was here has gone meanwhile`
  }

  private conclude(examination: Examination): void {
    this.current = null
    const { samples, loaded, answered, silent, confirmed, lower, done } = examination
    const windows = [0, ...looksMs].map((afterMs, at) => {
      const count = lower[at] ?? 0 // nobody was suspected any more
      return { afterMs, lower: count, ...ratesOf(count, samples) }
    })
    const stale = lower[looksMs.length] ?? 0
    this.samplesEver += samples
    this.staleEver += stale
    const { nameOf } = this.port
    done({
      ...{ samples, loaded, asked: answered.size, silent: [...silent].map(nameOf), windows, stale },
      verdict: samples === 0 ? this.whyNothing(examination) : verdictOf(stale, samples),
      samplesEver: this.samplesEver,
      staleEver: this.staleEver,
      traces: confirmed.slice(0, tracesMax).map(({ held, forMs, lines }) => ({
        ...{ key: held.key, forMs, lines },
        isStale: forMs === looksMs.at(-1)
      }))
    })
  }
}

/** Lower than another write; or the same one, of which its own author says that it is gone. */
const isOlder = (
  held: Pick<HeldEntry, "version" | "writer">,
  known: Pick<KnownElsewhere, "version" | "author" | "isGone">
): boolean => {
  if (held.version !== known.version) return held.version < known.version
  return held.writer < known.author || (held.writer === known.author && known.isGone)
}

const ratesOf = (count: number, samples: number): Pick<Window, "perBillion" | "perBillionMax"> => ({
  perBillion: samples === 0 ? 0 : Math.round((count / samples) * billion),
  perBillionMax: Math.round(upperBound(count, samples) * billion)
})

/** The share that it may be at most, given what was found, with 95 % confidence. */
export const upperBound = (count: number, samples: number): number => {
  if (samples === 0) return 1
  if (count === 0) return Math.min(1, 3 / samples)
  const share = count / samples
  const spread = z * Math.sqrt((share * (1 - share)) / samples + (z * z) / (4 * samples * samples))
  return Math.min(1, (share + (z * z) / (2 * samples) + spread) / (1 + (z * z) / samples))
}

const verdictOf = (stale: number, samples: number): string => {
  const share = upperBound(stale, samples)
  const most = Math.round(share * billion).toLocaleString("en")
  const many = samples.toLocaleString("en")
  const found = `${stale} of ${many} ${samples === 1 ? "sample is" : "samples are"} stale`
  if (share > shareMax) return `${found}: too few samples to say how many of 10^9 reads (30,000 would do for 100,000)`
  if (stale === 0) return `${found}: at most ${most} of 10^9 reads, by the rule of three`
  const rate = Math.round((stale / samples) * billion).toLocaleString("en")
  return `${found}: ${rate} of 10^9 reads, at most ${most} (95 %)`
}

const shareMax = 0.1 // of all reads: 10^8 of 10^9

const looksMs: readonly number[] = [100, 1_000, 10_000]
const chunkSize = 1_000 // hashes in one question: 8 KB, and an answer of 23 KB from each member
const tracesMax = 10
const billion = 1e9
const z = 1.645 // of a one-sided bound of 95 %
