/**
 * A small JSON document with a kind and a format version, replaced as a whole.
 *
 * The file is `{"kind": "triggers", "version": 1, "data": …}`, indented, so that a person can read and mend it. Opening
 * reads it; whoever cannot read what is there gets an error and no way to write, so nothing is ever overwritten unseen.
 */
import { Effect, ParseResult, Schema } from "effect"
import type { AtomicFile } from "./AtomicFile.ts"
import { FileCorrupt, FileVersionUnknown, type StorageIo } from "./StorageError.ts"

/**
 * What a document holds, and which version of that this program writes.
 *
 * @example
 * const counters: VersionedDocument<{ readonly total: number }, { readonly total: number }> = {
 *   kind: "counters",
 *   version: 1,
 *   schema: Schema.Struct({ total: Schema.Number })
 * }
 */
export interface VersionedDocument<A, I> {
  readonly kind: string
  /** A whole number from 1, raised with each change of the schema. */
  readonly version: number
  readonly schema: Schema.Schema<A, I>
  /** Formats of before, which are still read; the next `replace` writes the current one. */
  // biome-ignore lint/suspicious/noExplicitAny: each has an encoding of its own, which nobody looks at
  readonly earlier?: ReadonlyArray<{ readonly version: number; readonly schema: Schema.Schema<A, any> }>
}

export interface DocumentFile<A> {
  readonly path: string
  /** What the file held when it was opened; undefined when there was none. */
  readonly initial: A | undefined
  /** On success the document is on disk. It must fit its schema: what does not is a defect. */
  readonly replace: (data: A) => Effect.Effect<void, StorageIo>
}

export const open = <A, I>(
  file: AtomicFile,
  document: VersionedDocument<A, I>
): Effect.Effect<DocumentFile<A>, StorageIo | FileCorrupt | FileVersionUnknown> =>
  Effect.gen(function* () {
    const content = yield* file.read
    return {
      path: file.path,
      initial: content === undefined ? undefined : yield* decode(file.path, content, document),
      replace: (data) => Effect.flatMap(encode(document, data), file.replace)
    }
  })

/** The content of a file that holds the document: what does not fit its schema is a defect. */
export const encode = <A, I>(document: VersionedDocument<A, I>, data: A): Effect.Effect<Uint8Array> =>
  Schema.encode(document.schema)(data).pipe(
    Effect.orDie,
    Effect.map((encoded) => Buffer.from(`${JSON.stringify(envelope(document, encoded), null, 2)}\n`))
  )

const envelope = <A, I>({ kind, version }: VersionedDocument<A, I>, data: I) => ({ kind, version, data })

/** What such a file holds. `path` is named in the error. */
export const decode = <A, I>(
  path: string,
  content: Uint8Array,
  document: VersionedDocument<A, I>
): Effect.Effect<A, FileCorrupt | FileVersionUnknown> =>
  Effect.gen(function* () {
    const corrupt = (reason: string) => new FileCorrupt({ path, reason })
    const json = yield* Effect.try({
      try: () => JSON.parse(utf8.decode(content)) as unknown,
      catch: (error) => corrupt(`not JSON in UTF-8 (${error instanceof Error ? error.message : String(error)})`)
    })
    const { kind, version, data } = yield* Effect.mapError(decodeEnvelope(json), (error) => corrupt(oneLine(error)))
    if (kind !== document.kind) return yield* corrupt(`it holds "${kind}", not "${document.kind}"`)
    const format = version === document.version ? document : document.earlier?.find((each) => each.version === version)
    if (format === undefined) {
      return yield* new FileVersionUnknown({ path, found: version, supported: document.version })
    }
    return yield* Effect.mapError(Schema.decodeUnknown(format.schema)(data), (error) => corrupt(oneLine(error)))
  })

const oneLine = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`))
    .join("; ")

const decodeEnvelope = Schema.decodeUnknown(
  Schema.Struct({ kind: Schema.String, version: Schema.Int.pipe(Schema.positive()), data: Schema.Unknown })
)

const utf8 = new TextDecoder("utf-8", { fatal: true })
