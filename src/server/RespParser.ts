/**
 * Takes commands out of a connection's bytes: RESP arrays of bulk strings, and inline commands as typed into telnet.
 *
 * Incremental: bytes may come in any portions, what was parsed is not parsed again, and a portion that holds whole
 * commands is read where it lies. Only what is cut off at its end is copied, into a buffer that doubles, so the cost
 * stays linear. Every argument is cut straight out of the bytes as a latin1 string: a string cut out of a bigger
 * string would be cheaper still, but would keep the whole portion alive for as long as the key or value lives.
 *
 * Bounded: see `RespLimits`. What breaks the protocol ends the stream: `error` holds Redis' words for it [1], and no
 * command follows. As there, the two bytes after a bulk are skipped and not looked at. A line's limit holds for the
 * line, not for what happens to have arrived, so how the bytes were portioned never changes the result.
 *
 * [1] Redis 7.0, networking.c, processMultibulkBuffer and processInlineBuffer; sds.c, sdssplitargs
 */
export interface RespLimits {
  /** Bytes of one argument. Redis' proto-max-bulk-len is 512 MiB. */
  readonly bulkBytesMax: number
  /** Bytes of all arguments of one command. */
  readonly commandBytesMax: number
}

export const defaultRespLimits: RespLimits = {
  bulkBytesMax: 32 * 1024 * 1024, // a cache's values are far smaller, and each is one string in this process
  commandBytesMax: 128 * 1024 * 1024 // an MSET of a few of the largest
}

export class RespParser {
  /** The command that `next` found: its name and its arguments. A new array for each command. */
  args: string[] = []
  /** Why the stream ended, as the text of an error reply without its code. */
  error: string | undefined
  /** Nobody knows yet who sends this: only short commands are taken, as in Redis. */
  isGuest = false

  private buffer: Bytes = nothing
  private at = 0
  private end = 0
  private isOwned = false
  /** Where the search for the end of a line goes on; what lies before has been searched. */
  private searched = 0
  private partial: string[] = []
  /** Arguments that the command still lacks; 0 between commands. */
  private lacking = 0
  /** Length of the argument that comes next; -1 while its header is not there. */
  private bulkBytes = -1
  private commandBytes = 0

  constructor(private readonly limits: RespLimits = defaultRespLimits) {}

  /** Whether there are bytes that `next` has not used up: another command, or a part of one. */
  get hasRest(): boolean {
    return this.at < this.end
  }

  /** Bytes kept for commands that are not whole yet. */
  get heldBytes(): number {
    const read = this.commandBytes - Math.max(0, this.bulkBytes) + this.partial.length * argumentBytes
    return (this.isOwned ? this.buffer.length : this.end - this.at) + (this.lacking === 0 ? 0 : read)
  }

  /** Takes bytes in. They must not change until `next` has returned false. */
  feed(bytes: Buffer): void {
    if (this.error !== undefined) return
    if (this.at === this.end) {
      this.buffer = bytes as Bytes
      this.at = 0
      this.searched = 0
      this.end = bytes.length
      this.isOwned = false
    } else this.append(bytes)
  }

  /** Finds the next whole command and leaves it in `args`. False when there is none yet, or none any more (`error`). */
  next(): boolean {
    if (this.error !== undefined) return false
    for (;;) {
      if (this.lacking === 0) {
        if (this.at === this.end) break
        if (this.buffer[this.at] !== asterisk) {
          if (!this.readInline()) break
          if (this.args.length === 0) continue
          return true
        }
        const count = this.readHeader(multibulkMax, "invalid multibulk length", "too big mbulk count string", true)
        if (count === incomplete) break
        if (count <= 0) continue
        if (this.isGuest && count > guestArgumentsMax) return this.fail("unauthenticated multibulk length")
        this.lacking = count
        this.commandBytes = 0
        this.partial = []
      }
      do {
        if (this.bulkBytes === -1) {
          if (this.at === this.end) return this.pause()
          if (this.buffer[this.at] !== dollar) {
            // Redis looks at it once the line is whole.
            if (this.findLineEnd("too big bulk count string") === incomplete) return this.pause()
            return this.fail(`expected '$', got '${String.fromCharCode(this.buffer[this.at] as number)}'`)
          }
          const length = this.readHeader(
            this.limits.bulkBytesMax,
            "invalid bulk length",
            "too big bulk count string",
            false
          )
          if (length === incomplete) return this.pause()
          if (this.isGuest && length > guestBulkBytesMax) return this.fail("unauthenticated bulk length")
          this.bulkBytes = length
          this.commandBytes += length
          if (this.commandBytes > this.limits.commandBytesMax) {
            return this.fail(`command is longer than ${this.limits.commandBytesMax} bytes`)
          }
        }
        const start = this.at
        const length = this.bulkBytes
        if (start + length + 2 > this.end) return this.pause()
        this.partial.push(this.partial.length === 0 ? this.word(start, length) : this.text(start, length))
        this.at = start + length + 2
        this.searched = this.at
        this.bulkBytes = -1
      } while (--this.lacking > 0)
      this.args = this.partial
      this.commandBytes = 0
      return true
    }
    return this.pause()
  }

  /** Nothing more to find for now: an emptied buffer is let go. */
  private pause(): false {
    if (this.at === this.end) {
      this.buffer = nothing
      this.at = 0
      this.end = 0
      this.searched = 0
      this.isOwned = false
    }
    return false
  }

  private fail(reason: string): false {
    this.error = `Protocol error: ${reason}`
    this.buffer = nothing
    this.at = 0
    this.end = 0
    this.partial = []
    this.lacking = 0
    this.isOwned = false
    this.commandBytes = 0
    return false
  }

  /** Reads `*<n>\r\n` or `$<n>\r\n`; returns n, or `incomplete` when the line is not whole or broke the protocol. */
  private readHeader(max: number, reason: string, tooLong: string, allowsNegative: boolean): number {
    const buffer = this.buffer
    const first = this.at + 1
    let p = first
    let value = 0
    while (p < this.end) {
      const digit = (buffer[p] as number) - zero
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
      p++
    }
    const isPlain = p > first && (buffer[first] !== zero || p === first + 1) && value <= max && p - first < 16
    if (!isPlain || p + 1 >= this.end || buffer[p] !== carriageReturn) {
      p = this.findLineEnd(tooLong)
      if (p === incomplete) return incomplete
      const text = buffer.latin1Slice(first, p)
      value = isInteger.test(text) && text.length <= 20 ? Number(text) : Number.NaN
      if (!(value <= max && (allowsNegative || value >= 0))) {
        this.fail(reason)
        return incomplete
      }
    }
    this.at = p + 2
    this.searched = this.at
    return value
  }

  /** The offset of the line's "\r" once the byte after it is there too, else `incomplete`. */
  private findLineEnd(tooLong: string): number {
    const { buffer, end } = this
    let p = Math.max(this.searched, this.at)
    while (p < end && buffer[p] !== carriageReturn) p++
    this.searched = p
    const isWhole = p + 1 < end
    if ((isWhole ? p + 2 : end) - this.at > lineBytesMax) {
      this.fail(tooLong)
      return incomplete
    }
    return isWhole ? p : incomplete
  }

  private readInline(): boolean {
    const { buffer, end } = this
    let p = Math.max(this.searched, this.at)
    while (p < end && buffer[p] !== lineFeed) p++
    this.searched = p
    const isWhole = p < end
    if ((isWhole ? p + 1 : end) - this.at > lineBytesMax) return this.fail("too big inline request")
    if (!isWhole) return false
    const last = p > this.at && buffer[p - 1] === carriageReturn ? p - 1 : p
    const args = splitArgs(buffer.latin1Slice(this.at, last))
    if (args === undefined) return this.fail("unbalanced quotes in request")
    this.args = args
    this.at = p + 1
    this.searched = this.at
    return true
  }

  private text(start: number, length: number): string {
    const buffer = this.buffer
    // A call into the runtime costs more than a few characters put together here.
    switch (length) {
      case 0:
        return ""
      case 1:
        return String.fromCharCode(buffer[start] as number)
      case 2:
        return String.fromCharCode(buffer[start] as number, buffer[start + 1] as number)
      case 3:
        return String.fromCharCode(buffer[start] as number, buffer[start + 1] as number, buffer[start + 2] as number)
      default:
        return buffer.latin1Slice(start, start + length)
    }
  }

  /** A command's name: the same string each time, whose hash is known already when it is looked up. */
  private word(start: number, length: number): string {
    if (length > wordBytesMax) return this.text(start, length)
    const buffer = this.buffer
    let hash = length
    for (let p = start; p < start + length; p++) hash = (hash * 31 + (buffer[p] as number)) & (wordCount - 1)
    const known = words[hash]
    if (known !== undefined && known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === buffer[start + i]) i++
      if (i === length) return known
    }
    const word = buffer.latin1Slice(start, start + length)
    words[hash] = word
    return word
  }

  private append(bytes: Buffer): void {
    const rest = this.end - this.at
    const needed = rest + bytes.length
    if (!this.isOwned || this.end + bytes.length > this.buffer.length) {
      const hasRoom = this.isOwned && needed <= this.buffer.length
      const into = hasRoom ? this.buffer : allocate(Math.max(needed, 2 * rest, ownedBytesMin))
      this.buffer.copy(into, 0, this.at, this.end)
      this.buffer = into
      this.isOwned = true
      this.searched = Math.max(0, this.searched - this.at)
      this.at = 0
      this.end = rest
    }
    bytes.copy(this.buffer, this.end)
    this.end += bytes.length
  }
}

/**
 * Splits an inline command as Redis does: words between blanks; double quotes with \n \r \t \b \a \xhh and \ before
 * any other byte; single quotes with \' alone. Undefined when a quote is left open, or is closed in front of a byte
 * that is no blank.
 */
export const splitArgs = (line: string): string[] | undefined => {
  const args: string[] = []
  let p = 0
  for (;;) {
    while (p < line.length && isBlank(line.charCodeAt(p))) p++
    if (p >= line.length || line.charCodeAt(p) === 0) return args
    let word = ""
    while (p < line.length && !isBlank(line.charCodeAt(p)) && line.charCodeAt(p) !== 0) {
      const quote = line[p] as string
      if (quote !== '"' && quote !== "'") {
        word += quote
        p++
        continue
      }
      p++
      for (;;) {
        const c = line[p]
        if (c === undefined || c === "\0") return undefined
        if (c === quote) break
        if (c === "\\" && quote === '"' && p + 1 < line.length) {
          const hex = /^x([0-9a-fA-F]{2})/.exec(line.slice(p + 1, p + 4))
          if (hex !== null) {
            word += String.fromCharCode(Number.parseInt(hex[1] as string, 16))
            p += 4
          } else {
            const next = line[p + 1] as string
            word += escapes[next] ?? next
            p += 2
          }
        } else if (c === "\\" && quote === "'" && line[p + 1] === "'") {
          word += "'"
          p += 2
        } else {
          word += c
          p++
        }
      }
      p++
      if (p < line.length && !isBlank(line.charCodeAt(p)) && line.charCodeAt(p) !== 0) return undefined
    }
    args.push(word)
  }
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" }

/** C's isspace. */
const isBlank = (code: number): boolean => code === 0x20 || (code >= 0x09 && code <= 0x0d)

const incomplete = -2
const multibulkMax = 1024 * 1024 // arguments; Redis' limit before 7.0
const lineBytesMax = 64 * 1024 // Redis' PROTO_INLINE_MAX_SIZE
const guestArgumentsMax = 10 // as Redis: enough for HELLO with AUTH and SETNAME
const guestBulkBytesMax = 16 * 1024 // as Redis
const argumentBytes = 16 // what a string's head and its place in the array cost at least
const ownedBytesMin = 1024 // bytes; spares the first doublings of a slow sender
const isInteger = /^(?:0|-?[1-9][0-9]*)$/

// A cache of command names, one for all connections: what was read last stands in its place.
const wordBytesMax = 16
const wordCount = 512
const words: Array<string | undefined> = new Array<string | undefined>(wordCount).fill(undefined)

/** What Node's buffers have and its types lack: `toString("latin1", …)` without the search for the encoding. */
interface Bytes extends Buffer {
  latin1Slice(start: number, end: number): string
}

const allocate = (length: number): Bytes => Buffer.allocUnsafeSlow(length) as Bytes
const nothing = allocate(0)
const asterisk = 0x2a
const dollar = 0x24
const zero = 0x30
const carriageReturn = 0x0d
const lineFeed = 0x0a
