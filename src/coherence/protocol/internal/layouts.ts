/**
 * What stands in a frame of each type after its header: its number, its fields, its lists. Whoever adds to one of them
 * adds at the end, of the fields, of a record, or of the lists, and reads it only where it is there; see wire.ts.
 */
import type * as F from "../Frame.ts"
import { flagsOf, opOf } from "./records.ts"
import { latin1Of, type Reader, type Writer } from "./wire.ts"

/** One type of frame. */
export interface Layout<T extends F.Frame> {
  /** The type's number on the wire. */
  readonly code: number
  /** Length of its fields, which stand between the header and the lists. */
  readonly fieldBytes: number
  /** Its bits in the header. */
  flags?(frame: T): number
  write(frame: T, out: Writer): void
  /** Called when the fields are there. */
  read(header: F.Header, flags: number, from: Reader): T
}

/** Of an INV: what `Writer.record` writes. */
export const recordBytes = 15
const isReplay = 1
export const wantsAck = 2

const inv: Layout<F.Inv> = {
  code: 1,
  fieldBytes: 6,
  flags: (frame) => (frame.isReplay ? isReplay : 0) | (frame.wantsAck ? wantsAck : 0),
  write(frame, out) {
    const { records } = frame
    out.u48(frame.first)
    out.list(recordBytes, records.length)
    for (let i = 0; i < records.length; i++) {
      const { op, flags, hash, version } = records[i] as F.LogRecord
      out.record(op | flags, hash, version)
    }
  },
  read(header, flags, from) {
    const first = from.sequence()
    const count = from.list(recordBytes)
    if (first + count > sequenceEnd) from.fail("number", `records from ${first} on pass 2^48`)
    const records = new Array<F.LogRecord>(count)
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      const opAndFlags = from.u8()
      records[i] = { op: opOf(opAndFlags), flags: flagsOf(opAndFlags), hash: from.u64(), version: from.u48() }
    }
    const [replay, ack] = [(flags & isReplay) !== 0, (flags & wantsAck) !== 0]
    return { type: "inv", ...header, isReplay: replay, wantsAck: ack, first, records }
  }
}

const sequenceEnd = 2 ** 48

const heartbeatEntryBytes = 36

const heartbeat: Layout<F.Heartbeat> = {
  code: 2,
  fieldBytes: 0,
  write(frame, out) {
    out.list(heartbeatEntryBytes, frame.entries.length)
    for (const entry of frame.entries) {
      out.u64(entry.origin)
      out.u16(entry.region)
      out.u32(entry.split)
      out.u48(entry.last)
      out.u48(entry.oldest)
      out.u48(entry.lamport)
      out.u32(Math.min(Math.ceil(entry.ageMs), 2 ** 32 - 1))
    }
  },
  read(header, _flags, from) {
    const count = from.list(heartbeatEntryBytes)
    const entries: F.HeartbeatEntry[] = []
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      entries.push({
        origin: from.origin(),
        region: from.u16(),
        split: from.u32(),
        last: from.u48(),
        oldest: from.u48(),
        lamport: from.u48(),
        ageMs: from.u32()
      })
    }
    return { type: "heartbeat", ...header, entries }
  }
}

const pull: Layout<F.Pull> = {
  code: 3,
  fieldBytes: 20,
  write(frame, out) {
    out.u64(frame.of)
    out.u48(frame.first)
    out.u48(frame.last)
  },
  read(header, _flags, from) {
    const [of, first, last] = [from.origin(), from.sequence(), from.sequence()]
    if (last < first) from.fail("number", `a pull asks for ${first} to ${last}; the last is not before the first`)
    return { type: "pull", ...header, of, first, last }
  }
}

const gone: Layout<F.Gone> = {
  code: 4,
  fieldBytes: 14,
  write(frame, out) {
    out.u64(frame.of)
    out.u48(frame.oldest)
  },
  read: (header, _flags, from) => ({ type: "gone", ...header, of: from.origin(), oldest: from.u48() })
}

const vectorEntryBytes = 17

const writeVector = (entries: readonly F.VectorEntry[], out: Writer): void => {
  out.list(vectorEntryBytes, entries.length)
  for (const entry of entries) {
    out.u64(entry.origin)
    out.u16(entry.region)
    out.u48(entry.highest)
    out.u8(entry.hasEnded ? 1 : 0)
  }
}

const readVector = (from: Reader): F.VectorEntry[] => {
  const count = from.list(vectorEntryBytes)
  const entries: F.VectorEntry[] = []
  for (let i = 0; i < count; i++) {
    from.record(i, count)
    entries.push({ origin: from.origin(), region: from.u16(), highest: from.u48(), hasEnded: (from.u8() & 1) !== 0 })
  }
  return entries
}

const holeBytes = 16
const holesMax = 64 // of one entry; more than are said

/** A list of its own, as entries are of one length: each hole names its entry by its place. */
const writeHoles = (entries: readonly F.VectorEntry[], out: Writer): void => {
  let count = 0
  for (const { holes } of entries) count += holes?.length ?? 0
  out.list(holeBytes, count)
  for (const [at, { holes = [] }] of entries.entries()) {
    for (const { first, last } of holes) {
      out.u32(at)
      out.u48(first)
      out.u48(last)
    }
  }
}

const readHoles = (entries: F.VectorEntry[], from: Reader): void => {
  const count = from.list(holeBytes)
  for (let i = 0; i < count && from.error === undefined; i++) {
    from.record(i, count)
    const [at, first, last] = [from.u32(), from.sequence(), from.sequence()]
    const entry = entries[at]
    const { holes = [] } = entry ?? {}
    const after = holes.at(-1)?.last ?? 0
    if (entry === undefined) from.fail("number", `a hole is in entry ${at}; there are ${entries.length}`)
    else if (holes.length === holesMax) from.fail("size", `entry ${at} has more than ${holesMax} holes`)
    else if (first <= after || last < first) from.fail("number", `a hole from ${first} to ${last} follows ${after}`)
    else entries[at] = { ...entry, holes: [...holes, { first, last }] }
  }
}

const vector: Layout<F.Vector> = {
  code: 5,
  fieldBytes: 6,
  write(frame, out) {
    out.u48(frame.lamport)
    writeVector(frame.entries, out)
    writeHoles(frame.entries, out)
  },
  read(header, _flags, from) {
    const [lamport, entries] = [from.u48(), readVector(from)]
    readHoles(entries, from)
    return { type: "vector", ...header, lamport, entries }
  }
}

const bucketsAsk: Layout<F.BucketsAsk> = {
  code: 6,
  fieldBytes: 14,
  write(frame, out) {
    out.u64(frame.of)
    out.u48(frame.since)
  },
  read: (header, _flags, from) => ({ type: "bucketsAsk", ...header, of: from.origin(), since: from.u48() })
}

const wideRecordBytes = 15
const isWideUnknown = 1

const buckets: Layout<F.Buckets> = {
  code: 7,
  fieldBytes: 30,
  flags: (frame) => (frame.wide === null ? isWideUnknown : 0),
  write(frame, out) {
    out.u64(frame.of)
    out.u48(frame.since)
    out.u48(frame.upTo)
    out.u48(frame.lamport)
    out.u32(frame.bucketCount)
    out.blob(frame.bitmap)
    const wide = frame.wide ?? []
    out.list(wideRecordBytes, wide.length)
    for (const record of wide) {
      out.u8(record.op)
      out.u64(record.hash)
      out.u48(record.sequence)
    }
  },
  read(header, flags, from) {
    const [of, since, upTo, lamport, bucketCount] = [from.origin(), from.u48(), from.u48(), from.u48(), from.u32()]
    if (bucketCount === 0 || bucketCount > 2 ** 30 || (bucketCount & (bucketCount - 1)) !== 0) {
      from.fail("number", `there are ${bucketCount} buckets; their number is a power of two up to 2^30`)
    }
    const bitmap = from.blob()
    const wanted = Math.ceil(bucketCount / 8)
    if (bitmap.length !== wanted) {
      from.fail("size", `the bitmap of ${bucketCount} buckets has ${bitmap.length} bytes; it has ${wanted}`)
    }
    const count = from.list(wideRecordBytes)
    const wide: F.WideRecord[] = []
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      wide.push({ op: opOf(from.u8()), hash: from.u64(), sequence: from.sequence() })
    }
    const known = (flags & isWideUnknown) === 0 ? wide : null
    return { type: "buckets", ...header, of, since, upTo, lamport, bucketCount, bitmap, wide: known }
  }
}

const isJoining = 1
const isAnswer = 2

const hello: Layout<F.Hello> = {
  code: 8,
  fieldBytes: 22,
  flags: (frame) => (frame.isJoining ? isJoining : 0) | (frame.isAnswer ? isAnswer : 0),
  write(frame, out) {
    out.u48(frame.last)
    out.u48(frame.oldest)
    out.u48(frame.lamport)
    out.u32(frame.split)
    writeVector(frame.vector, out)
    writeHoles(frame.vector, out)
  },
  read(header, flags, from) {
    const [last, oldest, lamport, split] = [from.u48(), from.u48(), from.u48(), from.u32()]
    const vector = readVector(from)
    readHoles(vector, from)
    const said = { isJoining: (flags & isJoining) !== 0, isAnswer: (flags & isAnswer) !== 0 }
    return { type: "hello", ...header, ...said, last, oldest, lamport, split, vector }
  }
}

const leave: Layout<F.Leave> = {
  code: 9,
  fieldBytes: 12,
  write(frame, out) {
    out.u48(frame.last)
    out.u48(frame.lamport)
  },
  read: (header, _flags, from) => ({ type: "leave", ...header, last: from.u48(), lamport: from.u48() })
}

const ack: Layout<F.Ack> = {
  code: 10,
  fieldBytes: 14,
  write(frame, out) {
    out.u64(frame.of)
    out.u48(frame.upTo)
  },
  read: (header, _flags, from) => ({ type: "ack", ...header, of: from.origin(), upTo: from.u48() })
}

const lengthBytes = 4

const fetch: Layout<F.Fetch> = {
  code: 11,
  fieldBytes: 10,
  write(frame, out) {
    out.u32(frame.id)
    out.u48(frame.lamport)
    writeVector(frame.vector, out)
    out.list(lengthBytes, frame.keys.length)
    let bytes = 0
    for (const key of frame.keys) {
      out.u32(key.length)
      bytes += key.length
    }
    out.list(1, bytes)
    for (const key of frame.keys) out.appendLatin1(key)
  },
  read(header, _flags, from) {
    const [id, lamport] = [from.u32(), from.u48()]
    const vector = readVector(from)
    const count = from.list(lengthBytes)
    const ends: number[] = []
    let end = 0
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      end += from.u32()
      ends.push(end)
    }
    const bytes = from.blob()
    if (bytes.length !== end)
      from.fail("size", `the keys have ${end} bytes by their lengths, and ${bytes.length} there`)
    if (from.error !== undefined) return { type: "fetch", ...header, id, lamport, vector, keys: [] }
    const text = latin1Of(bytes)
    const keys = ends.map((to, i) => text.slice(ends[i - 1] ?? 0, to))
    return { type: "fetch", ...header, id, lamport, vector, keys }
  }
}

const answerBytes = 26

const value: Layout<F.ValueFrame> = {
  code: 12,
  fieldBytes: 4,
  write(frame, out) {
    out.u32(frame.id)
    out.list(answerBytes, frame.answers.length)
    let bytes = 0
    for (const answer of frame.answers) {
      out.u8(answer.status)
      out.u8(answer.source)
      out.u48(answer.version)
      out.u64(answer.writer)
      out.u48(answer.ttlMs < 0 ? 0 : Math.floor(answer.ttlMs) + 1) // 0: no end
      out.u32(answer.payload.length)
      bytes += answer.payload.length
    }
    out.list(1, bytes)
    for (const answer of frame.answers) out.append(answer.payload)
  },
  read(header, _flags, from) {
    const id = from.u32()
    const count = from.list(answerBytes)
    const answers: Array<Omit<F.ValueAnswer, "payload"> & { payload: Uint8Array }> = []
    const ends: number[] = []
    let end = 0
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      const [status, source, version, writer, ttlMs] = [from.u8(), from.u8(), from.u48(), from.u64(), from.u48() - 1]
      end += from.u32()
      ends.push(end)
      answers.push({ status, version, writer, source, ttlMs, payload: noPayload })
    }
    const bytes = from.blob()
    if (bytes.length !== end) {
      from.fail("size", `the payloads have ${end} bytes by their lengths, and ${bytes.length} there`)
    }
    for (let i = 0; i < count && from.error === undefined; i++) {
      const answer = answers[i] as { payload: Uint8Array }
      answer.payload = bytes.subarray(ends[i - 1] ?? 0, ends[i])
    }
    return { type: "value", ...header, id, answers }
  }
}

const noPayload = new Uint8Array()
const hashBytes = 8

const query: Layout<F.Query> = {
  code: 13,
  fieldBytes: 12,
  write(frame, out) {
    out.u32(frame.id)
    out.u64(frame.of)
    out.list(hashBytes, frame.hashes.length)
    for (const hash of frame.hashes) out.u64(hash)
  },
  read(header, _flags, from) {
    const [id, of, count] = [from.u32(), from.u64(), from.list(hashBytes)]
    const hashes: number[] = []
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      hashes.push(from.u64())
    }
    return { type: "query", ...header, id, of, hashes }
  }
}

const stampBytes = 23
const isGone = 1

const stamps: Layout<F.Stamps> = {
  code: 14,
  fieldBytes: 10,
  write(frame, out) {
    out.u32(frame.id)
    out.u48(frame.floor)
    out.list(stampBytes, frame.answers.length)
    for (const stamp of frame.answers) {
      out.u8(stamp.isGone ? isGone : 0)
      out.u64(stamp.hash)
      out.u48(stamp.version)
      out.u64(stamp.author)
    }
  },
  read(header, _flags, from) {
    const [id, floor, count] = [from.u32(), from.u48(), from.list(stampBytes)]
    const answers: F.Stamp[] = []
    for (let i = 0; i < count; i++) {
      from.record(i, count)
      const flags = from.u8()
      answers.push({ hash: from.u64(), version: from.u48(), author: from.u64(), isGone: (flags & isGone) !== 0 })
    }
    return { type: "stamps", ...header, id, answers, floor }
  }
}

const opaque = (type: F.Opaque["type"], code: number): Layout<F.Opaque> => ({
  code,
  fieldBytes: 0,
  write: (frame, out) => out.blob(frame.payload),
  read: (header, _flags, from) => ({ type, ...header, payload: from.blob() })
})

const backup = opaque("backup", 15)
const define = opaque("define", 16)
const probe = opaque("probe", 17)

/** Every type of frame. */
export const layouts: Readonly<Record<F.Frame["type"], Layout<F.Frame>>> = {
  inv,
  heartbeat,
  pull,
  gone,
  vector,
  bucketsAsk,
  buckets,
  hello,
  leave,
  ack,
  fetch,
  value,
  query,
  stamps,
  backup,
  define,
  probe
}
