import { describe, expect, it } from "vitest"
import {
  AnswerStatus,
  decode,
  encode,
  type Frame,
  FrameError,
  type Inv,
  Op,
  passedOn,
  RecordFlag
} from "../../../src/coherence/protocol/Frame.ts"
import type { Span } from "../../../src/coherence/protocol/Marks.ts"
import { forAllSeeds, propertyTimeoutMs } from "../../support/Random.ts"
import { frameTypes, randomFrame } from "./randomFrame.ts"

const header = { namespace: 0x01020304, author: 0x1122334455667, to: 0, region: 2, hops: 0 }

const inv: Inv = {
  type: "inv",
  ...header,
  isReplay: false,
  wantsAck: true,
  first: 258,
  records: [
    { op: Op.key, flags: RecordFlag.gone, hash: 2 ** 53 - 1, version: 2 ** 48 - 1 },
    { op: Op.tag, flags: 0, hash: 5, version: 7 }
  ]
}

describe("a frame", () => {
  it.each(frameTypes)("of type %s is read as it was written", { timeout: propertyTimeoutMs }, async (type) => {
    await forAllSeeds(200, (random) => {
      const frame = randomFrame(random, type)
      expect(decode(encode(frame))).toEqual(frame)
    })
  })

  it("is written whole whatever was written before it, also after one that failed or was very long", () => {
    const long: Frame = { type: "probe", ...header, payload: new Uint8Array(70_000).fill(7) }
    const wrong: Frame = { type: "query", ...header, id: 1, of: 0, hashes: [1, 2, 2 ** 53] }
    const before = encode(inv)
    expect(() => encode(wrong)).toThrow(
      new RangeError("9007199254740992 cannot go into a frame there; use an integer from 0 up to, but without, 2^53")
    )
    expect(encode(inv)).toEqual(before)
    expect(decode(encode(long))).toEqual(long)
    expect(encode(inv)).toEqual(before)
  })

  it("keeps its bytes when the next one is written", () => {
    const bytes = encode(inv)
    encode({ type: "leave", ...header, last: 9, lamport: 11 })
    expect(decode(bytes)).toEqual(inv)
  })

  it.each<[string, Frame, string]>([
    ["author 0", { ...inv, author: 0 }, "a frame speaks for origin 0, which is nobody"],
    ["a region of 2^16", { ...inv, region: 2 ** 16 }, "65536 cannot go"],
    ["a namespace of 2^32", { ...inv, namespace: 2 ** 32 }, "4294967296 cannot go"],
    ["a sequence of 2^48", { ...inv, first: 2 ** 48 }, "281474976710656 cannot go"],
    ["a negative version", { ...inv, records: [{ op: 1, flags: 0, hash: 1, version: -1 }] }, "-1 cannot go"],
    ["no number", { ...inv, first: Number.NaN }, "NaN cannot go"]
  ])("is not written with %s", (_, frame, message) => {
    expect(() => encode(frame)).toThrow(message)
  })

  it("rounds an age up and a remaining life down to whole milliseconds", () => {
    const entry = { origin: 1, region: 0, split: 1, last: 0, oldest: 1, lamport: 0 }
    const heartbeat = decode(encode({ type: "heartbeat", ...header, entries: [{ ...entry, ageMs: 1.2 }] }))
    expect(heartbeat).toMatchObject({ entries: [{ ageMs: 2 }] })
    const answer = { status: 1, version: 1, writer: 1, source: 0, payload: new Uint8Array() }
    const lives = [0, 0.5, 1.9, -1].map((ttlMs) => ({ ...answer, ttlMs }))
    const value = decode(encode({ type: "value", ...header, id: 1, answers: lives }))
    expect(value).toMatchObject({ answers: [{ ttlMs: 0 }, { ttlMs: 0 }, { ttlMs: 1 }, { ttlMs: -1 }] })
  })

  it("views payloads and bitmaps instead of copying them", () => {
    const bytes = encode({ type: "backup", ...header, payload: Uint8Array.of(1, 2, 3) })
    const frame = decode(bytes)
    bytes[bytes.length - 1] = 9
    expect(frame).toMatchObject({ payload: Uint8Array.of(1, 2, 9) })
  })
})

/** Namespace, author, to and region of `header`, for H. */
const headerHex = "01020304 0001122334455667 0000000000000000 0002"

/** Frames of version 1.0, as the first instances write them. They are never to change. */
const firstFrames: ReadonlyArray<[string, Frame]> = [
  ["10010200 H 0006 000000000102 000f00000002 41001fffffffffffffffffffffffff 020000000000000005000000000007", inv],
  [
    "10020000 H 0000 002400000001 000000000000000300010000000200000000000900000000000400000000000b00000014",
    {
      type: "heartbeat",
      ...header,
      entries: [{ origin: 3, region: 1, split: 2, last: 9, oldest: 4, lamport: 11, ageMs: 20 }]
    }
  ],
  ["10030000 H 0014 0000000000000003 000000000005 000000000008", { type: "pull", ...header, of: 3, first: 5, last: 8 }],
  ["10040000 H 000e 0000000000000003 000000000006", { type: "gone", ...header, of: 3, oldest: 6 }],
  [
    "10050000 H 0006 00000000000b 001100000001 0000000000000003000100000000000901 001000000001 00000000000000000004000000000005",
    {
      type: "vector",
      ...header,
      lamport: 11,
      entries: [{ origin: 3, region: 1, highest: 9, hasEnded: true, holes: [{ first: 4, last: 5 }] }]
    }
  ],
  ["10060000 H 000e 0000000000000003 000000000004", { type: "bucketsAsk", ...header, of: 3, since: 4 }],
  [
    "10070000 H 001e 0000000000000003 000000000004 000000000009 00000000000b 00000008 000100000001 81 000f00000001 030000000000000005000000000008",
    {
      type: "buckets",
      ...header,
      of: 3,
      since: 4,
      upTo: 9,
      lamport: 11,
      bucketCount: 8,
      bitmap: Uint8Array.of(0x81),
      wide: [{ op: 3, hash: 5, sequence: 8 }]
    }
  ],
  [
    "10080100 H 0016 000000000009 000000000004 00000000000b 00000001 001100000001 0000000000000003000100000000000900 001000000000",
    {
      type: "hello",
      ...header,
      isJoining: true,
      isAnswer: false,
      last: 9,
      oldest: 4,
      lamport: 11,
      split: 1,
      vector: [{ origin: 3, region: 1, highest: 9, hasEnded: false }]
    }
  ],
  ["10090000 H 000c 000000000009 00000000000b", { type: "leave", ...header, last: 9, lamport: 11 }],
  ["100a0000 H 000e 0000000000000003 000000000009", { type: "ack", ...header, of: 3, upTo: 9 }],
  [
    "100b0000 H 000a 00000007 00000000000b 001100000001 0000000000000003000100000000000900 000400000002 00000001 00000002 000100000003 616263",
    {
      type: "fetch",
      ...header,
      id: 7,
      lamport: 11,
      vector: [{ origin: 3, region: 1, highest: 9, hasEnded: false }],
      keys: ["a", "bc"]
    }
  ],
  [
    "100c0000 H 0004 00000007 001a00000002 010200000000000b00000000000000030000000003e900000002 0000000000000000000000000000000000000000000000000000 000100000002 ddee",
    {
      type: "value",
      ...header,
      id: 7,
      answers: [
        {
          status: AnswerStatus.value,
          version: 11,
          writer: 3,
          source: 2,
          ttlMs: 1_000,
          payload: Uint8Array.of(0xdd, 0xee)
        },
        { status: AnswerStatus.none, version: 0, writer: 0, source: 0, ttlMs: -1, payload: new Uint8Array() }
      ]
    }
  ],
  [
    "100d0000 H 000c 00000007 0000000000000003 000800000002 0000000000000005 0000000000000006",
    { type: "query", ...header, id: 7, of: 3, hashes: [5, 6] }
  ],
  [
    "100e0000 H 000a 00000007 000000000004 001700000001 01000000000000000500000000000b0000000000000003",
    { type: "stamps", ...header, id: 7, answers: [{ hash: 5, version: 11, author: 3, isGone: true }], floor: 4 }
  ],
  ["100f0000 H 0000 000100000002 0102", { type: "backup", ...header, payload: Uint8Array.of(1, 2) }],
  ["10100000 H 0000 000100000000", { type: "define", ...header, payload: new Uint8Array() }],
  ["10110000 H 0000 000100000001 ff", { type: "probe", ...header, payload: Uint8Array.of(0xff) }]
]

describe("frames of version 1.0", () => {
  it.each(firstFrames)("are written like that: %s", (hex, frame) => {
    expect(Buffer.from(encode(frame)).toString("hex")).toBe(Buffer.from(bytesOf(hex)).toString("hex"))
  })

  it.each(firstFrames)("are read: %s", (hex, frame) => {
    expect(decode(bytesOf(hex))).toEqual(frame)
  })

  it("are there of every type", () => {
    expect(firstFrames.map(([, frame]) => frame.type)).toEqual(frameTypes)
  })
})

describe("frames of a newer version", () => {
  it.each(firstFrames)("are read as far as they are known: %s", (hex, frame) => {
    const bytes = bytesOf(hex)
    bytes[0] = 0x1f
    expect(decode(bytes)).toEqual(frame)
    expect(decode(newer(bytes))).toEqual(frame)
  })

  it("are read with flags that are not known", () => {
    const bytes = encode(inv)
    bytes[2] = 0xf0 | (bytes[2] as number)
    expect(decode(bytes)).toEqual(inv)
  })

  it.each([0, 18, 255])("are of a type that is not known: %i", (code) => {
    const bytes = passedOn(encode({ ...inv, to: 99 }), 1)
    bytes[1] = code
    expect(decode(bytes)).toEqual({ type: "unknown", ...header, to: 99, hops: 1, code })
    expect(decode(bytes.subarray(0, 28))).toEqual({ type: "unknown", ...header, to: 99, hops: 1, code })
  })

  it("keep an operation and a status that are not known", () => {
    const unknownOp = { ...inv, records: [{ op: 63, flags: 0, hash: 1, version: 1 }] }
    expect(decode(encode(unknownOp))).toEqual(unknownOp)
    const answer = { status: 200, version: 0, writer: 0, source: 9, ttlMs: -1, payload: new Uint8Array() }
    const value: Frame = { type: "value", ...header, id: 1, answers: [answer] }
    expect(decode(encode(value))).toEqual(value)
  })
})

describe("bytes that are no frame are refused with a reason", () => {
  const change = (at: number, ...values: number[]) => {
    const bytes = encode(inv)
    bytes.set(values, at)
    return bytes
  }
  const probe = encode({ type: "fetch", ...header, id: 1, lamport: 0, vector: [], keys: ["ab"] })

  it.each<[string, Uint8Array, string, string]>([
    ["nothing", new Uint8Array(), "short", "a frame has 0 bytes; its header alone has 28"],
    ["half a header", encode(inv).subarray(0, 27), "short", "a frame has 27 bytes; its header alone has 28"],
    ["another major version", change(0, 0x20), "version", "a frame has the major version 2; this instance speaks 1"],
    ["no author", change(8, 0, 0, 0, 0, 0, 0, 0, 0), "number", "byte 8 begins an origin of 0, which is nobody"],
    ["an author of 2^53", change(8, 0, 0x20), "number", "byte 8 begins a number of 2^53 or more"],
    ["a receiver of 2^53", change(16, 0, 0x20), "number", "byte 16 begins a number of 2^53 or more"],
    ["too few fields", change(26, 0, 5), "size", "the fields have 5 bytes; those of this type have 6 or more"],
    ["fields past the end", change(26, 0, 255), "short", "the fields end at byte 283, the frame at 70"],
    ["no list", encode(inv).subarray(0, 39), "short", "a list should begin at byte 34, and the frame ends at 39"],
    ["short records", change(34, 0, 14), "size", "a record has 14 bytes; there it has 15 or more"],
    [
      "more records than bytes",
      change(36, 0, 0, 0, 3),
      "short",
      "a list has 3 records of 15 bytes, and 30 bytes are left"
    ],
    [
      "all records there could be",
      change(34, 255, 255, 255, 255, 255, 255),
      "short",
      "a list has 4294967295 records of 65535 bytes, and 30 bytes are left"
    ],
    ["a hash of 2^53", change(41, 0, 0x20), "number", "byte 41 begins a number of 2^53 or more"],
    ["sequence 0", change(28, 0, 0, 0, 0, 0, 0), "number", "byte 28 begins a sequence of 0; they count from 1"],
    [
      "sequences past the end",
      change(28, 255, 255, 255, 255, 255, 255),
      "number",
      "records from 281474976710655 on pass 2^48"
    ],
    [
      "keys longer than their bytes",
      withLast(probe, -9, 3),
      "size",
      "the keys have 3 bytes by their lengths, and 2 there"
    ],
    [
      "a hole in no entry",
      withLast(encode(vectorWith([{ first: 1, last: 1 }])), -13, 9),
      "number",
      "a hole is in entry 9; there are 1"
    ],
    ["bytes in one record", withLast(withLast(probe, -7, 2), -3, 1), "size", "a list of bytes has records of 2"],
    [
      "bytes in records of two",
      withLast(probe, -7, 2),
      "short",
      "a list has 2 records of 2 bytes, and 2 bytes are left"
    ]
  ])("%s", (_, bytes, kind, reason) => {
    expect(decode(bytes)).toEqual(new FrameError(kind as FrameError["kind"], reason))
  })

  it.each<[Frame, string]>([
    [{ type: "pull", ...header, of: 1, first: 5, last: 4 }, "a pull asks for 5 to 4; the last is not before the first"],
    [
      {
        type: "buckets",
        ...header,
        of: 1,
        since: 0,
        upTo: 1,
        lamport: 0,
        bucketCount: 12,
        bitmap: new Uint8Array(2),
        wide: []
      },
      "there are 12 buckets; their number is a power of two up to 2^30"
    ],
    [
      {
        type: "buckets",
        ...header,
        of: 1,
        since: 0,
        upTo: 1,
        lamport: 0,
        bucketCount: 16,
        bitmap: new Uint8Array(3),
        wide: []
      },
      "the bitmap of 16 buckets has 3 bytes; it has 2"
    ],
    [{ type: "ack", ...header, of: 0, upTo: 1 }, "byte 28 begins an origin of 0, which is nobody"],
    [vectorWith([{ first: 4, last: 3 }]), "a hole from 4 to 3 follows 0"],
    [vectorWith([3, 5, 5].map((last) => ({ first: 3, last }))), "a hole from 3 to 5 follows 3"],
    [
      vectorWith(Array.from({ length: 65 }, (_, at) => ({ first: at + 1, last: at + 1 }))),
      "entry 0 has more than 64 holes"
    ]
  ])("%j", (frame, reason) => {
    expect(decode(encode(frame))).toMatchObject({ type: "error", reason })
  })
})

const vectorWith = (holes: Span[]): Frame => {
  return {
    type: "vector",
    ...header,
    lamport: 11,
    entries: [{ origin: 3, region: 1, highest: 9, hasEnded: true, holes }]
  }
}

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(Buffer.from(hex.replace("H", headerHex).replaceAll(" ", ""), "hex"))

/** A copy with one byte changed, counted from the end. */
const withLast = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = Uint8Array.from(bytes)
  copy[bytes.length + at] = value
  return copy
}

/** The same frame of a version with 3 more bytes of fields, 2 more of each record, and a list more. */
const newer = (bytes: Uint8Array): Uint8Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const fieldBytes = view.getUint16(26)
  const parts: Uint8Array[] = [bytes.slice(0, 28 + fieldBytes), Uint8Array.of(0xaa, 0xaa, 0xaa)]
  new DataView((parts[0] as Uint8Array).buffer).setUint16(26, fieldBytes + 3)
  for (let at = 28 + fieldBytes; at < bytes.length; ) {
    const [recordBytes, count] = [view.getUint16(at), view.getUint32(at + 2)]
    const more = recordBytes === 1 ? 0 : 2
    const head = bytes.slice(at, at + 6)
    new DataView(head.buffer).setUint16(0, recordBytes + more)
    parts.push(head)
    at += 6
    for (let i = 0; i < count; i++, at += recordBytes) {
      parts.push(bytes.subarray(at, at + recordBytes), new Uint8Array(more).fill(0xbb))
    }
  }
  return Uint8Array.from(Buffer.concat([...parts, Uint8Array.of(0, 3, 0, 0, 0, 1, 0xcc, 0xcc, 0xcc)]))
}
