/**
 * Where the registered triggers outlive the process: one document in the data directory, replaced as a whole, until the
 * durable log comes.
 *
 * A process writes it. Those who ask while it is busy are answered by the next write together, so that registering ten
 * thousand triggers at once costs a few writes, not ten thousand.
 */
import { Context, Effect, Layer, Request, Schema } from "effect"
import { GenServer, type Process, Registry, type Supervisor } from "../actor/index.ts"
import {
  DataDirectory,
  type DocumentFile,
  FileCorrupt,
  type StorageError,
  type VersionedDocument
} from "../storage/index.ts"
import { defineTrigger, type TriggerDefinition, triggerEventNames } from "./Trigger.ts"
import { InvalidTrigger, TriggersNotSaved } from "./TriggerError.ts"

export interface TriggerStoreService {
  /** The triggers that were saved last; none on a first start. */
  readonly saved: readonly TriggerDefinition[]
  /** Returns when these would survive a crash of the machine. */
  readonly save: (definitions: () => readonly TriggerDefinition[]) => Effect.Effect<void, TriggersNotSaved>
  /** The process that writes, where there is one. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class TriggerStore extends Context.Tag("mimosa-cache/triggers/TriggerStore")<
  TriggerStore,
  TriggerStoreService
>() {
  /** Keeps nothing: for a library that registers its triggers in code. */
  static readonly layerNone: Layer.Layer<TriggerStore> = Layer.succeed(TriggerStore, {
    saved: [],
    save: () => Effect.void,
    children: []
  })

  /** Keeps them in `triggers.json`. What is there and cannot be read is an error, never overwritten. */
  static readonly layer: Layer.Layer<TriggerStore, StorageError, DataDirectory.DataDirectory> = Layer.effect(
    TriggerStore,
    Effect.gen(function* () {
      const file = yield* (yield* DataDirectory.DataDirectory).open(triggerDocument)
      for (const { name, ...definition } of file.initial ?? []) {
        const refused = defineTrigger({ name, ...definition })
        if (!(refused instanceof InvalidTrigger)) continue
        yield* new FileCorrupt({ path: file.path, reason: `the trigger '${name}': ${refused.message}` })
      }
      const names = Registry.unsafeMake({ keys: "unique" })
      const name = Registry.via<GenServer.RefOf<WriterProtocol>>(names, "storage")
      return {
        saved: file.initial ?? [],
        save: (definitions) =>
          GenServer.call(name, new Save({ definitions })).pipe(
            Effect.mapError((cause) => (cause instanceof TriggersNotSaved ? cause : new TriggersNotSaved({ cause })))
          ),
        children: [GenServer.childSpec(Writer, file, { name })]
      }
    })
  )
}

const triggerDocument: VersionedDocument<readonly TriggerDefinition[], readonly TriggerDefinition[]> = {
  kind: "triggers",
  version: 1,
  schema: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      pattern: Schema.String,
      events: Schema.Array(Schema.Literal(...triggerEventNames)),
      source: Schema.String,
      timeoutUs: Schema.Int,
      memoryBytes: Schema.Int,
      priority: Schema.Int
    })
  )
}

class Save extends Request.TaggedClass("Save")<
  void,
  TriggersNotSaved,
  { readonly definitions: () => readonly TriggerDefinition[] }
> {}

interface WriterProtocol extends GenServer.Protocol {
  readonly call: Save
}

interface WriterState {
  readonly file: DocumentFile<readonly TriggerDefinition[]>
  /** Who waits for the next write, and what the last of them wants to be written. */
  waiting: Array<GenServer.FromOf<Save>>
  definitions: () => readonly TriggerDefinition[]
  writes: number
}

const Writer = GenServer.define<WriterProtocol>()({
  name: "storage",
  init: (file: DocumentFile<readonly TriggerDefinition[]>) =>
    GenServer.Ok<WriterState>({ file, waiting: [], definitions: () => [], writes: 0 }),
  handleCall: {
    Save: ({ definitions }, state, from) => {
      state.waiting.push(from)
      state.definitions = definitions
      return GenServer.NoReply(state, whenNobodyElseAsks)
    }
  },
  handleInfo: (message, state) => (message._tag === "Timeout" ? write(state) : GenServer.NoReply(state)),
  inspect: ({ file, writes }) => ({ path: file.path, writes })
})

/** The write comes when the mailbox is empty, and answers all that were in it. They wait for it, so it does get empty. */
const whenNobodyElseAsks = { timeout: 0 }

const write = (state: WriterState) =>
  Effect.gen(function* () {
    const waiting = state.waiting
    state.waiting = []
    state.writes++
    const failure = yield* Effect.match(state.file.replace(state.definitions()), {
      onSuccess: () => undefined,
      onFailure: (cause) => new TriggersNotSaved({ cause })
    })
    for (const from of waiting) {
      yield* failure === undefined ? GenServer.reply(from, undefined) : GenServer.replyFail(from, failure)
    }
    return GenServer.NoReply(state)
  })
