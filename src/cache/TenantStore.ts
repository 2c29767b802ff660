/**
 * Where tenants outlive the process: a document each, `tenants/<id>.json` in the data directory. One document of all
 * tenants would be written anew for each change of one; ten thousand with an environment each are 600 MB.
 *
 * A process writes them. Those who ask while it is busy are answered by the next write together, which writes each
 * tenant once and as it is then.
 */
import { Cause, Context, Effect, Layer, ParseResult, Request, Schema } from "effect"
import { GenServer, type Process, Registry, type Supervisor } from "../actor/index.ts"
import type { Value } from "../kernel/index.ts"
import {
  DataDirectory,
  decodeDocument,
  encodeDocument,
  FileCorrupt,
  Folder,
  type StorageError,
  type StorageIo,
  type VersionedDocument
} from "../storage/index.ts"
import { InvalidJson, TenantsNotSaved } from "./CacheError.ts"
import { fromJson, toExactJson } from "./Values.ts"

/** What is kept of a tenant. */
export interface TenantRecord {
  readonly id: string
  readonly prefix: string
  /** By name. For limits that are younger than the record their default holds. */
  readonly limits: { readonly [name: string]: number }
  readonly env: ReadonlyMap<string, Value>
  readonly tokenHash: string | null
  readonly version: number
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface SavedTenant {
  readonly record: TenantRecord
  /** The file in which it stands. */
  readonly path: string
}

/** Knows what there is to be saved. */
export interface TenantsToSave {
  /** Undefined for one that is gone. */
  record(id: string): TenantRecord | undefined
}

export interface TenantStoreService {
  /** The tenants that were saved last, in the order in which they were made. */
  readonly saved: readonly SavedTenant[]
  /** Returns when a change of the tenant of this id would survive a crash of the machine. */
  readonly save: (id: string, tenants: TenantsToSave) => Effect.Effect<void, TenantsNotSaved>
  /** The process that writes, where there is one. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class TenantStore extends Context.Tag("mimosa-cache/cache/TenantStore")<TenantStore, TenantStoreService>() {
  /** Keeps nothing: for a library that makes its tenants in code. */
  static readonly layerNone: Layer.Layer<TenantStore> = Layer.succeed(TenantStore, {
    saved: [],
    save: () => Effect.void,
    children: []
  })

  /** Keeps them in the data directory. What is there and cannot be read is an error, never overwritten. */
  static readonly layer: Layer.Layer<TenantStore, StorageError, DataDirectory.DataDirectory> = Layer.effect(
    TenantStore,
    Effect.gen(function* () {
      const folder = yield* (yield* DataDirectory.DataDirectory).folder("tenants")
      const { files, strangers } = yield* folder.read
      if (strangers.length > 0) yield* Effect.logWarning("files among the tenants' are none of ours", { strangers })
      const saved: SavedTenant[] = []
      for (const [name, content] of files) {
        const path = Folder.pathOf(folder, name)
        const record = yield* decodeDocument(path, content, tenantDocument)
        if (name !== fileOf(record.id)) yield* corruptTenant(path, `it is of the tenant '${record.id}'; rename it`)
        saved.push({ record, path })
      }
      saved.sort((a, b) => a.record.createdAtMs - b.record.createdAtMs || (a.record.id < b.record.id ? -1 : 1))
      const names = Registry.unsafeMake({ keys: "unique" })
      const name = Registry.via<GenServer.RefOf<WriterProtocol>>(names, "storage")
      return {
        saved,
        save: (id, tenants) =>
          GenServer.call(name, new Save({ id, tenants }), { timeout: saveTimeout }).pipe(
            Effect.mapError((cause) => (cause instanceof TenantsNotSaved ? cause : new TenantsNotSaved({ cause })))
          ),
        children: [GenServer.childSpec(Writer, folder, { name })]
      }
    })
  )
}

/** Whoever has edited a file by hand is told what is wrong in it. */
export const corruptTenant = (path: string, reason: string): FileCorrupt => new FileCorrupt({ path, reason })

const saveTimeout = "1 minute" // a write of 10,000 tenants takes 5 to 10 seconds

const fileOf = (id: string): string => `${id}.json`

/** A value of the environment as exact JSON, in which every value comes back as it was. */
const ValueText = Schema.transformOrFail(Schema.String, Schema.Any as Schema.Schema<Value>, {
  strict: true,
  decode: (text, _options, ast) => {
    const value = fromJson(text)
    return value instanceof InvalidJson
      ? ParseResult.fail(new ParseResult.Type(ast, text, value.message))
      : ParseResult.succeed(value)
  },
  encode: (value) => ParseResult.succeed(toExactJson(value))
})

const TenantJson = Schema.Struct({
  id: Schema.String,
  prefix: Schema.String,
  limits: Schema.Record({ key: Schema.String, value: Schema.Number }),
  env: Schema.ReadonlyMap({ key: Schema.String, value: ValueText }),
  tokenHash: Schema.NullOr(Schema.String),
  version: Schema.Int,
  createdAtMs: Schema.Number,
  updatedAtMs: Schema.Number
})

const tenantDocument: VersionedDocument<TenantRecord, typeof TenantJson.Encoded> = {
  kind: "tenant",
  version: 1,
  schema: TenantJson
}

class Save extends Request.TaggedClass("Save")<
  void,
  TenantsNotSaved,
  { readonly id: string; readonly tenants: TenantsToSave }
> {}

interface WriterProtocol extends GenServer.Protocol {
  readonly call: Save
}

interface WriterState {
  readonly folder: Folder.Folder
  /** Who waits for the next write. */
  waiting: Array<GenServer.FromOf<Save>>
  /** What they want to be written. */
  ids: Map<string, TenantsToSave>
  writes: number
}

const Writer = GenServer.define<WriterProtocol>()({
  name: "tenants",
  init: (folder: Folder.Folder) => GenServer.Ok<WriterState>({ folder, waiting: [], ids: new Map(), writes: 0 }),
  handleCall: {
    Save: ({ id, tenants }, state, from) => {
      state.waiting.push(from)
      state.ids.set(id, tenants)
      return GenServer.NoReply(state, whenNobodyElseAsks)
    }
  },
  handleInfo: (message, state) => (message._tag === "Timeout" ? write(state) : GenServer.NoReply(state)),
  inspect: ({ folder, writes }) => ({ path: folder.path, writes })
})

/** The write comes when the mailbox is empty, and answers all that were in it. They wait, so it does get empty. */
const whenNobodyElseAsks = { timeout: 0 }

const write = (state: WriterState) =>
  Effect.gen(function* () {
    const { ids, waiting, folder } = state
    state.waiting = []
    state.ids = new Map()
    state.writes++
    const failure = yield* writeFiles(folder, ids).pipe(
      Effect.as(undefined),
      Effect.catchAllCause((cause) => Effect.succeed(new TenantsNotSaved({ cause: Cause.squash(cause) })))
    )
    for (const from of waiting) {
      yield* failure === undefined ? GenServer.reply(from, undefined) : GenServer.replyFail(from, failure)
    }
    return GenServer.NoReply(state)
  })

const writeFiles = (folder: Folder.Folder, ids: ReadonlyMap<string, TenantsToSave>): Effect.Effect<void, StorageIo> =>
  Effect.gen(function* () {
    const changes = new Map<string, Uint8Array | null>()
    for (const [id, tenants] of ids) {
      const record = tenants.record(id)
      changes.set(fileOf(id), record === undefined ? null : yield* encodeDocument(tenantDocument, record))
    }
    yield* folder.change(changes)
  })
