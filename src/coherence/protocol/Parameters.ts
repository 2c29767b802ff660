/**
 * The sizes and times of the protocol, in one place: a server takes `parametersDefault`, a simulation tiny ones, so that
 * each ring wraps, each table overflows and each limit is met within a few steps. What is a constant beside its code
 * bounds one step of it (hops, repeats, pulls in a row). Instances of one namespace may differ in all of them: what a
 * frame needs to be understood (the number of buckets, say) is in the frame.
 */
export interface Parameters {
  /** Records of one's own that are kept for peers who missed them. A power of two. */
  readonly logSize: number
  /** Records of others that are kept, so that the last ones of a dead origin are still somewhere. A power of two. */
  readonly receivedSize: number
  /** Keys fall into so many buckets, each with the sequence that touched it last. A power of two. */
  readonly buckets: number
  /** Tags, prefixes, clears and definitions whose last sequence is kept exactly. */
  readonly wideMax: number
  /** Separate runs of sequences that are kept of an origin whose earlier ones are missing. */
  readonly intervalsMax: number

  /** Or up to half of it earlier, with those of its cell. */
  readonly heartbeatMs: number
  /** Who has not said for so long how much it has written counts as not heard of. */
  readonly suspectMs: number
  /** For members of other regions this is added to `suspectMs`. */
  readonly regionSlackMs: number
  /** A version vector goes out with every so many heartbeats, and on each change of membership. */
  readonly vectorEvery: number
  /** A gap is asked for after a random time between these two: most fill by themselves. */
  readonly gapMs: readonly [number, number]
  /** With a gap open for longer than this an instance is not coherent. */
  readonly gapLimitMs: number
  /** An unanswered pull is repeated, to the next who may have the range, after so long. */
  readonly pullRetryMs: number
  /** Records that one pull asks for at most. */
  readonly pullRecordsMax: number

  /** Records in one INV at most. */
  readonly batchRecordsMax: number
  /** A record that could not leave at once leaves after so long at the latest. */
  readonly batchMs: number

  /** What happens to copies while not coherent: they live `partitionTtlMs` at most, are not used, or are used on. */
  readonly degraded: "cap" | "bypass" | "serve"
  readonly partitionTtlMs: number

  /** A joiner that nobody answers for so long has joined alone. */
  readonly joinMs: number
  /** A member that was not heard of for so long is forgotten. Any finite time breaks the bound on staleness (I3). */
  readonly memberTimeoutMs: number
  /** Origins that have left or died and of which the marks are kept, so that their late frames are known for late. */
  readonly deadKept: number
  readonly membersMax: number
  /** `acknowledge` answers with who is missing after so long. */
  readonly ackTimeoutMs: number
  /** Writers that wait for others; one more is told at once that everybody is missing. */
  readonly acksMax: number

  /** Fetches of this instance that are under way; one more finds nothing. */
  readonly fetchesMax: number
  /** FETCH frames of others that are held; one more is answered `busy`. */
  readonly parkedMax: number
  readonly fetchTimeoutMs: number
  /** A peer that has not seen all that the asker has seen waits so long for it, then answers `behind`. */
  readonly fetchHoldMs: number
  /** Keys in one FETCH at most. */
  readonly fetchKeysMax: number
  /** A longer value is answered as `tooLarge`. */
  readonly valueBytesMax: number

  /** A region with more instances than this is split into groups. */
  readonly cellMax: number
  /** A region in groups that shrinks below this is one mesh again. */
  readonly cellMin: number
  /** A relay collects records for another region for a random time between these two. */
  readonly relayBatchMs: readonly [number, number]
  /** The same for another group of its own region. */
  readonly groupBatchMs: number
}

export const parametersDefault: Parameters = {
  logSize: 2 ** 17, // records, 17 bytes each: 2.2 MB, a minute at 2,000 writes/s
  receivedSize: 2 ** 18, // records, 41 bytes each: 10.5 MB once it is full
  buckets: 2 ** 16, // 8 bytes each; a bitmap of them is 8 KB in a frame
  wideMax: 65_536, // tags and prefixes
  intervalsMax: 64, // of 16 bytes, an origin

  heartbeatMs: 100,
  suspectMs: 300, // three heartbeats
  regionSlackMs: 500, // two oceans, and a digest's waiting at two relays
  vectorEvery: 10, // heartbeats: once a second
  gapMs: [2, 5],
  gapLimitMs: 100, // one heartbeat: the time in which a pull has been answered or asked again four times
  pullRetryMs: 20,
  pullRecordsMax: 4_096, // records: 61 KB of frame

  batchRecordsMax: 128, // records: 1.9 KB of frame, little more than a packet
  batchMs: 0.5,

  degraded: "cap",
  partitionTtlMs: 5_000,

  joinMs: 300, // three heartbeats of whoever is there
  memberTimeoutMs: Number.POSITIVE_INFINITY,
  deadKept: 256, // origins
  membersMax: 1_024, // instances
  ackTimeoutMs: 2_000,
  acksMax: 65_536, // writers; each is a promise somewhere above

  fetchesMax: 16_384, // keys; each is a client that waits
  parkedMax: 1_024, // frames, each for `fetchHoldMs` at most
  fetchTimeoutMs: 900, // a value of 16 MiB on a busy machine; who is not heard of is not waited for
  fetchHoldMs: 20, // a gap's waiting and one pull
  fetchKeysMax: 64,
  valueBytesMax: 16 * 2 ** 20, // bytes

  cellMax: 48, // instances: a write to a socket is about 9 µs, so a flush stays under 0.5 ms
  cellMin: 40, // instances
  relayBatchMs: [2, 5],
  groupBatchMs: 0.2
}
