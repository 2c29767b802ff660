/**
 * Whether the broker that carries all messages is there, as the listener above and the log hear of it.
 *
 * The listener is told each change once. The log has a line for each loss, with its reason, and one for its end. Where
 * the broker is found to be there and says no (credentials, a certificate), each of its reasons has a line, up to
 * `refusalsMax` a loss. Of a broker that comes and goes all the time, a loss is told every `quietTicks`.
 */

export interface CarrierLog {
  warn(text: string): void
  info(text: string): void
}

export class Carrier {
  /** Null until it is known. */
  isUp: boolean | null = null
  private log: CarrierLog | null = null
  /** Why the last attempt has failed; empty while the broker is there. */
  private reason = ""
  /** What the log says of the current loss. */
  private readonly said = new Set<string>()
  private ticks = 0
  private saidAtTick = Number.NEGATIVE_INFINITY

  /** `what` names the broker, without credentials; `tell` is the listener's ear. */
  constructor(
    readonly what: string,
    private readonly tell: (isUp: boolean) => void
  ) {}

  /** Where its lines go, once there is a process to speak for. */
  logTo(log: CarrierLog): void {
    this.log = log
  }

  up(): void {
    if (this.isUp === true) return
    this.isUp = true
    this.reason = ""
    if (this.said.size > 0) this.log?.info(`${this.what} is back`)
    this.said.clear()
    this.tell(true)
  }

  /** The connection is lost, or an attempt to make one came to nothing; again and again, with what is known of why. */
  down(cause: unknown): void {
    this.reason = reasonOf(cause)
    this.say()
    if (this.isUp === false) return
    this.isUp = false
    this.tell(false)
  }

  /** Who held the connection has crashed: nothing is carried until the next one has one. Not the broker's fault, so no line. */
  dropped(): void {
    if (this.isUp !== true) return
    this.isUp = false
    this.tell(false)
  }

  /** Once a second or so: says what was held back. */
  tick(): void {
    this.ticks++
    if (this.isUp === false && this.reason !== "") this.say()
  }

  private say(): void {
    const { reason, said } = this
    const kind = reason.startsWith(silence) ? silence : reason
    if (said.has(kind) || said.size >= refusalsMax) return
    if (said.size === 0 && this.ticks - this.saidAtTick < quietTicks) return
    said.add(kind)
    this.saidAtTick = this.ticks
    this.log?.warn(`${this.what} ${reason}: trying again`)
  }
}

/** `does not answer (ECONNREFUSED)`, or what the broker said. Packages wrap the error of the system, some twice. */
const reasonOf = (cause: unknown): string => {
  let error = cause
  for (let depth = 0; depth < causesMax && error instanceof Error; depth++) {
    const { code } = error as NodeJS.ErrnoException
    if (typeof code === "string" && /^E[A-Z]+$/.test(code)) return `${silence} (${code})`
    if (!(error.cause instanceof Error)) break
    error = error.cause
  }
  const words = error instanceof Error ? error.message : String(error)
  return silent.test(words) ? `${silence} (${words})` : `cannot be used (${words})`
}

const silence = "does not answer"
/** What packages say of a server that is not there, where they do not hand on the system's error. */
const silent = /\b(timeout|timed out|closed|lost|refused)\b/i
const refusalsMax = 8 // lines about one loss; what a broker says could hold something new each time
const quietTicks = 10 // ticks between two losses that are told
const causesMax = 5 // deep; nobody wraps that often
