import { describe, expect, it } from "vitest"
import {
  Agreement,
  decodeBeacon,
  decodeHello,
  decodeMembers,
  encodeBeacon,
  encodeHello,
  encodeMembers,
  encodeRecord,
  type Hello,
  namespaceIdOf,
  RecordReader,
  readMessage,
  recordKind,
  type Seal,
  type StreamRefusal
} from "../../../../src/coherence/transport/internal/meshWire.ts"
import { Random } from "../../../support/Random.ts"

const hello: Hello = {
  origin: 2 ** 53 - 1,
  region: 65_535,
  namespaceId: namespaceIdOf("ns_prod_main"),
  isSecured: true,
  isProbe: false,
  dial: 7,
  nonce: Buffer.alloc(16, 5),
  address: "10.0.0.1:7000"
}
const bodyOf = (message: Buffer): Buffer => {
  const read = readMessage(message)
  if (read === null || read === "garbage") throw new Error("no message")
  return Buffer.from(read.body)
}

describe("the handshake", () => {
  it("reads a HELLO as it was written, also one to which a newer version has added something", () => {
    const body = bodyOf(encodeHello(hello))
    expect(decodeHello(body)).toEqual(hello)
    expect(decodeHello(Buffer.concat([body, Buffer.alloc(9)]))).toEqual(hello)
  })

  it("tells a version that is too far away from nonsense", () => {
    const newer = bodyOf(encodeHello(hello))
    newer[0] = 9
    expect(decodeHello(newer)).toEqual(hello)
    newer[1] = 8
    expect(decodeHello(newer)).toBe("version")
    const noOrigin = bodyOf(encodeHello({ ...hello, origin: 0 }))
    expect(decodeHello(noOrigin)).toBe("garbage")
    expect(decodeHello(bodyOf(encodeHello(hello)).subarray(0, 20))).toBe("garbage")
  })

  it("proves the same to both ends, and something else in the other role, to another secret or other nonces", () => {
    const [d, a] = [encodeHello(hello), encodeHello({ ...hello, origin: 1 })]
    const agreed = new Agreement("secret", d, a)
    expect(agreed.isProof("dialer", new Agreement("secret", d, a).proof("dialer"))).toBe(true)
    for (const other of [
      agreed.proof("acceptor"),
      new Agreement("Secret", d, a).proof("dialer"),
      new Agreement("secret", a, d).proof("dialer"),
      new Agreement("secret", encodeHello({ ...hello, nonce: Buffer.alloc(16) }), a).proof("dialer"),
      Buffer.alloc(0)
    ]) {
      expect(agreed.isProof("dialer", other)).toBe(false)
    }
  })

  it("reads random bytes as nothing, or nonsense, and never throws", () => {
    const random = new Random(1)
    for (let round = 0; round < 3_000; round++) {
      const message = encodeHello(hello)
      for (let flips = 1 + random.below(4); flips > 0; flips--)
        message[random.below(message.length)] = random.below(256)
      const cut = message.subarray(0, random.below(message.length + 1))
      const read = readMessage(cut)
      if (read !== null && read !== "garbage") decodeHello(read.body)
      decodeMembers(cut)
      expect(decodeBeacon(hello.namespaceId, undefined, cut)).not.toMatchObject({ origin: hello.origin })
    }
  })
})

describe("records", () => {
  const agreed = () => new Agreement("secret", Buffer.of(1), Buffer.of(2))
  interface Read {
    readonly frames: string[]
    refusal: StreamRefusal | null
  }
  const reader = (seal: Seal | null, frameBytesMax = 1_000): Read & { push: (piece: Buffer) => void } => {
    const read: Read & { push: (piece: Buffer) => void } = {
      frames: [],
      refusal: null,
      push: (piece) => {
        read.refusal ??= records.push(piece)
      }
    }
    const onRecord = (kind: number, payload: Buffer) => {
      if (kind === recordKind.frame) read.frames.push(payload.toString("hex"))
    }
    const records = new RecordReader({ seal, frameBytesMax, onRecord })
    return read
  }
  const frameOf = (random: Random): Buffer =>
    Buffer.alloc(random.below(random.below(10) === 0 ? 1_001 : 40), random.below(256))
  /** Batches of frames, sealed or not, in one stream; and each frame in hex. */
  const streamOf = (random: Random, isSealed: boolean) => {
    const seal = agreed().seal("dialer")
    const pieces: Buffer[] = []
    const frames: string[] = []
    for (let batches = 1 + random.below(6); batches > 0; batches--) {
      const batch: Buffer[] = []
      for (let count = 1 + random.below(5); count > 0; count--) {
        const frame = frameOf(random)
        frames.push(frame.toString("hex"))
        batch.push(encodeRecord(recordKind.frame, frame))
        if (random.below(4) === 0) batch.push(encodeRecord(77, Buffer.from("of a later version")))
      }
      pieces.push(...batch)
      if (isSealed) pieces.push(encodeRecord(recordKind.seal, seal.next(batch)))
    }
    return { bytes: Buffer.concat(pieces), frames }
  }
  const pieces = (random: Random, bytes: Buffer): Buffer[] => {
    const cuts: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + 1 + random.below(random.below(3) === 0 ? 400 : 8))
      cuts.push(Buffer.from(bytes.subarray(at, end)))
      at = end
    }
    return cuts
  }

  it("come out as they were put in, in whatever pieces they arrive", () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const isSealed = seed % 2 === 0
      const { bytes, frames } = streamOf(random, isSealed)
      const read = reader(isSealed ? agreed().seal("dialer") : null)
      for (const piece of pieces(random, bytes)) read.push(piece)
      expect({ seed, refusal: read.refusal, frames: read.frames }).toEqual({ seed, refusal: null, frames })
    }
  })

  it("are refused from the first sealed batch on in which any byte is another", () => {
    for (let seed = 0; seed < 500; seed++) {
      const random = new Random(seed)
      const { bytes, frames } = streamOf(random, true)
      const at = random.below(bytes.length)
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
      const read = reader(agreed().seal("dialer"))
      for (const piece of pieces(random, bytes)) if (read.refusal === null) read.push(piece)
      expect(read.frames, `seed ${seed}`).toEqual(frames.slice(0, read.frames.length))
      expect(read.frames.length, `seed ${seed}`).toBeLessThan(frames.length)
    }
  })

  it("are refused when they are too long, before they have come", () => {
    const read = reader(null)
    const head = encodeRecord(recordKind.frame, Buffer.alloc(1_001)).subarray(0, 5)
    read.push(head)
    expect(read.refusal).toBe("oversized")
    const sealed = reader(agreed().seal("dialer"), 100)
    for (let index = 0; index < 20_000 && sealed.refusal === null; index++) {
      sealed.push(encodeRecord(recordKind.frame, Buffer.alloc(100)))
    }
    expect(sealed).toMatchObject({ refusal: "oversized", frames: [] })
  })

  it("are refused when they say that they have no length", () => {
    const read = reader(null)
    read.push(Buffer.alloc(5))
    expect(read.refusal).toBe("garbage")
  })

  it("carry lists of members, as many as are whole", () => {
    const members = [
      { origin: 1, region: 2, address: "10.0.0.1:1" },
      { origin: 2 ** 52, region: 0, address: "[::1]:65535" }
    ]
    const payload = encodeMembers(members).subarray(5)
    expect(decodeMembers(payload)).toEqual(members)
    expect(decodeMembers(payload.subarray(0, payload.length - 1))).toEqual(members.slice(0, 1))
  })
})

describe("beacons", () => {
  const news = { origin: 42, region: 3, address: ":7000" }
  const id = namespaceIdOf("ns")

  it("are read by members of the namespace, and are no matter to others", () => {
    expect(decodeBeacon(id, undefined, encodeBeacon(id, undefined, news))).toEqual(news)
    expect(decodeBeacon(id, "secret", encodeBeacon(id, "secret", news))).toEqual(news)
    expect(decodeBeacon(namespaceIdOf("other"), undefined, encodeBeacon(id, undefined, news))).toBe(null)
  })

  it("are forged without the secret, or with a byte changed", () => {
    expect(decodeBeacon(id, "secret", encodeBeacon(id, undefined, news))).toBe("forged")
    const beacon = encodeBeacon(id, "secret", news)
    for (let at = 14; at < beacon.length; at++) {
      const changed = Buffer.from(beacon)
      changed[at] = (changed[at] as number) ^ 4
      expect(typeof decodeBeacon(id, "secret", changed), `byte ${at}`).toBe("string")
    }
  })
})
